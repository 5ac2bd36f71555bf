//! Dead letters: the original bytes and headers, with where they came from and why.

use async_nats::jetstream;
use prost::Message as _;
use tocsin_wire::ids::{EventId, MessageId};
use tocsin_wire::message::{self, Headers};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{DeadLetter, Envelope, Header};
use tocsin_wire::{Subject, limits};

use crate::message::Raw;
use crate::place::Place;
use crate::publish::PublishError;

/// Room that a dead letter needs beside the original payload.
const OVERHEAD_BYTES: usize = 16 * 1024;

/// Why a message is given up.
pub(crate) struct Reason {
    /// Stable.
    pub(crate) code: &'static str,
    /// For people.
    pub(crate) text: String,
}

impl Reason {
    pub(crate) fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Publishes the dead letter and waits until it is stored.
pub(crate) async fn store(
    place: &Place,
    message: &jetstream::Message,
    raw: &Raw,
    reason: &Reason,
) -> Result<(), PublishError> {
    let (sequence, delivered) = message
        .info()
        .map(|info| {
            (
                info.stream_sequence,
                u64::try_from(info.delivered).unwrap_or(0),
            )
        })
        .unwrap_or_default();
    tracing::warn!(
        stream = %place.stream, consumer = %place.consumer, sequence, subject = %raw.subject,
        code = reason.code, reason = %reason.text, "message goes to the dead letters"
    );
    let id = MessageId::dead_letter(&place.stream, &place.consumer, sequence);
    let dead = DeadLetter {
        stream: place.stream.clone(),
        consumer: place.consumer.clone(),
        stream_sequence: sequence,
        delivery_count: delivered,
        subject: raw.subject.clone(),
        code: reason.code.to_owned(),
        reason: reason.text.clone(),
        headers: headers(raw),
        payload: fitting(&raw.payload),
    };
    let bus = &place.bus;
    let envelope = Envelope::new(
        id,
        bus.service(),
        bus.now(),
        correlation(raw, id),
        None,
        Body::DeadLetter(dead),
    );
    let subject = Subject::Dead {
        stream: place.stream.clone(),
        consumer: place.consumer.clone(),
    };
    let sealed = message::seal(&envelope, &subject, &bus.inner.key, None);
    bus.publish_sealed(sealed, None).await.map(|_| ())
}

fn headers(raw: &Raw) -> Vec<Header> {
    let owned = |(name, value): (&str, &str)| Header {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    raw.headers().into_iter().map(owned).collect()
}

/// A payload near the limit loses its end: a dead letter that can never be stored would block the
/// consumer for ever, and the original stays in its stream.
fn fitting(payload: &bytes::Bytes) -> bytes::Bytes {
    payload.slice(
        ..payload
            .len()
            .min(limits::MAX_MESSAGE_BYTES.saturating_sub(OVERHEAD_BYTES)),
    )
}

/// What the message says of itself, so that the dead letter shows in the event's life. It is not
/// proven when the signature did not hold; the code says so.
fn correlation(raw: &Raw, id: MessageId) -> EventId {
    let from_header = raw
        .header("correlationid")
        .and_then(|text| text.parse().ok());
    let from_body = || Envelope::decode(raw.payload.clone()).ok()?.correlation();
    from_header
        .or_else(from_body)
        .unwrap_or_else(|| id.as_uuid().into())
}
