#![cfg(test)]
//! The testkit against the real programs: one binary, so that they are linked once.
#![expect(
    clippy::disallowed_methods,
    reason = "a test's tasks end with its runtime"
)]

mod eventually;
mod nats;
mod postgres;
mod process;
mod proxy;
mod standins;
