//! One request for messages of a consumer.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::Batch;
use futures::StreamExt as _;
use tokio::time::Instant;

use crate::place::Place;

/// How long a request waits when nothing is there. The client itself forgets one five seconds after that, with
/// what nobody has read of it: later than the `ack_wait` of any reader that lets messages lie.
const WAIT: Duration = Duration::from_secs(1);

/// Until a request counts as forgotten, which a restarted server never ends: also how long a stop takes at
/// most, and how soon messages flow again.
const FORGOTTEN_AFTER: Duration = WAIT.saturating_mul(2);

/// Pause after a failed request, so that a missing server costs no busy loop.
const RETRY: Duration = Duration::from_millis(250);

/// A request that the server has not ended yet. What it sends to one that nobody reads any more would lie
/// about until its `ack_wait` is over, so each is read to its end.
pub(crate) struct Request {
    messages: Batch,
    forgotten_at: Instant,
}

impl Request {
    /// Asks for at most `most` messages; `None`, after a pause, when that cannot be.
    pub(crate) async fn make(pull: &PullConsumer, most: usize, place: &Place) -> Option<Self> {
        // The client would keep each request for the server that comes back, long after we gave up on it.
        if !place.bus.is_connected() {
            tokio::time::sleep(RETRY).await;
            return None;
        }
        let request = pull.batch().max_messages(most).expires(WAIT);
        match request.messages().await {
            Ok(messages) => Some(Self {
                messages,
                forgotten_at: Instant::now() + FORGOTTEN_AFTER,
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

    /// Ends it: what the server has sent, or sends before it has heard of the end. Answered only then, as
    /// what is given back earlier would come to this very request again.
    pub(crate) async fn rest(mut self, place: &Place) -> Vec<jetstream::Message> {
        let mut rest = Vec::new();
        while let Some(message) = self.next(place).await {
            rest.push(message);
        }
        rest
    }
}
