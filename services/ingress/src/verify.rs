//! Whether a delivery comes from who holds the secret: one pure function per signature scheme.
//!
//! Each takes the headers (all values of them), the raw body and the live keys, and says which key
//! matched or why none did. Comparisons take the same time whatever matches: every key is tried
//! against every presented signature, and no key is left out after a match.

pub mod github;
mod mac;
pub mod pagerduty;
pub mod slack;
pub mod standard_webhooks;
mod timestamp;

use http::{HeaderMap, HeaderName, HeaderValue};

pub use mac::Keys;

/// Signatures looked at in one delivery; a sender rotating its secret presents two or three.
pub const MAX_SIGNATURES: usize = 16;

/// Why a delivery is not believed. The code is all that the sender hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// No secret is configured: nothing can be believed.
    #[error("no signing secret is configured for this provider; set one")]
    MissingSecret,
    /// No signature header.
    #[error("the signature header is missing; is a secret set at the sender?")]
    MissingSignature,
    /// No signature that this scheme knows how to read, or too many of them.
    #[error("the signature header is not of the form that this provider uses")]
    InvalidSignatureFormat,
    /// No header that names the message.
    #[error("the header with the message's id is missing")]
    MissingId,
    /// No timestamp header.
    #[error("the timestamp header is missing")]
    MissingTimestamp,
    /// Not 1 to 12 ASCII digits.
    #[error("the timestamp header is not a whole number of seconds")]
    MalformedTimestamp,
    /// Older than the tolerance: a replay, or a clock that is wrong.
    #[error("the timestamp is too old; are both clocks right?")]
    StaleTimestamp,
    /// Newer than the tolerance.
    #[error("the timestamp is in the future; are both clocks right?")]
    FutureTimestamp,
    /// A header that must be unique came twice: proxies disagree on which one counts.
    #[error("a header that must be unique came more than once")]
    DuplicateHeader,
    /// Well-formed and wrong.
    #[error("the signature does not match; is the secret the one set at the sender?")]
    BadSignature,
}

impl Refusal {
    /// Every reason, for metrics that are registered beforehand.
    pub const ALL: [Self; 10] = [
        Self::MissingSecret,
        Self::MissingSignature,
        Self::InvalidSignatureFormat,
        Self::MissingId,
        Self::MissingTimestamp,
        Self::MalformedTimestamp,
        Self::StaleTimestamp,
        Self::FutureTimestamp,
        Self::DuplicateHeader,
        Self::BadSignature,
    ];

    /// Stable code for answers, logs and metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::MissingSecret => "missing_secret",
            Self::MissingSignature => "missing_signature",
            Self::InvalidSignatureFormat => "invalid_signature_format",
            Self::MissingId => "missing_id",
            Self::MissingTimestamp => "missing_timestamp",
            Self::MalformedTimestamp => "malformed_timestamp",
            Self::StaleTimestamp => "stale_timestamp",
            Self::FutureTimestamp => "future_timestamp",
            Self::DuplicateHeader => "duplicate_header",
            Self::BadSignature => "bad_signature",
        }
    }
}

/// The one value of a header, `None` when it is missing; twice is refused.
fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        Some(_second) => Err(Refusal::DuplicateHeader),
        None => Ok(first),
    }
}

#[cfg(test)]
mod tests;
