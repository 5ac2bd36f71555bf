//! Messages as handlers see them.

use std::str::FromStr as _;
use std::sync::Arc;

use async_nats::{HeaderMap, HeaderName};
use bytes::Bytes;
use jiff::Timestamp;
use tocsin_wire::message::Headers;
use tocsin_wire::proto::Envelope;
use tocsin_wire::signing::Digest;
use tocsin_wire::{Service, Subject};

/// A verified message, handed to one handler.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Where it was consumed.
    pub subject: Subject,
    /// What it says.
    pub envelope: Envelope,
    /// Whose signature held.
    pub signer: Service,
    /// Sequence in its stream.
    pub sequence: u64,
    /// 1 for the first delivery; counts crashes and retries alike.
    pub attempt: u64,
    /// When the server stored it.
    pub stored_at: Timestamp,
    /// W3C trace context, to be passed on.
    pub trace: Option<String>,
    /// SHA-256 of the payload, which the signature covers.
    pub payload_sha256: Digest,
    /// The message as it came.
    pub raw: Raw,
}

/// A message as it came: whoever passes one on passes these bytes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Raw {
    /// Subject.
    pub subject: String,
    /// Encoded envelope.
    pub payload: Bytes,
    headers: Option<Arc<HeaderMap>>,
}

impl Raw {
    /// What came on `subject`, of these parts.
    pub fn new<'a>(
        subject: impl Into<String>,
        headers: impl IntoIterator<Item = (&'static str, &'a str)>,
        payload: Bytes,
    ) -> Self {
        let named =
            |(name, value): (&'static str, &'a str)| (HeaderName::from_static(name), value.into());
        Self {
            subject: subject.into(),
            payload,
            headers: Some(Arc::new(headers.into_iter().map(named).collect())),
        }
    }

    /// Takes the headers out of `message`: whoever handles it shares them with whoever answers for it.
    pub(crate) fn take(message: &mut async_nats::Message) -> Self {
        Self {
            subject: message.subject.to_string(),
            payload: message.payload.clone(),
            headers: message.headers.take().map(Arc::new),
        }
    }

    /// All headers, sorted by name.
    pub fn headers(&self) -> Vec<(&str, &str)> {
        let Some(headers) = &self.headers else {
            return Vec::new();
        };
        let mut list: Vec<(&str, &str)> = headers
            .iter()
            .flat_map(|(name, values)| {
                values
                    .iter()
                    .map(move |value| (name.as_ref(), value.as_str()))
            })
            .collect();
        list.sort_unstable();
        list
    }
}

impl Headers for Raw {
    fn header(&self, name: &'static str) -> Option<&str> {
        first(self.headers.as_deref(), name)
    }
}

/// A verified message read from a stream, without a consumer.
#[derive(Debug, Clone)]
pub struct Stored {
    /// What it says.
    pub envelope: Envelope,
    /// Whose signature held.
    pub signer: Service,
    /// Sequence in its stream: what the next writer must expect.
    pub sequence: u64,
    /// When the server stored it.
    pub stored_at: Timestamp,
}

pub(crate) struct NatsHeaders<'a>(pub(crate) Option<&'a HeaderMap>);

impl Headers for NatsHeaders<'_> {
    fn header(&self, name: &'static str) -> Option<&str> {
        first(self.0, name)
    }
}

fn first<'a>(headers: Option<&'a HeaderMap>, name: &'static str) -> Option<&'a str> {
    let value = headers?.get(HeaderName::from_static(name))?;
    Some(value.as_str())
}

/// Nanoseconds since 1970 as the client counts them.
pub(crate) fn timestamp(nanoseconds: i128) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(crate) fn rfc3339(text: &str) -> Timestamp {
    Timestamp::from_str(text).unwrap_or(Timestamp::UNIX_EPOCH)
}
