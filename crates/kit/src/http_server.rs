//! An HTTP/1.1 and h2c server that cannot be held up: header and request time limits, caps on
//! connections, requests in flight and body size, and a drain at shutdown.
//!
//! One thin layer around an axum router, without boxed middleware: it gives each request an id, turns
//! panics and bare error statuses into problems, and counts. Successful requests cost one debug span
//! that is off by default, and three updates of metrics registered beforehand.

mod connection;
mod limits;
mod observe;
mod request;
mod request_id;
mod tls;

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_util::task::TaskTracker;

use crate::{Context, Stop, settings::HttpListen, telemetry::LogLimiter};

pub use limits::{HttpLimitSettings, Limits};
pub use request::Logged;
pub use request_id::RequestId;
pub use tls::{Tls, TlsError, TlsFiles};

use connection::Connections;
use request::Requests;

/// How long to wait after a failed accept: the usual cause is that file descriptors ran out, and
/// trying again at once would only burn the CPU that others need to give some back.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// Connections that wait to be accepted, at most: what tokio asks the kernel for.
const MAX_QUEUE: usize = 1024;
/// How often to log that accepts fail.
const ACCEPT_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("listen on {listen}; is the port taken, or the address not this machine's?")]
    Bind {
        listen: HttpListen,
        #[source]
        source: std::io::Error,
    },
    #[error("read the address that the {service} server listens on")]
    Address {
        service: &'static str,
        #[source]
        source: std::io::Error,
    },
}

/// Takes the port. Bind every listener before doing work, and before saying ready.
///
/// # Errors
/// When the port is taken or the address is not this machine's.
pub async fn bind(listen: &HttpListen) -> Result<TcpListener, ServeError> {
    TcpListener::bind((listen.host, listen.port))
        .await
        .map_err(|source| ServeError::Bind {
            listen: listen.clone(),
            source,
        })
}

/// Serves `router` until the context's soft stop, then lets requests in flight finish until its hard
/// stop. Returns when every connection is closed.
///
/// Handlers find in the request's extensions its [`RequestId`] (also an extractor) and axum's
/// `ConnectInfo<SocketAddr>` with the peer's address. Every error response with an empty or plain
/// text body leaves as a [`Problem`](crate::Problem), whose detail is that text.
///
/// # Errors
/// When the listener has no address. Failed accepts and connections are logged and counted.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    context: &Context,
) -> Result<(), ServeError> {
    serve_on(listener, None, router, limits, context).await
}

/// [`serve`] over TLS, whose certificate is read again when its files change.
///
/// A handshake has the header timeout, and comes before the time for the first request.
///
/// # Errors
/// As [`serve`].
pub async fn serve_tls(
    listener: TcpListener,
    tls: Tls,
    router: Router,
    limits: Limits,
    context: &Context,
) -> Result<(), ServeError> {
    let serving = serve_on(listener, Some(tls.clone()), router, limits, context);
    tokio::select! {
        served = serving => served,
        () = tls.follow(context.service) => Ok(()),
    }
}

async fn serve_on(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    limits: Limits,
    context: &Context,
) -> Result<(), ServeError> {
    let service = context.service;
    let address = listener
        .local_addr()
        .map_err(|source| ServeError::Address { service, source })?;
    tracing::info!(service, %address, tls = tls.is_some(), "http listening");
    let server = Server::new(tls, router, limits, context);
    server.run(listener).await;
    tracing::info!(service, %address, "http closed");
    Ok(())
}

struct Server {
    permits: Arc<Semaphore>,
    stop: Stop,
    tracker: TaskTracker,
    close_delay: Duration,
    connections: Connections,
    requests: Arc<Requests>,
}

impl Server {
    fn new(tls: Option<Tls>, router: Router, limits: Limits, context: &Context) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(limits.max_connections)),
            stop: context.stop.clone(),
            tracker: TaskTracker::new(),
            close_delay: limits.close_delay,
            connections: Connections::new(&limits, tls),
            requests: Arc::new(Requests::new(router, limits, context)),
        }
    }

    async fn run(self, listener: TcpListener) {
        let failures = LogLimiter::new(ACCEPT_LOG_INTERVAL);
        let mut closing = pin!(async {
            self.stop.soft().await;
            self.stop.until_hard(sleep(self.close_delay)).await;
        });
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut closing => break,
                accepted = self.accept(&listener) => accepted,
            };
            match accepted {
                Ok((stream, peer, permit)) => self.open(stream, peer, permit),
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    if let Some(suppressed) = failures.permit() {
                        tracing::warn!(%error, suppressed, "cannot accept connections");
                    }
                    self.stop.until_hard(sleep(ACCEPT_BACKOFF)).await;
                }
            }
        }
        if self.stop.is_hard() {
            drop(listener);
        } else {
            self.empty_queue(listener);
        }
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Accepts only when there is room: what is over the cap waits in the kernel's queue, where it
    /// costs us nothing.
    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(std::io::Error::other)?;
        let (stream, peer) = listener.accept().await?;
        Ok((stream, peer, permit))
    }

    /// Takes what waits in the kernel's queue, which closing the listener would reset, and closes it. Ends
    /// at the first failure: the usual one is that nobody waits any more.
    fn empty_queue(&self, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else {
            return;
        };
        for _ in 0..MAX_QUEUE {
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
                return;
            };
            let accepted = listener.accept().and_then(|(stream, peer)| {
                stream.set_nonblocking(true)?;
                Ok((TcpStream::from_std(stream)?, peer))
            });
            match accepted {
                Ok((stream, peer)) => self.open(stream, peer, permit),
                Err(_nobody_waits) => return,
            }
        }
    }

    fn open(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let connection = self.connections.serve(
            stream,
            peer,
            Arc::clone(&self.requests),
            self.tracker.clone(),
            self.stop.clone(),
            permit,
        );
        self.tracker.spawn(connection);
    }
}

/// The peer gave up between its connect and our accept: no news.
fn concerns_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Connected while the server was not looking; closing the listener alone would reset them.
    #[tokio::test]
    async fn connections_that_wait_to_be_accepted_are_served_at_a_stop() {
        let context = Context::for_test("example").expect("a context");
        let router = Router::new().route("/", get(|| async { "done" }));
        let server = Server::new(None, router, Limits::default(), &context);
        let listener = bind(&HttpListen::loopback()).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut waiting = Vec::new();
        for _ in 0..3 {
            waiting.push(TcpStream::connect(address).await.expect("connected"));
        }
        server.empty_queue(listener);
        TcpStream::connect(address).await.expect_err("closed");
        for mut stream in waiting {
            let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            stream.write_all(request).await.expect("sent");
            let mut answer = String::new();
            let read = stream.read_to_string(&mut answer).await;
            read.expect("an answer");
            assert!(answer.ends_with("done"), "{answer}");
        }
    }
}
