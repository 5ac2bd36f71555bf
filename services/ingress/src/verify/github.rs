//! GitHub: `X-Hub-Signature-256: sha256=<hex>` over the body. The SHA-1 header beside it is ignored.

use http::{HeaderMap, HeaderName};

use super::{Keys, Refusal, mac, single};

/// The signature.
pub const SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");
/// Id of the delivery, a GUID; outside the MAC.
pub const DELIVERY: HeaderName = HeaderName::from_static("x-github-delivery");
/// Name of the event; outside the MAC.
pub const EVENT: HeaderName = HeaderName::from_static("x-github-event");

/// Verifies one delivery and gives the index of the key that matched.
///
/// # Errors
/// Why not.
pub fn verify(headers: &HeaderMap, body: &[u8], keys: &Keys) -> Result<usize, Refusal> {
    if keys.is_empty() {
        return Err(Refusal::MissingSecret);
    }
    // Both tell deliveries apart: which of two counts must not depend on who reads them.
    single(headers, &DELIVERY)?;
    single(headers, &EVENT)?;
    let signature = single(headers, &SIGNATURE)?
        .ok_or(Refusal::MissingSignature)?
        .as_bytes()
        .strip_prefix(b"sha256=")
        .and_then(mac::from_hex)
        .ok_or(Refusal::InvalidSignatureFormat)?;
    keys.matching(&[body], &[signature])
}
