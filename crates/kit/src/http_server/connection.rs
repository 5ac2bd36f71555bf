//! One connection from accept to close.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::{rt::Executor, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::task::TaskTracker;

use super::{limits::Limits, request::Requests, tls::Tls};
use crate::{ErrorChain, Stop};

/// Cap on the headers of an HTTP/1 request. GitHub sends 1 KiB and the largest real ones have 16 KiB
/// of cookies; hyper's own cap is 400 KiB per connection.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// The same for HTTP/2, which advertises it.
const MAX_HEADER_LIST_BYTES: u32 = 32 * 1024;
/// Requests at once on one HTTP/2 connection: one peer must not take the whole in-flight cap.
const MAX_STREAMS: u32 = 128;
/// How often a silent HTTP/2 peer is asked whether it is there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// At a soft stop, how long a connection on which no request has come yet may still bring its first:
/// it may be on its way already.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(500);

/// Serves connections.
pub(super) struct Connections {
    header_timeout: Duration,
    tls: Option<Tls>,
}

impl Connections {
    pub(super) fn new(limits: &Limits, tls: Option<Tls>) -> Self {
        Self {
            header_timeout: limits.header_timeout,
            tls,
        }
    }

    fn builder(&self, streams: Tracked) -> auto::Builder<Tracked> {
        let mut builder = auto::Builder::new(streams);
        // Without a timer hyper's header timeout does nothing. Its default cap of 100 headers stays:
        // setting any makes it allocate per request.
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(MAX_HEADER_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_LIST_BYTES);
        builder
    }

    /// A future that serves the connection until it closes, drains, or the hard stop drops it, and then gives
    /// back its `permit`: to do that around it would hold it twice.
    pub(super) fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        requests: Arc<Requests>,
        tracker: TaskTracker,
        stop: Stop,
        permit: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + 'static {
        let activity = Arc::new(Activity::default());
        let builder = self.builder(Tracked {
            tracker,
            stop: stop.clone(),
            activity: Arc::clone(&activity),
        });
        let header_timeout = self.header_timeout;
        let acceptor = self.tls.as_ref().map(|tls| tls.acceptor().clone());
        async move {
            // Answers are small and awaited; Nagle's algorithm would hold them back.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
            }
            let observed = requests.observed();
            observed.connections.increment(1);
            if let Some(acceptor) = acceptor {
                // Boxed: its buffers must not make every plain connection larger.
                let secure = Box::pin(handshake(acceptor, stream, peer, header_timeout, &stop));
                if let Some(stream) = secure.await {
                    let serving = (&requests, activity, header_timeout);
                    drive(&builder, stream, peer, serving, &stop).await;
                }
            } else {
                let serving = (&requests, activity, header_timeout);
                drive(&builder, stream, peer, serving, &stop).await;
            }
            observed.connections.decrement(1);
            drop(permit);
        }
    }
}

/// `None` when it fails, takes too long, or the hard stop comes.
async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    limit: Duration,
    stop: &Stop,
) -> Option<Box<TlsStream<TcpStream>>> {
    let accepting = timeout(limit, acceptor.accept(stream));
    match stop.until_hard(accepting).await? {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "TLS handshake failed");
            None
        }
        Err(_elapsed) => {
            tracing::debug!(%peer, "closed: no TLS handshake within the header timeout");
            None
        }
    }
}

async fn drive<S>(
    builder: &auto::Builder<Tracked>,
    stream: S,
    peer: SocketAddr,
    (requests, activity, header_timeout): (&Arc<Requests>, Arc<Activity>, Duration),
    stop: &Stop,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn({
        let (requests, activity) = (Arc::clone(requests), Arc::clone(&activity));
        move |request| {
            activity.seen.store(true, Ordering::Relaxed);
            let requests = Arc::clone(&requests);
            async move { Ok::<_, Infallible>(requests.answer(request, peer).await) }
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // hyper's header timeout starts only once it knows which version of HTTP is spoken, which a peer
    // that sends nothing never lets it know; and for HTTP/2 it has none, nor one for idle connections.
    let mut next_look = pin!(sleep(header_timeout));
    let mut looking = true;
    let mut before = Idleness::Busy { begun: 0 };
    let mut soft = pin!(async {
        stop.soft().await;
        if !activity.seen.load(Ordering::Relaxed) {
            stop.until_hard(sleep(FIRST_REQUEST_GRACE)).await;
        }
    });
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            result = &mut connection => {
                if let Err(error) = result {
                    // Resets, timeouts and bad requests: the peer's affair, too common to log louder.
                    tracing::debug!(%peer, error = %ErrorChain(error.as_ref()), "connection failed");
                }
                return;
            }
            () = &mut next_look, if looking => {
                let idleness = activity.after(before);
                match idleness {
                    Idleness::Silent | Idleness::Overdue => {
                        tracing::debug!(%peer, "closed: no request within the header timeout");
                        return;
                    }
                    Idleness::Idle => connection.as_mut().graceful_shutdown(),
                    Idleness::Busy { .. } => {}
                    Idleness::Http1 => looking = false,
                }
                before = idleness;
                next_look.as_mut().reset(Instant::now() + header_timeout);
            }
            () = &mut soft, if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            // Not before: a hard stop is a soft stop too, and each signal that is watched costs a lock
            // that all connections share, whenever this one wakes.
            () = stop.hard(), if draining => {
                tracing::debug!(%peer, "closed: the hard stop came before its requests were done");
                return;
            }
        }
    }
}

/// What has happened on a connection.
#[derive(Default)]
struct Activity {
    /// Whether there was a request.
    seen: AtomicBool,
    /// Streams of HTTP/2 so far, and those whose answer is not sent yet.
    begun: AtomicUsize,
    open: AtomicUsize,
}

/// What was found at a look at a connection, one header timeout after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Idleness {
    /// No request has come.
    Silent,
    /// hyper itself keeps the time of idle connections.
    Http1,
    /// A stream is open, or was since the last look.
    Busy { begun: usize },
    /// No stream was: the peer is told to go.
    Idle,
    /// It was told to, and is still here.
    Overdue,
}

impl Activity {
    fn after(&self, before: Idleness) -> Idleness {
        let begun = self.begun.load(Ordering::Relaxed);
        if !self.seen.load(Ordering::Relaxed) {
            Idleness::Silent
        } else if begun == 0 {
            Idleness::Http1
        } else if self.open.load(Ordering::Relaxed) > 0 {
            Idleness::Busy { begun }
        } else {
            match before {
                Idleness::Idle => Idleness::Overdue,
                Idleness::Busy { begun: last } if last == begun => Idleness::Idle,
                _ => Idleness::Busy { begun },
            }
        }
    }
}

/// Counts a stream for as long as it is open.
struct Open(Arc<Activity>);

impl Open {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.begun.fetch_add(1, Ordering::Relaxed);
        activity.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs the streams of HTTP/2 connections so that the server waits for them, and drops them at the
/// hard stop.
#[derive(Clone)]
struct Tracked {
    tracker: TaskTracker,
    stop: Stop,
    activity: Arc<Activity>,
}

impl<F> Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let stop = self.stop.clone();
        let open = Open::begin(&self.activity);
        self.tracker.spawn(async move {
            stop.until_hard(stream).await;
            drop(open);
        });
    }
}
