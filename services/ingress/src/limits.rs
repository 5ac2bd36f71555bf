//! Rate limits: leases on the windows that the server counts ([`tocsin_wire::rate`]).
//!
//! A window is asked for at most once per lease and per refusal pause, whoever waits; what lies between is
//! decided here, so a limit of thousands a second costs a few messages a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tocsin_bus::{Bus, PublishError};
use tocsin_wire::Subject;
use tocsin_wire::rate::{LEASE, RateTier};
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
    windows: DashMap<String, Arc<Window>>,
}

/// One window, found once per delivery.
pub(crate) struct Counter {
    pub(crate) tier: &'static RateTier,
    subject: Subject,
    window: Arc<Window>,
}

#[derive(Default)]
struct Window {
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
    /// The window behind `subject`.
    pub(crate) fn counter(&self, tier: &'static RateTier, subject: Subject) -> Counter {
        let window = self.window(&subject);
        Counter {
            tier,
            subject,
            window,
        }
    }

    /// Asks for the windows that must be asked about and give more than one delivery, all at once: one
    /// after another, the first's lease could be over before the last has answered. Nothing is counted yet.
    ///
    /// # Errors
    /// When the bus does not say.
    pub(crate) async fn prepare(bus: &Bus, counters: &[Counter]) -> Result<(), PublishError> {
        let now = Instant::now();
        let mut unknown = Vec::new();
        for counter in counters {
            match counter.window.lock().room(now) {
                // The delivery is over a limit, whatever the others say.
                Some(Room::Full) => return Ok(()),
                None if counter.tier.grain > 1 => unknown.push(counter),
                _ => {}
            }
        }
        let asking = unknown.into_iter().map(|counter| async move {
            let _one_asks = counter.window.asking.lock().await;
            if counter.window.lock().room(Instant::now()).is_none() {
                counter.refill(bus).await?;
            }
            Ok(())
        });
        futures::future::try_join_all(asking).await.map(drop)
    }

    fn window(&self, subject: &Subject) -> Arc<Window> {
        let key = subject.to_string();
        if let Some(window) = self.windows.get(&key) {
            return Arc::clone(&window);
        }
        if self.windows.len() >= MAX_WINDOWS {
            let now = Instant::now();
            self.windows.retain(|_, window| !window.lock().is_over(now));
        }
        Arc::clone(&self.windows.entry(key).or_default())
    }
}

impl Counter {
    /// Whether one more delivery fits into the window, and until when; it is counted then.
    ///
    /// # Errors
    /// When the bus does not say; whether the delivery counts is not known then.
    pub(crate) async fn admits(&self, bus: &Bus) -> Result<Room, PublishError> {
        let window = &self.window;
        if let Some(decided) = window.lock().decide(Instant::now()) {
            return Ok(decided);
        }
        let _one_asks = window.asking.lock().await;
        if let Some(decided) = window.lock().decide(Instant::now()) {
            return Ok(decided);
        }
        let asked = self.refill(bus).await?;
        let decided = window.lock().decide(Instant::now());
        // An answer that took longer than a lease admits nobody, which whoever asked sees by its end.
        Ok(decided.unwrap_or(Room::Until(asked + LEASE)))
    }

    /// Asks for a lease; whoever calls it holds `asking`. Gives the time of the question, which is before
    /// the server counts, so that no lease outlives what the stream holds.
    async fn refill(&self, bus: &Bus) -> Result<Instant, PublishError> {
        let asked = Instant::now();
        let taken = bus.take(&self.subject).await?;
        let mut lease = self.window.lock();
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
}

impl Window {
    fn lock(&self) -> std::sync::MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
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
}
