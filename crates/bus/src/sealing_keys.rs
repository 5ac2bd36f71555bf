//! Public sealing keys in KV `keys`: written by the operator, read by who seals.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use jiff::Timestamp;
use tocsin_wire::Service;
use tocsin_wire::sealed::{KEY_PREFIX, SealingKeyRecord, SealingRing};

use crate::connect::Bus;
use crate::error::BusError;
use crate::keys;
use crate::settings::BusSettings;

/// Writes records with the operator's identity. A record replaces the one of the same key.
pub async fn publish_sealing_keys(
    settings: &BusSettings,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    records: &[SealingKeyRecord],
) -> Result<(), BusError> {
    if records.is_empty() {
        return Ok(());
    }
    let bus = Bus::open(settings, Service::Operator, "keys", now).await?;
    let store = keys::store(&bus.inner.jetstream).await?;
    for record in records {
        let value = serde_json::to_vec(record)
            .map_err(|error| BusError::request("encoding a key record", error))?;
        let written = store.put(record.bucket_key(), Bytes::from(value)).await;
        written.map_err(|error| BusError::request("writing a sealing key", error))?;
    }
    Ok(())
}

/// Every record, oldest first.
pub async fn list_sealing_keys(
    settings: &BusSettings,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
) -> Result<Vec<SealingKeyRecord>, BusError> {
    let bus = Bus::open(settings, Service::Operator, "keys", now).await?;
    let mut records = bus.sealing_keys().await?;
    records.sort_by_key(|record| record.not_before);
    Ok(records)
}

impl Bus {
    /// An empty ring under the root that this service pins.
    pub fn sealing_ring(&self) -> SealingRing {
        SealingRing::new(self.inner.keys.root())
    }

    /// Every record of a sealing key, in no order and not verified: a
    /// [`SealingRing`](tocsin_wire::sealed::SealingRing) does that.
    pub async fn sealing_keys(&self) -> Result<Vec<SealingKeyRecord>, BusError> {
        let listing = |error| BusError::request("listing the sealing keys", error);
        let store = keys::store(&self.inner.jetstream).await?;
        let mut names = store.keys().await.map_err(listing)?.boxed();
        let mut records = Vec::new();
        while let Some(name) = names.next().await {
            let name =
                name.map_err(|error| BusError::request("listing the sealing keys", error))?;
            if !name.starts_with(KEY_PREFIX) {
                continue;
            }
            let reading = |error| BusError::request("reading a sealing key", error);
            let Some(value) = store.get(name.as_str()).await.map_err(reading)? else {
                continue;
            };
            match serde_json::from_slice(&value) {
                Ok(record) => records.push(record),
                Err(error) => {
                    tracing::warn!(key = name, %error, "a key record cannot be read; ignored");
                }
            }
        }
        Ok(records)
    }

    /// Rises whenever a record in KV `keys` changes.
    pub async fn keys_revision(&self) -> Result<u64, BusError> {
        keys::last_sequence(&self.inner.jetstream).await
    }
}
