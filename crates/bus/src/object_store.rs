//! Object stores: raw bodies in pieces, by their hash, as NATS's own clients read them (`nats object get`).
//!
//! Not by the client's object store: it would purge the pieces of an object that another process wrote in
//! the meantime, which no service of ours may do, and copies what it writes. Here the name says what is in
//! an object, so the first one that is complete stays, and the pieces of one that is not expire.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishAckFuture, PublishError as ClientError};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tocsin_wire::limits::OBJECT_CHUNK_BYTES;
use tocsin_wire::message::Headers as _;
use tocsin_wire::proto::StoredBody;
use tocsin_wire::stored_body::{REUSE_WINDOW, WrongBody};

use crate::connect::Bus;
use crate::direct::Found;
use crate::error::BusError;
use crate::message::{NatsHeaders, rfc3339};
use crate::publish::{EXPECTED_SEQUENCE_HEADER, PublishError, classify};

/// Pieces on their way at once: a megabyte of one object, enough to hide the way to the server and back.
const CHUNKS_IN_FLIGHT: usize = 8;

/// Pieces in one answer: 4 MiB, which the client holds until they are read.
const CHUNKS_PER_READ: usize = 32;

/// The last message of a name is the object; those before it go.
const ROLLUP_HEADER: &str = "Nats-Rollup";

/// An object store of wire's table. Cheap to clone.
#[derive(Clone)]
pub struct ObjectStore {
    bus: Bus,
    name: &'static str,
}

/// What became of [`ObjectStore::keep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Written now.
    Written,
    /// It was there, and stays long enough.
    Present,
}

/// Why an object was not read.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// It expired, or was never written.
    #[error(
        "object {object} is not in store {store}; bodies are kept for some days after their event"
    )]
    NotFound {
        /// Store.
        store: &'static str,
        /// Name of the object.
        object: String,
    },
    /// It is not what the event names.
    #[error("an object of store {store} is not the body that was delivered")]
    Untrusted {
        /// Store.
        store: &'static str,
        /// What is wrong with it.
        #[source]
        source: WrongBody,
    },
    /// What stands under the name is no description of an object.
    #[error("the description of object {object} in store {store} cannot be read")]
    Description {
        /// Store.
        store: &'static str,
        /// Name of the object.
        object: String,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// The server did not answer, or refused.
    #[error("reading object {object} of store {store} failed")]
    Request {
        /// Store.
        store: &'static str,
        /// Name of the object.
        object: String,
        /// Why.
        #[source]
        source: BusError,
    },
}

/// How NATS's clients describe an object (ADR-20 of its architecture); what we do not use is left out.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    name: String,
    bucket: String,
    /// Last token of the subject of its pieces.
    nuid: String,
    size: u64,
    chunks: usize,
    mtime: Timestamp,
    /// `SHA-256=<base64url>`
    #[serde(default)]
    digest: String,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    options: Options,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Options {
    #[serde(default)]
    max_chunk_size: usize,
}

impl Description {
    fn is(&self, body: &StoredBody) -> bool {
        !self.deleted && self.size == body.size && self.digest == digest(body)
    }
}

impl Bus {
    /// The object store called `name` in wire's table.
    pub fn object_store(&self, name: &'static str) -> ObjectStore {
        ObjectStore {
            bus: self.clone(),
            name,
        }
    }
}

impl ObjectStore {
    /// Stores `body` as what `stored` says, unless it is there already; afterwards an event may name it.
    /// It is sent in slices, without a copy. `patience` is how long the server may take for each answer.
    ///
    /// # Errors
    /// As [`Bus::publish`]; then nothing is under the name, or all of it, and a repeat is safe.
    pub async fn keep(
        &self,
        stored: &StoredBody,
        body: &Bytes,
        patience: Duration,
    ) -> Result<Kept, PublishError> {
        if !self.bus.is_connected() {
            return Err(PublishError::Unavailable { source: None });
        }
        let keeping = Box::pin(self.look_and_write(stored, body, patience));
        let kept = self.bus.while_connected(keeping).await;
        kept.unwrap_or_else(|| Err(self.timed_out(stored)))
    }

    async fn look_and_write(
        &self,
        stored: &StoredBody,
        body: &Bytes,
        patience: Duration,
    ) -> Result<Kept, PublishError> {
        let looking = tokio::time::timeout(patience, self.look(stored));
        let found = looking.await.map_err(|_elapsed| self.timed_out(stored))?;
        let found = found.map_err(|error| PublishError::Unavailable {
            source: Some(Box::new(error)),
        })?;
        let mut last = 0;
        if let Some(found) = found {
            // What is no description counts as nothing: it is replaced.
            let described = serde_json::from_slice::<Description>(&found.message.payload);
            let is_it = described.is_ok_and(|description| description.is(stored));
            if is_it && is_young(written_at(&found), self.bus.now()) {
                return Ok(Kept::Present);
            }
            last = found.sequence;
        }
        let nuid = self.fresh_id();
        let chunks = self.write_chunks(&nuid, stored, body, patience).await?;
        self.describe((nuid, chunks), stored, last, patience).await
    }

    async fn write_chunks(
        &self,
        nuid: &str,
        stored: &StoredBody,
        body: &Bytes,
        patience: Duration,
    ) -> Result<usize, PublishError> {
        let subject = self.chunks_subject(nuid);
        let mut unacknowledged = VecDeque::with_capacity(CHUNKS_IN_FLIGHT);
        let (mut rest, mut chunks) = (body.clone(), 0);
        while !rest.is_empty() {
            let chunk = rest.split_to(rest.len().min(OBJECT_CHUNK_BYTES));
            // One after the other, so that they lie in their order.
            let sending = self.send(subject.clone(), HeaderMap::new(), chunk);
            unacknowledged.push_back(self.in_time(stored, patience, sending).await?);
            chunks += 1;
            if unacknowledged.len() >= CHUNKS_IN_FLIGHT
                && let Some(oldest) = unacknowledged.pop_front()
            {
                self.in_time(stored, patience, oldest).await?;
            }
        }
        for oldest in unacknowledged {
            self.in_time(stored, patience, oldest).await?;
        }
        Ok(chunks)
    }

    /// From here on the object is there. Whoever described the same body meanwhile was as right.
    async fn describe(
        &self,
        (nuid, chunks): (String, usize),
        stored: &StoredBody,
        last: u64,
        patience: Duration,
    ) -> Result<Kept, PublishError> {
        let description = Description {
            name: stored.object.clone(),
            bucket: self.name.to_owned(),
            nuid,
            size: stored.size,
            chunks,
            mtime: self.bus.now(),
            digest: digest(stored),
            deleted: false,
            options: Options {
                max_chunk_size: OBJECT_CHUNK_BYTES,
            },
        };
        let refused = |source: serde_json::Error| PublishError::Refused {
            subject: self.description_subject(stored),
            source: Box::new(source),
        };
        let payload = serde_json::to_vec(&description).map_err(refused)?;
        let mut headers = HeaderMap::new();
        headers.insert(ROLLUP_HEADER, "sub");
        headers.insert(EXPECTED_SEQUENCE_HEADER, last.to_string());
        let subject = self.description_subject(stored);
        let storing = async { self.send(subject, headers, payload.into()).await?.await };
        match self.in_time(stored, patience, storing).await {
            Ok(_) => Ok(Kept::Written),
            Err(PublishError::WrongSequence { .. }) => Ok(Kept::Present),
            Err(error) => Err(error),
        }
    }

    /// The body that an event names.
    ///
    /// # Errors
    /// When it is gone, is not the body that was delivered, or the server does not answer.
    pub async fn fetch(&self, stored: &StoredBody) -> Result<Bytes, ObjectError> {
        let store = self.name;
        let untrusted = |source| ObjectError::Untrusted { store, source };
        stored.check_name().map_err(untrusted)?;
        let object = || stored.object.clone();
        let request = |source| ObjectError::Request {
            store,
            object: object(),
            source,
        };
        let not_found = || ObjectError::NotFound {
            store,
            object: object(),
        };
        let looking = self.bus.while_connected(self.look(stored)).await;
        let lost = || BusError::request("looking up an object", "the connection was lost");
        let found = looking.unwrap_or_else(|| Err(lost())).map_err(request)?;
        let found = found.ok_or_else(not_found)?;
        let description = serde_json::from_slice::<Description>(&found.message.payload);
        let description = description.map_err(|source| ObjectError::Description {
            store,
            object: object(),
            source,
        })?;
        if description.deleted {
            return Err(not_found());
        }
        let read = self.read_chunks(&description.nuid, stored.size).await;
        let body = read.map_err(request)?;
        stored.check(&body).map_err(untrusted)?;
        Ok(body)
    }

    /// All pieces, as long as they are not more than `size` bytes.
    async fn read_chunks(&self, nuid: &str, size: u64) -> Result<Bytes, BusError> {
        let (stream, subject) = (self.stream(), self.chunks_subject(nuid));
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let (mut body, mut from) = (BytesMut::with_capacity(size), 1);
        while body.len() <= size {
            let request = json!({ "batch": CHUNKS_PER_READ, "seq": from, "next_by_subj": subject });
            let (found, is_cut) = self.bus.direct_batch(&stream, &request).await?;
            for found in &found {
                from = found.sequence + 1;
                body.extend_from_slice(&found.message.payload);
            }
            if !is_cut || found.is_empty() {
                break;
            }
        }
        Ok(body.freeze())
    }

    async fn look(&self, stored: &StoredBody) -> Result<Option<Found>, BusError> {
        let subject = self.description_subject(stored);
        self.bus.last_found(&self.stream(), &subject).await
    }

    async fn send(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<PublishAckFuture, ClientError> {
        let context = &self.bus.inner.jetstream;
        context
            .publish_with_headers(subject, headers, payload)
            .await
    }

    async fn in_time<T>(
        &self,
        stored: &StoredBody,
        patience: Duration,
        asking: impl IntoFuture<Output = Result<T, ClientError>>,
    ) -> Result<T, PublishError> {
        let answer = tokio::time::timeout(patience, asking.into_future()).await;
        let answer = answer.map_err(|_elapsed| self.timed_out(stored))?;
        answer.map_err(|error| classify(self.description_subject(stored), error))
    }

    fn timed_out(&self, stored: &StoredBody) -> PublishError {
        PublishError::TimedOut {
            subject: self.description_subject(stored),
        }
    }

    fn stream(&self) -> String {
        format!("OBJ_{}", self.name)
    }

    fn chunks_subject(&self, nuid: &str) -> String {
        format!("$O.{}.C.{nuid}", self.name)
    }

    fn description_subject(&self, stored: &StoredBody) -> String {
        format!("$O.{}.M.{}", self.name, URL_SAFE.encode(&stored.object))
    }

    /// Of one try at an object; the client makes ids that no other client makes.
    fn fresh_id(&self) -> String {
        let inbox = self.bus.inner.client.new_inbox();
        inbox.rsplit('.').next().unwrap_or_default().to_owned()
    }
}

fn digest(stored: &StoredBody) -> String {
    format!("SHA-256={}", URL_SAFE.encode(&stored.sha256))
}

fn written_at(found: &Found) -> Timestamp {
    let headers = NatsHeaders(found.message.headers.as_ref());
    rfc3339(headers.header("Nats-Time-Stamp").unwrap_or_default())
}

/// Whether an object outlives an event of `now`.
fn is_young(written_at: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(written_at);
    age.is_negative() || age.unsigned_abs() < REUSE_WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_used_again_only_while_it_is_young() {
        let written = Timestamp::from_second(1_800_000_000).expect("in range");
        for (age, expected) in [(-60, true), (0, true), (43_199, true), (43_200, false)] {
            let now = Timestamp::from_second(1_800_000_000 + age).expect("in range");
            assert_eq!(is_young(written, now), expected, "{age}");
        }
    }

    /// As the `nats` CLI writes one.
    #[test]
    fn descriptions_of_other_clients_are_read() {
        let text = r#"{"name":"ba","description":"x","headers":{"a":["b"]},"options":{"max_chunk_size":131072},
            "bucket":"bodies","nuid":"n1","size":3,"mtime":"2026-01-31T12:00:00.000000001Z","chunks":1,
            "digest":"SHA-256=ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0="}"#;
        let description: Description = serde_json::from_str(text).expect("JSON");
        assert!(description.is(&StoredBody::of(b"abc")));
        assert!(!description.is(&StoredBody::of(b"abd")));
    }
}
