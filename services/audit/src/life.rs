//! From the rows of one event to the page of its life. Pure.

mod hops;
mod journal;
mod related;
mod run;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tocsin_wire::proto::StoredBody;
use tocsin_wire::proto::envelope::Body;
use uuid::Uuid;

use crate::decide::storable;

pub(crate) use run::Run;

/// Most hops of one answer; with [`MAX_DETAIL`] it stays well under the bus's megabyte.
const MAX_HOPS: usize = 600;

/// Longest detail of a hop, in characters.
const MAX_DETAIL: usize = 400;

/// Longest text of an event in the answer, in characters.
const MAX_TEXT: usize = 4_000;

/// One row of the record with its decoded body.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) stored_at: Timestamp,
    pub(crate) stream: String,
    pub(crate) sequence: i64,
    pub(crate) message_id: Uuid,
    pub(crate) kind: String,
    pub(crate) signer: String,
    pub(crate) key_id: String,
    pub(crate) correlation_id: Uuid,
    pub(crate) org: Option<String>,
    pub(crate) team: Option<String>,
    pub(crate) run_id: Option<Uuid>,
    pub(crate) payload_sha256: Vec<u8>,
    pub(crate) summary: Value,
    /// `None` when it has been erased.
    pub(crate) body: Option<Body>,
}

/// Types of messages, as they stand in [`Recorded::kind`].
pub(crate) mod kind {
    pub(crate) const DECISION: &str = "tocsin.decision.v1";
    pub(crate) const JOURNAL: &str = "tocsin.journal.v1";
    pub(crate) const RUN_STARTED: &str = "tocsin.run_started.v1";
    pub(crate) const RUN_POST: &str = "tocsin.run_post.v1";
    pub(crate) const RUN_RESULT: &str = "tocsin.run_result.v1";
    pub(crate) const SIGNAL: &str = "tocsin.signal.v1";
    pub(crate) const REPLAY_RESULT: &str = "tocsin.replay_result.v1";
    pub(crate) const DEAD_LETTER: &str = "tocsin.dead_letter.v1";
}

/// Everything that is known of an event. Its JSON is documented in the crate's documentation.
#[derive(Debug, Serialize)]
pub(crate) struct Life {
    pub(crate) event_id: Uuid,
    pub(crate) event: Option<Value>,
    pub(crate) decision: Option<Value>,
    pub(crate) run: Option<Run>,
    /// Other events that told of the same.
    pub(crate) duplicates: Vec<Value>,
    /// When somebody had it handled once more, and what came of it.
    pub(crate) replays: Vec<Value>,
    pub(crate) dead_letters: Vec<Value>,
    pub(crate) hops: Vec<Hop>,
    pub(crate) hops_left_out: usize,
    pub(crate) total_ms: f64,
}

/// One step of a life.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Hop {
    pub(crate) at: Timestamp,
    pub(crate) since_previous_ms: f64,
    pub(crate) since_start_ms: f64,
    pub(crate) what: String,
    pub(crate) who: String,
    pub(crate) detail: String,
}

impl Recorded {
    /// A text of the summary; empty when it is not there.
    pub(crate) fn text(&self, name: &str) -> &str {
        text(&self.summary, name)
    }

    /// A number of the summary; 0 when it is not there.
    pub(crate) fn number(&self, name: &str) -> u64 {
        number(&self.summary, name)
    }

    /// A decision that somebody asked for once more.
    fn is_replay(&self) -> bool {
        self.kind == kind::DECISION && self.summary.get("replay").is_some()
    }

    pub(crate) fn is_event(&self) -> bool {
        matches!(self.stream.as_str(), "EVENTS" | "DEFERRED")
    }

    /// A repeat of somebody else's event: its decision names a run that it did not start.
    fn is_repeat(&self) -> bool {
        self.kind == kind::DECISION && self.text("action") == "duplicate"
    }
}

pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// Runs that this event started: what other events brought to them belongs to its life.
pub(crate) fn runs_of(rows: &[Recorded]) -> Vec<Uuid> {
    let own = rows.iter().filter(|row| !row.is_repeat());
    let runs: BTreeSet<Uuid> = own.filter_map(|row| row.run_id).collect();
    runs.into_iter().collect()
}

/// The life of `event_id` from its rows, in any order.
pub(crate) fn life(event_id: Uuid, mut rows: Vec<Recorded>) -> Life {
    rows.sort_by(|one, two| {
        (one.stored_at, &one.stream, one.sequence).cmp(&(two.stored_at, &two.stream, two.sequence))
    });
    let again = related::replayed_runs(&rows);
    let replays = related::replays(event_id, &rows);
    // What a replay did has its own line; its steps, days later, are no part of this life's time.
    let is_again = |row: &Recorded| row.run_id.is_some_and(|run| again.contains(&run));
    rows.retain(|row| row.is_replay() || !is_again(row));
    let mut hops = hops::hops(event_id, &rows);
    let total_ms = measure(&mut hops);
    let hops_left_out = leave_out_the_middle(&mut hops);
    let event = rows.iter().find(|row| row.is_event());
    let decision = rows
        .iter()
        .filter(|row| row.kind == kind::DECISION && row.correlation_id == event_id)
        .min_by_key(|row| row.is_replay());
    let run_id = decision
        .filter(|decision| !decision.is_repeat() && !decision.is_replay())
        .and_then(|decision| decision.run_id)
        .or_else(|| {
            let mut runs = runs_of(&rows).into_iter();
            runs.find(|run| !again.contains(run))
        });
    Life {
        event_id,
        event: event.map(event_page),
        decision: decision.map(decision_page),
        run: run_id.and_then(|id| run::run(id, &rows)),
        duplicates: related::duplicates(event_id, &rows),
        replays,
        dead_letters: rows
            .iter()
            .filter(|row| row.kind == kind::DEAD_LETTER)
            .map(dead_letter_page)
            .collect(),
        hops,
        hops_left_out,
        total_ms,
    }
}

/// How it began and how it ended matter most; returns how many hops are left out.
fn leave_out_the_middle(hops: &mut Vec<Hop>) -> usize {
    let left_out = hops.len().saturating_sub(MAX_HOPS);
    if left_out > 0 {
        let first = MAX_HOPS / 2;
        hops.drain(first..first + left_out);
    }
    left_out
}

/// Fills in the distances between hops that are in order; returns the whole.
fn measure(hops: &mut [Hop]) -> f64 {
    let Some(start) = hops.first().map(|hop| hop.at) else {
        return 0.0;
    };
    let mut previous = start;
    for hop in hops.iter_mut() {
        hop.since_previous_ms = milliseconds(previous, hop.at);
        hop.since_start_ms = milliseconds(start, hop.at);
        previous = hop.at;
    }
    milliseconds(start, previous)
}

/// With three decimals: the broker's clock counts microseconds.
pub(crate) fn milliseconds(from: Timestamp, to: Timestamp) -> f64 {
    let microseconds = to.duration_since(from).as_micros();
    f64::from(i32::try_from(microseconds / 1_000).unwrap_or(i32::MAX))
        + f64::from(i32::try_from(microseconds % 1_000).unwrap_or_default()) / 1_000.0
}

fn event_page(row: &Recorded) -> Value {
    let mut page = row.summary.as_object().cloned().unwrap_or_default();
    if let Some(Body::Event(event)) = &row.body {
        page.insert("title".to_owned(), storable(&event.title, MAX_TEXT).into());
        page.insert("text".to_owned(), storable(&event.text, MAX_TEXT).into());
        let attributes: Map<String, Value> = event
            .attributes
            .iter()
            .map(|(name, value)| (name.clone(), storable(value, MAX_DETAIL).into()))
            .collect();
        page.insert("attributes".to_owned(), attributes.into());
        let inside = event.raw_body.len().into();
        let outside = event.stored_body.as_ref();
        let raw_bytes = outside.map_or(inside, |stored| stored.size.into());
        page.insert("raw_bytes".to_owned(), raw_bytes);
        if let Some(StoredBody { store, object, .. }) = outside {
            let stored = json!({ "store": store, "object": object });
            page.insert("stored_body".to_owned(), stored);
        }
    }
    let secret_index = page.remove("secret_index").unwrap_or(json!(0));
    let secret_id = page.remove("secret_id");
    page.insert("stored_at".to_owned(), row.stored_at.to_string().into());
    page.insert("stream".to_owned(), row.stream.clone().into());
    page.insert("stream_sequence".to_owned(), row.sequence.into());
    page.insert("payload_sha256".to_owned(), hex(&row.payload_sha256).into());
    page.insert("body_erased".to_owned(), row.body.is_none().into());
    // Only what ingress had verified was signed and stored, only what held was recorded.
    page.insert(
        "signature".to_owned(),
        json!({
            "provider": {
                "verified": true, "secret_index": secret_index, "secret_id": secret_id,
                "header": signature_header(row.body.as_ref()),
            },
            "message": { "verified": true, "signer": row.signer, "key_id": row.key_id },
        }),
    );
    page.into()
}

/// The header in which the provider's signature came, where it is one that may be kept: passwords and
/// tokens never are.
fn signature_header(body: Option<&Body>) -> Option<String> {
    let Some(Body::Event(event)) = body else {
        return None;
    };
    let mut names = event.headers.iter().map(|header| &header.name);
    let name = names.find(|name| name.to_ascii_lowercase().contains("signature"))?;
    Some(storable(name, 64))
}

fn decision_page(row: &Recorded) -> Value {
    let mut page = row.summary.as_object().cloned().unwrap_or_default();
    page.insert("at".to_owned(), row.stored_at.to_string().into());
    page.insert("org".to_owned(), json!(row.org));
    page.insert("team".to_owned(), json!(row.team));
    page.insert("run_id".to_owned(), json!(row.run_id));
    page.into()
}

fn dead_letter_page(row: &Recorded) -> Value {
    let mut page = row.summary.as_object().cloned().unwrap_or_default();
    page.insert("at".to_owned(), row.stored_at.to_string().into());
    page.into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
