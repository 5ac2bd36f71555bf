//! Public sealing keys under the operator's pinned root: to whom config seals.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Audience, SealingKeyId, SealingPublicKey};
use crate::signing::{PublicKey, SigningKey};

/// Prefix of the keys in KV `keys` under which these records lie, beside those of signing keys.
pub const KEY_PREFIX: &str = "sealing.";

/// What the key is for: a record can never be read as one of a signing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Purpose {
    Sealing,
}

/// A public key as it lies in KV `keys`, signed by the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealingKeyRecord {
    purpose: Purpose,
    /// Id that boxes name.
    pub key_id: SealingKeyId,
    /// The key.
    pub public_key: SealingPublicKey,
    /// Who holds the private half.
    pub audience: Audience,
    /// Nothing is sealed to it before this.
    pub not_before: Timestamp,
    /// Nothing is sealed to it after this; absent means no end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_after: Option<Timestamp>,
    /// Nothing is sealed to it any more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revoked_at: Option<Timestamp>,
    /// The root's signature over the fields above, base64.
    pub root_signature: String,
}

impl SealingKeyRecord {
    /// A record for `public_key`, signed by `root`.
    pub fn issue(
        root: &SigningKey,
        public_key: SealingPublicKey,
        audience: Audience,
        not_before: Timestamp,
        revoked_at: Option<Timestamp>,
    ) -> Self {
        let mut record = Self {
            purpose: Purpose::Sealing,
            key_id: public_key.id(),
            public_key,
            audience,
            not_before,
            not_after: None,
            revoked_at,
            root_signature: String::new(),
        };
        record.root_signature = BASE64.encode(root.sign_text(record.signed_text().as_bytes()));
        record
    }

    /// The same key, withdrawn.
    #[must_use]
    pub fn revoked(&self, root: &SigningKey, at: Timestamp) -> Self {
        let mut record = Self {
            revoked_at: Some(at),
            ..self.clone()
        };
        record.root_signature = BASE64.encode(root.sign_text(record.signed_text().as_bytes()));
        record
    }

    /// Key in KV `keys`.
    pub fn bucket_key(&self) -> String {
        format!("{KEY_PREFIX}{}", self.key_id)
    }

    /// Whether config seals to it at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none()
            && self.not_before <= now
            && self.not_after.is_none_or(|end| now <= end)
    }

    fn signed_text(&self) -> String {
        let or_empty = |time: &Option<Timestamp>| {
            time.map_or_else(String::new, |timestamp| timestamp.to_string())
        };
        format!(
            "tocsin-sealing-key-v1\nkey-id:{}\npublic-key:{}\naudience:{}\nnot-before:{}\n\
             not-after:{}\nrevoked-at:{}\n",
            self.key_id,
            self.public_key,
            self.audience,
            self.not_before,
            or_empty(&self.not_after),
            or_empty(&self.revoked_at)
        )
    }

    fn is_signed_by(&self, root: &PublicKey) -> bool {
        BASE64.decode(&self.root_signature).is_ok_and(|signature| {
            self.key_id == self.public_key.id()
                && root.verifies(self.signed_text().as_bytes(), &signature)
        })
    }
}

/// Known public keys of audiences.
#[derive(Debug, Clone)]
pub struct SealingRing {
    root: PublicKey,
    records: BTreeMap<SealingKeyId, SealingKeyRecord>,
}

impl SealingRing {
    /// An empty ring: nothing can be sealed.
    pub fn new(root: PublicKey) -> Self {
        Self {
            root,
            records: BTreeMap::new(),
        }
    }

    /// Adds or replaces a record; `false` when the root did not sign it (it is then left out), or
    /// when it would take back a revocation.
    pub fn insert(&mut self, record: SealingKeyRecord) -> bool {
        if !record.is_signed_by(&self.root) {
            return false;
        }
        let known = self.records.get(&record.key_id);
        if known.is_some_and(|known| known.revoked_at.is_some() && record.revoked_at.is_none()) {
            return false;
        }
        self.records.insert(record.key_id.clone(), record);
        true
    }

    /// Every key of `audience` that is live at `now`, in the order of their ids.
    pub fn live(&self, audience: &Audience, now: Timestamp) -> Vec<SealingPublicKey> {
        self.records
            .values()
            .filter(|record| record.audience == *audience && record.is_live(now))
            .map(|record| record.public_key.clone())
            .collect()
    }

    /// Ids of all keys that are live at `now`: tells whether anything must be sealed again.
    pub fn live_ids(&self, now: Timestamp) -> Vec<SealingKeyId> {
        self.records
            .values()
            .filter(|record| record.is_live(now))
            .map(|record| record.key_id.clone())
            .collect()
    }
}
