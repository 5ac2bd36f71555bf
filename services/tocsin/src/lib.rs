//! The `tocsin` binary: every service in one process for development, each alone for production,
//! and the operator's commands.
//!
//! It holds no logic of the services: it parses, starts them or asks them, and prints.

pub mod cli;
mod config;
mod decode;
mod demo;
mod encode;
mod error;
mod events;
mod keys;
mod life_text;
mod random;
mod replay;
mod rules;
mod run;
mod runs;
mod secrets;
mod send;
mod services;
mod sign;
mod sources;
mod table;
mod webhooks;

pub use run::run;
