//! Stripe's way: `t=<seconds>,v1=<hex>[,v1=<hex>]` in one header, over `<t>.<body>`. The whole secret is
//! the key, its `whsec_` included. Entries of other versions are skipped; two times are refused.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use jiff::Timestamp;

use super::mac::{self, MAC_BYTES};
use super::{Keys, MAX_SIGNATURES, Refusal, single, timestamp};

/// Verifies one delivery; gives the index of the key that matched.
pub(super) fn verify(
    header: &HeaderName,
    keys: &Keys,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
    tolerance: Duration,
) -> Result<usize, Refusal> {
    keys.check_any(now)?;
    let value = single(headers, header)?.ok_or(Refusal::MissingSignature)?;
    let presented = Presented::read(value.as_bytes())?;
    timestamp::check_digits(presented.time, now, tolerance)?;
    keys.matching(now, &[presented.time, b".", body], &presented.signatures)
}

/// The time inside the header.
pub(super) fn time(value: &[u8]) -> Option<&[u8]> {
    let mut entries = value.split(|at| *at == b',');
    entries.find_map(|entry| entry.trim_ascii().strip_prefix(b"t="))
}

struct Presented<'a> {
    time: &'a [u8],
    signatures: Vec<[u8; MAC_BYTES]>,
}

impl<'a> Presented<'a> {
    fn read(value: &'a [u8]) -> Result<Self, Refusal> {
        let mut time = None;
        let mut signatures = Vec::with_capacity(2);
        for (index, entry) in value.split(|at| *at == b',').enumerate() {
            // One more than signatures: the time is an entry too.
            if index > MAX_SIGNATURES {
                return Err(Refusal::InvalidSignatureFormat);
            }
            let entry = entry.trim_ascii();
            if let Some(seconds) = entry.strip_prefix(b"t=") {
                if time.replace(seconds).is_some() {
                    return Err(Refusal::DuplicateHeader);
                }
            } else if let Some(digits) = entry.strip_prefix(b"v1=") {
                signatures.extend(mac::from_hex(digits));
            }
        }
        let time = time.ok_or(Refusal::MissingTimestamp)?;
        if signatures.is_empty() {
            return Err(Refusal::InvalidSignatureFormat);
        }
        Ok(Self { time, signatures })
    }
}
