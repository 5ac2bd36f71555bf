//! Messages as handlers see them.

use std::str::FromStr as _;

use async_nats::HeaderMap;
use bytes::Bytes;
use jiff::Timestamp;
use tocsin_wire::message::{Headers, TRACE_HEADER};
use tocsin_wire::proto::Envelope;
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
    /// The message as it came.
    pub raw: Raw,
}

/// A message as it came: whoever passes one on passes these bytes.
#[derive(Debug, Clone)]
pub struct Raw {
    /// Subject.
    pub subject: String,
    /// All headers.
    pub headers: Vec<(String, String)>,
    /// Encoded envelope.
    pub payload: Bytes,
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
    fn header(&self, name: &str) -> Option<&str> {
        self.0
            .and_then(|headers| headers.get(name))
            .map(|value| value.as_str())
    }
}

pub(crate) fn header_list(headers: Option<&HeaderMap>) -> Vec<(String, String)> {
    let Some(headers) = headers else {
        return Vec::new();
    };
    let mut list: Vec<(String, String)> = headers
        .iter()
        .flat_map(|(name, values)| {
            values
                .iter()
                .map(move |value| (name.to_string(), value.to_string()))
        })
        .collect();
    list.sort();
    list
}

pub(crate) fn raw(message: &async_nats::Message) -> Raw {
    Raw {
        subject: message.subject.to_string(),
        headers: header_list(message.headers.as_ref()),
        payload: message.payload.clone(),
    }
}

pub(crate) fn trace(headers: Option<&HeaderMap>) -> Option<String> {
    NatsHeaders(headers).header(TRACE_HEADER).map(str::to_owned)
}

/// Nanoseconds since 1970 as the client counts them.
pub(crate) fn timestamp(nanoseconds: i128) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(crate) fn rfc3339(text: &str) -> Timestamp {
    Timestamp::from_str(text).unwrap_or(Timestamp::UNIX_EPOCH)
}
