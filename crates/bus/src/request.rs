//! One request for messages of a consumer.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::Batch;
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;

use crate::place::Place;

/// How long a request waits when nothing is there: also how long a stop takes at most, and how soon a
/// request that a restarted server has forgotten is made again.
const WAIT: Duration = Duration::from_secs(1);

/// Pause after a failed request, so that a missing server costs no busy loop.
const RETRY: Duration = Duration::from_millis(250);

/// A request that the server has not ended yet. What it sends to one that nobody reads any more would lie
/// about until its `ack_wait` is over, so each is read to its end.
pub(crate) struct Request {
    messages: Batch,
    /// A server that was restarted never ends it.
    forgotten_at: Instant,
}

impl Request {
    /// Asks for at most `most` messages; `None`, after a pause, when that cannot be.
    pub(crate) async fn make(pull: &PullConsumer, most: usize, place: &Place) -> Option<Self> {
        let request = pull.batch().max_messages(most);
        match request.expires(WAIT).messages().await {
            Ok(messages) => Some(Self {
                messages,
                forgotten_at: Instant::now() + WAIT * 2,
            }),
            Err(error) => {
                tracing::debug!(consumer = %place.name(), %error, "cannot ask for messages; asking again");
                tokio::time::sleep(RETRY).await;
                None
            }
        }
    }

    /// The next message; `None` when the request has ended. Nothing is lost when it is dropped while it waits.
    pub(crate) async fn next(&mut self, place: &Place) -> Option<jetstream::Message> {
        // What has arrived is taken first, however late it is.
        match tokio::time::timeout_at(self.forgotten_at, self.messages.next()).await {
            Ok(Some(Ok(message))) => Some(message),
            Ok(Some(Err(error))) => {
                tracing::debug!(consumer = %place.name(), %error, "request for messages ended");
                tokio::time::sleep(RETRY).await;
                None
            }
            Ok(None) | Err(_) => None,
        }
    }

    /// A message that has arrived.
    pub(crate) fn arrived(&mut self) -> Option<jetstream::Message> {
        self.messages.next().now_or_never()??.ok()
    }
}
