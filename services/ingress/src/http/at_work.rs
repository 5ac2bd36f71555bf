//! How many deliveries are at work, and for how long each may be. Kept here and not by the server, so that a
//! source's figures tell of those that are turned away.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::error::Rejection;

/// Deliveries between headers and answer: each has up to 512 KiB in memory before room is asked for, and takes
/// milliseconds while all is well.
const MAX_AT_WORK: usize = 1024;

/// Places at work.
pub(crate) struct AtWork {
    places: Semaphore,
    limit: Duration,
}

impl AtWork {
    /// Each for `limit` at most, its body's arrival included.
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            places: Semaphore::new(MAX_AT_WORK),
            limit,
        }
    }

    /// Answers a delivery where there is a place, and in time.
    pub(super) async fn enter<T>(
        &self,
        answering: impl Future<Output = T>,
    ) -> Result<T, Rejection> {
        // The semaphore is never closed, and nobody waits: senders come again.
        let place = self.places.try_acquire();
        let _place = place.map_err(|_full| Rejection::AtLimit)?;
        let limit = self.limit;
        let answered = tokio::time::timeout(limit, answering).await;
        answered.map_err(|_elapsed| Rejection::TimedOut { limit })
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_finds_no_place_or_takes_too_long_is_given_up() {
        let at_work = AtWork::new(Duration::from_secs(1));
        assert!(matches!(at_work.enter(ready(7)).await, Ok(7)));
        let late = at_work.enter(pending::<()>()).await;
        assert_eq!(late.expect_err("late").code(), "request_timeout");
        let _held = at_work.places.try_acquire_many(1024).expect("places");
        let full = at_work.enter(ready(())).await;
        assert_eq!(full.expect_err("full").code(), "overloaded");
    }
}
