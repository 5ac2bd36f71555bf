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

impl Lease {
    /// `Some` when it can be told without asking.
    fn decide(&mut self, now: Instant) -> Option<bool> {
        if self.left > 0 && self.ends.is_some_and(|ends| now < ends) {
            self.left -= 1;
            return Some(true);
        }
        let is_full = self.full_until.is_some_and(|until| now < until);
        is_full.then_some(false)
    }

    fn is_over(&self, now: Instant) -> bool {
        let is_past = |at: Option<Instant>| at.is_none_or(|at| at <= now);
        is_past(self.ends) && is_past(self.full_until)
    }
}

impl RateLimits {
    /// Whether one more delivery fits into the window behind `subject`.
    ///
    /// # Errors
    /// When the bus does not say; whether the delivery counts is not known then.
    pub(crate) async fn admits(
        &self,
        bus: &Bus,
        tier: &RateTier,
        subject: &Subject,
    ) -> Result<bool, PublishError> {
        let window = self.window(subject);
        if let Some(decided) = window.decide(Instant::now()) {
            return Ok(decided);
        }
        let _one_asks = window.asking.lock().await;
        if let Some(decided) = window.decide(Instant::now()) {
            return Ok(decided);
        }
        // Before the server counts it, so that no lease outlives what the stream holds.
        let asked = Instant::now();
        let taken = bus.take(subject).await?;
        let now = Instant::now();
        let mut lease = window.lock();
        if !taken {
            lease.full_until = Some(now + FULL_PAUSE);
            return Ok(false);
        }
        *lease = Lease {
            left: tier.grain,
            ends: Some(asked + LEASE),
            full_until: None,
        };
        // An answer that took longer than a lease admits nobody.
        Ok(lease.decide(now).unwrap_or_default())
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

impl Window {
    fn decide(&self, now: Instant) -> Option<bool> {
        self.lock().decide(now)
    }

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
        assert_eq!(lease.decide(begin), Some(true));
        assert_eq!(lease.decide(begin + LEASE), None, "over");
        assert_eq!(lease.decide(begin), Some(true));
        assert_eq!(lease.decide(begin), None, "used up");
        lease.full_until = Some(begin + FULL_PAUSE);
        assert_eq!(lease.decide(begin), Some(false));
        assert_eq!(lease.decide(begin + FULL_PAUSE), None);
        assert!(!lease.is_over(begin));
        assert!(lease.is_over(begin + LEASE));
    }
}
