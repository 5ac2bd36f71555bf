//! From an event to its decision: claims, then work, then the decision, then the acknowledgement.
//! A router that dies in between leaves what the next one finds and continues, with the same ids.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tocsin_bus::{Bus, Delivery, Outcome, PublishError};
use tocsin_kit::ErrorChain;
use tocsin_kit::telemetry::LogLimiter;
use tocsin_wire::ids::{EventId, RunId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{self, Decision, DecisionAction, Event, Placement};
use tocsin_wire::{InvalidToken, limits};
use tokio::time::Instant;

use crate::claim::{ClaimError, Claimant, Claims, Held};
use crate::decide::{Decided, Reason, ReasonCode, Start, channel, decide, decide_for, queue_full};
use crate::index::Index;
use crate::owner::Owner;
use crate::publish::{Cause, Publisher, run_request};
use crate::rules::BotIdentity;

/// Before an event is tried again that the bus could not take; doubled with each delivery.
const BUS_RETRY: Duration = Duration::from_millis(250);

/// Before a routed event is tried again whose team is not published yet. Config publishes both
/// within milliseconds of each other, in no order.
const SETTINGS_RETRY: Duration = Duration::from_millis(200);

/// Deliveries after which such a team counts as gone: with doubled pauses, six seconds.
const SETTINGS_TRIES: u64 = 6;

/// How often a team is told at most that its queue is full.
const QUEUE_FULL_SECONDS: i64 = 10 * 60;

/// Between two log lines about events that cannot be settled.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Handles events, any number at a time.
pub(crate) struct Router {
    bus: Bus,
    index: Arc<Index>,
    bots: BotIdentity,
    claims: Claims,
    publisher: Publisher,
    warnings: LogLimiter,
}

/// Why an event was not settled.
#[derive(Debug, thiserror::Error)]
enum Unsettled {
    #[error("claim the event")]
    Claim(#[from] ClaimError),
    #[error("publish what follows from the event")]
    Publish(#[from] PublishError),
    #[error("the team's settings are not published yet")]
    SettingsMissing,
}

/// One event on its way through.
struct Task<'a> {
    event: &'a Event,
    cause: Cause,
    /// Deliveries so far, this one included.
    attempt: u64,
}

/// Which event was first to tell of something.
enum First {
    /// This one; and when an earlier try at it has settled whose it is, that counts.
    This(Option<(Owner, RunId)>),
    Another(Duplicate),
}

struct Duplicate {
    code: ReasonCode,
    event_id: String,
    run_id: String,
}

impl First {
    fn of(held: Held, code: ReasonCode) -> Self {
        match held {
            Held::Ours => Self::This(None),
            Held::Settled { owner, run } => Self::This(Some((owner, run))),
            Held::Theirs { event_id, run_id } => Self::Another(Duplicate {
                code,
                event_id,
                run_id,
            }),
        }
    }
}

impl Duplicate {
    fn record(self, decision: &mut Decision) {
        let Self {
            code,
            event_id,
            run_id,
        } = self;
        let detail = format!("Event {event_id} told of the same before; its run is {run_id}.");
        push(decision, Reason::new(code, detail));
        decision.set_action(DecisionAction::Duplicate);
        decision.duplicate_of = event_id;
        decision.run_id = run_id;
    }
}

impl Router {
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
            publisher: Publisher::new(bus.clone())?,
            warnings: LogLimiter::new(WARNING_INTERVAL),
        })
    }

    /// Settles one delivery. May run twice for any.
    pub(crate) async fn handle(&self, delivery: Delivery) -> Outcome {
        let Some(id) = delivery.envelope.message_id() else {
            return Outcome::Reject("the id of the event is no UUID".to_owned());
        };
        let Some(Body::Event(event)) = &delivery.envelope.body else {
            return Outcome::Reject(format!("{} is no event", delivery.envelope.kind()));
        };
        if event.delivery_key.is_empty() || event.semantic_key.is_empty() {
            return Outcome::Reject("the event has no delivery key or no semantic key".to_owned());
        }
        let task = Task {
            event,
            cause: Cause {
                event: EventId::from(id.as_uuid()),
                trace: delivery.trace.clone(),
                at: self.bus.now(),
                replay: None,
            },
            attempt: delivery.attempt,
        };
        match self.settle(&task).await {
            Ok(()) => Outcome::Done,
            Err(Unsettled::SettingsMissing) => Outcome::Retry(SETTINGS_RETRY),
            Err(Unsettled::Publish(error @ PublishError::TooLarge { .. })) => {
                Outcome::Reject(ErrorChain(&error).to_string())
            }
            Err(error) => {
                // Every event in hand fails alike while the bus is away: one line for all of them.
                if let Some(suppressed) = self.warnings.permit() {
                    let error = ErrorChain(&error);
                    tracing::warn!(event = %task.cause.event, %error, suppressed, "an event is not settled yet; trying again");
                }
                metrics::counter!("tocsin_router_retries_total").increment(1);
                Outcome::Retry(BUS_RETRY)
            }
        }
    }

    async fn settle(&self, task: &Task<'_>) -> Result<(), Unsettled> {
        let begin = Instant::now();
        let mut decided = decide(task.event, self.index.as_ref(), &self.bots);
        let took = begin.elapsed();
        metrics::histogram!("tocsin_router_decide_seconds").record(took.as_secs_f64());
        if decided.settings_missing && task.attempt < SETTINGS_TRIES {
            return Err(Unsettled::SettingsMissing);
        }
        let mut first = First::This(None);
        if let Some(start) = &decided.start {
            first = self.claim(task, &start.owner).await?;
            if let First::This(Some((owner, _))) = &first {
                decided = decide_for(owner, task.event, self.index.as_ref(), &self.bots);
            }
        }
        let start = decided.start.clone();
        let owner = decided.owner.clone().unwrap_or_else(Owner::unrouted);
        let mut decision = self.describe(task, decided, took);
        match (first, start) {
            (First::Another(duplicate), _) => duplicate.record(&mut decision),
            (First::This(settled), Some(start)) => {
                let derive = || run_id(&task.event.semantic_key, &start.owner);
                let run = settled.map_or_else(derive, |(_, run)| run);
                self.start(task, run, &start, &mut decision).await?;
            }
            (First::This(_), None) => {}
        }
        metrics::counter!(
            "tocsin_router_decisions_total",
            "action" => action_label(decision.action()), "provider" => task.event.provider.clone()
        )
        .increment(1);
        self.publisher
            .decision(&owner, decision, &task.cause)
            .await?;
        Ok(())
    }

    /// What happened first: two events may tell of one thing. Then the delivery: its run must not
    /// change when a later version reads another meaning out of a repeat.
    async fn claim(&self, task: &Task<'_>, owner: &Owner) -> Result<First, ClaimError> {
        let by = Claimant {
            event: task.cause.event,
            run: run_id(&task.event.semantic_key, owner),
            owner: owner.clone(),
        };
        let told = self.claims.semantic(&task.event.semantic_key, &by).await?;
        if told != Held::Ours {
            return Ok(First::of(told, ReasonCode::DuplicateEvent));
        }
        let delivered = self.claims.delivery(&task.event.delivery_key, &by).await?;
        Ok(First::of(delivered, ReasonCode::DuplicateDelivery))
    }

    /// Publishes the run, or tells that there is no room for it.
    async fn start(
        &self,
        task: &Task<'_>,
        run: RunId,
        start: &Start,
        decision: &mut Decision,
    ) -> Result<(), Unsettled> {
        let request = run_request(run, &task.cause, start, task.event);
        let placed = self
            .publisher
            .work(&start.owner, request, &task.cause)
            .await?;
        record_placement(decision, run, &start.owner, placed);
        if placed.is_none() {
            self.tell_queue_full(task, start).await?;
        }
        Ok(())
    }

    /// Tells the team's channel, at most once per window. The team's own subjects are full, so the
    /// notice goes the way of what nobody owns.
    async fn tell_queue_full(&self, task: &Task<'_>, full: &Start) -> Result<(), Unsettled> {
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
        };
        if !matches!(self.claims.semantic(&key, &by).await?, Held::Ours) {
            return Ok(());
        }
        let notice = Start {
            owner: owner.clone(),
            agent: String::new(),
            destinations: vec![destination],
            notice: Some(queue_full(&full.owner, limits::TEAM_BACKLOG)),
        };
        let request = run_request(run, &task.cause, &notice, task.event);
        let placed = self.publisher.work(&owner, request, &task.cause).await?;
        tracing::warn!(owner = %full.owner, told = placed.is_some(), "the queue of a team is full");
        Ok(())
    }

    /// The team's default channel, or else where the result would have gone.
    fn queue_channel(&self, full: &Start) -> Option<proto::Destination> {
        use crate::decide::Lookup as _;
        let rules = self.index.rules(&full.owner);
        let default = rules.and_then(|rules| rules.default_channel.clone());
        let elsewhere = || full.destinations.first().cloned();
        default.map(|id| channel(&id)).or_else(elsewhere)
    }

    fn describe(&self, task: &Task<'_>, decided: Decided, took: Duration) -> Decision {
        let mut decision = decided.into_decision(&task.cause.event.to_string(), task.event);
        decision.decide_micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        decision.index_entries = u64::try_from(self.index.identifiers()).unwrap_or(u64::MAX);
        decision
    }
}

pub(crate) fn run_id(semantic_key: &str, owner: &Owner) -> RunId {
    RunId::derive(semantic_key, owner.org.as_str(), owner.team.as_str())
}

/// Whether there was room for a run, and where.
pub(crate) fn record_placement(
    decision: &mut Decision,
    run: RunId,
    owner: &Owner,
    placed: Option<Placement>,
) {
    let Some(placement) = placed else {
        let waiting = limits::TEAM_BACKLOG;
        let detail = format!(
            "{owner} has {waiting} runs waiting, which is the most; no run was started. Replay \
             the event when there is room."
        );
        push(decision, Reason::new(ReasonCode::QueueFull, detail));
        decision.set_action(DecisionAction::QueueFull);
        return;
    };
    decision.run_id = run.to_string();
    decision.set_placement(placement);
    if placement == Placement::Backlog {
        let window = limits::TEAM_WINDOW;
        let detail = format!("{owner} has {window} runs in hand; this one waits for its turn.");
        push(decision, Reason::new(ReasonCode::Queued, detail));
    }
}

/// The same for all events of one window.
fn queue_full_key(owner: &Owner, at: Timestamp) -> String {
    let window = at.as_second().div_euclid(QUEUE_FULL_SECONDS);
    format!("queue_full:{owner}:{window}")
}

pub(crate) fn push(decision: &mut Decision, reason: Reason) {
    decision.reasons.push(reason.into());
}

pub(crate) fn action_label(action: DecisionAction) -> &'static str {
    match action {
        DecisionAction::Run => "run",
        DecisionAction::Ignore => "ignore",
        DecisionAction::NoRoute => "no_route",
        DecisionAction::Ambiguous => "ambiguous",
        DecisionAction::Duplicate => "duplicate",
        DecisionAction::QueueFull => "queue_full",
        DecisionAction::Unspecified => "unspecified",
    }
}
