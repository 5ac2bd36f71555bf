//! Slack v0: `X-Slack-Signature: v0=<hex>` over `v0:<timestamp>:<body>`.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use super::{Keys, Refusal, mac, single};

/// The signature.
pub const SIGNATURE: HeaderName = HeaderName::from_static("x-slack-signature");
/// Seconds since 1970.
pub const TIMESTAMP: HeaderName = HeaderName::from_static("x-slack-request-timestamp");

/// Twelve digits reach the year 33658; more is no time.
const MAX_DIGITS: usize = 12;

/// Verifies one delivery as of `now`; a timestamp may be off by `tolerance` in both directions, both
/// ends included. Gives the index of the key that matched.
///
/// # Errors
/// Why not.
pub fn verify(
    headers: &HeaderMap,
    body: &[u8],
    keys: &Keys,
    now: Timestamp,
    tolerance: Duration,
) -> Result<usize, Refusal> {
    if keys.is_empty() {
        return Err(Refusal::MissingSecret);
    }
    let timestamp = single(headers, &TIMESTAMP)?.ok_or(Refusal::MissingTimestamp)?;
    let signature = single(headers, &SIGNATURE)?.ok_or(Refusal::MissingSignature)?;
    let sent = seconds(timestamp)?;
    let tolerance = i64::try_from(tolerance.as_secs()).unwrap_or(i64::MAX);
    let age = now.as_second().saturating_sub(sent);
    if age > tolerance {
        return Err(Refusal::StaleTimestamp);
    }
    if age < -tolerance {
        return Err(Refusal::FutureTimestamp);
    }
    let signature = signature
        .as_bytes()
        .strip_prefix(b"v0=")
        .and_then(mac::from_hex)
        .ok_or(Refusal::InvalidSignatureFormat)?;
    keys.matching(&[b"v0:", timestamp.as_bytes(), b":", body], &[signature])
}

fn seconds(timestamp: &HeaderValue) -> Result<i64, Refusal> {
    let digits = timestamp.as_bytes();
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
