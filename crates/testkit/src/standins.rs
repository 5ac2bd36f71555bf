//! Stateful stand-ins for the world outside: Slack's Web API, Prometheus and a language model, and
//! senders of signed webhooks.
//!
//! Each speaks the real protocol over a real socket, keeps state, enforces the real limits and can
//! be told to fail. Tests start them in their own process on free loopback ports
//! ([`Slack::start`], [`Prometheus::start`], [`Model::start`]); the binary `tocsin-standins` serves
//! the same code for `./dev up`, where [`Slack`] also serves a page for people.
//!
//! A stand-in stops when its last handle is dropped.

pub mod command;
pub mod github;
pub mod model;
pub mod pagerduty;
pub mod prometheus;
mod runtime;
pub mod signature;
pub mod slack;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use model::Model;
pub use prometheus::Prometheus;
pub use runtime::http_client;
pub use slack::Slack;

/// What can go wrong around a stand-in. What a stand-in answers over its protocol is not here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}: choose a free port or port 0")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot build the HTTP client that delivers webhooks")]
    Client(#[source] reqwest::Error),
    #[error("cannot set up the TLS that the HTTP client is built with")]
    Tls(#[source] rustls::Error),
    #[error("delivery to {url} got no answer: is ingress running there?")]
    Deliver {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("the HMAC refused the signing secret: give a non-empty secret")]
    EmptySecret,
    #[error("ingress is not connected: start the stand-in with an ingress URL and its secrets")]
    NoIngress,
    #[error("nothing matched in channel {channel} within {limit:?}; its messages: {seen}")]
    NoMessage {
        channel: String,
        limit: Duration,
        seen: String,
    },
    #[error("channel {0} does not exist in the stand-in Slack: add it first")]
    UnknownChannel(String),
    #[error("cannot read {path}: check that the file exists and can be read")]
    ReadFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{what} is not valid JSON of the expected shape (see its documentation)")]
    Parse {
        what: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{what}: {problem}")]
    Invalid { what: String, problem: String },
    #[error("no worker to kill: {0}")]
    NoWorker(String),
    #[error("could not run `kill`")]
    Kill(#[source] std::io::Error),
}
