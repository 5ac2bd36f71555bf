//! From a message to its row. Pure.

mod summary;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use tocsin_bus::{Delivery, Raw};
use tocsin_wire::message::{Headers as _, SIGNATURE_HEADER};
use tocsin_wire::proto::Envelope;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::signing::Digest;
use tocsin_wire::token::{ALL, UNROUTED};
use uuid::Uuid;

pub(crate) use summary::outcome_label;

/// Longest text of an indexed column; PostgreSQL refuses index entries over 2,700 bytes.
const MAX_INDEXED_CHARACTERS: usize = 200;

/// One message as it is recorded: a row of `records` and one of `bodies`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    /// Microseconds, as the database keeps it.
    pub(crate) stored_at: Timestamp,
    pub(crate) stream: &'static str,
    pub(crate) sequence: i64,
    pub(crate) message_id: Uuid,
    pub(crate) subject: String,
    pub(crate) kind: String,
    pub(crate) signer: &'static str,
    pub(crate) key_id: String,
    pub(crate) written_at: Option<Timestamp>,
    pub(crate) correlation_id: Uuid,
    pub(crate) causation_id: Option<Uuid>,
    pub(crate) org: Option<String>,
    pub(crate) team: Option<String>,
    pub(crate) run_id: Option<Uuid>,
    pub(crate) delivery_id: Option<String>,
    pub(crate) payload_sha256: Digest,
    pub(crate) payload_bytes: i32,
    pub(crate) summary: Value,
    /// JSON: `[[name, value], …]`, sorted by name.
    pub(crate) headers: String,
    pub(crate) payload: Bytes,
}

/// The row of a message of `stream`. Whatever a signed message holds has a row: what cannot be
/// stored as text is left out of it and stays in the body.
pub(crate) fn record(stream: &'static str, delivery: Delivery) -> Record {
    let Delivery {
        envelope,
        signer,
        sequence,
        stored_at,
        payload_sha256,
        raw,
        ..
    } = delivery;
    let message_id = uuid(&envelope.id).unwrap_or_default();
    let tenant = envelope
        .tenant
        .as_ref()
        .filter(|tenant| tenant.org != UNROUTED && tenant.org != ALL);
    Record {
        stored_at: microseconds(stored_at),
        stream,
        // The server counts from 1 and gets nowhere near the sign bit.
        sequence: i64::try_from(sequence).unwrap_or(i64::MAX),
        message_id,
        subject: storable(&raw.subject, usize::MAX),
        kind: storable(&envelope.kind(), MAX_INDEXED_CHARACTERS),
        signer: signer.name(),
        key_id: key_id(&raw),
        written_at: envelope.written_at().map(microseconds),
        correlation_id: uuid(&envelope.correlation_id).unwrap_or(message_id),
        causation_id: uuid(&envelope.causation_id),
        org: tenant.map(|tenant| storable(&tenant.org, MAX_INDEXED_CHARACTERS)),
        team: tenant.map(|tenant| storable(&tenant.team, MAX_INDEXED_CHARACTERS)),
        run_id: run_id(&envelope),
        delivery_id: delivery_id(&envelope),
        payload_sha256,
        payload_bytes: i32::try_from(raw.payload.len()).unwrap_or(i32::MAX),
        summary: envelope
            .body
            .as_ref()
            .map_or_else(|| Value::Object(serde_json::Map::new()), summary::summary),
        headers: headers(&raw),
        payload: raw.payload,
    }
}

impl Record {
    /// The same with nothing that a database could refuse: for a row that it did refuse.
    pub(crate) fn bare(&self) -> Self {
        let plain = |text: &str| -> String {
            text.chars()
                .filter(char::is_ascii_graphic)
                .take(MAX_INDEXED_CHARACTERS)
                .collect()
        };
        Self {
            subject: plain(&self.subject),
            kind: plain(&self.kind),
            delivery_id: None,
            summary: serde_json::json!({ "summary_refused": true }),
            headers: "[]".to_owned(),
            ..self.clone()
        }
    }
}

/// PostgreSQL has microseconds; the broker's nanoseconds are cut, so that a repeat has the same key.
fn microseconds(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

fn uuid(text: &str) -> Option<Uuid> {
    Uuid::parse_str(text).ok()
}

/// `text` without the one character that neither `text` nor `jsonb` can hold, and not longer than
/// `limit` characters.
pub(crate) fn storable(text: &str, limit: usize) -> String {
    if text.len() <= limit && !text.contains('\0') {
        return text.to_owned();
    }
    let mut kept: String = text
        .chars()
        .filter(|&character| character != '\0')
        .take(limit)
        .collect();
    if text.chars().nth(limit).is_some() {
        kept.pop();
        kept.push('…');
    }
    kept
}

fn key_id(raw: &Raw) -> String {
    let id = raw.header(SIGNATURE_HEADER).and_then(|value| {
        let mut parts = value.split(';');
        parts.find_map(|part| part.strip_prefix("k="))
    });
    storable(id.unwrap_or_default(), MAX_INDEXED_CHARACTERS)
}

fn headers(raw: &Raw) -> String {
    let list = raw.headers();
    let clean = |(name, value): &(&str, &str)| !name.contains('\0') && !value.contains('\0');
    // Texts have a form in JSON always.
    if list.iter().all(clean) {
        return serde_json::to_string(&list).unwrap_or_default();
    }
    let storable = |text| storable(text, usize::MAX);
    let list = list
        .into_iter()
        .map(|(name, value)| [storable(name), storable(value)]);
    serde_json::to_string(&list.collect::<Vec<_>>()).unwrap_or_default()
}

fn run_id(envelope: &Envelope) -> Option<Uuid> {
    let text = match envelope.body.as_ref()? {
        Body::Decision(decision) => &decision.run_id,
        Body::RunRequest(request) => &request.run_id,
        Body::Journal(journal) => &journal.run_id,
        Body::RunStarted(started) => &started.run_id,
        Body::RunPost(post) => &post.run_id,
        Body::RunResult(result) => &result.run_id,
        Body::Signal(signal) => &signal.run_id,
        Body::Claim(claim) => &claim.run_id,
        Body::OpenRun(open) => &open.run_id,
        _ => return None,
    };
    uuid(text)
}

fn delivery_id(envelope: &Envelope) -> Option<String> {
    let event = envelope.event()?;
    let id = indexed(&event.delivery_id);
    Some(id).filter(|id| !id.is_empty())
}

/// A text as it stands in an indexed column, for who looks it up.
pub(crate) fn indexed(text: &str) -> String {
    storable(text, MAX_INDEXED_CHARACTERS)
}

#[cfg(test)]
mod tests;
