#![cfg(test)]
//! One binary for all of kit's integration tests: each further one would link the whole tree again.

mod http_client;
mod http_limits;
mod http_server;
mod http_tls;
mod process;
mod smuggling;
mod support;
