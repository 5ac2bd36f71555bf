//! Identifiers that need not be derived from anything. Ids of events, runs and messages are never
//! made here: those are derived, so that a repeat gives the same one (see `tocsin_wire`).

use jiff::Timestamp;
use uuid::{NoContext, Uuid};

/// A time-ordered id (UUIDv7) whose time part is `now`; the rest is from the system's generator.
///
/// A time before 1970 counts as 1970.
#[must_use]
pub fn time_ordered_id(now: Timestamp) -> Uuid {
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let nanoseconds = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_differ_within_one_instant() {
        let early = Timestamp::from_millisecond(1_700_000_000_000).expect("in range");
        let late = Timestamp::from_millisecond(1_700_000_000_001).expect("in range");
        assert!(time_ordered_id(early) < time_ordered_id(late));
        assert_ne!(time_ordered_id(early), time_ordered_id(early));
        assert_eq!(time_ordered_id(Timestamp::MIN).get_version_num(), 7);
    }
}
