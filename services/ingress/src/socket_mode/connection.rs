//! One connection, from hello to its end: envelopes in, acknowledgements out.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt as _};
use tocsin_kit::http_client::{Received, WebSocket, WebSocketError};
use tocsin_kit::{ErrorChain, Stop};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::frame::{Envelope, Farewell, Frame};
use crate::error::Rejection;
use crate::intake::{Incoming, Intake, Proof};
use crate::provider::Answer;
use crate::source::Source;

/// How an event says that it came this way.
const SCHEME: &str = "socket_mode";
/// Envelopes in hand on one connection; the next one is read when one of them is answered. Each takes a
/// few milliseconds, and Slack's busiest apps get some hundred a second.
const MAX_IN_FLIGHT: usize = 64;
/// Silence after which we ask for a sign of life. Slack pings every few seconds.
const PING_AFTER: Duration = Duration::from_secs(15);
/// Silence after which the connection counts as dead.
const DEAD_AFTER: Duration = Duration::from_secs(30);
/// How long a connection that was replaced is still read: Slack ends one about ten seconds after its
/// warning, and what it sent before comes on it.
const LINGER: Duration = Duration::from_secs(15);

/// Where envelopes go.
#[derive(Clone)]
pub(super) struct Destination {
    pub(super) source: Arc<Source>,
    pub(super) intake: Arc<Intake>,
}

/// Why another connection is needed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Leaving {
    /// It is still read.
    #[error("Slack is about to end the connection")]
    Warned(Farewell),
    #[error("Slack closed the connection")]
    Closed,
    #[error("Slack closed the connection with code {code} {words:?}")]
    ClosedWith { code: u16, words: String },
    #[error("the connection to Slack broke")]
    Broken(#[source] WebSocketError),
    #[error("nothing came from Slack for {} s", DEAD_AFTER.as_secs())]
    Silent,
}

impl Leaving {
    /// For metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Warned(Farewell::Refresh) => "refresh",
            Self::Warned(Farewell::TooMany) => "too_many",
            Self::Warned(Farewell::Disabled) => "disabled",
            Self::Closed | Self::ClosedWith { .. } => "closed",
            Self::Broken(_) => "broken",
            Self::Silent => "silent",
        }
    }
}

/// An open connection that said hello.
pub(super) struct Connection {
    pub(super) socket: WebSocket,
    pub(super) destination: Destination,
    /// Told once, as soon as another connection is needed.
    pub(super) leaving: Option<oneshot::Sender<Leaving>>,
    /// The process ends: what is in hand is finished, and nothing more is read.
    pub(super) stop: Stop,
    /// Another connection has taken over.
    pub(super) replaced: Stop,
}

/// What woke a connection.
enum Woken {
    Received(Result<Received, WebSocketError>),
    Answered(Option<String>),
    Replaced,
    Time,
}

impl Connection {
    /// Reads until the connection ends or the process does. What was read by then is finished, and
    /// acknowledged if it can be.
    pub(super) async fn run(mut self) {
        let destination = self.destination.clone();
        let mut in_flight = FuturesUnordered::new();
        let mut pulse = Pulse::new(Instant::now());
        let mut closing_at = None;
        loop {
            let wake_at = closing_at.map_or(pulse.due(), |at: Instant| at.min(pulse.due()));
            let may_read = in_flight.len() < MAX_IN_FLIGHT;
            let woken = tokio::select! {
                biased;
                () = self.stop.soft() => break,
                Some(answer) = in_flight.next() => Woken::Answered(answer),
                received = self.socket.next(), if may_read => Woken::Received(received),
                () = self.replaced.soft(), if closing_at.is_none() => Woken::Replaced,
                () = tokio::time::sleep_until(wake_at) => Woken::Time,
            };
            let now = Instant::now();
            let lasting = match woken {
                Woken::Answered(answer) => self.acknowledge(answer).await,
                Woken::Received(received) => {
                    pulse.heard(now);
                    self.received(received).map(|envelope| {
                        in_flight.extend(envelope.map(|envelope| destination.take(envelope)));
                    })
                }
                Woken::Replaced => {
                    closing_at = Some(now + LINGER);
                    Ok(())
                }
                Woken::Time if closing_at.is_some_and(|at| at <= now) => break,
                // While too many are in hand nothing is read, and silence says nothing.
                Woken::Time if !may_read => {
                    pulse.heard(now);
                    Ok(())
                }
                Woken::Time => match pulse.check(now) {
                    Life::Assumed => Ok(()),
                    Life::Asked => self.socket.ping().await.map_err(Leaving::Broken),
                    Life::Lost => Err(Leaving::Silent),
                },
            };
            if let Err(why) = lasting {
                self.leave(why);
                break;
            }
        }
        self.finish(in_flight).await;
    }

    /// Waits for what is in hand, acknowledges it while that can be, and says goodbye.
    async fn finish(mut self, mut in_flight: impl Stream<Item = Option<String>> + Unpin) {
        let mut is_open = true;
        while let Some(Some(answer)) = self.stop.until_hard(in_flight.next()).await {
            if is_open {
                is_open = self.acknowledge(answer).await.is_ok();
            } else {
                count_ack(if answer.is_some() { "lost" } else { "left" });
            }
        }
        if is_open && let Err(error) = self.socket.close().await {
            tracing::debug!(error = %ErrorChain(&error), "the connection to Slack had ended already");
        }
    }

    /// The envelope that came, if it was one.
    fn received(
        &mut self,
        received: Result<Received, WebSocketError>,
    ) -> Result<Option<Envelope>, Leaving> {
        match received.map_err(Leaving::Broken)? {
            Received::Text(text) => Ok(self.read(&text)),
            Received::Alive => Ok(None),
            Received::Closed(Some((code, words))) => Err(Leaving::ClosedWith { code, words }),
            Received::Closed(None) => Err(Leaving::Closed),
        }
    }

    /// Tells the keeper once; what comes after the warning is the end that was announced.
    fn leave(&mut self, why: Leaving) {
        match self.leaving.take() {
            // The keeper is gone when the process stops.
            Some(leaving) => drop(leaving.send(why)),
            None => {
                tracing::debug!(why = %ErrorChain(&why), "a connection to Slack ended as announced");
            }
        }
    }

    /// The envelope that is to be taken, if it is one.
    fn read(&mut self, text: &[u8]) -> Option<Envelope> {
        let frame = std::str::from_utf8(text).map(Frame::read);
        let Ok(Ok(frame)) = frame else {
            count_frame("unreadable");
            tracing::warn!(
                size_bytes = text.len(),
                "a frame of Slack's Socket Mode is not JSON"
            );
            return None;
        };
        count_frame(frame.label());
        match frame {
            Frame::Envelope(envelope) => return Some(*envelope),
            Frame::Disconnect(farewell) => self.leave(Leaving::Warned(farewell)),
            Frame::Unknown { kind } => {
                let kind: String = kind.chars().take(64).collect();
                tracing::debug!(kind, "a frame of Slack's Socket Mode that is not known");
            }
            Frame::Hello { .. } => {}
        }
        None
    }

    /// `None`: Slack shall send it again.
    async fn acknowledge(&mut self, answer: Option<String>) -> Result<(), Leaving> {
        let Some(answer) = answer else {
            count_ack("left");
            return Ok(());
        };
        let sent = self.socket.send(answer).await;
        // If it did not arrive: the event is stored, and when Slack sends it again it is a duplicate.
        count_ack(if sent.is_ok() { "sent" } else { "lost" });
        sent.map_err(Leaving::Broken)
    }
}

/// Whether the other side lives.
#[derive(Debug)]
struct Pulse {
    heard: Instant,
    is_asked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// It was heard not long ago, or has still time to answer.
    Assumed,
    /// It shall be asked now.
    Asked,
    Lost,
}

impl Pulse {
    fn new(now: Instant) -> Self {
        Self {
            heard: now,
            is_asked: false,
        }
    }

    fn heard(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// When to look again.
    fn due(&self) -> Instant {
        self.heard
            + if self.is_asked {
                DEAD_AFTER
            } else {
                PING_AFTER
            }
    }

    fn check(&mut self, now: Instant) -> Life {
        if now < self.due() {
            return Life::Assumed;
        }
        if self.is_asked {
            return Life::Lost;
        }
        self.is_asked = true;
        Life::Asked
    }
}

impl Destination {
    /// Stores what an envelope holds. Gives what Slack shall read, once that is stored or can never be;
    /// nothing where it shall send it again.
    async fn take(&self, envelope: Envelope) -> Option<String> {
        let started = Instant::now();
        match self.store(&envelope, started).await {
            Ok(answer) => Some(envelope.answer(&answer)),
            Err(rejection) => {
                let now = self.intake.now();
                let took = started.elapsed();
                self.source
                    .count_refusal(&rejection, Some(&envelope.body), now, took);
                let is_settled = !comes_again(&rejection);
                is_settled.then(|| envelope.answer(&Answer::Empty))
            }
        }
    }

    async fn store(&self, envelope: &Envelope, started: Instant) -> Result<Answer, Rejection> {
        let source = &self.source;
        source.admits(None)?;
        let limit = source.max_body;
        if envelope.body.len() > limit {
            return Err(Rejection::BodyTooLarge { limit });
        }
        let endpoint = source.provider.endpoint(envelope.kind.path());
        let endpoint = endpoint.ok_or(Rejection::UnknownSource)?;
        let incoming = Incoming {
            headers: &envelope.headers,
            body: &envelope.body,
            sender: None,
        };
        let proof = Proof::Connection(SCHEME);
        let taking = self
            .intake
            .take_proven(source, endpoint, incoming, proof, started);
        Box::pin(taking).await
    }
}

/// Whether an envelope is left without an answer, so that Slack sends it again: when the trouble is ours, or
/// passes. What can never be read is acknowledged: sent again it would be no better, and Slack turns off
/// the events of an app that leaves too many unanswered.
fn comes_again(rejection: &Rejection) -> bool {
    rejection.is_ours() || matches!(rejection, Rejection::Limited(_))
}

pub(super) fn count_frame(kind: &'static str) {
    metrics::counter!("tocsin_ingress_socket_frames_total", "type" => kind).increment(1);
}

fn count_ack(outcome: &'static str) {
    metrics::counter!("tocsin_ingress_socket_acks_total", "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalize::Malformed;
    use crate::provider::Throttled;

    #[test]
    fn silence_is_asked_about_once_and_then_ends_the_connection() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pulse = Pulse::new(start);
        for (seconds, heard, expected) in [
            (14, false, Life::Assumed),
            (15, false, Life::Asked),
            (16, false, Life::Assumed),
            (29, true, Life::Assumed),
            (43, false, Life::Assumed),
            (44, false, Life::Asked),
            (58, false, Life::Assumed),
            (59, false, Life::Lost),
        ] {
            if heard {
                pulse.heard(at(seconds));
            }
            assert_eq!(pulse.check(at(seconds)), expected, "{seconds} s");
            assert!(expected == Life::Lost || pulse.due() > at(seconds));
        }
    }

    #[test]
    fn only_what_passes_is_sent_again() {
        let form = || Malformed::Form {
            expected: "payload",
        };
        for (rejection, expected) in [
            (Rejection::Disconnected, true),
            (
                Rejection::Unacknowledged {
                    limit: Duration::from_millis(1),
                },
                true,
            ),
            (Rejection::Limited(Throttled::TooManyRequests), true),
            (Rejection::Limited(Throttled::Unavailable), true),
            (Rejection::Malformed(form()), false),
            (Rejection::BodyTooLarge { limit: 1 }, false),
            (Rejection::Disabled, false),
        ] {
            assert_eq!(comes_again(&rejection), expected, "{rejection}");
        }
    }
}
