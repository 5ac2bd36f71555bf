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
    /// Another lease: its deliveries and its end.
    pub(super) spare: Option<(u32, Instant)>,
    /// So many deliveries did not fit, and the window is not asked about as many until then.
    pub(super) full: Option<(u32, Instant)>,
}

/// What a window says of deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// They are counted, and must be admitted before then: later the window has forgotten them too early.
    Until(Instant),
    Full,
}

impl Lease {
    /// Whether so many deliveries fit; `Some` when it can be told without asking.
    pub(super) fn room(&self, deliveries: u32, now: Instant) -> Option<Room> {
        if self.available(now) >= deliveries {
            let (current, spare) = (self.current(now), self.spare(now));
            let is_enough = current.is_some() && self.left >= deliveries;
            let spare = spare.filter(|_| !is_enough);
            return current.into_iter().chain(spare).min().map(Room::Until);
        }
        let is_full = |(least, until)| deliveries >= least && now < until;
        self.full.is_some_and(is_full).then_some(Room::Full)
    }

    /// Deliveries that may be admitted without asking.
    pub(super) fn available(&self, now: Instant) -> u32 {
        let left = self.current(now).map_or(0, |_| self.left);
        let spare = self.spare.filter(|(_, ends)| now < *ends);
        left.saturating_add(spare.map_or(0, |(spare, _)| spare))
    }

    fn current(&self, now: Instant) -> Option<Instant> {
        self.ends.filter(|ends| self.left > 0 && now < *ends)
    }

    fn spare(&self, now: Instant) -> Option<Instant> {
        self.spare.map(|(_, ends)| ends).filter(|ends| now < *ends)
    }

    /// As [`Lease::room`], and counts what it lets in.
    pub(super) fn decide(&mut self, deliveries: u32, now: Instant) -> Option<Room> {
        let room = self.room(deliveries, now);
        if let Some(Room::Until(_)) = room {
            let left = self.current(now).map_or(0, |_| self.left);
            match self.spare.take_if(|_| left < deliveries) {
                Some((spare, ends)) => {
                    (self.left, self.ends) = (spare + left - deliveries, Some(ends));
                }
                None => self.left = left - deliveries,
            }
        }
        room
    }

    /// Another `deliveries` until `ends`: now, or when what there is has been used.
    pub(super) fn extend(&mut self, deliveries: u32, ends: Instant, now: Instant) {
        self.full = None;
        let before = self.spare.filter(|(_, ends)| now < *ends);
        if self.current(now).is_none() {
            let added = (deliveries, ends);
            let (left, end) = before.unwrap_or(added);
            (self.left, self.ends) = (left, Some(end));
            self.spare = before.map(|_| added);
            return;
        }
        // Together they end with the first.
        self.spare = Some(before.map_or((deliveries, ends), |(spare, end)| {
            (spare.saturating_add(deliveries), end.min(ends))
        }));
    }

    /// Whether it is soon used up. A grain of one would be asked for in vain by most who send so little.
    pub(super) fn is_short(&self, grain: u32, now: Instant) -> bool {
        let ends_soon = |ends: Instant| ends.saturating_duration_since(now) <= RENEW_TIME;
        let is_low = self.left <= grain / RENEW_PART || self.ends.is_none_or(ends_soon);
        grain > 1 && is_low && self.spare(now).is_none() && self.full.is_none()
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        let is_past = |at: Option<Instant>| at.is_none_or(|at| at <= now);
        let full_until = self.full.map(|(_, until)| until);
        is_past(self.ends) && self.spare(now).is_none() && is_past(full_until)
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
        assert_eq!(lease.decide(1, begin), admitted);
        assert_eq!(lease.decide(1, begin + LEASE), None, "over");
        assert_eq!(lease.decide(1, begin), admitted);
        assert_eq!(lease.decide(1, begin), None, "used up");
        lease.full = Some((1, begin + FULL_PAUSE));
        assert_eq!(lease.decide(1, begin), Some(Room::Full));
        assert_eq!(lease.decide(1, begin + FULL_PAUSE), None);
        assert!(!lease.is_over(begin));
        assert!(lease.is_over(begin + LEASE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_spare_lease_follows_when_the_first_is_used_up_or_over() {
        let begin = Instant::now();
        let (first, second) = (begin + LEASE, begin + LEASE + RENEW_TIME);
        let mut used = lease(1, first);
        used.extend(10, second, begin);
        assert_eq!(used.decide(1, begin), Some(Room::Until(first)));
        for _ in 0..10 {
            assert_eq!(used.decide(1, begin), Some(Room::Until(second)));
        }
        assert_eq!(used.decide(1, begin), None, "both are used up");

        let mut over = lease(5, first);
        over.extend(10, second, begin);
        assert_eq!(over.decide(1, first), Some(Room::Until(second)));
        assert_eq!(over.left, 9, "what the first had left is gone");
        assert_eq!(over.decide(1, second), None, "both are over");
        over.extend(10, second + LEASE, second);
        assert_eq!(over.decide(1, second), Some(Room::Until(second + LEASE)));
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
        lease.full = Some((1, ends));
        assert!(
            !lease.is_short(10, begin),
            "the window was full a moment ago"
        );
        lease.extend(10, ends, begin);
        assert!(!lease.is_short(10, begin), "there is a spare one");
    }

    #[tokio::test(start_paused = true)]
    async fn several_are_counted_together_or_not_at_all() {
        let begin = Instant::now();
        let (first, second) = (begin + LEASE, begin + LEASE + RENEW_TIME);
        let mut lease = lease(3, first);
        assert_eq!(lease.decide(4, begin), None);
        lease.extend(10, second, begin);
        assert_eq!(lease.room(3, begin), Some(Room::Until(first)));
        assert_eq!(lease.decide(5, begin), Some(Room::Until(first)));
        assert_eq!((lease.left, lease.spare), (8, None), "both were used");
        assert_eq!(lease.decide(9, begin), None);
        lease.full = Some((9, begin + FULL_PAUSE));
        assert_eq!(lease.decide(9, begin), Some(Room::Full));
        assert_eq!(lease.decide(8, begin), Some(Room::Until(second)));
        assert_eq!(lease.decide(8, begin), None, "fewer may still fit");
        lease.extend(2, second, begin);
        lease.extend(5, second + LEASE, begin);
        lease.extend(5, second, begin);
        assert_eq!(lease.available(begin), 12);
        assert_eq!(lease.decide(12, begin), Some(Room::Until(second)));
    }
}
