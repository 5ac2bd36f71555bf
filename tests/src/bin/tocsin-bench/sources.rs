//! Many sources with limits of their own, beside the one that everybody shares.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tocsin_testkit::{ReservedPort, TestBus};
use tocsin_wire::rate::MEDIUM;

use crate::deliveries::{Build, github_push, github_push_to};
use crate::figures::{Rounds, say};
use crate::load::{Load, Sent};
use crate::process::{GITHUB_SECRET, Service};
use crate::tenants::{self, Published, Publisher};

/// Deliveries a second, over all sources.
pub(crate) const RATE: u64 = 2_000;
/// Sources, each with a secret of its own.
const SOURCES: u64 = 200;
/// Orgs that they belong to.
const ORGS: u64 = 20;
/// Connections of the sender: as in the bench of the ack.
const CONNECTIONS: usize = 64;
const STREAM_SIZE_FACTOR: u32 = 10;

struct Round {
    shared: Measured,
    own: Measured,
}

struct Measured {
    sent: Sent,
    /// Microseconds of ingress's CPU for each delivery.
    cpu: f64,
}

/// Prints the figures of `rounds` interleaved rounds.
pub(crate) async fn measure(rounds: usize, seconds: u64, rate: u64) -> anyhow::Result<()> {
    let bus = TestBus::start_sized(STREAM_SIZE_FACTOR).await?;
    let port = ReservedPort::take()?;
    let listen = port.address();
    let ingress = tenants::ingress(&bus, listen).await?;
    let without = ingress.process.rss_bytes()?;
    let publisher = Publisher::connect(&bus).await?;
    for number in 0..SOURCES {
        let source = source(number);
        publisher.secret(&source, 1, &secret(number)).await?;
        publisher.record(&source).await?;
    }
    for number in 0..SOURCES {
        tenants::until_loaded(listen, &format!("/webhooks/github/{}", id(number))).await?;
    }
    let with = ingress.process.rss_bytes()?;
    say(&format!(
        "\nsources: {SOURCES} in {ORGS} orgs, tier {}, {rate}/s over all of them, signed GitHub push, 7 KB",
        MEDIUM.name
    ));
    let own = github_push_to(Box::new(|index| {
        let number = index % SOURCES;
        (format!("/{}", id(number)), secret(number))
    }));
    let duration = Duration::from_secs(seconds);
    let mut first = 0;
    let mut done = Vec::with_capacity(rounds);
    for number in 1..=rounds {
        let mut send = async |build: &Arc<Build>| -> anyhow::Result<Measured> {
            let measured = send(&ingress, listen, (rate, duration), first, build).await?;
            first += measured.sent.accepted;
            Ok(measured)
        };
        let round = Round {
            shared: send(&github_push(GITHUB_SECRET)).await?,
            own: send(&own).await?,
        };
        say(&format!(
            "round {number}/{rounds}: shared {:.1} us CPU, {} | own {:.1} us CPU, {}",
            round.shared.cpu, round.shared.sent.latencies, round.own.cpu, round.own.sent.latencies
        ));
        done.push(round);
    }
    report(&done);
    say(&format!(
        "  ingress memory                         {} MiB, {} KiB of it for each source; {} MiB at its peak",
        with / 1024 / 1024,
        with.saturating_sub(without) / 1024 / SOURCES,
        ingress.process.peak_rss_bytes()? / 1024 / 1024
    ));
    Ok(())
}

fn id(number: u64) -> String {
    format!("src_bench{number}")
}

fn secret(number: u64) -> String {
    format!("the secret of source {number}")
}

fn source(number: u64) -> Published {
    Published {
        id: id(number),
        org: format!("bench-{}", number % ORGS),
        provider: "github",
        tier: Some(MEDIUM.name),
        secrets: vec![(1, None)],
        version: 1,
    }
}

async fn send(
    ingress: &Service,
    target: SocketAddr,
    (rate, duration): (u64, Duration),
    first: u64,
    build: &Arc<Build>,
) -> anyhow::Result<Measured> {
    let before = ingress.process.cpu_time()?;
    let load = Load {
        targets: vec![target],
        connections: CONNECTIONS,
        rate: Some(rate),
        duration,
        first,
        build: Arc::clone(build),
        observe: None,
    };
    let sent = load.run().await?;
    anyhow::ensure!(
        sent.refused == 0,
        "{} deliveries were refused",
        sent.refused
    );
    let cpu = ingress.process.cpu_time()?.saturating_sub(before);
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    let cpu = cpu.as_secs_f64() * 1e6 / sent.accepted.max(1) as f64;
    Ok(Measured { sent, cpu })
}

/// One of the two things that are measured in a round.
type Pick = fn(&Round) -> &Measured;

fn report(rounds: &[Round]) {
    let over = |figure: &dyn Fn(&Round) -> f64| Rounds::new(rounds.iter().map(figure).collect());
    say(&format!(
        "\nmedian over {} rounds (lowest to highest):",
        rounds.len()
    ));
    let lines: [(&str, Pick); 2] = [
        ("the source that all share", |round| &round.shared),
        ("sources of their own", |round| &round.own),
    ];
    for (title, pick) in lines {
        let latency = |share: f64| {
            over(&|round| pick(round).sent.latencies.percentile(share).as_secs_f64() * 1_000.0)
                .text(2)
        };
        say(&format!(
            "  {title:<38} p50 {} ms, p99 {} ms, {} us of ingress CPU each",
            latency(0.5),
            latency(0.99),
            over(&|round| pick(round).cpu).text(1)
        ));
    }
}
