//! Secrets on their way to the bucket `secrets`, sealed to each live key of their audience.
//!
//! As with the other snapshots, what is written is read from Postgres at that moment, and a key is
//! written only if it still has the revision that was seen before reading.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tocsin_bus::{Bucket, Bus, BusError, KeyValueError};
use tocsin_kit::ErrorChain;
use tocsin_store::outbox::Row;
use tocsin_wire::ids::{EventId, MessageId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Envelope, SecretRecord};
use tocsin_wire::sealed::{self, Audience, SealError, SealingPublicKey, SealingRing, bucket_key};
use tocsin_wire::{OrgId, SecretName, Service};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::master::Vault;
use super::{SecretRefusal, open, random};
use crate::change::{Change, What};
use crate::error::OperationError;
use crate::node::NodeId;
use crate::pg::{Database, StoredSecret};

/// Keys refreshed at once.
const CONCURRENT_KEYS: usize = 4;
/// Another process that writes the same key at the same time is done after one or two rounds.
const CONFLICT_ROUNDS: usize = 10;
/// How often config looks for new and revoked sealing keys.
const KEYS_INTERVAL: Duration = Duration::from_secs(1);
/// How soon secrets that could not be sealed (no key, no master key) are tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(15);

/// A secret is not in the bucket (yet). No text holds a value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealingError {
    #[error("read what is to be sealed")]
    Read(#[source] OperationError),
    #[error("read the sealing keys")]
    Keys(#[source] BusError),
    #[error(transparent)]
    Refused(#[from] SecretRefusal),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("no live sealing key of {audience} is published; run `tocsin keys publish`")]
    NoKey { audience: Audience },
    #[error("write a sealed secret")]
    Write(#[source] KeyValueError),
    #[error("key {key} changed again and again while it was written")]
    Contended { key: String },
}

impl SealingError {
    /// Whether it concerns this secret or this installation's keys alone: others go on without it.
    fn is_contained(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Seal(_) | Self::NoKey { .. })
    }
}

/// One key of the bucket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    org: OrgId,
    node: NodeId,
    name: SecretName,
    audience: Audience,
}

impl Target {
    fn key(&self) -> String {
        bucket_key(&self.audience, &self.org, &self.node, &self.name)
    }

    fn parse(key: &str) -> Option<Self> {
        let mut parts = key.rsplitn(4, '.');
        let name = SecretName::new(parts.next()?).ok()?;
        let node = NodeId::new(parts.next()?).ok()?;
        let org = OrgId::new(parts.next()?).ok()?;
        Some(Self {
            audience: parts.next()?.parse().ok()?,
            org,
            node,
            name,
        })
    }
}

/// What a key holds, as far as it can be compared: sealing twice never gives the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sealed {
    version: u64,
    keys: BTreeSet<String>,
}

impl Sealed {
    fn of(record: &SecretRecord) -> Self {
        Self {
            version: record.version,
            keys: record.boxes.iter().map(|one| one.key_id.clone()).collect(),
        }
    }

    fn wanted(version: u64, keys: &[SealingPublicKey]) -> Self {
        Self {
            version,
            keys: keys.iter().map(|key| key.id().to_string()).collect(),
        }
    }
}

/// Seals and writes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SecretPublisher {
    bus: Bus,
    bucket: Bucket,
    database: Database,
    vault: Vault,
    ring: Arc<Mutex<SealingRing>>,
    /// Something could not be sealed.
    incomplete: Arc<AtomicBool>,
}

impl SecretPublisher {
    pub(crate) fn new(bus: Bus, database: Database, vault: Vault) -> Self {
        Self {
            bucket: bus.bucket(sealed::BUCKET),
            ring: Arc::new(Mutex::new(bus.sealing_ring())),
            bus,
            database,
            vault,
            incomplete: Arc::default(),
        }
    }

    /// A row of the outbox, before its news: who hears of a secret finds it.
    pub(crate) async fn relay(&self, row: &Row) -> Result<(), SealingError> {
        match serde_json::from_slice(&row.message.payload) {
            Ok(change) => self.publish(&change).await,
            // The publisher of the other snapshots says what is wrong with it.
            Err(_) => Ok(()),
        }
    }

    /// What a change means for the bucket. A secret that cannot be sealed does not hold up what comes
    /// after it: it is tried again by [`SecretPublisher::follow`].
    pub(crate) async fn publish(&self, change: &Change) -> Result<(), SealingError> {
        let only = match change.what {
            What::SecretSet | What::SecretDeleted => {
                change.about.split_once('@').map(|(name, _)| name)
            }
            What::Deleted => None,
            _ => return Ok(()),
        };
        let places = self
            .database
            .secret_places_of(&change.org, &change.node)
            .await
            .map_err(SealingError::Read)?;
        let targets = places
            .into_iter()
            .filter(|(name, _)| only.is_none_or(|only| name.as_str() == only))
            .map(|(name, audience)| Target {
                org: change.org.clone(),
                node: change.node.clone(),
                name,
                audience,
            });
        self.refresh_all(targets).await
    }

    /// Compares the bucket with Postgres and the live keys, and refreshes what differs; returns how
    /// many keys that were.
    pub(crate) async fn rebuild(&self) -> Result<usize, SealingError> {
        self.learn_keys().await?;
        self.reconcile().await
    }

    /// Seals again whatever must be, when sealing keys come and go, until the future is dropped.
    pub(crate) async fn follow(&self) {
        let mut revision = None;
        let mut live = None;
        let mut tried = Instant::now();
        loop {
            if let Err(error) = self.follow_once(&mut revision, &mut live, &mut tried).await {
                tracing::warn!(error = %ErrorChain(&error), "secrets are not sealed to the present keys yet; trying again");
            }
            tokio::time::sleep(KEYS_INTERVAL).await;
        }
    }

    async fn follow_once(
        &self,
        revision: &mut Option<u64>,
        live: &mut Option<Vec<sealed::SealingKeyId>>,
        tried: &mut Instant,
    ) -> Result<(), SealingError> {
        let now = self.bus.keys_revision().await.map_err(SealingError::Keys)?;
        if *revision != Some(now) {
            self.learn_keys().await?;
            *revision = Some(now);
        }
        let ids = self.ring().live_ids(self.bus.now());
        let is_due = self.incomplete.load(Ordering::Relaxed) && tried.elapsed() >= RETRY_INTERVAL;
        if live.as_ref() == Some(&ids) && !is_due {
            return Ok(());
        }
        *tried = Instant::now();
        let changed = self.reconcile().await?;
        if changed > 0 {
            tracing::info!(changed, "secrets are sealed to the present keys");
        }
        *live = Some(ids);
        Ok(())
    }

    async fn learn_keys(&self) -> Result<(), SealingError> {
        let records = self.bus.sealing_keys().await.map_err(SealingError::Keys)?;
        let mut ring = self.ring();
        for record in records {
            let key = record.key_id.clone();
            if !ring.insert(record) {
                tracing::warn!(%key, "a sealing key's record is not signed by our root, or takes back a revocation; ignored");
            }
        }
        Ok(())
    }

    fn ring(&self) -> std::sync::MutexGuard<'_, SealingRing> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn reconcile(&self) -> Result<usize, SealingError> {
        self.incomplete.store(false, Ordering::Relaxed);
        let mut present = snapshot(&self.bucket).await;
        let secrets = self.database.all_secrets().await;
        let mut stale: BTreeSet<Target> = BTreeSet::new();
        for facts in secrets.map_err(SealingError::Read)? {
            let target = Target {
                org: facts.org,
                node: facts.node,
                name: facts.name,
                audience: facts.audience,
            };
            let live = self.ring().live(&target.audience, self.bus.now());
            if present.remove(&target.key()) != Some(Sealed::wanted(facts.version, &live)) {
                stale.insert(target);
            }
        }
        stale.extend(present.keys().filter_map(|key| Target::parse(key)));
        let count = stale.len();
        self.refresh_all(stale).await?;
        Ok(count)
    }

    async fn refresh_all(
        &self,
        targets: impl IntoIterator<Item = Target>,
    ) -> Result<(), SealingError> {
        let mut refreshing = stream::iter(targets)
            .map(|target| async move {
                let refreshed = self.refresh(&target).await;
                (target, refreshed)
            })
            .buffer_unordered(CONCURRENT_KEYS);
        let mut unsealed: Option<(usize, Target, SealingError)> = None;
        while let Some((target, refreshed)) = refreshing.next().await {
            match refreshed {
                Err(error) if error.is_contained() => {
                    let (count, target, error) = unsealed.take().unwrap_or((0, target, error));
                    unsealed = Some((count + 1, target, error));
                }
                refreshed => refreshed?,
            }
        }
        if let Some((count, target, error)) = unsealed {
            self.incomplete.store(true, Ordering::Relaxed);
            tracing::error!(
                count, first = %target.key(), error = %ErrorChain(&error),
                "secrets cannot be sealed; their audiences keep what they have"
            );
        }
        Ok(())
    }

    async fn refresh(&self, target: &Target) -> Result<(), SealingError> {
        let key = target.key();
        for _ in 0..CONFLICT_ROUNDS {
            let present = match self.bucket.get(&key).await {
                Ok(Some(entry)) => Present::Value(
                    entry.revision,
                    match &entry.envelope.body {
                        Some(Body::SecretRecord(record)) => Some(Sealed::of(record)),
                        _ => None,
                    },
                ),
                Ok(None) => Present::Nothing,
                // Ours to mend: nobody else may write here.
                Err(KeyValueError::Untrusted { .. }) => Present::Untrusted,
                Err(error) => return Err(SealingError::Write(error)),
            };
            let written = match self.write(target, &key, present).await {
                Err(SealingError::Write(
                    KeyValueError::Conflict { .. } | KeyValueError::Exists { .. },
                )) => continue,
                written => written,
            };
            return written;
        }
        Err(SealingError::Contended { key })
    }

    async fn write(
        &self,
        target: &Target,
        key: &str,
        present: Present,
    ) -> Result<(), SealingError> {
        let stored = self
            .database
            .stored_secret(&target.org, &target.node, &target.name)
            .await
            .map_err(SealingError::Read)?
            .filter(|stored| stored.facts.audience == target.audience);
        let Some(stored) = stored else {
            return match present {
                Present::Nothing => Ok(()),
                _ => self.bucket.delete(key).await.map_err(SealingError::Write),
            };
        };
        let live = self.ring().live(&target.audience, self.bus.now());
        let wanted = Sealed::wanted(stored.facts.version, &live);
        if matches!(&present, Present::Value(_, Some(known)) if *known == wanted) {
            return Ok(());
        }
        if live.is_empty() {
            // What lies there is sealed to keys that are revoked: nobody may open it any more.
            if !matches!(present, Present::Nothing) {
                self.bucket.delete(key).await.map_err(SealingError::Write)?;
            }
            return Err(SealingError::NoKey {
                audience: target.audience.clone(),
            });
        }
        let value = self.value(key, self.seal(&stored, &live)?);
        let written = match present {
            Present::Value(revision, _) => self.bucket.update(key, &value, revision).await,
            Present::Nothing => self.bucket.create(key, &value).await,
            Present::Untrusted => self.bucket.put(key, &value).await,
        };
        written.map(drop).map_err(SealingError::Write)
    }

    /// Opens the row and seals its value; the value lives only in here.
    fn seal(
        &self,
        stored: &StoredSecret,
        live: &[SealingPublicKey],
    ) -> Result<SecretRecord, SealingError> {
        let facts = &stored.facts;
        let place = stored.place();
        let value = open(&self.vault, stored)?;
        let mut boxes = Vec::with_capacity(live.len());
        for key in live {
            boxes.push(sealed::seal(key, &place, &value, *random()?)?);
        }
        Ok(SecretRecord {
            org: facts.org.to_string(),
            node: facts.node.to_string(),
            name: facts.name.to_string(),
            version: facts.version,
            audience: facts.audience.to_string(),
            boxes,
        })
    }

    fn value(&self, key: &str, record: SecretRecord) -> Envelope {
        let sealed = Sealed::of(&record);
        let fingerprint = format!("{sealed:?}");
        let id = MessageId::key_value(sealed::BUCKET, key, &fingerprint);
        let correlation = EventId::from(id.as_uuid());
        let body = Body::SecretRecord(record);
        Envelope::new(id, Service::Config, self.bus.now(), correlation, None, body)
    }
}

/// What a key holds.
enum Present {
    Nothing,
    Untrusted,
    Value(u64, Option<Sealed>),
}

/// Every key that can be trusted.
async fn snapshot(bucket: &Bucket) -> BTreeMap<String, Sealed> {
    let mut present = BTreeMap::new();
    let caught_up = Notify::new();
    bucket
        .watch(caught_up.notified(), |change| match change {
            tocsin_bus::Change::Put { key, entry } => {
                if let Some(Body::SecretRecord(record)) = &entry.envelope.body {
                    present.insert(key, Sealed::of(record));
                }
            }
            tocsin_bus::Change::Removed { key } => {
                present.remove(&key);
            }
            tocsin_bus::Change::CaughtUp => caught_up.notify_one(),
        })
        .await;
    present
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_bucket_say_what_they_hold() {
        for key in ["ingress.acme.acme.hook", "worker.gpu.acme.pay.slack-token"] {
            assert_eq!(
                Target::parse(key).map(|target| target.key()).as_deref(),
                Some(key)
            );
        }
        for key in ["", "worker.acme.pay.slack", "other.acme.pay.slack", "a.b.c"] {
            assert_eq!(Target::parse(key), None, "{key}");
        }
    }
}
