//! What can go wrong in this room.

use tocsin_bus::BusError;
use tocsin_kit::http_client::BuildError;
use tocsin_kit::http_server::ServeError;
use tocsin_store::StoreError;

use crate::decide::Refusal;
use crate::node::NodeId;
use crate::policy::PolicyRefusal;

/// Why the master keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct MasterKeysError(#[from] crate::secrets::master::MasterKeyError);

/// The service ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The shipped defaults are broken: a fault of the build.
    #[error("the defaults in this program are broken")]
    Defaults(#[source] serde_json::Error),
    /// The shipped catalogue is broken: a fault of the build.
    #[error("the catalogue in this program cannot be used")]
    Catalogue(#[source] serde_json::Error),
    /// `DATABASE_URL` is wrong, or the schema is not this program's.
    #[error("prepare the database")]
    Database(#[source] StoreError),
    /// The port is taken.
    #[error("open the HTTP port")]
    Listen(#[source] ServeError),
    /// The HTTP client for identity providers cannot be built.
    #[error("prepare the way to identity providers")]
    Client(#[source] BuildError),
    /// MASTER_KEY_FILE or MASTER_KEYS is wrong.
    #[error("read the master keys")]
    MasterKeys(#[source] MasterKeysError),
    /// The database or the bus failed in the middle.
    #[error("rebuild the snapshots; those that were written are good, the command can be repeated")]
    Rebuild(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Identity, streams or buckets are missing.
    #[error("join the bus")]
    Bus(#[source] BusError),
}

/// One operation on the database failed, or the rules refuse it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OperationError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// One request of a batch; nothing of the batch was kept.
    #[error("change {index} of the batch, of node {node}: {refusal}")]
    Stopped {
        index: usize,
        node: NodeId,
        refusal: Refusal,
    },
    #[error(transparent)]
    Secret(#[from] crate::secrets::SecretRefusal),
    #[error(transparent)]
    Source(#[from] crate::source::SourceRefusal),
    #[error("{operation} in schema config")]
    Query {
        operation: &'static str,
        #[source]
        source: sqlx::Error,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a stored row of {table} cannot be read: {why}")]
    Corrupt { table: &'static str, why: String },
    #[error("cannot encode {what}")]
    Encode {
        what: &'static str,
        #[source]
        source: serde_json::Error,
    },
}

impl From<PolicyRefusal> for OperationError {
    fn from(refusal: PolicyRefusal) -> Self {
        Self::Refused(Refusal::Policy(refusal))
    }
}

impl OperationError {
    /// For `map_err` on a query.
    pub(crate) fn query(operation: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Query { operation, source }
    }

    pub(crate) fn corrupt(table: &'static str, why: impl Into<String>) -> Self {
        Self::Corrupt {
            table,
            why: why.into(),
        }
    }

    /// Whether the database is down, busy or slow: the same call may succeed later.
    pub(crate) fn is_unavailable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Query { source, .. } => is_unavailable(source),
            Self::Refused(_)
            | Self::Stopped { .. }
            | Self::Secret(_)
            | Self::Source(_)
            | Self::Corrupt { .. }
            | Self::Encode { .. } => false,
        }
    }

    /// Whether a text holds U+0000, which Postgres stores neither in text nor in JSON.
    pub(crate) fn is_unstorable_text(&self) -> bool {
        let Self::Query {
            source: sqlx::Error::Database(error),
            ..
        } = self
        else {
            return false;
        };
        error
            .code()
            .is_some_and(|code| UNSTORABLE_TEXT.contains(&code.as_ref()))
    }

    /// Whether nobody knows if a write took effect.
    pub(crate) fn is_commit_unknown(&self) -> bool {
        matches!(
            self,
            Self::Store(StoreError::CommitUnknown { .. } | StoreError::CommitTimedOut { .. })
        )
    }
}

/// SQLSTATE of U+0000 in JSON and in text.
const UNSTORABLE_TEXT: [&str; 2] = ["22P05", "22021"];

/// SQLSTATE classes: 08 connection, 40 rolled back, 53 out of resources, 55P03 lock not available,
/// 57 stopped by the server or by its time limit; 42P01 a table is not there yet, because the schema
/// is only being prepared.
const UNAVAILABLE: [&str; 6] = ["08", "40", "42P01", "53", "55P03", "57"];

fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| UNAVAILABLE.iter().any(|class| code.starts_with(class))),
        _ => false,
    }
}
