//! CloudEvents 1.0 over HTTP: one as JSON (structured), several as JSON (a batch), or one whose attributes
//! are headers and whose data is the body (binary).
//!
//! <https://github.com/cloudevents/spec/blob/main/cloudevents/http-webhook.md>

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::value::RawValue;
use tocsin_wire::proto::{Event, TextFormat};
use tocsin_wire::scheme::Scheme;

use super::draft::{self, Draft};
use super::{Delivery, Malformed, Normalized, OTHER, first, read_json, times, utf8, words};
use crate::json::{Text, object};
use crate::provider::{Answer, Endpoint, Provider, SecretSetting, Throttled};

/// As events and subjects name it.
const NAME: &str = "cloudevents";

/// CloudEvents webhooks with a bearer token, and their handshake against abuse.
pub const PROVIDER: Provider = Provider {
    name: NAME,
    secret: SecretSetting {
        flag: "cloudevents-webhook-secret",
        variable: "CLOUDEVENTS_WEBHOOK_SECRET",
        help: "Bearer tokens of senders of CloudEvents, or their secrets for Standard Webhooks (whsec_…)",
    },
    endpoints: &[Endpoint {
        path: "",
        read: normalize,
        answer: |_kind| Answer::Ok,
        grant: Some(grant),
    }],
    schemes: &[Scheme::Bearer, Scheme::StandardWebhooks, Scheme::Basic],
    single_headers: &["ce-id", "ce-source", "ce-type", "ce-specversion"],
    kept_headers: &[
        "ce-id",
        "ce-source",
        "ce-type",
        "ce-specversion",
        "ce-time",
        "ce-subject",
        "ce-dataschema",
        ORIGIN,
    ],
    throttled: Throttled::TooManyRequests,
};

/// Who wants to send, and on whose behalf a delivery is.
const ORIGIN: &str = "webhook-request-origin";
/// How many events a minute it would like to send.
const RATE: &str = "webhook-request-rate";
/// Longest name of a host.
const MAX_ORIGIN_BYTES: usize = 253;
/// Most events in one batch: all of them must be stored before the sender stops waiting.
const MAX_BATCH: usize = 1000;
/// How formats of CloudEvents begin.
const FORMAT: &str = "application/cloudevents";
const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

object! {
    /// The attributes that have a meaning here, and the data as it stands.
    Body {
        "id" => id: Text<'a>,
        "source" => source: Text<'a>,
        "type" => native_type: Text<'a>,
        "subject" => subject: Text<'a>,
        "time" => time: Text<'a>,
        "dataschema" => schema: Text<'a>,
        "datacontenttype" => content_type: Text<'a>,
        "data" => data: Option<&'a RawValue>,
        "data_base64" => encoded: Text<'a>,
    }
}

object! {
    /// Data that speaks of an alert.
    Data {
        "title" => title: Text<'a>,
        "name" => name: Text<'a>,
        "summary" => summary: Text<'a>,
        "message" => message: Text<'a>,
        "description" => description: Text<'a>,
        "severity" => severity: Text<'a>,
        "status" => status: Text<'a>,
        "state" => state: Text<'a>,
        "url" => url: Text<'a>,
    }
}

/// The data of an event, as far as it is UTF-8.
struct Payload<'a> {
    text: Cow<'a, str>,
    /// Whether it is text as it stands; all else is read as JSON.
    is_plain: bool,
}

/// An event without its data.
struct Attributes<'a> {
    id: Cow<'a, str>,
    source: Cow<'a, str>,
    native_type: Cow<'a, str>,
    subject: Cow<'a, str>,
    time: Cow<'a, str>,
    schema: Cow<'a, str>,
}

/// Reads a verified delivery.
///
/// # Errors
/// When it is of no format of CloudEvents that we know, or not JSON, or a batch of more than a thousand.
pub fn normalize(delivery: Delivery<'_>) -> Result<Normalized, Malformed> {
    let media_type = media_type(delivery.header(header::CONTENT_TYPE));
    if matches!(media_type.as_str(), STRUCTURED | BATCH) {
        let json = utf8(delivery.body)?;
        return if json.trim_ascii_start().starts_with('[') {
            batch(delivery, json)
        } else {
            structured(delivery, json).map(|event| Normalized::Event(Box::new(event)))
        };
    }
    let is_binary = ["ce-specversion", "ce-id", "ce-type", "ce-source"]
        .iter()
        .any(|name| delivery.headers.contains_key(*name));
    if is_binary && !media_type.starts_with(FORMAT) {
        Ok(Normalized::Event(Box::new(binary(delivery, &media_type))))
    } else {
        Err(Malformed::NoCloudEvent)
    }
}

/// In lower case, without its parameters.
fn media_type(content_type: &str) -> String {
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim().to_ascii_lowercase()
}

/// Whether data of this type is text for people; the other types of text that occur are JSON by their names.
fn is_plain(media_type: &str) -> bool {
    media_type.starts_with("text/") && !media_type.ends_with("json")
}

/// Each event keeps its own part of the body, and has its own keys.
fn batch(delivery: Delivery<'_>, json: &str) -> Result<Normalized, Malformed> {
    let parts: Vec<&RawValue> = serde_json::from_str(json).map_err(Malformed::Json)?;
    if parts.len() > MAX_BATCH {
        return Err(Malformed::Batch { limit: MAX_BATCH });
    }
    let events = parts.into_iter().map(|part| {
        let own: Bytes = delivery.body.slice_ref(part.get().as_bytes());
        let delivery = Delivery {
            body: &own,
            ..delivery
        };
        let mut event = structured(delivery, part.get())?;
        STRUCTURED.clone_into(&mut event.content_type);
        Ok(event)
    });
    events.collect::<Result<_, _>>().map(Normalized::Events)
}

fn structured(delivery: Delivery<'_>, json: &str) -> Result<Event, Malformed> {
    let body: Body<'_> = read_json(json)?;
    let attributes = Attributes {
        id: body.id.text().into(),
        source: body.source.text().into(),
        native_type: body.native_type.text().into(),
        subject: body.subject.text().into(),
        time: body.time.text().into(),
        schema: body.schema.text().into(),
    };
    let data = match body.data {
        // Whatever its type: in JSON a text is a string.
        Some(data) => Payload {
            text: data.get().into(),
            is_plain: false,
        },
        None => Payload {
            text: decoded_data(body.encoded.text()).into(),
            is_plain: is_plain(&media_type(body.content_type.text())),
        },
    };
    Ok(event(delivery, &attributes, &data))
}

/// Nothing when it is no base64, or no text.
fn decoded_data(encoded: &str) -> String {
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

fn binary(delivery: Delivery<'_>, media_type: &str) -> Event {
    let attribute = |name: &str| decoded(delivery.headers.get(name));
    let attributes = Attributes {
        id: attribute("ce-id"),
        source: attribute("ce-source"),
        native_type: attribute("ce-type"),
        subject: attribute("ce-subject"),
        time: attribute("ce-time"),
        schema: attribute("ce-dataschema"),
    };
    // Data of any kind: only JSON and text say something here.
    let data = Payload {
        text: std::str::from_utf8(delivery.body)
            .unwrap_or_default()
            .into(),
        is_plain: is_plain(media_type),
    };
    event(delivery, &attributes, &data)
}

/// A header's value, whose characters beyond ASCII, blanks, quotes and percent signs are percent-encoded.
fn decoded(value: Option<&HeaderValue>) -> Cow<'_, str> {
    let bytes = value.map_or(&b""[..], HeaderValue::as_bytes);
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let pair = after
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        let pair = pair.filter(|pair| byte == b'%' && pair.bytes().all(|b| b.is_ascii_hexdigit()));
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(code) => {
                plain.push(code);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(plain).unwrap_or_default().into()
}

fn event(delivery: Delivery<'_>, attributes: &Attributes<'_>, data: &Payload<'_>) -> Event {
    let mut draft = Draft::new(NAME, delivery);
    // Also of plain text: not every sender names its JSON.
    let said: Data<'_> = read_json(&data.text).unwrap_or_default();
    let native_type = &*attributes.native_type;
    let title = first(&[&said.title, &said.name, &said.summary]);
    let state = first(&[&said.status, &said.state]);
    let severity = words::severity(said.severity.text());
    let (kind, status) = words::judge(words::Said {
        native_type,
        title,
        state,
        severity,
    });
    // Without its type it is none that anybody could know.
    let kind = if native_type.is_empty() { OTHER } else { kind };
    kind.clone_into(&mut draft.event.kind);
    native_type.clone_into(&mut draft.event.native_type);
    // So that a trigger can name it: `event.com.example.deployed`.
    native_type.clone_into(&mut draft.event.action);

    draft.identifier("ce_source", &attributes.source);
    draft.identifier("ce_type", native_type);

    let subject = &*attributes.subject;
    let name = if subject.is_empty() {
        native_type
    } else {
        subject
    };
    draft.title(if title.is_empty() { name } else { title });
    draft.text(&text(&said, data), TextFormat::Plain);
    said.url.text().clone_into(&mut draft.event.url);
    draft.occurred(times::date(&attributes.time));
    draft.state(state, status);
    draft.severity(severity, said.severity.text());
    draft.correlation(&[&attributes.source, subject]);
    draft.attribute("source", &attributes.source);
    draft.attribute("subject", subject);
    draft.attribute("dataschema", &attributes.schema);

    // Together they are unique, and the same when it is sent again.
    let id = match (&*attributes.source, &*attributes.id) {
        ("", _) | (_, "") => String::new(),
        (source, id) => format!("{source}#{id}"),
    };
    let key = if id.is_empty() || draft::is_id(&id) {
        id
    } else {
        draft::hash(id.as_bytes())
    };
    let semantic = Some(key.as_str()).filter(|key| !key.is_empty());
    draft.finish(&key, semantic)
}

/// What the data says in words, else all of it where it is words.
fn text<'a>(said: &'a Data<'_>, data: &'a Payload<'_>) -> Cow<'a, str> {
    let words = first(&[&said.message, &said.description, &said.summary]);
    if !words.is_empty() {
        return words.into();
    }
    if data.is_plain {
        return (*data.text).into();
    }
    let string: Text<'_> = read_json(&data.text).unwrap_or_default();
    string.owned().into()
}

/// What `OPTIONS` hears: whoever asks may send, at any rate, since only a token lets anything in. The URL
/// that a sender wants to be called back at is left alone.
fn grant(request: &HeaderMap) -> HeaderMap {
    let mut answer =
        HeaderMap::from_iter([(header::ALLOW, HeaderValue::from_static("POST, OPTIONS"))]);
    let mut origins = request.get_all(ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else {
        return answer;
    };
    let is_part =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'*');
    let is_host = (1..=MAX_ORIGIN_BYTES).contains(&origin.len());
    if is_host && origin.as_bytes().iter().all(is_part) {
        let allowed = HeaderName::from_static("webhook-allowed-origin");
        answer.insert(allowed, origin.clone());
        if request.contains_key(RATE) {
            let rate = HeaderName::from_static("webhook-allowed-rate");
            answer.insert(rate, HeaderValue::from_static("*"));
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{deliver, headers};
    use super::*;

    fn read(content_type: &str, body: &str) -> Event {
        let headers = headers([
            ("content-type", content_type),
            ("ce-type", "t"),
            ("ce-id", "1"),
        ]);
        match deliver(NAME, None, &headers, &Bytes::from(body.to_owned())) {
            Ok(Normalized::Event(event)) => *event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn data_is_read_as_json_or_as_text_however_it_is_carried() {
        let alert = r#"{"title":"Disk","message":"Full €","severity":"critical"}"#;
        let words = "\"Disk\" is full €";
        for (data_type, data, expected) in [
            ("application/json", alert, ("Disk", "Full €")),
            ("", alert, ("Disk", "Full €")),
            ("application/vnd.acme+json", alert, ("Disk", "Full €")),
            ("text/json", alert, ("Disk", "Full €")),
            ("text/plain", alert, ("Disk", "Full €")),
            ("Text/Plain; charset=utf-8", words, ("t", words)),
            ("text/plain", "42", ("t", "42")),
            ("text/plain", "\"quoted\"", ("t", "\"quoted\"")),
            ("application/json", "\"quoted\"", ("t", "quoted")),
            ("application/json", words, ("t", "")),
            ("application/octet-stream", words, ("t", "")),
        ] {
            let encoded = STANDARD.encode(data);
            let structured = format!(
                r#"{{"type":"t","datacontenttype":"{data_type}","data_base64":"{encoded}"}}"#
            );
            for event in [read(data_type, data), read(STRUCTURED, &structured)] {
                let got = (event.title.as_str(), event.text.as_str());
                assert_eq!(got, expected, "{data_type} {data}");
                let is_alert = event.kind == words::ALERT_FIRING;
                assert_eq!(is_alert, data == alert, "{data_type} {data}");
            }
        }
        for (parts, expected) in [
            (r#""data":"a","data_base64":"Yg==""#, "a"),
            (r#""data":"a","datacontenttype":"text/plain""#, "a"),
            (
                r#""datacontenttype":"text/plain","data_base64":"Yg==""#,
                "b",
            ),
            (r#""datacontenttype":"text/plain","data_base64":"?""#, ""),
            (r#""datacontenttype":"text/plain","data_base64":"/w==""#, ""),
            (r#""datacontenttype":"text/plain","data_base64":7"#, ""),
        ] {
            let event = read(STRUCTURED, &format!(r#"{{"type":"t",{parts}}}"#));
            assert_eq!(event.text, expected, "{parts}");
        }
    }

    #[test]
    fn header_values_are_percent_decoded() {
        for (value, expected) in [
            ("plain/source", "plain/source"),
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%+1", "%+1"),
            ("a+b", "a+b"),
            ("%ff", ""),
        ] {
            let value = HeaderValue::from_str(value).expect("a value");
            assert_eq!(decoded(Some(&value)), expected);
        }
        assert_eq!(decoded(None), "");
    }

    #[test]
    fn whoever_asks_by_name_may_send() {
        for (origins, rate, expected) in [
            (
                vec!["events.example.com"],
                None,
                (Some("events.example.com"), None),
            ),
            (
                vec!["events.example.com"],
                Some("120"),
                (Some("events.example.com"), Some("*")),
            ),
            (vec![], Some("120"), (None, None)),
            (vec![""], None, (None, None)),
            (vec!["<script>"], None, (None, None)),
            (vec!["a.example", "b.example"], None, (None, None)),
        ] {
            let mut request = HeaderMap::new();
            for origin in &origins {
                request.append(ORIGIN, HeaderValue::from_static(origin));
            }
            if let Some(rate) = rate {
                request.insert(RATE, HeaderValue::from_static(rate));
            }
            let answer = grant(&request);
            let of = |name: &str| answer.get(name).and_then(|value| value.to_str().ok());
            let got = (of("webhook-allowed-origin"), of("webhook-allowed-rate"));
            assert_eq!(got, expected, "{origins:?}");
            assert_eq!(of("allow"), Some("POST, OPTIONS"));
        }
    }
}
