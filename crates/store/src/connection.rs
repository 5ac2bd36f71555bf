//! How every connection is set up.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};

use crate::error::StoreError;

/// A connection over a healthy network takes milliseconds; this is for packets that vanish.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Nothing a service asks takes a tenth of this; what does would hold locks that others wait for.
const STATEMENT_LIMIT: Duration = Duration::from_secs(10);
/// Waiting longer for a row means that its holder hangs: fail and let the caller try again.
const LOCK_LIMIT: Duration = Duration::from_secs(3);
/// A transaction waits only for us; a process that stops in the middle of one must not keep its locks.
const IDLE_IN_TRANSACTION_LIMIT: Duration = Duration::from_secs(10);
/// A machine that dies silently holds its locks, the outbox's among them, until the server notices: 10 + 2 × 5 s.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_COUNT: u32 = 2;

/// Longest statement and longest wait for a lock of one session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) statement: Duration,
    pub(crate) lock: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            statement: STATEMENT_LIMIT,
            lock: LOCK_LIMIT,
        }
    }
}

/// A connection outside the pool, for work that needs a session of its own.
pub(crate) async fn connect(
    options: &PgConnectOptions,
    schema: &'static str,
    limits: Limits,
) -> Result<PgConnection, StoreError> {
    let connecting = async {
        let mut connection = options.connect().await?;
        configure(&mut connection, schema, limits).await?;
        Ok(connection)
    };
    match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
        Ok(connected) => connected.map_err(|source| StoreError::Connect { schema, source }),
        Err(_elapsed) => Err(StoreError::NoAnswer {
            schema,
            limit: CONNECT_LIMIT,
        }),
    }
}

/// Every name means the owner's own schema, and nothing can hang for ever.
pub(crate) async fn configure(
    connection: &mut PgConnection,
    schema: &str,
    limits: Limits,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "select set_config('search_path', $1, false), set_config('statement_timeout', $2, false), \
         set_config('lock_timeout', $3, false), set_config('idle_in_transaction_session_timeout', $4, false), \
         set_config('tcp_keepalives_idle', $5, false), set_config('tcp_keepalives_interval', $6, false), \
         set_config('tcp_keepalives_count', $7, false), set_config('timezone', 'UTC', false)",
    )
    .bind(schema)
    .bind(milliseconds(limits.statement))
    .bind(milliseconds(limits.lock))
    .bind(milliseconds(IDLE_IN_TRANSACTION_LIMIT))
    .bind(KEEPALIVE_IDLE.as_secs().to_string())
    .bind(KEEPALIVE_INTERVAL.as_secs().to_string())
    .bind(KEEPALIVE_COUNT.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

fn milliseconds(duration: Duration) -> String {
    duration.as_millis().to_string()
}
