//! The key ring, from KV `keys`: loaded at start, kept current, asked again for unknown keys.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_nats::jetstream::Context;
use bytes::Bytes;
use futures::StreamExt as _;
use jiff::Timestamp;
use tocsin_wire::message::{self, Headers, OpenError, Opened};
use tocsin_wire::sealed::KEY_PREFIX;
use tocsin_wire::{KeyId, KeyRecord, KeyRing, PublicKey, VerifyError};
use tokio::sync::Mutex as Turn;
use tokio::time::Instant;

use crate::error::BusError;
use crate::message::Raw;

/// Name of the bucket.
pub(crate) const BUCKET: &str = "keys";

/// How soon an unknown key is asked for again: forged messages must not become a flood of lookups.
const UNKNOWN_FOR: Duration = Duration::from_secs(2);

/// How often the ring is read again, so that revocations arrive everywhere within a second or two.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// Unknown keys remembered at once; beyond it all are forgotten.
const MAX_UNKNOWN: usize = 1_000;

/// Why a message or value was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unopened {
    /// It is not to be believed, or cannot be read.
    #[error(transparent)]
    Refused(#[from] OpenError),
    /// Nobody can tell yet: the server did not say whether it knows the key. To be tried again.
    #[error("the key that it is signed with cannot be looked up")]
    KeyOutOfReach(#[source] BusError),
}

impl Unopened {
    /// Whether the same may be opened later: all that is missing is its key.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Refused(error) => {
                matches!(error, OpenError::Signature(VerifyError::UnknownKey(_)))
            }
            Self::KeyOutOfReach(_) => true,
        }
    }
}

pub(crate) struct Keys {
    ring: RwLock<KeyRing>,
    unknown: Mutex<HashMap<KeyId, Instant>>,
    /// Held while a key is looked up: who waits finds the answer.
    looking_up: Turn<()>,
    last_sequence: Mutex<u64>,
    refreshed: Mutex<Option<Instant>>,
}

impl Keys {
    pub(crate) fn new(root: PublicKey) -> Self {
        Self {
            ring: RwLock::new(KeyRing::new(root)),
            unknown: Mutex::new(HashMap::new()),
            looking_up: Turn::new(()),
            last_sequence: Mutex::new(0),
            refreshed: Mutex::new(None),
        }
    }

    pub(crate) fn root(&self) -> PublicKey {
        self.with_ring(|ring| *ring.root())
    }

    /// Reads every record. A ring that stays empty accepts nothing, so it is an error in itself.
    pub(crate) async fn load(&self, jetstream: &Context) -> Result<(), BusError> {
        for record in read_records(jetstream).await? {
            self.insert(record);
        }
        Ok(())
    }

    fn insert(&self, record: KeyRecord) {
        let id = record.key_id.clone();
        let accepted = self
            .ring
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(record);
        if !accepted {
            tracing::warn!(key = %id, "a key record is not signed by our root, or takes back a revocation; ignored");
        }
    }

    /// Opens a message; an unknown key is looked up once before it is refused.
    pub(crate) async fn open(
        &self,
        jetstream: &Context,
        (headers, payload): (&impl Headers, &Bytes),
        subject: &str,
        at: Timestamp,
    ) -> Result<Opened, Unopened> {
        self.refresh(jetstream).await;
        let open = || self.with_ring(|ring| message::open(subject, headers, payload, ring, at));
        self.open_with(jetstream, open).await
    }

    async fn open_with(
        &self,
        jetstream: &Context,
        open: impl Fn() -> Result<Opened, OpenError>,
    ) -> Result<Opened, Unopened> {
        let opened = open();
        let Some(key) = unknown_key(&opened) else {
            return Ok(opened?);
        };
        match Box::pin(self.learn(jetstream, &key)).await {
            Ok(true) => Ok(open()?),
            Ok(false) => Ok(opened?),
            Err(error) => Err(Unopened::KeyOutOfReach(error)),
        }
    }

    /// Opens many messages, each with its subject and when it was stored; the arithmetic is cheaper for many at once.
    pub(crate) async fn open_all(
        &self,
        jetstream: &Context,
        messages: &[(&Raw, Timestamp)],
    ) -> Vec<Result<Opened, Unopened>> {
        self.refresh(jetstream).await;
        let (mut claimed, mut opened) = (Vec::new(), Vec::with_capacity(messages.len()));
        self.with_ring(|ring| {
            for (raw, at) in messages {
                let claim = message::claim(&raw.subject, *raw, &raw.payload, ring, *at);
                // `None` for those that are proven below.
                opened.push(claim.map(|claim| claimed.push(claim)).err().map(Err));
            }
        });
        let mut proven = message::open_all(claimed).into_iter();
        let mut all = Vec::with_capacity(messages.len());
        for (early, (raw, at)) in opened.into_iter().zip(messages) {
            let opened = early.or_else(|| proven.next());
            all.push(match opened {
                Some(opened) if unknown_key(&opened).is_none() => opened.map_err(Unopened::from),
                _ => {
                    let parts = (*raw, &raw.payload);
                    self.open(jetstream, parts, &raw.subject, *at).await
                }
            });
        }
        all
    }

    /// Opens the value of a key.
    pub(crate) async fn open_value(
        &self,
        jetstream: &Context,
        subject: &str,
        value: &Bytes,
        at: Timestamp,
    ) -> Result<Opened, Unopened> {
        self.refresh(jetstream).await;
        let open = || self.with_ring(|ring| message::open_value(subject, value, ring, at));
        self.open_with(jetstream, open).await
    }

    fn with_ring<T>(&self, read: impl FnOnce(&KeyRing) -> T) -> T {
        read(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the bucket again when it has changed; asked at most once per interval. When the server is slow to
    /// answer, whoever came first waits for it, and nobody else.
    async fn refresh(&self, jetstream: &Context) {
        if self.take_turn() {
            // Boxed, as all that is rare here: what opens a message would have room for it always.
            Box::pin(self.catch_up(jetstream)).await;
        }
    }

    /// `true` for whoever is the first to find that it is time to ask again.
    fn take_turn(&self) -> bool {
        let mut refreshed = self
            .refreshed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if refreshed.is_some_and(|at| at.elapsed() < REFRESH_INTERVAL) {
            return false;
        }
        *refreshed = Some(Instant::now());
        true
    }

    async fn catch_up(&self, jetstream: &Context) {
        let last = match last_sequence(jetstream).await {
            Ok(last) => last,
            Err(error) => {
                tracing::debug!(%error, "cannot ask for changes of the key ring; keeping the known keys");
                return;
            }
        };
        let known = *self
            .last_sequence
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if known == last {
            return;
        }
        match self.load(jetstream).await {
            Ok(()) => {
                *self
                    .last_sequence
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = last;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot read the key ring; keeping the known keys");
            }
        }
    }

    /// `true` when the ring now holds `key`; `false` when the server has just said that there is none.
    async fn learn(&self, jetstream: &Context, key: &KeyId) -> Result<bool, BusError> {
        let _turn = self.looking_up.lock().await;
        if self.with_ring(|ring| ring.contains(key)) {
            return Ok(true);
        }
        if self.is_unknown(key) {
            return Ok(false);
        }
        if let Some(record) = read_record(jetstream, key).await? {
            self.insert(record);
        }
        let is_known = self.with_ring(|ring| ring.contains(key));
        if !is_known {
            self.remember_unknown(key);
        }
        Ok(is_known)
    }

    fn is_unknown(&self, key: &KeyId) -> bool {
        let unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        unknown
            .get(key)
            .is_some_and(|asked| asked.elapsed() < UNKNOWN_FOR)
    }

    fn remember_unknown(&self, key: &KeyId) {
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        if unknown.len() >= MAX_UNKNOWN {
            unknown.clear();
        }
        unknown.insert(key.clone(), Instant::now());
    }
}

fn unknown_key(opened: &Result<Opened, OpenError>) -> Option<KeyId> {
    match opened {
        Err(OpenError::Signature(VerifyError::UnknownKey(key))) => Some(key.clone()),
        _ => None,
    }
}

pub(crate) async fn last_sequence(jetstream: &Context) -> Result<u64, BusError> {
    let stream = jetstream
        .get_stream(format!("KV_{BUCKET}"))
        .await
        .map_err(|error| BusError::request("asking for the key ring's state", error))?;
    Ok(stream.cached_info().state.last_sequence)
}

pub(crate) async fn store(
    jetstream: &Context,
) -> Result<async_nats::jetstream::kv::Store, BusError> {
    let failed = |error| BusError::request("opening the bucket of signing keys", error);
    jetstream.get_key_value(BUCKET).await.map_err(failed)
}

async fn read_record(jetstream: &Context, key: &KeyId) -> Result<Option<KeyRecord>, BusError> {
    let failed = |error| BusError::request("reading a signing key", error);
    let value = store(jetstream)
        .await?
        .get(key.as_str())
        .await
        .map_err(failed)?;
    Ok(value.and_then(|value| parse(key.as_str(), &value)))
}

fn parse(key: &str, value: &Bytes) -> Option<KeyRecord> {
    match serde_json::from_slice(value) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::warn!(key, %error, "a key record cannot be read; ignored");
            None
        }
    }
}

/// All records in the bucket. `keys()` leaves a consumer behind for half a minute, so it is used
/// only when the bucket changed.
pub(crate) async fn read_records(jetstream: &Context) -> Result<Vec<KeyRecord>, BusError> {
    let failed = |error| BusError::request("listing the signing keys", error);
    let store = store(jetstream).await?;
    let mut names = store.keys().await.map_err(failed)?.boxed();
    let mut records = Vec::new();
    while let Some(name) = names.next().await {
        let name = name.map_err(|error| BusError::request("listing the signing keys", error))?;
        // Sealing keys are no signatures' keys; they are read by who seals.
        if name.starts_with(KEY_PREFIX) {
            continue;
        }
        let failed = |error| BusError::request("reading a signing key", error);
        if let Some(value) = store.get(name.as_str()).await.map_err(failed)? {
            records.extend(parse(&name, &value));
        }
    }
    Ok(records)
}
