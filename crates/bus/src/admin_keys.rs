//! Key records in KV `keys`, written by the operator.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use tocsin_wire::{KeyRecord, Service};

use crate::connect::Bus;
use crate::error::BusError;
use crate::keys;
use crate::settings::BusSettings;

/// Writes records with the operator's identity. A record replaces the one of the same key.
pub async fn publish_keys(
    settings: &BusSettings,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    records: &[KeyRecord],
) -> Result<(), BusError> {
    let bus = Bus::open(settings, Service::Operator, "keys", now).await?;
    let failed = |error| BusError::request("opening the bucket of signing keys", error);
    let store = bus
        .inner
        .jetstream
        .get_key_value(keys::BUCKET)
        .await
        .map_err(failed)?;
    for record in records {
        let value = serde_json::to_vec(record)
            .map_err(|error| BusError::request("encoding a key record", error))?;
        let written = store.put(record.key_id.as_str(), Bytes::from(value)).await;
        written.map_err(|error| BusError::request("writing a signing key", error))?;
    }
    Ok(())
}

/// Every record, oldest first.
pub async fn list_keys(
    settings: &BusSettings,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
) -> Result<Vec<KeyRecord>, BusError> {
    let bus = Bus::open(settings, Service::Operator, "keys", now).await?;
    let mut records = keys::read_records(&bus.inner.jetstream).await?;
    records.sort_by_key(|record| record.not_before);
    Ok(records)
}
