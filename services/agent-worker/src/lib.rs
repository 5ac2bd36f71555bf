//! Runs agents: takes runs from the work queue, investigates, and tells people.
//!
//! * reads: `work.run.<pool>.>` (consumer `workers-<pool>`), `journal.<org>.<team>.<run>`, bucket `teams`,
//!   the backlog of its pool.
//! * writes: `journal.>`, `results.agent-worker.>`, `work.run.>` (moving the backlog); Slack.
//! * owns: the journals. One run is one journal; appending to it with the expected sequence is the fence
//!   that makes one worker its owner.
//! * a sandbox run ([`run`]) is a run like any other, but that it calls nobody: no Slack, no GitHub, no
//!   PagerDuty. What it found is told beside what the event's first run found.
//! * never: decides whose an event is, changes configuration, changes anything in a team's systems.
//!
//! A run is taken step by step ([`run`]), each journaled before and after. What the next step is, is a
//! pure function of the journal ([`decide`]): so any worker can be killed at any moment, and another one
//! continues at the first step that is not finished.

mod backlog;
mod consume;
pub mod credential;
pub mod decide;
pub mod error;
pub mod model;
pub mod run;
pub mod settings;
pub mod slack;
pub mod team;
pub mod tools;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tocsin_bus::{Bus, BusState, SecretReader, follow_state};
use tocsin_kit::http_client::Timeouts;
use tocsin_kit::{Check, Context, Cores, HttpClient, Stop};
use tocsin_wire::proto::Limits;
use tocsin_wire::sealed::Audience;
use tocsin_wire::{OrgId, Pool, Service, TeamId, streams};
use tokio::sync::{mpsc, watch};

pub use error::Error;
pub use settings::Settings;

use backlog::Mover;
use consume::Handler;
use credential::Credential;
use model::{ModelClient, ModelTimeouts};
use run::Worker;
use slack::{SlackClient, SlackLimits};
use tools::Toolbox;

/// It waits for models and tools, beside the other services.
pub const CORES: Cores = Cores::Half;

/// Runs the worker until it is told to stop; runs in hand are handed over at their next step.
///
/// # Errors
/// When the bus cannot be reached at the start, refuses us, or lacks the pool's consumer.
pub async fn run(settings: Settings, context: Context) -> Result<(), Error> {
    let check = context.health.register("nats");
    let clock = context.clock.clone();
    let bus = Bus::connect(
        &settings.bus,
        Service::AgentWorker,
        &context.instance,
        Arc::new(move || clock.now()),
    );
    // Boxed: connecting declares and verifies everything.
    let Some(bus) = context.stop.until_soft(Box::pin(bus)).await else {
        return Ok(());
    };
    let bus = bus.map_err(Error::Connect)?;
    let state = bus.watch_state();
    context.tasks.spawn(
        "bus-health",
        watch_health(state, check, context.stop.clone()),
    );

    let worker = Arc::new(worker(&settings, &context, &bus)?);
    if !worker.slack.as_ref().is_some_and(|slack| slack.has_token()) {
        tracing::warn!(
            "SLACK_BOT_TOKEN is not set: only runs of teams with a token of their own post to Slack"
        );
    }
    let pool = settings.pool.clone();
    let freed = move_backlog(&context, &bus, pool.clone());

    let (consumer, _filter) = streams::workers_consumer(&pool);
    let handler = Arc::new(Handler {
        worker,
        teams: bus.bucket("teams"),
        bus: bus.clone(),
        freed,
        live: consume::LiveRuns::default(),
        incarnation: context.clock.now().as_nanosecond().to_string(),
        tries: AtomicU64::new(0),
    });
    let stop = context.stop.clone();
    tracing::info!(pool = %pool, slots = settings.slots, "taking runs");
    let handle = move |delivery| {
        let handler = Arc::clone(&handler);
        async move { handler.handle(delivery).await }
    };
    let consuming = bus.consume(
        ("WORK", &consumer),
        usize::from(settings.slots),
        async move { stop.soft().await },
        handle,
    );
    // Boxed: it holds every run's state.
    let ended = context.stop.until_hard(Box::pin(consuming)).await;
    ended
        .unwrap_or(Ok(()))
        .map_err(|source| Error::Consume { consumer, source })
}

/// Starts whoever moves waiting runs up; the sender tells of teams whose run has ended.
fn move_backlog(context: &Context, bus: &Bus, pool: Pool) -> mpsc::Sender<(OrgId, TeamId)> {
    let (freed, finished) = mpsc::channel(backlog::FREED);
    let (caught_up, known) = watch::channel(false);
    let mover = Arc::new(Mover::new(bus.clone(), pool));
    let stop = &context.stop;
    let (limits, watching) = (Arc::clone(&mover), stop.clone());
    context.tasks.spawn("backlog-limits", async move {
        limits.watch_limits(watching, caught_up).await;
        Ok::<(), Error>(())
    });
    context.tasks.spawn(
        "backlog-follow",
        backlog::follow(Arc::clone(&mover), known.clone(), finished, stop.clone()),
    );
    context.tasks.spawn(
        "backlog-sweep",
        backlog::sweep(mover, known, context.instance.clone(), stop.clone()),
    );
    freed
}

fn worker(settings: &Settings, context: &Context, bus: &Bus) -> Result<Worker, Error> {
    // A stream has no total time; the model's client limits each answer itself.
    let streaming = Timeouts {
        total: None,
        ..Timeouts::default()
    };
    let model_http = HttpClient::trusted(streaming).map_err(Error::Http)?;
    let trusted = HttpClient::trusted(Timeouts::default()).map_err(Error::Http)?;
    let model = ModelClient::new(
        model_http,
        &settings.openai_base_url,
        settings.openai_api_key.first().cloned(),
        ModelTimeouts {
            idle: settings.model_idle_timeout.duration(),
            total: settings.model_timeout.duration(),
        },
    );
    let limits = SlackLimits {
        post_interval: settings.slack_post_interval.duration(),
        update_interval: settings.slack_update_interval.duration(),
    };
    let slack = SlackClient::without_token(trusted.clone(), &settings.slack_api_url, limits);
    let slack = match settings.slack_bot_token.clone() {
        Some(token) => slack.with_token(Credential::Operator(token)),
        None => slack,
    };
    let hosts = settings.http_get_allow.iter();
    let hosts = hosts.map(|host| host.trim().to_ascii_lowercase());
    Ok(Worker {
        name: settings
            .worker_name
            .clone()
            .unwrap_or_else(|| context.instance.clone()),
        clock: context.clock.clone(),
        stop: context.stop.clone(),
        tasks: context.tasks.clone(),
        model,
        default_model: settings.model.clone(),
        limits: Limits {
            turns: settings.run_max_turns,
            seconds: settings.run_max_time.duration().as_secs(),
            tokens: settings.run_max_tokens,
            tool_calls: settings.run_max_tool_calls,
        },
        slack: Some(Arc::new(slack)),
        secrets: secrets(settings, bus)?,
        toolbox: Toolbox {
            guarded: context.http.clone(),
            trusted,
            prometheus_url: settings.prometheus_url.clone(),
            http_allow: hosts.filter(|host| !host.is_empty()).collect(),
        },
        connection: bus.watch_state(),
    })
}

/// Wrong keys end the worker; without any, runs whose teams refer to secrets say so.
fn secrets(settings: &Settings, bus: &Bus) -> Result<Option<SecretReader>, Error> {
    let Some(path) = &settings.sealing_key_file else {
        tracing::warn!("SEALING_KEY_FILE is not set: secrets of teams cannot be used");
        return Ok(None);
    };
    let audience = Audience::Worker(settings.pool.clone());
    let path = path.of(Service::AgentWorker.name());
    let reader = SecretReader::new(bus, audience, path).map_err(Error::Secrets)?;
    Ok(Some(reader))
}

/// `/ready` says what the bus says.
async fn watch_health(
    state: watch::Receiver<BusState>,
    check: Check,
    stop: Stop,
) -> Result<(), Error> {
    let following = follow_state(state, |state| match state {
        Ok(()) => check.ready(),
        Err(why) => check.not_ready(why),
    });
    stop.until_soft(following).await;
    Ok(())
}
