//! HMAC-SHA256 over parts of a message, with several live keys.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::Refusal;

/// Bytes of an HMAC-SHA256.
pub(super) const MAC_BYTES: usize = 32;

/// The live signing secrets of one source, ready to use: hashing a key into its MAC is done once.
#[derive(Clone, Default)]
pub struct Keys(Vec<Hmac<Sha256>>);

impl Keys {
    /// Empty secrets are left out: anybody can compute the MAC of an empty key.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        Self::of_bytes(secrets.into_iter().map(str::as_bytes))
    }

    /// Of secrets that are not used as text.
    pub(super) fn of_bytes(secrets: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let keys = secrets
            .into_iter()
            .filter(|secret| !secret.as_ref().is_empty())
            // HMAC takes keys of any length.
            .filter_map(|secret| Hmac::new_from_slice(secret.as_ref()).ok())
            .collect();
        Self(keys)
    }

    /// Without keys nothing verifies.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Index of the first key under which one of `signatures` is the MAC of `parts`, one after the
    /// other.
    pub(super) fn matching(
        &self,
        parts: &[&[u8]],
        signatures: &[[u8; MAC_BYTES]],
    ) -> Result<usize, Refusal> {
        let mut matched = None;
        for (index, key) in self.0.iter().enumerate() {
            let mut mac = key.clone();
            for part in parts {
                mac.update(part);
            }
            for signature in signatures {
                let holds = mac.clone().verify_slice(signature).is_ok();
                if holds && matched.is_none() {
                    matched = Some(index);
                }
            }
        }
        matched.ok_or(Refusal::BadSignature)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Keys({})", self.0.len())
    }
}

/// A MAC written as 64 hex digits, of either case.
pub(super) fn from_hex(text: &[u8]) -> Option<[u8; MAC_BYTES]> {
    if text.len() != 2 * MAC_BYTES {
        return None;
    }
    let mut bytes = [0; MAC_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let high = char::from(*high).to_digit(16)?;
        let low = char::from(*low).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}
