//! What a server grants to its peers.

use std::time::Duration;

use crate::settings::{Bytes, Seconds};

/// A peer that needs longer to send its headers is broken or hostile. It is also how long an idle
/// connection is kept: senders of webhooks reuse theirs within seconds or not at all.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than any provider waits for its answer (Slack 3 s, GitHub 10 s, PagerDuty 16 s).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// GitHub's largest payload is 25 MB, but those over 1 MiB are bulk pushes that nobody routes.
const MAX_BODY: usize = 1 << 20;
/// About 20 KiB each in the kernel and here: 80 MiB when all are open.
const MAX_CONNECTIONS: usize = 4096;
/// Bodies in memory are bounded by this times the body cap.
const MAX_IN_FLIGHT: usize = 1024;
/// Closing the listener resets the connections that wait in its queue, and those that a load balancer has
/// just sent our way. One that asks `/ready` only now and then needs seconds.
const CLOSE_DELAY: Duration = Duration::from_millis(100);

/// Limits of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the first byte that is awaited to the end of the headers; also the idle time between two
    /// requests of a connection, of which HTTP/2 has up to twice as much before it is told to go.
    pub header_timeout: Duration,
    /// From the end of the headers to the start of the response, the body's arrival included: 503
    /// `request_timeout`. `None` for servers whose handlers keep time themselves.
    pub request_timeout: Option<Duration>,
    /// Bytes of body: 413 `too_large`, at once for a declared length, else while reading.
    /// `None` leaves axum's own 2 MB for bodies that extractors collect.
    pub max_body: Option<usize>,
    /// Open connections; those beyond wait in the kernel's queue.
    pub max_connections: usize,
    /// Requests between headers and response: beyond it 503 `overloaded` with `Retry-After: 1`.
    pub max_in_flight: Option<usize>,
    /// How long to go on accepting after the soft stop, while `/ready` says no already.
    pub close_delay: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: HEADER_TIMEOUT,
            request_timeout: Some(REQUEST_TIMEOUT),
            max_body: Some(MAX_BODY),
            max_connections: MAX_CONNECTIONS,
            max_in_flight: Some(MAX_IN_FLIGHT),
            close_delay: CLOSE_DELAY,
        }
    }
}

/// The limits as settings, to flatten into a service's own.
#[derive(Clone, Debug, clap::Args)]
pub struct HttpLimitSettings {
    /// Time for a peer to send the headers of a request; also how long an idle connection is kept.
    #[arg(long, env = "HTTP_HEADER_TIMEOUT", default_value_t = Seconds::new(HEADER_TIMEOUT))]
    pub http_header_timeout: Seconds,
    /// Time to receive and answer a request (503 after it).
    #[arg(long, env = "HTTP_REQUEST_TIMEOUT", default_value_t = Seconds::new(REQUEST_TIMEOUT))]
    pub http_request_timeout: Seconds,
    /// Largest request body (413 over it).
    #[arg(long, env = "HTTP_MAX_BODY", default_value_t = Bytes::new(MAX_BODY as u64))]
    pub http_max_body: Bytes,
    /// Most open connections; further ones wait.
    #[arg(long, env = "HTTP_MAX_CONNECTIONS", default_value_t = MAX_CONNECTIONS)]
    pub http_max_connections: usize,
    /// Most requests at work at once (503 with Retry-After over it).
    #[arg(long, env = "HTTP_MAX_IN_FLIGHT", default_value_t = MAX_IN_FLIGHT)]
    pub http_max_in_flight: usize,
}

impl HttpLimitSettings {
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            header_timeout: self.http_header_timeout.duration(),
            request_timeout: Some(self.http_request_timeout.duration()),
            max_body: Some(self.http_max_body.as_usize()),
            max_connections: self.http_max_connections,
            max_in_flight: Some(self.http_max_in_flight),
            close_delay: CLOSE_DELAY,
        }
    }
}
