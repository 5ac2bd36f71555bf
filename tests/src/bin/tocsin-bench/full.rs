//! Every service on: what the whole installation keeps up with, and how soon a run starts.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use tocsin_testkit::bus::clock;
use tocsin_testkit::{
    Postgres, Process, Program, ReservedPort, TestBus, built_program, eventually, standins,
};
use tocsin_wire::ids::EventId;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::streams::CONSUMERS;
use tocsin_wire::{OrgId, Service as Room, Subject, TeamId, Token};
use tokio::time::Instant;

use crate::deliveries::{Build, github_push, pagerduty, pagerduty_event};
use crate::figures::{Latencies, say};
use crate::load::Load;
use crate::process::{self, GITHUB_SECRET, PAGERDUTY_SECRET, Service};

/// Teams among which runs are spread.
pub(crate) const TEAMS: u64 = 100;
/// One delivery in so many becomes a run.
pub(crate) const RUN_EVERY: u64 = 10;
/// Connections of the sender.
const CONNECTIONS: usize = 32;
/// How soon everything must have been read after the last delivery.
const CATCH_UP: Duration = Duration::from_secs(5);
/// How long stragglers are waited for before the measurement fails.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
/// The rate at which the time from webhook to run is promised.
const START_RATE: u64 = 200;
/// How long that is measured.
const START_SECONDS: u64 = 20;
/// A minute of full load stores some gigabytes.
const STREAM_SIZE_FACTOR: u32 = 10;
pub(crate) const ADMIN: &str = "bench-admin";
pub(crate) const ORG: &str = "bench";

pub(crate) struct Installation {
    bus: TestBus,
    ingress: SocketAddr,
    pub(crate) config: SocketAddr,
    pub(crate) services: Vec<(&'static str, Service)>,
    _standins: Process,
    _ports: [ReservedPort; 5],
    _postgres: Postgres,
}

/// Prints what the installation keeps up with at `rate` for `seconds`.
pub(crate) async fn measure(rate: u64, seconds: u64, run_every: u64) -> anyhow::Result<()> {
    let installation = start().await?;
    say(&format!(
        "\nevery service on, {rate} deliveries/s for {seconds} s, one in {run_every} becomes a run"
    ));
    let load = installation.load(
        Some(rate),
        Duration::from_secs(seconds),
        0,
        mixed(run_every),
    );
    sustained(&installation, load).await?;
    let seconds = seconds.min(START_SECONDS);
    let first = 1_000_000_000;
    let mixed = starts(&installation, first, seconds, run_every).await?;
    say(&format!(
        "webhook -> run started, {START_RATE} deliveries/s, one in {run_every} a run: {mixed}"
    ));
    Ok(())
}

/// One PagerDuty incident in so many deliveries; the others are pushes that start nothing.
pub(crate) fn mixed(run_every: u64) -> Arc<Build> {
    let (run, push) = (
        pagerduty(PAGERDUTY_SECRET, TEAMS),
        github_push(GITHUB_SECRET),
    );
    Arc::new(move |index, request| {
        if index.is_multiple_of(run_every) {
            run(index / run_every, request);
        } else {
            push(index, request);
        }
    })
}

/// Sends `load`, waits until everything is read, and prints what it took.
pub(crate) async fn sustained(installation: &Installation, load: Load) -> anyhow::Result<()> {
    let before = installation.cpu()?;
    let sent = load.run().await?;
    let ended = Instant::now();
    anyhow::ensure!(
        sent.refused == 0,
        "{} deliveries were refused",
        sent.refused
    );
    let lag_at_end = installation.lag().await?;
    eventually("every consumer has caught up", SETTLE_LIMIT, || async {
        let lag = installation.lag().await?;
        anyhow::ensure!(lag.is_empty(), "not read yet: {}", lag_text(&lag));
        anyhow::Ok(())
    })
    .await;
    let took = ended.elapsed();
    let verdict = if took <= CATCH_UP {
        "within"
    } else {
        "NOT within"
    };
    say(&format!(
        "  {:.0}/s accepted, {}\n  lag at the end: {}; 0 after {:.1} s ({verdict} {} s)",
        sent.per_second(),
        sent.latencies,
        lag_text(&lag_at_end),
        took.as_secs_f64(),
        CATCH_UP.as_secs()
    ));
    for (name, service) in &installation.services {
        let earlier = before.get(name).copied().unwrap_or_default();
        let spent = service.process.cpu_time()?.saturating_sub(earlier);
        let share = 100.0 * spent.as_secs_f64() / (sent.elapsed + took).as_secs_f64();
        let peak = service.process.peak_rss_bytes()? / 1024 / 1024;
        say(&format!(
            "  {name:<14} {share:>5.1} % of a core, {peak} MiB at its peak"
        ));
    }
    Ok(())
}

/// From intended time of the delivery to the moment the broker stored `run_started`.
async fn starts(
    installation: &Installation,
    first: u64,
    seconds: u64,
    run_every: u64,
) -> anyhow::Result<Latencies> {
    let began = clock()();
    let duration = Duration::from_secs(seconds);
    let load = installation.load(Some(START_RATE), duration, first, mixed(run_every));
    let sent = load.run().await?;
    anyhow::ensure!(
        sent.refused == 0,
        "{} deliveries were refused",
        sent.refused
    );
    let intended: HashMap<String, Timestamp> = (0..START_RATE * seconds)
        .filter(|index| (first + index).is_multiple_of(run_every))
        .map(|index| {
            let event = pagerduty_event((first + index) / run_every);
            let id = EventId::derive(&format!("pagerduty:shared:{event}"));
            let offset = Duration::from_nanos(index * 1_000_000_000 / START_RATE);
            (id.to_string(), began.checked_add(offset).unwrap_or(began))
        })
        .collect();
    let expected = intended.len();
    let samples = eventually("every run has started", SETTLE_LIMIT, || async {
        let samples = installation.started(&intended).await?;
        anyhow::ensure!(
            samples.len() == expected,
            "{} of {expected} runs",
            samples.len()
        );
        anyhow::Ok(samples)
    })
    .await;
    Ok(Latencies::new(samples))
}

impl Installation {
    /// Deliveries from number `first` on, as fast as they are taken without a `rate`.
    pub(crate) fn load(
        &self,
        rate: Option<u64>,
        duration: Duration,
        first: u64,
        build: Arc<Build>,
    ) -> Load {
        Load {
            targets: vec![self.ingress],
            connections: CONNECTIONS,
            rate,
            duration,
            first,
            build,
            observe: None,
        }
    }

    async fn started(
        &self,
        intended: &HashMap<String, Timestamp>,
    ) -> anyhow::Result<Vec<Duration>> {
        let operator = self.bus.connect(Room::Operator).await?;
        let mut samples = Vec::new();
        for team in 0..TEAMS {
            let subject = Subject::Result {
                service: Room::AgentWorker,
                what: Token::new("run_started")?,
                org: OrgId::new(ORG)?,
                team: TeamId::new(format!("team{team}"))?,
            };
            for stored in operator.replay(&subject).await? {
                if let Some(Body::RunStarted(started)) = &stored.envelope.body
                    && let Some(sent_at) = intended.get(&started.event_id)
                {
                    samples.push(Duration::try_from(
                        stored.stored_at.duration_since(*sent_at),
                    )?);
                }
            }
        }
        Ok(samples)
    }

    fn cpu(&self) -> anyhow::Result<HashMap<&'static str, Duration>> {
        self.services
            .iter()
            .map(|(name, service)| Ok((*name, service.process.cpu_time()?)))
            .collect()
    }

    /// Messages that a durable consumer has not acknowledged yet, by `<stream>/<consumer>`; without
    /// those that have caught up.
    async fn lag(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let consumers = self.bus.server.consumers().await?.into_iter();
        let durable =
            consumers.filter(|consumer| CONSUMERS.iter().any(|known| known.name == consumer.name));
        Ok(durable
            .map(|consumer| {
                let name = format!("{}/{}", consumer.stream, consumer.name);
                (name, consumer.unsent + consumer.unanswered)
            })
            .filter(|(_, unread)| *unread > 0)
            .collect())
    }
}

fn lag_text(lag: &BTreeMap<String, u64>) -> String {
    if lag.is_empty() {
        return "none".to_owned();
    }
    let each: Vec<String> = lag
        .iter()
        .map(|(consumer, unread)| format!("{consumer} {unread}"))
        .collect();
    each.join(", ")
}

pub(crate) async fn start() -> anyhow::Result<Installation> {
    let bus = TestBus::start_sized(STREAM_SIZE_FACTOR).await?;
    let postgres = Postgres::start_private().await?;
    let ports = [
        ReservedPort::take()?,
        ReservedPort::take()?,
        ReservedPort::take()?,
        ReservedPort::take()?,
        ReservedPort::take()?,
    ];
    let [ingress, config, slack, prometheus, model] = ports.each_ref().map(ReservedPort::address);
    let standins = Program::new(built_program("tocsin-standins")?)
        .args(["--slack-listen".to_owned(), slack.to_string()])
        .args(["--prometheus-listen".to_owned(), prometheus.to_string()])
        .args(["--model-listen".to_owned(), model.to_string()])
        .start()?;
    let environment = [
        ("INGRESS_LISTEN", ingress.to_string()),
        ("CONFIG_LISTEN", config.to_string()),
        ("GITHUB_WEBHOOK_SECRET", GITHUB_SECRET.to_owned()),
        ("PAGERDUTY_WEBHOOK_SECRET", PAGERDUTY_SECRET.to_owned()),
        ("DATABASE_URL", postgres.url().to_owned()),
        ("MIGRATE", "true".to_owned()),
        ("ADMIN_TOKEN", ADMIN.to_owned()),
        ("TOKEN_PEPPER", "bench-pepper".to_owned()),
        ("INTERNAL_SERVICE_SECRET", "bench-internal".to_owned()),
        ("SLACK_BOT_TOKEN", "xoxb-bench".to_owned()),
        // Slack's own pace of one post a second and channel would be what is measured.
        ("SLACK_POST_INTERVAL", "0s".to_owned()),
        ("SLACK_API_URL", format!("http://{slack}/api")),
        ("OPENAI_API_KEY", "bench".to_owned()),
        ("OPENAI_BASE_URL", format!("http://{model}/v1")),
        ("PROMETHEUS_URL", format!("http://{prometheus}")),
        ("WORKER_NAME", "worker-1".to_owned()),
        // A run waits for the model and for Slack most of its time; the slots bound memory, not CPU.
        ("WORKER_SLOTS", "64".to_owned()),
    ];
    let mut services = Vec::new();
    for name in ["config", "router", "audit", "agent-worker", "ingress"] {
        services.push((name, process::start(&bus, name, &environment).await?));
    }
    seed(config).await?;
    let installation = Installation {
        bus,
        ingress,
        config,
        services,
        _standins: standins,
        _ports: ports,
        _postgres: postgres,
    };
    let operator = installation.bus.connect(Room::Operator).await?;
    let teams = operator.bucket("teams");
    eventually("the last team is known", SETTLE_LIMIT, || async {
        let found = teams.get(&format!("{ORG}.team{}", TEAMS - 1)).await?;
        found.context("not yet")
    })
    .await;
    Ok(installation)
}

async fn seed(config: SocketAddr) -> anyhow::Result<()> {
    let client = standins::http_client()?;
    let call = async |method: reqwest::Method, path: String, body: Value| -> anyhow::Result<()> {
        let url = format!("http://{config}/api/v1/admin/{path}");
        let answer = client
            .request(method, &url)
            .bearer_auth(ADMIN)
            .json(&body)
            .send()
            .await?;
        let status = answer.status();
        anyhow::ensure!(
            status.is_success(),
            "{url}: {status}: {}",
            answer.text().await?
        );
        Ok(())
    };
    call(
        reqwest::Method::POST,
        "orgs".to_owned(),
        json!({ "org_id": ORG, "name": "Bench" }),
    )
    .await?;
    for team in 0..TEAMS {
        let path = format!("orgs/{ORG}/teams/team{team}");
        call(
            reqwest::Method::POST,
            path,
            json!({ "name": format!("Team {team}") }),
        )
        .await?;
        let patch = json!({ "patch": {
            "routing": { "pagerduty_service_ids": [format!("PBENCH{team}")] },
            "notifications": { "default_slack_channel_id": format!("CBENCH{team}") }
        }});
        call(
            reqwest::Method::PUT,
            format!("orgs/{ORG}/nodes/team{team}/config"),
            patch,
        )
        .await?;
    }
    Ok(())
}
