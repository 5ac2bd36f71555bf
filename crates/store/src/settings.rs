//! Where the database is.

use secrecy::SecretString;

/// Flags and environment of every service that owns tables.
#[derive(Debug, Clone, clap::Args)]
pub struct StoreSettings {
    /// PostgreSQL 15 or newer, as postgres://user:password@host:port/database?sslmode=verify-full
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: SecretString,

    /// Connections in the pool; an outbox takes one of them for its notifications and one more for its lock
    #[arg(
        long,
        env = "DATABASE_MAX_CONNECTIONS",
        default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(3..=500),
        value_name = "COUNT"
    )]
    pub database_max_connections: u32,
}
