//! Events once more, because somebody asked: with today's index and rules, for this request only.
//!
//! The events are read from EVENTS and DEFERRED by sequence or time. For each a decision is made as for a new
//! event, except that what `seen` remembers does not stop it; a claim of the request's own does, so
//! that a repeat of the command, or two deliveries of one thing, start one run. Ids follow from event
//! and request. Nobody is told by a replay that an event has no team: replays start investigations.

mod plan;
mod select;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tocsin_bus::{Bus, BusError, Delivery, Outcome, PublishError};
use tocsin_kit::ErrorChain;
use tocsin_wire::ids::{MessageId, RunId};
use tocsin_wire::proto::command::What;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{
    Decision, DecisionAction, Event, OriginalRun, ReplayCause, ReplayRequest, ReplayResult,
    ReplayTarget,
};
use tocsin_wire::replay::{VERB, Wanted, is_in_scope, target_name, wanted};
use tocsin_wire::{InvalidToken, OrgId, Priority, Subject, TeamId};

use crate::claim::{ClaimError, Claimant, Claims, Held, Remembered};
use crate::consume::{action_label, push, record_placement, run_id};
use crate::decide::{Decided, Reason, ReasonCode, Start, decide, decide_for};
use crate::index::Index;
use crate::owner::Owner;
use crate::place::{Arrival, PlaceError, Places};
use crate::publish::{Cause, Publisher, Replay, run_request};
use crate::rules::BotIdentity;
use crate::signals::{SignalError, Signals};
use select::{Selected, select};

/// Before a command is tried again that the bus could not carry; doubled with each delivery.
const BUS_RETRY: Duration = Duration::from_millis(500);

/// Carries out replays, and says beforehand what they would do.
pub(crate) struct Replayer {
    bus: Bus,
    index: Arc<Index>,
    bots: BotIdentity,
    claims: Claims,
    signals: Signals,
    places: Places,
    publisher: Publisher,
}

/// Why a command has not been carried out to its end.
#[derive(Debug, thiserror::Error)]
enum Unfinished {
    #[error("read events")]
    Read(#[from] BusError),
    #[error("claim an event for the request")]
    Claim(#[from] ClaimError),
    #[error("publish what follows from an event")]
    Publish(#[from] PublishError),
    #[error("find the run that an event joined")]
    Signal(#[from] SignalError),
    #[error("find a place for a run")]
    Place(#[from] PlaceError),
}

/// One command on its way.
struct Task {
    wanted: Wanted,
    /// Whose events it may touch; `all` for everybody's.
    scope: (OrgId, TeamId),
    command: MessageId,
    cause: ReplayCause,
    /// Ends the time range of a request that names no end.
    stored_at: Timestamp,
}

impl Task {
    fn allows(&self, owner: &Owner) -> bool {
        is_in_scope((&self.scope.0, &self.scope.1), &owner.org, &owner.team)
    }
}

impl Replayer {
    pub(crate) fn new(
        bus: &Bus,
        index: Arc<Index>,
        bots: BotIdentity,
    ) -> Result<Self, InvalidToken> {
        Ok(Self {
            bus: bus.clone(),
            index,
            bots,
            claims: Claims::new(bus),
            signals: Signals::new(bus),
            places: Places::new(bus.clone()),
            publisher: Publisher::new(bus.clone())?,
        })
    }

    /// Carries out one command. May run twice for any: what was done is found again.
    pub(crate) async fn handle(&self, delivery: Delivery) -> Outcome {
        let task = match task(&delivery) {
            Ok(task) => task,
            Err(reason) => return Outcome::Reject(reason),
        };
        let request = task.wanted.request;
        match self.carry_out(&task).await {
            Ok(result) => {
                let (by, target) = (&task.cause.requested_by, target_name(task.wanted.target));
                let (decided, runs) = (result.decided, result.runs);
                tracing::info!(%request, by, target, decided, runs, "events are replayed");
                Outcome::Done
            }
            Err(Unfinished::Publish(error @ PublishError::TooLarge { .. })) => {
                Outcome::Reject(ErrorChain(&error).to_string())
            }
            Err(error) => {
                tracing::warn!(%request, error = %ErrorChain(&error), "a replay is not finished yet; trying again");
                Outcome::Retry(BUS_RETRY)
            }
        }
    }

    async fn carry_out(&self, task: &Task) -> Result<ReplayResult, Unfinished> {
        let scope = (&task.scope.0, &task.scope.1);
        let allows = |event: &Event| self.is_allowed(scope, event);
        let found = select(&self.bus, &task.wanted, task.stored_at, allows).await?;
        let mut result = ReplayResult {
            cause: Some(task.cause.clone()),
            missing: found.missing.iter().map(ToString::to_string).collect(),
            untrusted: count(found.untrusted),
            more: found.more,
            out_of_scope: count(found.out_of_scope),
            ..ReplayResult::default()
        };
        for selected in &found.events {
            match self.replay(task, selected).await? {
                None => result.out_of_scope += 1,
                Some(decision) => {
                    result.decided += 1;
                    match decision.action() {
                        DecisionAction::Run => result.runs += 1,
                        DecisionAction::QueueFull => result.queue_full += 1,
                        _ => {}
                    }
                }
            }
        }
        let owner = Owner {
            org: task.scope.0.clone(),
            team: task.scope.1.clone(),
        };
        let told = result.clone();
        self.publisher
            .replay_result(&owner, &self.replay_of(task, None), told)
            .await?;
        Ok(result)
    }

    /// Decides on one event; `None` when the command may not touch it.
    async fn replay(
        &self,
        task: &Task,
        selected: &Selected,
    ) -> Result<Option<Decision>, Unfinished> {
        let mut decided = self.decide(selected, None);
        if !task.allows(&decided.owner.clone().unwrap_or_else(Owner::unrouted)) {
            return Ok(None);
        }
        let mut run = RunId::replay(selected.id, task.wanted.request);
        let mut duplicate = None;
        if let Some(start) = &decided.start {
            match self.claim(task, selected, run, &start.owner).await? {
                Held::Ours { .. } => {}
                Held::Settled {
                    owner, run: before, ..
                } => {
                    decided = self.decide(selected, Some(&owner));
                    run = before;
                }
                Held::Theirs { event_id, .. } => duplicate = Some(event_id),
            }
        }
        let start = decided.start.clone();
        let owner = decided.owner.clone().unwrap_or_else(Owner::unrouted);
        let original = self.original(task, selected, &owner).await?;
        let cause = Cause {
            event: selected.id,
            trace: None,
            at: self.bus.now(),
            replay: Some(self.replay_of(task, original)),
        };
        let mut decision = describe(decided, selected, &task.cause);
        match (duplicate, &start) {
            (Some(first), _) => record_duplicate(&mut decision, first),
            (None, Some(start)) => {
                // Nothing joins it: it was asked for by itself.
                let priority = Priority::from(selected.event.severity());
                let arrival = Arrival {
                    owner: &start.owner,
                    priority,
                    envelope: run_request(run, &cause, start, &selected.event, None),
                    cause: &cause,
                    // The request may have come before.
                    is_repeat: true,
                };
                let placed = self.places.place(&self.index, &arrival).await?;
                let place = (run, &start.owner, priority);
                record_placement(&self.places, placed, place, &mut decision).await?;
            }
            (None, None) => {}
        }
        metrics::counter!(
            "tocsin_router_replayed_total",
            "action" => action_label(decision.action()), "target" => target_name(task.wanted.target)
        )
        .increment(1);
        let told = decision.clone();
        self.publisher.decision(&owner, told, &cause).await?;
        Ok(Some(decision))
    }

    /// As for a new event, but that nobody is written to who is not waiting for an investigation.
    fn decide(&self, selected: &Selected, owner: Option<&Owner>) -> Decided {
        let (event, index) = (&selected.event, self.index.as_ref());
        let mut decided = match owner {
            None => decide(event, index, &self.bots),
            Some(owner) => decide_for(owner, event, index, &self.bots),
        };
        decided.start = decided.start.filter(is_investigation);
        decided
    }

    /// Whether the event would be decided on for somebody in `scope`.
    fn is_allowed(&self, scope: (&OrgId, &TeamId), event: &Event) -> bool {
        let decided = decide(event, self.index.as_ref(), &self.bots);
        let owner = decided.owner.unwrap_or_else(Owner::unrouted);
        is_in_scope(scope, &owner.org, &owner.team)
    }

    async fn claim(
        &self,
        task: &Task,
        selected: &Selected,
        run: RunId,
        owner: &Owner,
    ) -> Result<Held, ClaimError> {
        let by = Claimant {
            event: selected.id,
            run,
            owner: owner.clone(),
            joins: None,
        };
        let key = &selected.event.semantic_key;
        self.claims.replayed(task.wanted.request, key, &by).await
    }

    /// The event's first run, for the sandbox to compare with: never one of another organisation.
    async fn original(
        &self,
        task: &Task,
        selected: &Selected,
        owner: &Owner,
    ) -> Result<Option<OriginalRun>, Unfinished> {
        if task.wanted.target != ReplayTarget::Sandbox {
            return Ok(None);
        }
        let key = &selected.event.semantic_key;
        let (whose, run) = match self.claims.first(key).await? {
            None => (owner.clone(), run_id(key, owner)),
            Some(first) if first.owner.org != owner.org => return Ok(None),
            Some(first) => {
                let run = self.run_of(&first).await?;
                (first.owner, run)
            }
        };
        Ok(Some(OriginalRun {
            run_id: run.to_string(),
            org: whose.org.to_string(),
            team: whose.team.to_string(),
        }))
    }

    /// The run that an event joined, or else its own.
    async fn run_of(&self, first: &Remembered) -> Result<RunId, SignalError> {
        let Some(other) = first.joins else {
            return Ok(first.run);
        };
        let joined = self.signals.has_joined(&first.owner, other, first.event);
        Ok(if joined.await? { other } else { first.run })
    }

    fn replay_of(&self, task: &Task, original: Option<OriginalRun>) -> Replay {
        Replay {
            request: task.wanted.request,
            command: task.command,
            cause: task.cause.clone(),
            original,
        }
    }
}

/// What a message asks for, or why it cannot be done.
fn task(delivery: &Delivery) -> Result<Task, String> {
    let Subject::Command {
        verb, org, team, ..
    } = &delivery.subject
    else {
        return Err(format!("{} is no command", delivery.subject));
    };
    let Some(command) = delivery.envelope.message_id() else {
        return Err("the id of the command is no UUID".to_owned());
    };
    let body = match &delivery.envelope.body {
        Some(Body::Command(command)) => &command.what,
        _ => &None,
    };
    let Some(What::Replay(request)) = body.as_ref().filter(|_| verb.as_str() == VERB) else {
        return Err(format!(
            "the router knows no command {verb} with such a body; it knows {VERB}"
        ));
    };
    let wanted = wanted(request).map_err(|error| ErrorChain(&error).to_string())?;
    Ok(Task {
        cause: cause(request, &wanted),
        wanted,
        scope: (org.clone(), team.clone()),
        command,
        stored_at: delivery.stored_at,
    })
}

fn cause(request: &ReplayRequest, wanted: &Wanted) -> ReplayCause {
    ReplayCause {
        request_id: wanted.request.to_string(),
        requested_by: wanted.requested_by.clone(),
        reason: wanted.reason.clone(),
        target: request.target,
    }
}

fn is_investigation(start: &Start) -> bool {
    start.notice.is_none() && !start.owner.is_unrouted()
}

fn describe(decided: Decided, selected: &Selected, cause: &ReplayCause) -> Decision {
    let mut decision = decided.into_decision(&selected.id.to_string(), &selected.event);
    let why = match cause.reason.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    let (by, target) = (&cause.requested_by, target_name(cause.target()));
    let detail = format!("{by} asked to have it handled once more, to {target}{why}");
    let reason = Reason::new(ReasonCode::Replayed, detail);
    decision.reasons.insert(0, reason.into());
    decision.replay = Some(cause.clone());
    decision
}

fn record_duplicate(decision: &mut Decision, first: String) {
    let detail = format!("Event {first} tells of the same and is part of this replay.");
    push(decision, Reason::new(ReasonCode::DuplicateEvent, detail));
    decision.set_action(DecisionAction::Duplicate);
    decision.duplicate_of = first;
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
