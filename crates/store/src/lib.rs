//! Postgres for the services that own data: one pool per service with limits on everything, named transactions that are
//! retried in one place, migrations that are applied on request and checked at every start, and an outbox.
//!
//! Each owner has a schema of its own in the shared database and never reads another's. This crate has no tables: the
//! owner's migrations create all of them, the outbox included ([`outbox::TABLE`]).
//!
//! A service that must not lose a message when it changes state writes the message into its outbox in the same transaction
//! ([`outbox::append`]) and runs one [`outbox::relay`], which publishes in the order of the commits.

mod connection;
mod error;
mod metrics;
mod migration;
pub mod outbox;
mod pool;
mod settings;
mod transaction;

pub use error::{SchemaProblem, StoreError};
pub use pool::Store;
pub use settings::StoreSettings;
pub use transaction::{Isolation, Tx};
