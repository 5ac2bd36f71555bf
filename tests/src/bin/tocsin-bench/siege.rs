//! Ingress under siege: slow peers, bad signatures and bodies that are far too large, all at once, beside
//! good senders who must hardly notice.

mod attackers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tocsin_testkit::{ReservedPort, TestBus};
use tocsin_wire::sealed::Audience;
use tokio::time::Instant;

use crate::deliveries::{github_push, pagerduty, pagerduty_to};
use crate::figures::{Latencies, say};
use crate::load::{Load, Sent};
use crate::process::{self, GITHUB_SECRET, PAGERDUTY_SECRET, Service};
use crate::tenants::{self, Published, Publisher};
use attackers::{Answers, SlowPeers, too_large};

/// Connections of the good senders, and as many of those with bad signatures.
const CONNECTIONS: usize = 64;
/// Of those with bad signatures at the source: more than ingress lets wait there for a new secret, so that the
/// others go on.
const SOURCE_CONNECTIONS: usize = 512;
/// What attackers sign with.
const GUESS: &str = "a guess";
/// A source of an org, whose URL is attacked.
const SOURCE: &str = "src_besieged";
/// A minute of good deliveries is some 250 MB.
const STREAM_SIZE_FACTOR: u32 = 10;
/// The 99th percentile of good deliveries, from intended time to answer.
const PROMISED_P99: Duration = Duration::from_millis(50);
/// Resident memory of ingress at its peak.
const PROMISED_MEMORY: u64 = 150_000_000;
/// Share of the offered bad signatures that must have been refused in time, for the siege to be one.
const OFFERED_SHARE: f64 = 0.95;
/// Each provider and source logs one refusal a second; two providers and one source are attacked.
const LINES_PER_SECOND: u64 = 3;
/// Lines that do not come from the attack.
const OTHER_LINES: u64 = 10;
/// What a slow peer in its headers is granted; longer than a smoke test.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// How large a siege is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) seconds: u64,
    /// Good deliveries a second.
    pub(crate) good_rate: u64,
    /// Connections of slow peers.
    pub(crate) slow: usize,
    /// Deliveries a second with a bad signature under a shared secret.
    pub(crate) bad_rate: u64,
    /// The same at the URL of a source, where some of them wait for a new secret.
    pub(crate) source_rate: u64,
    /// Senders of bodies of 64 MiB, each with one a second.
    pub(crate) large: usize,
    /// Whether speed counts: it means nothing without optimisation or in a second.
    pub(crate) is_timed: bool,
}

impl Size {
    /// What is promised.
    pub(crate) fn full(seconds: u64) -> Self {
        Self {
            seconds,
            good_rate: 500,
            slow: 1_000,
            bad_rate: 9_000,
            source_rate: 1_000,
            large: 8,
            is_timed: true,
        }
    }

    /// Whether it works at all.
    pub(crate) fn smoke() -> Self {
        Self {
            seconds: 2,
            good_rate: 50,
            slow: 100,
            bad_rate: 200,
            source_rate: 100,
            large: 2,
            is_timed: false,
        }
    }

    fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// What came of a siege.
struct Outcome {
    good: Sent,
    bad: Sent,
    /// Those at the source.
    source: Sent,
    slow: Answers,
    /// Slow connections that were open at once.
    slow_open: usize,
    large: Answers,
    /// CPU time of ingress.
    cpu: Duration,
    memory: u64,
    log_lines: u64,
}

/// Besieges ingress and prints how it did.
///
/// # Errors
/// When a good delivery was refused, an attacker was believed, or a promise was broken.
pub(crate) async fn measure(size: Size) -> anyhow::Result<()> {
    tocsin_kit::open_files::raise_limit();
    let bus = TestBus::start_sized(STREAM_SIZE_FACTOR).await?;
    let port = ReservedPort::take()?;
    let listen = port.address();
    let sealing_key = bus.keys().sealing_key_file(&Audience::Ingress);
    let environment = [
        ("INGRESS_LISTEN", listen.to_string()),
        (
            "INGRESS_HEADER_TIMEOUT",
            format!("{}s", HEADER_TIMEOUT.as_secs()),
        ),
        ("GITHUB_WEBHOOK_SECRET", GITHUB_SECRET.to_owned()),
        ("PAGERDUTY_WEBHOOK_SECRET", PAGERDUTY_SECRET.to_owned()),
        ("SEALING_KEY_FILE", sealing_key.display().to_string()),
        ("LOG_LEVEL", "info".to_owned()),
    ];
    let ingress = process::start(&bus, "ingress", &environment).await?;
    publish(&bus, listen).await?;
    say(&format!(
        "\nsiege of {} s: ingress and nats-server alone",
        size.seconds
    ));
    let outcome = besiege(&ingress, listen, size).await?;
    report(&outcome, size);
    let broken = judge(&outcome, size);
    anyhow::ensure!(broken.is_empty(), "siege: {}", broken.join("; "));
    Ok(())
}

/// Publishes the source, and waits until ingress can verify for it.
async fn publish(bus: &TestBus, target: SocketAddr) -> anyhow::Result<()> {
    let publisher = Publisher::connect(bus).await?;
    let source = Published {
        id: SOURCE.to_owned(),
        org: "bench".to_owned(),
        provider: "pagerduty",
        tier: None,
        secrets: vec![(1, None)],
        version: 1,
    };
    publisher.secret(&source, 1, PAGERDUTY_SECRET).await?;
    publisher.record(&source).await?;
    tenants::until_loaded(target, &format!("/webhooks/pagerduty/{SOURCE}")).await
}

async fn besiege(ingress: &Service, target: SocketAddr, size: Size) -> anyhow::Result<Outcome> {
    let lines_before = log_lines(ingress)?;
    let cpu_before = ingress.process.cpu_time()?;
    let until = Instant::now() + size.duration();
    let load = |connections, rate, build| Load {
        targets: vec![target],
        connections,
        rate: Some(rate),
        duration: size.duration(),
        first: 0,
        build,
        // A lost answer is counted, not the end of it.
        observe: Some(Arc::new(|_answer| {})),
    };
    let slow = SlowPeers::default();
    let at_source = pagerduty_to(Box::new(|_| (format!("/{SOURCE}"), GUESS.to_owned())), 1);
    let (good, bad, source, slow_answers, large) = tokio::join!(
        load(CONNECTIONS, size.good_rate, github_push(GITHUB_SECRET)).run(),
        load(CONNECTIONS, size.bad_rate, pagerduty(GUESS, 1)).run(),
        load(SOURCE_CONNECTIONS, size.source_rate, at_source).run(),
        slow.hold(target, size.slow, until),
        too_large(target, size.large, until),
    );
    Ok(Outcome {
        good: good?,
        bad: bad?,
        source: source?,
        slow: slow_answers,
        slow_open: slow.most_open(),
        large,
        cpu: ingress.process.cpu_time()?.saturating_sub(cpu_before),
        memory: ingress.process.peak_rss_bytes()?,
        log_lines: log_lines(ingress)?.saturating_sub(lines_before),
    })
}

fn log_lines(ingress: &Service) -> anyhow::Result<u64> {
    let text = std::fs::read(ingress.process.log())?;
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    Ok(u64::try_from(lines)?)
}

/// What was promised and did not hold.
fn judge(outcome: &Outcome, size: Size) -> Vec<String> {
    let mut broken = Vec::new();
    let mut promise = |holds: bool, text: String| {
        if !holds {
            broken.push(text);
        }
    };
    let good = &outcome.good;
    promise(
        good.refused == 0 && good.accepted == size.good_rate * size.seconds,
        format!("{} good deliveries were refused", good.refused),
    );
    let forged = outcome.bad.accepted + outcome.source.accepted;
    let believed = forged + outcome.slow.accepted() + outcome.large.accepted();
    promise(
        believed == 0,
        format!("{believed} deliveries of attackers were believed"),
    );
    promise(
        outcome.slow_open == size.slow,
        format!("only {} slow peers were connected", outcome.slow_open),
    );
    promise(
        size.duration() < 2 * HEADER_TIMEOUT || outcome.slow.ended() >= size.slow as u64,
        format!(
            "only {} slow connections were cut off",
            outcome.slow.ended()
        ),
    );
    promise(
        outcome.memory < PROMISED_MEMORY,
        format!("{} of memory", megabytes(outcome.memory)),
    );
    let lines = OTHER_LINES + LINES_PER_SECOND * outcome.bad.elapsed.as_secs().max(size.seconds);
    promise(
        outcome.log_lines <= lines,
        format!("{} log lines where {lines} are enough", outcome.log_lines),
    );
    if size.is_timed {
        let p99 = p99(&good.latencies);
        promise(p99 < PROMISED_P99, format!("good senders' p99 is {p99:?}"));
        let rate = refused_per_second(&outcome.bad) + refused_per_second(&outcome.source);
        promise(
            rate >= whole(size.bad_rate + size.source_rate) * OFFERED_SHARE,
            format!("only {rate:.0} bad signatures a second were refused"),
        );
    }
    broken
}

fn report(outcome: &Outcome, size: Size) {
    let Outcome {
        good, bad, source, ..
    } = outcome;
    say(&format!(
        "  good senders, {}/s           {}, {} refused",
        size.good_rate, good.latencies, good.refused
    ));
    say(&format!(
        "  bad signatures, {}/s       {} refused ({:.0}/s), {} without an answer",
        size.bad_rate,
        bad.refused,
        refused_per_second(bad),
        bad.lost
    ));
    say(&format!(
        "  the same at a source, {}/s    {} refused ({:.0}/s), {} without an answer",
        size.source_rate,
        source.refused,
        refused_per_second(source),
        source.lost
    ));
    say(&format!(
        "  slow peers, {} at once      {}",
        outcome.slow_open, outcome.slow
    ));
    say(&format!(
        "  bodies of 64 MiB, {} a second  {}",
        size.large, outcome.large
    ));
    say(&format!(
        "  ingress                       {} at its peak, {:.0} % of a core, {} log lines",
        megabytes(outcome.memory),
        100.0 * outcome.cpu.as_secs_f64() / bad.elapsed.max(good.elapsed).as_secs_f64(),
        outcome.log_lines
    ));
}

fn p99(latencies: &Latencies) -> Duration {
    latencies.percentile(0.99)
}

fn refused_per_second(bad: &Sent) -> f64 {
    whole(bad.refused - bad.lost) / bad.elapsed.as_secs_f64()
}

fn megabytes(bytes: u64) -> String {
    format!("{:.0} MB", whole(bytes) / 1e6)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn whole(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(accepted: u64, refused: u64, latency: Duration) -> Sent {
        let samples = usize::try_from(accepted).expect("few");
        Sent {
            latencies: Latencies::new(vec![latency; samples]),
            accepted,
            refused,
            lost: 0,
            elapsed: Duration::from_secs(20),
        }
    }

    fn fine(size: Size) -> Outcome {
        let slow = size.slow as u64;
        Outcome {
            good: sent(10_000, 0, Duration::from_millis(3)),
            bad: sent(0, 180_000, Duration::ZERO),
            source: sent(0, 20_000, Duration::ZERO),
            slow: Answers::of(&[(503, slow)], slow),
            slow_open: size.slow,
            large: Answers::of(&[(413, 100)], 0),
            cpu: Duration::from_secs(10),
            memory: 90_000_000,
            log_lines: 40,
        }
    }

    #[test]
    fn each_broken_promise_is_told() {
        type Break = fn(&mut Outcome);
        let cases: [(Break, &str); 11] = [
            (|outcome| outcome.good.refused = 1, "1 good deliveries"),
            (|outcome| outcome.good.accepted -= 1, "0 good deliveries"),
            (|outcome| outcome.bad.accepted = 1, "1 deliveries of att"),
            (|outcome| outcome.source.accepted = 1, "1 deliveries of att"),
            (
                |outcome| outcome.large = Answers::of(&[(200, 2)], 0),
                "2 deliveries of att",
            ),
            (|outcome| outcome.slow_open -= 1, "only 999 slow peers"),
            (|outcome| outcome.slow = Answers::of(&[], 9), "only 9 slow"),
            (|outcome| outcome.memory = PROMISED_MEMORY, "150 MB of mem"),
            (|outcome| outcome.log_lines = 71, "71 log lines where 70"),
            (
                |outcome| outcome.good = sent(10_000, 0, PROMISED_P99),
                "good senders' p99 is 50ms",
            ),
            (|outcome| outcome.bad.refused /= 2, "only 5500 bad signat"),
        ];
        let size = Size::full(20);
        assert_eq!(judge(&fine(size), size), Vec::<String>::new());
        for (breaking, expected) in cases {
            let mut outcome = fine(size);
            breaking(&mut outcome);
            let broken = judge(&outcome, size);
            assert!(
                matches!(&broken[..], [one] if one.starts_with(expected)),
                "{broken:?} is not {expected}"
            );
        }
    }

    #[test]
    fn speed_counts_only_where_it_is_measured() {
        let mut size = Size::full(20);
        size.is_timed = false;
        let mut outcome = fine(size);
        outcome.good = sent(10_000, 0, Duration::from_secs(1));
        outcome.bad.refused = 1;
        assert_eq!(judge(&outcome, size), Vec::<String>::new());
    }
}
