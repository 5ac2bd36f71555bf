//! Protobuf timestamps to and from [`jiff::Timestamp`].

use jiff::Timestamp;

/// As protobuf stores it.
pub fn to_proto(timestamp: Timestamp) -> prost_types::Timestamp {
    // Protobuf wants nanoseconds counted forward from the second, also before 1970.
    let mut seconds = timestamp.as_second();
    let mut nanos = timestamp.subsec_nanosecond();
    if nanos < 0 {
        seconds -= 1;
        nanos += 1_000_000_000;
    }
    prost_types::Timestamp { seconds, nanos }
}

/// `None` when the value is outside what a timestamp can hold (years -9999 to 9999).
pub fn from_proto(timestamp: &prost_types::Timestamp) -> Option<Timestamp> {
    let whole = Timestamp::from_second(timestamp.seconds).ok()?;
    whole
        .checked_add(jiff::SignedDuration::from_nanos(i64::from(timestamp.nanos)))
        .ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn there_and_back(nanos in -4_000_000_000_000_000_000_i128..4_000_000_000_000_000_000) {
            let timestamp = Timestamp::from_nanosecond(nanos).expect("in range");
            let stored = to_proto(timestamp);
            prop_assert!((0..1_000_000_000).contains(&stored.nanos));
            prop_assert_eq!(from_proto(&stored), Some(timestamp));
        }
    }
}
