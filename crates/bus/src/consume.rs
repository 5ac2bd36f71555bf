//! Consuming: take as many as there are free slots, verify, hand over, acknowledge.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::PullConsumer;
use futures::{FutureExt as _, StreamExt as _};
use tocsin_wire::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::connect::Bus;
use crate::dead_letter::Reason;
use crate::error::BusError;
use crate::message::{Delivery, Raw};
use crate::place::{FAULT_RETRY, Place};

/// What a handler made of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Handled; the message is acknowledged.
    Done,
    /// Not now: something that the handler needs is missing. The pause is a minimum, it grows with
    /// the number of deliveries.
    Retry(Duration),
    /// Never: the message goes to the dead letters with this reason.
    Reject(String),
    /// Somebody else has the message now and will answer for it; nothing is sent.
    Leave,
}

/// How long one request for messages waits: also how long a stop takes at most, and how soon a
/// request that a restarted server has forgotten is made again.
const PULL_WAIT: Duration = Duration::from_secs(1);

/// Largest request; bounds what one process holds while its `ack_wait` runs.
const MAX_PULL: usize = 256;

/// Pause after a failed request for messages, so that a missing server costs no busy loop.
const PULL_RETRY: Duration = Duration::from_millis(250);

impl Bus {
    /// Hands each message of `consumer` (stream and durable name) to `handler`, at most
    /// `concurrency` at a time, until `stop` completes; then waits for the handlers that run.
    pub async fn consume<H, F>(
        &self,
        consumer: (&str, &str),
        concurrency: usize,
        stop: impl Future<Output = ()>,
        handler: H,
    ) -> Result<(), BusError>
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send,
    {
        let pull = self.consumer(consumer).await?;
        let place = Arc::new(Place::new(self.clone(), consumer));
        let handler = Arc::new(handler);
        let slots = Arc::new(Semaphore::new(concurrency));
        let mut running = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            let permits = tokio::select! {
                () = &mut stop => break,
                permits = free_slots(&slots) => permits,
            };
            let Some(permits) = permits else { break };
            while running.try_join_next().is_some() {}
            let stopped = pull_once(
                &pull,
                permits,
                &place,
                &handler,
                &mut running,
                stop.as_mut(),
            )
            .await;
            if stopped {
                break;
            }
        }
        while running.join_next().await.is_some() {}
        Ok(())
    }

    pub(crate) async fn consumer(
        &self,
        (stream, name): (&str, &str),
    ) -> Result<PullConsumer, BusError> {
        let found = self
            .inner
            .jetstream
            .get_consumer_from_stream(name, stream)
            .await;
        found.map_err(|error| {
            BusError::request(format!("looking up consumer {stream}/{name}"), error)
        })
    }
}

/// Waits for one free slot, then takes every other that is free as well.
async fn free_slots(slots: &Arc<Semaphore>) -> Option<Vec<OwnedSemaphorePermit>> {
    let mut permits = vec![Arc::clone(slots).acquire_owned().await.ok()?];
    while permits.len() < MAX_PULL {
        match Arc::clone(slots).try_acquire_owned() {
            Ok(permit) => permits.push(permit),
            Err(_none_free) => break,
        }
    }
    Some(permits)
}

/// One request for as many messages as there are permits. `true` when `stop` completed.
async fn pull_once<H, F>(
    pull: &PullConsumer,
    mut permits: Vec<OwnedSemaphorePermit>,
    place: &Arc<Place>,
    handler: &Arc<H>,
    running: &mut JoinSet<()>,
    mut stop: impl Future<Output = ()> + Unpin,
) -> bool
where
    H: Fn(Delivery) -> F + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send,
{
    let batch = pull
        .batch()
        .max_messages(permits.len())
        .expires(PULL_WAIT)
        .messages()
        .await;
    let mut batch = match batch {
        Ok(batch) => batch,
        Err(error) => {
            tracing::debug!(consumer = %place.name(), %error, "cannot ask for messages; asking again");
            tokio::time::sleep(PULL_RETRY).await;
            return false;
        }
    };
    let mut stopped = false;
    // A request that the server forgot (it restarted) must not hold the slots for ever.
    let deadline = tokio::time::sleep(PULL_WAIT.saturating_mul(2));
    let mut deadline = pin!(deadline);
    loop {
        let next = tokio::select! {
            () = &mut stop, if !stopped => {
                stopped = true;
                continue;
            }
            () = &mut deadline => None,
            next = batch.next() => next,
        };
        match next {
            None => return stopped,
            Some(Err(error)) => {
                tracing::debug!(consumer = %place.name(), %error, "request for messages ended");
                tokio::time::sleep(PULL_RETRY).await;
                return stopped;
            }
            // What arrives after the stop goes back at once, to another instance.
            Some(Ok(message)) if stopped => place.settle(&message, AckKind::Nak(None)).await,
            Some(Ok(message)) => {
                let permit = permits.pop();
                let (place, handler) = (Arc::clone(place), Arc::clone(handler));
                running.spawn(async move {
                    place.handle(message, handler.as_ref()).await;
                    drop(permit);
                });
            }
        }
    }
}

impl Place {
    async fn handle<H, F>(&self, mut message: jetstream::Message, handler: &H)
    where
        H: Fn(Delivery) -> F + Send + Sync,
        F: Future<Output = Outcome> + Send,
    {
        let raw = Raw::take(&mut message.message);
        let Some(delivery) = self.open(&message, &raw).await else {
            return;
        };
        let attempt = delivery.attempt;
        // A handler may panic before it returns its future, so the call stands inside as well.
        let work = AssertUnwindSafe(async { handler(delivery).await }).catch_unwind();
        let outcome = self.with_heartbeats(&message, work).await;
        match outcome {
            Ok(Outcome::Done) => {
                self.counts.done.increment(1);
                self.settle(&message, AckKind::Ack).await;
            }
            Ok(Outcome::Retry(pause)) => {
                self.counts.retry.increment(1);
                self.settle(&message, AckKind::Nak(Some(backoff(pause, attempt))))
                    .await;
            }
            Ok(Outcome::Leave) => self.counts.left.increment(1),
            Ok(Outcome::Reject(reason)) => {
                self.give_up(&message, &raw, Reason::new("rejected", reason))
                    .await;
            }
            Err(panic) => {
                self.counts.panic.increment(1);
                let text = panic_text(panic.as_ref());
                tracing::error!(consumer = %self.name(), subject = %raw.subject, attempt, panic = %text, "a handler panicked");
                if attempt >= limits::MAX_PANICS {
                    self.give_up(&message, &raw, Reason::new("handler_panicked", text))
                        .await;
                } else {
                    self.settle(&message, AckKind::Nak(Some(FAULT_RETRY))).await;
                }
            }
        }
    }

    /// Runs `work`, telling the server every second that the message is in good hands.
    async fn with_heartbeats<T>(
        &self,
        message: &jetstream::Message,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        let mut beat = tokio::time::interval(limits::PROGRESS_INTERVAL);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat.tick().await;
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = beat.tick() => {
                    if let Err(error) = message.ack_with(AckKind::Progress).await {
                        tracing::debug!(consumer = %self.name(), %error, "cannot send a sign of life");
                    }
                }
            }
        }
    }
}

/// The handler's pause, doubled for each earlier delivery up to [`limits::MAX_RETRY_DELAY`].
pub(crate) fn backoff(pause: Duration, attempt: u64) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(16);
    pause
        .saturating_mul(2_u32.saturating_pow(doublings))
        .min(limits::MAX_RETRY_DELAY.max(pause))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let second = Duration::from_secs(1);
        for (pause, attempt, expected) in [
            (second, 1, second),
            (second, 3, second * 4),
            (second, 60, limits::MAX_RETRY_DELAY),
            (second, u64::MAX, limits::MAX_RETRY_DELAY),
            (second * 90, 1, second * 90),
        ] {
            assert_eq!(backoff(pause, attempt), expected, "{pause:?} {attempt}");
        }
    }
}
