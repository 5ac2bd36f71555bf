//! What is said of sources.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use tocsin_wire::sealed::Zeroizing;
use tocsin_wire::source::{SourceFigures, SourceSettings};
use utoipa::ToSchema;

use super::shape::Settings;
use crate::source::{SecretState, Source, SourceSecret};

/// A sender with a URL of its own.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Source)]
pub(super) struct SourceView {
    /// `src_` and 24 hex digits.
    #[schema(example = "src_0123456789abcdef01234567")]
    id: String,
    org_id: String,
    #[schema(example = "pagerduty")]
    provider: String,
    /// Unique per org and provider.
    name: String,
    /// Below ingress's address: where its sender posts to.
    #[schema(example = "/webhooks/pagerduty/src_0123456789abcdef01234567")]
    path: String,
    /// Whether everything that it sends is refused.
    disabled: bool,
    #[schema(value_type = Settings)]
    settings: SourceSettings,
    /// By id, without their values.
    secrets: Vec<SourceSecretView>,
    /// Whether ingress said when secrets were last used; else nobody knows now.
    usage_known: bool,
    /// One more with every change; also the ETag.
    version: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    created_by: String,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    updated_by: String,
}

/// One secret of a source, never its value.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SourceSecret)]
pub(super) struct SourceSecretView {
    /// Unique in its source, and never given twice.
    #[schema(example = "1")]
    id: String,
    #[schema(inline)]
    state: SecretState,
    /// From when it counts; always, where absent.
    #[schema(value_type = Option<String>, format = DateTime)]
    not_before: Option<Timestamp>,
    /// Until when it counts; until it is removed, where absent.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires: Option<Timestamp>,
    /// When a delivery was last verified with it.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    created_by: String,
}

/// What ingress saw, by source; `None`: it did not say.
pub(super) type Seen = Option<BTreeMap<String, SourceFigures>>;

impl SourceView {
    pub(super) fn new(source: Source, seen: &Seen, now: Timestamp) -> Self {
        let figures = seen.as_ref().and_then(|seen| seen.get(source.id.as_str()));
        let secrets = source.secrets.iter();
        Self {
            path: source.path(),
            secrets: secrets
                .map(|secret| SourceSecretView::new(secret, figures, now))
                .collect(),
            usage_known: seen.is_some(),
            id: source.id.to_string(),
            org_id: source.org.to_string(),
            provider: source.provider,
            name: source.name,
            disabled: source.disabled,
            settings: source.settings,
            version: source.version,
            created_at: source.created_at,
            created_by: source.created_by,
            updated_at: source.updated_at,
            updated_by: source.updated_by,
        }
    }
}

impl SourceView {
    pub(super) fn version(&self) -> u64 {
        self.version
    }
}

impl SourceSecretView {
    fn new(secret: &SourceSecret, figures: Option<&SourceFigures>, now: Timestamp) -> Self {
        let id = secret.number.to_string();
        let used = figures.and_then(|figures| figures.secret_last_used.get(&id));
        Self {
            state: secret.state(now),
            not_before: secret.not_before,
            expires: secret.expires,
            last_used: used.and_then(|seconds| Timestamp::from_second(*seconds).ok()),
            created_at: secret.created_at,
            created_by: secret.created_by.clone(),
            id,
        }
    }
}

/// A source with its newest secret, which is shown this once.
#[derive(Serialize, ToSchema)]
#[schema(as = SourceWithSecret)]
pub(super) struct WithSecret {
    #[serde(flatten)]
    source: SourceView,
    /// Which of its secrets this is.
    secret_id: String,
    /// What the sender signs with. It is never shown again.
    #[serde(serialize_with = "reveal")]
    #[schema(value_type = String)]
    secret: Zeroizing<String>,
}

fn reveal<S: Serializer>(secret: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret)
}

impl WithSecret {
    pub(super) fn new(
        source: Source,
        seen: &Seen,
        secret: Zeroizing<String>,
        now: Timestamp,
    ) -> Self {
        Self {
            secret_id: source.last_secret.to_string(),
            source: SourceView::new(source, seen, now),
            secret,
        }
    }
}

/// How a source does, as far as ingress saw.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SourceHealth)]
pub(super) struct HealthView {
    id: String,
    provider: String,
    name: String,
    disabled: bool,
    /// Over all ingresses, since each of them started; times are seconds since 1970. Null: none has seen a
    /// delivery.
    #[schema(value_type = Option<super::shape::Figures>)]
    figures: Option<SourceFigures>,
}

impl HealthView {
    pub(super) fn new(source: Source, seen: &mut BTreeMap<String, SourceFigures>) -> Self {
        Self {
            figures: seen.remove(source.id.as_str()),
            id: source.id.to_string(),
            provider: source.provider,
            name: source.name,
            disabled: source.disabled,
        }
    }
}
