//! What is said of a team's queue: the place of a run that waits, and that there is no room for more.

use jiff::Timestamp;
use tocsin_bus::BusError;
use tocsin_wire::Priority;
use tocsin_wire::ids::RunId;
use tocsin_wire::proto::{self, Decision, DecisionAction, QueueCap};
use tocsin_wire::queue::Cap;

use super::join::ordinal;
use super::{Router, Task, Unsettled, push, run_id};
use crate::claim::{Claimant, Held};
use crate::decide::{Lookup as _, Reason, ReasonCode, Start, channel, queue_full};
use crate::owner::Owner;
use crate::place::{Arrival, Placed, Places};
use crate::publish::run_request;

/// How often a team is told at most that its queue is full.
const QUEUE_FULL_SECONDS: i64 = 10 * 60;

impl Router {
    /// Tells the team's channel, at most once per window. The team's own subjects are full, so the
    /// notice goes the way of what nobody owns.
    pub(super) async fn tell_queue_full(
        &self,
        task: &Task<'_>,
        full: &Start,
        cap: Cap,
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
            notice: Some(queue_full(&full.owner, &waiting(&full.owner, cap))),
            joins_open_run: false,
        };
        let arrival = Arrival {
            owner: &owner,
            priority: Priority::High,
            envelope: run_request(run, &task.cause, &notice, task.event, None),
            cause: &task.cause,
            is_repeat: task.is_repeat,
        };
        let placed = self.places.place(&self.index, &arrival).await?;
        let told = !matches!(placed, Placed::Full(_));
        tracing::warn!(owner = %full.owner, cap = setting(cap), told, "the queue of a team is full");
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

/// Says in a decision whether there was room for its run, and where: in the team's window, at which place in
/// its queue, or nowhere. Gives the number that was in the way then.
pub(crate) async fn record_placement(
    places: &Places,
    placed: Placed,
    (run, owner, priority): (RunId, &Owner, Priority),
    decision: &mut Decision,
) -> Result<Option<Cap>, BusError> {
    match placed {
        Placed::Admitted | Placed::Waits(_) => {
            decision.run_id = run.to_string();
            decision.set_placement(placed.placement());
        }
        Placed::Full(_) => decision.set_action(DecisionAction::QueueFull),
    }
    match placed {
        Placed::Admitted => Ok(None),
        Placed::Waits(cap) => {
            // Zero: it has moved up already, as runs ended meanwhile.
            let position = places.position(owner, priority).await?;
            waits(owner, position, cap, decision);
            Ok(None)
        }
        Placed::Full(cap) => {
            let detail = format!(
                "{} of this severity waiting, which is the most ({}); no run was started. Replay the event \
                 when there is room.",
                waiting(owner, cap),
                setting(cap)
            );
            push(decision, Reason::new(ReasonCode::QueueFull, detail));
            decision.set_ran_into(whose(cap));
            Ok(Some(cap))
        }
    }
}

/// Says where in the team's queue the run is.
fn waits(owner: &Owner, position: u64, cap: Cap, decision: &mut Decision) {
    let place = match position {
        0 => "next".to_owned(),
        position => ordinal(position),
    };
    let busy = match cap {
        Cap::Team(runs) => format!("{owner} has {runs} runs in hand"),
        Cap::Org(runs) => format!(
            "The {runs} runs that {} may have in hand are taken",
            owner.org
        ),
    };
    let detail = format!(
        "{busy}; this one waits for its turn, {place} for team {}.",
        owner.team
    );
    push(decision, Reason::new(ReasonCode::Queued, detail));
    decision.queue_position = position;
    decision.set_ran_into(whose(cap));
}

/// Whose number it is, for machines.
fn whose(cap: Cap) -> QueueCap {
    match cap {
        Cap::Team(_) => QueueCap::Team,
        Cap::Org(_) => QueueCap::Org,
    }
}

/// Where it is set.
fn setting(cap: Cap) -> &'static str {
    match cap {
        Cap::Team(_) => "limits.team.queued",
        Cap::Org(_) => "limits.org.queued",
    }
}

/// Who has how many runs waiting.
fn waiting(owner: &Owner, cap: Cap) -> String {
    match cap {
        Cap::Team(runs) => format!("Team {} has {runs} runs", owner.team),
        Cap::Org(runs) => format!("All teams of {} together have {runs} runs", owner.org),
    }
}

/// The same for all events of one window.
fn queue_full_key(owner: &Owner, at: Timestamp) -> String {
    let window = at.as_second().div_euclid(QUEUE_FULL_SECONDS);
    format!("queue_full:{owner}:{window}")
}
