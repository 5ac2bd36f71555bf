//! The endpoints: `POST /webhooks/{slack/events, slack/interactions, slack/commands, github,
//! pagerduty, incidentio}`.
//!
//! 2xx is said only after the event is stored, or when there is nothing to store. Else 401
//! `signature_<reason>`, 400 `invalid_json` or `invalid_form`, 413 `body_too_large`, and 503
//! with `Retry-After` when the trouble is ours.

mod answer;
mod body;
mod source;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse as _, Response},
    routing::post,
};
use bytes::Bytes;
use http::{HeaderMap, Uri};
use jiff::Timestamp;
use tocsin_kit::{Clock, Problem};
use tokio::time::Instant;

use crate::{
    Settings,
    error::Rejection,
    metrics::Outcome,
    normalize::{self, Delivery, Malformed, Normalized, slack},
    publish::Publisher,
    verify::{self, Refusal},
};
use answer::Answer;
use source::Source;

/// Source id of what is signed with the secrets from the settings.
const SHARED: &str = "shared";

/// One URL that a provider calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Slack(slack::Endpoint),
    GitHub,
    PagerDuty,
    IncidentIo,
}

/// What every request needs.
pub(crate) struct Receiver {
    slack: Source,
    github: Source,
    pagerduty: Source,
    incidentio: Source,
    tolerance: Duration,
    max_body: usize,
    clock: Clock,
    publisher: Arc<Publisher>,
}

impl Receiver {
    pub(crate) fn new(settings: &Settings, clock: Clock, publisher: Arc<Publisher>) -> Self {
        let source = Source::new;
        Self {
            slack: source(slack::PROVIDER, &settings.slack_signing_secret),
            github: source(normalize::github::PROVIDER, &settings.github_webhook_secret),
            pagerduty: source(
                normalize::pagerduty::PROVIDER,
                &settings.pagerduty_webhook_secret,
            ),
            incidentio: Source::with_keys(
                normalize::incidentio::PROVIDER,
                verify::standard_webhooks::keys(source::exposed(
                    &settings.incidentio_webhook_secret,
                )),
            ),
            tolerance: settings.tolerance.duration(),
            max_body: settings.max_body_bytes.as_usize(),
            clock,
            publisher,
        }
    }

    /// Names of the providers that have a secret, and of those that have none.
    pub(crate) fn providers(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let sources = [&self.slack, &self.github, &self.pagerduty, &self.incidentio];
        let (on, off): (Vec<_>, Vec<_>) = sources.into_iter().partition(|source| source.is_on());
        let names = |sources: Vec<&Source>| sources.iter().map(|source| source.provider).collect();
        (names(on), names(off))
    }

    /// The routes of all providers.
    pub(crate) fn router(self) -> Router {
        let receiver = Arc::new(self);
        let to = |endpoint| {
            let receiver = Arc::clone(&receiver);
            post(move |request: Request| async move {
                // Boxed: small for axum to move about, and one allocation per request.
                Box::pin(receiver.receive(endpoint, request)).await
            })
        };
        Router::new()
            .route(
                "/webhooks/slack/events",
                to(Endpoint::Slack(slack::Endpoint::Events)),
            )
            .route(
                "/webhooks/slack/interactions",
                to(Endpoint::Slack(slack::Endpoint::Interactions)),
            )
            .route(
                "/webhooks/slack/commands",
                to(Endpoint::Slack(slack::Endpoint::Commands)),
            )
            .route("/webhooks/github", to(Endpoint::GitHub))
            .route("/webhooks/pagerduty", to(Endpoint::PagerDuty))
            .route("/webhooks/incidentio", to(Endpoint::IncidentIo))
            .fallback(unknown)
    }

    fn source(&self, endpoint: Endpoint) -> &Source {
        match endpoint {
            Endpoint::Slack(_) => &self.slack,
            Endpoint::GitHub => &self.github,
            Endpoint::PagerDuty => &self.pagerduty,
            Endpoint::IncidentIo => &self.incidentio,
        }
    }

    async fn receive(&self, endpoint: Endpoint, request: Request) -> Response {
        let started = Instant::now();
        let source = self.source(endpoint);
        let (parts, body) = request.into_parts();
        let body = match body::read(&parts.headers, body, self.max_body).await {
            Ok(body) => body,
            Err(rejection) => return source.reject(&rejection, None, started.elapsed()),
        };
        match self.take(endpoint, &parts.headers, &body).await {
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
        endpoint: Endpoint,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<(Answer, Outcome), Rejection> {
        let now = self.clock.now();
        let secret_index = self
            .verify(endpoint, headers, body, now)
            .map_err(Rejection::Unverified)?;
        let delivery = Delivery {
            source: SHARED,
            headers,
            body,
            received_at: now,
            secret_index,
        };
        let event = match read(endpoint, delivery).map_err(Rejection::Malformed)? {
            Normalized::Event(event) => event,
            Normalized::Ping => return Ok((Answer::of(endpoint, ""), Outcome::Ping)),
            Normalized::Challenge(challenge) => {
                return Ok((Answer::Challenge(challenge), Outcome::Ping));
            }
        };
        let answer = Answer::of(endpoint, &event.kind);
        let published = self.publisher.publish(*event, now).await?;
        let outcome = if published.duplicate {
            Outcome::Duplicate
        } else {
            Outcome::Accepted
        };
        Ok((answer, outcome))
    }

    fn verify(
        &self,
        endpoint: Endpoint,
        headers: &HeaderMap,
        body: &Bytes,
        now: Timestamp,
    ) -> Result<usize, Refusal> {
        let keys = &self.source(endpoint).keys;
        match endpoint {
            Endpoint::Slack(_) => verify::slack::verify(headers, body, keys, now, self.tolerance),
            Endpoint::GitHub => verify::github::verify(headers, body, keys),
            Endpoint::PagerDuty => verify::pagerduty::verify(headers, body, keys),
            Endpoint::IncidentIo => {
                verify::standard_webhooks::verify(headers, body, keys, now, self.tolerance)
            }
        }
    }
}

fn read(endpoint: Endpoint, delivery: Delivery<'_>) -> Result<Normalized, Malformed> {
    match endpoint {
        Endpoint::Slack(endpoint) => slack::normalize(endpoint, delivery),
        Endpoint::GitHub => normalize::github::normalize(delivery),
        Endpoint::PagerDuty => normalize::pagerduty::normalize(delivery),
        Endpoint::IncidentIo => normalize::incidentio::normalize(delivery),
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
