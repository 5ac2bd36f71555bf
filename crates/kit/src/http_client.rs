//! HTTP to the outside: one pool, time limits, no redirects, and a guard against requests into our
//! own network (SSRF).
//!
//! URLs come from tenants (webhook targets, tools that fetch) or from the operator (the model's
//! endpoint, Slack). The first go through the guarded client of the [`Context`](crate::Context); for
//! the second a service builds a [`HttpClient::trusted`] one.

mod body;
mod guard;
mod web_socket;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use reqwest::{Method, RequestBuilder, Url, redirect};
use rustls::crypto::{CryptoProvider, ring};

pub use body::{ReadError, read_capped};
pub use guard::{AllowList, GuardError, InvalidAllowEntry, refusal};
pub use web_socket::{Received, WebSocket, WebSocketError};

use crate::settings::Seconds;
use guard::{Guard, GuardedResolver};

/// Long enough for a lost SYN to be sent twice (1 s and 3 s).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A tool that takes longer holds up its run for nothing.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle connections kept per host; a burst beyond opens new ones.
const MAX_IDLE_PER_HOST: usize = 32;

const USER_AGENT: &str = concat!("tocsin/", env!("CARGO_PKG_VERSION"));

/// Time limits of a client. One request may take less or more with `RequestBuilder::timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Name resolution, TCP and TLS.
    pub connect: Duration,
    /// From the start to the last byte of the body. `None` for streams, which limit each read.
    pub total: Option<Duration>,
    /// Between two reads of the body.
    pub read: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: CONNECT_TIMEOUT,
            total: Some(TOTAL_TIMEOUT),
            read: None,
        }
    }
}

/// What a guarded client may do.
#[derive(Clone, Debug, Default)]
pub struct OutboundPolicy {
    pub timeouts: Timeouts,
    /// Hosts and networks that may be reached although they are not public.
    pub allow: AllowList,
}

impl OutboundPolicy {
    /// Lets a test reach this machine, and nothing else that is private.
    #[must_use]
    pub fn for_test() -> Self {
        Self {
            timeouts: Timeouts::default(),
            allow: AllowList::loopback(),
        }
    }
}

/// Requests to addresses that tenants name.
#[derive(Clone, Debug, clap::Args)]
pub struct OutboundSettings {
    /// Hosts and networks that tenants' requests may reach although they are private, comma-separated:
    /// `127.0.0.1/32,prometheus.monitoring.svc,*.internal.example.com`.
    #[arg(long, env = "OUTBOUND_ALLOW", default_value = "")]
    pub outbound_allow: AllowList,
    /// Time to connect.
    #[arg(long, env = "OUTBOUND_CONNECT_TIMEOUT", default_value_t = Seconds::new(CONNECT_TIMEOUT))]
    pub outbound_connect_timeout: Seconds,
    /// Time for a whole request.
    #[arg(long, env = "OUTBOUND_TIMEOUT", default_value_t = Seconds::new(TOTAL_TIMEOUT))]
    pub outbound_timeout: Seconds,
}

impl OutboundSettings {
    #[must_use]
    pub fn policy(&self) -> OutboundPolicy {
        OutboundPolicy {
            timeouts: Timeouts {
                connect: self.outbound_connect_timeout.duration(),
                total: Some(self.outbound_timeout.duration()),
                read: None,
            },
            allow: self.outbound_allow.clone(),
        }
    }
}

/// The client could not be built.
#[derive(Debug, thiserror::Error)]
#[error("build the HTTP client; are the system's CA certificates installed?")]
pub struct BuildError(#[source] reqwest::Error);

/// A pooled HTTP client. Cheap to clone; clones share the pool.
#[derive(Clone, Debug)]
pub struct HttpClient {
    pool: Arc<Pool>,
    /// `None`: goes wherever it is told.
    guard: Option<Arc<Guard>>,
}

#[derive(Debug)]
struct Pool {
    client: OnceLock<reqwest::Client>,
    timeouts: Timeouts,
    http1_only: bool,
}

impl HttpClient {
    /// A client for URLs that tenants name: refuses addresses that are not public, but for those the
    /// policy allows.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(policy: &OutboundPolicy) -> Result<Self, BuildError> {
        Self::when_needed(policy).ready()
    }

    /// As [`HttpClient::new`], built by its first request: with the system's certificates it is a megabyte, and
    /// many services never make one. That request fails when TLS cannot be set up.
    #[must_use]
    pub fn when_needed(policy: &OutboundPolicy) -> Self {
        let guard = Arc::new(Guard::new(policy.allow.clone()));
        Self::unbuilt(policy.timeouts, false, Some(guard))
    }

    /// A client for URLs that the operator configured, such as `OPENAI_BASE_URL`: no address is
    /// refused. Never pass it a URL that a tenant or a model wrote.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn trusted(timeouts: Timeouts) -> Result<Self, BuildError> {
        Self::unbuilt(timeouts, false, None).ready()
    }

    /// As [`HttpClient::trusted`], and speaks only HTTP/1.1, with which a [`WebSocket`] begins.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn for_web_sockets(timeouts: Timeouts) -> Result<Self, BuildError> {
        Self::unbuilt(timeouts, true, None).ready()
    }

    fn unbuilt(timeouts: Timeouts, http1_only: bool, guard: Option<Arc<Guard>>) -> Self {
        let pool = Pool {
            client: OnceLock::new(),
            timeouts,
            http1_only,
        };
        Self {
            pool: Arc::new(pool),
            guard,
        }
    }

    fn ready(self) -> Result<Self, BuildError> {
        self.client()?;
        Ok(self)
    }

    fn client(&self) -> Result<&reqwest::Client, BuildError> {
        let pool = &self.pool;
        if let Some(client) = pool.client.get() {
            return Ok(client);
        }
        let mut builder = builder(pool.timeouts);
        if pool.http1_only {
            builder = builder.http1_only();
        }
        if let Some(guard) = &self.guard {
            builder = builder.dns_resolver(GuardedResolver(Arc::clone(guard)));
        }
        let built = builder.build().map_err(BuildError)?;
        // Of two that build it at once, both use the first's.
        Ok(pool.client.get_or_init(|| built))
    }

    /// Whether a request to this URL may be made, as far as the URL itself tells; what its name
    /// resolves to is checked when the request is sent. Use it to refuse a URL when it is configured.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, url: &Url) -> Result<(), GuardError> {
        guard::check_form(url)?;
        match &self.guard {
            Some(guard) => guard.check_host(url),
            None => Ok(()),
        }
    }

    /// Begins a request.
    ///
    /// # Errors
    /// When the URL is malformed or refused, or TLS cannot be set up.
    pub fn request(
        &self,
        method: Method,
        url: impl AsRef<str>,
    ) -> Result<RequestBuilder, GuardError> {
        let url = guard::parse(url.as_ref())?;
        self.check(&url)?;
        Ok(self.client()?.request(method, url))
    }

    /// Begins a GET.
    ///
    /// # Errors
    /// When the URL is malformed or refused.
    pub fn get(&self, url: impl AsRef<str>) -> Result<RequestBuilder, GuardError> {
        self.request(Method::GET, url)
    }

    /// Begins a POST.
    ///
    /// # Errors
    /// When the URL is malformed or refused.
    pub fn post(&self, url: impl AsRef<str>) -> Result<RequestBuilder, GuardError> {
        self.request(Method::POST, url)
    }
}

/// No proxy from the environment: it would resolve names itself, past the guard.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that builds a client, with its limits"
)]
fn builder(timeouts: Timeouts) -> reqwest::ClientBuilder {
    install_crypto_provider();
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(timeouts.connect)
        .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
        .redirect(redirect::Policy::none())
        .no_proxy();
    if let Some(total) = timeouts.total {
        builder = builder.timeout(total);
    }
    if let Some(read) = timeouts.read {
        builder = builder.read_timeout(read);
    }
    builder
}

/// Makes ring the process's TLS provider. May be called any number of times; clients built by this
/// module call it themselves, so only other users of rustls need to.
pub fn install_crypto_provider() {
    let absent = CryptoProvider::get_default().is_none();
    if absent && ring::default_provider().install_default().is_err() {
        tracing::debug!("another thread installed a TLS provider first; it stays");
    }
}
