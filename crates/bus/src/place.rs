//! What a consumer does with a message around its handler: verify it, acknowledge it, give it up.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::AckKind;
use jiff::Timestamp;
use metrics::Counter;
use tocsin_wire::message::{self as wire, CHECKED_AT_ONCE, Headers as _, OpenError, TRACE_HEADER};
use tocsin_wire::{Subject, limits};

use crate::connect::Bus;
use crate::dead_letter::{self, Reason};
use crate::keys::Unopened;
use crate::message::{self, Delivery, Raw};

/// Retry of a message whose handler panicked or whose dead letter could not be stored.
pub(crate) const FAULT_RETRY: Duration = Duration::from_secs(2);

/// What the broker says of a message.
struct Seen {
    sequence: u64,
    attempt: u64,
    stored_at: Timestamp,
}

/// What a message is answered for with, and given up with.
pub(crate) type Answerable = (jetstream::Message, Raw);

/// What became of messages that were opened together.
#[derive(Default)]
pub(crate) struct Opened {
    /// Those whose signature holds, with what they say.
    pub(crate) verified: Vec<(Answerable, Delivery)>,
    /// Those to be given up. That takes a round trip, which the others do not wait for.
    pub(crate) refused: Vec<(Answerable, Reason)>,
}

/// One consumer as seen from its handlers.
pub(crate) struct Place {
    pub(crate) bus: Bus,
    pub(crate) stream: String,
    pub(crate) consumer: String,
    pub(crate) counts: Counts,
}

impl Place {
    pub(crate) fn new(bus: Bus, (stream, consumer): (&str, &str)) -> Self {
        Self {
            bus,
            stream: stream.to_owned(),
            consumer: consumer.to_owned(),
            counts: Counts::new((stream, consumer)),
        }
    }

    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.stream, self.consumer)
    }

    /// Opens messages that came together; at best there are [`CHECKED_AT_ONCE`].
    pub(crate) async fn open(&self, messages: impl Iterator<Item = jetstream::Message>) -> Opened {
        let mut opened = Opened::default();
        let mut seen = Vec::with_capacity(CHECKED_AT_ONCE);
        for mut message in messages {
            let raw = Raw::take(&mut message.message);
            match self.see(&message) {
                Some(Ok(said)) => seen.push((message, raw, said)),
                Some(Err(reason)) => opened.refused.push(((message, raw), reason)),
                None => {}
            }
        }
        let inner = &self.bus.inner;
        let asked: Vec<_> = seen
            .iter()
            .map(|(_, raw, said)| (raw, said.stored_at))
            .collect();
        let proven = inner.keys.open_all(&inner.jetstream, &asked).await;
        opened.verified.reserve_exact(seen.len());
        for ((message, raw, said), proven) in seen.into_iter().zip(proven) {
            let proven = match proven {
                Ok(proven) => Ok(proven),
                Err(Unopened::Refused(error)) => Err(error),
                Err(error @ Unopened::KeyOutOfReach(_)) => {
                    tracing::warn!(consumer = %self.name(), error = dead_letter::chain(&error), "a message cannot be verified yet; it will come again");
                    continue;
                }
            };
            match delivery(&raw, &said, proven) {
                Ok(delivery) => opened.verified.push(((message, raw), delivery)),
                Err(reason) => opened.refused.push(((message, raw), reason)),
            }
        }
        opened
    }

    /// What the broker says of a message, or why it is to be given up: the broker has said so too often. `None` when
    /// it says nothing, and nobody could answer for the message.
    fn see(&self, message: &jetstream::Message) -> Option<Result<Seen, Reason>> {
        let info = match message.info() {
            Ok(info) => info,
            Err(error) => {
                tracing::error!(consumer = %self.name(), %error, "a message without JetStream metadata; left alone");
                return None;
            }
        };
        let attempt = u64::try_from(info.delivered).unwrap_or(1);
        let sequence = info.stream_sequence;
        let stored_at = message::timestamp(info.published.unix_timestamp_nanos());
        if attempt > limits::MAX_DELIVERIES {
            let reason = format!("delivered {attempt} times without success");
            return Some(Err(Reason::new("attempts_exhausted", reason)));
        }
        Some(Ok(Seen {
            sequence,
            attempt,
            stored_at,
        }))
    }

    /// Acknowledges, refuses or postpones. When that fails the message comes back after its
    /// `ack_wait`, which handlers must bear anyway.
    pub(crate) async fn settle(&self, message: &jetstream::Message, how: AckKind) {
        if let Err(error) = message.ack_with(how).await {
            tracing::debug!(consumer = %self.name(), %error, "cannot acknowledge; the message will come again");
        }
    }

    /// Stores the message with its reason among the dead letters, then takes it off the stream.
    pub(crate) async fn give_up(&self, message: &jetstream::Message, raw: &Raw, reason: Reason) {
        self.counts.dead.increment(1);
        // Boxed: rare, and larger than all else here.
        match Box::pin(dead_letter::store(self, message, raw, &reason)).await {
            Ok(()) => self.settle(message, AckKind::Term).await,
            Err(error) => {
                tracing::error!(consumer = %self.name(), subject = %raw.subject, %error, "cannot store a dead letter; trying again");
                self.settle(message, AckKind::Nak(Some(FAULT_RETRY))).await;
            }
        }
    }
}

/// What a handler gets, or why none gets it.
fn delivery(
    raw: &Raw,
    seen: &Seen,
    opened: Result<wire::Opened, OpenError>,
) -> Result<Delivery, Reason> {
    let opened = opened.map_err(|error| Reason::new(error.code(), dead_letter::chain(&error)))?;
    let subject = raw.subject.parse::<Subject>().map_err(|_error| {
        let reason = format!("{:?} is not a subject of ours", raw.subject);
        Reason::new("undecodable", reason)
    })?;
    Ok(Delivery {
        subject,
        envelope: opened.envelope,
        signer: opened.service,
        sequence: seen.sequence,
        attempt: seen.attempt,
        stored_at: seen.stored_at,
        trace: raw.header(TRACE_HEADER).map(str::to_owned),
        payload_sha256: opened.payload_sha256,
        raw: raw.clone(),
    })
}

/// What became of a consumer's messages, as metrics.
pub(crate) struct Counts {
    pub(crate) done: Counter,
    pub(crate) retry: Counter,
    pub(crate) left: Counter,
    pub(crate) panic: Counter,
    dead: Counter,
}

impl Counts {
    fn new((stream, consumer): (&str, &str)) -> Self {
        let outcome = |outcome: &'static str| {
            metrics::counter!(
                "tocsin_bus_consumed_total",
                "consumer" => consumer.to_owned(), "stream" => stream.to_owned(), "outcome" => outcome
            )
        };
        Self {
            done: outcome("done"),
            retry: outcome("retry"),
            left: outcome("left"),
            panic: outcome("panic"),
            dead: outcome("dead"),
        }
    }
}
