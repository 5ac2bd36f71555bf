//! One line instead of ten thousand.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// No line was permitted yet.
const NEVER: u64 = u64::MAX;

/// Lets one log line per interval through at the place that owns it, and counts the others.
///
/// ```
/// # use std::time::Duration;
/// # use tocsin_kit::telemetry::LogLimiter;
/// let limiter = LogLimiter::new(Duration::from_secs(10));
/// if let Some(suppressed) = limiter.permit() {
///     tracing::warn!(suppressed, "cannot reach the broker");
/// }
/// ```
#[derive(Debug)]
pub struct LogLimiter {
    interval: Duration,
    started: Instant,
    /// Milliseconds after `started` at which the last line was permitted.
    last: AtomicU64,
    suppressed: AtomicU64,
}

impl LogLimiter {
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            started: Instant::now(),
            last: AtomicU64::new(NEVER),
            suppressed: AtomicU64::new(0),
        }
    }

    /// Whether to log now, and if so how many lines were suppressed since the last one.
    pub fn permit(&self) -> Option<u64> {
        self.permit_after(self.started.elapsed())
    }

    fn permit_after(&self, elapsed: Duration) -> Option<u64> {
        let now = u64::try_from(elapsed.as_millis()).unwrap_or(NEVER - 1);
        let interval = u64::try_from(self.interval.as_millis()).unwrap_or(NEVER);
        let last = self.last.load(Ordering::Relaxed);
        let due = last == NEVER || now.saturating_sub(last) >= interval;
        // Of several callers at once, the one that moves `last` logs.
        let won = due
            && self
                .last
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if won {
            Some(self.suppressed.swap(0, Ordering::Relaxed))
        } else {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_interval_and_the_rest_are_counted() {
        let limiter = LogLimiter::new(Duration::from_secs(10));
        for (milliseconds, permitted) in [
            (0, Some(0)),
            (1, None),
            (5_000, None),
            (9_999, None),
            (10_000, Some(3)),
            (10_001, None),
            (60_000, Some(1)),
        ] {
            let elapsed = Duration::from_millis(milliseconds);
            assert_eq!(
                limiter.permit_after(elapsed),
                permitted,
                "{milliseconds} ms"
            );
        }
    }
}
