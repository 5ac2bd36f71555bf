//! HMAC-SHA256 over parts of a message, with several live keys.

use std::fmt;

use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;

use super::Refusal;
use super::secret::{LiveSecret, Validity};

/// Bytes of an HMAC-SHA256.
pub(super) const MAC_BYTES: usize = 32;

/// People lose padding when they copy a secret.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The signing secrets of one source, ready to use: hashing a key into its MAC is done once.
#[derive(Clone, Default)]
pub(super) struct Keys(Vec<Key>);

#[derive(Clone)]
struct Key {
    mac: Hmac<Sha256>,
    /// In the list that the keys were made of.
    position: usize,
    validity: Validity,
}

impl Keys {
    /// Of secrets that are used as text. Empty ones are left out: anybody can compute the MAC of an empty
    /// key.
    pub(super) fn of_text(secrets: &[LiveSecret<'_>]) -> Self {
        Self::of(secrets, |text| Some(text.as_bytes().to_vec()))
    }

    /// With what `key` makes of each secret; those of which it makes nothing are left out.
    pub(super) fn of(secrets: &[LiveSecret<'_>], key: impl Fn(&str) -> Option<Vec<u8>>) -> Self {
        let keys = secrets.iter().enumerate().filter_map(|(position, secret)| {
            let bytes = key(secret.text).filter(|bytes| !bytes.is_empty())?;
            Some(Key {
                // HMAC takes keys of any length.
                mac: Hmac::new_from_slice(&bytes).ok()?,
                position,
                validity: secret.validity,
            })
        });
        Self(keys.collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Refuses when no key is valid: without keys nothing verifies.
    pub(super) fn check_any(&self, now: Timestamp) -> Result<(), Refusal> {
        let is_live = self.0.iter().any(|key| key.validity.holds(now));
        is_live.then_some(()).ok_or(Refusal::MissingSecret)
    }

    /// Position of the first valid secret under which one of `signatures` is the MAC of `parts`, one
    /// after the other.
    pub(super) fn matching(
        &self,
        now: Timestamp,
        parts: &[&[u8]],
        signatures: &[[u8; MAC_BYTES]],
    ) -> Result<usize, Refusal> {
        let mut matched = None;
        for key in self.0.iter().filter(|key| key.validity.holds(now)) {
            let mut mac = key.mac.clone();
            for part in parts {
                mac.update(part);
            }
            for signature in signatures {
                let holds = mac.clone().verify_slice(signature).is_ok();
                if holds && matched.is_none() {
                    matched = Some(key.position);
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
