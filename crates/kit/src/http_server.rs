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
pub use request_id::RequestId;

use connection::Connections;
use request::Requests;

/// How long to wait after a failed accept: the usual cause is that file descriptors ran out, and
/// trying again at once would only burn the CPU that others need to give some back.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// How long to go on accepting after the soft stop: closing the listener resets the connections that
/// wait in its queue, and those that a load balancer has just sent our way.
const CLOSE_DELAY: Duration = Duration::from_millis(100);
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
    let service = context.service;
    let address = listener
        .local_addr()
        .map_err(|source| ServeError::Address { service, source })?;
    tracing::info!(service, %address, "http listening");
    let server = Server {
        listener,
        permits: Arc::new(Semaphore::new(limits.max_connections)),
        stop: context.stop.clone(),
        tracker: TaskTracker::new(),
        connections: Connections::new(&limits),
        requests: Arc::new(Requests::new(router, limits, context)),
    };
    server.run().await;
    tracing::info!(service, %address, "http closed");
    Ok(())
}

struct Server {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    stop: Stop,
    tracker: TaskTracker,
    connections: Connections,
    requests: Arc<Requests>,
}

impl Server {
    async fn run(self) {
        let failures = LogLimiter::new(ACCEPT_LOG_INTERVAL);
        let mut closing = pin!(async {
            self.stop.soft().await;
            self.stop.until_hard(sleep(CLOSE_DELAY)).await;
        });
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut closing => break,
                accepted = self.accept() => accepted,
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
        drop(self.listener);
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Accepts only when there is room: what is over the cap waits in the kernel's queue, where it
    /// costs us nothing.
    async fn accept(&self) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(std::io::Error::other)?;
        let (stream, peer) = self.listener.accept().await?;
        Ok((stream, peer, permit))
    }

    fn open(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let connection = self.connections.serve(
            stream,
            peer,
            Arc::clone(&self.requests),
            self.tracker.clone(),
            self.stop.clone(),
        );
        self.tracker.spawn(async move {
            connection.await;
            drop(permit);
        });
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
