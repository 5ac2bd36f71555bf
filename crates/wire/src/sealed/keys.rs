//! X25519 key pairs of audiences, and the file in which a service keeps its private halves.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use super::Audience;
use crate::signing::hex;

/// Private keys that one file may hold: the current one and those that boxes may still be sealed to.
const MAX_KEYS: usize = 8;

/// First 16 hex digits of the SHA-256 of a public sealing key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealingKeyId(String);

impl SealingKeyId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SealingKeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A sealing key that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealingKeyError {
    /// Not base64, or not 32 bytes.
    #[error("a public sealing key is 32 bytes in base64 (44 characters)")]
    PublicKey,
    /// The file is not a sealing key's.
    #[error(
        "a sealing key file is JSON with \"audience\" and \"keys\", each a \"public_key\" and its \"private_key\"; make one with `tocsin keys generate`"
    )]
    File,
}

/// What others seal to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealingPublicKey(crypto_box::PublicKey);

impl SealingPublicKey {
    /// The id that boxes name.
    pub fn id(&self) -> SealingKeyId {
        SealingKeyId(
            hex(&Sha256::digest(self.0.as_bytes()))
                .chars()
                .take(16)
                .collect(),
        )
    }

    pub(super) fn inner(&self) -> &crypto_box::PublicKey {
        &self.0
    }
}

impl fmt::Display for SealingPublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&BASE64.encode(self.0.as_bytes()))
    }
}

impl FromStr for SealingPublicKey {
    type Err = SealingKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = BASE64
            .decode(text.trim())
            .map_err(|_| SealingKeyError::PublicKey)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| SealingKeyError::PublicKey)?;
        Ok(Self(crypto_box::PublicKey::from_bytes(bytes)))
    }
}

impl Serialize for SealingPublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SealingPublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A private key. Debug never shows it; its bytes are wiped when it is dropped.
pub struct SealingKey {
    seed: Zeroizing<[u8; 32]>,
    secret: crypto_box::SecretKey,
    public: SealingPublicKey,
    id: SealingKeyId,
}

impl SealingKey {
    /// From 32 random bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        let secret = crypto_box::SecretKey::from_bytes(*seed);
        let public = SealingPublicKey(secret.public_key());
        let id = public.id();
        Self {
            seed,
            secret,
            public,
            id,
        }
    }

    /// The half that everybody may know.
    pub fn public(&self) -> &SealingPublicKey {
        &self.public
    }

    /// The id that boxes name.
    pub fn id(&self) -> &SealingKeyId {
        &self.id
    }

    pub(super) fn inner(&self) -> &crypto_box::SecretKey {
        &self.secret
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SealingKey({})", self.id)
    }
}

/// The private keys of one audience, newest first: boxes may be sealed to an older one for a while.
#[derive(Debug)]
pub struct SealingKeys {
    audience: Audience,
    keys: Vec<SealingKey>,
}

/// The JSON of a sealing key file.
#[derive(Serialize, Deserialize)]
struct KeyFile {
    audience: Audience,
    keys: Vec<KeyPair>,
}

#[derive(Serialize, Deserialize)]
struct KeyPair {
    public_key: SealingPublicKey,
    private_key: String,
}

impl Drop for KeyPair {
    fn drop(&mut self) {
        self.private_key.zeroize();
    }
}

impl SealingKeys {
    /// A first key.
    pub fn new(audience: Audience, seed: [u8; 32]) -> Self {
        Self {
            audience,
            keys: vec![SealingKey::from_seed(seed)],
        }
    }

    /// Puts a new key before the others; the oldest beyond eight are dropped.
    #[must_use]
    pub fn rotated(mut self, seed: [u8; 32]) -> Self {
        self.keys.insert(0, SealingKey::from_seed(seed));
        self.keys.truncate(MAX_KEYS);
        self
    }

    /// Reads what [`SealingKeys::to_file`] wrote; public and private parts must belong together.
    pub fn from_file(text: &str) -> Result<Self, SealingKeyError> {
        let file: KeyFile = serde_json::from_str(text).map_err(|_| SealingKeyError::File)?;
        let mut keys = Vec::with_capacity(file.keys.len());
        for pair in &file.keys {
            let seed = BASE64.decode(pair.private_key.as_bytes());
            let seed = Zeroizing::new(seed.map_err(|_| SealingKeyError::File)?);
            let seed = <[u8; 32]>::try_from(seed.as_slice());
            let key = SealingKey::from_seed(seed.map_err(|_| SealingKeyError::File)?);
            if *key.public() != pair.public_key {
                return Err(SealingKeyError::File);
            }
            keys.push(key);
        }
        if keys.is_empty() || keys.len() > MAX_KEYS {
            return Err(SealingKeyError::File);
        }
        Ok(Self {
            audience: file.audience,
            keys,
        })
    }

    /// The text of a sealing key file. Secret: write it with mode 0600.
    pub fn to_file(&self) -> Zeroizing<String> {
        let pairs: Vec<String> = self
            .keys
            .iter()
            .map(|key| {
                let private = Zeroizing::new(BASE64.encode(key.seed.as_slice()));
                format!(
                    "    {{\n      \"public_key\": \"{}\",\n      \"private_key\": \"{}\"\n    }}",
                    key.public(),
                    private.as_str()
                )
            })
            .collect();
        let pairs = Zeroizing::new(Zeroizing::new(pairs).join(",\n"));
        Zeroizing::new(format!(
            "{{\n  \"audience\": \"{}\",\n  \"keys\": [\n{}\n  ]\n}}\n",
            self.audience,
            pairs.as_str()
        ))
    }

    /// Whose they are.
    pub fn audience(&self) -> &Audience {
        &self.audience
    }

    /// Newest first.
    pub fn iter(&self) -> impl Iterator<Item = &SealingKey> {
        self.keys.iter()
    }

    /// The newest: what is published.
    pub fn newest(&self) -> Option<&SealingKey> {
        self.keys.first()
    }

    pub(super) fn find(&self, id: &str) -> Option<&SealingKey> {
        self.keys.iter().find(|key| key.id().as_str() == id)
    }
}
