#![cfg(test)]
//! The store against a real PostgreSQL: one binary, so that it is linked once.
#![expect(
    clippy::disallowed_methods,
    reason = "a test's tasks end with its runtime"
)]

mod migration;
mod outbox;
mod restart;
mod stage;
mod transaction;
