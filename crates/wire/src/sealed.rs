//! Secrets on their way from config to the one room that may open them.
//!
//! A value is sealed to the X25519 public key of its [`Audience`] (libsodium's sealed box: an ephemeral
//! key pair, XSalsa20-Poly1305). Inside stand, before the value, the lines of its [`Place`]:
//!
//! ```text
//! tocsin-sealed-secret-v1
//! org:…
//! node:…
//! name:…
//! version:…
//! audience:…
//!
//! <the value>
//! ```
//!
//! so that a box which is copied to another key, name, node or version does not open there. A box says
//! nothing about who made it: that is the signature's part, which every value of a bucket has.

mod keys;
mod record;
mod reference;

use std::fmt;
use std::str::FromStr;

use crypto_box::aead::rand_core::{CryptoRng, Error as RandomError, RngCore};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
pub use zeroize::{Zeroize, Zeroizing};

use crate::proto::{SealedBox, SecretRecord};
use crate::service::Service;
use crate::token::{OrgId, Pool, SecretName, TeamId};

pub use keys::{SealingKey, SealingKeyError, SealingKeyId, SealingKeys, SealingPublicKey};
pub use record::{KEY_PREFIX, SealingKeyRecord, SealingRing};
pub use reference::{MalformedReference, Piece, REFERENCE, Reference, pieces, references};

/// Longest value: a certificate chain with its key, or a service account's JSON, fits many times.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// Bucket in which sealed secrets lie.
pub const BUCKET: &str = "secrets";

/// Who may open a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Audience {
    /// The room that takes webhooks.
    Ingress,
    /// The workers of one pool.
    Worker(Pool),
}

impl Audience {
    /// The room that holds the private key.
    pub const fn service(&self) -> Service {
        match self {
            Self::Ingress => Service::Ingress,
            Self::Worker(_) => Service::AgentWorker,
        }
    }
}

impl Default for Audience {
    /// The pool that every team uses unless it says otherwise.
    fn default() -> Self {
        Self::Worker(Pool::shared())
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ingress => formatter.write_str("ingress"),
            Self::Worker(pool) => write!(formatter, "worker.{pool}"),
        }
    }
}

/// Not an audience. The text is not repeated: it may be a secret in the wrong field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an audience is \"ingress\" or \"worker.<pool>\", such as \"worker.default\"")]
pub struct UnknownAudience;

impl FromStr for Audience {
    type Err = UnknownAudience;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "ingress" {
            return Ok(Self::Ingress);
        }
        let pool = text.strip_prefix("worker.").ok_or(UnknownAudience)?;
        Pool::new(pool)
            .map(Self::Worker)
            .map_err(|_| UnknownAudience)
    }
}

impl Serialize for Audience {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Where a value belongs. It is bound to the value at rest and in the box.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Owner.
    pub org: OrgId,
    /// Node of the org that owns it: the org itself, a unit or a team.
    pub node: TeamId,
    /// What references call it.
    pub name: SecretName,
    /// 1 for the first value; one more with each.
    pub version: u64,
    /// Who may open it.
    pub audience: Audience,
}

impl Place {
    /// One line per part. No part can hold a line feed, so two places never have the same text.
    pub fn text(&self) -> String {
        let Self {
            org,
            node,
            name,
            version,
            audience,
        } = self;
        format!("org:{org}\nnode:{node}\nname:{name}\nversion:{version}\naudience:{audience}\n")
    }

    /// Key in the bucket.
    pub fn key(&self) -> String {
        bucket_key(&self.audience, &self.org, &self.node, &self.name)
    }

    fn heading(&self) -> String {
        format!("tocsin-sealed-secret-v1\n{}\n", self.text())
    }
}

/// `<audience>.<org>.<node>.<name>`: what a room may read is a prefix.
pub fn bucket_key(audience: &Audience, org: &OrgId, node: &TeamId, name: &SecretName) -> String {
    format!("{audience}.{org}.{node}.{name}")
}

/// Why a box was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The public key is no point that can be sealed to.
    #[error("cannot seal secret {name} of node {node} to key {key}; replace that key")]
    Key {
        /// Its node.
        node: TeamId,
        /// Which secret.
        name: SecretName,
        /// Which key.
        key: SealingKeyId,
    },
}

/// Seals `value` to one public key. `random` must never be used twice, nor known to anybody.
pub fn seal(
    to: &SealingPublicKey,
    place: &Place,
    value: &[u8],
    random: [u8; 32],
) -> Result<SealedBox, SealError> {
    let mut content = Zeroizing::new(place.heading().into_bytes());
    content.reserve_exact(value.len());
    content.extend_from_slice(value);
    let mut draw = OneDraw(Zeroizing::new(random));
    let sealed = to.inner().seal(&mut draw, &content);
    let content = sealed.map_err(|_| SealError::Key {
        node: place.node.clone(),
        name: place.name.clone(),
        key: to.id(),
    })?;
    Ok(SealedBox {
        key_id: to.id().to_string(),
        content: content.into(),
    })
}

/// Why a secret was not opened. Nothing of its value is in the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsealError {
    /// The record stands under another key than its own.
    #[error("the record under {key} is not the one of that secret")]
    Elsewhere {
        /// Key in the bucket.
        key: String,
    },
    /// Sealed, but not to us, or not to any key that we still have.
    #[error(
        "it is sealed to {sealed_to:?} and this {audience} holds {held:?}; \
         publish its public key with `tocsin keys publish`, or restore its key file"
    )]
    NotForUs {
        /// Ours.
        audience: Audience,
        /// Ids of the keys it is sealed to.
        sealed_to: Vec<String>,
        /// Ids of the keys that we have.
        held: Vec<String>,
    },
    /// The box was changed, or holds the value of another place or version.
    #[error("its box was changed, or belongs to another secret, node or version")]
    Broken,
}

/// Opens the record found under the key of `audience`, `org`, `node` and `name`.
pub fn unseal(
    keys: &SealingKeys,
    (org, node, name): (&OrgId, &TeamId, &SecretName),
    record: &SecretRecord,
) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
    let place = Place {
        org: org.clone(),
        node: node.clone(),
        name: name.clone(),
        version: record.version,
        audience: keys.audience().clone(),
    };
    let said = (&record.org, &record.node, &record.name, &record.audience);
    let audience = place.audience.to_string();
    let expected = (org.as_str(), node.as_str(), name.as_str(), &audience);
    if said.0 != expected.0 || said.1 != expected.1 || said.2 != expected.2 || said.3 != expected.3
    {
        return Err(UnsealError::Elsewhere { key: place.key() });
    }
    let found = record.boxes.iter().find_map(|sealed| {
        let key = keys.find(&sealed.key_id)?;
        Some((key, &sealed.content))
    });
    let Some((key, content)) = found else {
        return Err(UnsealError::NotForUs {
            audience: place.audience,
            sealed_to: record.boxes.iter().map(|one| one.key_id.clone()).collect(),
            held: keys.iter().map(|key| key.id().to_string()).collect(),
        });
    };
    let opened = key.inner().unseal(content);
    let opened = Zeroizing::new(opened.map_err(|_| UnsealError::Broken)?);
    let heading = place.heading();
    match opened.strip_prefix(heading.as_bytes()) {
        Some(value) => Ok(Zeroizing::new(value.to_vec())),
        None => Err(UnsealError::Broken),
    }
}

/// Random bytes that were drawn elsewhere, handed to the library once.
struct OneDraw(Zeroizing<[u8; 32]>);

impl RngCore for OneDraw {
    fn next_u32(&mut self) -> u32 {
        rand_of(self)
    }

    fn next_u64(&mut self) -> u64 {
        u64::from(rand_of(self)) << 32 | u64::from(rand_of(self))
    }

    fn fill_bytes(&mut self, destination: &mut [u8]) {
        for (to, from) in destination.iter_mut().zip(self.0.iter()) {
            *to = *from;
        }
        // What was handed out is never handed out again.
        self.0.zeroize();
    }

    fn try_fill_bytes(&mut self, destination: &mut [u8]) -> Result<(), RandomError> {
        self.fill_bytes(destination);
        Ok(())
    }
}

impl CryptoRng for OneDraw {}

fn rand_of(draw: &mut OneDraw) -> u32 {
    let mut bytes = [0; 4];
    draw.fill_bytes(&mut bytes);
    u32::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests;
