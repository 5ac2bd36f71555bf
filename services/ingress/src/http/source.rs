//! One provider with its live secrets, its metrics and its quiet log.

use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tocsin_kit::{ErrorChain, SecretList, telemetry::LogLimiter};
use tocsin_wire::signing::hex;

use crate::{
    error::Rejection,
    metrics::{Outcome, ProviderMetrics},
    verify::Keys,
};

/// How often a provider's refusals are logged: strangers can send them by the thousand.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The secrets themselves, to make keys of.
pub(super) fn exposed(secrets: &SecretList) -> impl Iterator<Item = &str> {
    secrets.iter().map(tocsin_kit::Secret::expose)
}

pub(super) struct Source {
    pub(super) provider: &'static str,
    pub(super) keys: Keys,
    pub(super) metrics: ProviderMetrics,
    refusals: LogLimiter,
}

impl Source {
    pub(super) fn new(provider: &'static str, secrets: &SecretList) -> Self {
        Self::with_keys(provider, Keys::new(exposed(secrets)))
    }

    pub(super) fn with_keys(provider: &'static str, keys: Keys) -> Self {
        Self {
            provider,
            keys,
            metrics: ProviderMetrics::new(provider),
            refusals: LogLimiter::new(LOG_INTERVAL),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        !self.keys.is_empty()
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
            let (provider, reason) = (self.provider, rejection.code());
            let body_sha256 = body.map(|body| hex(&Sha256::digest(body)));
            let error = ErrorChain(rejection);
            tracing::warn!(provider, reason, body_sha256, suppressed, %error, "delivery not taken");
        }
        rejection.problem().into_response()
    }
}
