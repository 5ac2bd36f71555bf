//! An envelope on its way: CloudEvents 1.0 in binary mode, sealed by its writer, opened by its reader.

use std::borrow::Cow;
use std::str::FromStr as _;

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message as _;

use crate::ids::{EventId, MessageId};
use crate::keyring::{Claim, KeyRing, VerifyError};
use crate::proto::command::What;
use crate::proto::{Envelope, Event, RunRequest, SignedEnvelope, Tenant, envelope::Body};
use crate::service::Service;
use crate::signing::{Attributes, CONTENT_TYPE, Check, DATA_SCHEMA, Digest, SigningKey, digest};
use crate::subject::Subject;
use crate::time;
use crate::token::{OrgId, TeamId};

/// Header of the signature.
pub const SIGNATURE_HEADER: &str = "Tocsin-Signature";
/// Header by which JetStream drops repeats.
pub const MESSAGE_ID_HEADER: &str = "Nats-Msg-Id";
/// W3C trace context; not signed, because each hop may change it.
pub const TRACE_HEADER: &str = "traceparent";

/// Read access to whatever holds the headers of a message.
pub trait Headers {
    /// The first value of a header; names are compared exactly, as NATS does.
    fn header(&self, name: &'static str) -> Option<&str>;
}

impl Headers for [(&'static str, String)] {
    fn header(&self, name: &'static str) -> Option<&str> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Headers for Vec<(&'static str, String)> {
    fn header(&self, name: &'static str) -> Option<&str> {
        self.as_slice().header(name)
    }
}

impl Envelope {
    /// An envelope of `service`. `causation` is the message that led to it; an ingress event, which
    /// nothing led to, is its own correlation.
    pub fn new(
        id: MessageId,
        service: Service,
        at: Timestamp,
        correlation: EventId,
        causation: Option<MessageId>,
        body: Body,
    ) -> Self {
        Self {
            id: id.to_string(),
            source: service.source().to_owned(),
            time: Some(time::to_proto(at)),
            correlation_id: correlation.to_string(),
            causation_id: causation.map(|id| id.to_string()).unwrap_or_default(),
            tenant: None,
            body: Some(body),
        }
    }

    /// The same, owned by a team.
    #[must_use]
    pub fn owned_by(mut self, org: &OrgId, team: &TeamId) -> Self {
        self.tenant = Some(Tenant {
            org: org.to_string(),
            team: team.to_string(),
        });
        self
    }

    /// Its id, when it is a UUID.
    pub fn message_id(&self) -> Option<MessageId> {
        MessageId::from_str(&self.id).ok()
    }

    /// The ingress event that it follows from.
    pub fn correlation(&self) -> Option<EventId> {
        EventId::from_str(&self.correlation_id).ok()
    }

    /// When it was written.
    pub fn written_at(&self) -> Option<Timestamp> {
        self.time.as_ref().and_then(time::from_proto)
    }

    /// The ingress event inside, if it is one.
    pub fn event(&self) -> Option<&Event> {
        match &self.body {
            Some(Body::Event(event)) => Some(event),
            _ => None,
        }
    }

    /// The CloudEvents type: `tocsin.<provider>.<kind>.v1` for events, `tocsin.<message>.v1` else.
    pub fn kind(&self) -> Cow<'static, str> {
        Cow::Borrowed(match &self.body {
            Some(Body::Event(event)) => {
                return Cow::Owned(["tocsin.", &event.provider, ".", &event.kind, ".v1"].concat());
            }
            Some(Body::Decision(_)) => "tocsin.decision.v1",
            Some(Body::RunRequest(_)) => "tocsin.run_request.v1",
            Some(Body::Journal(_)) => "tocsin.journal.v1",
            Some(Body::RunStarted(_)) => "tocsin.run_started.v1",
            Some(Body::RunPost(_)) => "tocsin.run_post.v1",
            Some(Body::RunResult(_)) => "tocsin.run_result.v1",
            Some(Body::Signal(_)) => "tocsin.signal.v1",
            Some(Body::ConfigChanged(_)) => "tocsin.config_changed.v1",
            Some(Body::RoutingRecord(_)) => "tocsin.routing_record.v1",
            Some(Body::TeamRecord(_)) => "tocsin.team_record.v1",
            Some(Body::Claim(_)) => "tocsin.claim.v1",
            Some(Body::DeadLetter(_)) => "tocsin.dead_letter.v1",
            Some(Body::SecretRecord(_)) => "tocsin.secret_record.v1",
            Some(Body::SourceRecord(_)) => "tocsin.source_record.v1",
            Some(Body::SourceHealth(_)) => "tocsin.source_health.v1",
            Some(Body::Revocation(_)) => "tocsin.revocation.v1",
            Some(Body::OpenRun(_)) => "tocsin.open_run.v1",
            Some(Body::Command(_)) => "tocsin.command.v1",
            Some(Body::ReplayResult(_)) => "tocsin.replay_result.v1",
            None => "tocsin.unknown.v1",
        })
    }

    /// What it is about: the value that routes an event, the run, the node, the key.
    fn about(&self) -> &str {
        match &self.body {
            Some(Body::Event(event)) => event
                .identifiers
                .first()
                .map_or(&event.delivery_id, |first| &first.value),
            Some(Body::Decision(decision)) => &decision.event_id,
            Some(Body::RunRequest(request)) => &request.run_id,
            Some(Body::Journal(journal)) => &journal.run_id,
            Some(Body::RunStarted(started)) => &started.run_id,
            Some(Body::RunPost(post)) => &post.run_id,
            Some(Body::RunResult(result)) => &result.run_id,
            Some(Body::Signal(signal)) => &signal.run_id,
            Some(Body::ConfigChanged(change)) => &change.node,
            Some(Body::RoutingRecord(record)) => &record.value,
            Some(Body::TeamRecord(record)) => &record.team,
            Some(Body::Claim(claim)) => &claim.key,
            Some(Body::DeadLetter(dead)) => &dead.subject,
            Some(Body::SecretRecord(record)) => &record.name,
            Some(Body::SourceRecord(record)) => &record.id,
            Some(Body::SourceHealth(health)) => &health.source,
            Some(Body::Revocation(revocation)) => &revocation.token_id,
            Some(Body::OpenRun(open)) => &open.run_id,
            Some(Body::Command(command)) => match &command.what {
                Some(What::Replay(replay)) => &replay.request_id,
                None => "",
            },
            Some(Body::ReplayResult(result)) => {
                result.cause.as_ref().map_or("", |cause| &cause.request_id)
            }
            None => "",
        }
    }

    /// The attributes that are signed, as they stand in the headers.
    pub fn attributes(&self) -> Attributes<'_> {
        let tenant = self.tenant.as_ref();
        let kind = match self.kind() {
            Cow::Borrowed(plain) => Cow::Borrowed(plain),
            Cow::Owned(kind) => Cow::Owned(percent_encode(&kind).into_owned()),
        };
        Attributes {
            id: percent_encode(&self.id),
            source: percent_encode(&self.source),
            kind,
            time: self
                .written_at()
                .map(|at| at.to_string().into())
                .unwrap_or_default(),
            about: percent_encode(self.about()),
            correlation_id: percent_encode(&self.correlation_id),
            causation_id: percent_encode(&self.causation_id),
            tenant: tenant
                .map(|tenant| [&*tenant.org, "/", &tenant.team].concat().into())
                .unwrap_or_default(),
        }
    }
}

impl From<Event> for Body {
    fn from(event: Event) -> Self {
        Self::Event(Box::new(event))
    }
}

impl From<RunRequest> for Body {
    fn from(request: RunRequest) -> Self {
        Self::RunRequest(Box::new(request))
    }
}

/// Header values may hold U+0021 to U+007E; space, `"`, `%` and all else is percent-encoded.
fn percent_encode(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| (0x21..=0x7e).contains(&byte) && byte != b'"' && byte != b'%';
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if is_plain(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push_str(&crate::signing::hex(&[byte]).to_ascii_uppercase());
        }
    }
    Cow::Owned(encoded)
}

/// A message that is ready to be published.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// Where it is published.
    pub subject: String,
    /// All headers, signature included.
    pub headers: Vec<(&'static str, String)>,
    /// Encoded envelope.
    pub payload: Bytes,
}

/// Signs `envelope` for `subject`, or for the subject that it will move to.
pub fn seal(
    envelope: &Envelope,
    subject: &Subject,
    key: &SigningKey,
    trace: Option<&str>,
) -> Sealed {
    let payload = Bytes::from(envelope.encode_to_vec());
    let attributes = envelope.attributes();
    let published_on = subject.to_string();
    let payload_sha256 = digest(&payload);
    let signature = match subject.consumed_on() {
        Cow::Borrowed(_same) => key.sign(&attributes, &published_on, &payload_sha256),
        Cow::Owned(later) => key.sign(&attributes, &later.to_string(), &payload_sha256),
    };
    let mut headers = header_list(attributes);
    headers.push((SIGNATURE_HEADER, signature));
    if let Some(trace) = trace {
        headers.push((TRACE_HEADER, trace.to_owned()));
    }
    Sealed {
        subject: published_on,
        headers,
        payload,
    }
}

fn header_list(attributes: Attributes<'_>) -> Vec<(&'static str, String)> {
    let mut headers = Vec::with_capacity(14);
    headers.push((MESSAGE_ID_HEADER, attributes.id.clone().into_owned()));
    headers.push(("ce-specversion", "1.0".to_owned()));
    headers.push(("ce-id", attributes.id.into_owned()));
    headers.push(("ce-source", attributes.source.into_owned()));
    headers.push(("ce-type", attributes.kind.into_owned()));
    headers.push(("ce-time", attributes.time.into_owned()));
    headers.push(("ce-subject", attributes.about.into_owned()));
    headers.push(("ce-datacontenttype", CONTENT_TYPE.to_owned()));
    headers.push(("ce-dataschema", DATA_SCHEMA.to_owned()));
    headers.push(("correlationid", attributes.correlation_id.into_owned()));
    for (name, value) in [
        ("causationid", attributes.causation_id),
        ("tenant", attributes.tenant),
    ] {
        if !value.is_empty() {
            headers.push((name, value.into_owned()));
        }
    }
    headers
}

/// A message whose signature held.
#[derive(Debug, Clone)]
pub struct Opened {
    /// What it says.
    pub envelope: Envelope,
    /// Who signed it.
    pub service: Service,
    /// SHA-256 of the payload, which the signature covers.
    pub payload_sha256: Digest,
}

/// Why a message was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Forged, foreign or unsigned.
    #[error("the signature does not hold")]
    Signature(#[source] VerifyError),
    /// Signed, but not an envelope.
    #[error("the payload is not a tocsin.v1.Envelope")]
    Undecodable(#[source] prost::DecodeError),
    /// A header says something else than the body.
    #[error("header {header} says {said:?}, the body {expected:?}")]
    HeaderMismatch {
        /// Which header.
        header: &'static str,
        /// Its value.
        said: String,
        /// What the body implies.
        expected: String,
    },
}

impl OpenError {
    /// Stable code for dead letters and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Signature(_) => "signature_invalid",
            Self::Undecodable(_) => "undecodable",
            Self::HeaderMismatch { .. } => "header_mismatch",
        }
    }
}

/// Verifies and decodes a message consumed on `subject` and stored by the server at `at`.
///
/// Verification uses the headers as they came, so that a reader older than the writer still can;
/// then the headers must say what the body says.
pub fn open(
    subject: &str,
    headers: &impl Headers,
    payload: &Bytes,
    ring: &KeyRing,
    at: Timestamp,
) -> Result<Opened, OpenError> {
    claim(subject, headers, payload, ring, at)?.open()
}

/// A message of which all is known but whether its signature holds.
#[derive(Debug)]
pub struct Claimed<'a> {
    signed: Attributes<'a>,
    payload: &'a Bytes,
    payload_sha256: Digest,
    claim: Claim,
}

/// All of [`open`] that must come before the arithmetic.
pub fn claim<'a>(
    subject: &str,
    headers: &'a impl Headers,
    payload: &'a Bytes,
    ring: &KeyRing,
    at: Timestamp,
) -> Result<Claimed<'a>, OpenError> {
    let signed = attributes_from(headers);
    let payload_sha256 = digest(payload);
    let claim = ring
        .claim(
            headers.header(SIGNATURE_HEADER),
            &signed,
            subject,
            &payload_sha256,
            at,
        )
        .map_err(OpenError::Signature)?;
    Ok(Claimed {
        signed,
        payload,
        payload_sha256,
        claim,
    })
}

/// Signatures that are checked together: half the price of each by itself. More are hardly cheaper, and one wrong one
/// costs all of them a second look. Two are a little cheaper already; one is dearer.
pub const CHECKED_AT_ONCE: usize = 32;

/// Verifies and decodes many, each as [`open`] would, in their order.
pub fn open_all(claimed: Vec<Claimed<'_>>) -> Vec<Result<Opened, OpenError>> {
    let mut opened = Vec::with_capacity(claimed.len());
    let mut rest = claimed.into_iter().peekable();
    while rest.peek().is_some() {
        let some: Vec<Claimed<'_>> = rest.by_ref().take(CHECKED_AT_ONCE).collect();
        let checks: Vec<&Check> = some.iter().map(|one| one.claim.check()).collect();
        let all_hold = checks.len() > 1 && Check::all_hold(&checks);
        opened.extend(some.into_iter().map(|one| match all_hold {
            true => one.accept(),
            false => one.open(),
        }));
    }
    opened
}

impl Claimed<'_> {
    fn open(self) -> Result<Opened, OpenError> {
        self.claim.prove().map_err(OpenError::Signature)?;
        self.accept()
    }

    /// The signature holds: now it may be decoded.
    fn accept(self) -> Result<Opened, OpenError> {
        let envelope = Envelope::decode(self.payload.clone()).map_err(OpenError::Undecodable)?;
        same_as_body(&self.signed, &envelope)?;
        Ok(Opened {
            envelope,
            service: self.claim.service(),
            payload_sha256: self.payload_sha256,
        })
    }
}

fn attributes_from(headers: &impl Headers) -> Attributes<'_> {
    let value = |name| Cow::Borrowed(headers.header(name).unwrap_or_default());
    Attributes {
        id: value("ce-id"),
        source: value("ce-source"),
        kind: value("ce-type"),
        time: value("ce-time"),
        about: value("ce-subject"),
        correlation_id: value("correlationid"),
        causation_id: value("causationid"),
        tenant: value("tenant"),
    }
}

/// A type this reader does not know yet has a name of its own; all else must agree.
fn same_as_body(signed: &Attributes<'_>, envelope: &Envelope) -> Result<(), OpenError> {
    let body = envelope.attributes();
    let pairs = [
        ("ce-id", &signed.id, &body.id),
        ("ce-source", &signed.source, &body.source),
        ("ce-time", &signed.time, &body.time),
        (
            "correlationid",
            &signed.correlation_id,
            &body.correlation_id,
        ),
        ("causationid", &signed.causation_id, &body.causation_id),
        ("tenant", &signed.tenant, &body.tenant),
    ];
    let mismatch = pairs
        .into_iter()
        .find(|(_, said, expected)| said != expected);
    let kind = ("ce-type", &signed.kind, &body.kind);
    let mismatch =
        mismatch.or_else(|| (envelope.body.is_some() && signed.kind != body.kind).then_some(kind));
    match mismatch {
        None => Ok(()),
        Some((header, said, expected)) => Err(OpenError::HeaderMismatch {
            header,
            said: said.to_string(),
            expected: expected.to_string(),
        }),
    }
}

/// Signs `envelope` as the value of a key: watches show no headers, so the signature goes inside.
pub fn seal_value(envelope: &Envelope, subject: &Subject, key: &SigningKey) -> Bytes {
    let body = Bytes::from(envelope.encode_to_vec());
    let signature = key.sign(&envelope.attributes(), &subject.to_string(), &digest(&body));
    Bytes::from(
        SignedEnvelope {
            envelope: body,
            signature,
        }
        .encode_to_vec(),
    )
}

/// Verifies and decodes the value of a key, written at `at`.
pub fn open_value(
    subject: &str,
    value: &Bytes,
    ring: &KeyRing,
    at: Timestamp,
) -> Result<Opened, OpenError> {
    let signed = SignedEnvelope::decode(value.clone()).map_err(OpenError::Undecodable)?;
    let envelope = Envelope::decode(signed.envelope.clone()).map_err(OpenError::Undecodable)?;
    let payload_sha256 = digest(&signed.envelope);
    let service = ring
        .claim(
            Some(&signed.signature),
            &envelope.attributes(),
            subject,
            &payload_sha256,
            at,
        )
        .and_then(|claim| claim.prove())
        .map_err(OpenError::Signature)?;
    Ok(Opened {
        envelope,
        service,
        payload_sha256,
    })
}

#[cfg(test)]
mod tests;
