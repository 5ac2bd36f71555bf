//! The bus against a real nats-server with the generated permissions. One binary: each costs a link.
#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests start tasks of their own; there is no service to stop them"
)]

mod batches;
mod buckets;
mod consuming;
mod object_stores;
mod permissions;
mod questions;
mod queue;
mod rates;
mod samples;
mod secrets;
mod streams;
