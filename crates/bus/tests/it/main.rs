//! The bus against a real nats-server with the generated permissions. One binary: each costs a link.
#![cfg(test)]

mod buckets;
mod consuming;
mod permissions;
mod questions;
mod samples;
mod streams;
