//! `svc.router.queue`: what runs for a team and what waits, in the order in which it moves up.
//!
//! Only operators may ask. `{"org": "acme", "team": "pay"}`, and of choice `"run": "<id>"` for the place of
//! one run, and `"limit"` for how many waiting runs are listed (100, at most 1,000).
//!
//! The answer has `admitted` (runs with the workers) and `waiting` (all that wait), both counted; `runs`,
//! the first that wait, each `{"position", "run_id", "severity", "since", "title"}`; `limits`, what holds
//! for the team and its org; and with `run`, its `position` (from 1, or null when it does not wait) and
//! `place` in words. Everything is read from the streams while it is asked: runs that move meanwhile may
//! be missing from one of the two.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use tocsin_bus::{Answer, Bus, BusError, Queued};
use tocsin_kit::ErrorChain;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::{Pool, Priority};

use crate::consume::ordinal;
use crate::index::Index;
use crate::owner::Owner;

/// Waiting runs that are listed unless the question says how many.
const LIMIT: usize = 100;
/// Most that are listed: an answer has to fit into a message.
const MAX_LIMIT: usize = 1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    org: String,
    team: String,
    run: Option<String>,
    limit: Option<usize>,
}

/// Answers questions.
#[derive(Clone)]
pub(crate) struct QueueTeller {
    pub(crate) bus: Bus,
    pub(crate) index: Arc<Index>,
}

impl QueueTeller {
    /// Answers one.
    ///
    /// # Errors
    /// 400 with what is wrong with the question, 503 when the broker does not answer.
    pub(crate) async fn answer(self, question: Value) -> Result<Value, Answer> {
        let question: Question = serde_json::from_value(question)
            .map_err(|error| refused(format!("ask for {{\"org\", \"team\"}}: {error}")))?;
        let owner = Owner::new(&question.org, &question.team)
            .map_err(|error| refused(error.to_string()))?;
        let limit = question.limit.unwrap_or(LIMIT).min(MAX_LIMIT);
        self.tell(&owner, question.run.as_deref(), limit)
            .await
            .map_err(|error| Answer {
                code: 503,
                detail: format!("the queue cannot be read: {}", ErrorChain(&error)),
            })
    }

    async fn tell(
        &self,
        owner: &Owner,
        run: Option<&str>,
        limit: usize,
    ) -> Result<Value, BusError> {
        let (pool, Owner { org, team }) = (Pool::shared(), owner);
        let counted = self.bus.count_admitted(&pool, org).await?;
        let own = counted.load.teams.get(team).cloned().unwrap_or_default();
        // The place of one run is only known once all before it are.
        let read = if run.is_some() { usize::MAX } else { limit };
        let waiting = self.bus.waiting_runs(&pool, org, team, read).await?;
        let listed: Vec<Value> = waiting.iter().zip(1..).take(limit).map(entry).collect();
        let limits = self.index.queues().read(org, |limits| limits.team(team));
        let mut answer = json!({
            "org": org,
            "team": team,
            "admitted": own.running,
            "waiting": own.waiting.values().sum::<u64>(),
            "org_admitted": counted.load.running(),
            "runs": listed,
            "limits": {
                "team": {"running": limits.team_running, "queued": limits.team_queued},
                "org": {"running": limits.org_running, "queued": limits.org_queued},
            },
        });
        if let (Some(run), Some(fields)) = (run, answer.as_object_mut()) {
            let mut places = waiting.iter().zip(1_u64..);
            let position =
                places.find_map(|(queued, place)| (run_id(queued) == run).then_some(place));
            let place = position.map(|place| format!("{} for team {team}", ordinal(place)));
            fields.insert("position".to_owned(), json!(position));
            fields.insert("place".to_owned(), json!(place));
        }
        Ok(answer)
    }
}

fn entry((queued, position): (&Queued, u64)) -> Value {
    let title = match &queued.stored.envelope.body {
        Some(Body::RunRequest(request)) => request.event.as_ref().map(|event| &event.title),
        _ => None,
    };
    json!({
        "position": position,
        "run_id": run_id(queued),
        "severity": severity(queued.priority),
        "since": queued.since().to_string(),
        "title": title,
    })
}

fn run_id(queued: &Queued) -> &str {
    match &queued.stored.envelope.body {
        Some(Body::RunRequest(request)) => &request.run_id,
        _ => "",
    }
}

fn severity(priority: Priority) -> &'static str {
    match priority {
        Priority::Critical => "critical",
        Priority::High => "high",
        Priority::Normal => "medium",
        Priority::Low => "low",
        Priority::Info => "info",
    }
}

fn refused(detail: String) -> Answer {
    Answer { code: 400, detail }
}
