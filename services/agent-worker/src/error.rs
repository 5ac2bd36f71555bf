//! What ends the worker.

use tocsin_bus::{BusError, SecretError};
use tocsin_kit::http_client::BuildError;

/// The worker cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("connect the worker to the bus")]
    Connect(#[source] BusError),
    #[error("build the worker's HTTP clients")]
    Http(#[source] BuildError),
    #[error("read the sealing keys")]
    Secrets(#[source] SecretError),
    #[error("take runs from WORK/{consumer}")]
    Consume {
        consumer: String,
        #[source]
        source: BusError,
    },
}
