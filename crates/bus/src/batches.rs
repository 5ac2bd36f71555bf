//! Consuming in batches, for readers that write many messages in one transaction.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::PullConsumer;
use tokio::time::Instant;

use crate::connect::Bus;
use crate::consume::{Outcome, backoff};
use crate::dead_letter::Reason;
use crate::error::BusError;
use crate::message::{Delivery, Raw};
use crate::place::Place;
use crate::request::Request;

/// How much goes into one batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Most messages.
    pub max: usize,
    /// How long the first message of a batch waits for more.
    pub wait: Duration,
}

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
        let mut reader = Reader {
            pull: self.consumer(consumer).await?,
            place: Place::new(self.clone(), consumer),
            limits,
            asked: None,
        };
        let place = Place::new(self.clone(), consumer);
        let mut stop = pin!(stop);
        let mut stopped = false;
        let mut next = Vec::new();
        while !stopped {
            let handling = handle(std::mem::take(&mut next), &place, &handler);
            let gathering = async {
                tokio::select! {
                    () = &mut stop => true,
                    () = reader.gather(&mut next) => false,
                }
            };
            ((), stopped) = tokio::join!(handling, gathering);
        }
        next.extend(reader.arrived());
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
    let (messages, deliveries) = place.open_all(gathered).await;
    let Some(attempt) = deliveries.iter().map(|delivery| delivery.attempt).max() else {
        return;
    };
    let outcome = handler(deliveries).await;
    settle(place, &messages, attempt, outcome).await;
}

/// Asks for messages and takes them as they come.
struct Reader {
    pull: PullConsumer,
    place: Place,
    limits: BatchLimits,
    /// It outlives the batch that it was made for.
    asked: Option<Request>,
}

impl Reader {
    /// Waits for the first message, then takes what comes within the limits.
    async fn gather(&mut self, gathered: &mut Vec<jetstream::Message>) {
        let mut full_at: Option<Instant> = None;
        while gathered.len() < self.limits.max {
            if self.asked.is_none() {
                self.asked = Request::make(&self.pull, self.limits.max, &self.place).await;
            }
            let Some(asked) = &mut self.asked else {
                return;
            };
            let next = asked.next(&self.place);
            let next = match full_at {
                None => next.await,
                Some(at) => match tokio::time::timeout_at(at, next).await {
                    Ok(next) => next,
                    Err(_late) => return,
                },
            };
            let Some(message) = next else {
                self.asked = None;
                return;
            };
            gathered.push(message);
            full_at.get_or_insert_with(|| Instant::now() + self.limits.wait);
        }
    }

    /// What has arrived and was not gathered.
    fn arrived(&mut self) -> Vec<jetstream::Message> {
        let asked = self.asked.as_mut();
        asked.map_or_else(Vec::new, |asked| {
            std::iter::from_fn(|| asked.arrived()).collect()
        })
    }
}

async fn settle(
    place: &Place,
    messages: &[(jetstream::Message, Raw)],
    attempt: u64,
    outcome: Outcome,
) {
    for (message, raw) in messages {
        match &outcome {
            Outcome::Done => {
                place.counts.done.increment(1);
                place.settle(message, AckKind::Ack).await;
            }
            Outcome::Retry(pause) => {
                place.counts.retry.increment(1);
                place
                    .settle(message, AckKind::Nak(Some(backoff(*pause, attempt))))
                    .await;
            }
            Outcome::Leave => place.counts.left.increment(1),
            Outcome::Reject(reason) => {
                place
                    .give_up(message, raw, Reason::new("rejected", reason.as_str()))
                    .await;
            }
        }
    }
}
