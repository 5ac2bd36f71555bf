//! The arithmetic of our own signatures.
//!
//! Signing is the dearest step of each message. Formally verified assembly (s2n-bignum, through
//! `graviola`) halves it where the processor has the instructions; elsewhere portable code does the
//! same. Ed25519 is deterministic, so both give the same 64 bytes, and that is checked with each key
//! before the fast way is taken. Verifying stays with one implementation for everybody.

use ed25519_dalek::{Signer as _, VerifyingKey};

/// Signed both ways when a key is loaded.
const PROBE: &[u8] = b"tocsin: both implementations sign alike";

/// One private key, ready to sign.
pub(super) struct Signer {
    portable: ed25519_dalek::SigningKey,
    fast: Option<fast::Key>,
}

impl Signer {
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        let portable = ed25519_dalek::SigningKey::from_bytes(seed);
        let expected = portable.sign(PROBE).to_bytes();
        let fast = fast::Key::new(seed).filter(|key| key.sign(PROBE) == expected);
        Self { portable, fast }
    }

    pub(super) fn sign(&self, text: &[u8]) -> [u8; 64] {
        match &self.fast {
            Some(key) => key.sign(text),
            None => self.portable.sign(text).to_bytes(),
        }
    }

    pub(super) fn verifying_key(&self) -> VerifyingKey {
        self.portable.verifying_key()
    }

    pub(super) fn seed(&self) -> [u8; 32] {
        self.portable.to_bytes()
    }
}

#[cfg(target_arch = "x86_64")]
mod fast {
    use graviola::signing::eddsa::Ed25519SigningKey;

    pub(super) struct Key(Ed25519SigningKey);

    impl Key {
        /// `None` where the library would refuse to run: processors from before 2014 or so.
        pub(super) fn new(seed: &[u8; 32]) -> Option<Self> {
            let has_all = is_x86_feature_detected!("aes")
                && is_x86_feature_detected!("pclmulqdq")
                && is_x86_feature_detected!("ssse3")
                && is_x86_feature_detected!("avx")
                && is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("adx")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2");
            if !has_all {
                return None;
            }
            Ed25519SigningKey::from_bytes(seed).ok().map(Self)
        }

        pub(super) fn sign(&self, text: &[u8]) -> [u8; 64] {
            self.0.sign(text)
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod fast {
    /// There is none: never made.
    pub(super) enum Key {}

    impl Key {
        pub(super) fn new(_: &[u8; 32]) -> Option<Self> {
            None
        }

        pub(super) fn sign(&self, _: &[u8]) -> [u8; 64] {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_ways_give_the_same_signature(seed: [u8; 32], text: Vec<u8>) {
            let signer = Signer::new(&seed);
            let portable = signer.portable.sign(&text).to_bytes();
            prop_assert_eq!(signer.sign(&text), portable);
            let fast = fast::Key::new(&seed).map(|key| key.sign(&text));
            prop_assert!(fast.is_none_or(|fast| fast == portable));
        }
    }
}
