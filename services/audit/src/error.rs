//! What can go wrong in this room.

use tocsin_bus::BusError;
use tocsin_store::StoreError;

/// Audit cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `DATABASE_URL` is wrong, or the schema is not this program's.
    #[error("prepare the database of audit")]
    Database(#[source] StoreError),
    /// Identity, streams or consumers are missing.
    #[error("connect audit to the bus")]
    Connect(#[source] BusError),
    #[error("consume {stream}; is the consumer {stream}/audit declared?")]
    Consume {
        stream: &'static str,
        #[source]
        source: BusError,
    },
    #[error("answer svc.audit.{verb}")]
    Serve {
        verb: &'static str,
        #[source]
        source: BusError,
    },
}

/// One operation on the database failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OperationError {
    #[error("{operation} in schema audit")]
    Query {
        operation: &'static str,
        #[source]
        source: sqlx::Error,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// SQLSTATE classes that speak about a row and not about the server: 22 data exception, 23 integrity
/// constraint, 54 program limit (a value too long for an index).
const ROW_FAULTS: [&str; 3] = ["22", "23", "54"];

impl OperationError {
    /// For `map_err` on a query.
    pub(crate) fn query(operation: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Query { operation, source }
    }

    /// Whether the database refuses a value: the same rows will be refused again, others will not.
    pub(crate) fn is_about_a_row(&self) -> bool {
        let Self::Query { source, .. } = self else {
            return false;
        };
        match source {
            sqlx::Error::Encode(_) => true,
            sqlx::Error::Database(error) => error
                .code()
                .is_some_and(|code| ROW_FAULTS.iter().any(|class| code.starts_with(class))),
            _ => false,
        }
    }
}
