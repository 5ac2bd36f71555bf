//! The keys of the operator's identity provider, as fresh as they need to be.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use jsonwebtoken::jwk::JwkSet;
use tocsin_kit::http_client::{BuildError, Timeouts};
use tocsin_kit::{ErrorChain, HttpClient};
use tokio::sync::Mutex;
use url::Url;

use super::discovery::{self, ProviderError};
use super::settings::OidcSettings;

/// Keys are asked for again after this long.
const FRESH: Duration = Duration::from_secs(300);
/// While the provider does not answer, known keys count for this much longer: they are rotated by
/// overlapping for days.
const MAX_AGE: Duration = Duration::from_secs(60 * 60);
/// A key that is not known is asked for at most this often: anybody can invent key ids.
const REFETCH_PAUSE: Duration = Duration::from_secs(30);
/// A provider that is down is asked at most this often.
const FAILURE_PAUSE: Duration = Duration::from_secs(5);

/// Where keys come from.
#[derive(Debug)]
enum Source {
    Inline(Arc<JwkSet>),
    Url(Url, HttpClient),
    Issuer(String, HttpClient),
}

/// Keys that are fetched when they are needed, kept, and fetched again when one is missing.
#[derive(Debug)]
pub(crate) struct Keys {
    source: Source,
    known: ArcSwapOption<Known>,
    /// Whoever holds it asks the provider; when it last failed.
    asking: Mutex<Option<Timestamp>>,
}

#[derive(Debug)]
struct Known {
    keys: Arc<JwkSet>,
    fetched_at: Timestamp,
}

impl Known {
    fn has(&self, id: &str) -> bool {
        self.keys.find(id).is_some()
    }
}

impl Keys {
    /// # Errors
    /// When a provider is to be asked and TLS cannot be set up.
    pub(crate) fn new(settings: &OidcSettings) -> Result<Self, BuildError> {
        let http = || HttpClient::trusted(Timeouts::default());
        let source = match (&settings.oidc_jwks_json.0, &settings.oidc_jwks_url) {
            (Some(keys), _) => Source::Inline(Arc::new(keys.clone())),
            // Nobody's tokens are checked, so nobody is asked.
            (None, _) if !settings.is_complete() => {
                Source::Inline(Arc::new(JwkSet { keys: vec![] }))
            }
            (None, Some(url)) => Source::Url(url.clone(), http()?),
            (None, None) => Source::Issuer(settings.oidc_issuer.clone(), http()?),
        };
        Ok(Self {
            source,
            known: ArcSwapOption::empty(),
            asking: Mutex::new(None),
        })
    }

    /// Keys that hold the one called `id`, if the provider has it.
    pub(crate) async fn holding(
        &self,
        id: &str,
        now: Timestamp,
    ) -> Result<Arc<JwkSet>, ProviderError> {
        if let Source::Inline(keys) = &self.source {
            return Ok(Arc::clone(keys));
        }
        if let Some(keys) = self.good_enough(id, now) {
            return Ok(keys);
        }
        let mut failed_at = self.asking.lock().await;
        // Somebody else may have asked while we waited.
        if let Some(keys) = self.good_enough(id, now) {
            return Ok(keys);
        }
        if failed_at.is_some_and(|failed| is_within(failed, now, FAILURE_PAUSE)) {
            return self.old_ones(now).ok_or(ProviderError::Paused);
        }
        match self.fetch().await {
            Ok(keys) => {
                let keys = Arc::new(keys);
                *failed_at = None;
                self.known.store(Some(Arc::new(Known {
                    keys: Arc::clone(&keys),
                    fetched_at: now,
                })));
                Ok(keys)
            }
            Err(error) => {
                tracing::warn!(error = %ErrorChain(&error), "the identity provider's keys cannot be read");
                *failed_at = Some(now);
                self.old_ones(now).ok_or(error)
            }
        }
    }

    /// What is known, while the provider does not answer.
    fn old_ones(&self, now: Timestamp) -> Option<Arc<JwkSet>> {
        let known = self.known.load_full()?;
        is_within(known.fetched_at, now, MAX_AGE).then(|| Arc::clone(&known.keys))
    }

    /// Known keys that need not be asked for again for `id`.
    fn good_enough(&self, id: &str, now: Timestamp) -> Option<Arc<JwkSet>> {
        let known = self.known.load_full()?;
        let age = if known.has(id) { FRESH } else { REFETCH_PAUSE };
        is_within(known.fetched_at, now, age).then(|| Arc::clone(&known.keys))
    }

    async fn fetch(&self) -> Result<JwkSet, ProviderError> {
        match &self.source {
            Source::Inline(keys) => Ok(JwkSet::clone(keys)),
            Source::Url(url, http) => discovery::keys(http, url).await,
            Source::Issuer(issuer, http) => {
                let url = discovery::discover(http, issuer).await?.jwks_uri;
                discovery::keys(http, &url).await
            }
        }
    }
}

fn is_within(since: Timestamp, now: Timestamp, limit: Duration) -> bool {
    now.duration_since(since).unsigned_abs() < limit
}
