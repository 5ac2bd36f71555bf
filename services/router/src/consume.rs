//! From an event to its decision: claims, then work, then the decision, then the acknowledgement.
//! A router that dies in between leaves what the next one finds and continues, with the same ids.

mod join;
mod queue;

pub(crate) use join::ordinal;
pub(crate) use queue::record_placement;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tocsin_bus::{Bus, BusError, Delivery, Outcome, PublishError};
use tocsin_kit::ErrorChain;
use tocsin_kit::telemetry::LogLimiter;
use tocsin_wire::ids::{EventId, RunId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Decision, DecisionAction, Event};
use tocsin_wire::{InvalidToken, Priority, time};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::claim::{ClaimError, Claimant, Claims, Held};
use crate::decide::{Decided, Reason, ReasonCode, Start, decide, decide_for, is_over};
use crate::index::Index;
use crate::owner::Owner;
use crate::place::{Arrival, PlaceError, Places};
use crate::publish::{Cause, Publisher, run_request};
use crate::rules::BotIdentity;
use crate::signals::News;
use crate::storm::{Alert, Storm, StormError};

/// Before an event is tried again that the bus could not take; doubled with each delivery.
const BUS_RETRY: Duration = Duration::from_millis(250);

/// Before a routed event is tried again whose team is not published yet. Config publishes both
/// within milliseconds of each other, in no order.
const SETTINGS_RETRY: Duration = Duration::from_millis(200);

/// Deliveries after which such a team counts as gone: with doubled pauses, six seconds.
const SETTINGS_TRIES: u64 = 6;

/// Before an alert is tried again whose run another router is about to queue: a few round trips.
const OPENING_RETRY: Duration = Duration::from_millis(250);

/// Before the end of an alert is tried again for which no run is open: it may have overtaken its alert, as
/// events are handled at the same time.
const RESOLVED_RETRY: Duration = Duration::from_millis(250);

/// Deliveries after which nobody is there to be told: with doubled pauses, almost two seconds, in which an
/// alert that came before is decided on.
const RESOLVED_TRIES: u64 = 4;

/// Events in hand for each that is at work: most of the others wait for their turn behind alerts of the same
/// fingerprint, and must not take the places of everybody else. Bounds memory: an event is under a
/// megabyte.
const IN_HAND: usize = 4;

/// Between two log lines about events that cannot be settled.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Handles events, any number at a time.
pub(crate) struct Router {
    bus: Bus,
    index: Arc<Index>,
    bots: BotIdentity,
    claims: Claims,
    storm: Storm,
    places: Places,
    publisher: Publisher,
    /// Events at work.
    slots: Semaphore,
    warnings: LogLimiter,
}

/// Why an event was not settled.
#[derive(Debug, thiserror::Error)]
enum Unsettled {
    #[error("claim the event")]
    Claim(#[from] ClaimError),
    #[error("publish what follows from the event")]
    Publish(#[from] PublishError),
    #[error("place the run")]
    Place(#[from] PlaceError),
    #[error("ask for the place in the team's queue")]
    Queue(#[from] BusError),
    #[error("take the event to the run that it belongs to")]
    Storm(#[from] StormError),
    #[error("the team's settings are not published yet")]
    SettingsMissing,
    #[error("no run is open yet that could be told that the alert is over")]
    NobodyToTell,
}

/// One event on its way through.
struct Task<'a> {
    event: &'a Event,
    cause: Cause,
    /// When ingress took it.
    received: Timestamp,
    /// Deliveries so far, this one included.
    attempt: u64,
    /// An earlier try, or an earlier delivery of the event, may have written what this one is about to.
    is_repeat: bool,
}

/// Which event was first to tell of something.
enum First {
    /// This one.
    This(Earlier),
    Another(Duplicate),
}

/// What an earlier try at the event has settled.
#[derive(Default)]
struct Earlier {
    /// There was one: of this delivery, or of the same event that was delivered before.
    found: bool,
    /// Whose it is, where that is not what this try would say.
    settled: Option<(Owner, RunId)>,
    /// The run that it meant to join.
    joins: Option<RunId>,
}

struct Duplicate {
    code: ReasonCode,
    event_id: String,
    run_id: String,
}

impl First {
    fn of(held: Held, code: ReasonCode) -> Self {
        match held {
            Held::Ours { found, joins } => Self::This(Earlier {
                found,
                settled: None,
                joins,
            }),
            Held::Settled { owner, run, joins } => Self::This(Earlier {
                found: true,
                settled: Some((owner, run)),
                joins,
            }),
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
        concurrency: usize,
    ) -> Result<Self, InvalidToken> {
        Ok(Self {
            bus: bus.clone(),
            index,
            bots,
            claims: Claims::new(bus),
            storm: Storm::new(bus),
            places: Places::new(bus.clone()),
            publisher: Publisher::new(bus.clone())?,
            slots: Semaphore::new(concurrency),
            warnings: LogLimiter::new(WARNING_INTERVAL),
        })
    }

    /// Deliveries that are to be handed over at a time, where `concurrency` are to be at work.
    pub(crate) fn in_hand(concurrency: usize) -> usize {
        concurrency.saturating_mul(IN_HAND)
    }

    /// Settles one delivery. May run twice for any.
    pub(crate) async fn handle(&self, delivery: &Delivery) -> Outcome {
        let Some(id) = delivery.envelope.message_id() else {
            return Outcome::Reject("the id of the event is no UUID".to_owned());
        };
        let Some(Body::Event(event)) = &delivery.envelope.body else {
            return Outcome::Reject(format!("{} is no event", delivery.envelope.kind()));
        };
        if event.delivery_key.is_empty() || event.semantic_key.is_empty() {
            return Outcome::Reject("the event has no delivery key or no semantic key".to_owned());
        }
        let received = event.received_at.as_ref().and_then(time::from_proto);
        let mut task = Task {
            event,
            cause: Cause {
                event: EventId::from(id.as_uuid()),
                trace: delivery.trace.clone(),
                at: self.bus.now(),
                replay: None,
            },
            received: received.unwrap_or(delivery.stored_at),
            attempt: delivery.attempt,
            is_repeat: delivery.attempt > 1,
        };
        match self.settle(&mut task).await {
            Ok(()) => Outcome::Done,
            Err(Unsettled::SettingsMissing) => Outcome::Retry(SETTINGS_RETRY),
            Err(Unsettled::NobodyToTell) => Outcome::Retry(RESOLVED_RETRY),
            Err(Unsettled::Storm(StormError::Opening { key })) => {
                tracing::debug!(event = %task.cause.event, key, "another event is opening the run");
                Outcome::Retry(OPENING_RETRY)
            }
            Err(
                Unsettled::Publish(error @ PublishError::TooLarge { .. })
                | Unsettled::Place(PlaceError::Publish(error @ PublishError::TooLarge { .. })),
            ) => Outcome::Reject(ErrorChain(&error).to_string()),
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

    async fn settle(&self, task: &mut Task<'_>) -> Result<(), Unsettled> {
        let begin = Instant::now();
        let mut decided = decide(task.event, self.index.as_ref(), &self.bots);
        let took = begin.elapsed();
        metrics::histogram!("tocsin_router_decide_seconds").record(took.as_secs_f64());
        if decided.settings_missing && task.attempt < SETTINGS_TRIES {
            return Err(Unsettled::SettingsMissing);
        }
        let alert = self.alert(task, &decided);
        // First the turn, then a slot: whoever waits for its turn is in nobody's way.
        let turn = match &alert {
            Some(alert) => self.storm.turn(alert).await,
            None => None,
        };
        let _slot = self.slots.acquire().await.ok();
        let mut first = First::This(Earlier::default());
        if let Some(start) = &decided.start {
            // Boxed, as all that follows for a run only: most events start none.
            let claiming = async {
                let open = match &alert {
                    Some(alert) => self.storm.candidate(alert).await?,
                    None => None,
                };
                let open = open.map(|open| open.run);
                Ok::<First, Unsettled>(self.claim(task, &start.owner, open).await?)
            };
            first = Box::pin(claiming).await?;
            if let First::This(earlier) = &first {
                task.is_repeat |= earlier.found;
                if let Some((owner, _)) = &earlier.settled {
                    decided = decide_for(owner, task.event, self.index.as_ref(), &self.bots);
                }
            }
        }
        let alert = self.alert(task, &decided);
        let ending = self.ending(task, &decided);
        let start = decided.start.clone();
        let owner = decided.owner.clone().unwrap_or_else(Owner::unrouted);
        let mut decision = self.describe(task, decided, took);
        match (first, start) {
            (First::Another(duplicate), _) => duplicate.record(&mut decision),
            (First::This(earlier), Some(start)) => {
                let alerts = (alert, ending);
                let starting = self.carry_out(task, earlier, &start, alerts, &mut decision);
                Box::pin(starting).await?;
            }
            (First::This(_), None) if is_over(task.event) => {
                let alerts = [ending, alert];
                Box::pin(self.tell_resolved(task, &alerts, &mut decision)).await?;
            }
            (First::This(_), None) => {}
        }
        // What is left to be told is this event's alone.
        drop(turn);
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

    /// Starts the run, or lets it join the one that is open.
    async fn carry_out(
        &self,
        task: &Task<'_>,
        earlier: Earlier,
        start: &Start,
        (alert, ending): (Option<Alert<'_>>, Option<Alert<'_>>),
        decision: &mut Decision,
    ) -> Result<(), Unsettled> {
        let derive = || run_id(&task.event.semantic_key, &start.owner);
        let run = earlier.settled.map_or_else(derive, |(_, run)| run);
        match &alert {
            Some(alert) if start.joins_open_run => {
                let runs = (run, earlier.joins.filter(|other| *other != run));
                self.join_or_start(task, alert, runs, start, decision)
                    .await?;
            }
            _ => {
                if let (Some(alert), Some(open)) = (&alert, earlier.joins)
                    && is_over(task.event)
                {
                    self.storm.tell(alert, open, News::Resolved).await?;
                }
                self.start(task, run, start, None, decision).await?;
            }
        }
        match ending {
            Some(ending) => self.remember(&ending, decision).await,
            None => Ok(()),
        }
    }

    /// What happened first: two events may tell of one thing. Then the delivery: its run must not
    /// change when a later version reads another meaning out of a repeat.
    async fn claim(
        &self,
        task: &Task<'_>,
        owner: &Owner,
        open: Option<RunId>,
    ) -> Result<First, ClaimError> {
        let by = Claimant {
            event: task.cause.event,
            run: run_id(&task.event.semantic_key, owner),
            owner: owner.clone(),
            joins: open,
        };
        let told = self.claims.semantic(&task.event.semantic_key, &by).await?;
        let Held::Ours { found, joins } = told else {
            return Ok(First::of(told, ReasonCode::DuplicateEvent));
        };
        // Both keys tell the same run, also when another one is open by now.
        let by = Claimant { joins, ..by };
        let delivered = self.claims.delivery(&task.event.delivery_key, &by).await?;
        let mut first = First::of(delivered, ReasonCode::DuplicateDelivery);
        if let First::This(earlier) = &mut first {
            earlier.found |= found;
        }
        Ok(first)
    }

    /// Publishes the run, or tells that there is no room for it.
    async fn start(
        &self,
        task: &Task<'_>,
        run: RunId,
        start: &Start,
        open_key: Option<&str>,
        decision: &mut Decision,
    ) -> Result<(), Unsettled> {
        let envelope = run_request(run, &task.cause, start, task.event, open_key);
        let priority = Priority::from(task.event.severity());
        let arrival = Arrival {
            owner: &start.owner,
            priority,
            envelope,
            cause: &task.cause,
            is_repeat: task.is_repeat,
        };
        let placed = self.places.place(&self.index, &arrival).await?;
        let place = (run, &start.owner, priority);
        match record_placement(&self.places, placed, place, decision).await? {
            Some(cap) => {
                self.tell_queue_full(task, start, cap).await?;
                // No run came of it: whoever tells of the same later is no duplicate.
                let keys = (&*task.event.semantic_key, &*task.event.delivery_key);
                Ok(self.claims.release(task.cause.event, keys).await?)
            }
            None => Ok(()),
        }
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
        DecisionAction::Join => "join",
        DecisionAction::Unspecified => "unspecified",
    }
}
