//! All SQL of this room. Writes are transactions that lock the node, record history and leave an
//! outbox row; reads are single statements.

mod approvals;
mod lifecycle;
mod nodes;
mod past;
mod policy;
mod remediations;
mod revocations;
mod routing;
mod rows;
mod secrets;
mod settings;
mod sources;
mod sso;
mod templates;
mod token_events;
mod tokens;
mod writes;

use std::sync::Arc;

use tocsin_store::Store;

use crate::cache::Changes;
use crate::policy::Standards;

pub(crate) use approvals::{Pending, PendingQuery, Review};
pub(crate) use lifecycle::Swept;
pub(crate) use past::{AuditFilter, AuditRow};
pub(crate) use policy::{Expected, RuleVersion, ValidationRow, Versioned};
pub(crate) use remediations::{Remediation, RemediationQuery};
pub(crate) use revocations::Revocation;
pub(crate) use secrets::{NewSecret, SecretHistoryRow, StoredSecret, refused as secret_refused};
pub(crate) use settings::TestResult;
pub(crate) use sources::NewSource;
pub(crate) use sso::StoredSso;
pub(crate) use templates::{Application, Chosen, Follow, Followed, Left, Stored, Usage};
pub(crate) use token_events::{EventFilter, EventKind, TokenEvent, TokenEventRow};
pub(crate) use tokens::{Among, By, Ended, Extension, NewToken};
use writes::Turns;
pub(crate) use writes::{Author, CHANGED, Held, Mode, Outcome, Written};

/// Rows that a list answers with at most; longer lists get pages with the full version of this API.
pub(crate) const MAX_LIST: i64 = 10_000;

/// The schema `config`. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    store: Store,
    /// What every write is judged by, besides what the database says.
    standards: Arc<Standards>,
    changes: Arc<Changes>,
    turns: Arc<Turns>,
}

impl Database {
    pub(crate) fn new(store: Store, standards: Arc<Standards>) -> Self {
        Self {
            store,
            standards,
            changes: Arc::default(),
            turns: Arc::default(),
        }
    }

    /// What was written, and what was heard of the writes of others.
    pub(crate) fn changes(&self) -> &Arc<Changes> {
        &self.changes
    }

    /// Schema, catalogue and defaults that every write is judged by.
    pub(crate) fn standards(&self) -> &Standards {
        &self.standards
    }

    /// For migrations, health and the outbox relay.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }
}
