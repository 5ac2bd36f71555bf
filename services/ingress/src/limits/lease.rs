//! What one process may admit of a window without asking: a lease, and the one that follows it.

use std::time::Duration;

use tokio::time::Instant;

/// The next lease is asked for when so much time, or this part of the deliveries, is left of the last.
const RENEW_TIME: Duration = Duration::from_millis(100);
const RENEW_PART: u32 = 5;

/// What this process holds of a window.
#[derive(Clone, Copy, Default)]
pub(super) struct Lease {
    /// Deliveries that may still be admitted by it.
    pub(super) left: u32,
    pub(super) ends: Option<Instant>,
    /// Another lease, of as many deliveries as its tier gives, and its end.
    pub(super) spare: Option<(u32, Instant)>,
    /// The window was full, and is not asked about until then.
    pub(super) full_until: Option<Instant>,
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
    pub(super) fn room(&self, now: Instant) -> Option<Room> {
        let is_full = self.full_until.is_some_and(|until| now < until);
        let ends = self.current(now).or(self.spare(now)).map(Room::Until);
        ends.or(is_full.then_some(Room::Full))
    }

    fn current(&self, now: Instant) -> Option<Instant> {
        self.ends.filter(|ends| self.left > 0 && now < *ends)
    }

    fn spare(&self, now: Instant) -> Option<Instant> {
        self.spare.map(|(_, ends)| ends).filter(|ends| now < *ends)
    }

    /// As [`Lease::room`], and counts what it lets in.
    pub(super) fn decide(&mut self, now: Instant) -> Option<Room> {
        let room = self.room(now);
        if let Some(Room::Until(_)) = room {
            if self.current(now).is_none()
                && let Some((left, ends)) = self.spare.take()
            {
                (self.left, self.ends) = (left, Some(ends));
            }
            self.left -= 1;
        }
        room
    }

    /// Another `grain` deliveries until `ends`: now, or when what there is has been used.
    pub(super) fn extend(&mut self, grain: u32, ends: Instant, now: Instant) {
        self.full_until = None;
        if self.current(now).is_some() {
            self.spare = Some((grain, ends));
        } else {
            (self.left, self.ends, self.spare) = (grain, Some(ends), None);
        }
    }

    /// Whether it is soon used up. A grain of one would be asked for in vain by most who send so little.
    pub(super) fn is_short(&self, grain: u32, now: Instant) -> bool {
        let ends_soon = |ends: Instant| ends.saturating_duration_since(now) <= RENEW_TIME;
        let is_low = self.left <= grain / RENEW_PART || self.ends.is_none_or(ends_soon);
        grain > 1 && is_low && self.spare(now).is_none() && self.full_until.is_none()
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        let is_past = |at: Option<Instant>| at.is_none_or(|at| at <= now);
        is_past(self.ends) && self.spare(now).is_none() && is_past(self.full_until)
    }
}

#[cfg(test)]
mod tests {
    use tocsin_wire::rate::LEASE;

    use super::*;

    /// As long as a full window is not asked about.
    const FULL_PAUSE: Duration = Duration::from_millis(20);

    fn lease(left: u32, ends: Instant) -> Lease {
        Lease {
            left,
            ends: Some(ends),
            ..Lease::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_admits_its_grain_and_ends() {
        let begin = Instant::now();
        let mut lease = lease(2, begin + LEASE);
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
    async fn a_spare_lease_follows_when_the_first_is_used_up_or_over() {
        let begin = Instant::now();
        let (first, second) = (begin + LEASE, begin + LEASE + RENEW_TIME);
        let mut used = lease(1, first);
        used.extend(10, second, begin);
        assert_eq!(used.decide(begin), Some(Room::Until(first)));
        for _ in 0..10 {
            assert_eq!(used.decide(begin), Some(Room::Until(second)));
        }
        assert_eq!(used.decide(begin), None, "both are used up");

        let mut over = lease(5, first);
        over.extend(10, second, begin);
        assert_eq!(over.decide(first), Some(Room::Until(second)));
        assert_eq!(over.left, 9, "what the first had left is gone");
        assert_eq!(over.decide(second), None, "both are over");
        over.extend(10, second + LEASE, second);
        assert_eq!(over.decide(second), Some(Room::Until(second + LEASE)));
        assert_eq!(over.spare, None, "there was nothing to keep it for");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_renewed_in_time_but_never_one_of_a_single_delivery() {
        let begin = Instant::now();
        let ends = begin + LEASE;
        let late = ends - RENEW_TIME;
        let cases = [
            ("fresh", 10, begin, 10, false),
            ("nearly used", 2, begin, 10, true),
            ("nearly over", 9, late, 10, true),
            ("of one delivery", 0, late, 1, false),
        ];
        for (name, left, now, grain, expected) in cases {
            assert_eq!(lease(left, ends).is_short(grain, now), expected, "{name}");
        }
        let mut lease = lease(1, ends);
        lease.full_until = Some(ends);
        assert!(
            !lease.is_short(10, begin),
            "the window was full a moment ago"
        );
        lease.extend(10, ends, begin);
        assert!(!lease.is_short(10, begin), "there is a spare one");
    }
}
