//! Rate windows over two replicas: what is offered is a hundred times what is allowed, both are killed in the
//! middle, and the stream says how much was admitted when.
//!
//! Two senders: PagerDuty, which hears 429 and comes again, at the full rate; and beside it GitHub, which
//! never comes again, at a tenth of it, whose deliveries over the limit are put aside.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use tocsin_testkit::{ReservedPort, TestBus};
use tocsin_tests::raw_nats::RawNats;
use tocsin_tests::record::{Stored, read_stream};
use tocsin_wire::rate::{RateTier, SMALL};
use tocsin_wire::{Service as Room, ids::EventId};

use crate::deliveries::{Build, github_push_to, pagerduty_event, pagerduty_to};
use crate::figures::say;
use crate::load::{Answer, Load};
use crate::process::Service;
use crate::tenants::{self, Published, Publisher};

/// 100 in any 10 s.
const TIER: &RateTier = SMALL;
/// Deliveries a second that are offered: a hundred times the limit.
pub(crate) const RATE: u64 = 1_000;
/// Of the allowance, that must have been used.
const SHARE: f64 = 0.95;
/// Connections of each sender; half of them to each replica.
const CONNECTIONS: usize = 32;
/// The sender that never comes again sends one delivery for so many of the other's,
const BESIDE: u64 = 10;
/// and at least so many a second: three times the limit.
const LEAST_BESIDE: u64 = 30;
/// Largest messages are some 8 KB, and a minute of them is stored.
const STREAM_SIZE_FACTOR: u32 = 10;
const ORG: &str = "bench";
const SECRET: &str = "a secret of its own";

/// Statuses of the answers, and how many of them said when to come again. Status 0: no answer.
#[derive(Default)]
struct Answers {
    statuses: BTreeMap<u16, u64>,
    say_when: u64,
}

impl Answers {
    fn count(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or_default()
    }
}

/// What was stored of one source, by the times of the server.
struct Admitted {
    times: Vec<Timestamp>,
}

impl Admitted {
    fn new(stored: &[Stored]) -> Self {
        let mut times: Vec<_> = stored.iter().map(|stored| stored.at).collect();
        times.sort_unstable();
        Self { times }
    }

    /// The most in any window of that length, wherever it begins.
    fn most_within(&self, window: Duration) -> usize {
        let mut first = 0;
        let mut most = 0;
        for (place, time) in self.times.iter().enumerate() {
            let is_past = |begin: &Timestamp| {
                Duration::try_from(time.duration_since(*begin)).unwrap_or_default() >= window
            };
            while self.times.get(first).is_some_and(is_past) {
                first += 1;
            }
            most = most.max(place + 1 - first);
        }
        most
    }

    /// How many from the first on, for so long.
    fn in_the_first(&self, span: Duration) -> usize {
        let Some(first) = self.times.first() else {
            return 0;
        };
        let is_within = |time: &&Timestamp| {
            Duration::try_from(time.duration_since(*first)).is_ok_and(|since| since < span)
        };
        self.times.iter().take_while(is_within).count()
    }
}

/// Prints what two replicas admitted of `rate` a second in `seconds`.
///
/// # Errors
/// When more was admitted than any window allows, or less than what is promised.
pub(crate) async fn measure(rate: u64, seconds: u64) -> anyhow::Result<()> {
    let bus = TestBus::start_sized(STREAM_SIZE_FACTOR).await?;
    let ports = [ReservedPort::take()?, ReservedPort::take()?];
    let replicas = ports.each_ref().map(ReservedPort::address);
    let publisher = Publisher::connect(&bus).await?;
    let told = source("src_told", "pagerduty");
    let deferred = source("src_deferred", "github");
    let mut running = Vec::new();
    for replica in replicas {
        running.push(tenants::ingress(&bus, replica).await?);
    }
    for source in [&told, &deferred] {
        publisher.secret(source, 1, SECRET).await?;
        publisher.record(source).await?;
        for replica in replicas {
            tenants::until_loaded(replica, &path(source)).await?;
        }
    }
    say(&format!(
        "\nrate windows: two replicas, {} in any {} s, {rate}/s offered for {seconds} s, both killed after half of it",
        TIER.limit,
        TIER.window.as_secs()
    ));
    let beside = (rate / BESIDE).max(LEAST_BESIDE);
    let to = |source: &Published| {
        let path = format!("/{}", source.id);
        Box::new(move |_| (path.clone(), SECRET.to_owned()))
    };
    let duration = Duration::from_secs(seconds);
    let (told_answers, deferred_answers, restarted) = tokio::try_join!(
        offer(&replicas, rate, duration, pagerduty_to(to(&told), 1)),
        offer(&replicas, beside, duration, github_push_to(to(&deferred))),
        restart(&bus, &replicas, running, duration / 2),
    )?;
    let mut nats = operator(&bus).await?;
    let report = Report { rate, seconds };
    report.told(&mut nats, &told_answers).await?;
    report.deferred(&mut nats, &deferred_answers).await?;
    drop(restarted);
    Ok(())
}

fn source(id: &str, provider: &'static str) -> Published {
    Published {
        id: id.to_owned(),
        org: ORG.to_owned(),
        provider,
        tier: Some(TIER.name),
        secrets: vec![(1, None)],
        version: 1,
    }
}

fn path(source: &Published) -> String {
    format!("/webhooks/{}/{}", source.provider, source.id)
}

async fn offer(
    replicas: &[SocketAddr],
    rate: u64,
    duration: Duration,
    build: Arc<Build>,
) -> anyhow::Result<Answers> {
    let answers = Arc::new(Mutex::new(Answers::default()));
    let observed = Arc::clone(&answers);
    let observe = move |answer: Answer| {
        let mut answers = observed.lock().unwrap_or_else(PoisonError::into_inner);
        let status = answer.status.unwrap_or_default();
        *answers.statuses.entry(status).or_default() += 1;
        answers.say_when += u64::from(answer.says_when);
    };
    let load = Load {
        targets: replicas.to_vec(),
        connections: CONNECTIONS,
        rate: Some(rate),
        duration,
        first: 0,
        build,
        observe: Some(Arc::new(observe)),
    };
    load.run().await?;
    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut *answers))
}

/// Kills both at once when half of the time is over, and starts both again. The time is the load's own: windows
/// are made of it, and there is nothing else to wait for.
async fn restart(
    bus: &TestBus,
    replicas: &[SocketAddr],
    running: Vec<Service>,
    after: Duration,
) -> anyhow::Result<Vec<Service>> {
    tokio::time::sleep(after).await;
    let killing = running.iter().map(|service| service.process.kill_9());
    futures::future::try_join_all(killing).await?;
    let starting = replicas
        .iter()
        .map(|replica| tenants::ingress(bus, *replica));
    futures::future::try_join_all(starting).await
}

pub(crate) async fn operator(bus: &TestBus) -> anyhow::Result<RawNats> {
    let seed = std::fs::read_to_string(bus.keys().user_seed(Room::Operator))?;
    RawNats::connect(bus.server.address(), &seed).await
}

struct Report {
    rate: u64,
    seconds: u64,
}

impl Report {
    /// The sender that hears of the limit.
    async fn told(&self, nats: &mut RawNats, answers: &Answers) -> anyhow::Result<()> {
        let stored = read_stream(nats, "EVENTS", "events.pagerduty.src_told.>", 1).await?;
        self.windows("told 429", &Admitted::new(&stored))?;
        let (accepted, limited) = (answers.count(200), answers.count(429));
        say(&format!(
            "    answers by status (0: none, while both are down) {:?}, {} with Retry-After",
            answers.statuses, answers.say_when
        ));
        let ids: BTreeSet<String> = stored.iter().map(id).collect::<Result<_, _>>()?;
        anyhow::ensure!(
            u64::try_from(stored.len())? >= accepted,
            "{accepted} were accepted, and {} are stored",
            stored.len()
        );
        anyhow::ensure!(ids.len() == stored.len(), "an event is stored twice");
        // Each was offered once, so whatever is stored has one of the offered ids.
        let offered = (0..self.rate * self.seconds)
            .map(|index| EventId::derive(&format!("pagerduty:src_told:{}", pagerduty_event(index))))
            .map(|id| id.to_string());
        let unknown = ids.difference(&offered.collect()).count();
        anyhow::ensure!(unknown == 0, "{unknown} stored events were never offered");
        let refused = answers
            .statuses
            .keys()
            .all(|status| [0, 200, 429, 503].contains(status));
        anyhow::ensure!(refused, "an answer that no sender should get");
        anyhow::ensure!(limited > 0, "nobody was told of the limit");
        anyhow::ensure!(
            answers.say_when == limited + answers.count(503),
            "whoever is refused hears when to come again"
        );
        Ok(())
    }

    /// The sender that never comes again.
    async fn deferred(&self, nats: &mut RawNats, answers: &Answers) -> anyhow::Result<()> {
        let stored = read_stream(nats, "EVENTS", "events.github.src_deferred.>", 1).await?;
        self.windows("deferred", &Admitted::new(&stored))?;
        let aside = read_stream(nats, "DEFERRED", "deferred.>", 1).await?;
        let at_once: BTreeSet<String> = stored.iter().map(id).collect::<Result<_, _>>()?;
        let aside: BTreeSet<String> = aside.iter().map(id).collect::<Result<_, _>>()?;
        let all = at_once.union(&aside).count();
        say(&format!(
            "    answers by status {:?}; {} put aside",
            answers.statuses,
            aside.len()
        ));
        anyhow::ensure!(
            u64::try_from(all)? >= answers.count(200),
            "{} were accepted, and {all} are stored",
            answers.count(200)
        );
        anyhow::ensure!(answers.count(429) == 0, "it does not come again after 429");
        Ok(())
    }

    fn windows(&self, name: &str, admitted: &Admitted) -> anyhow::Result<()> {
        let limit = usize::try_from(TIER.limit)?;
        let most = admitted.most_within(TIER.window);
        let span = Duration::from_secs(self.seconds);
        let allowance = f64::from(TIER.limit) * (span.as_secs_f64() / TIER.window.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
        let share = admitted.in_the_first(span) as f64 / allowance;
        say(&format!(
            "  {name:<10} {} admitted, most in any {} s: {most}; {:.1} % of the allowance of {allowance:.0}",
            admitted.times.len(),
            TIER.window.as_secs(),
            100.0 * share
        ));
        anyhow::ensure!(
            most <= limit,
            "{most} were admitted in one window, more than {limit}"
        );
        anyhow::ensure!(
            share >= SHARE,
            "{:.1} % of the allowance were used, less than {:.0} %",
            100.0 * share,
            100.0 * SHARE
        );
        Ok(())
    }
}

/// Id of a stored event.
pub(crate) fn id(stored: &Stored) -> anyhow::Result<String> {
    let envelope = stored.envelope()?;
    let event = envelope.event().context("an event")?;
    Ok(EventId::derive(&event.delivery_key).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: &[i64]) -> Admitted {
        let time = |at: &i64| Timestamp::from_millisecond(*at).expect("in range");
        Admitted {
            times: milliseconds.iter().map(time).collect(),
        }
    }

    #[test]
    fn windows_slide_and_are_half_open() {
        let window = Duration::from_secs(10);
        for (times, most) in [
            (&[][..], 0),
            (&[5][..], 1),
            (&[0, 9_999][..], 2),
            (&[0, 10_000][..], 1),
            // No window that begins at a multiple of anything has them all.
            (&[0, 9_000, 9_500, 18_999, 19_000][..], 3),
        ] {
            assert_eq!(at(times).most_within(window), most, "{times:?}");
        }
        assert_eq!(at(&[0, 9_999, 10_000]).in_the_first(window), 2);
    }
}
