//! Everything together, as it runs in production: real servers, real processes of the `tocsin`
//! binary, and stand-ins for the world outside.
//!
//! * [`stack`]: starts all of it, kills parts of it, and starts them again.
//! * [`load`]: PagerDuty at a steady rate, retries included.
//! * [`record`]: what the streams say happened.
//! * [`chaos`]: load, kills, and whether every accepted delivery ended as promised.
//! * [`raw_nats`]: the NATS protocol itself, for what no client of ours would send.
//!
//! Used by the end-to-end tests beside this library and by `tocsin-chaos`.

pub mod chaos;
pub mod load;
pub mod raw_nats;
pub mod record;
pub mod stack;

pub use stack::{Component, Options, Stack, Team};
