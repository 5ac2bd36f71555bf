//! The schema `audit`: rows in, rows out. All statements of this room.

mod bodies;
mod read;

use std::collections::HashSet;

use futures::FutureExt as _;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde_json::Value;
use sqlx::types::Json;
use tocsin_store::{Isolation, Store, Tx};
use uuid::Uuid;

use crate::decide::Record;
use crate::error::OperationError;

pub(crate) use read::{EventsFilter, ListedEvent};

/// What this room wants of the database. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    store: Store,
}

/// One statement for a whole batch. What is there already stays as it is.
const INSERT: &str = "
    insert into records (stored_at, stream, stream_sequence, message_id, subject, type, signer, key_id,
        written_at, correlation_id, causation_id, org, team, run_id, delivery_id,
        payload_sha256, payload_bytes, summary)
    select * from unnest(
        $1::timestamptz[], $2::text[], $3::bigint[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[],
        $9::timestamptz[], $10::uuid[], $11::uuid[], $12::text[], $13::text[], $14::uuid[], $15::text[],
        $16::bytea[], $17::int[], $18::jsonb[])
    on conflict do nothing
    returning stored_at, stream, stream_sequence";

/// For every month that occurs; a function call that finds its partition costs microseconds.
const ENSURE_PARTITIONS: &str = "
    select ensure_partition(month::date)
    from (select distinct date_trunc('month', stored_at) from unnest($1::timestamptz[]) as row(stored_at)) as months(month)";

impl Records {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Records what is not recorded yet; returns how many rows that were. All or nothing.
    pub(crate) async fn insert(&self, records: &[Record]) -> Result<u64, OperationError> {
        let columns = &Columns::of(records);
        // Who inserts a record is the only one to bring its body, so nothing stricter than READ COMMITTED is needed.
        let inserting = self
            .store
            .run_tx_with("record", Isolation::ReadCommitted, |tx| {
                async move {
                    ensure_partitions(tx, &columns.stored_at).await?;
                    let new = columns.insert(tx).await?;
                    let new = only(new, records);
                    bodies::copy(tx, &new).await?;
                    Ok(u64::try_from(new.len()).unwrap_or(u64::MAX))
                }
                .boxed()
            });
        inserting.await
    }

    /// Makes the partitions for the months of `times`.
    pub(crate) async fn ensure_partitions(
        &self,
        times: &[Timestamp],
    ) -> Result<(), OperationError> {
        let times: &Vec<_> = &times.iter().map(|at| at.to_sqlx()).collect();
        let ensuring =
            self.store
                .run_tx_with("ensure_partitions", Isolation::ReadCommitted, |tx| {
                    ensure_partitions(tx, times).boxed()
                });
        ensuring.await
    }
}

async fn ensure_partitions(
    tx: &mut Tx<'_>,
    times: &[jiff_sqlx::Timestamp],
) -> Result<(), OperationError> {
    sqlx::query(ENSURE_PARTITIONS)
        .bind(times)
        .execute(&mut **tx)
        .await
        .map_err(OperationError::query("ensure_partition"))?;
    Ok(())
}

/// The primary key of a record.
type Key = (jiff_sqlx::Timestamp, String, i64);

/// Those of `records` that were inserted. Nearly always that is all of them. One that was there already has
/// brought its body before, and an erased body stays erased.
fn only(inserted: Vec<Key>, records: &[Record]) -> Vec<&Record> {
    if inserted.len() == records.len() {
        return records.iter().collect();
    }
    let mut inserted: HashSet<(Timestamp, String, i64)> = inserted
        .into_iter()
        .map(|(stored_at, stream, sequence)| (stored_at.to_jiff(), stream, sequence))
        .collect();
    let key = |record: &Record| (record.stored_at, record.stream.to_owned(), record.sequence);
    // Taken out, because a message may stand twice in one batch.
    let is_new = |record: &&Record| inserted.remove(&key(record));
    records.iter().filter(is_new).collect()
}

/// One column of `records`.
fn column<'a, T>(records: &'a [Record], value: impl Fn(&'a Record) -> T) -> Vec<T> {
    records.iter().map(value).collect()
}

/// A batch by columns, as UNNEST wants it.
struct Columns<'a> {
    stored_at: Vec<jiff_sqlx::Timestamp>,
    streams: Vec<&'a str>,
    sequences: Vec<i64>,
    message_ids: Vec<Uuid>,
    subjects: Vec<&'a str>,
    kinds: Vec<&'a str>,
    signers: Vec<&'a str>,
    key_ids: Vec<&'a str>,
    written_at: Vec<Option<jiff_sqlx::Timestamp>>,
    correlation_ids: Vec<Uuid>,
    causation_ids: Vec<Option<Uuid>>,
    orgs: Vec<Option<&'a str>>,
    teams: Vec<Option<&'a str>>,
    run_ids: Vec<Option<Uuid>>,
    delivery_ids: Vec<Option<&'a str>>,
    digests: Vec<&'a [u8]>,
    sizes: Vec<i32>,
    summaries: Vec<Json<&'a Value>>,
}

impl<'a> Columns<'a> {
    fn of(records: &'a [Record]) -> Self {
        Self {
            stored_at: column(records, |record| record.stored_at.to_sqlx()),
            streams: column(records, |record| record.stream),
            sequences: column(records, |record| record.sequence),
            message_ids: column(records, |record| record.message_id),
            subjects: column(records, |record| &*record.subject),
            kinds: column(records, |record| &*record.kind),
            signers: column(records, |record| record.signer),
            key_ids: column(records, |record| &*record.key_id),
            written_at: column(records, |record| record.written_at.map(|at| at.to_sqlx())),
            correlation_ids: column(records, |record| record.correlation_id),
            causation_ids: column(records, |record| record.causation_id),
            orgs: column(records, |record| record.org.as_deref()),
            teams: column(records, |record| record.team.as_deref()),
            run_ids: column(records, |record| record.run_id),
            delivery_ids: column(records, |record| record.delivery_id.as_deref()),
            digests: column(records, |record| &record.payload_sha256[..]),
            sizes: column(records, |record| record.payload_bytes),
            summaries: column(records, |record| Json(&record.summary)),
        }
    }

    async fn insert(&self, tx: &mut Tx<'_>) -> Result<Vec<Key>, OperationError> {
        sqlx::query_as(INSERT)
            .bind(&self.stored_at)
            .bind(&self.streams)
            .bind(&self.sequences)
            .bind(&self.message_ids)
            .bind(&self.subjects)
            .bind(&self.kinds)
            .bind(&self.signers)
            .bind(&self.key_ids)
            .bind(&self.written_at)
            .bind(&self.correlation_ids)
            .bind(&self.causation_ids)
            .bind(&self.orgs)
            .bind(&self.teams)
            .bind(&self.run_ids)
            .bind(&self.delivery_ids)
            .bind(&self.digests)
            .bind(&self.sizes)
            .bind(&self.summaries)
            .fetch_all(&mut **tx)
            .await
            .map_err(OperationError::query("insert records"))
    }
}

#[cfg(test)]
mod tests;
