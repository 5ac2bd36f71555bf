//! Keeps the record: every event, decision, run, post and dead letter, append-only, and tells the
//! whole life of an event.
//!
//! * **Reads** EVENTS, DEFERRED, SIGNALS, JOURNAL, RESULTS, CONFIG and DEAD, each with the consumer `audit`.
//! * **Owns** the schema `audit` in Postgres: `records` (one row per message, which the database
//!   itself refuses to change) and `bodies` (the bytes and headers of each, which may be erased).
//!   Both are partitioned by the month in which the broker stored the message.
//! * **Answers** `svc.audit.life`, `svc.audit.events` and `svc.audit.event`.
//! * **Writes** nothing to the bus but dead letters of its own consumers.
//! * **Never** acknowledges what is not committed, and never changes what is.
//!
//! A message is recorded once, under the broker's time, stream and sequence, however often it is
//! delivered. While Postgres is away messages wait on the bus.
//!
//! # `svc.audit.life`
//!
//! Asked `{"event_id": "…"}` with the id of an event, of its run, or of the provider's delivery. 404
//! when none is recorded, 503 while Postgres is away. Times are RFC 3339 in UTC with microseconds;
//! names ending in `_ms` are milliseconds. Facts that are empty or zero are left out of `event`,
//! `decision` and `dead_letters`. A body over 512 KiB lies in an object store for 8 days, and an event's
//! `stored_body` says where: `{"store": "bodies", "object": "<SHA-256 in hex>"}`.
//!
//! ```json
//! {
//!   "event_id": "…",
//!   "event": {
//!     "provider": "pagerduty", "source": "shared", "kind": "incident_triggered", "native_type": "incident.triggered",
//!     "action": "", "title": "…", "text": "…", "severity": "high", "status": "firing", "url": "…", "actor": "…",
//!     "delivery_id": "…", "delivery_key": "…", "semantic_key": "…", "attempt": 1,
//!     "identifiers": [{"type": "pagerduty_service_id", "value": "P1"}], "attributes": {},
//!     "occurred_at": "…", "received_at": "…", "stored_at": "…", "stream": "EVENTS", "stream_sequence": 7, "raw_bytes": 4711,
//!     "payload_sha256": "…", "body_erased": false,
//!     "signature": {
//!       "provider": {"verified": true, "header": "X-PagerDuty-Signature", "secret_index": 0, "secret_id": null},
//!       "message": {"verified": true, "signer": "ingress", "key_id": "…"}
//!     }
//!   },
//!   "decision": {
//!     "at": "…", "action": "run", "org": "acme", "team": "payments", "run_id": "…", "agent": "investigator",
//!     "candidates": [{"org": "acme", "team": "payments"}],
//!     "matched_by": "pagerduty_service_id", "matched_value": "P1", "placement": "admitted", "duplicate_of": "…",
//!     "decide_micros": 12, "index_entries": 4, "tried": ["pagerduty_service_id"],
//!     "reasons": [{"code": "matched_identifier", "detail": "…"}]
//!   },
//!   "run": {
//!     "run_id": "…", "org": "acme", "team": "payments", "agent": "…", "model": "…", "workers": ["worker-1"],
//!     "started_at": "…", "waited_ms": 3, "steps": 12, "finished_at": "…", "duration_ms": 812.25,
//!     "resumed": [{"at": "…", "at_step": 4, "worker": "worker-2", "previous_worker": "worker-1", "idle_ms": 2100}],
//!     "tools": [{"tool": "prometheus_query", "ms": 4, "failed": false, "truncated": false}],
//!     "posts": [{"at": "…", "phase": "first", "destination": "slack:C1", "delivered": true, "message_id": "…",
//!                "channel": "C1"},
//!               {"at": "…", "phase": "final", "destination": "slack:C1", "delivered": false, "reason": "…"}],
//!     "outcome": "completed", "detail": "",
//!     "findings": {"summary": "…", "root_cause": "…", "evidence": [], "recommendations": [], "confidence": 80},
//!     "usage": {"input_tokens": 1, "output_tokens": 1, "turns": 1, "tool_calls": 1, "estimated": false}
//!   },
//!   "duplicates": [{"event_id": "…", "at": "…", "code": "duplicate_event"}],
//!   "replays": [{"at": "…", "request_id": "…", "requested_by": "ann", "reason": "…", "target": "sandbox",
//!                "action": "run", "org": "acme", "team": "payments", "agent": "…", "run_id": "…",
//!                "outcome": "completed", "root_cause": "…",
//!                "comparison": {"original_run_id": "…", "original_outcome": "completed", "original_root_cause": "…",
//!                               "same_root_cause": true, "likeness_percent": 80, "difference": ["= root cause: …"]}}],
//!   "dead_letters": [{"at": "…", "stream": "EVENTS", "consumer": "router", "stream_sequence": 7, "subject": "…",
//!                     "code": "rejected", "reason": "…", "delivery_count": 3}],
//!   "hops": [{"at": "…", "since_previous_ms": 0.412, "since_start_ms": 1.204, "what": "decided", "who": "router",
//!             "detail": "…"}],
//!   "hops_left_out": 0,
//!   "total_ms": 812.25
//! }
//! ```
//!
//! `event`, `decision` and `run` are null until they are recorded; `run.outcome` is null while it runs.
//! `event.org` and `event.default_team` are of the event's source, `secret_id` of its secret; null for the
//! shared ones. `event.deferred_until` is there when a rate limit held it back, until then.
//! `candidates` is there when it was ambiguous. `outcome` and `comparison` of a replay are null
//! until its run has finished, `comparison` also for one to work.
//! `what` is one of received, stored, stored again, decided, replayed, repeat folded in, run started, run resumed,
//! model asked, model answered, tool started, tool finished, tool failed, post started, posted, not
//! posted, run finished, signal, dead letter.
//!
//! # `svc.audit.events`
//!
//! Asked `{"limit": 20, "since": "15m", "provider": "slack", "org": "acme", "team": "payments"}`, each
//! optional; `since` is a time or an age, `limit` is 500 at most. The latest first:
//!
//! ```json
//! {"events": [{"event_id": "…", "at": "…", "provider": "slack", "kind": "app_mention", "title": "…", "action": "run",
//!              "org": "acme", "team": "payments", "run_id": "…", "outcome": "completed"}]}
//! ```
//!
//! # `svc.audit.event`
//!
//! Asked as `svc.audit.life`, by operators and by the router on an operator's behalf: the event itself,
//! as [`tocsin_wire::event_form::EventForm`] has it, with texts of at most 16 KiB. 410 when its body has
//! been erased.
//!
//! ```json
//! {"event_id": "…", "event": {"provider": "pagerduty", "kind": "incident_triggered", "title": "…"}}
//! ```

mod consume;
mod decide;
mod error;
mod life;
mod pg;
mod query;
pub mod settings;

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tocsin_bus::{Bus, follow_state};
use tocsin_kit::{Check, Context, Cores, ErrorChain};
use tocsin_store::{Store, StoreError};
use tocsin_wire::Service;
use tokio::sync::Semaphore;

pub use error::Error;
pub use settings::Settings;

use consume::{Outage, Recorder, STREAMS, writers};
use pg::Records;

/// Name of our schema.
const SCHEMA: &str = "audit";

/// Between two looks whether Postgres answers, for the health of an idle service.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Between two tries to prepare the database at the start.
const START_PAUSE: Duration = Duration::from_millis(500);

/// How often the partitions of this and the next month are made sure of.
const PARTITION_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// How far ahead partitions are made: the shortest month, so that no month is skipped.
const AHEAD: SignedDuration = SignedDuration::from_hours(28 * 24);

/// It works behind the bus, beside the other services.
pub const CORES: Cores = Cores::Half;

/// Runs audit until `context` stops it.
///
/// # Errors
/// When the bus refuses us or lacks a stream or consumer that we need, or when the schema in the
/// database is not the one of this program. A database that does not answer is waited for.
pub async fn run(settings: Settings, context: Context) -> Result<(), Error> {
    let nats = context.health.register("nats");
    let outage = Outage::new(context.health.register("postgres"));
    let store = Store::connect(&settings.store, SCHEMA, sqlx::migrate!("./migrations"))
        .map_err(Error::Database)?;
    let clock = context.clock.clone();
    let connecting = Bus::connect(
        &settings.bus,
        Service::Audit,
        &context.instance,
        Arc::new(move || clock.now()),
    );
    let Some(connected) = context.stop.until_soft(Box::pin(connecting)).await else {
        return Ok(());
    };
    let bus = connected.map_err(Error::Connect)?;
    report_connection(&context, &bus, nats);

    let preparing = Box::pin(prepare(&store, settings.migrate, &outage));
    match context.stop.until_soft(preparing).await {
        None => return Ok(()),
        Some(prepared) => prepared.map_err(Error::Database)?,
    }
    let records = Records::new(store);
    serve(&context, &bus, &records);
    keep_partitions(&context, &records);
    look_at_postgres(&context, &records, &outage);
    let writers = writers(settings.store.database_max_connections);
    let recorder = Recorder {
        records,
        turns: Arc::new(Semaphore::new(writers)),
        outage,
        clock: context.clock.clone(),
        stop: context.stop.clone(),
    };
    for stream in STREAMS {
        let (bus, recorder) = (bus.clone(), recorder.clone());
        context.tasks.spawn(format!("record {stream}"), async move {
            let following = Box::pin(recorder.follow(bus, stream)).await;
            following.map_err(|source| Error::Consume { stream, source })
        });
    }
    context.stop.soft().await;
    Ok(())
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

/// Migrates or checks the schema, waiting for a database that does not answer.
async fn prepare(store: &Store, migrate: bool, outage: &Outage) -> Result<(), StoreError> {
    loop {
        let prepared = match migrate {
            true => store.migrate().await,
            false => store.check_schema().await,
        };
        match prepared {
            Ok(()) => {
                outage.over("start");
                return Ok(());
            }
            Err(error) if error.is_transient() => {
                outage.goes_on("start", &error);
                tokio::time::sleep(START_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn serve(context: &Context, bus: &Bus, records: &Records) {
    let life = {
        let (bus, records, stop) = (bus.clone(), records.clone(), context.stop.clone());
        async move {
            let answer = move |question| {
                let records = records.clone();
                async move { query::answer_life(&records, question).await }
            };
            let verb = "life";
            let serving = bus.serve(verb, stop.soft(), answer).await;
            serving.map_err(|source| Error::Serve { verb, source })
        }
    };
    context.tasks.spawn("answer life", life);
    let event = {
        let (bus, records, stop) = (bus.clone(), records.clone(), context.stop.clone());
        async move {
            let answer = move |question| {
                let records = records.clone();
                async move { query::answer_event(&records, question).await }
            };
            let verb = "event";
            let serving = bus.serve(verb, stop.soft(), answer).await;
            serving.map_err(|source| Error::Serve { verb, source })
        }
    };
    context.tasks.spawn("answer event", event);
    let (bus, records, stop) = (bus.clone(), records.clone(), context.stop.clone());
    let clock = context.clock.clone();
    context.tasks.spawn("answer events", async move {
        let answer = move |question| {
            let (records, now) = (records.clone(), clock.now());
            async move { query::answer_events(&records, question, now).await }
        };
        let verb = "events";
        let serving = bus.serve(verb, stop.soft(), answer).await;
        serving.map_err(|source| Error::Serve { verb, source })
    });
}

/// Partitions are made in time, so that no insert waits for the lock that making one takes. When this
/// fails the insert of the first message of a month makes its own.
fn keep_partitions(context: &Context, records: &Records) {
    let (records, clock, stop) = (records.clone(), context.clock.clone(), context.stop.clone());
    context.tasks.spawn("partitions", async move {
        let mut tick = tokio::time::interval(PARTITION_INTERVAL);
        while stop.until_soft(tick.tick()).await.is_some() {
            let now = clock.now();
            let ahead = now.checked_add(AHEAD).unwrap_or(now);
            if let Err(error) = records.ensure_partitions(&[now, ahead]).await {
                tracing::warn!(error = %ErrorChain(&error), "cannot make the partitions of the coming month; trying again");
            }
        }
        Ok::<(), Error>(())
    });
}

/// Tells an outage also while there is nothing to record.
fn look_at_postgres(context: &Context, records: &Records, outage: &Outage) {
    let (records, outage, stop) = (records.clone(), outage.clone(), context.stop.clone());
    context.tasks.spawn("look at postgres", async move {
        let mut tick = tokio::time::interval(LOOK_INTERVAL);
        while stop.until_soft(tick.tick()).await.is_some() {
            match records.store().ready().await {
                Ok(()) => outage.over("look"),
                Err(error) => outage.goes_on("look", &error),
            }
        }
        Ok::<(), Error>(())
    });
}
