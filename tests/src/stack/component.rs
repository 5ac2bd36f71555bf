//! The parts that can be killed, and their names.

use std::fmt;
use std::str::FromStr;

/// A part that can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The service.
    Ingress,
    /// The service.
    Router,
    /// The service.
    Config,
    /// The service.
    Audit,
    /// One of the workers, from 0.
    Worker(usize),
    /// The broker.
    NatsServer,
    /// The database.
    Postgres,
}

impl fmt::Display for Component {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ingress => formatter.write_str("ingress"),
            Self::Router => formatter.write_str("router"),
            Self::Config => formatter.write_str("config"),
            Self::Audit => formatter.write_str("audit"),
            Self::Worker(index) => write!(formatter, "worker-{}", index + 1),
            Self::NatsServer => formatter.write_str("nats-server"),
            Self::Postgres => formatter.write_str("postgres"),
        }
    }
}

/// There is no such part.
#[derive(Debug, Clone)]
pub struct UnknownComponent(String);

impl fmt::Display for UnknownComponent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = "ingress, router, config, audit, worker-1, worker-2 …, nats-server, postgres";
        write!(formatter, "{:?} is none of {parts}", self.0)
    }
}

impl std::error::Error for UnknownComponent {}

impl FromStr for Component {
    type Err = UnknownComponent;

    fn from_str(name: &str) -> Result<Self, UnknownComponent> {
        let unknown = || UnknownComponent(name.to_owned());
        match name {
            "ingress" => Ok(Self::Ingress),
            "router" => Ok(Self::Router),
            "config" => Ok(Self::Config),
            "audit" => Ok(Self::Audit),
            "nats-server" => Ok(Self::NatsServer),
            "postgres" => Ok(Self::Postgres),
            worker => {
                let number = worker
                    .strip_prefix("worker-")
                    .and_then(|text| text.parse().ok());
                let index = number.and_then(|number: usize| number.checked_sub(1));
                index.map(Self::Worker).ok_or_else(unknown)
            }
        }
    }
}
