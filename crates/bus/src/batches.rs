//! Consuming in batches, for readers that write many messages in one transaction.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::Batch;
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;

use crate::connect::Bus;
use crate::consume::{Outcome, backoff};
use crate::dead_letter::Reason;
use crate::error::BusError;
use crate::message::{Delivery, Raw};
use crate::place::Place;

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
    asked: Option<Asked>,
}

/// A request that the server has not ended yet. It outlives the batch that it was made for: what the
/// server sends to a request that nobody reads any more would lie about until its `ack_wait` is over.
struct Asked {
    messages: Batch,
    /// A server that was restarted never ends it.
    forgotten_at: Instant,
}

impl Reader {
    /// Waits for the first message, then takes what comes within the limits.
    async fn gather(&mut self, gathered: &mut Vec<jetstream::Message>) {
        let mut full_at: Option<Instant> = None;
        loop {
            let Some(asked) = self.asked().await else {
                return;
            };
            let until = full_at.unwrap_or(asked.forgotten_at);
            // What has arrived is taken first, however late it is.
            match tokio::time::timeout_at(until, asked.messages.next()).await {
                Ok(Some(Ok(message))) => gathered.push(message),
                Ok(Some(Err(error))) => {
                    tracing::debug!(consumer = %self.place.name(), %error, "request for messages ended");
                    self.asked = None;
                    tokio::time::sleep(PULL_RETRY).await;
                    return;
                }
                Ok(None) => {
                    self.asked = None;
                    return;
                }
                Err(_late) => {
                    if full_at.is_none() {
                        self.asked = None;
                    }
                    return;
                }
            }
            if gathered.len() >= self.limits.max {
                return;
            }
            full_at.get_or_insert_with(|| Instant::now() + self.limits.wait);
        }
    }

    /// The request that is open, or a new one.
    async fn asked(&mut self) -> Option<&mut Asked> {
        if self.asked.is_none() {
            let request = self.pull.batch().max_messages(self.limits.max);
            match request.expires(IDLE_WAIT).messages().await {
                Ok(messages) => {
                    self.asked = Some(Asked {
                        messages,
                        forgotten_at: Instant::now() + IDLE_WAIT * 2,
                    });
                }
                Err(error) => {
                    tracing::debug!(consumer = %self.place.name(), %error, "cannot ask for messages; asking again");
                    tokio::time::sleep(PULL_RETRY).await;
                }
            }
        }
        self.asked.as_mut()
    }

    /// What has arrived and was not gathered.
    fn arrived(&mut self) -> Vec<jetstream::Message> {
        let mut arrived = Vec::new();
        while let Some(asked) = &mut self.asked
            && let Some(Some(Ok(message))) = asked.messages.next().now_or_never()
        {
            arrived.push(message);
        }
        arrived
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
