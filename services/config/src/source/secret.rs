//! Secrets of a source: what they look like, when they count, and what a rotation does. Pure.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tocsin_wire::scheme::Scheme;
use tocsin_wire::sealed::{MAX_VALUE_BYTES, Zeroizing};
use tocsin_wire::source::{SecretForm, SourceProvider, SourceSettings};

use super::{Fault, Source, SourceRefusal};

/// Secrets of one source that count, or will count: senders know one or two at a time.
pub(crate) const MAX_SECRETS: usize = 10;
/// How long the old secrets live on after a rotation, where nothing is said: a day to set the new one.
pub(crate) const DEFAULT_OLD_EXPIRES_IN_SECONDS: u32 = 24 * 60 * 60;
/// How long they may live on at most.
pub(crate) const MAX_OLD_EXPIRES_IN_SECONDS: u32 = 90 * 24 * 60 * 60;

/// Bytes of randomness in a generated secret.
pub(crate) const GENERATED_BYTES: usize = 32;
/// Bytes of an Ed25519 public key.
const PUBLIC_KEY_BYTES: usize = 32;
/// Front of Standard Webhooks secrets, and of public keys.
const STANDARD_SECRET: &str = "whsec_";
const STANDARD_PUBLIC_KEY: &str = "whpk_";
/// User of a generated secret for Basic authentication.
const BASIC_USER: &str = "tocsin";

/// As senders show secrets: padding may be missing.
const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One secret of a source, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceSecret {
    /// Unique in its source, and never given twice.
    pub(crate) number: u32,
    /// Version of the org's secret that holds the value.
    pub(crate) version: u64,
    /// From when it counts (inclusive); `None`: it always did.
    pub(crate) not_before: Option<Timestamp>,
    /// Until when it counts (exclusive); `None`: until it is removed.
    pub(crate) expires: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
    pub(crate) created_by: String,
}

/// Whether a secret counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SourceSecretState)]
pub(crate) enum SecretState {
    /// Not yet.
    Waiting,
    /// Now.
    Live,
    /// No more.
    Expired,
}

impl SourceSecret {
    pub(crate) fn state(&self, now: Timestamp) -> SecretState {
        if self.expires.is_some_and(|until| now >= until) {
            return SecretState::Expired;
        }
        match self.not_before {
            Some(from) if now < from => SecretState::Waiting,
            _ => SecretState::Live,
        }
    }

    fn is_live(&self, now: Timestamp) -> bool {
        self.state(now) == SecretState::Live
    }
}

/// How a secret joins the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rotation {
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) expires: Option<Timestamp>,
    /// How long those that count now live on after the new one counts.
    pub(crate) old_expires_in_seconds: u32,
}

/// What a rotation does to the secrets that are there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rotated {
    /// Number of the new one.
    pub(crate) number: u32,
    /// Those that expired before: they go.
    pub(crate) removed: Vec<u32>,
    /// Those that stay, as they are from now on.
    pub(crate) kept: Vec<SourceSecret>,
}

impl Source {
    /// What becomes of the secrets when another one joins them at `now`. None ever lives longer than it
    /// did, and the old ones last until the new one counts, however far off that is.
    pub(crate) fn rotated(
        &self,
        rotation: &Rotation,
        now: Timestamp,
    ) -> Result<Rotated, SourceRefusal> {
        check_times(rotation, now)?;
        let expired = |secret: &&SourceSecret| secret.state(now) == SecretState::Expired;
        let removed: Vec<u32> = self
            .secrets
            .iter()
            .filter(expired)
            .map(|secret| secret.number)
            .collect();
        let mut kept: Vec<SourceSecret> = self.secrets.clone();
        kept.retain(|secret| !removed.contains(&secret.number));
        if kept.len() >= MAX_SECRETS {
            let id = self.id.clone();
            return Err(SourceRefusal::TooManySecrets { id });
        }
        let counts_from = rotation.not_before.unwrap_or(now).max(now);
        let lasting = SignedDuration::from_secs(i64::from(rotation.old_expires_in_seconds));
        let end = counts_from.checked_add(lasting).unwrap_or(Timestamp::MAX);
        for secret in kept.iter_mut().filter(|secret| secret.is_live(now)) {
            secret.expires = Some(secret.expires.map_or(end, |own| own.min(end)));
        }
        Ok(Rotated {
            number: self.last_secret.saturating_add(1),
            removed,
            kept,
        })
    }

    /// Refuses to remove the only secret that counts, unless nothing is taken anyway.
    pub(crate) fn may_remove(&self, number: u32, now: Timestamp) -> Result<(), SourceRefusal> {
        let id = || self.id.clone();
        let found = self.secrets.iter().find(|secret| secret.number == number);
        let found = found.ok_or_else(|| SourceRefusal::UnknownSecret { id: id(), number })?;
        let mut others = self.secrets.iter().filter(|one| one.number != number);
        if self.disabled || !found.is_live(now) || others.any(|other| other.is_live(now)) {
            return Ok(());
        }
        Err(SourceRefusal::LastSecret { id: id(), number })
    }
}

fn check_times(rotation: &Rotation, now: Timestamp) -> Result<(), Fault> {
    if rotation.old_expires_in_seconds > MAX_OLD_EXPIRES_IN_SECONDS {
        return Err(Fault::new(
            "invalid_expiry",
            "old_expires_in_seconds",
            format!("must be at most {MAX_OLD_EXPIRES_IN_SECONDS} (90 days)"),
        ));
    }
    let Some(expires) = rotation.expires else {
        return Ok(());
    };
    if expires > now && rotation.not_before.is_none_or(|from| from < expires) {
        return Ok(());
    }
    Err(Fault::new(
        "invalid_expiry",
        "expires",
        "must be in the future and after not_before",
    ))
}

/// What secrets look like: as the source's scheme says, else as its provider's does.
fn form(provider: &SourceProvider, settings: &SourceSettings) -> SecretForm {
    match &settings.scheme {
        None => provider.secret,
        Some(Scheme::StandardWebhooks) => SecretForm::StandardWebhooks,
        Some(Scheme::Sns) => SecretForm::TopicArn,
        Some(_) => SecretForm::Text,
    }
}

/// A new secret of the form that the source's scheme takes, of these random bytes.
pub(crate) fn generated_secret(
    provider: &SourceProvider,
    settings: &SourceSettings,
    random: &[u8; GENERATED_BYTES],
) -> Result<Zeroizing<String>, Fault> {
    let text = match form(provider, settings) {
        SecretForm::StandardWebhooks => format!("{STANDARD_SECRET}{}", STANDARD.encode(random)),
        SecretForm::Text if settings.scheme == Some(Scheme::Basic) => {
            format!("{BASIC_USER}:{}", tocsin_wire::signing::hex(random))
        }
        SecretForm::Text => tocsin_wire::signing::hex(random),
        SecretForm::TopicArn => return Err(no_topic()),
    };
    Ok(Zeroizing::new(text))
}

fn no_topic() -> Fault {
    Fault::new(
        "invalid_secret",
        "secret",
        "must be the ARN of the topic that may send, as AWS shows it: arn:aws:sns:<region>:<account>:<topic>",
    )
}

/// Whether ingress can verify with this secret. The fault never repeats it.
pub(crate) fn check_secret(
    provider: &SourceProvider,
    settings: &SourceSettings,
    secret: &str,
) -> Result<(), Fault> {
    let fault = |rule: &str| Err(Fault::new("invalid_secret", "secret", rule));
    if secret.is_empty() || secret.len() > MAX_VALUE_BYTES {
        return fault("must be 1 to 65536 bytes");
    }
    if secret.trim() != secret || secret.chars().any(char::is_control) {
        return fault(
            "must have no spaces or line ends at its ends and no control characters; copy it again",
        );
    }
    match form(provider, settings) {
        SecretForm::StandardWebhooks if !is_standard_secret(secret) => {
            return fault(
                "must be whsec_ and base64, or whpk_ and a public key of 32 bytes in base64, as the sender shows it",
            );
        }
        SecretForm::TopicArn if !is_topic(secret) => return Err(no_topic()),
        _ => {}
    }
    if settings.scheme == Some(Scheme::Basic) && !secret.contains(':') {
        return fault("must be user:password for Basic authentication");
    }
    Ok(())
}

/// `whsec_` may be missing, as some senders show it without.
fn is_standard_secret(secret: &str) -> bool {
    if let Some(key) = secret.strip_prefix(STANDARD_PUBLIC_KEY) {
        let decoded = LENIENT_BASE64.decode(key);
        return decoded.is_ok_and(|bytes| bytes.len() == PUBLIC_KEY_BYTES);
    }
    let text = secret.strip_prefix(STANDARD_SECRET).unwrap_or(secret);
    let decoded = LENIENT_BASE64.decode(text).map(Zeroizing::new);
    decoded.is_ok_and(|bytes| !bytes.is_empty())
}

/// `arn:<partition>:sns:<region>:<account>:<topic>`
fn is_topic(secret: &str) -> bool {
    let parts: Vec<&str> = secret.split(':').collect();
    matches!(parts.as_slice(), ["arn", rest @ ..] if rest.len() == 5 && rest.get(1) == Some(&"sns"))
        && parts.iter().all(|part| !part.is_empty())
}
