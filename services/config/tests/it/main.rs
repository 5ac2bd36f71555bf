#![cfg(test)]
//! Config against a real PostgreSQL and a real nats-server. One binary: each costs a link.
#![expect(
    clippy::disallowed_methods,
    reason = "a test's tasks end with its runtime"
)]

mod fuzz;
mod openapi;
mod outage;
mod publishing;
mod routing;
mod schema;
mod secrets;
mod stage;
mod templates;
mod tenancy;
mod tokens;
mod writes;
