//! What comes of a replay, as RESULTS tells it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tocsin_bus::{Bus, ReadFrom, Stored};
use tocsin_wire::Service;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Decision, DecisionAction, ReplayRequest, ReplayResult, RunResult};
use tokio::time::Instant;

use super::text;
use crate::error::CommandError;
use crate::run::print;

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How far the broker's clock may be behind ours.
const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// Messages of one look.
const PAGE: usize = 500;

/// What is known so far.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) request_id: String,
    /// Runs that were asked for, by id, and how they ended.
    pub(super) runs: BTreeMap<String, Option<RunResult>>,
    pub(super) result: Option<ReplayResult>,
}

/// Something new for whoever waits.
#[derive(Debug)]
pub(super) enum News {
    Decided(Box<Decision>),
    Finished(Box<RunResult>),
    Done,
}

impl Progress {
    /// What a message means for this replay.
    pub(super) fn observe(&mut self, stored: Stored) -> Option<News> {
        if !matches!(stored.signer, Service::Router | Service::AgentWorker) {
            return None;
        }
        match stored.envelope.body? {
            Body::Decision(decision) => {
                let cause = decision.replay.as_ref()?;
                if cause.request_id != self.request_id {
                    return None;
                }
                if decision.action() == DecisionAction::Run {
                    self.runs.entry(decision.run_id.clone()).or_default();
                }
                Some(News::Decided(Box::new(decision)))
            }
            Body::RunResult(result) => {
                let run = self.runs.get_mut(&result.run_id)?;
                *run = Some(result.clone());
                Some(News::Finished(Box::new(result)))
            }
            Body::ReplayResult(result) => {
                let cause = result.cause.as_ref()?;
                if cause.request_id != self.request_id {
                    return None;
                }
                self.result = Some(result);
                Some(News::Done)
            }
            _ => None,
        }
    }

    pub(super) fn open_runs(&self) -> usize {
        self.runs.values().filter(|run| run.is_none()).count()
    }

    fn is_over(&self) -> bool {
        self.result.is_some() && self.open_runs() == 0
    }
}

/// Prints what happens until everything has happened.
pub(super) async fn follow(
    bus: &Bus,
    request: &ReplayRequest,
    since: Timestamp,
    timeout: Duration,
) -> Result<(), CommandError> {
    print(&format!("\nrequest {}\n", request.request_id))?;
    let mut progress = Progress {
        request_id: request.request_id.clone(),
        ..Progress::default()
    };
    let deadline = Instant::now() + timeout;
    let mut from = ReadFrom::Time(since.checked_sub(SKEW).unwrap_or(since));
    loop {
        let page = bus.read_back("RESULTS", "results.>", from, PAGE).await?;
        from = page.next;
        for stored in page.messages {
            let at = stored.stored_at;
            if let Some(news) = progress.observe(stored) {
                print(&text::news(at, &news, &progress))?;
            }
        }
        if progress.is_over() {
            return print(&text::summary(&progress));
        }
        if Instant::now() >= deadline {
            return Err(CommandError::TimedOut(text::unfinished(&progress)));
        }
        if !page.has_more {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}
