//! What can go wrong between a service and the broker, outside of single messages.

use std::path::PathBuf;

use crate::identity::IdentityError;

/// Boxed cause: the client's error types are no part of our interface.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Connecting, declaring or consuming failed.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// Keys or credentials are missing or broken.
    #[error("identity of {service} on the bus")]
    Identity {
        /// Which service.
        service: &'static str,
        /// What is wrong with it.
        #[source]
        source: IdentityError,
    },
    /// A certificate or credentials file cannot be read.
    #[error("cannot read {}", path.display())]
    ReadFile {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The URL is wrong, or the server refused us.
    #[error("cannot connect to NATS at {url}; check NATS_URL and the user key")]
    Connect {
        /// Servers, without credentials.
        url: String,
        /// Why not.
        #[source]
        source: Cause,
    },
    /// A stream, consumer or bucket is not there.
    #[error("{what} does not exist on the server; create it with `tocsin bus declare`")]
    Missing {
        /// `stream EVENTS`, `bucket routing`, `consumer EVENTS/router`.
        what: String,
    },
    /// It is there, with other settings than ours.
    #[error(
        "{what} exists with other settings ({difference}); it is never changed silently: compare and update it by hand"
    )]
    Differs {
        /// Which one.
        what: String,
        /// First difference found.
        difference: String,
    },
    /// The server refused or did not answer an administrative request.
    #[error("{operation} failed")]
    Request {
        /// What was asked.
        operation: String,
        /// Why it failed.
        #[source]
        source: Cause,
    },
}

impl BusError {
    pub(crate) fn request(operation: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::Request {
            operation: operation.into(),
            source: source.into(),
        }
    }
}
