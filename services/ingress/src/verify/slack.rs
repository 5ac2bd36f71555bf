//! Slack v0: `X-Slack-Signature: v0=<hex>` over `v0:<timestamp>:<body>`.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use jiff::Timestamp;

use super::{Keys, Refusal, mac, single, timestamp};

/// The signature.
pub const SIGNATURE: HeaderName = HeaderName::from_static("x-slack-signature");
/// Seconds since 1970.
pub const TIMESTAMP: HeaderName = HeaderName::from_static("x-slack-request-timestamp");

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
    let sent = single(headers, &TIMESTAMP)?.ok_or(Refusal::MissingTimestamp)?;
    let signature = single(headers, &SIGNATURE)?.ok_or(Refusal::MissingSignature)?;
    timestamp::check(sent, now, tolerance)?;
    let signature = signature
        .as_bytes()
        .strip_prefix(b"v0=")
        .and_then(mac::from_hex)
        .ok_or(Refusal::InvalidSignatureFormat)?;
    keys.matching(&[b"v0:", sent.as_bytes(), b":", body], &[signature])
}
