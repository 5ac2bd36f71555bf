#![cfg(test)]
//! The store against a real PostgreSQL: one binary, so that it is linked once.

mod migration;
mod outbox;
mod restart;
mod stage;
mod transaction;
