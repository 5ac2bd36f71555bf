//! Direct reads of a stream, without a consumer.

use std::time::Duration;

use async_nats::{Message, StatusCode};
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::json;
use tocsin_wire::Subject;

use crate::connect::Bus;
use crate::dead_letter::chain;
use crate::error::BusError;
use crate::message::{NatsHeaders, Stored, rfc3339};
use tocsin_wire::message::Headers as _;

/// Messages in one answer; the server sends the rest on the next request.
const BATCH: usize = 1_000;

/// How long the server may take between two messages of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A message as a direct read returns it.
pub(crate) struct Found {
    pub(crate) message: Message,
    pub(crate) subject: String,
    pub(crate) sequence: u64,
}

impl Bus {
    /// Every message of one subject, oldest first, verified. A message whose signature does not
    /// hold is an error: a journal with a hole must not be continued.
    pub async fn replay(&self, subject: &Subject) -> Result<Vec<Stored>, BusError> {
        self.replay_after(subject, 0).await
    }

    /// The messages of one subject behind the stream sequence `after`, oldest first, verified.
    pub async fn replay_after(
        &self,
        subject: &Subject,
        after: u64,
    ) -> Result<Vec<Stored>, BusError> {
        self.read(subject, after, usize::MAX).await
    }

    /// The oldest `limit` messages of one subject, oldest first, verified.
    pub(crate) async fn first_of(
        &self,
        subject: &Subject,
        limit: usize,
    ) -> Result<Vec<Stored>, BusError> {
        self.read(subject, 0, limit).await
    }

    async fn read(
        &self,
        subject: &Subject,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Stored>, BusError> {
        let (stream, text) = stream_of(subject)?;
        let mut stored = Vec::new();
        let mut from = after + 1;
        loop {
            let batch = BATCH.min(limit.saturating_sub(stored.len()));
            if batch == 0 {
                return Ok(stored);
            }
            let request = json!({ "batch": batch, "seq": from, "next_by_subj": text });
            let (found, is_cut) = self.direct_batch(stream, &request).await?;
            for found in found {
                from = found.sequence + 1;
                stored.push(self.open_found(found).await?);
            }
            if !is_cut {
                return Ok(stored);
            }
        }
    }

    /// The newest message of one subject, verified.
    pub async fn last_of(&self, subject: &Subject) -> Result<Option<Stored>, BusError> {
        let (stream, text) = stream_of(subject)?;
        let request = json!({ "last_by_subj": text });
        let (found, _) = self.direct_batch(stream, &request).await?;
        match found.into_iter().next() {
            Some(found) => Ok(Some(self.open_found(found).await?)),
            None => Ok(None),
        }
    }

    pub(crate) async fn open_found(&self, found: Found) -> Result<Stored, BusError> {
        let headers = NatsHeaders(found.message.headers.as_ref());
        let stored_at = rfc3339(headers.header("Nats-Time-Stamp").unwrap_or_default());
        let inner = &self.inner;
        // What waits in one stream is signed for the subject on which it will be consumed.
        let subject = match found.subject.parse::<Subject>() {
            Ok(subject) => subject.consumed_on().to_string(),
            Err(_foreign) => found.subject.clone(),
        };
        let opened = inner
            .keys
            .open(
                &inner.jetstream,
                (&headers, &found.message.payload),
                &subject,
                stored_at,
            )
            .await
            .map_err(|error| {
                let operation = format!("reading message {} of {}", found.sequence, found.subject);
                BusError::request(operation, chain(&error))
            })?;
        let (envelope, signer) = (opened.envelope, opened.service);
        Ok(Stored {
            envelope,
            signer,
            sequence: found.sequence,
            stored_at,
        })
    }

    /// Whether a message with this sequence is still in WORK: its run has an owner.
    pub async fn work_message_exists(&self, sequence: u64) -> Result<bool, BusError> {
        let (found, _) = self
            .direct_batch("WORK", &json!({ "seq": sequence }))
            .await?;
        Ok(found.iter().any(|found| found.sequence == sequence))
    }

    /// One request; `true` when the server says that there is more.
    pub(crate) async fn direct_batch(
        &self,
        stream: &str,
        request: &serde_json::Value,
    ) -> Result<(Vec<Found>, bool), BusError> {
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        let payload = Bytes::from(request.to_string());
        let is_batch = request.get("batch").is_some();
        let asking = self.ask_stream(stream, (subject, payload), is_batch);
        let answer = self.while_connected(asking).await;
        answer.unwrap_or_else(|| {
            let operation = format!("reading stream {stream}");
            Err(BusError::request(operation, "the connection was lost"))
        })
    }

    /// The newest message of one subject of any stream. The subject stands in the request's own, so that
    /// the server's permissions can tell what is read.
    pub(crate) async fn last_found(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<Found>, BusError> {
        let request = format!("$JS.API.DIRECT.GET.{stream}.{subject}");
        let asking = self.ask_stream(stream, (request, Bytes::new()), false);
        Ok(asking.await?.0.into_iter().next())
    }

    async fn ask_stream(
        &self,
        stream: &str,
        (subject, payload): (String, Bytes),
        is_batch: bool,
    ) -> Result<(Vec<Found>, bool), BusError> {
        let operation = || format!("reading stream {stream}");
        let client = &self.inner.client;
        let inbox = client.new_inbox();
        let subscribed = client.subscribe(inbox.clone()).await;
        let mut answers = subscribed.map_err(|error| BusError::request(operation(), error))?;
        let sent = client.publish_with_reply(subject, inbox, payload).await;
        sent.map_err(|error| BusError::request(operation(), error))?;
        let mut found = Vec::new();
        loop {
            let next = tokio::time::timeout(ANSWER_TIMEOUT, answers.next()).await;
            let message = match next {
                Ok(Some(message)) => message,
                Ok(None) => return Err(BusError::request(operation(), "the connection closed")),
                Err(_elapsed) => {
                    return Err(BusError::request(
                        operation(),
                        "the server did not answer in time",
                    ));
                }
            };
            match status(&message) {
                None => found.push(located(message)),
                Some(204) => {
                    let pending = NatsHeaders(message.headers.as_ref())
                        .header("Nats-Num-Pending")
                        .and_then(|text| text.parse::<u64>().ok())
                        .unwrap_or(0);
                    return Ok((found, pending > 0));
                }
                Some(404) => return Ok((found, false)),
                Some(code) => {
                    let why = message.description.unwrap_or_default();
                    return Err(BusError::request(
                        operation(),
                        format!("status {code}: {why}"),
                    ));
                }
            }
            if !is_batch {
                return Ok((found, false));
            }
        }
    }
}

pub(crate) fn stream_of(subject: &Subject) -> Result<(&'static str, String), BusError> {
    use tocsin_wire::streams::{STREAMS, matches};
    let text = subject.to_string();
    let mut streams = STREAMS.iter();
    let stream = streams.find(|spec| spec.subjects.iter().any(|known| matches(known, &text)));
    match stream {
        Some(stream) => Ok((stream.name, text)),
        None => Err(BusError::Missing {
            what: format!("a stream for {text}"),
        }),
    }
}

fn status(message: &Message) -> Option<u16> {
    message
        .status
        .filter(|status| *status != StatusCode::OK)
        .map(|status| status.as_u16())
}

fn located(message: Message) -> Found {
    let headers = NatsHeaders(message.headers.as_ref());
    let subject = headers
        .header("Nats-Subject")
        .unwrap_or_default()
        .to_owned();
    let sequence = headers
        .header("Nats-Sequence")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    Found {
        subject,
        sequence,
        message,
    }
}
