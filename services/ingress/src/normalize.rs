//! What a verified delivery says: one pure function per provider, from headers and body to an event.
//!
//! A signature that holds makes a delivery worth keeping, whatever is in it: a type nobody knows
//! becomes kind `other`, a field of an unexpected type counts as absent, a time that does not parse
//! is the time of receipt. Only a body that is no JSON (or no form) at all is refused.

mod alert_group;
pub mod alertmanager;
pub mod blameless;
pub mod cloudevents;
pub mod coralogix;
pub mod datadog;
mod draft;
pub mod firehydrant;
pub mod generic;
pub mod github;
pub mod gitlab;
pub mod grafana;
pub mod incidentio;
pub mod jira;
pub mod newrelic;
pub mod opsgenie;
pub mod pagerduty;
pub mod pick;
pub mod sentry;
mod severity;
pub mod slack;
pub mod sns;
pub mod stripe;
mod template;
mod times;
mod words;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};
use jiff::Timestamp;
use serde::de::Deserialize;
use serde_json::value::RawValue;
use tocsin_wire::proto::Event;

use crate::json::{Text, tolerant};
use pick::Picks;

/// Kind of what we have no name for; kept and audited, never routed.
pub const OTHER: &str = "other";

/// A delivery whose signature held.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The configured source, or `shared`.
    pub source: &'a str,
    pub headers: &'a HeaderMap,
    /// Raw, as it was signed.
    pub body: &'a Bytes,
    pub received_at: Timestamp,
    /// Which of the secrets matched.
    pub secret_index: usize,
    /// Headers that the event keeps: enough to verify it again and to find it at the sender.
    pub kept_headers: &'a [HeaderName],
    /// What its source picks from bodies, where it is one that does.
    pub picks: Option<&'a Picks>,
}

/// What to do with a delivery.
#[derive(Clone, Debug, PartialEq)]
pub enum Normalized {
    /// Store it. The event has no id yet; its `delivery_key` makes one.
    Event(Box<Event>),
    /// Store them all: a batch, in its order.
    Events(Vec<Event>),
    /// Acknowledge it; nothing happened.
    Ping,
    /// Answer with this text.
    Challenge(String),
    /// Visit this URL of SNS, and acknowledge it.
    Subscription(String),
}

/// A verified body that cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    #[error("the body is not JSON")]
    Json(#[source] serde_json::Error),
    #[error("the body is not UTF-8")]
    Utf8(#[source] std::str::Utf8Error),
    #[error(
        "this is no CloudEvent; send application/cloudevents+json, application/cloudevents-batch+json, or ce- headers"
    )]
    NoCloudEvent,
    #[error("the batch has more than {limit} events; send it in parts")]
    Batch { limit: usize },
    #[error("the form has none of the fields that this endpoint expects ({expected})")]
    Form { expected: &'static str },
}

impl Malformed {
    /// Stable code for answers and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Json(_) | Self::Utf8(_) => "invalid_json",
            Self::Form { .. } => "invalid_form",
            Self::NoCloudEvent => "unsupported_media_type",
            Self::Batch { .. } => "batch_too_large",
        }
    }
}

impl Delivery<'_> {
    /// A header's first value when it is printable ASCII, else nothing.
    fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    fn is_form(&self) -> bool {
        let kind = self.header(header::CONTENT_TYPE);
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
    }
}

/// Reads `T` from JSON. What is sound but more than Rust can hold (half a surrogate pair, a number beyond a
/// float) costs that character or that number, not the event.
fn read_json<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Malformed> {
    serde_json::from_str(json).or_else(|error| match serde_json::from_str::<&RawValue>(json) {
        Ok(sound) => tolerant::read(sound).map_err(Malformed::Json),
        Err(_) => Err(Malformed::Json(error)),
    })
}

/// The first of several texts that is there; empty when none is.
fn first<'a>(texts: &[&'a Text<'_>]) -> &'a str {
    texts.iter().find_map(|text| text.get()).unwrap_or_default()
}

fn utf8(body: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(body).map_err(Malformed::Utf8)
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod odd_bodies;
#[cfg(test)]
mod repeats;
