//! What deliveries are verified with, and the quiet log and the metrics of those that fail.

use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tocsin_kit::{ErrorChain, Secret, SecretList, telemetry::LogLimiter};
use tocsin_wire::scheme::Scheme;
use tocsin_wire::signing::hex;

use crate::error::Rejection;
use crate::metrics::{Outcome, ProviderMetrics};
use crate::provider::Provider;
use crate::verify::sns::Certificate;
use crate::verify::{InvalidScheme, LiveSecret, Refusal, Verifier, single};

/// Source id of what is signed with the secrets from the settings.
const SHARED: &str = "shared";

/// How often a source's refusals are logged: strangers can send them by the thousand.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// One place that deliveries come from: a provider's shared secrets, or a source of an org.
pub(super) struct Source {
    pub(super) provider: &'static Provider,
    pub(super) id: String,
    pub(super) max_body: usize,
    pub(super) kept_headers: Vec<HeaderName>,
    pub(super) metrics: ProviderMetrics,
    is_on: bool,
    verifier: Verifier,
    single_headers: Vec<HeaderName>,
    tolerance: Duration,
    refusals: LogLimiter,
}

impl Source {
    /// What the secrets in the settings verify.
    pub(super) fn shared(
        provider: &'static Provider,
        secrets: &SecretList,
        tolerance: Duration,
        max_body: usize,
    ) -> Result<Self, InvalidScheme> {
        let texts: Vec<&str> = secrets.iter().map(Secret::expose).collect();
        let scheme = provider.scheme(texts.iter().copied());
        let scheme = scheme.unwrap_or(&Scheme::Bearer);
        let secrets: Vec<_> = texts.into_iter().map(LiveSecret::always).collect();
        let verifier = Verifier::new(scheme, &secrets)?;
        let unusable = verifier.unusable();
        if unusable > 0 {
            let variable = provider.secret.variable;
            tracing::warn!(
                variable,
                unusable,
                of = secrets.len(),
                "secrets that are empty or not of the form that the sender shows; nothing verifies under them"
            );
        }
        let single = provider.single_headers.iter();
        Ok(Self {
            provider,
            id: SHARED.to_owned(),
            max_body: max_body.min(provider.max_body),
            kept_headers: provider.kept_headers(),
            metrics: ProviderMetrics::new(provider.name),
            is_on: secrets.len() > unusable,
            verifier,
            single_headers: single.map(|name| HeaderName::from_static(name)).collect(),
            tolerance,
            refusals: LogLimiter::new(LOG_INTERVAL),
        })
    }

    /// Whether anything can be verified.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Where the certificate is, without which a delivery cannot be verified.
    pub(super) fn certificate_url(
        &self,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Option<String>, Refusal> {
        self.verifier.certificate_url(body, now, self.tolerance)
    }

    /// Position of the secret that a delivery was signed with.
    pub(super) fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
        certificate: Option<&Certificate>,
    ) -> Result<usize, Refusal> {
        for name in &self.single_headers {
            single(headers, name)?;
        }
        self.verifier
            .verify_with(headers, body, now, self.tolerance, certificate)
    }

    /// Counts, logs once per interval, and answers. Of the body only its hash is logged, of the
    /// headers nothing.
    pub(super) fn reject(
        &self,
        rejection: &Rejection,
        body: Option<&Bytes>,
        took: Duration,
    ) -> Response {
        let outcome = if rejection.is_ours() {
            Outcome::Unavailable
        } else {
            Outcome::Refused
        };
        self.metrics.record(outcome, took);
        self.metrics.refused(rejection);
        if let Some(suppressed) = self.refusals.permit() {
            let (provider, reason) = (self.provider.name, rejection.code());
            let body_sha256 = body.map(|body| hex(&Sha256::digest(body)));
            let error = ErrorChain(rejection);
            tracing::warn!(provider, source = self.id, reason, body_sha256, suppressed, %error, "delivery not taken");
        }
        rejection.problem().into_response()
    }
}
