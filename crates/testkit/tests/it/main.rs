#![cfg(test)]
//! The testkit against the real programs: one binary, so that they are linked once.

mod nats;
mod postgres;
mod process;
mod proxy;
