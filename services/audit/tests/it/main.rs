//! Audit against a real nats-server and a real PostgreSQL. One binary: each costs a link.
#![cfg(test)]

mod asking;
mod recording;
mod samples;
mod stage;
