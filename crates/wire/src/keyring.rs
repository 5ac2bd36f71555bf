//! Public keys under the operator's pinned root, and what their signatures are good for.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::service::Service;
use crate::signing::{
    Attributes, Check, Digest, KeyId, PublicKey, Signature, SigningKey, signed_text,
};
use crate::streams;

/// A public key as it lies in KV `keys`, signed by the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Id that signatures name.
    pub key_id: KeyId,
    /// The key.
    pub public_key: PublicKey,
    /// Who may sign with it.
    pub service: Service,
    /// Nothing stored before this is accepted.
    pub not_before: Timestamp,
    /// Nothing stored after this is accepted; absent means no end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_after: Option<Timestamp>,
    /// Nothing stored at or after this is accepted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revoked_at: Option<Timestamp>,
    /// The root's signature over the fields above, base64.
    pub root_signature: String,
}

impl KeyRecord {
    /// A record for `public_key`, signed by `root`.
    pub fn issue(
        root: &SigningKey,
        public_key: PublicKey,
        service: Service,
        not_before: Timestamp,
        not_after: Option<Timestamp>,
        revoked_at: Option<Timestamp>,
    ) -> Self {
        let mut record = Self {
            key_id: public_key.id(),
            public_key,
            service,
            not_before,
            not_after,
            revoked_at,
            root_signature: String::new(),
        };
        record.root_signature = BASE64.encode(root.sign_text(record.signed_text().as_bytes()));
        record
    }

    fn signed_text(&self) -> String {
        let Self {
            key_id,
            public_key,
            service,
            not_before,
            not_after,
            revoked_at,
            ..
        } = self;
        let or_empty = |time: &Option<Timestamp>| {
            time.map_or_else(String::new, |timestamp| timestamp.to_string())
        };
        format!(
            "tocsin-key-v1\nkey-id:{key_id}\npublic-key:{public_key}\nservice:{service}\n\
             not-before:{not_before}\nnot-after:{}\nrevoked-at:{}\n",
            or_empty(not_after),
            or_empty(revoked_at)
        )
    }

    fn is_signed_by(&self, root: &PublicKey) -> bool {
        BASE64.decode(&self.root_signature).is_ok_and(|signature| {
            self.key_id == self.public_key.id()
                && root.verifies(self.signed_text().as_bytes(), &signature)
        })
    }
}

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// No `Tocsin-Signature`.
    #[error("the message has no Tocsin-Signature header; sign it with `tocsin sign --subject S`")]
    Missing,
    /// Not of the form that we write.
    #[error("Tocsin-Signature cannot be read: {0}")]
    Malformed(&'static str),
    /// The key is in no record under our root.
    #[error("key {0} is not in the key ring; list it with `tocsin keys list`")]
    UnknownKey(KeyId),
    /// Outside the key's time.
    #[error("key {key} of {service} was not valid at {at}")]
    NotValidAt {
        /// The key.
        key: KeyId,
        /// Its service.
        service: Service,
        /// When the message was stored.
        at: Timestamp,
    },
    /// The operator withdrew the key.
    #[error("key {key} of {service} was revoked at {revoked_at}, before this message")]
    Revoked {
        /// The key.
        key: KeyId,
        /// Its service.
        service: Service,
        /// Since when.
        revoked_at: Timestamp,
    },
    /// The key's service is no writer of this subject.
    #[error("{service} may not write {subject}")]
    ForeignSubject {
        /// Whose key signed.
        service: Service,
        /// Where the message stood.
        subject: String,
    },
    /// The bytes, an attribute or the subject differ from what was signed.
    #[error("the signature of key {0} does not fit this message and subject")]
    Wrong(KeyId),
}

/// A signature of a known key that may sign here, before it is computed whether it holds.
#[derive(Debug, Clone)]
pub struct Claim {
    key: KeyId,
    service: Service,
    check: Check,
}

impl Claim {
    /// Whose signature it is, when it holds.
    pub fn prove(&self) -> Result<Service, VerifyError> {
        if self.check.holds() {
            Ok(self.service)
        } else {
            Err(VerifyError::Wrong(self.key.clone()))
        }
    }

    /// What remains to be computed.
    pub fn check(&self) -> &Check {
        &self.check
    }

    /// Whose signature it is said to be.
    pub fn service(&self) -> Service {
        self.service
    }
}

/// Known keys.
#[derive(Debug, Clone)]
pub struct KeyRing {
    root: PublicKey,
    records: HashMap<KeyId, KeyRecord>,
}

impl KeyRing {
    /// An empty ring: it accepts nothing.
    pub fn new(root: PublicKey) -> Self {
        Self {
            root,
            records: HashMap::new(),
        }
    }

    /// Adds or replaces a record; `false` when the root did not sign it (it is then left out), or
    /// when it would take back a revocation.
    pub fn insert(&mut self, record: KeyRecord) -> bool {
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

    /// Whose signature counts.
    pub fn root(&self) -> &PublicKey {
        &self.root
    }

    /// Every record, by key id.
    pub fn records(&self) -> impl Iterator<Item = &KeyRecord> {
        self.records.values()
    }

    /// Whether the ring holds this key.
    pub fn contains(&self, key: &KeyId) -> bool {
        self.records.contains_key(key)
    }

    /// Checks a `Tocsin-Signature` of a message consumed on `subject`: whose key it names, and whether that key
    /// may. Whether the signature holds, [`Claim::prove`] says. `at` is when the server stored the message (not
    /// what the message says of itself, which a thief of a revoked key could choose).
    pub fn claim(
        &self,
        signature: Option<&str>,
        attributes: &Attributes<'_>,
        subject: &str,
        body: &Digest,
        at: Timestamp,
    ) -> Result<Claim, VerifyError> {
        let signature: Signature = signature
            .ok_or(VerifyError::Missing)?
            .parse()
            .map_err(VerifyError::Malformed)?;
        let record = self
            .records
            .get(&signature.key)
            .ok_or_else(|| VerifyError::UnknownKey(signature.key.clone()))?;
        let (key, service) = (record.key_id.clone(), record.service);
        if let Some(revoked_at) = record.revoked_at.filter(|revoked_at| at >= *revoked_at) {
            return Err(VerifyError::Revoked {
                key,
                service,
                revoked_at,
            });
        }
        if at < record.not_before || record.not_after.is_some_and(|end| at > end) {
            return Err(VerifyError::NotValidAt { key, service, at });
        }
        if !streams::may_write(service, subject) {
            return Err(VerifyError::ForeignSubject {
                service,
                subject: subject.to_owned(),
            });
        }
        let text = signed_text(attributes, subject, body);
        match record.public_key.check(text, &signature.bytes) {
            Some(check) => Ok(Claim {
                key,
                service,
                check,
            }),
            None => Err(VerifyError::Wrong(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::digest;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn key(service: Service, seed: u8) -> SigningKey {
        SigningKey::from_seed(service, [seed; 32])
    }

    #[test]
    fn a_signature_counts_only_for_its_time_and_its_subjects() {
        let (root, ingress) = (key(Service::Operator, 1), key(Service::Ingress, 2));
        let record = |after, revoked| {
            KeyRecord::issue(
                &root,
                ingress.public(),
                Service::Ingress,
                at(100),
                after,
                revoked,
            )
        };
        let attributes = Attributes::default();
        let subject = "events.slack.shared.message.C1";
        let signed = ingress.sign(&attributes, subject, &digest(b"b"));
        let check = |record: KeyRecord, subject: &str, time| {
            let mut ring = KeyRing::new(root.public());
            assert!(ring.insert(record));
            ring.claim(Some(&signed), &attributes, subject, &digest(b"b"), at(time))
                .and_then(|claim| claim.prove())
        };

        assert_eq!(
            check(record(None, None), subject, 150),
            Ok(Service::Ingress)
        );
        assert!(matches!(
            check(record(None, None), subject, 99),
            Err(VerifyError::NotValidAt { .. })
        ));
        assert!(matches!(
            check(record(Some(at(120)), None), subject, 150),
            Err(VerifyError::NotValidAt { .. })
        ));
        assert!(matches!(
            check(record(None, Some(at(150))), subject, 150),
            Err(VerifyError::Revoked { .. })
        ));
        assert_eq!(
            check(record(None, Some(at(151))), subject, 150),
            Ok(Service::Ingress)
        );
        assert!(matches!(
            check(record(None, None), "work.run.default.a.b", 150),
            Err(VerifyError::ForeignSubject { .. })
        ));
        assert!(matches!(
            check(record(None, None), "events.slack.shared.message.C2", 150),
            Err(VerifyError::Wrong(_))
        ));
    }

    #[test]
    fn only_the_root_adds_keys_and_nobody_takes_back_a_revocation() {
        let (root, thief) = (key(Service::Operator, 1), key(Service::Operator, 9));
        let router = key(Service::Router, 3);
        let issue = |by: &SigningKey, revoked| {
            KeyRecord::issue(by, router.public(), Service::Router, at(0), None, revoked)
        };
        let mut ring = KeyRing::new(root.public());
        assert!(!ring.insert(issue(&thief, None)));
        let mut widened = issue(&root, None);
        widened.service = Service::Ingress;
        assert!(!ring.insert(widened));
        assert!(ring.insert(issue(&root, Some(at(5)))));
        assert!(!ring.insert(issue(&root, None)));
    }
}
