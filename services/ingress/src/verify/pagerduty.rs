//! PagerDuty V3: `X-PagerDuty-Signature: v1=<hex>[,v1=<hex>]` over the body; several while it rotates
//! its secret. Entries of other versions are skipped.

use http::{HeaderMap, HeaderName};

use super::{Keys, MAX_SIGNATURES, Refusal, mac};

/// The list of signatures.
pub const SIGNATURE: HeaderName = HeaderName::from_static("x-pagerduty-signature");

/// Verifies one delivery and gives the index of the key that matched. One right signature in any
/// position suffices; a repeated header continues the list, as for any list header.
///
/// # Errors
/// Why not.
pub fn verify(headers: &HeaderMap, body: &[u8], keys: &Keys) -> Result<usize, Refusal> {
    if keys.is_empty() {
        return Err(Refusal::MissingSecret);
    }
    let mut values = headers.get_all(&SIGNATURE).iter().peekable();
    if values.peek().is_none() {
        return Err(Refusal::MissingSignature);
    }
    let entries = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let mut signatures = Vec::with_capacity(2);
    for (index, entry) in entries.enumerate() {
        if index >= MAX_SIGNATURES {
            return Err(Refusal::InvalidSignatureFormat);
        }
        let entry = entry.trim_ascii().strip_prefix(b"v1=");
        signatures.extend(entry.and_then(mac::from_hex));
    }
    if signatures.is_empty() {
        return Err(Refusal::InvalidSignatureFormat);
    }
    keys.matching(&[body], &signatures)
}
