//! Messages that are sent if and only if a transaction commits.
//!
//! The writer appends to a table in its own transaction; a relay publishes what is committed, in order, and removes it.
//! Delivery is at least once: a relay that dies between publishing and removing leaves messages that the next one publishes
//! again, under the same message id.
//!
//! **Order.** Ids are drawn while a lock is held that ends with the transaction, so the order of ids is the order of commits:
//! whoever has read up to an id will never find a lower one later. The price is that appending transactions of one schema
//! commit one after the other, so append last.
//!
//! **One relay.** Any number of processes run [`relay`]; a lock of the session lets one of them publish. When it dies, the
//! server frees the lock and another takes over within a second. A relay whose connection broke while it was publishing
//! may overlap with its successor for that one message, which consumers see as a repetition of an id they know.

mod leader;

use sqlx::types::Json;

use crate::error::StoreError;
use crate::transaction::Tx;

pub use leader::relay;

/// For the owner's migration: copy it there as it is.
pub const TABLE: &str = "\
create table outbox (
    id bigint generated always as identity primary key,
    message_id text not null,
    subject text not null,
    headers jsonb not null,
    payload bytea not null,
    created_at timestamptz not null default clock_timestamp()
);
";

/// What is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Derived from what caused it, so that a repetition is recognised: the bus's message id.
    pub message_id: String,
    pub subject: String,
    /// In order, names may repeat. Empty when the publisher makes the headers.
    pub headers: Vec<(String, String)>,
    pub payload: Vec<u8>,
}

/// A committed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Rises in the order of the commits; with gaps.
    pub id: i64,
    /// The database's clock.
    pub created_at: jiff::Timestamp,
    pub message: Message,
}

/// Appends in the order given, and wakes the relay when the transaction commits. Other transactions that append wait from
/// here to the end of this one.
///
/// # Errors
/// When the database refuses, or another appending transaction holds the lock for more than 3 s.
pub async fn append(tx: &mut Tx<'_>, messages: &[Message]) -> Result<(), StoreError> {
    if messages.is_empty() {
        return Ok(());
    }
    lock_order(tx).await.map_err(StoreError::AppendToOutbox)?;
    insert(tx, messages)
        .await
        .map_err(StoreError::AppendToOutbox)
}

/// Before the first id is drawn. The notification is delivered at the commit.
async fn lock_order(tx: &mut Tx<'_>) -> Result<(), sqlx::Error> {
    sqlx::query(
        "select pg_advisory_xact_lock(hashtextextended('tocsin outbox order of ' || current_schema(), 0)), \
         pg_notify('tocsin_outbox_' || current_schema(), '')",
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn insert(tx: &mut Tx<'_>, messages: &[Message]) -> Result<(), sqlx::Error> {
    let ids: Vec<&str> = messages
        .iter()
        .map(|message| message.message_id.as_str())
        .collect();
    let subjects: Vec<&str> = messages
        .iter()
        .map(|message| message.subject.as_str())
        .collect();
    let headers: Vec<_> = messages
        .iter()
        .map(|message| Json(&message.headers))
        .collect();
    let payloads: Vec<&[u8]> = messages
        .iter()
        .map(|message| message.payload.as_slice())
        .collect();
    sqlx::query(
        "insert into outbox (message_id, subject, headers, payload) \
         select message_id, subject, headers, payload \
         from unnest($1::text[], $2::text[], $3::jsonb[], $4::bytea[]) \
         with ordinality as message (message_id, subject, headers, payload, position) order by position",
    )
    .bind(ids)
    .bind(subjects)
    .bind(headers)
    .bind(payloads)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
