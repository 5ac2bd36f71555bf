//! All SQL of this room. Writes are transactions that lock the node, record history and leave an
//! outbox row; reads are single statements.

mod lifecycle;
mod nodes;
mod revocations;
mod routing;
mod rows;
mod secrets;
mod sso;
mod templates;
mod token_events;
mod tokens;
mod writes;

use tocsin_store::Store;

pub(crate) use lifecycle::Swept;
pub(crate) use revocations::Revocation;
pub(crate) use rows::HistoryRow;
pub(crate) use secrets::{NewSecret, SecretHistoryRow, StoredSecret, refused as secret_refused};
pub(crate) use sso::StoredSso;
pub(crate) use templates::{Application, Chosen, Follow, Followed, Left, Stored, Usage};
pub(crate) use token_events::{EventFilter, EventKind, TokenEvent, TokenEventRow};
pub(crate) use tokens::{Among, By, Ended, Extension, NewToken};
pub(crate) use writes::{Author, Held, Mode, Outcome, Written};

/// Rows that a list answers with at most; longer lists get pages with the full version of this API.
pub(crate) const MAX_LIST: i64 = 10_000;

/// The schema `config`. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    store: Store,
}

impl Database {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// For migrations, health and the outbox relay.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }
}
