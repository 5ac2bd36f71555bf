//! How slowly a body may come, and how many slow ones are waited for.
//!
//! Whoever has a connection may send headers and then nothing, and holds a place among the requests at work.
//! A sender of webhooks has its body ready: the first pieces come with the headers. Where there is no place to
//! wait for one that is a little late, that is our trouble and not its: many senders drop what gets a 4xx.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::error::Rejection;

/// A body that is not there by then is a slow one: longer than a round trip around the world.
const PATIENCE: Duration = Duration::from_millis(500);
/// A quarter of the requests that may be at work: with as many slow strangers all others are still served.
const MAX_SLOW: usize = 256;
/// How far behind its rate a body may fall.
const GRACE: Duration = Duration::from_secs(3);
/// Bytes a second of a body that fits into a message: a slow line still has them.
const RATE: u64 = 64 << 10;
/// Bytes a second of a larger one, which holds a part of the room of all: 25 MiB in 12.5 s.
const LARGE_RATE: u64 = 2 << 20;

/// Room for slow bodies.
pub(crate) struct SlowBodies(Semaphore);

impl Default for SlowBodies {
    fn default() -> Self {
        Self(Semaphore::new(MAX_SLOW))
    }
}

/// Until when the next piece of one body is waited for.
pub(super) struct Pace<'a> {
    slow: &'a SlowBodies,
    place: Option<SemaphorePermit<'a>>,
    until: Instant,
    is_large: bool,
}

impl<'a> Pace<'a> {
    pub(super) fn new(slow: &'a SlowBodies) -> Self {
        let until = Instant::now() + PATIENCE;
        Self {
            slow,
            place: None,
            until,
            is_large: false,
        }
    }

    /// What `coming` gives, if it comes in time.
    ///
    /// # Errors
    /// `BodyTooSlow` when it does not, `Overloaded` when too many others are slow.
    pub(super) async fn keep<T>(
        &mut self,
        mut coming: impl Future<Output = T> + Unpin,
    ) -> Result<T, Rejection> {
        loop {
            match tokio::time::timeout_at(self.until, &mut coming).await {
                Ok(came) => return Ok(came),
                Err(_elapsed) if self.place.is_none() => {
                    let place = self.slow.0.try_acquire();
                    self.place = Some(place.map_err(|_none| Rejection::Overloaded)?);
                    self.until += GRACE;
                }
                Err(_elapsed) => return Err(Rejection::BodyTooSlow),
            }
        }
    }

    /// Time that a piece of so many bytes gives the next one; never more than the grace.
    pub(super) fn arrived(&mut self, bytes: usize) {
        if self.place.is_some() {
            let rate = if self.is_large { LARGE_RATE } else { RATE };
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            let earned = Duration::from_micros(bytes.saturating_mul(1_000_000) / rate);
            self.until = (self.until + earned).min(Instant::now() + GRACE);
        }
    }

    /// From here on it is a large one; what it waited for its room is not its own time.
    pub(super) fn is_large_since(&mut self, waiting: Instant) {
        self.is_large = true;
        self.until += waiting.elapsed();
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_is_given_up_and_one_that_keeps_its_rate_is_not() {
        let slow = SlowBodies::default();
        let began = Instant::now();
        let mut pace = Pace::new(&slow);
        assert_eq!(pace.keep(ready(1)).await.expect("at hand"), 1);
        let given_up = pace.keep(pending::<()>()).await;
        assert!(matches!(given_up, Err(Rejection::BodyTooSlow)));
        assert_eq!(began.elapsed(), PATIENCE + GRACE);

        for (bytes, seconds, is_kept) in [(64 << 10, 60, true), (32 << 10, 60, false)] {
            let mut pace = Pace::new(&slow);
            let mut kept = true;
            for _ in 0..seconds {
                let next = pin!(sleep(Duration::from_secs(1)));
                kept = kept && pace.keep(next).await.is_ok();
                pace.arrived(bytes);
            }
            assert_eq!(kept, is_kept, "{bytes} a second");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_waited_for() {
        let slow = SlowBodies::default();
        let mut waiting = Vec::new();
        for _ in 0..MAX_SLOW {
            let mut pace = Pace::new(&slow);
            let next = pin!(sleep(PATIENCE * 2));
            pace.keep(next).await.expect("a place");
            waiting.push(pace);
        }
        let began = Instant::now();
        let mut pace = Pace::new(&slow);
        let shed = pace.keep(pending::<()>()).await.expect_err("no place");
        assert_eq!(began.elapsed(), PATIENCE);
        let problem = shed.problem();
        assert_eq!((problem.status.as_u16(), shed.code()), (503, "overloaded"));
        assert!(shed.is_ours());
        waiting.pop();
        let mut pace = Pace::new(&slow);
        let next = pin!(sleep(PATIENCE * 2));
        pace.keep(next).await.expect("its place is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_must_be_faster_and_may_wait_for_its_room() {
        let slow = SlowBodies::default();
        let mut pace = Pace::new(&slow);
        let next = pin!(sleep(PATIENCE * 2));
        pace.keep(next).await.expect("a place");
        let left = pace.until;
        let waiting = Instant::now();
        sleep(Duration::from_secs(3)).await;
        pace.is_large_since(waiting);
        assert_eq!(pace.until, left + Duration::from_secs(3));
        let before = pace.until;
        pace.arrived(1 << 20);
        assert!(pace.until <= before + Duration::from_millis(500));
    }
}
