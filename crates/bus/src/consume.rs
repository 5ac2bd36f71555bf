//! Consuming: take as many as there are free slots, verify what has come at a time, hand over, acknowledge.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::PullConsumer;
use futures::stream::{self, BoxStream, SelectAll};
use futures::{FutureExt as _, StreamExt as _};
use tocsin_wire::limits;
use tocsin_wire::message::CHECKED_AT_ONCE;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::MissedTickBehavior;

use crate::connect::Bus;
use crate::dead_letter::Reason;
use crate::error::BusError;
use crate::message::Delivery;
use crate::place::{Answerable, FAULT_RETRY, Opened, Place};
use crate::request::Request;

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

/// Largest request. What is asked for has a free slot each, so that `concurrency` bounds what one process
/// holds; this bounds what an idle one keeps from the others.
const MAX_PULL: usize = 256;

/// Messages that are still to come when more are asked for. Without, the server would have nobody to send to until
/// it hears of the next request.
const ASK_AGAIN_AT: usize = MAX_PULL / 2;

/// Free slots that are worth a request beside an open one: with few, the server would hear of one for each
/// message.
const WORTH_A_REQUEST: usize = 32;

impl Bus {
    /// Hands each message of `consumer` (stream and durable name) to `handler`, at most
    /// `concurrency` at a time, until `stop` completes; then waits until what has arrived is handled.
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
        let place = Arc::new(Place::new(self.clone(), consumer));
        let mut requests = Requests {
            pull: self.consumer(consumer).await?,
            place: Arc::clone(&place),
            slots: Arc::new(Semaphore::new(concurrency)),
            open: SelectAll::new(),
            to_come: 0,
        };
        let mut hands = Hands {
            place,
            handler: Arc::new(handler),
            opening: JoinSet::new(),
            running: JoinSet::new(),
        };
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(opened) = hands.opening.join_next() => hands.begin(opened),
                arrived = requests.next_group() => hands.open(arrived),
            }
        }
        // What has arrived is still handled.
        tokio::join!(requests.give_back(), hands.finish());
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

/// A message with the slot that it was asked for.
type Arrived = (jetstream::Message, OwnedSemaphorePermit);

/// Messages that came together, opened, with their slots.
type Group = (Opened, Vec<OwnedSemaphorePermit>);

/// A request ended early; so many slots are free again.
struct Unused(usize);

/// What comes of one request.
type Arriving = BoxStream<'static, Result<Arrived, Unused>>;

/// Keeps requests open for the slots that are free.
struct Requests {
    pull: PullConsumer,
    place: Arc<Place>,
    slots: Arc<Semaphore>,
    open: SelectAll<Arriving>,
    /// Messages that were asked for and may still come.
    to_come: usize,
}

impl Requests {
    /// Waits for the next message and takes what has come with it; none when it is time to ask again. Nothing is
    /// lost when it is dropped while it waits.
    async fn next_group(&mut self) -> Vec<Arrived> {
        let mut group = Vec::new();
        group.extend(self.next().await);
        while !group.is_empty()
            && group.len() < CHECKED_AT_ONCE
            && let Some(Some(next)) = self.open.next().now_or_never()
        {
            group.extend(self.count(next));
        }
        group
    }

    /// The next message; `None` when it is time to ask again.
    async fn next(&mut self) -> Option<Arrived> {
        if let Some(permits) = self.free_slots().await {
            let asked = permits.len();
            let request = Request::make(&self.pull, asked, &self.place).await?;
            let arriving = arriving(request, permits, Arc::clone(&self.place));
            self.open.push(arriving);
            self.to_come += asked;
        }
        let next = self.open.next().await?;
        self.count(next)
    }

    fn count(&mut self, next: Result<Arrived, Unused>) -> Option<Arrived> {
        let slots = next.as_ref().map_or_else(|Unused(slots)| *slots, |_one| 1);
        self.to_come = self.to_come.saturating_sub(slots);
        next.ok()
    }

    /// Slots to ask for messages for, if it is time; as long as nothing is to come, waits for the first.
    async fn free_slots(&mut self) -> Option<Vec<OwnedSemaphorePermit>> {
        let mut permits = Vec::new();
        if self.to_come == 0 {
            permits.push(Arc::clone(&self.slots).acquire_owned().await.ok()?);
        } else if self.to_come > ASK_AGAIN_AT || self.slots.available_permits() < WORTH_A_REQUEST {
            return None;
        }
        while permits.len() < MAX_PULL
            && let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned()
        {
            permits.push(permit);
        }
        Some(permits)
    }

    /// Ends: what the server sends before it has heard of that goes back, to another instance. Only when all requests
    /// have ended, as it would come to one of them again and again.
    async fn give_back(mut self) {
        let mut unhandled = Vec::new();
        while let Some(arrival) = self.open.next().await {
            if let Ok((message, _permit)) = arrival {
                unhandled.push(message);
            }
        }
        for message in unhandled {
            self.place.settle(&message, AckKind::Nak(None)).await;
        }
    }
}

/// What is done with messages that have arrived, each group and each message as a task of its own.
struct Hands<H> {
    place: Arc<Place>,
    handler: Arc<H>,
    opening: JoinSet<Group>,
    running: JoinSet<()>,
}

impl<H, F> Hands<H>
where
    H: Fn(Delivery) -> F + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send,
{
    fn open(&mut self, arrived: Vec<Arrived>) {
        let place = Arc::clone(&self.place);
        self.opening.spawn(async move {
            let (messages, permits): (Vec<_>, Vec<_>) = arrived.into_iter().unzip();
            (place.open(messages.into_iter()).await, permits)
        });
    }

    /// Begins with each message of a group. The slots of one that was left alone are free again.
    fn begin(&mut self, opened: Result<Group, JoinError>) {
        while self.running.try_join_next().is_some() {}
        let (Opened { verified, refused }, mut permits) = match opened {
            Ok(group) => group,
            Err(error) => {
                tracing::error!(consumer = %self.place.name(), %error, "messages could not be opened; they will come again");
                return;
            }
        };
        for ((message, raw), reason) in refused {
            let (place, permit) = (Arc::clone(&self.place), permits.pop());
            self.running.spawn(async move {
                place.give_up(&message, &raw, reason).await;
                drop(permit);
            });
        }
        for (answerable, delivery) in verified {
            let (place, permit) = (Arc::clone(&self.place), permits.pop());
            // Boxed: a task has room for what it begins with until it ends.
            let (handler, delivery) = (Arc::clone(&self.handler), Box::new(delivery));
            self.running.spawn(async move {
                place.handle(answerable, delivery, handler.as_ref()).await;
                drop(permit);
            });
        }
    }

    async fn finish(mut self) {
        while let Some(opened) = self.opening.join_next().await {
            self.begin(opened);
        }
        while self.running.join_next().await.is_some() {}
    }
}

/// What comes until `request` ends.
fn arriving(request: Request, permits: Vec<OwnedSemaphorePermit>, place: Arc<Place>) -> Arriving {
    let state = Some((request, permits, place));
    let next = |state| async move {
        let (mut request, mut permits, place): (Request, Vec<_>, Arc<Place>) = state?;
        match (request.next(&place).await, permits.pop()) {
            (Some(message), Some(permit)) => {
                Some((Ok((message, permit)), Some((request, permits, place))))
            }
            (None, Some(_)) => Some((Err(Unused(permits.len() + 1)), None)),
            (_, None) => None,
        }
    };
    stream::unfold(state, next).boxed()
}

impl Place {
    async fn handle<H, F>(&self, (message, raw): Answerable, delivery: Box<Delivery>, handler: &H)
    where
        H: Fn(Delivery) -> F + Send + Sync,
        F: Future<Output = Outcome> + Send,
    {
        let attempt = delivery.attempt;
        // A handler may panic before it returns its future, so the call stands inside as well.
        let work = AssertUnwindSafe(async { handler(*delivery).await }).catch_unwind();
        let work = pin!(work);
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
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> T {
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
