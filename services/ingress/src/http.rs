//! The endpoints: `POST /webhooks/<provider>` and what else the rows of [`crate::provider`] name.
//!
//! 2xx is said only after the event is stored, or when there is nothing to store. Else 401
//! `signature_<reason>`, 400 `invalid_json` or `invalid_form`, 413 `body_too_large`, 415
//! `content_encoding_unsupported`, and 503 with `Retry-After` when the trouble is ours.

mod answer;
mod body;
mod source;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use http::{HeaderMap, Uri};
use tocsin_kit::{Clock, Problem};
use tocsin_wire::proto::Event;
use tokio::time::Instant;

use crate::Settings;
use crate::error::{Error, Rejection};
use crate::metrics::Outcome;
use crate::normalize::{Delivery, Normalized};
use crate::provider::{self, Answer, Endpoint};
use crate::publish::Publisher;
use source::Source;

/// What every request needs.
pub(crate) struct Receiver {
    shared: Vec<Arc<Source>>,
    clock: Clock,
    publisher: Arc<Publisher>,
}

impl Receiver {
    pub(crate) fn new(
        settings: &Settings,
        clock: Clock,
        publisher: Arc<Publisher>,
    ) -> Result<Self, Error> {
        let shared = provider::ALL.iter().map(|provider| {
            let secrets = settings.secrets.of(provider);
            let tolerance = settings.tolerance.duration();
            let max_body = settings.max_body_bytes.as_usize();
            Source::shared(provider, secrets, tolerance, max_body).map(Arc::new)
        });
        Ok(Self {
            shared: shared.collect::<Result<_, _>>().map_err(Error::Scheme)?,
            clock,
            publisher,
        })
    }

    /// Names of the providers that have a secret, and of those that have none.
    pub(crate) fn providers(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let (on, off): (Vec<_>, Vec<_>) = self.shared.iter().partition(|source| source.is_on());
        let name = |source: &Arc<Source>| source.provider.name;
        (
            on.into_iter().map(name).collect(),
            off.into_iter().map(name).collect(),
        )
    }

    /// The routes of all providers.
    pub(crate) fn router(self) -> Router {
        let receiver = Arc::new(self);
        let mut router = Router::new();
        for source in &receiver.shared {
            for endpoint in source.provider.endpoints {
                let (receiver, source) = (Arc::clone(&receiver), Arc::clone(source));
                let name = source.provider.name;
                let path = match endpoint.path {
                    "" => format!("/webhooks/{name}"),
                    path => format!("/webhooks/{name}/{path}"),
                };
                let taking = post(move |request: Request| async move {
                    // Boxed: small for axum to move about, and one allocation per request.
                    Box::pin(receiver.receive(&source, endpoint, request)).await
                });
                router = router.route(&path, taking);
            }
        }
        router.fallback(unknown)
    }

    async fn receive(&self, source: &Source, endpoint: &Endpoint, request: Request) -> Response {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let body = match body::read(&parts.headers, body, source.max_body).await {
            Ok(body) => body,
            Err(rejection) => return source.reject(&rejection, None, started.elapsed()),
        };
        match self.take(source, endpoint, &parts.headers, &body).await {
            Ok((answer, outcome)) => {
                source.metrics.record(outcome, started.elapsed());
                answer.into_response()
            }
            Err(rejection) => source.reject(&rejection, Some(&body), started.elapsed()),
        }
    }

    /// Verify, then read, then store.
    async fn take(
        &self,
        source: &Source,
        endpoint: &Endpoint,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<(Answer, Outcome), Rejection> {
        let now = self.clock.now();
        let secret_index = source
            .verify(headers, body, now)
            .map_err(Rejection::Unverified)?;
        let delivery = Delivery {
            source: &source.id,
            headers,
            body,
            received_at: now,
            secret_index,
            kept_headers: &source.kept_headers,
        };
        match (endpoint.read)(delivery).map_err(Rejection::Malformed)? {
            Normalized::Event(event) => {
                let answer = (endpoint.answer)(&event.kind);
                let duplicate = self.publisher.publish(*event, now).await?.duplicate;
                Ok((answer, outcome(duplicate)))
            }
            Normalized::Events(events) => self.batch(endpoint, events).await,
            Normalized::Ping => Ok(((endpoint.answer)(""), Outcome::Ping)),
            Normalized::Challenge(challenge) => Ok((Answer::Challenge(challenge), Outcome::Ping)),
        }
    }

    /// All or an error: what was stored before the error is a duplicate when the batch comes again.
    async fn batch(
        &self,
        endpoint: &Endpoint,
        events: Vec<Event>,
    ) -> Result<(Answer, Outcome), Rejection> {
        let now = self.clock.now();
        let mut all_duplicates = true;
        let answer = (endpoint.answer)("");
        if events.is_empty() {
            return Ok((answer, Outcome::Ping));
        }
        for event in events {
            all_duplicates &= self.publisher.publish(event, now).await?.duplicate;
        }
        Ok((answer, outcome(all_duplicates)))
    }
}

fn outcome(duplicate: bool) -> Outcome {
    if duplicate {
        Outcome::Duplicate
    } else {
        Outcome::Accepted
    }
}

async fn unknown(uri: Uri) -> Problem {
    let detail = "no webhook is received at this path; see the list of endpoints in the README";
    if uri.path().starts_with("/webhooks") {
        Problem::not_found("unknown_webhook", detail)
    } else {
        Problem::not_found("not_found", "nothing is served at this path")
    }
}
