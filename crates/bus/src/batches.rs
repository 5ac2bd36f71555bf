//! Consuming in batches, for readers that write many messages in one transaction.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::AckKind;
use futures::StreamExt as _;
use tokio::time::Instant;

use crate::connect::Bus;
use crate::consume::{Outcome, Place, backoff};
use crate::dead_letter::Reason;
use crate::error::BusError;
use crate::message::Delivery;

/// How much goes into one batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Most messages.
    pub max: usize,
    /// How long the first message of a batch waits for more.
    pub wait: Duration,
}

/// How long a request waits when nothing is there; also how long a stop takes at most.
const IDLE_WAIT: Duration = Duration::from_secs(1);

/// Pause after a failed request.
const PULL_RETRY: Duration = Duration::from_millis(250);

impl Bus {
    /// Hands the messages of `consumer` to `handler` in batches, one batch at a time, until `stop`
    /// completes. The outcome counts for the whole batch.
    ///
    /// While one batch is handled the next is gathered, so a reader that is behind waits for the
    /// slower of the two and not for both. What is gathered at a stop goes back at once.
    pub async fn consume_batches<H, F>(
        &self,
        consumer: (&str, &str),
        limits: BatchLimits,
        stop: impl Future<Output = ()>,
        handler: H,
    ) -> Result<(), BusError>
    where
        H: Fn(Vec<Delivery>) -> F,
        F: Future<Output = Outcome>,
    {
        let pull = self.consumer(consumer).await?;
        let place = Place::new(self.clone(), consumer);
        let mut stop = pin!(stop);
        let mut stopped = false;
        let mut next = Vec::new();
        while !stopped {
            let handling = handle(std::mem::take(&mut next), &place, &handler);
            let gathering = async {
                tokio::select! {
                    () = &mut stop => true,
                    () = gather(&pull, limits, &place, &mut next) => false,
                }
            };
            ((), stopped) = tokio::join!(handling, gathering);
        }
        for message in &next {
            place.settle(message, AckKind::Nak(None)).await;
        }
        Ok(())
    }
}

/// One batch: open, handle, answer for each message.
async fn handle<H, F>(gathered: Vec<jetstream::Message>, place: &Place, handler: &H)
where
    H: Fn(Vec<Delivery>) -> F,
    F: Future<Output = Outcome>,
{
    let mut messages = Vec::with_capacity(gathered.len());
    let mut deliveries = Vec::with_capacity(gathered.len());
    for message in gathered {
        if let Some(delivery) = place.open(&message).await {
            messages.push(message);
            deliveries.push(delivery);
        }
    }
    let Some(attempt) = deliveries.iter().map(|delivery| delivery.attempt).max() else {
        return;
    };
    let outcome = handler(deliveries).await;
    settle(place, &messages, attempt, outcome).await;
}

/// Waits for the first message, then takes what comes within the limits.
async fn gather(
    pull: &jetstream::consumer::PullConsumer,
    limits: BatchLimits,
    place: &Place,
    messages: &mut Vec<jetstream::Message>,
) {
    let batch = pull
        .batch()
        .max_messages(limits.max)
        .expires(IDLE_WAIT)
        .messages()
        .await;
    let mut batch = match batch {
        Ok(batch) => batch,
        Err(error) => {
            tracing::debug!(consumer = %place.name(), %error, "cannot ask for messages; asking again");
            tokio::time::sleep(PULL_RETRY).await;
            return;
        }
    };
    let mut deadline = Instant::now() + IDLE_WAIT * 2;
    loop {
        match tokio::time::timeout_at(deadline, batch.next()).await {
            Ok(Some(Ok(message))) => {
                if messages.is_empty() {
                    deadline = Instant::now() + limits.wait;
                }
                messages.push(message);
                if messages.len() >= limits.max {
                    return;
                }
            }
            Ok(Some(Err(error))) => {
                tracing::debug!(consumer = %place.name(), %error, "request for messages ended");
                tokio::time::sleep(PULL_RETRY).await;
                return;
            }
            Ok(None) | Err(_) => return,
        }
    }
}

async fn settle(place: &Place, messages: &[jetstream::Message], attempt: u64, outcome: Outcome) {
    for message in messages {
        match &outcome {
            Outcome::Done => {
                place.count("done");
                place.settle(message, AckKind::Ack).await;
            }
            Outcome::Retry(pause) => {
                place.count("retry");
                place
                    .settle(message, AckKind::Nak(Some(backoff(*pause, attempt))))
                    .await;
            }
            Outcome::Leave => place.count("left"),
            Outcome::Reject(reason) => {
                place
                    .give_up(message, Reason::new("rejected", reason.as_str()))
                    .await;
            }
        }
    }
}
