//! Whether a delivery comes from who holds the secret: one pure function per signature scheme.
//!
//! A [`Verifier`] takes the headers (all values of them) and the raw body, and says which secret matched
//! or why none did. Comparisons take the same time whatever matches: every live secret is tried against
//! every presented signature, and none is left out after a match.

mod hmac;
mod mac;
mod secret;
pub mod sns;
pub mod standard_webhooks;
mod timestamp;
mod timestamped;
mod token;

use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use tocsin_wire::scheme::Scheme;

use self::hmac::HmacVerifier;
use mac::Keys;
pub use secret::{LiveSecret, Validity};
use sns::{Certificate, Topics};
use standard_webhooks::StandardKeys;
use token::{Place, Tokens};

/// Signatures looked at in one delivery; a sender rotating its secret presents two or three.
pub const MAX_SIGNATURES: usize = 16;

/// A scheme with its secrets, ready to use.
#[derive(Clone, Debug)]
pub struct Verifier {
    kind: Kind,
    /// Secrets that this scheme has no use for.
    unusable: usize,
}

#[derive(Clone, Debug)]
enum Kind {
    Hmac(HmacVerifier),
    StandardWebhooks(StandardKeys),
    Stripe(HeaderName, Keys),
    Token(Place, Tokens),
    Sns(Topics),
}

/// A scheme that nothing can be verified by.
#[derive(Debug, thiserror::Error)]
pub enum InvalidScheme {
    #[error("{name:?} cannot be the name of a header")]
    Header {
        name: String,
        #[source]
        source: ::http::header::InvalidHeaderName,
    },
    #[error("the separator of signatures must be an ASCII character")]
    Separator,
}

impl Verifier {
    /// Of these secrets; those that the scheme cannot use are left out.
    ///
    /// # Errors
    /// When the scheme names a header that cannot be one.
    pub fn new(scheme: &Scheme, secrets: &[LiveSecret<'_>]) -> Result<Self, InvalidScheme> {
        let (kind, usable) = match scheme {
            Scheme::Hmac(scheme) => {
                let hmac = HmacVerifier::new(scheme, secrets)?;
                let usable = hmac.keys().len();
                (Kind::Hmac(hmac), usable)
            }
            Scheme::StandardWebhooks => {
                let keys = StandardKeys::new(secrets);
                let usable = keys.len();
                (Kind::StandardWebhooks(keys), usable)
            }
            Scheme::Stripe { header } => {
                let keys = Keys::of_text(secrets);
                let usable = keys.len();
                (Kind::Stripe(header_name(header)?, keys), usable)
            }
            Scheme::Token { header } => tokens(Place::Header(header_name(header)?), secrets),
            Scheme::Bearer => tokens(Place::Bearer, secrets),
            Scheme::Basic => tokens(Place::Basic, secrets),
            Scheme::Sns => {
                let topics = Topics::new(secrets);
                let usable = topics.len();
                (Kind::Sns(topics), usable)
            }
        };
        Ok(Self {
            kind,
            unusable: secrets.len().saturating_sub(usable),
        })
    }

    /// How many of the secrets are empty, or not of the form that the scheme needs.
    #[must_use]
    pub fn unusable(&self) -> usize {
        self.unusable
    }

    /// Position of the secret that a delivery was signed with, as of `now`. A signed time may be off by
    /// `tolerance` in both directions, both ends included.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
        tolerance: Duration,
    ) -> Result<usize, Refusal> {
        self.verify_with(headers, body, now, tolerance, None)
    }

    /// The certificate that must be there before a delivery can be verified, as a URL of AWS; `None` where
    /// none is needed. All else that can be checked was.
    ///
    /// # Errors
    /// Why it is not believed, whatever the certificate says.
    pub fn certificate_url(
        &self,
        body: &[u8],
        now: Timestamp,
        tolerance: Duration,
    ) -> Result<Option<String>, Refusal> {
        match &self.kind {
            Kind::Sns(topics) => sns::certificate_url(topics, body, now, tolerance).map(Some),
            _ => Ok(None),
        }
    }

    /// As [`Verifier::verify`], with the certificate that the delivery names.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn verify_with(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
        tolerance: Duration,
        certificate: Option<&Certificate>,
    ) -> Result<usize, Refusal> {
        match &self.kind {
            Kind::Hmac(hmac) => hmac.verify(headers, body, now, tolerance),
            Kind::StandardWebhooks(keys) => keys.verify(headers, body, now, tolerance),
            Kind::Stripe(header, keys) => {
                timestamped::verify(header, keys, headers, body, now, tolerance)
            }
            Kind::Token(place, tokens) => token::verify(place, tokens, headers, now),
            Kind::Sns(topics) => sns::verify(topics, certificate, body, now, tolerance),
        }
    }

    /// The sender's time of a delivery, in seconds since 1970, where the scheme signs one.
    #[must_use]
    pub fn claimed_time(&self, headers: &HeaderMap) -> Option<i64> {
        let digits = match &self.kind {
            Kind::Hmac(hmac) => headers.get(hmac.time_header()?)?.as_bytes(),
            Kind::StandardWebhooks(_) => standard_webhooks::time(headers)?.as_bytes(),
            Kind::Stripe(header, _) => timestamped::time(headers.get(header)?.as_bytes())?,
            Kind::Token(..) | Kind::Sns(_) => return None,
        };
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// Headers with which a stored delivery can be verified again; never one that holds a secret.
    #[must_use]
    pub fn kept_headers(&self) -> Vec<HeaderName> {
        match &self.kind {
            Kind::Hmac(hmac) => hmac.headers().cloned().collect(),
            Kind::StandardWebhooks(_) => standard_webhooks::HEADERS.to_vec(),
            Kind::Stripe(header, _) => vec![header.clone()],
            // A token is no header's to keep, and what SNS signs is all in the body.
            Kind::Token(..) | Kind::Sns(_) => Vec::new(),
        }
    }

    /// The header that holds the secret itself, which no event may keep, whoever else would.
    #[must_use]
    pub fn secret_header(&self) -> Option<&HeaderName> {
        match &self.kind {
            Kind::Token(Place::Header(name), _) => Some(name),
            Kind::Token(Place::Bearer | Place::Basic, _) => Some(&header::AUTHORIZATION),
            Kind::Hmac(_) | Kind::StandardWebhooks(_) | Kind::Stripe(..) | Kind::Sns(_) => None,
        }
    }
}

fn tokens(place: Place, secrets: &[LiveSecret<'_>]) -> (Kind, usize) {
    let tokens = Tokens::new(secrets);
    let usable = tokens.len();
    (Kind::Token(place, tokens), usable)
}

fn header_name(name: &str) -> Result<HeaderName, InvalidScheme> {
    name.parse().map_err(|source| InvalidScheme::Header {
        name: name.to_owned(),
        source,
    })
}

/// Why a delivery is not believed. The code is all that the sender hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// No secret holds now: nothing can be believed.
    #[error(
        "no usable signing secret is configured here; set one of the form that the sender shows"
    )]
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
    /// No token where the scheme has it.
    #[error("the header with the secret token is missing; is one set at the sender?")]
    MissingToken,
    /// A token, and not ours.
    #[error("the token is not the one set here")]
    WrongToken,
    /// A topic that is not among those allowed here.
    #[error("the topic is not among those that are allowed here (SNS_TOPIC_ARNS)")]
    UnknownTopic,
    /// No certificate of AWS, or not of this time.
    #[error("the signing certificate is none of Amazon SNS, or does not hold now")]
    UntrustedCertificate,
    /// Well-formed and wrong.
    #[error("the signature does not match; is the secret the one set at the sender?")]
    BadSignature,
}

impl Refusal {
    /// Whether another secret might have verified the delivery.
    #[must_use]
    pub const fn is_about_secrets(self) -> bool {
        matches!(
            self,
            Self::MissingSecret | Self::WrongToken | Self::UnknownTopic | Self::BadSignature
        )
    }

    /// Every reason, for metrics that are registered beforehand.
    pub const ALL: [Self; 14] = [
        Self::MissingSecret,
        Self::MissingSignature,
        Self::InvalidSignatureFormat,
        Self::MissingId,
        Self::MissingTimestamp,
        Self::MalformedTimestamp,
        Self::StaleTimestamp,
        Self::FutureTimestamp,
        Self::DuplicateHeader,
        Self::MissingToken,
        Self::WrongToken,
        Self::UnknownTopic,
        Self::UntrustedCertificate,
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
            Self::MissingToken => "missing_token",
            Self::WrongToken => "wrong_token",
            Self::UnknownTopic => "unknown_topic",
            Self::UntrustedCertificate => "untrusted_certificate",
            Self::BadSignature => "bad_signature",
        }
    }
}

/// The one value of a header, `None` when it is missing; twice is refused.
pub(crate) fn single<'a>(
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
