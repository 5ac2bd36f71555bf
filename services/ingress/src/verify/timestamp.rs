//! Timestamps inside what is signed: strict, and not far from our clock.

use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;

use super::Refusal;

/// Twelve digits reach the year 33658; more is no time.
const MAX_DIGITS: usize = 12;

/// Refuses a time that is further from `now` than `tolerance`, in either direction; both ends are
/// included.
pub(super) fn check(
    timestamp: &HeaderValue,
    now: Timestamp,
    tolerance: Duration,
) -> Result<(), Refusal> {
    check_digits(timestamp.as_bytes(), now, tolerance)
}

/// [`check`] of a time that stands inside another header.
pub(super) fn check_digits(
    digits: &[u8],
    now: Timestamp,
    tolerance: Duration,
) -> Result<(), Refusal> {
    let tolerance = i64::try_from(tolerance.as_secs()).unwrap_or(i64::MAX);
    let age = now.as_second().saturating_sub(seconds(digits)?);
    if age > tolerance {
        return Err(Refusal::StaleTimestamp);
    }
    if age < -tolerance {
        return Err(Refusal::FutureTimestamp);
    }
    Ok(())
}

fn seconds(digits: &[u8]) -> Result<i64, Refusal> {
    let well_formed =
        (1..=MAX_DIGITS).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    if !well_formed {
        return Err(Refusal::MalformedTimestamp);
    }
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or(Refusal::MalformedTimestamp)
}
