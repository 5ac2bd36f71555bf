//! What a frame of Socket Mode says, and what is said in return: pure functions.
//!
//! A frame is a JSON object with a `type`. Those that want an answer carry an `envelope_id` and, as
//! `payload`, what Slack would have posted; it is put back into the form that it has over HTTP, so that
//! the normalizer, the kept body and the ids are the same by both ways.

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::json::{Flag, Text, object};
use crate::normalize::slack::{RETRY_NUMBER, RETRY_REASON};
use crate::provider::Answer;

object! {
    Outer {
        "type" => kind: Text<'a>,
        "envelope_id" => envelope_id: Text<'a>,
        "payload" => payload: Option<&'a RawValue>,
        "accepts_response_payload" => accepts_response_payload: Flag,
        "retry_attempt" => retry_attempt: Text<'a>,
        "retry_reason" => retry_reason: Text<'a>,
        "reason" => reason: Text<'a>,
        "num_connections" => num_connections: Text<'a>,
        "connection_info" => connection_info: ConnectionInfo<'a>,
    }
}

object! {
    ConnectionInfo { "app_id" => app_id: Text<'a> }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The first one: from here on envelopes come.
    Hello {
        app: String,
        /// Open connections of the app, this one included.
        connections: u64,
    },
    /// The connection ends soon.
    Disconnect(Farewell),
    Envelope(Box<Envelope>),
    /// Of a type that we do not know, or without the id by which it could be answered.
    Unknown {
        kind: String,
    },
}

/// Why Slack ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// It moves connections about, as it does every few hours; another one may be opened at once.
    Refresh,
    /// The app has as many connections as it may (10).
    TooMany,
    /// Somebody turned Socket Mode off.
    Disabled,
}

/// Something to take, and to answer once it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    id: String,
    pub(crate) kind: Kind,
    /// As Slack posts it over HTTP.
    pub(crate) body: Bytes,
    /// Those of Slack's over HTTP that say something here too.
    pub(crate) headers: HeaderMap,
    accepts_payload: bool,
}

/// What is in an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Event,
    Interaction,
    Command,
}

impl Kind {
    /// By the `type` of a frame.
    fn named(name: &str) -> Option<Self> {
        match name {
            "events_api" => Some(Self::Event),
            "interactive" => Some(Self::Interaction),
            "slash_commands" => Some(Self::Command),
            _ => None,
        }
    }

    /// The endpoint that would have received it.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Event => "events",
            Self::Interaction => "interactions",
            Self::Command => "commands",
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Event => "application/json",
            Self::Interaction | Self::Command => "application/x-www-form-urlencoded",
        })
    }
}

impl Frame {
    /// Reads a frame.
    ///
    /// # Errors
    /// When it is not JSON.
    pub(crate) fn read(text: &str) -> Result<Self, serde_json::Error> {
        let outer: Outer<'_> = serde_json::from_str(text)?;
        let kind = outer.kind.text();
        Ok(match (kind, Kind::named(kind), outer.envelope_id.get()) {
            ("hello", ..) => Self::Hello {
                app: outer.connection_info.app_id.owned(),
                connections: outer.num_connections.text().parse().unwrap_or_default(),
            },
            ("disconnect", ..) => Self::Disconnect(match outer.reason.text() {
                "link_disabled" => Farewell::Disabled,
                "too_many_websockets" => Farewell::TooMany,
                // `warning`, `refresh_requested`, and what may come.
                _ => Farewell::Refresh,
            }),
            (_, Some(kind), Some(id)) => Self::Envelope(Box::new(envelope(kind, id, &outer))),
            _ => Self::Unknown {
                kind: kind.to_owned(),
            },
        })
    }

    /// For metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Disconnect(_) => "disconnect",
            Self::Envelope(envelope) => match envelope.kind {
                Kind::Event => "events_api",
                Kind::Interaction => "interactive",
                Kind::Command => "slash_commands",
            },
            Self::Unknown { .. } => "unknown",
        }
    }
}

fn envelope(kind: Kind, id: &str, outer: &Outer<'_>) -> Envelope {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, kind.content_type());
    for (name, value) in [
        (RETRY_NUMBER, outer.retry_attempt.text()),
        (RETRY_REASON, outer.retry_reason.text()),
    ] {
        // A first attempt has number 0 here, and no header over HTTP.
        let is_said = !matches!(value, "" | "0");
        if let (true, Ok(value)) = (is_said, HeaderValue::from_str(value)) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let payload = outer.payload.map_or("", RawValue::get);
    Envelope {
        id: id.to_owned(),
        kind,
        body: body(kind, payload),
        headers,
        accepts_payload: outer.accepts_response_payload.0,
    }
}

/// What Slack would have posted.
fn body(kind: Kind, payload: &str) -> Bytes {
    match kind {
        Kind::Event => Bytes::copy_from_slice(payload.as_bytes()),
        Kind::Interaction => {
            let mut form = Serializer::new(String::new());
            form.append_pair("payload", payload);
            form.finish().into()
        }
        Kind::Command => {
            // What is no object makes an empty form, which is refused as one over HTTP is.
            let fields: Map<String, Value> = serde_json::from_str(payload).unwrap_or_default();
            let mut form = Serializer::new(String::new());
            for (name, value) in &fields {
                match value {
                    Value::Null => {}
                    Value::String(text) => {
                        form.append_pair(name, text);
                    }
                    other => {
                        form.append_pair(name, &other.to_string());
                    }
                }
            }
            form.finish().into()
        }
    }
}

impl Envelope {
    /// The text that tells Slack that this was taken: with what the sender would have read over HTTP, where
    /// Slack takes such a thing. All else that we say over HTTP means "well received", as the id alone does.
    pub(crate) fn answer(&self, answer: &Answer) -> String {
        match answer {
            Answer::NoOptions if self.accepts_payload => {
                json!({"envelope_id": self.id, "payload": {"options": []}}).to_string()
            }
            Answer::NoOptions | Answer::Ok | Answer::Empty | Answer::Challenge(_) => {
                json!({"envelope_id": self.id}).to_string()
            }
        }
    }
}

#[cfg(test)]
mod tests;
