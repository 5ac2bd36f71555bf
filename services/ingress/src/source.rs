//! Where deliveries come from: a provider's shared secrets, or a source of an org; and what they are
//! verified with.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use tocsin_kit::telemetry::LogLimiter;
use tocsin_kit::{ErrorChain, Secret, SecretList};
use tocsin_wire::rate::{self, RateTier};
use tocsin_wire::scheme::Scheme;
use tocsin_wire::sealed::Zeroizing;
use tocsin_wire::signing::hex;
use tocsin_wire::source::SourceFigures;

use crate::arrival::WaitingRoom;
use crate::diagnose::{Case, Diagnosis, Receipt, diagnose};
use crate::error::Rejection;
use crate::metrics::{Outcome, ProviderMetrics, SourceMetrics};
use crate::normalize::pick::Picks;
use crate::provider::{Endpoint, Provider};
use crate::verify::sns::Certificate;
use crate::verify::{InvalidScheme, LiveSecret, Refusal, Validity, Verifier, single};

/// Source id of what is signed with the secrets from the settings.
pub(crate) const SHARED: &str = "shared";

/// How often a source's refusals are logged: strangers can send them by the thousand.
const LOG_INTERVAL: Duration = Duration::from_secs(1);
/// Longest that a delivery over its limit is put aside. An alert that comes later helps nobody, and what is held
/// lies in a stream that all share.
const MAX_DEFERRAL: Duration = Duration::from_secs(60 * 60);

/// One place that deliveries come from.
pub(crate) struct Source {
    pub(crate) provider: &'static Provider,
    /// As events name it.
    pub(crate) id: String,
    /// As its figures name it: the id, or `shared-<provider>`.
    pub(crate) figures_id: Arc<str>,
    /// The org that has it; nobody has the shared ones.
    pub(crate) org: Arc<str>,
    pub(crate) default_team: String,
    pub(crate) disabled: bool,
    pub(crate) max_body: usize,
    pub(crate) tier: &'static RateTier,
    /// Kinds that are taken; empty: all.
    pub(crate) only_kinds: Vec<String>,
    /// Addresses that may deliver; empty: any.
    pub(crate) allowed: Vec<IpNet>,
    /// By position of the secret; empty for the shared ones.
    pub(crate) secret_ids: Vec<String>,
    pub(crate) kept_headers: Vec<HeaderName>,
    /// What it picks from bodies, where it says so.
    pub(crate) picks: Option<Picks>,
    pub(crate) metrics: ProviderMetrics,
    pub(crate) own_metrics: SourceMetrics,
    pub(crate) verifier: Verifier,
    pub(crate) tolerance: Duration,
    /// For what is told to its owner; empty for the shared ones.
    pub(crate) secrets: Vec<(Zeroizing<String>, Validity)>,
    pub(crate) waiting_room: WaitingRoom,
    scheme: Scheme,
    figures: Mutex<SourceFigures>,
    /// When the last of its deferred deliveries comes out.
    last_slot: Mutex<Option<Timestamp>>,
    is_on: bool,
    single_headers: Vec<HeaderName>,
    refusals: LogLimiter,
}

impl Source {
    /// With a verifier, and else as the provider's row has it.
    pub(crate) fn new(
        provider: &'static Provider,
        scheme: &Scheme,
        secrets: &[LiveSecret<'_>],
        tolerance: Duration,
    ) -> Result<Self, InvalidScheme> {
        let verifier = Verifier::new(scheme, secrets)?;
        let single = provider.single_headers.iter();
        let shared_id = format!("{SHARED}-{}", provider.name);
        Ok(Self {
            provider,
            id: SHARED.to_owned(),
            own_metrics: SourceMetrics::new(provider.name, &shared_id),
            figures_id: shared_id.into(),
            org: Arc::default(),
            default_team: String::new(),
            disabled: false,
            max_body: provider.max_body(),
            tier: rate::DEFAULT,
            only_kinds: Vec::new(),
            allowed: Vec::new(),
            secret_ids: Vec::new(),
            kept_headers: provider.kept_headers(),
            picks: None,
            metrics: ProviderMetrics::new(provider.name),
            is_on: secrets.len() > verifier.unusable(),
            verifier,
            tolerance,
            secrets: Vec::new(),
            waiting_room: WaitingRoom::of_one_source(),
            scheme: scheme.clone(),
            figures: Mutex::default(),
            last_slot: Mutex::default(),
            single_headers: single.map(|name| HeaderName::from_static(name)).collect(),
            refusals: LogLimiter::new(LOG_INTERVAL),
        })
    }

    /// What the secrets in the settings verify.
    pub(crate) fn shared(
        provider: &'static Provider,
        secrets: &SecretList,
        tolerance: Duration,
        max_body: usize,
    ) -> Result<Self, InvalidScheme> {
        let texts: Vec<&str> = secrets.iter().map(Secret::expose).collect();
        let scheme = provider.scheme(texts.iter().copied());
        let secrets: Vec<_> = texts.into_iter().map(LiveSecret::always).collect();
        let scheme = scheme.unwrap_or(&Scheme::Bearer);
        let mut source = Self::new(provider, scheme, &secrets, tolerance)?;
        let unusable = source.verifier.unusable();
        if unusable > 0 {
            let variable = provider.secret.variable;
            let of = secrets.len();
            tracing::warn!(
                variable,
                unusable,
                of,
                "secrets that are empty or not of the form that the sender shows; nothing verifies under them"
            );
        }
        source.max_body = source.max_body.min(max_body);
        Ok(source)
    }

    /// Whether anything can be verified.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// The URL of a source takes what any URL of its provider takes.
    pub(crate) fn endpoint(&self) -> Option<&'static Endpoint> {
        self.provider.endpoints.first()
    }

    /// Refuses before anything is read.
    pub(crate) fn admits(&self, sender: Option<IpAddr>) -> Result<(), Rejection> {
        if self.disabled {
            return Err(Rejection::Disabled);
        }
        let is_allowed = |sender: IpAddr| self.allowed.iter().any(|range| range.contains(&sender));
        if self.allowed.is_empty() || sender.is_some_and(is_allowed) {
            Ok(())
        } else {
            Err(Rejection::AddressNotAllowed)
        }
    }

    /// Where the certificate is, without which a delivery cannot be verified that was signed within
    /// `tolerance`.
    pub(crate) fn certificate_url(
        &self,
        body: &[u8],
        now: Timestamp,
        tolerance: Duration,
    ) -> Result<Option<String>, Refusal> {
        self.verifier.certificate_url(body, now, tolerance)
    }

    /// Position of the secret that a delivery was signed with.
    pub(crate) fn verify(
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

    /// Whether a kind passes the source's filter.
    pub(crate) fn takes(&self, kind: &str) -> bool {
        self.only_kinds.is_empty() || self.only_kinds.iter().any(|known| known == kind)
    }

    /// Id of the secret at a position; empty for shared ones.
    pub(crate) fn secret_id(&self, position: usize) -> &str {
        self.secret_ids.get(position).map_or("", String::as_str)
    }

    /// When a delivery that is over the limit of `tier` shall come out: when the window that is full now
    /// has passed, and one after another no faster than the limit. `None` when that is too late.
    pub(crate) fn slot(&self, tier: &RateTier, now: Timestamp) -> Option<Timestamp> {
        let pause = tier.window / tier.limit.max(1);
        let after = |from: Timestamp, by: Duration| from.saturating_add(signed(by)).ok();
        let mut last = self.last_slot();
        let next = last.and_then(|last| after(last, pause));
        let slot = after(now, tier.window)?.max(next.unwrap_or(now));
        if slot > after(now, MAX_DEFERRAL)? {
            return None;
        }
        *last = Some(slot);
        Some(slot)
    }

    fn last_slot(&self) -> std::sync::MutexGuard<'_, Option<Timestamp>> {
        self.last_slot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen of it since this process began.
    pub(crate) fn figures(&self) -> SourceFigures {
        self.lock().clone()
    }

    /// Goes on counting where another version of the same source stood.
    pub(crate) fn continue_from(&mut self, earlier: &Self) {
        *self.lock() = earlier.figures();
        *self.last_slot() = *earlier.last_slot();
        self.waiting_room = earlier.waiting_room.clone();
    }

    /// Whether config publishes it: then a later version of it may be on its way.
    pub(crate) fn is_published(&self) -> bool {
        !self.org.is_empty()
    }

    pub(crate) fn note(&self, change: impl FnOnce(&mut SourceFigures)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, SourceFigures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with a delivery, for the owner of the source; with the certificate that it names,
    /// where its scheme has them. Nothing for the shared ones, whose owner reads the log.
    pub(crate) fn diagnose(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        receipt: Receipt,
        certificate: Option<&Certificate>,
    ) -> Diagnosis {
        if self.secrets.is_empty() {
            return Diagnosis::default();
        }
        let secrets: Vec<_> = self
            .secrets
            .iter()
            .map(|(text, validity)| LiveSecret {
                text,
                validity: *validity,
            })
            .collect();
        let case = Case {
            scheme: &self.scheme,
            secrets: &secrets,
            secret_ids: &self.secret_ids,
            tolerance: self.tolerance,
            certificate,
        };
        diagnose(case, headers, body, receipt)
    }

    /// Counts a delivery among those of its provider, and among its own.
    pub(crate) fn count(&self, outcome: Outcome, took: Duration) {
        self.metrics.record(outcome, took);
        self.own_metrics.record(outcome);
    }

    /// Notes what is behind a refusal of late, for the owner of the source.
    pub(crate) fn note_causes(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) {
        let told = self.diagnose(headers, body, Receipt::At(now), None);
        self.note(|figures| {
            figures.last_findings = told.findings;
            if let Some(skew) = told.skew_seconds {
                figures.clock_skew_seconds = Some(skew);
                figures.clock_skew_at = Some(now.as_second());
            }
        });
    }

    /// Counts a refusal, and logs one per interval. Of the body only its hash is logged, of the headers
    /// nothing. Gives whether this one was logged: what costs more than counting is done for those.
    pub(crate) fn count_refusal(
        &self,
        rejection: &Rejection,
        body: Option<&Bytes>,
        now: Timestamp,
        took: Duration,
    ) -> bool {
        let outcome = if rejection.is_ours() {
            Outcome::Unavailable
        } else {
            Outcome::Refused
        };
        self.count(outcome, took);
        self.metrics.refused(rejection);
        let (side, reason) = (rejection.side(), rejection.code());
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.note(|figures| figures.refuse(side, reason, now.as_second(), micros));
        let Some(suppressed) = self.refusals.permit() else {
            return false;
        };
        let provider = self.provider.name;
        let body_sha256 = body.map(|body| hex(&Sha256::digest(body)));
        let error = ErrorChain(rejection);
        tracing::warn!(provider, source = self.id, reason, body_sha256, suppressed, %error, "delivery not taken");
        true
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use tocsin_wire::rate::SMALL;

    use super::*;
    use crate::normalize::github;

    #[test]
    fn what_is_put_aside_comes_out_no_faster_than_the_limit_and_never_too_late() {
        let new = || {
            let tolerance = Duration::from_secs(300);
            Source::new(&github::PROVIDER, &Scheme::Bearer, &[], tolerance).expect("a source")
        };
        let (source, now) = (new(), Timestamp::UNIX_EPOCH);
        let seconds = |slot: Option<Timestamp>| slot.map(|slot| slot.as_second());
        assert_eq!(seconds(source.slot(SMALL, now)), Some(10));
        for _ in 0..100 {
            source.slot(SMALL, now).expect("a slot");
        }
        assert_eq!(seconds(source.slot(SMALL, now)), Some(20), "ten a second");
        let mut later = new();
        later.continue_from(&source);
        assert_eq!(
            seconds(later.slot(SMALL, now)),
            Some(20),
            "its next version"
        );
        let taken = (0..100_000).take_while(|_| source.slot(SMALL, now).is_some());
        assert_eq!(taken.count(), 35_799, "an hour of them");
        let soon = now + SignedDuration::from_secs(60);
        assert!(source.slot(SMALL, soon).is_some(), "there is room again");
    }
}
