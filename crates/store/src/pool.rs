//! The pool of one service, bound to its schema.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::connection::{self, Limits};
use crate::error::StoreError;
use crate::metrics;
use crate::settings::StoreSettings;

/// A request that waits longer for a connection is better answered with 503.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(3);
/// Health is asked every few seconds; an answer that takes longer is a no.
const READY_LIMIT: Duration = Duration::from_secs(2);
/// Gives connections back to a server that others need too.
const IDLE_LIMIT: Duration = Duration::from_secs(300);
/// Spreads connections over servers behind a load balancer again after a failover, and bounds a backend's memory.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(1800);
/// Names of locks and channels derive from the schema and must fit PostgreSQL's 63 characters.
const LONGEST_SCHEMA_NAME: usize = 40;

/// The database of one service: a pool of connections that see its schema only. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) pool: PgPool,
    pub(crate) options: PgConnectOptions,
    pub(crate) schema: &'static str,
    pub(crate) migrator: Arc<Migrator>,
}

impl Store {
    /// Prepares the pool and connects to nothing yet: a service starts, and says that it is not ready, while PostgreSQL
    /// is down. `schema` is the owner's name, `migrations` what `sqlx::migrate!()` has embedded. Must be called inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// When the URL or the schema's name is malformed.
    pub fn connect(
        settings: &StoreSettings,
        schema: &'static str,
        migrations: Migrator,
    ) -> Result<Self, StoreError> {
        check_schema_name(schema)?;
        let options: PgConnectOptions = settings
            .database_url
            .expose_secret()
            .parse()
            .map_err(StoreError::ParseUrl)?;
        let options = options.application_name(&format!("tocsin-{schema}"));
        let pool = PgPoolOptions::new()
            .max_connections(settings.database_max_connections)
            .acquire_timeout(ACQUIRE_LIMIT)
            .idle_timeout(IDLE_LIMIT)
            .max_lifetime(CONNECTION_LIFETIME)
            .after_connect(move |connection, _| {
                Box::pin(connection::configure(connection, schema, Limits::default()))
            })
            .connect_lazy_with(options.clone());
        let mut migrator = migrations;
        migrator.dangerous_set_table_name(format!("{schema}._migrations"));
        // A lock of our own, per schema: sqlx's would stay with a connection on which a migration fails.
        migrator.set_locking(false);
        metrics::describe();
        Ok(Self {
            pool,
            options,
            schema,
            migrator: Arc::new(migrator),
        })
    }

    /// For reads of one statement, which need no transaction. Changes go through [`Store::run_tx`].
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub fn schema(&self) -> &'static str {
        self.schema
    }

    /// Whether the database answers; within 2 s.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ready(&self) -> Result<(), StoreError> {
        let schema = self.schema;
        let asking = sqlx::query("select 1").execute(&self.pool);
        match tokio::time::timeout(READY_LIMIT, asking).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) => Err(StoreError::Ready { schema, source }),
            Err(_elapsed) => Err(StoreError::NoAnswer {
                schema,
                limit: READY_LIMIT,
            }),
        }
    }

    /// Closes all connections, waiting for those in use.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// The name is pasted into the statements that sqlx makes for its own table, so it must need no quoting.
fn check_schema_name(schema: &'static str) -> Result<(), StoreError> {
    let good = schema.len() <= LONGEST_SCHEMA_NAME
        && schema.starts_with(|first: char| first.is_ascii_lowercase())
        && schema
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if good {
        Ok(())
    } else {
        Err(StoreError::SchemaName {
            schema: schema.to_owned(),
        })
    }
}
