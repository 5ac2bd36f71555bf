//! Amazon SNS: the signature stands in the body, and the key in a certificate that the body names.
//!
//! Every customer's messages verify under the same certificates of AWS, so a signature says no more than
//! that AWS sent it: what makes a message ours is the list of topics, which is what a source has for
//! secrets. The chain above the certificate is not walked: it comes over TLS from AWS's own host (or from
//! the operator's folder), and from nowhere else.

mod certificate;
mod url;

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;

pub use certificate::{Certificate, InvalidCertificate};
pub use url::{certificate_name, is_certificate, is_confirmation};

use super::Refusal;
use super::secret::{LiveSecret, Validity};

/// SNS gives up after an hour at most; what is older was sent by somebody who kept it.
const MAX_AGE: Duration = Duration::from_secs(2 * 3600);

/// How a topic's name begins, in every partition of AWS: `arn:aws:sns:`, `arn:aws-cn:sns:` …
const ARN_PREFIX: &str = "arn:aws";

/// Live topics.
#[derive(Clone, Debug)]
pub(super) struct Topics(Vec<Topic>);

#[derive(Clone, Debug)]
struct Topic {
    arn: String,
    position: usize,
    validity: Validity,
}

impl Topics {
    /// What is no name of a topic is left out.
    pub(super) fn new(secrets: &[LiveSecret<'_>]) -> Self {
        let topics = secrets.iter().enumerate();
        let topics = topics.filter(|(_, secret)| is_topic(secret.text));
        let topics = topics.map(|(position, secret)| Topic {
            arn: secret.text.to_owned(),
            position,
            validity: secret.validity,
        });
        Self(topics.collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn position(&self, arn: &str, now: Timestamp) -> Result<usize, Refusal> {
        let mut live = self.0.iter().filter(|topic| topic.validity.holds(now));
        let Some(first) = live.next() else {
            return Err(Refusal::MissingSecret);
        };
        let mut live = std::iter::once(first).chain(live);
        let known = live.find(|topic| topic.arn == arn);
        known
            .map(|topic| topic.position)
            .ok_or(Refusal::UnknownTopic)
    }
}

/// `arn:aws:sns:eu-west-1:123456789012:oncall`
fn is_topic(text: &str) -> bool {
    let mut parts = text.split(':');
    text.starts_with(ARN_PREFIX) && parts.nth(2) == Some("sns") && parts.count() == 3
}

/// What of a message is signed, and by whom. Stricter than what reads it later: a field of another type,
/// or given twice, is refused.
#[derive(Debug, Deserialize)]
struct Message<'a> {
    #[serde(rename = "Type", borrow)]
    kind: Cow<'a, str>,
    #[serde(rename = "MessageId", borrow)]
    id: Cow<'a, str>,
    #[serde(rename = "TopicArn", borrow)]
    topic: Cow<'a, str>,
    #[serde(rename = "Message", borrow)]
    message: Cow<'a, str>,
    #[serde(rename = "Subject", borrow, default)]
    subject: Option<Cow<'a, str>>,
    #[serde(rename = "Timestamp", borrow)]
    timestamp: Cow<'a, str>,
    #[serde(rename = "SubscribeURL", borrow, default)]
    subscribe_url: Option<Cow<'a, str>>,
    #[serde(rename = "Token", borrow, default)]
    token: Option<Cow<'a, str>>,
    #[serde(rename = "SignatureVersion", borrow)]
    version: Cow<'a, str>,
    #[serde(rename = "Signature", borrow, default)]
    signature: Option<Cow<'a, str>>,
    #[serde(rename = "SigningCertURL", alias = "SigningCertUrl", borrow)]
    certificate_url: Cow<'a, str>,
}

impl<'a> Message<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Refusal> {
        // A slice would be let through with bytes that are no text, in fields that nobody signs.
        let text = std::str::from_utf8(body);
        let text = text.map_err(|_no_text| Refusal::InvalidSignatureFormat)?;
        serde_json::from_str(text).map_err(|_not_sns| Refusal::InvalidSignatureFormat)
    }

    /// `name\nvalue\n` of each signed field that is there, in the order of their names.
    fn signed_text(&self) -> Result<String, Refusal> {
        let fields: &[(&str, Option<&str>)] = match &*self.kind {
            "Notification" => &[
                ("Message", Some(&self.message)),
                ("MessageId", Some(&self.id)),
                ("Subject", self.subject.as_deref()),
                ("Timestamp", Some(&self.timestamp)),
                ("TopicArn", Some(&self.topic)),
                ("Type", Some(&self.kind)),
            ],
            "SubscriptionConfirmation" | "UnsubscribeConfirmation" => &[
                ("Message", Some(&self.message)),
                ("MessageId", Some(&self.id)),
                ("SubscribeURL", self.subscribe_url.as_deref()),
                ("Timestamp", Some(&self.timestamp)),
                ("Token", self.token.as_deref()),
                ("TopicArn", Some(&self.topic)),
                ("Type", Some(&self.kind)),
            ],
            _ => return Err(Refusal::InvalidSignatureFormat),
        };
        let mut text = String::new();
        for (name, value) in fields {
            if let Some(value) = value {
                for part in [name, "\n", value, "\n"] {
                    text.push_str(part);
                }
            }
        }
        Ok(text)
    }

    fn is_fresh(&self, now: Timestamp, tolerance: Duration) -> Result<(), Refusal> {
        let sent: Timestamp = self
            .timestamp
            .parse()
            .map_err(|_not_a_time| Refusal::MalformedTimestamp)?;
        let age = now.duration_since(sent);
        if age.is_negative() && age.unsigned_abs() > tolerance {
            return Err(Refusal::FutureTimestamp);
        }
        if age.is_positive() && age.unsigned_abs() > MAX_AGE.max(tolerance) {
            return Err(Refusal::StaleTimestamp);
        }
        Ok(())
    }
}

/// Where the certificate of a message is, once all else holds that can be said without it.
pub(super) fn certificate_url(
    topics: &Topics,
    body: &[u8],
    now: Timestamp,
    tolerance: Duration,
) -> Result<String, Refusal> {
    let message = Message::read(body)?;
    check(topics, &message, now, tolerance)?;
    Ok(message.certificate_url.into_owned())
}

/// Position of the topic, and nothing about the signature yet.
fn check(
    topics: &Topics,
    message: &Message<'_>,
    now: Timestamp,
    tolerance: Duration,
) -> Result<usize, Refusal> {
    let position = topics.position(&message.topic, now)?;
    message.is_fresh(now, tolerance)?;
    if is_certificate(&message.certificate_url) {
        Ok(position)
    } else {
        Err(Refusal::UntrustedCertificate)
    }
}

/// Verifies one delivery; gives the index of the topic that it came through.
pub(super) fn verify(
    topics: &Topics,
    certificate: Option<&Certificate>,
    body: &[u8],
    now: Timestamp,
    tolerance: Duration,
) -> Result<usize, Refusal> {
    let message = Message::read(body)?;
    let position = check(topics, &message, now, tolerance)?;
    let certificate = certificate.filter(|certificate| certificate.holds(now));
    let certificate = certificate.ok_or(Refusal::UntrustedCertificate)?;
    let signature = message.signature.as_deref();
    let signature = signature.ok_or(Refusal::MissingSignature)?;
    let signature = STANDARD
        .decode(signature)
        .map_err(|_not_base64| Refusal::InvalidSignatureFormat)?;
    let text = message.signed_text()?;
    let holds = match &*message.version {
        "1" => certificate.signed_with_sha1(text.as_bytes(), &signature),
        "2" => certificate.signed_with_sha256(text.as_bytes(), &signature),
        _ => return Err(Refusal::InvalidSignatureFormat),
    };
    if holds {
        Ok(position)
    } else {
        Err(Refusal::BadSignature)
    }
}

#[cfg(test)]
mod tests;
