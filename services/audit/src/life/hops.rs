//! What happened when, in order.

use std::collections::BTreeSet;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Hop, MAX_DETAIL, Recorded, journal, kind};
use crate::decide::storable;

/// One thing that happened, before the distances are known.
pub(super) fn hop(at: Timestamp, what: &str, who: &str, detail: &str) -> Hop {
    Hop {
        at,
        since_previous_ms: 0.0,
        since_start_ms: 0.0,
        what: what.to_owned(),
        who: who.to_owned(),
        detail: storable(detail, MAX_DETAIL),
    }
}

/// All hops of `rows`, which are in the order of storing.
pub(super) fn hops(event_id: Uuid, rows: &[Recorded]) -> Vec<Hop> {
    let mut seen = BTreeSet::new();
    // What a run's journal tells is not told again by its results.
    let journaled: BTreeSet<Uuid> = rows
        .iter()
        .filter(|row| row.kind == kind::JOURNAL)
        .filter_map(|row| row.run_id)
        .collect();
    let mut hops = Vec::new();
    for row in rows {
        let is_new = seen.insert(row.message_id);
        let is_told = row.run_id.is_some_and(|run| journaled.contains(&run));
        match row.kind.as_str() {
            _ if row.is_event() => hops.extend(event(row, is_new)),
            // The same message once more: the id is derived, so it says the same.
            _ if !is_new => {}
            kind::DECISION if row.is_replay() => hops.push(replayed(row)),
            kind::DECISION => hops.push(decision(event_id, row)),
            kind::REPLAY_RESULT => hops.push(replay_result(row)),
            kind::RUN_STARTED | kind::RUN_POST | kind::RUN_RESULT if is_told => {}
            kind::RUN_STARTED => hops.push(started(row)),
            kind::RUN_POST => hops.push(posted(row)),
            kind::RUN_RESULT => hops.push(finished(row)),
            kind::SIGNAL => hops.push(signal(row)),
            kind::DEAD_LETTER => hops.push(dead_letter(row)),
            kind::JOURNAL => {}
            other => hops.push(hop(row.stored_at, other, &row.signer, "")),
        }
    }
    for run in journaled {
        hops.extend(journal::hops(run, rows));
    }
    // Stable: what happened at one time stays as it was stored.
    hops.sort_by_key(|hop| hop.at);
    hops
}

fn event(row: &Recorded, is_first: bool) -> Vec<Hop> {
    let place = format!(
        "{} #{}, signed with key {}",
        row.stream, row.sequence, row.key_id
    );
    if !is_first {
        let detail = format!("the same delivery once more: {place}");
        return vec![hop(row.stored_at, "stored again", &row.signer, &detail)];
    }
    let mut hops = Vec::new();
    if let Ok(at) = row.text("received_at").parse::<Timestamp>() {
        let detail = join(&[row.text("provider"), row.text("kind"), row.text("title")]);
        // Two clocks: nothing is stored before it came.
        hops.push(hop(at.min(row.stored_at), "received", &row.signer, &detail));
    }
    hops.push(hop(row.stored_at, "stored", &row.signer, &place));
    hops
}

fn decision(event_id: Uuid, row: &Recorded) -> Hop {
    let reason = row
        .summary
        .get("reasons")
        .and_then(|reasons| reasons.as_array()?.last())
        .map(|reason| super::text(reason, "detail"))
        .unwrap_or_default();
    if row.correlation_id != event_id {
        let detail = format!("event {}: {reason}", row.correlation_id);
        return hop(row.stored_at, "repeat folded in", &row.signer, &detail);
    }
    let owner = match (&row.org, &row.team) {
        (Some(org), Some(team)) => format!("{org}/{team}"),
        _ => String::new(),
    };
    let detail = join(&[
        row.text("action"),
        &owner,
        row.text("agent"),
        row.text("placement"),
        reason,
    ]);
    hop(row.stored_at, "decided", &row.signer, &detail)
}

fn replayed(row: &Recorded) -> Hop {
    let cause = row.summary.get("replay").cloned().unwrap_or_default();
    let asked = format!("asked by {}", super::text(&cause, "requested_by"));
    let run = row.run_id.map(|run| format!("run {run}"));
    let detail = join(&[
        super::text(&cause, "target"),
        row.text("action"),
        &asked,
        super::text(&cause, "reason"),
        run.as_deref().unwrap_or_default(),
    ]);
    hop(row.stored_at, "replayed", &row.signer, &detail)
}

fn replay_result(row: &Recorded) -> Hop {
    let (decided, runs) = (row.number("decided"), row.number("runs"));
    let detail = format!(
        "a replay by {}: {decided} decided, {runs} runs",
        row.text("requested_by")
    );
    hop(row.stored_at, "replay done", &row.signer, &detail)
}

fn started(row: &Recorded) -> Hop {
    let step = row.number("resumed_at_step");
    if step > 0 {
        let detail = format!("at step {step}");
        return hop(row.stored_at, "run resumed", row.text("worker"), &detail);
    }
    let detail = format!("agent {}", row.text("agent"));
    hop(row.stored_at, "run started", row.text("worker"), &detail)
}

fn posted(row: &Recorded) -> Hop {
    let (what, place) = journal::post(row.text("message_id"), row.text("channel"));
    let detail = join(&[row.text("phase"), row.text("destination"), &place]);
    hop(row.stored_at, what, &row.signer, &detail)
}

fn finished(row: &Recorded) -> Hop {
    let detail = join(&[
        row.text("outcome"),
        row.text("detail"),
        row.text("root_cause"),
    ]);
    hop(row.stored_at, "run finished", row.text("worker"), &detail)
}

fn signal(row: &Recorded) -> Hop {
    let who = match row.text("actor") {
        "" => row.signer.as_str(),
        actor => actor,
    };
    let detail = join(&[row.text("signal"), row.text("text")]);
    hop(row.stored_at, "signal", who, &detail)
}

fn dead_letter(row: &Recorded) -> Hop {
    let who = format!("{}/{}", row.text("stream"), row.text("consumer"));
    let detail = join(&[row.text("code"), row.text("reason"), row.text("subject")]);
    hop(row.stored_at, "dead letter", &who, &detail)
}

/// The parts that are not empty.
pub(super) fn join(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts
        .iter()
        .copied()
        .filter(|part| !part.is_empty())
        .collect();
    parts.join(" · ")
}
