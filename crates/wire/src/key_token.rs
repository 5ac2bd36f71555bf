//! Foreign keys (channel ids, repositories, incident ids) as subject tokens and key-value keys.
//!
//! ASCII letters, digits, `-` and `_` stand for themselves; every other byte is `=XX` in upper-case
//! hex. Encodings longer than [`MAX_KEY_BYTES`] become `=H` and 32 hex digits of the key's SHA-256.
//! The encoding is injective (up to the hash), readable, and legal both in a subject and in a
//! key-value key.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// Longest encoded key; a subject with a handful of tokens stays far below the server's limits.
pub const MAX_KEY_BYTES: usize = 160;

const HASH_PREFIX: &str = "=H";
const HASH_HEX_DIGITS: usize = 32;
const EMPTY: &str = "=E";

/// An encoded foreign key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyToken(String);

/// The text is not what [`KeyToken::encode`] produces.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an encoded key: expected letters, digits, '-', '_' and =XX escapes")]
pub struct InvalidKeyToken(pub String);

impl KeyToken {
    /// Encodes any text; never fails.
    pub fn encode(raw: &str) -> Self {
        if raw.is_empty() {
            return Self(EMPTY.to_owned());
        }
        let mut encoded = String::with_capacity(raw.len() + 8);
        for byte in raw.bytes() {
            if is_plain(byte) {
                encoded.push(char::from(byte));
            } else {
                push_escape(&mut encoded, byte);
            }
        }
        if encoded.len() > MAX_KEY_BYTES {
            return Self(hashed(raw));
        }
        Self(encoded)
    }

    /// The encoded text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The original text; `None` for a hashed key, which cannot be turned back.
    pub fn decode(&self) -> Option<String> {
        if self.0 == EMPTY {
            return Some(String::new());
        }
        let mut bytes = Vec::with_capacity(self.0.len());
        let mut rest = self.0.bytes();
        while let Some(byte) = rest.next() {
            if byte == b'=' {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                bytes.push(u8::try_from(high * 16 + low).ok()?);
            } else {
                bytes.push(byte);
            }
        }
        String::from_utf8(bytes).ok()
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn push_escape(encoded: &mut String, byte: u8) {
    const HEX: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    encoded.push('=');
    for nibble in [byte >> 4, byte & 15] {
        if let Some(digit) = HEX.get(usize::from(nibble)) {
            encoded.push(*digit);
        }
    }
}

fn hashed(raw: &str) -> String {
    let mut encoded = HASH_PREFIX.to_owned();
    for byte in Sha256::digest(raw.as_bytes())
        .iter()
        .take(HASH_HEX_DIGITS / 2)
    {
        // Writing to a String cannot fail.
        let _infallible = write!(encoded, "{byte:02X}");
    }
    encoded
}

impl fmt::Display for KeyToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for KeyToken {
    type Err = InvalidKeyToken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let token = Self(text.to_owned());
        let is_hash = text.strip_prefix(HASH_PREFIX).is_some_and(|digits| {
            digits.len() == HASH_HEX_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        let is_canonical = token
            .decode()
            .is_some_and(|decoded| Self::encode(&decoded).as_str() == text);
        if is_hash || is_canonical {
            Ok(token)
        } else {
            Err(InvalidKeyToken(text.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_stay_readable() {
        for (raw, encoded) in [
            ("C0A4967KRBM", "C0A4967KRBM"),
            ("acme/checkout.api", "acme=2Fcheckout=2Eapi"),
            ("", "=E"),
            ("=E", "=3DE"),
            ("a b", "a=20b"),
            ("ü", "=C3=BC"),
        ] {
            assert_eq!(KeyToken::encode(raw).as_str(), encoded);
        }
        let long = "x".repeat(500);
        let token = KeyToken::encode(&long);
        assert_eq!((token.as_str().len(), token.decode()), (34, None));
    }

    proptest! {
        #[test]
        fn encoding_is_undone_by_decoding(raw in ".{0,50}") {
            let token = KeyToken::encode(&raw);
            prop_assert!(!token.as_str().contains(['.', '*', '>', ' ']));
            prop_assert_eq!(token.as_str().parse::<KeyToken>(), Ok(token.clone()));
            if token.as_str().len() <= MAX_KEY_BYTES && !token.as_str().starts_with("=H") {
                prop_assert_eq!(token.decode(), Some(raw));
            }
        }

        #[test]
        fn what_parses_was_encoded(text in "[A-Za-z0-9_=-]{0,40}") {
            if let Ok(token) = text.parse::<KeyToken>() && let Some(raw) = token.decode() {
                prop_assert_eq!(KeyToken::encode(&raw), token);
            }
        }
    }
}
