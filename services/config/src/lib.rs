//! The tenants: org → unit → team, what each sets, who may call, and what leads to which team.
//!
//! * **Reads** schema `config` in Postgres.
//! * **Writes** schema `config`; the buckets `routing` (identifier → owners) and `teams` (effective
//!   config of each team); `config.changed.<org>.<node>`. A write and its outbox row commit
//!   together; the outbox is published in order, snapshots before news.
//! * **Owns** nodes and their history, team tokens, routing identifiers: it is the only source of
//!   truth for them, and everything it puts on the bus can be rebuilt from Postgres.
//! * **Answers** the HTTP API under `/api/v1`, and `svc.config.effective` and `svc.config.lookup` for
//!   the operator.
//! * **Never** stores a token, only a keyed hash of it; never changes state when it is asked a
//!   question; never takes org or team of a token's holder from anywhere but the token's row.
//!
//! The rules are pure: `merge` (inheritance and patches), `decide` (what a write may do and what
//! follows), `routing` (claims and lookups), `token` (what a credential is worth). `pg` holds all SQL,
//! `http` the routes, `publish` the way to the bus.
//!
//! While Postgres is down, requests are answered 503 `database_unavailable` and `/ready` says so;
//! while NATS is down, writes go on and wait in the outbox.

mod answers;
mod cache;
mod change;
mod decide;
mod defaults;
mod depth;
mod diff;
mod error;
mod explain;
mod http;
mod identity;
mod ingress;
mod integrations;
mod lookup;
mod merge;
mod node;
mod pg;
mod policy;
mod publish;
mod reading;
mod rebuild;
mod remediation;
mod revocations;
mod routing;
mod schema;
mod secrets;
mod section;
mod settings;
mod shipped;
mod source;
mod templates;
mod token;

use std::sync::Arc;
use std::time::Duration;

use tocsin_bus::{Bus, BusState, follow_state};
use tocsin_kit::{Check, Context, Cores, ErrorChain, http_server};
use tocsin_store::{Store, outbox};
use tocsin_wire::Service;
use tocsin_wire::catalogue::Catalogue;
use tokio::sync::watch;

pub use error::Error;
pub use rebuild::{Rebuilt, rebuild};
pub use secrets::SecretSettings;
pub use settings::Settings;

use http::App;
use pg::Database;
use publish::{Publisher, PublishingError};
use secrets::master::Vault;
use secrets::publish::SecretPublisher;

/// How often the database is asked whether it answers; `/ready` is at most this much behind.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// How long to wait before the schema is prepared, or the snapshots are rebuilt, once more.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// People and agents ask now and then.
pub const CORES: Cores = Cores::Half;

/// Runs config until `context` stops it.
///
/// # Errors
/// When the port is taken, the schema is not this program's, or the bus refuses us. A database or
/// broker that is down is no error: it is waited for.
pub async fn run(settings: Settings, context: Context) -> Result<(), Error> {
    let listener = http_server::bind(&settings.listen)
        .await
        .map_err(Error::Listen)?;
    run_on(listener, settings, context).await
}

/// The same on a port that is open already.
///
/// # Errors
/// As [`run`].
pub async fn run_on(
    listener: tokio::net::TcpListener,
    settings: Settings,
    context: Context,
) -> Result<(), Error> {
    // First of all: without checks `/ready` has nothing to wait for.
    let check = context.health.register("postgres");
    let bus_checks = BusChecks {
        nats: context.health.register("nats"),
        snapshots: context.health.register("snapshots"),
    };
    let store =
        Store::connect(&settings.store, "config", sqlx::migrate!()).map_err(Error::Database)?;
    let (identity, notes) =
        identity::Identity::new(settings.identity.clone()).map_err(Error::Client)?;
    let defaults = defaults::system_defaults().map_err(Error::Defaults)?;
    let database = Database::new(store.clone(), standards(&defaults)?);
    let app = Arc::new(App {
        identity,
        database: database.clone(),
        cache: settings.cache.cache(database.changes(), &defaults),
        defaults,
        clock: context.clock.clone(),
        admin_tokens: settings.admin_token.clone(),
        peppers: settings.token_pepper.clone(),
        internal_secrets: settings.internal_service_secret.clone(),
        shipped: shipped::OnceShipped::default(),
        http: context.http.clone(),
        vault: vault(&settings)?,
        ingress: ingress::Ingress::default(),
        require_admin_star: settings.access.require_admin_star,
    });
    if settings.admin_token.is_empty() {
        tracing::warn!("ADMIN_TOKEN is not set: the admin API refuses everybody");
    }
    let router = http::router(Arc::clone(&app));
    let limits = settings.limits.limits();
    let serving = context.clone();
    context.tasks.spawn("http", async move {
        http_server::serve(listener, router, limits, &serving).await
    });
    let following = reading::follow(database, context.clone());
    context.tasks.spawn("changes", following);
    context.tasks.spawn(
        "postgres",
        watch_database(store, settings.migrate, check, context.clone()),
    );
    let (keeping, stop) = (app.database.clone(), context.stop.clone());
    context.tasks.spawn("notes on tokens", async move {
        identity::notes::keep(keeping, notes, stop).await;
        Ok::<_, Error>(())
    });
    let (sweeping, stop) = (Arc::clone(&app), context.stop.clone());
    context.tasks.spawn("sweep of tokens", async move {
        identity::sweep::run(sweeping, stop).await;
        Ok::<_, Error>(())
    });
    let publishing = Box::pin(publish(settings, app, bus_checks, context.clone()));
    context.tasks.spawn("publish", publishing);
    context.stop.soft().await;
    Ok(())
}

/// What every write is judged by, whatever the database says.
fn standards(defaults: &merge::Config) -> Result<Arc<policy::Standards>, Error> {
    Ok(Arc::new(policy::Standards {
        schema: schema::Schema::shipped(),
        catalogue: Catalogue::shipped().map_err(Error::Catalogue)?,
        defaults: defaults.clone(),
    }))
}

/// Wrong master keys end the service; without any, it only stores no secrets.
fn vault(settings: &Settings) -> Result<Vault, Error> {
    let vault = Vault::new(&settings.secrets).map_err(|error| Error::MasterKeys(error.into()))?;
    if matches!(vault, Vault::Empty) {
        tracing::warn!("neither MASTER_KEY_FILE nor MASTER_KEYS is set: secrets cannot be stored");
    }
    Ok(vault)
}

/// Prepares the schema, then reports on the database.
async fn watch_database(
    store: Store,
    migrate: bool,
    check: Check,
    context: Context,
) -> Result<(), Error> {
    let mut prepared = false;
    loop {
        let probe = async {
            if prepared {
                return store.ready().await;
            }
            if migrate {
                store.migrate().await?;
            }
            store.check_schema().await
        };
        let Some(outcome) = context.stop.until_soft(probe).await else {
            return Ok(());
        };
        match outcome {
            Ok(()) => {
                prepared = true;
                check.ready();
            }
            Err(error) if prepared || error.is_transient() => {
                check.not_ready(ErrorChain(&error).to_string());
            }
            Err(error) => return Err(Error::Database(error)),
        }
        let pause = if prepared {
            PROBE_INTERVAL
        } else {
            RETRY_PAUSE
        };
        context.stop.until_soft(tokio::time::sleep(pause)).await;
    }
}

/// What the way to the bus reports.
struct BusChecks {
    nats: Check,
    snapshots: Check,
}

/// Joins the bus, heals the snapshots, then relays the outbox and answers questions.
async fn publish(
    settings: Settings,
    app: Arc<App>,
    checks: BusChecks,
    context: Context,
) -> Result<(), Error> {
    let BusChecks { nats, snapshots } = checks;
    let clock = context.clock.clone();
    let connecting = Bus::connect(
        &settings.bus,
        Service::Config,
        &context.instance,
        Arc::new(move || clock.now()),
    );
    let Some(connected) = context.stop.until_soft(Box::pin(connecting)).await else {
        return Ok(());
    };
    let bus = connected.map_err(Error::Bus)?;
    let stop = context.stop.clone();
    let state = bus.watch_state();
    context.tasks.spawn("nats-state", async move {
        stop.until_soft(report(state, nats)).await;
        Ok::<_, Error>(())
    });
    answers::spawn(&bus, &app, &context);
    revocations::spawn(&bus, &app, &context);
    let secrets = SecretPublisher::new(bus.clone(), app.database.clone(), app.vault.clone());
    app.cache.read_snapshots(bus.bucket("teams"));
    app.ingress.ask_over(bus.clone());
    let publisher = Publisher::new(bus, app.database.clone(), app.defaults.clone());
    let rebuilding = Box::pin(heal(&publisher, &secrets, &snapshots));
    if context.stop.until_soft(rebuilding).await.is_none() {
        return Ok(());
    }
    let (following, stop) = (secrets.clone(), context.stop.clone());
    context.tasks.spawn("seal secrets", async move {
        stop.until_soft(Box::pin(following.follow())).await;
        Ok::<_, Error>(())
    });
    let relay = |row| {
        let (publisher, secrets) = (publisher.clone(), secrets.clone());
        async move {
            secrets.relay(&row).await?;
            publisher.publish(row).await
        }
    };
    outbox::relay(app.database.store(), relay, context.stop.soft()).await;
    Ok(())
}

/// Until it succeeds: without it, a bucket that was lost would stay empty.
async fn heal(publisher: &Publisher, secrets: &SecretPublisher, check: &Check) {
    loop {
        let rebuilt = async {
            let sealed = secrets.rebuild().await?;
            Ok::<_, PublishingError>((publisher.rebuild().await?, sealed))
        };
        match rebuilt.await {
            Ok((rebuilt, sealed)) => {
                tracing::info!(
                    identifiers = rebuilt.identifiers,
                    teams = rebuilt.teams,
                    sources = rebuilt.sources,
                    secrets = sealed,
                    "the snapshots say what the database says; this many keys had to be written"
                );
                check.ready();
                return;
            }
            Err(error) => check.not_ready(ErrorChain(&error).to_string()),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Shows the connection to NATS, until the bus is gone.
async fn report(state: watch::Receiver<BusState>, check: Check) {
    follow_state(state, |state| match state {
        Ok(()) => check.ready(),
        Err(why) => check.not_ready(why),
    })
    .await;
}
