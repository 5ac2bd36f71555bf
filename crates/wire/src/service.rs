//! The rooms that speak on the bus.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A room with its own NATS user and its own signing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// Takes webhooks from the world.
    Ingress,
    /// Decides whose an event is.
    Router,
    /// Owns tenants and configuration.
    Config,
    /// Runs agents.
    AgentWorker,
    /// Keeps the record.
    Audit,
    /// The person with the `tocsin` CLI: declares streams, publishes keys, looks at everything.
    Operator,
}

impl Service {
    /// Every room.
    pub const ALL: [Self; 6] = [
        Self::Ingress,
        Self::Router,
        Self::Config,
        Self::AgentWorker,
        Self::Audit,
        Self::Operator,
    ];

    /// The name in subjects, NATS users, key files and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Router => "router",
            Self::Config => "config",
            Self::AgentWorker => "agent-worker",
            Self::Audit => "audit",
            Self::Operator => "operator",
        }
    }

    /// The CloudEvents source of what it writes.
    pub const fn source(self) -> &'static str {
        match self {
            Self::Ingress => "tocsin/ingress",
            Self::Router => "tocsin/router",
            Self::Config => "tocsin/config",
            Self::AgentWorker => "tocsin/agent-worker",
            Self::Audit => "tocsin/audit",
            Self::Operator => "tocsin/operator",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// No room has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no service is called {0:?}; there are ingress, router, config, agent-worker, audit and operator"
)]
pub struct UnknownService(pub String);

impl FromStr for Service {
    type Err = UnknownService;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|service| service.name() == name)
            .ok_or_else(|| UnknownService(name.to_owned()))
    }
}
