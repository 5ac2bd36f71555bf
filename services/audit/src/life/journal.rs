//! The steps of a run, from its journal.

use jiff::Timestamp;
use serde_json::Value;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::journal_entry::{
    Entry, Finished, ModelRequested, ModelResponded, Posted, Resumed, SignalsHeard, Started,
    ToolFinished,
};
use tocsin_wire::proto::{JournalEntry, Usage};
use tocsin_wire::time;
use uuid::Uuid;

use super::hops::{hop, join};
use super::{Hop, Recorded, kind, number, text};
use crate::decide::outcome_label;

/// Journal messages of one run; a repeated one may be there twice.
fn messages(run: Uuid, rows: &[Recorded]) -> impl Iterator<Item = &Recorded> {
    rows.iter()
        .filter(move |row| row.kind == kind::JOURNAL && row.run_id == Some(run))
}

/// Entries of one run whose body is there, in the order of the run.
pub(super) fn entries(run: Uuid, rows: &[Recorded]) -> Vec<&JournalEntry> {
    let mut entries: Vec<&JournalEntry> = messages(run, rows)
        .filter_map(|row| match &row.body {
            Some(Body::Journal(journal)) => Some(&journal.entries),
            _ => None,
        })
        .flatten()
        .collect();
    entries.sort_by_key(|entry| entry.number);
    entries.dedup_by_key(|entry| entry.number);
    entries
}

pub(super) fn entry_time(entry: &JournalEntry) -> Option<Timestamp> {
    entry.at.as_ref().and_then(time::from_proto)
}

/// One hop per entry. Workers' clocks may differ: no entry is shown before the one it follows.
pub(super) fn hops(run: Uuid, rows: &[Recorded]) -> Vec<Hop> {
    let mut steps: Vec<(u64, Hop)> = Vec::new();
    for row in messages(run, rows) {
        match &row.body {
            Some(Body::Journal(journal)) => {
                let of_entry = |entry: &JournalEntry| {
                    let at = entry_time(entry).unwrap_or(row.stored_at);
                    (u64::from(entry.number), entry_hop(entry, at))
                };
                steps.extend(journal.entries.iter().map(of_entry));
            }
            _ => steps.extend(erased(row)),
        }
    }
    steps.sort_by_key(|(number, _)| *number);
    steps.dedup_by_key(|(number, _)| *number);
    let mut earliest = Timestamp::MIN;
    let mut hops: Vec<Hop> = steps.into_iter().map(|(_, hop)| hop).collect();
    for hop in &mut hops {
        earliest = earliest.max(hop.at);
        hop.at = earliest;
    }
    hops
}

/// What the summary still tells of entries whose body is gone.
fn erased(row: &Recorded) -> Vec<(u64, Hop)> {
    let entries = row.summary.get("entries").and_then(Value::as_array);
    let of_entry = |entry: &Value| {
        let at = text(entry, "at").parse().unwrap_or(row.stored_at);
        let subject = join(&[
            text(entry, "tool"),
            text(entry, "destination"),
            text(entry, "outcome"),
            "body erased",
        ]);
        let what = text(entry, "what").replace('_', " ");
        let hop = hop(at, &what, text(entry, "worker"), &subject);
        (number(entry, "number"), hop)
    };
    entries
        .map(|entries| entries.iter().map(of_entry).collect())
        .unwrap_or_default()
}

fn entry_hop(entry: &JournalEntry, at: Timestamp) -> Hop {
    let (what, detail) = match &entry.entry {
        None => ("unknown step", String::new()),
        Some(Entry::Started(started)) => ("run started", started_detail(started)),
        Some(Entry::Resumed(resumed)) => ("run resumed", resumed_detail(resumed)),
        Some(Entry::ModelRequested(asked)) => ("model asked", asked_detail(asked)),
        Some(Entry::ModelResponded(answered)) => ("model answered", answered_detail(answered)),
        Some(Entry::ToolStarted(started)) => ("tool started", started.tool.clone()),
        Some(Entry::ToolFinished(finished)) => tool_finished(finished),
        Some(Entry::PostStarted(started)) => ("post started", started.destination.clone()),
        Some(Entry::Posted(posted)) => posted_detail(posted),
        Some(Entry::SignalsHeard(heard)) => ("run was told", heard_detail(heard)),
        Some(Entry::Finished(finished)) => ("run finished", finished_detail(finished)),
    };
    hop(at, what, &entry.worker, &detail)
}

fn started_detail(started: &Started) -> String {
    let agent = format!("agent {}", started.agent);
    let model = match started.model.as_str() {
        "" => String::new(),
        model => format!("model {model}"),
    };
    join(&[&agent, &model])
}

fn resumed_detail(resumed: &Resumed) -> String {
    format!(
        "at step {}, {} ms after {} fell silent",
        resumed.at_step, resumed.idle_millis, resumed.previous_worker
    )
}

fn asked_detail(asked: &ModelRequested) -> String {
    let turn = format!("turn {}", asked.turn);
    let messages = format!("{} messages", asked.messages);
    let tools = if asked.without_tools { "no tools" } else { "" };
    join(&[&turn, &asked.model, &messages, tools])
}

fn answered_detail(answered: &ModelResponded) -> String {
    let turn = format!("turn {} in {} ms", answered.turn, answered.millis);
    let calls: Vec<String> = answered
        .tool_calls
        .iter()
        .map(|call| format!("{}({})", call.tool, call.arguments))
        .collect();
    let calls = match calls.as_slice() {
        [] => String::new(),
        calls => format!("calls {}", calls.join(", ")),
    };
    join(&[
        &turn,
        &tokens(answered.usage.as_ref()),
        &calls,
        &answered.text,
    ])
}

fn tokens(usage: Option<&Usage>) -> String {
    usage.map_or_else(String::new, |usage| {
        format!("{} + {} tokens", usage.input_tokens, usage.output_tokens)
    })
}

fn tool_finished(finished: &ToolFinished) -> (&'static str, String) {
    let what = if finished.failed {
        "tool failed"
    } else {
        "tool finished"
    };
    let took = format!("{} in {} ms", finished.tool, finished.millis);
    (what, join(&[&took, &finished.output]))
}

/// What a post is called, and where it is or why it is not.
pub(super) fn post(message_id: &str, channel: &str) -> (&'static str, String) {
    if message_id.is_empty() {
        // A worker writes the reason where the channel would stand.
        ("not posted", channel.to_owned())
    } else {
        ("posted", format!("message {message_id} in {channel}"))
    }
}

fn posted_detail(posted: &Posted) -> (&'static str, String) {
    let (what, place) = post(&posted.message_id, &posted.channel);
    let found = if posted.found_after_restart {
        "found after a restart, not posted twice"
    } else {
        ""
    };
    (what, join(&[&posted.destination, &place, found]))
}

fn heard_detail(heard: &SignalsHeard) -> String {
    let mut parts = vec![format!("{} joined so far", heard.joined)];
    if heard.resolved.is_some() {
        parts.push("resolved".to_owned());
    }
    if heard.closed {
        parts.push("nothing joins any more".to_owned());
    }
    parts.join(", ")
}

fn finished_detail(finished: &Finished) -> String {
    let root_cause = finished
        .findings
        .as_ref()
        .map_or("", |findings| findings.root_cause.as_str());
    join(&[
        outcome_label(finished.outcome()),
        &finished.detail,
        root_cause,
        &tokens(finished.usage.as_ref()),
    ])
}
