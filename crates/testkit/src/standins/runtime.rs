//! The three things that production code takes from `kit` and that stand-ins, which stand below
//! it, do for themselves: the clock, background tasks and an HTTP client. Nothing else in the
//! stand-ins touches them.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Error;

/// A webhook receiver has 3 s by Slack's rules and 5 s by PagerDuty's; 10 s shows a late answer as
/// an answer.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// A failing `accept` (out of file descriptors) must not spin a core.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Now, as whole microseconds since 1970: the resolution of a Slack `ts`.
#[expect(
    clippy::disallowed_methods,
    reason = "stand-ins play the outside world's clock"
)]
pub(crate) fn now_micros() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// Now, in seconds since 1970.
pub(crate) fn now_seconds() -> i64 {
    now_micros().div_euclid(1_000_000)
}

/// Now, as RFC 3339 with milliseconds.
pub(crate) fn now_rfc3339() -> String {
    jiff::Timestamp::from_microsecond(now_micros())
        .map(|now| format!("{now:.3}"))
        .unwrap_or_default()
}

#[expect(
    clippy::disallowed_methods,
    reason = "ends with the stand-in's token; kit is above us"
)]
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}

/// The client that delivers webhooks; no retries of its own. Trusts no certificate authority: it
/// speaks plain HTTP to this machine. A request takes at most 10 s.
///
/// # Errors
/// [`Error::Client`], [`Error::Tls`].
#[expect(
    clippy::disallowed_methods,
    reason = "plays providers that post to a loopback ingress"
)]
pub fn http_client() -> Result<reqwest::Client, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .timeout(DELIVERY_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        // Everything is on this machine; a developer's proxy would not reach it.
        .no_proxy()
        .build()
        .map_err(Error::Client)
}

/// Put into a response's extensions by a handler: close the connection instead of answering.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CutConnection;

#[derive(Debug, thiserror::Error)]
#[error("the stand-in was told to cut the connection")]
struct Cut;

/// A listening stand-in; dropping it closes the listener and every connection.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _stop: DropGuard,
}

impl Server {
    pub(crate) async fn start(listen: SocketAddr, router: Router) -> Result<Server, Error> {
        let failed = |source| Error::Listen {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = CancellationToken::new();
        let accepting = accept(listener, router, stop.clone());
        spawn(accepting);
        Ok(Server {
            address,
            _stop: stop.drop_guard(),
        })
    }
}

async fn accept(listener: TcpListener, router: Router, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, stop) = (router.clone(), stop.clone());
                spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = serve(stream, router, &stop) => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "stand-in cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// In a request's extensions: ends with the stand-in, for connections that outlive their request.
#[derive(Clone, Debug)]
pub(crate) struct Stopping(pub(crate) CancellationToken);

async fn serve(stream: TcpStream, router: Router, stop: &CancellationToken) {
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let stopping = Stopping(stop.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(stopping.clone());
        let answering = service.call(request);
        async move {
            let response: Response<Body> = match answering.await {
                Ok(response) => response,
                Err(never) => refuse(never),
            };
            if response.extensions().get::<CutConnection>().is_some() {
                return Err(Cut);
            }
            Ok(response)
        }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    // A connection that ends in an error is the client's or a told failure: nothing to do here.
    if let Err(error) = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await
    {
        tracing::debug!(%error, "stand-in connection ended");
    }
}

fn refuse(never: Infallible) -> Response {
    match never {}
}

/// The answer that never reaches the client.
pub(crate) fn cut() -> Response {
    let mut response = ().into_response();
    response.extensions_mut().insert(CutConnection);
    response
}

/// A new id in UUID form.
pub(crate) fn uuid() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// `length` (at most 32) new upper-case hexadecimal digits, the most random ones first.
pub(crate) fn unique(length: usize) -> String {
    let id = uuid::Uuid::now_v7().simple().to_string().to_uppercase();
    id.chars().rev().take(length).collect()
}
