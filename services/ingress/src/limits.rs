//! Rate limits: leases on the windows that the server counts ([`tocsin_wire::rate`]).
//!
//! A window is asked for at most once per lease and per refusal pause, whoever waits; what lies between is
//! decided here, so a limit of thousands a second costs a few messages a second.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tocsin_bus::{Bus, PublishError};
use tocsin_wire::rate::{LEASE, RateTier};
use tocsin_wire::{InvalidToken, KeyToken, Subject, Token};
use tokio::time::Instant;

/// How long a full window is not asked about: its messages leave one by one, and asking for every refused
/// delivery would let a flood reach the bus.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// Windows remembered; with more, those that have no lease are forgotten. A sender has one, and one per
/// address.
const MAX_WINDOWS: usize = 20_000;

/// All windows that this process admits by.
#[derive(Default)]
pub(crate) struct RateLimits {
    windows: DashMap<WindowKey, Arc<Window>>,
}

/// Which window, without the text that its subject has: it is looked up for every delivery.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WindowKey {
    /// Name of the tier.
    pub(crate) tier: &'static str,
    /// A source, or an org.
    pub(crate) owner: Arc<str>,
    pub(crate) part: Part,
}

/// What of the owner is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// All that a source sends.
    Source,
    /// What comes from one address.
    Address(IpAddr),
    /// All that the sources of an org send.
    Org,
}

/// One window, as far as this process knows it.
pub(crate) struct Window {
    pub(crate) tier: &'static RateTier,
    subject: Subject,
    lease: Mutex<Lease>,
    /// Held while the bus is asked, so that one asks for all.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy, Default)]
struct Lease {
    /// Deliveries that may still be admitted by it.
    left: u32,
    ends: Option<Instant>,
    /// The window was full, and is not asked about until then.
    full_until: Option<Instant>,
}

/// What a window says of one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// It is counted, and must be admitted before then: later the window has forgotten it too early.
    Until(Instant),
    Full,
}

impl Lease {
    /// `Some` when it can be told without asking.
    fn room(&self, now: Instant) -> Option<Room> {
        let ends = self.ends.filter(|ends| self.left > 0 && now < *ends);
        let is_full = self.full_until.is_some_and(|until| now < until);
        ends.map(Room::Until).or(is_full.then_some(Room::Full))
    }

    /// The same, and counts what it lets in.
    fn decide(&mut self, now: Instant) -> Option<Room> {
        let room = self.room(now);
        if let Some(Room::Until(_)) = room {
            self.left -= 1;
        }
        room
    }

    fn is_over(&self, now: Instant) -> bool {
        let is_past = |at: Option<Instant>| at.is_none_or(|at| at <= now);
        is_past(self.ends) && is_past(self.full_until)
    }
}

impl RateLimits {
    /// The window of `tier` over a part of what `owner` sends.
    ///
    /// # Errors
    /// When the owner cannot be part of a subject.
    pub(crate) fn window(
        &self,
        tier: &'static RateTier,
        owner: &Arc<str>,
        part: Part,
    ) -> Result<Arc<Window>, InvalidToken> {
        let key = WindowKey {
            tier: tier.name,
            owner: Arc::clone(owner),
            part,
        };
        if let Some(window) = self.windows.get(&key) {
            return Ok(Arc::clone(&window));
        }
        if self.windows.len() >= MAX_WINDOWS {
            let now = Instant::now();
            self.windows.retain(|_, window| !window.lock().is_over(now));
        }
        let window = Window {
            tier,
            subject: part.subject(tier, owner)?,
            lease: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        };
        let entry = self.windows.entry(key);
        Ok(Arc::clone(&entry.or_insert_with(|| Arc::new(window))))
    }
}

impl Part {
    fn subject(self, tier: &RateTier, owner: &str) -> Result<Subject, InvalidToken> {
        let (owner, key) = match self {
            Self::Source => (owner, "source".to_owned()),
            Self::Address(address) => (owner, address.to_string()),
            // Ids of sources begin otherwise.
            Self::Org => ("org", owner.to_owned()),
        };
        Ok(tier.subject(&Token::new(owner)?, &KeyToken::encode(&key)))
    }
}

/// Whether one more delivery fits into all of the windows; it is counted then. `None` when one of them
/// must be asked about; what was counted already is a delivery less that the others' leases are good for.
pub(crate) fn decide(windows: &[Arc<Window>]) -> Option<Result<(), &'static RateTier>> {
    let now = Instant::now();
    for window in windows {
        if window.lock().room(now)? == Room::Full {
            return Some(Err(window.tier));
        }
    }
    for window in windows {
        window.lock().decide(now)?;
    }
    Some(Ok(()))
}

/// As [`decide`], and asks the bus where it must. A bus so slow that what one window said is over before
/// the last has answered is asked again.
///
/// # Errors
/// When the bus does not say; whether the delivery counts is not known then.
pub(crate) async fn ask(
    bus: &Bus,
    windows: &[Arc<Window>],
) -> Result<Result<(), &'static RateTier>, PublishError> {
    loop {
        prepare(bus, windows).await?;
        let mut earliest: Option<Instant> = None;
        for window in windows {
            match window.admits(bus).await? {
                Room::Until(end) => {
                    earliest = Some(earliest.map_or(end, |earliest| earliest.min(end)));
                }
                Room::Full => return Ok(Err(window.tier)),
            }
        }
        if earliest.is_none_or(|end| Instant::now() < end) {
            return Ok(Ok(()));
        }
    }
}

/// Asks for the windows that must be asked about and give more than one delivery, all at once: one after
/// another, the first's lease could be over before the last has answered. Nothing is counted yet.
async fn prepare(bus: &Bus, windows: &[Arc<Window>]) -> Result<(), PublishError> {
    let now = Instant::now();
    let mut unknown = Vec::new();
    for window in windows {
        match window.lock().room(now) {
            // The delivery is over a limit, whatever the others say.
            Some(Room::Full) => return Ok(()),
            None if window.tier.grain > 1 => unknown.push(window),
            _ => {}
        }
    }
    let asking = unknown.into_iter().map(|window| async move {
        let _one_asks = window.asking.lock().await;
        if window.lock().room(Instant::now()).is_none() {
            window.refill(bus).await?;
        }
        Ok(())
    });
    futures::future::try_join_all(asking).await.map(drop)
}

impl Window {
    /// Whether one more delivery fits, and until when; it is counted then.
    ///
    /// # Errors
    /// When the bus does not say; whether the delivery counts is not known then.
    pub(crate) async fn admits(&self, bus: &Bus) -> Result<Room, PublishError> {
        if let Some(decided) = self.lock().decide(Instant::now()) {
            return Ok(decided);
        }
        let _one_asks = self.asking.lock().await;
        if let Some(decided) = self.lock().decide(Instant::now()) {
            return Ok(decided);
        }
        let asked = self.refill(bus).await?;
        let decided = self.lock().decide(Instant::now());
        // An answer that took longer than a lease admits nobody, which whoever asked sees by its end.
        Ok(decided.unwrap_or(Room::Until(asked + LEASE)))
    }

    /// Asks for a lease; whoever calls it holds `asking`. Gives the time of the question, which is before
    /// the server counts, so that no lease outlives what the stream holds.
    async fn refill(&self, bus: &Bus) -> Result<Instant, PublishError> {
        let asked = Instant::now();
        let taken = bus.take(&self.subject).await?;
        let mut lease = self.lock();
        if taken {
            *lease = Lease {
                left: self.tier.grain,
                ends: Some(asked + LEASE),
                full_until: None,
            };
        } else {
            lease.full_until = Some(Instant::now() + FULL_PAUSE);
        }
        Ok(asked)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tocsin_wire::rate;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_admits_its_grain_and_ends() {
        let begin = Instant::now();
        let mut lease = Lease {
            left: 2,
            ends: Some(begin + LEASE),
            full_until: None,
        };
        let admitted = Some(Room::Until(begin + LEASE));
        assert_eq!(lease.decide(begin), admitted);
        assert_eq!(lease.decide(begin + LEASE), None, "over");
        assert_eq!(lease.decide(begin), admitted);
        assert_eq!(lease.decide(begin), None, "used up");
        lease.full_until = Some(begin + FULL_PAUSE);
        assert_eq!(lease.decide(begin), Some(Room::Full));
        assert_eq!(lease.decide(begin + FULL_PAUSE), None);
        assert!(!lease.is_over(begin));
        assert!(lease.is_over(begin + LEASE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_delivery_counts_in_all_windows_or_asks() {
        let limits = RateLimits::default();
        let owner: Arc<str> = "src_1".into();
        let address = Part::Address([192, 0, 2, 1].into());
        let parts = [Part::Source, address, Part::Org];
        let windows = parts.map(|part| {
            let window = limits.window(rate::SMALL, &owner, part);
            window.expect("an owner")
        });
        let subjects = windows.each_ref().map(|window| window.subject.to_string());
        let address = KeyToken::encode("192.0.2.1");
        let expected = [
            "rate.small.src_1.source".to_owned(),
            format!("rate.small.src_1.{address}"),
            "rate.small.org.src_1".to_owned(),
        ];
        assert_eq!(subjects, expected);
        assert_eq!(decide(&windows), None, "nobody was asked");
        let ends = Some(Instant::now() + LEASE);
        for (left, window) in [2, 3, 4].into_iter().zip(&windows) {
            let full_until = None;
            *window.lock() = Lease {
                left,
                ends,
                full_until,
            };
        }
        assert_eq!(decide(&windows), Some(Ok(())));
        assert_eq!(decide(&windows), Some(Ok(())));
        assert_eq!(decide(&windows), None, "the narrowest is used up");
        let left = windows.each_ref().map(|window| window.lock().left);
        assert_eq!(left, [0, 1, 2]);
        windows[0].lock().full_until = ends;
        assert_eq!(decide(&windows), Some(Err(rate::SMALL)));
    }
}
