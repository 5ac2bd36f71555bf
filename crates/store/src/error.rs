//! What can go wrong with the database, and what to do about it.

use std::time::Duration;

use sqlx::migrate::MigrateError;

/// An operation on the database failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "DATABASE_URL is not a PostgreSQL URL: write postgres://user:password@host:port/database"
    )]
    ParseUrl(#[source] sqlx::Error),
    #[error(
        "{schema:?} cannot name a schema: use a to z, 0 to 9 and _, starting with a letter, 40 characters at most"
    )]
    SchemaName { schema: String },
    #[error(
        "cannot connect to the database as the owner of schema {schema}: is PostgreSQL up, is DATABASE_URL right?"
    )]
    Connect {
        schema: &'static str,
        source: sqlx::Error,
    },
    #[error("the database of schema {schema} did not answer within {limit:?}")]
    NoAnswer {
        schema: &'static str,
        limit: Duration,
    },
    #[error("the database of schema {schema} is not ready")]
    Ready {
        schema: &'static str,
        source: sqlx::Error,
    },
    #[error("cannot begin transaction {name}: the database is down or all connections are busy")]
    Begin {
        name: &'static str,
        source: sqlx::Error,
    },
    #[error("transaction {name} was rolled back when it was committed")]
    Commit {
        name: &'static str,
        source: sqlx::Error,
    },
    /// The connection broke after COMMIT was sent. Whoever repeats the work must recognise what is already there.
    #[error("nobody knows whether transaction {name} was committed: read before repeating it")]
    CommitUnknown {
        name: &'static str,
        source: sqlx::Error,
    },
    #[error(
        "transaction {name} was given up after {limit:?} without an answer, before it was committed"
    )]
    TransactionTimedOut { name: &'static str, limit: Duration },
    #[error("nobody knows whether transaction {name} was committed: no answer within {limit:?}")]
    CommitTimedOut { name: &'static str, limit: Duration },
    #[error("cannot migrate schema {schema}")]
    Migrate {
        schema: &'static str,
        source: MigrateError,
    },
    #[error("cannot read which migrations schema {schema} has")]
    ReadMigrations {
        schema: &'static str,
        source: sqlx::Error,
    },
    #[error("schema {schema} does not fit this program: {problem}")]
    Schema {
        schema: &'static str,
        problem: SchemaProblem,
    },
    #[error("cannot append to the outbox")]
    AppendToOutbox(#[source] sqlx::Error),
    #[error("cannot lead the outbox of schema {schema}")]
    LeadOutbox {
        schema: &'static str,
        source: sqlx::Error,
    },
    #[error("cannot read the outbox of schema {schema}")]
    ReadOutbox {
        schema: &'static str,
        source: sqlx::Error,
    },
    #[error(
        "cannot remove published messages from the outbox of schema {schema}: they will be published again"
    )]
    PruneOutbox {
        schema: &'static str,
        source: sqlx::Error,
    },
}

/// How the schema in the database differs from the migrations that this program carries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaProblem {
    #[error("it does not exist in this database; start once with --migrate")]
    Missing,
    #[error(
        "{pending} migrations are not applied, the first is {first}; start once with --migrate"
    )]
    Behind { pending: usize, first: i64 },
    #[error(
        "migration {version} is applied, which this program does not know; run the version of Tocsin that applied it, \
         or a later one"
    )]
    Newer { version: i64 },
    #[error(
        "migration {version} was applied with other contents; run the version of Tocsin that applied it, or restore the \
         database"
    )]
    Changed { version: i64 },
    #[error(
        "migration {version} was begun and not finished; repair what it left and delete its row from the table _migrations"
    )]
    Unfinished { version: i64 },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody changing anything: the database is down, busy or slow.
    /// After an unknown commit this is false: the caller must look first.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::ParseUrl(_) | Self::SchemaName { .. } | Self::Schema { .. } => false,
            Self::CommitUnknown { .. } | Self::CommitTimedOut { .. } => false,
            Self::NoAnswer { .. } | Self::TransactionTimedOut { .. } => true,
            Self::Connect { source, .. }
            | Self::Ready { source, .. }
            | Self::Begin { source, .. }
            | Self::Commit { source, .. }
            | Self::ReadMigrations { source, .. }
            | Self::LeadOutbox { source, .. }
            | Self::ReadOutbox { source, .. }
            | Self::PruneOutbox { source, .. }
            | Self::AppendToOutbox(source) => is_transient(source),
            Self::Migrate { source, .. } => match source {
                MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
                    is_transient(source)
                }
                _ => false,
            },
        }
    }
}

/// Nothing to do with the statement: the server or the way to it, or a lock that somebody else held.
fn is_transient(error: &sqlx::Error) -> bool {
    Fault::of(error).is_some() || matches!(error, sqlx::Error::PoolTimedOut)
}

/// Why a transaction may be tried again: it has had no effect, and the reason is not in the transaction itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Serialization,
    Deadlock,
    Disconnected,
}

impl Fault {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Serialization => "serialization",
            Self::Deadlock => "deadlock",
            Self::Disconnected => "disconnected",
        }
    }

    /// Looks through the sources, so that a caller's own error type does not hide the reason.
    pub(crate) fn in_chain(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        std::iter::successors(Some(error), |&error| error.source()).find_map(|error| {
            let sql = error.downcast_ref::<sqlx::Error>().and_then(Self::of);
            // A transparent variant of the caller's error skips sqlx's own and shows only what is below it.
            let server = || error.downcast_ref::<sqlx::postgres::PgDatabaseError>();
            sql.or_else(|| Self::of_code(server()?.code()))
        })
    }

    pub(crate) fn of(error: &sqlx::Error) -> Option<Self> {
        match error {
            sqlx::Error::Io(_) => Some(Self::Disconnected),
            sqlx::Error::Database(error) => Self::of_code(error.code().as_deref()?),
            _ => None,
        }
    }

    /// SQLSTATE, see PostgreSQL's appendix A.
    fn of_code(code: &str) -> Option<Self> {
        match code {
            "40001" => Some(Self::Serialization),
            "40P01" => Some(Self::Deadlock),
            // The server is stopping, has crashed or is starting; 25P03 and 57P05: it has closed an idle session.
            "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => Some(Self::Disconnected),
            code if code.starts_with("08") => Some(Self::Disconnected),
            _ => None,
        }
    }
}
