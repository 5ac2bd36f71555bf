//! The endpoints: `POST /webhooks/<provider>` and what else the rows of [`crate::provider`] name, and
//! `POST /webhooks/<provider>/<source id>`.
//!
//! 2xx is said only after the event is stored, or when there is nothing to store. Else 401
//! `signature_<reason>`, 403 `source_disabled` or `address_not_allowed`, 400 `invalid_json` or
//! `invalid_form`, 408 `body_too_slow`, 413 `body_too_large`, 415 `content_encoding_unsupported`, 429 or 503 `rate_limited`, and
//! 503 with `Retry-After` when the trouble is ours, or more comes at once than there is room for: `overloaded`,
//! `too_many_large_bodies`.

mod answer;
mod at_work;
mod body;
mod gathered;
mod pace;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Path, Request};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, on};
use http::{HeaderMap, Uri};
use ipnet::IpNet;
use tocsin_kit::Problem;
use tocsin_kit::http_server::Logged;
use tokio::time::Instant;

use crate::address;
use crate::arrival::{ARRIVAL_LIMIT, WaitingRoom};
use crate::error::{Rejection, UNKNOWN};
use crate::intake::{Incoming, Intake};
use crate::large::{LargeBodies, over};
use crate::provider::{Answer, Endpoint};
use crate::source::Source;
use crate::sources::Sources;

pub(crate) use self::at_work::AtWork;
pub(crate) use self::body::is_encoded;
pub(crate) use self::pace::SlowBodies;

/// What every request needs.
pub(crate) struct Receiver {
    pub(crate) shared: Vec<Arc<Source>>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) intake: Arc<Intake>,
    pub(crate) large: LargeBodies,
    pub(crate) slow: SlowBodies,
    pub(crate) at_work: AtWork,
    /// Of all sources, besides the one that each has.
    pub(crate) waiting_room: WaitingRoom,
    /// Who may say for whom it speaks.
    pub(crate) proxies: Vec<IpNet>,
}

impl Receiver {
    /// The routes of all providers and sources.
    pub(crate) fn router(self) -> Router {
        let receiver = Arc::new(self);
        let mut router = Router::new();
        // Grafana and Coralogix can be set to PUT.
        let methods = MethodFilter::POST.or(MethodFilter::PUT);
        for source in &receiver.shared {
            for endpoint in source.provider.endpoints {
                let (receiver, source) = (Arc::clone(&receiver), Arc::clone(source));
                let is_on = source.is_on();
                let name = source.provider.name;
                let path = match endpoint.path {
                    "" => format!("/webhooks/{name}"),
                    path => format!("/webhooks/{name}/{path}"),
                };
                let taking = on(methods, move |request: Request| async move {
                    // Boxed: small for axum to move about, and one allocation per request.
                    Box::pin(receiver.receive(&source, endpoint, request)).await
                });
                let methods = match endpoint.grant {
                    Some(grant) => taking.options(granting(grant, is_on)),
                    None => taking,
                };
                router = router.route(&path, methods);
            }
        }
        let sources = Arc::clone(&receiver.sources);
        let grant_source = move |Path((provider, id)): Path<(String, String)>, asked: HeaderMap| {
            std::future::ready(granting_source(&sources, &provider, &id, &asked))
        };
        let to_source = move |Path((provider, id)): Path<(String, String)>, request: Request| {
            let receiver = Arc::clone(&receiver);
            async move { receiver.receive_for(&provider, &id, request).await }
        };
        router
            .route(
                "/webhooks/{provider}/{source}",
                on(methods, to_source).options(grant_source),
            )
            .fallback(unknown)
    }

    async fn receive_for(&self, provider: &str, id: &str, request: Request) -> Response {
        let found = self.sources.find(provider, id);
        match found.and_then(|source| {
            let endpoint = source.endpoint().ok_or(Rejection::UnknownSource)?;
            Ok((source, endpoint))
        }) {
            Ok((source, endpoint)) => Box::pin(self.receive(&source, endpoint, request)).await,
            Err(rejection) => rejection.problem().into_response(),
        }
    }

    async fn receive(
        &self,
        source: &Arc<Source>,
        endpoint: &'static Endpoint,
        request: Request,
    ) -> Response {
        let started = Instant::now();
        // Pinned here: who takes a future holds it twice.
        let answering = pin!(self.answer(source, endpoint, request, started));
        match self.at_work.enter(answering).await {
            Ok(response) => response,
            Err(rejection) => self.reject(source, rejection, None, started).await,
        }
    }

    async fn answer(
        &self,
        source: &Arc<Source>,
        endpoint: &'static Endpoint,
        request: Request,
        started: Instant,
    ) -> Response {
        let mut source = Arc::clone(source);
        let (parts, body) = request.into_parts();
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let sender: Option<IpAddr> =
            peer.map(|peer| address::sender(peer.0.ip(), &parts.headers, &self.proxies));
        let bounds = body::Bounds {
            limit: source.max_body,
            large: &self.large,
            slow: &self.slow,
            sender,
            throttled: source.provider.throttled,
        };
        let read = match source.admits(sender) {
            Ok(()) => body::read(&parts.headers, body, bounds).await,
            Err(rejection) => Err(rejection),
        };
        let body = match read {
            Ok(body) => body,
            Err(rejection) => return self.reject(&source, rejection, None, started).await,
        };
        let incoming = Incoming {
            headers: &parts.headers,
            body: &body.bytes,
            sender,
        };
        let mut taken = self.intake.take(&source, endpoint, incoming, started).await;
        if source.is_published() && is_about_secrets(&taken) {
            // Boxed: rare, and larger than all else here.
            taken =
                Box::pin(self.take_later(&mut source, endpoint, incoming, started, taken)).await;
        }
        match taken {
            Ok(answer) => answer.into_response(),
            Err(rejection) => {
                let incoming = Some(incoming);
                self.reject(&source, rejection, incoming, started).await
            }
        }
    }

    /// Takes a delivery that no secret verified (`refused`) by each later version of its source that comes
    /// within [`ARRIVAL_LIMIT`], where it finds a place to wait. What is refused at the end is refused by all
    /// that is known here; while more is known to come, or nothing can come, it is our trouble and not the
    /// sender's.
    async fn take_later(
        &self,
        source: &mut Arc<Source>,
        endpoint: &'static Endpoint,
        incoming: Incoming<'_>,
        started: Instant,
        mut refused: Result<Answer, Rejection>,
    ) -> Result<Answer, Rejection> {
        let bytes = incoming.body.len();
        let places = source.waiting_room.enter(bytes);
        let places = places.zip(self.waiting_room.enter(bytes));
        let until = Instant::now() + ARRIVAL_LIMIT;
        while places.is_some()
            && let Some(later) = self.sources.later_than(source, until).await
        {
            *source = later;
            source.admits(incoming.sender)?;
            refused = Box::pin(self.intake.take(source, endpoint, incoming, started)).await;
            if !is_about_secrets(&refused) {
                return refused;
            }
        }
        if self.sources.is_opening(&source.id) {
            return Err(Rejection::SourceLoading);
        }
        self.intake.must_be_connected()?;
        refused
    }

    async fn reject(
        &self,
        source: &Arc<Source>,
        rejection: Rejection,
        incoming: Option<Incoming<'_>>,
        started: Instant,
    ) -> Response {
        let now = self.intake.now();
        let took = started.elapsed();
        let problem = rejection.problem();
        let Some(incoming) = incoming else {
            source.count_refusal(&rejection, None, now, took);
            return logged(problem);
        };
        let noting = over(source, incoming, move |source, headers, body| {
            let is_first = source.count_refusal(&rejection, Some(body), now, took);
            // At most one per interval: it costs as much as dozens of refusals.
            if is_first && matches!(rejection, Rejection::Unverified(_)) {
                source.note_causes(headers, body, now);
            }
        });
        if let Err(aborted) = noting.await {
            source.count_refusal(&aborted, None, now, took);
        }
        logged(problem)
    }
}

/// The source has logged it, at most once a second.
fn logged(problem: Problem) -> Response {
    let mut response = problem.into_response();
    response.extensions_mut().insert(Logged);
    response
}

/// Whether another secret might have verified the delivery.
fn is_about_secrets(taken: &Result<Answer, Rejection>) -> bool {
    matches!(taken, Err(Rejection::Unverified(refusal)) if refusal.is_about_secrets())
}

/// Answers `OPTIONS`: by `grant`, or with nothing where nobody may send.
fn granting(
    grant: fn(&HeaderMap) -> HeaderMap,
    is_on: bool,
) -> impl Fn(HeaderMap) -> std::future::Ready<(HeaderMap, ())> + Clone {
    move |asked: HeaderMap| {
        let granted = if is_on {
            grant(&asked)
        } else {
            HeaderMap::new()
        };
        std::future::ready((granted, ()))
    }
}

fn granting_source(sources: &Sources, provider: &str, id: &str, asked: &HeaderMap) -> Response {
    match sources.find(provider, id) {
        Ok(source) if source.disabled => Rejection::Disabled.problem().into_response(),
        Ok(source) => {
            let grant = source.endpoint().and_then(|endpoint| endpoint.grant);
            let granted = grant.map_or_else(HeaderMap::new, |grant| grant(asked));
            (granted, ()).into_response()
        }
        Err(rejection) => rejection.problem().into_response(),
    }
}

async fn unknown(uri: Uri) -> Problem {
    if uri.path().starts_with("/webhooks") {
        Problem::not_found("unknown_webhook", UNKNOWN)
    } else {
        Problem::not_found("not_found", "nothing is served at this path")
    }
}
