//! Opening secrets that config sealed to this room.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tocsin_wire::proto::envelope::Body;
use tocsin_wire::sealed::{
    self, Audience, Piece, SealingKeyError, SealingKeys, UnsealError, Zeroizing, bucket_key,
};
use tocsin_wire::{OrgId, SecretName, TeamId};

use crate::bucket::{Bucket, KeyValueError};
use crate::connect::Bus;

/// Versions remembered, to see when one goes back; beyond it the memory starts anew.
const MAX_REMEMBERED: usize = 100_000;

/// A secret was not opened. No text holds its value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file of private keys.
    #[error("cannot read the sealing key file {}; make one with `tocsin keys generate`", path.display())]
    File {
        /// SEALING_KEY_FILE.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("{} does not hold sealing keys", path.display())]
    Key {
        /// SEALING_KEY_FILE.
        path: PathBuf,
        /// What was expected.
        #[source]
        source: SealingKeyError,
    },
    /// The keys of somebody else.
    #[error("{} holds the sealing keys of {found}, not of {expected}", path.display())]
    Foreign {
        /// SEALING_KEY_FILE.
        path: PathBuf,
        /// Whose they are.
        found: Audience,
        /// Whose they should be.
        expected: Audience,
    },
    /// A text that is to be resolved is broken.
    #[error("a reference to a secret is not of the form ${{secret:name}}")]
    Malformed,
    /// No node of the line has it for this audience.
    #[error(
        "there is no secret {name} for {audience} at {team} of {org} or above it; \
         set it with `tocsin secrets set`, with that audience"
    )]
    Unknown {
        /// Owner.
        org: OrgId,
        /// Where the line begins.
        team: String,
        /// Which secret.
        name: SecretName,
        /// Ours.
        audience: Audience,
    },
    /// The bus is away, or its value is forged.
    #[error("cannot read secret {name} of {node} in {org}")]
    Read {
        /// Owner.
        org: OrgId,
        /// Node.
        node: TeamId,
        /// Which secret.
        name: SecretName,
        /// Why.
        #[source]
        source: Box<KeyValueError>,
    },
    /// It is there and does not open.
    #[error("cannot open secret {name} of {node} in {org}")]
    Sealed {
        /// Owner.
        org: OrgId,
        /// Node.
        node: TeamId,
        /// Which secret.
        name: SecretName,
        /// Why.
        #[source]
        source: Box<UnsealError>,
    },
    /// An older value came back.
    #[error(
        "secret {name} of {node} in {org} is at version {found} after version {seen} was seen; \
         if its database was restored on purpose, set it once more or restart this service"
    )]
    RolledBack {
        /// Owner.
        org: OrgId,
        /// Node.
        node: TeamId,
        /// Which secret.
        name: SecretName,
        /// What lies there.
        found: u64,
        /// What was there before.
        seen: u64,
    },
    /// Not text.
    #[error("secret {name} of {node} in {org} is no UTF-8 text")]
    NotText {
        /// Owner.
        org: OrgId,
        /// Node.
        node: TeamId,
        /// Which secret.
        name: SecretName,
    },
}

impl SecretError {
    /// Whether the same question may succeed later without anybody doing something.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Read { source, .. } if matches!(**source, KeyValueError::Request { .. }))
    }
}

/// Opens secrets of one audience, each time from the bucket: what was replaced or deleted is not used
/// again. Cheap to clone.
#[derive(Clone)]
pub struct SecretReader {
    shared: Arc<Shared>,
}

struct Shared {
    bucket: Bucket,
    audience: Audience,
    path: PathBuf,
    keys: Mutex<Arc<SealingKeys>>,
    /// Highest version seen, by key.
    versions: Mutex<HashMap<String, u64>>,
}

impl std::fmt::Debug for SecretReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SecretReader({})", self.shared.audience)
    }
}

impl SecretReader {
    /// Reads the private keys of `audience` from `path`.
    pub fn new(bus: &Bus, audience: Audience, path: PathBuf) -> Result<Self, SecretError> {
        let keys = read_keys(&path, &audience)?;
        Ok(Self {
            shared: Arc::new(Shared {
                bucket: bus.bucket(sealed::BUCKET),
                audience,
                path,
                keys: Mutex::new(Arc::new(keys)),
                versions: Mutex::new(HashMap::new()),
            }),
        })
    }

    /// Whose secrets it opens.
    pub fn audience(&self) -> &Audience {
        &self.shared.audience
    }

    /// The value of `name` at the last node of `line` (root first), or at the nearest above it that
    /// has one for this audience. Wiped from memory when it is dropped.
    pub async fn read(
        &self,
        org: &OrgId,
        line: &[TeamId],
        name: &SecretName,
    ) -> Result<Zeroizing<String>, SecretError> {
        for node in line.iter().rev() {
            if let Some(value) = self.read_at(org, node, name).await? {
                return Ok(value);
            }
        }
        Err(SecretError::Unknown {
            org: org.clone(),
            team: line.last().map(ToString::to_string).unwrap_or_default(),
            name: name.clone(),
            audience: self.shared.audience.clone(),
        })
    }

    /// `text` with each `${secret:name}` in it replaced by what [`SecretReader::read`] gives.
    pub async fn resolve(
        &self,
        org: &OrgId,
        line: &[TeamId],
        text: &str,
    ) -> Result<Zeroizing<String>, SecretError> {
        let mut resolved = Zeroizing::new(String::new());
        for piece in sealed::pieces(text).ok_or(SecretError::Malformed)? {
            match piece {
                Piece::Text(plain) => append(&mut resolved, plain),
                Piece::Secret(name) => append(&mut resolved, &self.read(org, line, &name).await?),
            }
        }
        Ok(resolved)
    }

    async fn read_at(
        &self,
        org: &OrgId,
        node: &TeamId,
        name: &SecretName,
    ) -> Result<Option<Zeroizing<String>>, SecretError> {
        let key = bucket_key(&self.shared.audience, org, node, name);
        let entry = self.shared.bucket.get(&key).await;
        let entry = entry.map_err(|source| SecretError::Read {
            org: org.clone(),
            node: node.clone(),
            name: name.clone(),
            source: Box::new(source),
        })?;
        let Some(Body::SecretRecord(record)) = entry.and_then(|entry| entry.envelope.body) else {
            return Ok(None);
        };
        self.must_not_go_back(&key, record.version)
            .map_err(|seen| SecretError::RolledBack {
                org: org.clone(),
                node: node.clone(),
                name: name.clone(),
                found: record.version,
                seen,
            })?;
        let opened = match sealed::unseal(&self.keys(), (org, node, name), &record) {
            // The key file may have been replaced since it was read.
            Err(UnsealError::NotForUs { .. }) => {
                let keys = self.read_keys_again()?;
                sealed::unseal(&keys, (org, node, name), &record)
            }
            opened => opened,
        };
        let value = opened.map_err(|source| SecretError::Sealed {
            org: org.clone(),
            node: node.clone(),
            name: name.clone(),
            source: Box::new(source),
        })?;
        match std::str::from_utf8(&value) {
            Ok(text) => Ok(Some(Zeroizing::new(text.to_owned()))),
            Err(_) => Err(SecretError::NotText {
                org: org.clone(),
                node: node.clone(),
                name: name.clone(),
            }),
        }
    }

    fn must_not_go_back(&self, key: &str, version: u64) -> Result<(), u64> {
        let mut versions = self
            .shared
            .versions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match versions.get(key) {
            Some(seen) if *seen > version => return Err(*seen),
            Some(seen) if *seen == version => return Ok(()),
            _ => {}
        }
        if versions.len() >= MAX_REMEMBERED {
            versions.clear();
        }
        versions.insert(key.to_owned(), version);
        Ok(())
    }

    fn keys(&self) -> Arc<SealingKeys> {
        let keys = &self.shared.keys;
        Arc::clone(&keys.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn read_keys_again(&self) -> Result<Arc<SealingKeys>, SecretError> {
        let keys = Arc::new(read_keys(&self.shared.path, &self.shared.audience)?);
        let mut held = self
            .shared
            .keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *held = Arc::clone(&keys);
        Ok(keys)
    }
}

/// A string that grows leaves its old bytes behind; these are wiped.
fn append(text: &mut Zeroizing<String>, more: &str) {
    if text.capacity() - text.len() < more.len() {
        let mut grown = Zeroizing::new(String::with_capacity(text.len() + more.len()));
        grown.push_str(text);
        std::mem::swap(text, &mut grown);
    }
    text.push_str(more);
}

/// A few hundred bytes from a local disk, at the start and after a rotation: not worth a thread.
fn read_keys(path: &std::path::Path, audience: &Audience) -> Result<SealingKeys, SecretError> {
    let text = std::fs::read_to_string(path).map_err(|source| SecretError::File {
        path: path.to_owned(),
        source,
    })?;
    let text = Zeroizing::new(text);
    let keys = SealingKeys::from_file(&text).map_err(|source| SecretError::Key {
        path: path.to_owned(),
        source,
    })?;
    if keys.audience() == audience {
        return Ok(keys);
    }
    Err(SecretError::Foreign {
        path: path.to_owned(),
        found: keys.audience().clone(),
        expected: audience.clone(),
    })
}
