//! Webhooks from the world: verified over their raw bytes, normalized, signed, published, and only
//! then acknowledged.
//!
//! * **Reads** HTTP requests of the senders in [`provider::ALL`], what Slack sends over connections that are
//!   opened to it (Socket Mode), and the certificates of Amazon SNS.
//! * **Writes** `events.<provider>.<source>.<kind>.<key>`: one event per delivery, with the raw body and
//!   what is needed to verify it again; a body over 512 KiB to the object store `bodies`, before its event;
//!   `deferred.>` when its sender is over a limit and never comes again;
//!   `rate.>`, by which the limits hold over all replicas; and the bucket `source_health`.
//! * **Follows** the bucket `sources`, and opens the secrets that are sealed to this room.
//! * **Answers** `svc.ingress.source_health` and `svc.ingress.source_test`.
//! * **Owns** nothing: the same delivery has the same id in every replica and after every restart.
//! * **Never** says 2xx before the bus has stored the event, holds a delivery in memory after its
//!   answer, asks another service of ours or a database, logs a body or a signature, or lets anything in a
//!   body choose a tenant.
//!
//! [`verify`] and [`normalize`] are pure functions over headers and bytes; [`run`] is the shell.

mod address;
mod arrival;
pub mod diagnose;
mod error;
mod health;
mod http;
mod intake;
mod json;
mod large;
mod limits;
mod metrics;
pub mod normalize;
pub mod provider;
mod publish;
pub mod secrets;
pub mod settings;
mod sns;
mod socket_mode;
mod source;
mod sources;
pub mod verify;

use std::sync::Arc;

use tocsin_bus::{Bus, follow_state};
use tocsin_kit::http_server::{self, Tls};
use tocsin_kit::{Check, Context, Cores};
use tocsin_wire::Service;
use tocsin_wire::source::{SOURCE_HEALTH, SOURCES};
use tokio::net::TcpListener;

pub use error::Error;
pub use settings::Settings;

use crate::arrival::WaitingRoom;
use crate::http::{AtWork, Receiver, SlowBodies};
use health::{SourcesHealth, TestQuestion};
use intake::Intake;
use large::LargeBodies;
use limits::{RateLimits, SharedTiers};
use publish::Publisher;
use secrets::SourceSecrets;
use sns::Sns;
use socket_mode::SocketMode;
use source::Source;
use sources::Sources;

/// Each core may have a thread: senders wait.
pub const CORES: Cores = Cores::All;

/// Receives webhooks until `context` stops it. The port is open before the bus is there; until then
/// every delivery gets 503.
///
/// # Errors
/// When the port is taken, the certificate cannot be used, or the bus refuses us or lacks the stream EVENTS.
pub async fn run(settings: Settings, context: Context) -> Result<(), Error> {
    let listener = http_server::bind(&settings.listen)
        .await
        .map_err(Error::Serve)?;
    run_on(listener, settings, context).await
}

/// [`run`] on a port that is open already.
///
/// # Errors
/// As [`run`].
pub async fn run_on(
    listener: TcpListener,
    settings: Settings,
    context: Context,
) -> Result<(), Error> {
    let checks = Checks {
        nats: context.health.register("nats"),
        sources: context.health.register("sources"),
    };
    let apps = SocketMode::of(&settings, &context)?;
    let publisher = Arc::new(Publisher::default());
    let sns = Sns::new(context.http.clone(), settings.sns_certificates_dir.clone());
    let tiers = SharedTiers {
        org: settings.org_rate_tier,
        address: settings.address_rate_tier,
    };
    let limits = RateLimits::new(context.tasks.clone(), tiers);
    let intake = Intake::new(context.clock.clone(), Arc::clone(&publisher), sns, limits);
    let room = Room {
        shared: shared(&settings).map_err(Error::Scheme)?,
        sources: Arc::default(),
        intake: Arc::new(intake),
        health: Arc::default(),
        apps,
    };
    let receiver = Receiver {
        shared: room.shared.clone(),
        sources: Arc::clone(&room.sources),
        intake: Arc::clone(&room.intake),
        large: LargeBodies::default(),
        slow: SlowBodies::default(),
        at_work: AtWork::new(settings.request_timeout.duration()),
        waiting_room: WaitingRoom::of_all_sources(),
        proxies: settings.trusted_proxies.clone(),
    };
    let tls = settings.tls().map(Tls::load).transpose();
    let serving = serve(
        listener,
        tls.map_err(Error::Tls)?,
        receiver,
        &settings,
        &context,
    );
    let connecting = connect(&settings, &context, checks, &publisher, room);
    tokio::try_join!(Box::pin(serving), connecting)?;
    Ok(())
}

/// What the parts of this room share.
struct Room {
    shared: Vec<Arc<Source>>,
    sources: Arc<Sources>,
    intake: Arc<Intake>,
    health: Arc<SourcesHealth>,
    /// Slack apps that are connected to.
    apps: Vec<SocketMode>,
}

struct Checks {
    nats: Check,
    sources: Check,
}

/// What the secrets in the settings verify, one per provider.
fn shared(settings: &Settings) -> Result<Vec<Arc<Source>>, verify::InvalidScheme> {
    let tolerance = settings.tolerance.duration();
    let max_body = settings.max_body_bytes.as_usize();
    let shared = provider::ALL.iter().map(|provider| {
        let secrets = settings.secrets.of(provider);
        Source::shared(provider, secrets, tolerance, max_body).map(Arc::new)
    });
    let shared: Vec<_> = shared.collect::<Result<_, _>>()?;
    let names = |on: bool| -> Vec<_> {
        let those = shared.iter().filter(|source| source.is_on() == on);
        those.map(|source| source.provider.name).collect()
    };
    let (on, off) = (names(true), names(false));
    tracing::info!(
        ?on,
        ?off,
        "providers with and without a shared secret; the latter are refused"
    );
    Ok(shared)
}

async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    receiver: Receiver,
    settings: &Settings,
    context: &Context,
) -> Result<(), Error> {
    let (router, limits) = (receiver.router(), settings.limits());
    let served = match tls {
        Some(tls) => http_server::serve_tls(listener, tls, router, limits, context).await,
        None => http_server::serve(listener, router, limits, context).await,
    };
    served.map_err(Error::Serve)
}

async fn connect(
    settings: &Settings,
    context: &Context,
    checks: Checks,
    publisher: &Publisher,
    room: Room,
) -> Result<(), Error> {
    let clock = context.clock.clone();
    let now = Arc::new(move || clock.now());
    let connecting = Bus::connect(&settings.bus, Service::Ingress, &context.instance, now);
    let Some(connected) = context.stop.until_soft(Box::pin(connecting)).await else {
        return Ok(());
    };
    let bus = connected.map_err(Error::Connect)?;
    let state = bus.watch_state();
    follow_sources(settings, context, &bus, checks.sources, &room)?;
    answer_questions(context, &bus, &room);
    publisher.connected(bus);
    connect_to_slack(context, room);
    // Keeps the check at what the connection says, until the stop or the end of the client.
    let nats = checks.nats;
    let following = follow_state(state, |state| match state {
        Ok(()) => nats.ready(),
        Err(why) => nats.not_ready(why),
    });
    context.stop.until_soft(following).await;
    Ok(())
}

/// Sources as config publishes them, their secrets, and what is seen of them.
fn follow_sources(
    settings: &Settings,
    context: &Context,
    bus: &Bus,
    loaded: Check,
    room: &Room,
) -> Result<(), Error> {
    let (sources, stop) = (Arc::clone(&room.sources), context.stop.clone());
    let bucket = bus.bucket(SOURCES);
    context.tasks.spawn("follow sources", async move {
        sources.follow(bucket, &stop, loaded).await;
        Ok::<(), Error>(())
    });
    if let Some(path) = &settings.sealing_key_file {
        let secrets = SourceSecrets::new(bus, path).map_err(Error::Secrets)?;
        let (sources, stop) = (Arc::clone(&room.sources), context.stop.clone());
        context.tasks.spawn("open secrets", async move {
            sources.open(&secrets, &stop).await;
            Ok::<(), Error>(())
        });
    } else {
        tracing::warn!("SEALING_KEY_FILE is not set: sources cannot be used, only shared secrets");
    }
    let (health, stop) = (Arc::clone(&room.health), context.stop.clone());
    let bucket = bus.bucket(SOURCE_HEALTH);
    context.tasks.spawn("follow health", async move {
        health.follow(bucket, &stop).await;
        Ok::<(), Error>(())
    });
    let (sources, shared) = (Arc::clone(&room.sources), room.shared.clone());
    let (bus, stop) = (bus.clone(), context.stop.clone());
    context.tasks.spawn("write health", async move {
        let all = || {
            sources
                .all()
                .into_iter()
                .chain(shared.iter().cloned())
                .collect()
        };
        health::write_figures(&bus, all, &stop).await;
        Ok::<(), Error>(())
    });
    Ok(())
}

/// Begins once there is a bus to store events in.
fn connect_to_slack(context: &Context, room: Room) {
    let slack = |source: &&Arc<Source>| source.provider.name == normalize::slack::PROVIDER.name;
    let Some(source) = room.shared.iter().find(slack) else {
        return;
    };
    for app in room.apps {
        let (source, intake) = (Arc::clone(source), Arc::clone(&room.intake));
        context.tasks.spawn("slack connections", async move {
            app.keep(source, intake).await;
            Ok::<(), Error>(())
        });
    }
}

fn answer_questions(context: &Context, bus: &Bus, room: &Room) {
    let (health, serving, stop) = (Arc::clone(&room.health), bus.clone(), context.stop.clone());
    context.tasks.spawn("answer health", async move {
        let answer = move |question| std::future::ready(health.answer(question));
        let serving = serving.serve("source_health", stop.soft(), answer);
        serving.await.map_err(Error::Answer)
    });
    let (health, sources) = (Arc::clone(&room.health), Arc::clone(&room.sources));
    let (serving, stop, intake) = (bus.clone(), context.stop.clone(), Arc::clone(&room.intake));
    context.tasks.spawn("answer tests", async move {
        let answer = move |question| {
            let (sources, health) = (Arc::clone(&sources), Arc::clone(&health));
            let intake = Arc::clone(&intake);
            async move {
                let question = TestQuestion::read(question)?;
                let source = sources.with_id(&question.source)?;
                question.answer(&source, &health, &intake).await
            }
        };
        let serving = serving.serve("source_test", stop.soft(), answer);
        serving.await.map_err(Error::Answer)
    });
}
