//! One request from its headers to the start of its response.

use std::{
    any::Any,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{ConnectInfo, DefaultBodyLimit},
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::Limited;
use hyper::body::Incoming;
use tokio::time::Instant;
use tower::Service;
use tracing::Instrument;

use super::{
    limits::Limits,
    observe::Observed,
    request_id::{self, RequestId},
};
use crate::{Clock, Context, Problem, telemetry::LogLimiter, telemetry::panic_text};

/// When a shed or timed-out request may be sent again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Plain text of an error answer beyond this is cut: it becomes a problem's detail.
const MAX_DETAIL_BYTES: usize = 4096;
/// How often to log that requests fail, when they do by the thousand.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// In the extensions of an answer: its handler has logged what failed, so the server does not once more.
#[derive(Clone, Copy, Debug)]
pub struct Logged;

/// Answers the requests of one server.
pub(super) struct Requests {
    router: Router,
    limits: Limits,
    clock: Clock,
    service: &'static str,
    in_flight: AtomicUsize,
    observed: Observed,
    failures: LogLimiter,
}

impl Requests {
    pub(super) fn new(router: Router, limits: Limits, context: &Context) -> Self {
        Self {
            router,
            limits,
            clock: context.clock.clone(),
            service: context.service,
            in_flight: AtomicUsize::new(0),
            observed: Observed::new(context.service),
            failures: LogLimiter::new(FAILURE_LOG_INTERVAL),
        }
    }

    pub(super) fn observed(&self) -> &Observed {
        &self.observed
    }

    pub(super) async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response {
        let started = Instant::now();
        let id = RequestId::of(request.headers(), || self.clock.now());
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let span = tracing::debug_span!("request", %id, %method, path = uri.path(), %peer);

        let mut response = match self.admit(&request) {
            Ok(_in_flight) => self.route(request, peer, &id).instrument(span).await,
            Err(problem) => problem.into_response(),
        };

        let status = response.status();
        let is_logged = response.extensions().get::<Logged>().is_some();
        if status.is_client_error() || status.is_server_error() {
            response = Box::pin(with_problem(response, &id, self.limits.max_body)).await;
        }
        if status.is_server_error()
            && !is_logged
            && let Some(suppressed) = self.failures.permit()
        {
            let (service, path) = (self.service, uri.path());
            let status = status.as_u16();
            tracing::warn!(service, %id, %method, path, status, suppressed, "request failed");
        }
        response
            .headers_mut()
            .insert(request_id::HEADER, id.header_value());
        self.observed.request(status, started.elapsed());
        response
    }

    /// Decides from the headers alone whether to take the request on.
    fn admit(&self, request: &Request<Incoming>) -> Result<InFlight<'_>, Problem> {
        if let Some(limit) = self.limits.max_body
            && request.body().size_hint().lower() > limit as u64
        {
            return Err(Problem::payload_too_large(limit));
        }
        let in_flight = InFlight::enter(self);
        match self.limits.max_in_flight {
            Some(limit) if in_flight.before >= limit => Err(Problem::unavailable(
                "overloaded",
                "the server is at its limit of concurrent requests; send it again later",
                RETRY_AFTER,
            )),
            _ => Ok(in_flight),
        }
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        id: &RequestId,
    ) -> Response {
        let mut request = match self.limits.max_body {
            Some(limit) => {
                let mut request = request.map(|body| Body::new(Limited::new(body, limit)));
                // Ours is the limit that counts, also where it is above axum's own.
                DefaultBodyLimit::disable().apply(&mut request);
                request
            }
            None => request.map(Body::new),
        };
        request.extensions_mut().insert(id.clone());
        request.extensions_mut().insert(ConnectInfo(peer));

        let mut router = self.router.clone();
        let answer = AssertUnwindSafe(router.call(request)).catch_unwind();
        let answered = match self.limits.request_timeout {
            Some(limit) => tokio::time::timeout(limit, answer).await,
            None => Ok(answer.await),
        };
        match answered {
            Ok(Ok(Ok(response))) => response,
            Ok(Ok(Err(never))) => match never {},
            Ok(Err(panic)) => self.panicked(panic.as_ref(), id),
            Err(_elapsed) => Problem::unavailable(
                "request_timeout",
                "the request was not received and answered in time; send it again later",
                RETRY_AFTER,
            )
            .into_response(),
        }
    }

    fn panicked(&self, panic: &(dyn Any + Send), id: &RequestId) -> Response {
        tracing::error!(service = self.service, %id, panic = panic_text(panic), "handler panicked");
        Problem::internal().into_response()
    }
}

/// Counts a request for as long as it is at work.
struct InFlight<'a> {
    requests: &'a Requests,
    before: usize,
}

impl<'a> InFlight<'a> {
    fn enter(requests: &'a Requests) -> Self {
        let before = requests.in_flight.fetch_add(1, Ordering::Relaxed);
        requests.observed.in_flight.increment(1);
        Self { requests, before }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.requests.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.requests.observed.in_flight.decrement(1);
    }
}

/// Gives an error answer the shape of a problem, and the problem its request's id. An answer with a
/// type of its own is left as it is.
async fn with_problem(response: Response, id: &RequestId, max_body: Option<usize>) -> Response {
    let status = response.status();
    let (mut parts, body) = response.into_parts();
    let problem = match parts.extensions.remove::<Problem>() {
        Some(problem) => problem,
        None if is_plain(&parts.headers) => bare(status, body, max_body).await,
        None => return Response::from_parts(parts, body),
    };
    let rendered = problem.into_response_for(Some(id));
    // Headers that the handler added (Allow, WWW-Authenticate) stay; those of the old body go.
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::CONTENT_TYPE);
    let (rendered, body) = rendered.into_parts();
    parts.headers.extend(rendered.headers);
    parts.status = rendered.status;
    Response::from_parts(parts, body)
}

fn is_plain(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"))
}

/// The problem behind an error that a router or extractor answered with text.
async fn bare(status: StatusCode, body: Body, max_body: Option<usize>) -> Problem {
    if let (StatusCode::PAYLOAD_TOO_LARGE, Some(limit)) = (status, max_body) {
        return Problem::payload_too_large(limit);
    }
    let text = axum::body::to_bytes(body, MAX_DETAIL_BYTES).await;
    let text = text
        .as_deref()
        .map(String::from_utf8_lossy)
        .unwrap_or_default();
    let detail = match (status, text.trim()) {
        (StatusCode::NOT_FOUND, "") => "nothing is served at this path".to_owned(),
        (StatusCode::METHOD_NOT_ALLOWED, "") => {
            "this path does not take this method; see the Allow header".to_owned()
        }
        (other, "") => other.canonical_reason().unwrap_or("error").to_owned(),
        (_, text) => text.to_owned(),
    };
    Problem::from_status(status, detail)
}
