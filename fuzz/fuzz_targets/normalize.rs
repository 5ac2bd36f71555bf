//! Every endpoint of every provider, over any headers and any body: an event that can be published, or an
//! error; never a panic, and the same both times.
#![no_main]

use bytes::Bytes;
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use tocsin_fuzz::{Input, now};
use tocsin_ingress::normalize::{Delivery, Normalized};
use tocsin_ingress::provider::{self, Endpoint, Provider};
use tocsin_wire::identifier;
use tocsin_wire::proto::Event;
use tocsin_wire::{KeyToken, Subject, Token};

const SOURCE: &str = "shared";
/// Bounds that the drafts of events keep.
const MAX_TITLE_CHARS: usize = 300;
const MAX_TEXT_BYTES: usize = 256 * 1024;
const MAX_ATTRIBUTE_CHARS: usize = 512;
const MAX_ID_BYTES: usize = 200;
const MAX_NAME_BYTES: usize = 40;
/// Events of one delivery: what one answer may make the bus store.
const MAX_EVENTS: usize = 1000;

fuzz_target!(|data: &[u8]| {
    let input = Input::read(data);
    let all = provider::ALL.iter();
    let all = all.flat_map(|provider| {
        provider
            .endpoints
            .iter()
            .map(move |endpoint| (*provider, endpoint))
    });
    let (provider, endpoint) =
        input.choose(all.collect(), |(provider, endpoint)| match endpoint.path {
            "" => provider.name.to_owned(),
            path => format!("{}/{path}", provider.name),
        });
    let headers = input.headers(&[]);
    let body = Bytes::copy_from_slice(input.body);
    let first = read(provider, endpoint, &headers, &body);
    assert_eq!(
        first,
        read(provider, endpoint, &headers, &body),
        "another result the second time"
    );
    match first {
        Ok(Normalized::Event(event)) => {
            assert_eq!(event.raw_body, body, "the body is kept as it was signed");
            check(provider, endpoint, &event);
        }
        Ok(Normalized::Events(events)) => {
            assert!(
                events.len() <= MAX_EVENTS,
                "{} events of one delivery",
                events.len()
            );
            for event in &events {
                check(provider, endpoint, event);
                let part = &event.raw_body;
                let is_part = body.windows(part.len().max(1)).any(|window| window == part);
                assert!(is_part, "an event keeps its part of the batch as it came");
            }
        }
        Ok(Normalized::Ping | Normalized::Challenge(_) | Normalized::Subscription(_)) | Err(_) => {}
    }
});

fn read(
    provider: &Provider,
    endpoint: &Endpoint,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Normalized, &'static str> {
    let delivery = Delivery {
        source: SOURCE,
        headers,
        body,
        received_at: now(),
        secret_index: 0,
        kept_headers: &provider.kept_headers(),
        picks: None,
    };
    (endpoint.read)(delivery).map_err(|malformed| malformed.code())
}

fn check(provider: &Provider, endpoint: &Endpoint, event: &Event) {
    assert_eq!(event.provider, provider.name);
    assert_eq!(event.source_id, SOURCE);
    let own = format!("{}:{SOURCE}:", provider.name);
    for key in [&event.delivery_key, &event.semantic_key] {
        assert!(
            key.len() > own.len() && key.starts_with(&own),
            "key {key:?}"
        );
    }
    let correlation = &event.correlation_key;
    assert!(
        correlation.is_empty() || correlation.starts_with(&own),
        "key {correlation:?}"
    );
    for identifier in &event.identifiers {
        let (name, value) = (&identifier.r#type, &identifier.value);
        assert!(
            is_name(name),
            "the type of an identifier is a name of ours: {name:?}"
        );
        assert!(
            (1..=MAX_ID_BYTES).contains(&value.len()),
            "{name} {value:?}"
        );
    }
    assert!(event.title.chars().count() <= MAX_TITLE_CHARS);
    assert!(event.text.len() <= MAX_TEXT_BYTES);
    for (name, value) in &event.attributes {
        assert!(
            (1..=MAX_ATTRIBUTE_CHARS).contains(&value.chars().count()),
            "{name}"
        );
    }
    for header in &event.headers {
        assert!(
            !matches!(header.name.as_str(), "authorization" | "cookie"),
            "{}",
            header.name
        );
    }
    let subject = subject(event);
    assert_eq!(
        subject.to_string().parse(),
        Ok(subject),
        "a subject is what it is parsed to"
    );
    let _any = (endpoint.answer)(&event.kind);
}

/// Never a word of the sender's.
fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_plain)
}

/// Where ingress publishes it.
fn subject(event: &Event) -> Subject {
    let first = event.identifiers.first();
    let key = first.map(|first| identifier::normalise(&first.r#type, &first.value));
    let token = |text: &str| Token::new(text).expect("a token");
    Subject::Event {
        provider: token(&event.provider),
        source: token(&event.source_id),
        kind: token(&event.kind),
        key: KeyToken::encode(&key.unwrap_or_default()),
    }
}
