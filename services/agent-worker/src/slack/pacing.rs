//! When the next call may be made: one post a second in each channel, and not before a `Retry-After` is
//! over. Pure: time is an argument.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// Channels that are remembered before those whose time has passed are forgotten.
const SWEEP_AT: usize = 4_096;

/// The earliest next call per method and channel.
#[derive(Debug, Default)]
pub struct Pacing {
    next: HashMap<(&'static str, String), Instant>,
}

impl Pacing {
    /// Takes the next free slot: the caller waits until then and calls. Slots are `spacing` apart.
    pub fn reserve(
        &mut self,
        method: &'static str,
        channel: &str,
        now: Instant,
        spacing: Duration,
    ) -> Instant {
        if self.next.len() >= SWEEP_AT {
            self.next.retain(|_, next| *next > now);
        }
        let key = (method, channel.to_owned());
        let slot = self.next.get(&key).map_or(now, |next| (*next).max(now));
        self.next.insert(key, slot + spacing);
        slot
    }

    /// Nothing before `until`: the server said so.
    pub fn block(&mut self, method: &'static str, channel: &str, until: Instant) {
        let next = self
            .next
            .entry((method, channel.to_owned()))
            .or_insert(until);
        *next = (*next).max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn slots_are_apart_per_channel_and_a_block_holds_all_back() {
        let second = Duration::from_secs(1);
        let now = Instant::now();
        let mut pacing = Pacing::default();
        let mut reserve = |channel: &str, at: Instant| {
            pacing.reserve("chat.postMessage", channel, at, second) - now
        };
        assert_eq!(reserve("C1", now), Duration::ZERO);
        assert_eq!(reserve("C1", now), second);
        assert_eq!(
            reserve("C2", now),
            Duration::ZERO,
            "another channel is free"
        );
        assert_eq!(
            reserve("C1", now + 5 * second),
            5 * second,
            "idle time is not saved up"
        );
        pacing.block("chat.postMessage", "C1", now + 9 * second);
        let next = pacing.reserve("chat.postMessage", "C1", now, second);
        assert_eq!(next - now, 9 * second);
    }
}
