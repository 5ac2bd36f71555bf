//! What is said of a team's queue: the place of a run that waits, and that there is no room for more.

use jiff::Timestamp;
use tocsin_bus::BusError;
use tocsin_wire::ids::RunId;
use tocsin_wire::proto::{self, Decision, DecisionAction, Placement};
use tocsin_wire::{Priority, limits};

use super::join::ordinal;
use super::{Router, Task, Unsettled, push, run_id};
use crate::claim::{Claimant, Held};
use crate::decide::{Lookup as _, Reason, ReasonCode, Start, channel, queue_full};
use crate::owner::Owner;
use crate::publish::{Publisher, run_request};

/// How often a team is told at most that its queue is full.
const QUEUE_FULL_SECONDS: i64 = 10 * 60;

impl Router {
    /// Tells the team's channel, at most once per window. The team's own subjects are full, so the
    /// notice goes the way of what nobody owns.
    pub(super) async fn tell_queue_full(
        &self,
        task: &Task<'_>,
        full: &Start,
    ) -> Result<(), Unsettled> {
        let owner = Owner::unrouted();
        // A notice that finds no room is not told about by another one.
        let Some(destination) = self.queue_channel(full).filter(|_| full.owner != owner) else {
            return Ok(());
        };
        let key = queue_full_key(&full.owner, task.cause.at);
        let run = run_id(&key, &owner);
        let by = Claimant {
            event: task.cause.event,
            run,
            owner: owner.clone(),
            joins: None,
        };
        if !matches!(self.claims.semantic(&key, &by).await?, Held::Ours { .. }) {
            return Ok(());
        }
        let notice = Start {
            owner: owner.clone(),
            agent: String::new(),
            destinations: vec![destination],
            notice: Some(queue_full(&full.owner, limits::TEAM_BACKLOG)),
            joins_open_run: false,
        };
        let request = run_request(run, &task.cause, &notice, task.event, None);
        let placed = self
            .publisher
            .work(&owner, Priority::High, request, &task.cause)
            .await?;
        tracing::warn!(owner = %full.owner, told = placed.is_some(), "the queue of a team is full");
        Ok(())
    }

    /// The team's default channel, or else where the result would have gone.
    fn queue_channel(&self, full: &Start) -> Option<proto::Destination> {
        let rules = self.index.rules(&full.owner);
        let default = rules.and_then(|rules| rules.default_channel.clone());
        let elsewhere = || full.destinations.first().cloned();
        default.map(|id| channel(&id)).or_else(elsewhere)
    }
}

/// Says whether there was room for a run, and where: in the team's window, at which place in its queue, or
/// nowhere.
pub(crate) async fn record_placement(
    publisher: &Publisher,
    placed: Option<Placement>,
    (run, owner, priority): (RunId, &Owner, Priority),
    decision: &mut Decision,
) -> Result<(), BusError> {
    let Some(placement) = placed else {
        let waiting = limits::TEAM_BACKLOG;
        let detail = format!(
            "{owner} has {waiting} runs of this severity waiting, which is the most; no run was started. \
             Replay the event when there is room."
        );
        push(decision, Reason::new(ReasonCode::QueueFull, detail));
        decision.set_action(DecisionAction::QueueFull);
        return Ok(());
    };
    decision.run_id = run.to_string();
    decision.set_placement(placement);
    if placement != Placement::Backlog {
        return Ok(());
    }
    let position = publisher.queue_position(owner, priority).await?;
    let window = limits::TEAM_WINDOW;
    // Zero: it has moved up already, as the team's runs ended meanwhile.
    let place = match position {
        0 => "next".to_owned(),
        position => ordinal(position),
    };
    let detail = format!(
        "{owner} has {window} runs in hand; this one waits for its turn, {place} for team {}.",
        owner.team
    );
    push(decision, Reason::new(ReasonCode::Queued, detail));
    decision.queue_position = position;
    Ok(())
}

/// The same for all events of one window.
fn queue_full_key(owner: &Owner, at: Timestamp) -> String {
    let window = at.as_second().div_euclid(QUEUE_FULL_SECONDS);
    format!("queue_full:{owner}:{window}")
}
