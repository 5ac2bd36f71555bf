//! The router against a real nats-server with the generated permissions; no other service runs.
#![cfg(test)]

mod crashes;
mod explaining;
mod index;
mod queues;
mod replaying;
mod routing;
mod rules;
mod silences;
mod stage;
mod storms;
