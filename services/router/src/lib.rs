//! Decides whose an event is and what is to be done with it.
//!
//! * **Reads** EVENTS, DEFERRED and COMMANDS (consumers `router`), and the buckets `routing` and `teams` into
//!   memory.
//! * **Writes** `work.run.>`, `backlog.run.>`, `signal.>` and `results.router.decision.>`; one decision for
//!   every event, also for those that start nothing; and `results.router.replay.>`.
//! * **Owns** the bucket `seen`: which event was first to tell of something. Shares with the worker the
//!   bucket `open`: which run looks into the alerts of one fingerprint.
//! * **Answers** `svc.router.explain`: what would happen to an event, also under rules that somebody
//!   tries out. For a stored event it asks audit; nothing else in this room waits for another.
//!   `svc.router.replay_plan`: what a replay would do. `svc.router.queue`: what runs for a team and what
//!   waits, in its order.
//! * **Never** asks config or any other service while it decides, never keeps an event in memory
//!   that is not in EVENTS, and never starts a second run for the same delivery or message.
//!
//! [`decide::decide`] is a pure function of the event, the [`index::Index`] and the team's
//! [`rules::TeamRules`]. The shell ([`run`]) claims the event's keys, publishes the run, publishes the
//! decision and only then acknowledges. All ids are derived, so that a crash between any two of these
//! steps ends in the same messages.

mod claim;
mod consume;
pub mod decide;
mod error;
pub mod event_rules;
mod explain;
pub mod index;
pub mod owner;
mod place;
mod publish;
mod queue;
mod replay;
pub mod rules;
pub mod settings;
mod signals;
mod storm;

use std::sync::Arc;

use tocsin_bus::{Bus, follow_state};
use tocsin_kit::{Check, Context, Cores};
use tocsin_wire::Service;
use tokio::sync::watch;

pub use error::Error;
pub use settings::Settings;

use consume::Router;
use explain::Explainer;
use index::{Index, ROUTING, TEAMS};
use queue::QueueTeller;
use replay::Replayer;

/// The consumers that the router reads with: what comes, and what was held back until now.
const EVENTS: (&str, &str) = ("EVENTS", "router");
const DEFERRED: (&str, &str) = ("DEFERRED", "router");

/// The consumer of what people tell the router to do.
const COMMANDS: (&str, &str) = ("COMMANDS", "router");

/// Commands in hand at once: each reads and publishes by the hundred.
const COMMANDS_IN_HAND: usize = 2;

/// It works behind the bus, beside the other services.
pub const CORES: Cores = Cores::Half;

/// Runs the router until `context` stops it.
///
/// # Errors
/// When the bus refuses us, or lacks a stream, bucket or consumer that we need.
pub async fn run(settings: Settings, context: Context) -> Result<(), Error> {
    let nats = context.health.register("nats");
    let loaded = context.health.register("index");
    let clock = context.clock.clone();
    let connecting = Bus::connect(
        &settings.bus,
        Service::Router,
        &context.instance,
        Arc::new(move || clock.now()),
    );
    let Some(connected) = context.stop.until_soft(Box::pin(connecting)).await else {
        return Ok(());
    };
    let bus = connected.map_err(Error::Connect)?;
    report_connection(&context, &bus, nats);

    let index = Arc::new(Index::default());
    let caught_up = follow(&context, &bus, &index);
    serve_explain(&context, &bus, &index, &settings);
    serve_queue(&context, &bus, &index);
    // An index that is half full would send events to nobody.
    if context.stop.until_soft(all_true(caught_up)).await.is_none() {
        return Ok(());
    }
    let (identifiers, teams) = (index.identifiers(), index.teams());
    tracing::info!(identifiers, teams, "routing index loaded");
    loaded.ready();

    serve_replays(&context, &bus, &index, &settings)?;
    let concurrency = settings.concurrency.get();
    let router = Router::new(&bus, index, settings.bots(), concurrency).map_err(Error::Subject)?;
    let router = Arc::new(router);
    let consume = |consumer| {
        let (router, soft) = (Arc::clone(&router), context.stop.clone());
        let handler = move |delivery| {
            let router = Arc::clone(&router);
            async move { Box::pin(router.handle(&delivery)).await }
        };
        let stop = async move { soft.soft().await };
        bus.consume(consumer, Router::in_hand(concurrency), stop, handler)
    };
    tokio::try_join!(Box::pin(consume(EVENTS)), Box::pin(consume(DEFERRED)))
        .map(|_both| ())
        .map_err(Error::Consume)
}

/// Keeps the check `nats` at what the connection says.
fn report_connection(context: &Context, bus: &Bus, check: Check) {
    let state = bus.watch_state();
    let stop = context.stop.clone();
    context.tasks.spawn("connection", async move {
        let following = follow_state(state, |state| match state {
            Ok(()) => check.ready(),
            Err(why) => check.not_ready(why),
        });
        stop.until_soft(following).await;
        Ok::<(), Error>(())
    });
}

/// Starts following both buckets; each receiver turns true once its snapshot is in.
fn follow(context: &Context, bus: &Bus, index: &Arc<Index>) -> [watch::Receiver<bool>; 2] {
    [(ROUTING, "follow routing"), (TEAMS, "follow teams")].map(|(name, task)| {
        let (sender, receiver) = watch::channel(false);
        let (bucket, index, stop) = (bus.bucket(name), Arc::clone(index), context.stop.clone());
        context.tasks.spawn(task, async move {
            index.follow(bucket, name, stop.soft(), sender).await;
            Ok::<(), Error>(())
        });
        receiver
    })
}

async fn all_true(receivers: [watch::Receiver<bool>; 2]) {
    for mut receiver in receivers {
        // The sender lives as long as its watch, which only ends with the soft stop.
        let _ended = receiver.wait_for(|caught_up| *caught_up).await;
    }
}

/// Carries out commands, and says beforehand what they would do.
fn serve_replays(
    context: &Context,
    bus: &Bus,
    index: &Arc<Index>,
    settings: &Settings,
) -> Result<(), Error> {
    let replayer =
        Replayer::new(bus, Arc::clone(index), settings.bots()).map_err(Error::Subject)?;
    let replayer = Arc::new(replayer);
    let (planner, planning, stop) = (Arc::clone(&replayer), bus.clone(), context.stop.clone());
    context.tasks.spawn("replay plans", async move {
        let answer = move |question| {
            let planner = Arc::clone(&planner);
            async move { Box::pin(planner.plan(question)).await }
        };
        let serving = planning.serve("replay_plan", stop.soft(), answer);
        serving.await.map_err(Error::Plan)
    });
    let (bus, stop) = (bus.clone(), context.stop.clone());
    context.tasks.spawn("commands", async move {
        let handler = move |delivery| {
            let replayer = Arc::clone(&replayer);
            async move { Box::pin(replayer.handle(delivery)).await }
        };
        let stop = async move { stop.soft().await };
        let consuming = bus.consume(COMMANDS, COMMANDS_IN_HAND, stop, handler);
        consuming.await.map_err(Error::Commands)
    });
    Ok(())
}

fn serve_explain(context: &Context, bus: &Bus, index: &Arc<Index>, settings: &Settings) {
    let explainer = Explainer {
        bus: bus.clone(),
        index: Arc::clone(index),
        bots: Arc::new(settings.bots()),
    };
    let (bus, stop) = (bus.clone(), context.stop.clone());
    context.tasks.spawn("explain", async move {
        let answer = move |question| explainer.clone().answer(question);
        let serving = bus.serve("explain", stop.soft(), answer);
        serving.await.map_err(Error::Explain)
    });
}

fn serve_queue(context: &Context, bus: &Bus, index: &Arc<Index>) {
    let teller = QueueTeller {
        bus: bus.clone(),
        index: Arc::clone(index),
    };
    let (bus, stop) = (bus.clone(), context.stop.clone());
    context.tasks.spawn("queue", async move {
        let answer = move |question| teller.clone().answer(question);
        let serving = bus.serve("queue", stop.soft(), answer);
        serving.await.map_err(Error::Queue)
    });
}
