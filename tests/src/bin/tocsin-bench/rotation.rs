//! Rotation of a source's secret under load: what must be taken is, and nothing after its end.
//!
//! The sender gets a new secret as the answer to a rotation and uses it at once, which is before its record
//! and the sealed secret are on the bus; the old one holds for [`OVERLAP`] more. Beside it somebody goes on
//! with the old secret for good.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use tocsin_testkit::bus::clock;
use tocsin_testkit::{ReservedPort, TestBus};
use tocsin_tests::record::read_stream;
use tocsin_wire::time;

use crate::deliveries::{Address, github_push_to};
use crate::figures::say;
use crate::load::{Answer, Load};
use crate::tenants::{self, Published, Publisher};
use crate::windows::operator;

/// Deliveries a second.
pub(crate) const RATE: u64 = 500;
/// Between two rotations.
const PERIOD: Duration = Duration::from_secs(4);
/// How long the secret before the newest still holds.
const OVERLAP: Duration = Duration::from_secs(2);
/// One delivery in so many is signed with the secret before the newest, before and after its end.
const LATECOMERS: u64 = 4;
/// Connections: room for those that wait for a secret.
const CONNECTIONS: usize = 128;
const STREAM_SIZE_FACTOR: u32 = 10;
const SOURCE: &str = "src_rotated";

/// One secret of the source.
#[derive(Clone)]
struct Secret {
    number: u64,
    text: String,
    expires: Option<Timestamp>,
}

impl Secret {
    fn new(number: u64) -> Self {
        Self {
            number,
            text: format!("secret number {number}"),
            expires: None,
        }
    }
}

/// How one delivery was signed.
#[derive(Clone, Copy)]
struct Signed {
    number: u64,
    at: Timestamp,
}

/// What the sender knows and did.
struct Sender {
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Every secret so far; the last two are in use.
    secrets: Vec<Secret>,
    signed: BTreeMap<u64, Signed>,
    tally: Tally,
}

/// Deliveries by what they should have been and what they were.
#[derive(Default)]
struct Tally {
    /// Signed with the newest secret, or answered while the older one held: every one must be taken.
    good: u64,
    good_refused: u64,
    /// Those by status; 0: no answer.
    refused: BTreeMap<u16, u64>,
    /// Signed after the end of their secret: none may be taken.
    late: u64,
    late_accepted: u64,
    /// Under way when their secret ended: either is right, as the clock of ingress says.
    between: u64,
}

impl Sender {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a secret into use; the one before it ends later.
    fn rotate(&self) -> Vec<Secret> {
        let now = (self.now)();
        let mut state = self.lock();
        if let Some(last) = state.secrets.last_mut() {
            last.expires = now.checked_add(OVERLAP).ok();
        }
        let number = state.secrets.last().map_or(1, |last| last.number + 1);
        state.secrets.push(Secret::new(number));
        let used = state.secrets.len().saturating_sub(2);
        state.secrets.iter().skip(used).cloned().collect()
    }

    /// Path and secret of a delivery.
    fn sign(&self, index: u64) -> (String, String) {
        let now = (self.now)();
        let mut state = self.lock();
        let back = usize::from(index.is_multiple_of(LATECOMERS)).saturating_add(1);
        let place = state.secrets.len().saturating_sub(back);
        let Some(secret) = state.secrets.get(place).cloned() else {
            return (String::new(), String::new());
        };
        let number = secret.number;
        state.signed.insert(index, Signed { number, at: now });
        (format!("/{SOURCE}"), secret.text)
    }

    fn answered(&self, answer: Answer) {
        let now = (self.now)();
        let mut state = self.lock();
        let Some(signed) = state.signed.remove(&answer.index) else {
            return;
        };
        let secret = state
            .secrets
            .iter()
            .find(|secret| secret.number == signed.number);
        let expires = secret.and_then(|secret| secret.expires);
        state.tally.count(signed.at, now, expires, answer.status);
    }
}

impl Tally {
    fn count(
        &mut self,
        signed: Timestamp,
        answered: Timestamp,
        expires: Option<Timestamp>,
        status: Option<u16>,
    ) {
        let is_taken = status == Some(200);
        if expires.is_none_or(|expires| answered < expires) {
            self.good += 1;
            if !is_taken {
                self.good_refused += 1;
                *self.refused.entry(status.unwrap_or_default()).or_default() += 1;
            }
        } else if expires.is_some_and(|expires| signed >= expires) {
            self.late += 1;
            self.late_accepted += u64::from(is_taken);
        } else {
            self.between += 1;
        }
    }
}

/// Prints what became of `rate` deliveries a second in `seconds`, while secrets are rotated.
///
/// # Errors
/// When one that must be taken was refused, or one was taken after the end of its secret.
pub(crate) async fn measure(rate: u64, seconds: u64) -> anyhow::Result<()> {
    let bus = TestBus::start_sized(STREAM_SIZE_FACTOR).await?;
    let port = ReservedPort::take()?;
    let listen = port.address();
    let publisher = Publisher::connect(&bus).await?;
    let ingress = tenants::ingress(&bus, listen).await?;
    let sender = Arc::new(Sender {
        now: clock(),
        state: Mutex::default(),
    });
    let mut source = Published {
        id: SOURCE.to_owned(),
        org: "bench".to_owned(),
        provider: "github",
        tier: None,
        secrets: Vec::new(),
        version: 0,
    };
    for _ in 0..2 {
        publish(&publisher, &mut source, &sender.rotate()).await?;
    }
    tenants::until_loaded(listen, &format!("/webhooks/github/{SOURCE}")).await?;
    say(&format!(
        "\nrotation: {rate}/s for {seconds} s, a new secret every {} s, used at once; the old one holds for {} s, and one delivery in {LATECOMERS} keeps to it",
        PERIOD.as_secs(),
        OVERLAP.as_secs()
    ));
    let duration = Duration::from_secs(seconds);
    let (signing, observing) = (Arc::clone(&sender), Arc::clone(&sender));
    let address: Box<Address> = Box::new(move |index| signing.sign(index));
    let load = Load {
        targets: vec![listen],
        connections: CONNECTIONS,
        rate: Some(rate),
        duration,
        first: 0,
        build: github_push_to(address),
        observe: Some(Arc::new(move |answer| observing.answered(answer))),
    };
    let (sent, rotations) = tokio::try_join!(
        load.run(),
        rotate(&publisher, &mut source, &sender, duration)
    )?;
    let tally = std::mem::take(&mut sender.lock().tally);
    say(&format!(
        "  {rotations} rotations; {} good, {} of them refused {:?}; {} signed after the end, {} of them accepted; {} under way at the end\n  {}",
        tally.good,
        tally.good_refused,
        tally.refused,
        tally.late,
        tally.late_accepted,
        tally.between,
        sent.latencies
    ));
    let stored = judged_by_ingress(&bus, &sender).await?;
    say(&format!(
        "  {stored} stored, none received by the clock of ingress when its secret had ended"
    ));
    anyhow::ensure!(tally.good_refused == 0, "good deliveries were refused");
    anyhow::ensure!(
        tally.late_accepted == 0,
        "deliveries were taken after the end of their secret"
    );
    anyhow::ensure!(
        tally.late > 0 && rotations > 0,
        "too short to show anything"
    );
    drop(ingress);
    Ok(())
}

/// Rotates until shortly before the end of the load.
async fn rotate(
    publisher: &Publisher,
    source: &mut Published,
    sender: &Sender,
    duration: Duration,
) -> anyhow::Result<u64> {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.tick().await;
    let mut rotations = 0;
    let times = duration.as_secs().saturating_sub(1) / PERIOD.as_secs();
    for _ in 0..times {
        ticks.tick().await;
        // The sender has it now.
        let secrets = sender.rotate();
        publish(publisher, source, &secrets).await?;
        rotations += 1;
    }
    Ok(rotations)
}

/// As config's outbox does it: the record and the secret at the same time, in no order.
async fn publish(
    publisher: &Publisher,
    source: &mut Published,
    secrets: &[Secret],
) -> anyhow::Result<()> {
    let used = secrets.iter().map(|secret| (secret.number, secret.expires));
    source.secrets = used.collect();
    source.version += 1;
    let newest = secrets.last().context("a secret")?;
    let sealing = publisher.secret(source, newest.number, &newest.text);
    tokio::try_join!(sealing, publisher.record(source))?;
    Ok(())
}

/// How many events are stored; ingress wrote into each when it came, and which secret verified it.
async fn judged_by_ingress(bus: &TestBus, sender: &Sender) -> anyhow::Result<usize> {
    let ends: BTreeMap<String, Option<Timestamp>> = sender
        .lock()
        .secrets
        .iter()
        .map(|secret| (secret.number.to_string(), secret.expires))
        .collect();
    let mut nats = operator(bus).await?;
    let filter = format!("events.github.{SOURCE}.>");
    let stored = read_stream(&mut nats, "EVENTS", &filter, 1).await?;
    for message in &stored {
        let envelope = message.envelope()?;
        let event = envelope.event().context("an event")?;
        let received = event.received_at.as_ref().and_then(time::from_proto);
        let received = received.context("a time")?;
        let expires = ends
            .get(&event.secret_id)
            .context("a secret of the source")?;
        anyhow::ensure!(
            expires.is_none_or(|expires| received < expires),
            "a delivery was received at {received}, and its secret {} ended at {expires:?}",
            event.secret_id
        );
    }
    Ok(stored.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_are_judged_by_when_their_secret_ends() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let mut tally = Tally::default();
        // Signed, answered, end, status.
        for (signed, answered, expires, status) in [
            (1, 2, None, Some(200)),
            (1, 2, Some(3), Some(401)),
            (1, 2, None, None),
            (3, 4, Some(3), Some(401)),
            (3, 4, Some(3), Some(200)),
            (1, 3, Some(3), Some(401)),
        ] {
            tally.count(at(signed), at(answered), expires.map(at), status);
        }
        assert_eq!((tally.good, tally.good_refused), (3, 2));
        assert_eq!(tally.refused, BTreeMap::from([(0, 1), (401, 1)]));
        assert_eq!((tally.late, tally.late_accepted), (2, 1));
        assert_eq!(tally.between, 1);
    }
}
