#![cfg(test)]
//! Config against a real PostgreSQL and a real nats-server. One binary: each costs a link.
#![expect(
    clippy::disallowed_methods,
    reason = "a test's tasks end with its runtime"
)]

mod approvals;
mod clients;
mod features;
mod fuzz;
mod identity;
mod issuer;
mod oidc;
mod openapi;
mod outage;
mod policy;
mod publishing;
mod revocation;
mod routing;
mod schema;
mod secrets;
mod settings;
mod sources;
mod sso;
mod stage;
mod templates;
mod tenancy;
mod token_life;
mod tokens;
mod tree;
mod writes;
