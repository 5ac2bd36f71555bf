//! The run of an event: who worked on it, with what, and what came of it.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::journal_entry::Entry;
use tocsin_wire::proto::{Findings, JournalEntry, Usage};
use uuid::Uuid;

use super::{Recorded, journal, kind, milliseconds};
use crate::decide::{outcome_label, storable};

/// Longest text of a finding, in characters.
const MAX_FINDING: usize = 4_000;

/// Most members of a list of findings.
const MAX_FINDINGS: usize = 50;

/// Most tool calls told one by one; the steps count them all.
const MAX_TOOL_CALLS: usize = 200;

/// A run, as far as it has come.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Run {
    pub(crate) run_id: Uuid,
    pub(crate) org: Option<String>,
    pub(crate) team: Option<String>,
    pub(crate) agent: String,
    pub(crate) model: String,
    /// In the order in which they worked on it.
    pub(crate) workers: Vec<String>,
    pub(crate) started_at: Option<Timestamp>,
    /// From the work message stored to the run started.
    pub(crate) waited_ms: Option<u64>,
    /// How often another worker went on with it.
    pub(crate) resumed: Vec<Value>,
    /// Entries of the journal.
    pub(crate) steps: u32,
    pub(crate) tools: Vec<Value>,
    pub(crate) posts: Vec<Value>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) duration_ms: Option<f64>,
    /// completed, partial, failed, timed_out, cancelled; absent while it runs.
    pub(crate) outcome: Option<&'static str>,
    pub(crate) detail: String,
    pub(crate) findings: Option<Value>,
    pub(crate) usage: Option<Value>,
}

/// The run `id` from its journal, and from its results where the journal is not recorded (yet).
pub(super) fn run(id: Uuid, rows: &[Recorded]) -> Option<Run> {
    let about = |row: &&Recorded| row.run_id == Some(id) && row.kind != kind::DECISION;
    let first = rows.iter().find(about)?;
    let mut run = Run {
        run_id: id,
        org: first.org.clone(),
        team: first.team.clone(),
        ..Run::default()
    };
    for entry in journal::entries(id, rows) {
        run.apply(entry);
    }
    for row in rows.iter().filter(about) {
        run.add_result(row);
    }
    if let (Some(start), Some(end)) = (run.started_at, run.finished_at) {
        run.duration_ms = Some(milliseconds(start, end));
    }
    Some(run)
}

impl Run {
    fn apply(&mut self, entry: &JournalEntry) {
        let at = journal::entry_time(entry);
        self.steps = self.steps.max(entry.number);
        self.add_worker(&entry.worker);
        match &entry.entry {
            Some(Entry::Started(started)) => {
                self.started_at = at;
                self.agent.clone_from(&started.agent);
                self.model.clone_from(&started.model);
            }
            Some(Entry::Resumed(resumed)) => self.resumed.push(json!({
                "at": at,
                "at_step": resumed.at_step,
                "worker": entry.worker,
                "previous_worker": resumed.previous_worker,
                "idle_ms": resumed.idle_millis,
            })),
            Some(Entry::ToolFinished(tool)) if self.tools.len() < MAX_TOOL_CALLS => {
                self.tools.push(json!({
                    "tool": tool.tool, "ms": tool.millis, "failed": tool.failed, "truncated": tool.truncated,
                }));
            }
            Some(Entry::Posted(posted)) => {
                // The journal writes both in one: `first slack:C1/17.1`.
                let (phase, destination) = posted
                    .destination
                    .split_once(' ')
                    .unwrap_or(("", &posted.destination));
                let post = Post {
                    phase,
                    destination,
                    message_id: &posted.message_id,
                    channel: &posted.channel,
                };
                self.posts.push(post.page(at));
            }
            Some(Entry::Finished(finished)) => {
                self.finished_at = at;
                self.outcome = Some(outcome_label(finished.outcome()));
                self.detail.clone_from(&finished.detail);
                self.findings = finished.findings.as_ref().map(findings_page);
                self.usage = finished.usage.as_ref().map(usage_page);
            }
            _ => {}
        }
    }

    fn add_worker(&mut self, worker: &str) {
        let is_new = self.workers.last().is_none_or(|last| last != worker);
        if is_new && !worker.is_empty() {
            self.workers.push(worker.to_owned());
        }
    }

    fn add_result(&mut self, row: &Recorded) {
        let is_journaled = self.steps > 0;
        match row.kind.as_str() {
            kind::RUN_STARTED if row.number("resumed_at_step") == 0 => {
                self.waited_ms = Some(row.number("waited_ms"));
                if !is_journaled {
                    row.text("agent").clone_into(&mut self.agent);
                    self.started_at = Some(row.stored_at);
                    self.add_worker(row.text("worker"));
                }
            }
            kind::RUN_POST if !is_journaled => {
                let post = Post {
                    phase: row.text("phase"),
                    destination: row.text("destination"),
                    message_id: row.text("message_id"),
                    channel: row.text("channel"),
                };
                self.posts.push(post.page(Some(row.stored_at)));
            }
            kind::RUN_RESULT if self.outcome.is_none() => self.add_outcome(row),
            _ => {}
        }
    }

    fn add_outcome(&mut self, row: &Recorded) {
        row.text("detail").clone_into(&mut self.detail);
        self.finished_at = row.text("finished_at").parse().ok();
        self.started_at = self
            .started_at
            .or_else(|| row.text("started_at").parse().ok());
        match &row.body {
            Some(Body::RunResult(result)) => {
                self.outcome = Some(outcome_label(result.outcome()));
                self.findings = result.findings.as_ref().map(findings_page);
                self.usage = result.usage.as_ref().map(usage_page);
            }
            _ => self.outcome = known_outcome(row.text("outcome")),
        }
    }
}

/// The label as a constant, for a summary whose body is erased.
fn known_outcome(text: &str) -> Option<&'static str> {
    ["completed", "partial", "failed", "timed_out", "cancelled"]
        .into_iter()
        .find(|known| *known == text)
}

struct Post<'a> {
    phase: &'a str,
    destination: &'a str,
    message_id: &'a str,
    channel: &'a str,
}

impl Post<'_> {
    fn page(&self, at: Option<Timestamp>) -> Value {
        let (phase, destination) = (self.phase, self.destination);
        if self.message_id.is_empty() {
            // The channel then says why.
            return json!({
                "at": at, "phase": phase, "destination": destination, "delivered": false, "reason": self.channel,
            });
        }
        json!({
            "at": at, "phase": phase, "destination": destination, "delivered": true,
            "message_id": self.message_id, "channel": self.channel,
        })
    }
}

fn findings_page(findings: &Findings) -> Value {
    let clamp = |text: &String| storable(text, MAX_FINDING);
    let list =
        |texts: &[String]| -> Vec<String> { texts.iter().take(MAX_FINDINGS).map(clamp).collect() };
    json!({
        "summary": clamp(&findings.summary),
        "root_cause": clamp(&findings.root_cause),
        "evidence": list(&findings.evidence),
        "recommendations": list(&findings.recommendations),
        "confidence": findings.confidence,
    })
}

fn usage_page(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "turns": usage.turns,
        "tool_calls": usage.tool_calls,
        "estimated": usage.estimated,
    })
}
