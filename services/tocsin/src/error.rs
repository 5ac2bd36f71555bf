//! What an operator's command says when it fails.

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// No secret to sign with.
    #[error("no secret to sign with: set {0} to what ingress has")]
    NoSecret(&'static str),
    /// The key of a secret cannot be used.
    #[error("cannot sign the webhook")]
    Sign,
    /// The other side did not answer.
    #[error("no answer from {url}; is it running?")]
    Unreachable {
        /// Who.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The URL is not one, or may not be asked.
    #[error("cannot ask {url}")]
    Url {
        /// Which.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The other side said no.
    #[error("{url} answered {status}: {body}")]
    Refused {
        /// Who.
        url: String,
        /// HTTP status.
        status: u16,
        /// What it said.
        body: String,
    },
    /// The bus or a service behind it.
    #[error("cannot use the bus")]
    Bus(#[from] tocsin_bus::BusError),
    /// A command to a service.
    #[error("cannot give the command")]
    Publish(#[source] tocsin_bus::PublishError),
    /// A question to a service.
    #[error("cannot ask")]
    Ask(#[from] tocsin_bus::AskError),
    /// A body in the object store.
    #[error("cannot read the body")]
    Body(#[from] tocsin_bus::ObjectError),
    /// Key files.
    #[error("cannot use the keys")]
    Keys(#[from] tocsin_bus::KeyDirectoryError),
    /// Config's snapshots cannot be rebuilt.
    #[error("cannot rebuild")]
    Rebuild(#[source] Box<tocsin_config::Error>),
    /// Outbound HTTP cannot be set up.
    #[error("cannot set up HTTP")]
    Http(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Random bytes cannot be had.
    #[error("the system gives no random bytes")]
    Random,
    /// Reading stdin or a file, writing stdout.
    #[error("cannot {operation}")]
    Files {
        /// What was tried.
        operation: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The input is not what it should be.
    #[error("{0}")]
    Input(String),
    /// A wait ended without result.
    #[error("{0}")]
    TimedOut(String),
}
