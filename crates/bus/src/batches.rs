//! Consuming in batches, for readers that write many messages in one transaction.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::PullConsumer;
use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use tocsin_wire::message::CHECKED_AT_ONCE;
use tokio::time::Instant;

use crate::connect::Bus;
use crate::consume::{Outcome, backoff};
use crate::dead_letter::Reason;
use crate::error::BusError;
use crate::message::Delivery;
use crate::place::{Answerable, Place};
use crate::request::Request;

/// How much goes into one batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Most messages.
    pub max: usize,
    /// How long the first message of a batch waits for more.
    pub wait: Duration,
}

/// Batches that are handled at a time: while one waits for the database, the next is verified.
const BATCHES_IN_HAND: usize = 2;

impl Bus {
    /// Hands the messages of `consumer` to `handler` in batches, two at a time, until `stop` completes. The
    /// outcome counts for the whole batch.
    ///
    /// Meanwhile the next is gathered, so a reader that is behind waits for the slowest of its steps and
    /// not for all of them. What nobody has begun at a stop goes back within a second or two.
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
            gathered: Vec::new(),
            full_at: None,
        };
        let place = Place::new(self.clone(), consumer);
        let mut stop = pin!(stop);
        let mut handling = FuturesUnordered::new();
        let mut is_ready = false;
        loop {
            if is_ready && handling.len() < BATCHES_IN_HAND {
                handling.push(handle(reader.take(), &place, &handler));
                is_ready = false;
            }
            tokio::select! {
                // First the stop: a batch that ends with it makes room for another, which nobody may begin then.
                biased;
                () = &mut stop => break,
                Some(()) = handling.next() => {}
                () = reader.gather(), if !is_ready => is_ready = true,
            }
        }
        let giving_back = async {
            for message in reader.rest().await {
                place.settle(&message, AckKind::Nak(None)).await;
            }
        };
        let finishing = async { while handling.next().await.is_some() {} };
        tokio::join!(giving_back, finishing);
        Ok(())
    }
}

/// One batch: open, handle, answer for each message.
async fn handle<H, F>(gathered: Vec<jetstream::Message>, place: &Place, handler: &H)
where
    H: Fn(Vec<Delivery>) -> F,
    F: Future<Output = Outcome>,
{
    let (mut messages, mut deliveries) = (
        Vec::with_capacity(gathered.len()),
        Vec::with_capacity(gathered.len()),
    );
    let mut refused = Vec::new();
    let mut gathered = gathered.into_iter();
    while gathered.len() > 0 {
        let opened = place.open(gathered.by_ref().take(CHECKED_AT_ONCE)).await;
        for (message, delivery) in opened.verified {
            messages.push(message);
            deliveries.push(delivery);
        }
        refused.extend(opened.refused);
    }
    let giving_up = refused
        .into_iter()
        .map(async |((message, raw), reason)| place.give_up(&message, &raw, reason).await);
    let handling = async {
        let attempt = deliveries.iter().map(|delivery| delivery.attempt).max();
        if let Some(attempt) = attempt {
            let outcome = handler(deliveries).await;
            settle(place, &messages, attempt, outcome).await;
        }
    };
    tokio::join!(join_all(giving_up), handling);
}

/// Asks for messages and takes them as they come.
struct Reader {
    pull: PullConsumer,
    place: Place,
    limits: BatchLimits,
    /// It outlives the batch that it was made for.
    asked: Option<Request>,
    gathered: Vec<jetstream::Message>,
    /// When what is gathered waits for no more.
    full_at: Option<Instant>,
}

impl Reader {
    /// Waits for the first message, then takes what comes within the limits. Nothing is lost when it is dropped
    /// while it waits.
    async fn gather(&mut self) {
        while self.gathered.len() < self.limits.max {
            if self.asked.is_none() {
                self.asked = Request::make(&self.pull, self.limits.max, &self.place).await;
            }
            let Some(asked) = &mut self.asked else {
                continue;
            };
            let next = asked.next(&self.place);
            let next = match self.full_at {
                None => next.await,
                Some(at) => match tokio::time::timeout_at(at, next).await {
                    Ok(next) => next,
                    Err(_late) => return,
                },
            };
            match next {
                Some(message) => {
                    self.gathered.push(message);
                    let until = || Instant::now() + self.limits.wait;
                    self.full_at.get_or_insert_with(until);
                }
                None => self.asked = None,
            }
        }
    }

    /// What is gathered, for the next to be gathered.
    fn take(&mut self) -> Vec<jetstream::Message> {
        self.full_at = None;
        std::mem::take(&mut self.gathered)
    }

    /// What is gathered, and what was asked for and comes all the same.
    async fn rest(mut self) -> Vec<jetstream::Message> {
        let mut rest = self.take();
        if let Some(asked) = self.asked {
            rest.extend(asked.rest(&self.place).await);
        }
        rest
    }
}

async fn settle(place: &Place, messages: &[Answerable], attempt: u64, outcome: Outcome) {
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
