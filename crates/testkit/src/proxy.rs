//! A TCP proxy that misbehaves on request: the network between a service and its server.

mod pump;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

/// How the wire behaves right now.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    refuse: bool,
    stall_requests: bool,
    stall_replies: bool,
    delay: Duration,
}

#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    refused: AtomicU64,
    open: AtomicU64,
    request_bytes: AtomicU64,
    reply_bytes: AtomicU64,
}

/// What has passed so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Connections that were forwarded, ever.
    pub accepted: u64,
    /// Connections that were reset at once because of [`FaultProxy::cut`].
    pub refused: u64,
    /// Connections that are open now.
    pub open: u64,
    /// Bytes delivered to the server.
    pub request_bytes: u64,
    /// Bytes delivered to clients.
    pub reply_bytes: u64,
}

#[derive(Debug)]
struct Shared {
    target: String,
    weather: watch::Sender<Weather>,
    /// Cancelled by `cut`, then replaced: a cut ends the connections of its time even when healed in the same instant.
    cut: Mutex<CancellationToken>,
    counters: Counters,
}

/// A proxy on a free port of 127.0.0.1 in front of one TCP server. Dropping it closes everything.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    target: String,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

impl FaultProxy {
    /// `target` is `host:port` or a URL with both, such as `nats://127.0.0.1:4222`.
    ///
    /// # Errors
    /// When the target has no host and port or no port is free.
    pub async fn start(target: &str) -> anyhow::Result<Self> {
        let authority = match target.contains("://") {
            false => target.to_owned(),
            true => {
                let url = Url::parse(target).with_context(|| format!("{target} is no URL"))?;
                let host = url
                    .host_str()
                    .with_context(|| format!("{target} has no host"))?;
                let port = url.port_or_known_default();
                format!(
                    "{host}:{}",
                    port.with_context(|| format!("{target} has no port"))?
                )
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("no free port for a proxy")?;
        let address = listener.local_addr().context("the proxy has no address")?;
        let shared = Arc::new(Shared {
            target: authority,
            weather: watch::Sender::new(Weather::default()),
            cut: Mutex::default(),
            counters: Counters::default(),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            target: target.to_owned(),
            shared,
            _accepting: accepting,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The target as given, with the proxy's host and port in place of its own.
    ///
    /// # Errors
    /// When the target was not a URL.
    pub fn url(&self) -> anyhow::Result<String> {
        let (scheme, rest) = self
            .target
            .split_once("://")
            .context("the target is not a URL")?;
        // By hand: the URL parser would add a path to `nats://host:port`, which changes what a client is given.
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let user = authority
            .rsplit_once('@')
            .map(|(user, _)| format!("{user}@"));
        Ok(format!(
            "{scheme}://{}{}{tail}",
            user.unwrap_or_default(),
            self.address
        ))
    }

    /// Resets every connection and every new one, until [`FaultProxy::heal`].
    pub fn cut(&self) {
        self.shared
            .weather
            .send_modify(|weather| weather.refuse = true);
        self.reset();
    }

    /// Resets every connection that is open now; new ones pass.
    pub fn reset(&self) {
        std::mem::take(&mut *self.shared.cut()).cancel();
    }

    /// Fine weather again: accepts, forwards at once, forgets every fault.
    pub fn heal(&self) {
        self.shared.weather.send_replace(Weather::default());
    }

    /// Every byte arrives this much later, in both directions.
    pub fn delay(&self, delay: Duration) {
        self.shared
            .weather
            .send_modify(|weather| weather.delay = delay);
    }

    /// Accepts and reads, but forwards nothing: a network that swallows packets.
    pub fn stall(&self) {
        self.shared.weather.send_modify(|weather| {
            weather.stall_requests = true;
            weather.stall_replies = true;
        });
    }

    /// Forwards requests and withholds replies: the server acts and nobody hears of it (the lost ack).
    pub fn stall_replies(&self) {
        self.shared
            .weather
            .send_modify(|weather| weather.stall_replies = true);
    }

    /// Forwards what was withheld, in order, and goes on.
    pub fn resume(&self) {
        self.shared.weather.send_modify(|weather| {
            weather.stall_requests = false;
            weather.stall_replies = false;
        });
    }

    pub fn traffic(&self) -> Traffic {
        let counters = &self.shared.counters;
        Traffic {
            accepted: counters.accepted.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            open: counters.open.load(Ordering::Relaxed),
            request_bytes: counters.request_bytes.load(Ordering::Relaxed),
            reply_bytes: counters.reply_bytes.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    fn cut(&self) -> MutexGuard<'_, CancellationToken> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                // The token first: a cut after this line ends this connection too.
                let cut = shared.cut().clone();
                if shared.weather.borrow().refuse {
                    shared.counters.refused.fetch_add(1, Ordering::Relaxed);
                    reset(&client);
                } else {
                    connections.spawn(forward(client, Arc::clone(&shared), cut));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn forward(mut client: TcpStream, shared: Arc<Shared>, cut: CancellationToken) {
    shared.counters.accepted.fetch_add(1, Ordering::Relaxed);
    // Nothing listens at the target: the client sees a reset, as it would without a proxy.
    let Ok(mut server) = TcpStream::connect(&shared.target).await else {
        return reset(&client);
    };
    let _open = Open::count(&shared.counters.open);
    for stream in [&client, &server] {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the proxy may delay small packets");
        }
    }
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let requests = pump::Pump {
        weather: shared.weather.subscribe(),
        stalled: |weather| weather.stall_requests,
        bytes: &shared.counters.request_bytes,
    };
    let replies = pump::Pump {
        weather: shared.weather.subscribe(),
        stalled: |weather| weather.stall_replies,
        bytes: &shared.counters.reply_bytes,
    };
    let was_cut = {
        let both = std::pin::pin!(async {
            tokio::join!(
                requests.run(from_client, to_server),
                replies.run(from_server, to_client)
            )
        });
        cut.run_until_cancelled(both).await.is_none()
    };
    if was_cut {
        reset(&client);
        reset(&server);
    }
}

/// The connection ends with a reset when it is dropped, not with an orderly close.
fn reset(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "the proxy closes a connection in order instead of resetting it");
    }
}

/// Counts an open connection for as long as it lives, however it ends.
struct Open<'a>(&'a AtomicU64);

impl<'a> Open<'a> {
    fn count(open: &'a AtomicU64) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
