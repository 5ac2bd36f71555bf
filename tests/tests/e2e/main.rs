//! From webhook to Slack through real processes. Each test starts a Tocsin of its own, so they run
//! one at a time.
#![cfg(test)]

mod bad_input;
mod broker_away;
mod config_files;
mod happy_path;
mod kills;
mod nats_py;
mod once;
mod sealed_sources;
mod shutdown;
mod sources;
mod support;
mod unsigned;
