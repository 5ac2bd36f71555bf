//! Webhook to durable ack: ingress and nats-server alone, beside the raw publisher.

use std::time::Duration;

use tocsin_testkit::{ReservedPort, TestBus};

use crate::deliveries::github_push;
use crate::figures::{Rounds, say};
use crate::load::{Load, Sent};
use crate::process::{self, GITHUB_SECRET};
use crate::raw_nats::RawPublisher;

/// Connections of the sender: more than are ever busy at these rates.
const CONNECTIONS: usize = 64;
/// The steady rate at which latency is promised.
const STEADY_RATE: u64 = 2_000;
/// The sustained rate that is promised.
const SUSTAINED_RATE: u64 = 10_000;
/// Payload of the raw publisher: what ingress stores for this webhook, envelope and all.
const STORED_BYTES: usize = 8 * 1024;
/// Rounds of 5 s at full speed store some 500 MB each.
const STREAM_SIZE_FACTOR: u32 = 10;

struct Round {
    memory: u64,
    raw: f64,
    fastest: Sent,
    fastest_cpu: f64,
    sustained: Sent,
    sustained_cpu: f64,
    steady: Sent,
}

/// Prints the figures of `rounds` interleaved rounds. Each has servers and a store of its own: a stream that
/// grows by gigabytes measures how fast the machine finds fresh memory for the files of the rounds before.
pub(crate) async fn measure(rounds: usize, seconds: u64) -> anyhow::Result<()> {
    say(
        "webhook -> durable ack: signed GitHub push, 7 KB; ingress and nats-server alone; one replica, default sync",
    );
    let mut done = Vec::with_capacity(rounds);
    let mut first = 0;
    for number in 1..=rounds {
        let duration = Duration::from_secs(seconds);
        let round = round(duration, &mut first).await?;
        say(&format!(
            "round {number}/{rounds}: raw {:.0}/s | full speed {:.0}/s, {:.1} us CPU | at {SUSTAINED_RATE}/s: {:.0}/s, {:.1} us CPU, {} | at {STEADY_RATE}/s: {}",
            round.raw,
            round.fastest.per_second(),
            round.fastest_cpu,
            round.sustained.per_second(),
            round.sustained_cpu,
            round.sustained.latencies,
            round.steady.latencies
        ));
        done.push(round);
    }
    report(&done);
    Ok(())
}

async fn round(duration: Duration, first: &mut u64) -> anyhow::Result<Round> {
    let raw = raw(duration).await?;
    let bus = TestBus::start_sized(STREAM_SIZE_FACTOR).await?;
    let port = ReservedPort::take()?;
    let target = port.address();
    let environment = [
        ("INGRESS_LISTEN", target.to_string()),
        ("GITHUB_WEBHOOK_SECRET", GITHUB_SECRET.to_owned()),
    ];
    let ingress = process::start(&bus, "ingress", &environment).await?;
    let mut send = async |rate: Option<u64>| -> anyhow::Result<(Sent, f64)> {
        let before = ingress.process.cpu_time()?;
        let load = Load {
            targets: vec![target],
            connections: CONNECTIONS,
            rate,
            duration,
            first: *first,
            build: github_push(GITHUB_SECRET),
            observe: None,
        };
        let sent = load.run().await?;
        anyhow::ensure!(
            sent.refused == 0,
            "{} deliveries were refused",
            sent.refused
        );
        *first += sent.accepted + u64::try_from(CONNECTIONS)?;
        let cpu = ingress.process.cpu_time()?.saturating_sub(before);
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        let each = cpu.as_secs_f64() * 1e6 / sent.accepted.max(1) as f64;
        Ok((sent, each))
    };
    let (fastest, fastest_cpu) = send(None).await?;
    let (sustained, sustained_cpu) = send(Some(SUSTAINED_RATE)).await?;
    let (steady, _) = send(Some(STEADY_RATE)).await?;
    Ok(Round {
        memory: ingress.process.peak_rss_bytes()?,
        raw,
        fastest,
        fastest_cpu,
        sustained,
        sustained_cpu,
        steady,
    })
}

async fn raw(duration: Duration) -> anyhow::Result<f64> {
    let bus = TestBus::start_sized(STREAM_SIZE_FACTOR).await?;
    let address = bus.server.address().to_string();
    let seed = std::fs::read_to_string(bus.keys().user_seed(tocsin_wire::Service::Operator))?;
    tokio::task::spawn_blocking(move || {
        let mut publisher = RawPublisher::connect(&address, seed.trim())?;
        publisher.run("events.github.shared.push.raw", STORED_BYTES, duration)
    })
    .await?
}

fn report(rounds: &[Round]) {
    let over = |figure: &dyn Fn(&Round) -> f64| Rounds::new(rounds.iter().map(figure).collect());
    let milliseconds = |time: Duration| time.as_secs_f64() * 1_000.0;
    let raw = over(&|round| round.raw);
    let fastest = over(&|round| round.fastest.per_second());
    say(&format!(
        "\nmedian over {} rounds (lowest to highest):",
        rounds.len()
    ));
    say(&format!(
        "  raw publisher, {STORED_BYTES} bytes, {} under way   {}/s",
        256,
        raw.text(0)
    ));
    say(&format!(
        "  webhooks at full speed                 {}/s ({:.0} % of raw), {} us of ingress CPU each",
        fastest.text(0),
        100.0 * fastest.median() / raw.median().max(1.0),
        over(&|round| round.fastest_cpu).text(1)
    ));
    say(&format!(
        "  offered {SUSTAINED_RATE}/s                          {}/s accepted, {} us each, p50 {} ms, p99 {} ms",
        over(&|round| round.sustained.per_second()).text(0),
        over(&|round| round.sustained_cpu).text(1),
        over(&|round| milliseconds(round.sustained.latencies.percentile(0.5))).text(2),
        over(&|round| milliseconds(round.sustained.latencies.percentile(0.99))).text(2)
    ));
    let steady = |share| {
        over(&move |round: &Round| milliseconds(round.steady.latencies.percentile(share))).text(2)
    };
    say(&format!(
        "  offered {STEADY_RATE}/s                           p50 {} ms, p90 {} ms, p99 {} ms, p99.9 {} ms",
        steady(0.5),
        steady(0.9),
        steady(0.99),
        steady(0.999)
    ));
    let memory = rounds.iter().map(|round| round.memory).max();
    say(&format!(
        "  ingress memory at its peak             {} MiB",
        memory.unwrap_or_default() / 1024 / 1024
    ));
}
