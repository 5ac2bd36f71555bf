//! Standard Webhooks, symmetric: `webhook-signature: v1,<base64>[ v1,<base64>]` over
//! `<webhook-id>.<webhook-timestamp>.<body>`. Svix's own names for the headers (`svix-id`, …) are taken
//! as well. Entries of other versions are skipped.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use super::mac::MAC_BYTES;
use super::{Keys, MAX_SIGNATURES, Refusal, single, timestamp};

/// The message, the same on every retry; it is signed, so nobody can replay under another.
pub const ID: HeaderName = HeaderName::from_static("webhook-id");
/// Seconds since 1970, of this attempt.
pub const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// The list of signatures.
pub const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
/// As Svix calls [`ID`].
pub const SVIX_ID: HeaderName = HeaderName::from_static("svix-id");
/// As Svix calls [`TIMESTAMP`].
pub const SVIX_TIMESTAMP: HeaderName = HeaderName::from_static("svix-timestamp");
/// As Svix calls [`SIGNATURE`].
pub const SVIX_SIGNATURE: HeaderName = HeaderName::from_static("svix-signature");

/// What secrets are shown with.
const SECRET_PREFIX: &str = "whsec_";

/// People lose padding when they copy a secret.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Keys of secrets as `whsec_<base64>` or without the prefix. Whatever is no base64 is left out, as
/// an empty secret is: nothing verifies under it.
pub fn keys<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Keys {
    let decoded = secrets.into_iter().filter_map(|secret| {
        let secret = secret.strip_prefix(SECRET_PREFIX).unwrap_or(secret);
        BASE64.decode(secret).ok()
    });
    Keys::of_bytes(decoded)
}

/// Verifies one delivery as of `now`; its timestamp may be off by `tolerance` in both directions, both
/// ends included. Gives the index of the key that matched. One right signature in any position
/// suffices.
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
    let presented = Presented::of(headers)?;
    timestamp::check(presented.timestamp, now, tolerance)?;
    let signatures = signatures(headers, &presented.signature)?;
    let id = presented.id.as_bytes();
    let parts = [id, b".", presented.timestamp.as_bytes(), b".", body];
    keys.matching(&parts, &signatures)
}

/// The id of a delivery, under either name; empty when it has none.
#[must_use]
pub fn delivery_id(headers: &HeaderMap) -> &str {
    let id = headers.get(ID).or_else(|| headers.get(SVIX_ID));
    id.and_then(|id| id.to_str().ok()).unwrap_or_default()
}

struct Presented<'a> {
    id: &'a HeaderValue,
    timestamp: &'a HeaderValue,
    signature: HeaderName,
}

impl<'a> Presented<'a> {
    /// One set of names or the other; a mixture would let a proxy and us read different values.
    fn of(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        let names = if headers.contains_key(SIGNATURE) || headers.contains_key(ID) {
            (ID, TIMESTAMP, SIGNATURE)
        } else {
            (SVIX_ID, SVIX_TIMESTAMP, SVIX_SIGNATURE)
        };
        let (id, timestamp, signature) = names;
        if !headers.contains_key(&signature) {
            return Err(Refusal::MissingSignature);
        }
        Ok(Self {
            id: single(headers, &id)?.ok_or(Refusal::MissingId)?,
            timestamp: single(headers, &timestamp)?.ok_or(Refusal::MissingTimestamp)?,
            signature,
        })
    }
}

fn signatures(headers: &HeaderMap, name: &HeaderName) -> Result<Vec<[u8; MAC_BYTES]>, Refusal> {
    let values = headers.get_all(name).iter();
    let entries = values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b' '))
        .filter(|entry| !entry.is_empty());
    let mut signatures = Vec::with_capacity(2);
    for (index, entry) in entries.enumerate() {
        if index >= MAX_SIGNATURES {
            return Err(Refusal::InvalidSignatureFormat);
        }
        let decoded = entry
            .strip_prefix(b"v1,")
            .and_then(|entry| general_purpose::STANDARD.decode(entry).ok());
        signatures.extend(decoded.and_then(|bytes| <[u8; MAC_BYTES]>::try_from(bytes).ok()));
    }
    if signatures.is_empty() {
        return Err(Refusal::InvalidSignatureFormat);
    }
    Ok(signatures)
}
