//! What belongs to a life beside its own course: repeats of it, and replays.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tocsin_wire::proto::envelope::Body;
use uuid::Uuid;

use super::{Recorded, kind};
use crate::decide::storable;

/// Repeats that are told one by one; the hops have the others.
const MAX_DUPLICATES: usize = 50;

/// Characters of the difference between two findings.
const MAX_DIFFERENCE: usize = 8_000;

/// Runs that replays started.
pub(super) fn replayed_runs(rows: &[Recorded]) -> BTreeSet<Uuid> {
    let replays = rows
        .iter()
        .filter(|row| row.is_replay() && !row.is_repeat());
    replays.filter_map(|row| row.run_id).collect()
}

/// Events that told of the same as `event_id`, in the order in which they were decided on.
pub(super) fn duplicates(event_id: Uuid, rows: &[Recorded]) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    rows.iter()
        .filter(|row| row.is_repeat() && !row.is_replay() && row.correlation_id != event_id)
        .filter(|row| seen.insert(row.correlation_id))
        .take(MAX_DUPLICATES)
        .map(|row| {
            let reasons = row.summary.get("reasons").and_then(Value::as_array);
            let code = reasons.and_then(|reasons| reasons.last()?.get("code"));
            json!({ "event_id": row.correlation_id, "at": row.stored_at, "code": code })
        })
        .collect()
}

/// The replays of `event_id`, oldest first.
pub(super) fn replays(event_id: Uuid, rows: &[Recorded]) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    rows.iter()
        .filter(|row| row.is_replay() && row.correlation_id == event_id)
        .filter(|row| seen.insert(row.message_id))
        .map(|row| replay(row, rows))
        .collect()
}

fn replay(row: &Recorded, rows: &[Recorded]) -> Value {
    let cause = row.summary.get("replay").cloned().unwrap_or_default();
    let result = row.run_id.and_then(|run| {
        let mut results = rows.iter().filter(|other| other.run_id == Some(run));
        results.find(|other| other.kind == kind::RUN_RESULT)
    });
    let fact = |name: &str| result.map(|result| result.text(name).to_owned());
    json!({
        "at": row.stored_at,
        "request_id": cause.get("request_id"),
        "requested_by": cause.get("requested_by"),
        "reason": cause.get("reason"),
        "target": cause.get("target"),
        "action": row.text("action"),
        "org": row.org,
        "team": row.team,
        "agent": row.text("agent"),
        "run_id": row.run_id,
        "outcome": fact("outcome"),
        "root_cause": fact("root_cause"),
        "comparison": result.and_then(comparison),
    })
}

/// Its facts, and the difference while the body is there.
fn comparison(result: &Recorded) -> Option<Value> {
    let mut page = result.summary.get("comparison")?.as_object()?.clone();
    if let Some(Body::RunResult(told)) = &result.body
        && let Some(compared) = &told.comparison
    {
        let difference: Vec<String> = compared
            .difference
            .lines()
            .map(|line| storable(line, MAX_DIFFERENCE))
            .collect();
        page.insert("difference".to_owned(), difference.into());
    }
    Some(page.into())
}
