//! Key-value buckets with signed values.

use std::pin::pin;

use async_nats::jetstream::kv::{CreateErrorKind, DeleteErrorKind, Store, UpdateErrorKind};
use jiff::Timestamp;
use tocsin_wire::message::{self, OpenError};
use tocsin_wire::proto::Envelope;
use tocsin_wire::{Service, Subject};
use tokio::sync::OnceCell;

use crate::connect::Bus;
use crate::error::Cause;
use crate::keys::Unopened;
use crate::message::timestamp;

/// A bucket, opened when it is first used. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    pub(crate) bus: Bus,
    pub(crate) name: &'static str,
    store: std::sync::Arc<OnceCell<Store>>,
}

/// A verified value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What it says.
    pub envelope: Envelope,
    /// Whose signature held.
    pub signer: Service,
    /// For the next [`Bucket::update`].
    pub revision: u64,
    /// When the server stored it.
    pub written_at: Timestamp,
}

/// Why a key was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyValueError {
    /// [`Bucket::create`]: somebody was first.
    #[error("key {key} of bucket {bucket} exists")]
    Exists {
        /// Bucket.
        bucket: &'static str,
        /// Key.
        key: String,
    },
    /// [`Bucket::update`]: it changed meanwhile.
    #[error("key {key} of bucket {bucket} changed meanwhile")]
    Conflict {
        /// Bucket.
        bucket: &'static str,
        /// Key.
        key: String,
    },
    /// The value is forged or broken.
    #[error("key {key} of bucket {bucket} cannot be trusted")]
    Untrusted {
        /// Bucket.
        bucket: &'static str,
        /// Key.
        key: String,
        /// Why not.
        #[source]
        source: OpenError,
    },
    /// The server did not answer, or refused.
    #[error("{operation} {key} of bucket {bucket} failed")]
    Request {
        /// reading, writing, creating, deleting.
        operation: &'static str,
        /// Bucket.
        bucket: &'static str,
        /// Key.
        key: String,
        /// Why.
        #[source]
        source: Cause,
    },
}

impl Bus {
    /// The bucket called `name` in wire's table.
    pub fn bucket(&self, name: &'static str) -> Bucket {
        Bucket {
            bus: self.clone(),
            name,
            store: std::sync::Arc::new(OnceCell::new()),
        }
    }
}

impl Bucket {
    /// The value of `key`, if it has one.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, KeyValueError> {
        self.while_connected("reading", key, Box::pin(self.read(key)))
            .await
    }

    async fn read(&self, key: &str) -> Result<Option<Entry>, KeyValueError> {
        let failed = |source: Cause| self.failed("reading", key, source);
        let store = self.store().await.map_err(failed)?;
        let found = store
            .entry(key)
            .await
            .map_err(|error| failed(Box::new(error)))?;
        match found {
            Some(entry) if entry.operation == async_nats::jetstream::kv::Operation::Put => {
                let opened = self.open(&entry).await;
                opened.map(Some).map_err(|error| match error {
                    Unopened::Refused(source) => KeyValueError::Untrusted {
                        bucket: self.name,
                        key: key.to_owned(),
                        source,
                    },
                    error @ Unopened::KeyOutOfReach(_) => failed(Box::new(error)),
                })
            }
            _ => Ok(None),
        }
    }

    /// Writes `key`, whatever it was. Returns the revision.
    pub async fn put(&self, key: &str, value: &Envelope) -> Result<u64, KeyValueError> {
        self.while_connected("writing", key, self.write(key, value))
            .await
    }

    async fn write(&self, key: &str, value: &Envelope) -> Result<u64, KeyValueError> {
        let failed = |source: Cause| self.failed("writing", key, source);
        let store = self.store().await.map_err(failed)?;
        store
            .put(key, self.seal(key, value))
            .await
            .map_err(|error| failed(Box::new(error)))
    }

    /// Writes `key` only if it has no value.
    pub async fn create(&self, key: &str, value: &Envelope) -> Result<u64, KeyValueError> {
        self.while_connected("creating", key, self.write_first(key, value))
            .await
    }

    async fn write_first(&self, key: &str, value: &Envelope) -> Result<u64, KeyValueError> {
        let failed = |source: Cause| self.failed("creating", key, source);
        let store = self.store().await.map_err(failed)?;
        store
            .create(key, self.seal(key, value))
            .await
            .map_err(|error| match error.kind() {
                CreateErrorKind::AlreadyExists => KeyValueError::Exists {
                    bucket: self.name,
                    key: key.to_owned(),
                },
                _ => failed(Box::new(error)),
            })
    }

    /// Writes `key` only if it still has `revision`.
    pub async fn update(
        &self,
        key: &str,
        value: &Envelope,
        revision: u64,
    ) -> Result<u64, KeyValueError> {
        self.while_connected("updating", key, self.write_next(key, value, revision))
            .await
    }

    async fn write_next(
        &self,
        key: &str,
        value: &Envelope,
        revision: u64,
    ) -> Result<u64, KeyValueError> {
        let failed = |source: Cause| self.failed("updating", key, source);
        let store = self.store().await.map_err(failed)?;
        store
            .update(key, self.seal(key, value), revision)
            .await
            .map_err(|error| match error.kind() {
                UpdateErrorKind::WrongLastRevision => KeyValueError::Conflict {
                    bucket: self.name,
                    key: key.to_owned(),
                },
                _ => failed(Box::new(error)),
            })
    }

    /// Removes `key`; no error when it has no value.
    pub async fn delete(&self, key: &str) -> Result<(), KeyValueError> {
        self.while_connected("deleting", key, self.remove(key))
            .await
    }

    async fn remove(&self, key: &str) -> Result<(), KeyValueError> {
        let failed = |source: Cause| self.failed("deleting", key, source);
        let store = self.store().await.map_err(failed)?;
        store
            .delete(key)
            .await
            .map_err(|error| failed(Box::new(error)))
    }

    /// Removes `key` only if it still has `revision`.
    pub async fn delete_at(&self, key: &str, revision: u64) -> Result<(), KeyValueError> {
        self.while_connected("deleting", key, self.remove_at(key, revision))
            .await
    }

    async fn remove_at(&self, key: &str, revision: u64) -> Result<(), KeyValueError> {
        let failed = |source: Cause| self.failed("deleting", key, source);
        let store = self.store().await.map_err(failed)?;
        store
            .delete_expect_revision(key, Some(revision))
            .await
            .map_err(|error| match error.kind() {
                DeleteErrorKind::WrongLastRevision => KeyValueError::Conflict {
                    bucket: self.name,
                    key: key.to_owned(),
                },
                _ => failed(Box::new(error)),
            })
    }

    async fn while_connected<T>(
        &self,
        operation: &'static str,
        key: &str,
        asking: impl Future<Output = Result<T, KeyValueError>>,
    ) -> Result<T, KeyValueError> {
        // Pinned here: who takes a future holds it twice.
        let answer = self.bus.while_connected(pin!(asking)).await;
        answer.unwrap_or_else(|| Err(self.failed(operation, key, "the connection was lost".into())))
    }

    pub(crate) async fn store(&self) -> Result<&Store, Cause> {
        let open = || self.bus.inner.jetstream.get_key_value(self.name);
        self.store
            .get_or_try_init(open)
            .await
            .map_err(|error| Box::new(error) as Cause)
    }

    pub(crate) async fn open(
        &self,
        entry: &async_nats::jetstream::kv::Entry,
    ) -> Result<Entry, Unopened> {
        let subject = self.subject(&entry.key).to_string();
        let written_at = timestamp(entry.created.unix_timestamp_nanos());
        let inner = &self.bus.inner;
        let opened = inner
            .keys
            .open_value(&inner.jetstream, &subject, &entry.value, written_at)
            .await?;
        let (envelope, signer) = (opened.envelope, opened.service);
        Ok(Entry {
            envelope,
            signer,
            revision: entry.revision,
            written_at,
        })
    }

    fn seal(&self, key: &str, value: &Envelope) -> bytes::Bytes {
        message::seal_value(value, &self.subject(key), &self.bus.inner.key)
    }

    fn subject(&self, key: &str) -> Subject {
        Subject::KeyValue {
            bucket: self.name.to_owned(),
            key: key.to_owned(),
        }
    }

    fn failed(&self, operation: &'static str, key: &str, source: Cause) -> KeyValueError {
        KeyValueError::Request {
            operation,
            bucket: self.name,
            key: key.to_owned(),
            source,
        }
    }
}
