//! Publishing: signed, acknowledged by the stream, with an id that makes a repeat harmless.

use std::error::Error as _;
use std::pin::pin;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::context::{PublishError as ClientError, PublishErrorKind};
use async_nats::{HeaderMap, HeaderName, Request};
use jiff::Timestamp;
use tocsin_wire::message::{self, Sealed};
use tocsin_wire::proto::Envelope;
use tocsin_wire::{Subject, limits};

use crate::acknowledgement;
use crate::connect::{ACK_TIMEOUT, Bus};
use crate::direct::stream_of;
use crate::error::{BusError, Cause};

pub(crate) const EXPECTED_SEQUENCE_HEADER: &str = "Nats-Expected-Last-Subject-Sequence";

/// The id of the stream's last message. The broker looks for repeats before it looks at this, and at
/// expected sequences before it looks for repeats.
const EXPECTED_ID_HEADER: &str = "Nats-Expected-Last-Msg-Id";

/// No message has it.
const IMPOSSIBLE_ID: &str = "none";

/// The subjects of which the expected sequence is the last one, where that is not the message's own.
const EXPECTED_SUBJECTS_HEADER: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// A message to be published.
#[derive(Debug, Clone)]
pub struct Outgoing {
    subject: Subject,
    envelope: Envelope,
    expected_sequence: Option<u64>,
    fence: Option<Fence>,
    is_impossible: bool,
    trace: Option<String>,
    patience: Duration,
}

/// What was the newest message of some subjects: whoever counted them publishes only while it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    pub(crate) subjects: String,
    pub(crate) sequence: u64,
}

impl Fence {
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        headers.insert(EXPECTED_SEQUENCE_HEADER, self.sequence.to_string());
        headers.insert(EXPECTED_SUBJECTS_HEADER, self.subjects.as_str());
    }
}

impl Outgoing {
    /// `envelope` on `subject`.
    pub fn new(subject: Subject, envelope: Envelope) -> Self {
        Self {
            subject,
            envelope,
            expected_sequence: None,
            fence: None,
            is_impossible: false,
            trace: None,
            patience: ACK_TIMEOUT,
        }
    }

    /// Only when the last message of this subject has this stream sequence; 0 for no message.
    #[must_use]
    pub fn expecting(mut self, last_subject_sequence: Option<u64>) -> Self {
        self.expected_sequence = last_subject_sequence;
        self
    }

    /// Only when nothing was stored on the subjects of `fence` since it was taken.
    #[must_use]
    pub fn fenced(mut self, fence: Fence) -> Self {
        self.fence = Some(fence);
        self
    }

    /// Never to be stored.
    pub(crate) fn impossible(mut self) -> Self {
        self.is_impossible = true;
        self
    }

    /// Given up after `patience` instead of three seconds; it may be stored all the same.
    #[must_use]
    pub fn within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// With W3C trace context.
    #[must_use]
    pub fn traced(mut self, trace: Option<String>) -> Self {
        self.trace = trace;
        self
    }
}

/// Where a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Sequence in the stream.
    pub sequence: u64,
    /// The stream already held a message with this id.
    pub duplicate: bool,
}

/// Why a message is not (known to be) in its stream.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The subject has reached its cap.
    #[error("{subject} is full")]
    SubjectFull {
        /// Which subject.
        subject: String,
    },
    /// The stream has reached its size.
    #[error("the stream of {subject} is full; raise its limit or let its readers catch up")]
    StreamFull {
        /// Which subject.
        subject: String,
    },
    /// Another writer was faster, or this very message was stored before and the answer lost.
    #[error("the last message of {subject} is not the expected one")]
    WrongSequence {
        /// Which subject.
        subject: String,
    },
    /// Not connected, or no stream leader.
    #[error("the bus is not available")]
    Unavailable {
        /// What the client said.
        #[source]
        source: Option<Cause>,
    },
    /// No answer in time: stored or not, nobody knows. Publishing again with the same id is safe.
    #[error("no acknowledgement for {subject} in time")]
    TimedOut {
        /// Which subject.
        subject: String,
    },
    /// Larger than a message may be.
    #[error("{bytes} bytes for {subject} are more than the {limit} that fit into a message")]
    TooLarge {
        /// Which subject.
        subject: String,
        /// Its payload.
        bytes: usize,
        /// What fits.
        limit: usize,
    },
    /// The server said no for another reason.
    #[error("the server refused a message on {subject}")]
    Refused {
        /// Which subject.
        subject: String,
        /// Why.
        #[source]
        source: Cause,
    },
}

impl PublishError {
    /// Whether the same publish may succeed later without anything else changing.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. } | Self::TimedOut { .. } | Self::StreamFull { .. }
        )
    }
}

/// When the server shall publish a message, as `@at <RFC 3339>`.
const SCHEDULE_HEADER: &str = "Nats-Schedule";
/// On which subject.
const SCHEDULE_TARGET_HEADER: &str = "Nats-Schedule-Target";

impl Bus {
    /// Takes one message of a window of [`tocsin_wire::rate`]: `false` when the window is full. It is
    /// empty and unsigned: nobody reads it, it only counts.
    ///
    /// # Errors
    /// When nobody knows whether it counts.
    pub async fn take(&self, window: &Subject) -> Result<bool, PublishError> {
        let subject = window.to_string();
        let taking =
            self.publish_bytes(subject, HeaderMap::new(), bytes::Bytes::new(), ACK_TIMEOUT);
        match taking.await {
            Ok(_) => Ok(true),
            Err(PublishError::SubjectFull { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Messages that lie in a window of [`tocsin_wire::rate`] now. What others take meanwhile is not among them:
    /// only [`Bus::take`] says whether there is room.
    ///
    /// # Errors
    /// When the server does not say.
    pub async fn taken(&self, window: &Subject) -> Result<u64, PublishError> {
        let counting = async {
            let (stream, text) = stream_of(window)?;
            let counts = self.subjects_of(stream, &text).await?;
            Ok(counts.into_values().sum())
        };
        counting
            .await
            .map_err(|error: BusError| PublishError::Refused {
                subject: window.to_string(),
                source: Box::new(error),
            })
    }

    /// Signs and stores a message that the server publishes at `at` on the subject it is consumed on.
    /// A message on the same subject takes the place of one that still waits.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn publish_at(
        &self,
        outgoing: Outgoing,
        at: Timestamp,
    ) -> Result<Published, PublishError> {
        let Outgoing {
            subject,
            envelope,
            trace,
            patience,
            ..
        } = outgoing;
        let target = subject.consumed_on().to_string();
        let sealed = message::seal(&envelope, &subject, &self.inner.key, trace.as_deref());
        let mut headers = header_map(sealed.headers);
        headers.insert(SCHEDULE_HEADER, format!("@at {at:.0}"));
        headers.insert(SCHEDULE_TARGET_HEADER, target);
        self.publish_bytes(sealed.subject, headers, sealed.payload, patience)
            .await
    }

    /// Signs, publishes and waits until the message is stored. Signs when it is called, so that what waits
    /// holds no more than the bytes.
    pub fn publish(
        &self,
        outgoing: Outgoing,
    ) -> impl Future<Output = Result<Published, PublishError>> + Send {
        let Outgoing {
            subject,
            envelope,
            expected_sequence,
            fence,
            is_impossible,
            trace,
            patience,
        } = outgoing;
        let sealed = message::seal(&envelope, &subject, &self.inner.key, trace.as_deref());
        let mut headers = header_map(sealed.headers);
        if let Some(sequence) = expected_sequence {
            headers.insert(EXPECTED_SEQUENCE_HEADER, sequence.to_string());
        }
        if let Some(fence) = fence {
            fence.apply(&mut headers);
        }
        if is_impossible {
            headers.insert(EXPECTED_ID_HEADER, IMPOSSIBLE_ID);
        }
        self.publish_bytes(sealed.subject, headers, sealed.payload, patience)
    }

    pub(crate) async fn publish_sealed(
        &self,
        sealed: Sealed,
        expected_sequence: Option<u64>,
    ) -> Result<Published, PublishError> {
        let mut headers = header_map(sealed.headers);
        if let Some(sequence) = expected_sequence {
            headers.insert(EXPECTED_SEQUENCE_HEADER, sequence.to_string());
        }
        self.publish_bytes(sealed.subject, headers, sealed.payload, ACK_TIMEOUT)
            .await
    }

    pub(crate) async fn publish_bytes(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: bytes::Bytes,
        patience: Duration,
    ) -> Result<Published, PublishError> {
        if payload.len() > limits::MAX_MESSAGE_BYTES {
            let (bytes, limit) = (payload.len(), limits::MAX_MESSAGE_BYTES);
            return Err(PublishError::TooLarge {
                subject,
                bytes,
                limit,
            });
        }
        if !self.is_connected() {
            // The client would buffer the message and answer when the server is back: too late for
            // whoever waits here.
            return Err(PublishError::Unavailable { source: None });
        }
        let subject = async_nats::Subject::from(subject);
        // Pinned here: who takes a future holds it twice.
        let asking = pin!(async {
            // Never closed; whoever waits here waits for the broker.
            let _place = self.inner.unacknowledged.acquire().await.ok();
            // The limit below also bounds the wait for a place.
            let request = Request::new().payload(payload).timeout(None);
            let request = request.headers(headers);
            self.inner
                .client
                .send_request(subject.clone(), request)
                .await
        });
        let asking = tokio::time::timeout(patience, self.while_connected(asking));
        let Ok(Some(answer)) = asking.await else {
            let subject = subject.to_string();
            return Err(PublishError::TimedOut { subject });
        };
        match answer {
            Ok(message) => acknowledgement::read(&subject, &message.payload),
            Err(error) => Err(acknowledgement::unanswered(subject.to_string(), error)),
        }
    }
}

fn header_map(pairs: Vec<(&'static str, String)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.insert(HeaderName::from_static(name), value);
    }
    headers
}

/// The same from a publish that the client made, whose own kinds are coarser than the server's codes.
pub(crate) fn classify(subject: String, error: ClientError) -> PublishError {
    let server = error
        .source()
        .and_then(|source| source.downcast_ref::<jetstream::Error>());
    if let Some(server) = server {
        return acknowledgement::refused(subject, server.clone());
    }
    match error.kind() {
        PublishErrorKind::TimedOut => PublishError::TimedOut { subject },
        // No responders: the stream has no leader, or is not there at all.
        PublishErrorKind::StreamNotFound
        | PublishErrorKind::BrokenPipe
        | PublishErrorKind::MaxAckPending => PublishError::Unavailable {
            source: Some(Box::new(error)),
        },
        _ => PublishError::Refused {
            subject,
            source: Box::new(error),
        },
    }
}
