//! Routing in a large installation: how long a decision takes, what the index costs in memory, how
//! soon a new router has it, and how soon it sees what config wrote.

use std::hint::black_box;
use std::time::Duration;

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::json;
use tocsin_bus::Bus;
use tocsin_router::decide::decide;
use tocsin_router::index::{Index, ROUTING, TEAMS};
use tocsin_router::rules::BotIdentity;
use tocsin_testkit::TestBus;
use tocsin_testkit::bus::clock;
use tocsin_wire::Service;
use tocsin_wire::identifier::IdentifierType;
use tocsin_wire::ids::{EventId, MessageId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{
    DecisionAction, Envelope, Event, Identifier, RoutingOwner, RoutingRecord, TeamRecord,
};
use tokio::time::Instant;

use crate::figures::{Latencies, say};
use crate::process;

/// What a PagerDuty event is routed by.
const KIND: &str = "pagerduty_service_id";
/// Filler of each team's config: with the rest it is the 26 KB of an effective config.
const PROMPT_BYTES: usize = 24_000;
/// Snapshots of ten thousand teams take a quarter of a gigabyte.
const STREAM_SIZE_FACTOR: u32 = 10;
/// Writes under way while the buckets are filled.
const WRITERS: usize = 128;
/// A write that is not seen by then never will be.
const SEEN_LIMIT: Duration = Duration::from_secs(10);

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) teams: usize,
    pub(crate) identifiers: usize,
    /// Decisions of one round.
    pub(crate) decisions: usize,
    /// Writes of which each is waited for.
    pub(crate) writes: usize,
}

/// Prints all figures.
pub(crate) async fn measure(rounds: usize, size: Size) -> anyhow::Result<()> {
    say(&format!(
        "\nrouting: {} identifiers of {} teams",
        size.identifiers, size.teams
    ));
    decisions(rounds, size)?;
    followed(size).await
}

fn kind() -> anyhow::Result<&'static IdentifierType> {
    IdentifierType::named(KIND).context("the type of identifier is known")
}

/// Team number `index`, in orgs of a hundred.
fn team(index: usize, size: Size) -> (String, String) {
    let index = index % size.teams.max(1);
    (format!("org-{}", index / 100), format!("team-{index}"))
}

fn service(number: usize) -> String {
    format!("P{number:08}")
}

fn routing_record(number: usize, owner: usize, size: Size) -> anyhow::Result<RoutingRecord> {
    let (org, team) = team(owner, size);
    Ok(RoutingRecord {
        r#type: KIND.to_owned(),
        value: kind()?.normalise(&service(number)),
        owners: vec![RoutingOwner { org, team }],
    })
}

fn team_record(number: usize, size: Size) -> TeamRecord {
    let (org, team) = team(number, size);
    let config = json!({
        "entrance_agent": "planner",
        "notifications": { "default_slack_channel_id": format!("C{number}") },
        "agents": { "planner": { "prompt": { "system": "x".repeat(PROMPT_BYTES) } } },
    });
    TeamRecord {
        org,
        team,
        effective_config: config.to_string().into(),
        ..TeamRecord::default()
    }
}

fn incident(number: usize) -> Event {
    Event {
        provider: "pagerduty".to_owned(),
        source_id: "shared".to_owned(),
        kind: "incident_triggered".to_owned(),
        action: "triggered".to_owned(),
        delivery_key: format!("pagerduty:shared:{number}"),
        semantic_key: format!("pagerduty:shared:{number}"),
        identifiers: vec![Identifier {
            r#type: KIND.to_owned(),
            value: service(number),
        }],
        title: "checkout: error rate above 5 %".to_owned(),
        ..Event::default()
    }
}

/// Decisions in this process, every other one on an event that is nobody's.
fn decisions(rounds: usize, size: Size) -> anyhow::Result<()> {
    let index = Index::default();
    for number in 0..size.teams {
        let record = team_record(number, size);
        index.put_team(&format!("{}.{}", record.org, record.team), &record)?;
    }
    for number in 0..size.identifiers {
        let key = kind()?.key(&service(number));
        index.put_routing(&key, &routing_record(number, number, size)?)?;
    }
    let bots = BotIdentity::default();
    let mut samples = Vec::with_capacity(rounds * size.decisions);
    let mut runs = 0;
    for number in 0..rounds * size.decisions {
        // A stride that visits identifiers in no order that a cache would like.
        let event = incident((number * 7_919) % (size.identifiers * 2));
        let begin = Instant::now();
        let decided = black_box(decide(black_box(&event), &index, &bots));
        samples.push(begin.elapsed());
        runs += usize::from(decided.action == DecisionAction::Run);
    }
    let latencies = Latencies::new(samples);
    anyhow::ensure!(runs * 4 > latencies.len(), "only {runs} events had a team");
    let micros = |share| latencies.percentile(share).as_secs_f64() * 1e6;
    say(&format!(
        "  decision                  p50 {:.1} µs  p99 {:.1} µs  p99.9 {:.1} µs  ({} samples)",
        micros(0.5),
        micros(0.99),
        micros(0.999),
        latencies.len()
    ));
    Ok(())
}

/// A router as a process of its own, and a real nats-server.
async fn followed(size: Size) -> anyhow::Result<()> {
    let bus = TestBus::start_sized(STREAM_SIZE_FACTOR).await?;
    let config = bus.connect(Service::Config).await?;
    let eye = bus.connect(Service::Operator).await?;
    let empty = start(&bus).await?;
    // The one that is asked later must be alone.
    empty.service.process.kill_9().await?;
    fill(&config, size).await?;
    let full = start(&bus).await?;
    say(&format!(
        "  new router is ready       {:.2} s with the index, {:.2} s without",
        full.took.as_secs_f64(),
        empty.took.as_secs_f64()
    ));
    let more = full.bytes.saturating_sub(empty.bytes) / 1024;
    let entries = u64::try_from(size.identifiers + size.teams)?.max(1);
    say(&format!(
        "  index                     {} MiB, {} bytes an entry",
        more / 1024,
        more * 1024 / entries
    ));
    let seen = writes(&config, &eye, size).await?;
    say(&format!("  put until it is seen      {seen}"));
    full.service.process.kill_9().await.map(drop)
}

struct Started {
    took: Duration,
    /// Memory of its own, when it was ready.
    bytes: u64,
    service: process::Service,
}

async fn start(bus: &TestBus) -> anyhow::Result<Started> {
    let begin = Instant::now();
    let service = process::start(bus, "router", &[]).await?;
    let took = begin.elapsed();
    Ok(Started {
        took,
        bytes: service.process.anonymous_bytes()?,
        service,
    })
}

async fn put(config: &Bus, bucket: &'static str, key: &str, body: Body) -> anyhow::Result<()> {
    let event = EventId::derive(key);
    let id = MessageId::key_value(bucket, key, &format!("{:?}", clock()()));
    let envelope = Envelope::new(id, Service::Config, clock()(), event, None, body);
    config.bucket(bucket).put(key, &envelope).await?;
    Ok(())
}

async fn fill(config: &Bus, size: Size) -> anyhow::Result<()> {
    futures::stream::iter((0..size.teams).map(|number| async move {
        let record = team_record(number, size);
        let key = format!("{}.{}", record.org, record.team);
        put(config, TEAMS, &key, Body::TeamRecord(record)).await
    }))
    .buffer_unordered(WRITERS)
    .try_collect::<()>()
    .await?;
    futures::stream::iter((0..size.identifiers).map(|number| async move {
        let record = routing_record(number, number, size)?;
        let key = kind()?.key(&service(number));
        put(config, ROUTING, &key, Body::RoutingRecord(record)).await
    }))
    .buffer_unordered(WRITERS)
    .try_collect::<()>()
    .await
}

/// Gives identifiers to other teams, one by one, and asks until the router says so.
async fn writes(config: &Bus, eye: &Bus, size: Size) -> anyhow::Result<Latencies> {
    let mut samples = Vec::with_capacity(size.writes);
    for number in 0..size.writes {
        let identifier = (number * 7_919) % size.identifiers;
        let next = identifier + 1 + number;
        let record = routing_record(identifier, next, size)?;
        let wanted = record.owners.first().map(|owner| owner.team.clone());
        let key = kind()?.key(&service(identifier));
        let question = json!({ "identifiers": { KIND: service(identifier) } });
        let begin = Instant::now();
        put(config, ROUTING, &key, Body::RoutingRecord(record)).await?;
        loop {
            let answer = eye.ask(Service::Router, "explain", &question).await?;
            let owner = answer.pointer("/owner/team").and_then(|team| team.as_str());
            if owner == wanted.as_deref() {
                break;
            }
            let waited = begin.elapsed();
            anyhow::ensure!(waited < SEEN_LIMIT, "a write is not seen: {answer}");
        }
        samples.push(begin.elapsed());
    }
    Ok(Latencies::new(samples))
}
