//! What the streams say happened.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use jiff::Timestamp;
use prost::Message as _;
use serde_json::json;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::journal_entry::Entry;
use tocsin_wire::proto::{Decision, DecisionAction, Envelope, RunPost, RunResult};

use crate::raw_nats::RawNats;

/// Messages in one answer of the server.
const BATCH: usize = 1_000;

/// A message as its stream holds it.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Where it was published.
    pub subject: String,
    /// Its place in the stream.
    pub sequence: u64,
    /// When the server stored it.
    pub at: Timestamp,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// The bytes.
    pub payload: bytes::Bytes,
}

impl Stored {
    /// The envelope inside.
    ///
    /// # Errors
    /// When it is none.
    pub fn envelope(&self) -> anyhow::Result<Envelope> {
        let envelope = Envelope::decode(self.payload.clone());
        envelope.with_context(|| format!("{} {} is no envelope", self.subject, self.sequence))
    }
}

/// Every message of `stream` on subjects that match `filter`, from `sequence` on, in order.
///
/// # Errors
/// When the server does not answer.
pub async fn read_stream(
    nats: &mut RawNats,
    stream: &str,
    filter: &str,
    mut sequence: u64,
) -> anyhow::Result<Vec<Stored>> {
    let subject = format!("$JS.API.DIRECT.GET.{stream}");
    let mut found = Vec::new();
    loop {
        let question = json!({ "batch": BATCH, "seq": sequence, "next_by_subj": filter });
        let mut answers = nats.ask_many(&subject, &question).await?;
        let last = answers.pop().context("an answer ends with a status")?;
        for answer in answers {
            let number = answer
                .header("Nats-Sequence")
                .and_then(|text| text.parse().ok());
            let at = answer
                .header("Nats-Time-Stamp")
                .and_then(|text| text.parse().ok());
            let stored = Stored {
                subject: answer.header("Nats-Subject").unwrap_or_default().to_owned(),
                sequence: number.context("a stored message without a sequence")?,
                at: at.context("a stored message without a time")?,
                headers: answer.headers,
                payload: answer.payload,
            };
            sequence = stored.sequence + 1;
            found.push(stored);
        }
        let is_more = last
            .header("Nats-Num-Pending")
            .is_some_and(|pending| pending != "0");
        if last.status == Some(404) || !is_more {
            return Ok(found);
        }
    }
}

/// RESULTS, read as far as it goes; ask again for more.
#[derive(Debug, Default)]
pub struct Results {
    next: u64,
    /// Decisions that started a run: event to run ids.
    pub runs_of: BTreeMap<String, BTreeSet<String>>,
    /// Every decision, by event.
    pub decisions: BTreeMap<String, Vec<Decision>>,
    /// When each run's end was first stored, and how it ended.
    pub finished: BTreeMap<String, (Timestamp, RunResult)>,
    /// Final posts, by run.
    pub final_posts: BTreeMap<String, Vec<RunPost>>,
}

impl Results {
    /// Reads what is new.
    ///
    /// # Errors
    /// When the server does not answer or a message is no envelope.
    pub async fn update(&mut self, nats: &mut RawNats) -> anyhow::Result<()> {
        for stored in read_stream(nats, "RESULTS", "results.>", self.next.max(1)).await? {
            self.next = stored.sequence + 1;
            match stored.envelope()?.body {
                Some(Body::Decision(decision)) => self.add_decision(decision),
                Some(Body::RunResult(result)) => {
                    let run = result.run_id.clone();
                    self.finished.entry(run).or_insert((stored.at, result));
                }
                Some(Body::RunPost(post)) if post.phase == "final" => {
                    self.final_posts
                        .entry(post.run_id.clone())
                        .or_default()
                        .push(post);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn add_decision(&mut self, decision: Decision) {
        if decision.action() == DecisionAction::Run {
            let runs = self.runs_of.entry(decision.event_id.clone()).or_default();
            runs.insert(decision.run_id.clone());
        }
        self.decisions
            .entry(decision.event_id.clone())
            .or_default()
            .push(decision);
    }

    /// Whether every run of the event has ended.
    pub fn is_over(&self, event: &str) -> bool {
        let runs = self.runs_of.get(event);
        runs.is_some_and(|runs| runs.iter().all(|run| self.finished.contains_key(run)))
    }
}

/// A worker continued what another one had begun.
#[derive(Debug, Clone)]
pub struct TakeOver {
    /// Who continued.
    pub worker: String,
    /// Who had it before.
    pub previous: String,
    /// When that was stored.
    pub at: Timestamp,
    /// How long nothing had been written, in ms.
    pub idle_millis: u64,
}

/// What one run's journal holds.
#[derive(Debug, Clone, Default)]
pub struct JournalSummary {
    /// The event that the run is for.
    pub event: String,
    /// First entries; one in a sound journal.
    pub started: usize,
    /// Last entries; one in a sound journal of a run that has ended.
    pub finished: usize,
    /// Model answers per turn; more than one means that a finished turn was asked again.
    pub answers: BTreeMap<u32, usize>,
    /// Results per call of a tool.
    pub tool_results: BTreeMap<String, usize>,
    /// Take-overs, in their order.
    pub resumed: Vec<TakeOver>,
    /// Workers that wrote into it.
    pub workers: BTreeSet<String>,
    /// Every entry in its order: when it was stored, by whom, and what it is.
    pub entries: Vec<(Timestamp, String, &'static str)>,
}

/// Every journal, by run.
///
/// # Errors
/// When the server does not answer or a message is no envelope.
pub async fn journals(nats: &mut RawNats) -> anyhow::Result<BTreeMap<String, JournalSummary>> {
    let mut journals: BTreeMap<String, JournalSummary> = BTreeMap::new();
    for stored in read_stream(nats, "JOURNAL", "journal.>", 1).await? {
        let Some(Body::Journal(journal)) = stored.envelope()?.body else {
            anyhow::bail!("{} {} is no journal", stored.subject, stored.sequence);
        };
        let summary = journals.entry(journal.run_id).or_default();
        for entry in journal.entries {
            summary.workers.insert(entry.worker.clone());
            let kind = entry.entry.as_ref().map_or("unknown", kind);
            summary
                .entries
                .push((stored.at, entry.worker.clone(), kind));
            match entry.entry {
                Some(Entry::Started(started)) => {
                    summary.started += 1;
                    summary.event = started.event_id;
                }
                Some(Entry::Resumed(resumed)) => {
                    summary.resumed.push(TakeOver {
                        worker: entry.worker,
                        previous: resumed.previous_worker,
                        at: stored.at,
                        idle_millis: resumed.idle_millis,
                    });
                }
                Some(Entry::ModelResponded(answer)) => {
                    *summary.answers.entry(answer.turn).or_default() += 1;
                }
                Some(Entry::ToolFinished(result)) => {
                    *summary.tool_results.entry(result.call_id).or_default() += 1;
                }
                Some(Entry::Finished(_)) => summary.finished += 1,
                _ => {}
            }
        }
    }
    Ok(journals)
}

const fn kind(entry: &Entry) -> &'static str {
    match entry {
        Entry::Started(_) => "started",
        Entry::Resumed(_) => "resumed",
        Entry::ModelRequested(_) => "model requested",
        Entry::ModelResponded(_) => "model responded",
        Entry::ToolStarted(_) => "tool started",
        Entry::ToolFinished(_) => "tool finished",
        Entry::SignalsHeard(_) => "signals heard",
        Entry::PostStarted(_) => "post started",
        Entry::Posted(_) => "posted",
        Entry::Finished(_) => "finished",
    }
}
