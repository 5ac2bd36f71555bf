//! Slack's Socket Mode: what Slack would post to our URLs comes over a WebSocket that we open, so that no
//! public URL is needed.
//!
//! One connection per app and process, and a second one while Slack replaces the first. An envelope goes
//! through the same limits, normalizer and publish as a request over HTTP, and is acknowledged once it is
//! stored; while the bus is away it is not, and Slack sends it again. An event that comes both ways is one
//! event: its id follows from Slack's own.
//!
//! Nothing in an envelope is signed: what proves its sender is the connection, opened with the app's token
//! to a host of Slack under TLS. Such an event says `socket_mode` where others name their secret.

mod connection;
mod frame;
mod open;

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use reqwest::Url;
use tocsin_kit::http_client::{Received, Timeouts, WebSocket};
use tocsin_kit::{Check, Context, ErrorChain, HttpClient, Secret, Stop, Tasks};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::Error;
use crate::intake::Intake;
use crate::settings::Settings;
use crate::source::Source;
use connection::{Connection, Destination, Leaving};
use frame::{Farewell, Frame};
use open::OpenError;

/// What an app-level token begins with.
const TOKEN_PREFIX: &str = "xapp-";
/// To ask for a connection, and to open it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Slack says hello within a second.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest frame; one over it breaks the connection. Slack's largest events have some hundred KB.
const MAX_FRAME_BYTES: usize = 4 << 20;
/// Before the first new try; each later one waits twice as long, with jitter.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Slack allows few openings a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Between tries that cannot succeed before somebody changes a setting.
const PERSON_PAUSE: Duration = Duration::from_secs(120);
/// A connection that lived as long was a good one: the next is opened at once.
const GOOD_AFTER: Duration = Duration::from_secs(60);

/// The connections of one app.
pub(crate) struct SocketMode {
    http: HttpClient,
    base: Url,
    token: Secret,
    check: Check,
    tasks: Tasks,
    stop: Stop,
}

impl SocketMode {
    /// One for each app token of the settings. Each has an optional check `slack_socket` (the second app's is
    /// `slack_socket_2`): without Slack the HTTP endpoints do all they can.
    pub(crate) fn of(settings: &Settings, context: &Context) -> Result<Vec<Self>, Error> {
        if settings.slack_app_token.is_empty() {
            return Ok(Vec::new());
        }
        let base = Url::parse(&settings.slack_api_url).map_err(|_odd| Error::SlackApiUrl)?;
        let timeouts = Timeouts {
            total: Some(REQUEST_TIMEOUT),
            ..Timeouts::default()
        };
        let http = HttpClient::for_web_sockets(timeouts).map_err(Error::HttpClient)?;
        http.check(&base).map_err(|_odd| Error::SlackApiUrl)?;
        let tokens = settings.slack_app_token.iter().zip(1..);
        let apps = tokens.map(|(token, position)| {
            if !token.expose().starts_with(TOKEN_PREFIX) {
                return Err(Error::SlackAppToken { position });
            }
            let name = match position {
                1 => "slack_socket".to_owned(),
                position => format!("slack_socket_{position}"),
            };
            Ok(Self {
                http: http.clone(),
                base: base.clone(),
                token: token.clone(),
                check: context.health.register_optional(&name),
                tasks: context.tasks.clone(),
                stop: context.stop.clone(),
            })
        });
        apps.collect()
    }

    /// Keeps a connection open until the stop.
    pub(crate) async fn keep(self, source: Arc<Source>, intake: Arc<Intake>) {
        let destination = Destination { source, intake };
        let mut pauses = Pauses::default();
        let mut before: Option<Stop> = None;
        loop {
            let Some(opened) = self.stop.until_soft(Box::pin(self.open())).await else {
                return;
            };
            let pause = match opened {
                Ok(socket) => {
                    self.check.ready();
                    // What it was sent before is still read.
                    if let Some(before) = before.take() {
                        before.trigger_soft();
                    }
                    let opened = Instant::now();
                    let (leaving, replaced) = self.start(socket, destination.clone());
                    before = Some(replaced);
                    let Some(leaving) = self.stop.until_soft(leaving).await else {
                        return;
                    };
                    // A connection that says nothing before it ends has panicked.
                    let leaving = leaving.unwrap_or(Leaving::Closed);
                    self.left(&leaving, opened.elapsed(), &mut pauses)
                }
                Err(error) => self.failed(&error, &mut pauses),
            };
            let pausing = self.stop.until_soft(tokio::time::sleep(pause));
            if pausing.await.is_none() {
                return;
            }
        }
    }

    /// Opens a connection, and waits for its hello.
    async fn open(&self) -> Result<WebSocket, OpenError> {
        let url = open::address(&self.http, &self.base, &self.token).await?;
        let opening = self.http.web_socket(&url, MAX_FRAME_BYTES);
        let mut socket = opening.await.map_err(OpenError::Connect)?;
        let greeting = tokio::time::timeout(HELLO_TIMEOUT, greeted(&mut socket));
        match greeting.await {
            Ok(greeted) => greeted.map(|()| socket),
            Err(_elapsed) => Err(OpenError::NoHello {
                limit: HELLO_TIMEOUT,
            }),
        }
    }

    /// Reads a connection in a task of its own: it goes on while the next one is opened.
    fn start(
        &self,
        socket: WebSocket,
        destination: Destination,
    ) -> (oneshot::Receiver<Leaving>, Stop) {
        let (leaving, told) = oneshot::channel();
        let replaced = Stop::new();
        let connection = Connection {
            socket,
            destination,
            leaving: Some(leaving),
            stop: self.stop.clone(),
            replaced: replaced.clone(),
        };
        self.tasks.spawn_contained("slack socket", async move {
            let open = metrics::gauge!("tocsin_ingress_socket_connections");
            open.increment(1);
            Box::pin(connection.run()).await;
            open.decrement(1);
            Ok::<(), Error>(())
        });
        (told, replaced)
    }

    /// How long to wait before the next connection, after one that was open for `lived`.
    fn left(&self, leaving: &Leaving, lived: Duration, pauses: &mut Pauses) -> Duration {
        if let Leaving::Warned(Farewell::Disabled) = leaving {
            return self.failed(&OpenError::TurnedOff, pauses);
        }
        let reason = leaving.reason();
        count_reconnect(reason);
        let why = ErrorChain(leaving).to_string();
        let pause = match leaving {
            Leaving::Warned(Farewell::TooMany) => pauses.next(),
            _ => pauses.after_connection(lived),
        };
        tracing::info!(
            reason,
            why,
            ?lived,
            ?pause,
            "another connection to Slack is opened"
        );
        // What Slack warned of is still open, and moved without a gap.
        if !matches!(leaving, Leaving::Warned(Farewell::Refresh)) {
            self.check.not_ready(why);
        }
        pause
    }

    /// How long to wait after a connection could not be opened.
    fn failed(&self, error: &OpenError, pauses: &mut Pauses) -> Duration {
        count_reconnect("failed");
        let pause = pauses.after_failure(error);
        let error = ErrorChain(error).to_string();
        tracing::warn!(error, ?pause, "no connection to Slack; trying again");
        self.check.not_ready(error);
        pause
    }
}

/// Waits for the hello, which Slack says first.
async fn greeted(socket: &mut WebSocket) -> Result<(), OpenError> {
    loop {
        let text = match socket.next().await.map_err(OpenError::Connect)? {
            Received::Text(text) => text,
            Received::Alive => continue,
            Received::Closed(_) => return Err(OpenError::Closed),
        };
        let frame = std::str::from_utf8(&text).map(Frame::read);
        let Ok(Ok(frame)) = frame else {
            return Err(OpenError::Form);
        };
        connection::count_frame(frame.label());
        match frame {
            Frame::Hello { app, connections } => {
                tracing::info!(app, connections, "connected to Slack");
                return Ok(());
            }
            Frame::Disconnect(Farewell::Disabled) => return Err(OpenError::TurnedOff),
            Frame::Disconnect(_) => return Err(OpenError::Closed),
            // Not before the hello; what is not acknowledged comes again.
            Frame::Envelope(_) | Frame::Unknown { .. } => {}
        }
    }
}

/// How long to wait between connections.
struct Pauses {
    growing: ExponentialBackoff,
    /// Whether a connection that ended soon may be followed by another at once: one may, a second shows
    /// that it is no accident.
    is_trusting: bool,
}

impl Default for Pauses {
    fn default() -> Self {
        let growing = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .without_max_times()
            .with_jitter();
        Self {
            growing: growing.build(),
            is_trusting: true,
        }
    }
}

impl Pauses {
    fn next(&mut self) -> Duration {
        self.growing.next().unwrap_or(LONGEST_PAUSE)
    }

    /// None after a connection that was good for a while, and after the first that was not; then Slack or
    /// something between us does not want us, and would be asked without end.
    fn after_connection(&mut self, lived: Duration) -> Duration {
        if lived >= GOOD_AFTER {
            *self = Self::default();
            return Duration::ZERO;
        }
        if std::mem::take(&mut self.is_trusting) {
            return Duration::ZERO;
        }
        self.next()
    }

    fn after_failure(&mut self, error: &OpenError) -> Duration {
        if error.needs_a_person() {
            return PERSON_PAUSE;
        }
        self.next().max(error.retry_after())
    }
}

fn count_reconnect(reason: &'static str) {
    metrics::counter!("tocsin_ingress_socket_reconnects_total", "reason" => reason).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn is_about(pause: Duration, seconds: u64) -> bool {
        let seconds = Duration::from_secs(seconds);
        (seconds..=2 * seconds).contains(&pause)
    }

    #[test]
    fn connections_that_end_soon_are_followed_ever_more_slowly() {
        let mut pauses = Pauses::default();
        assert_eq!(pauses.after_connection(Duration::ZERO), Duration::ZERO);
        for seconds in [1, 2, 4] {
            let pause = pauses.after_connection(Duration::ZERO);
            assert!(is_about(pause, seconds), "{pause:?}");
        }
        for _ in 0..1000 {
            assert!(pauses.after_connection(Duration::ZERO) <= 2 * LONGEST_PAUSE);
        }
        assert_eq!(pauses.after_connection(GOOD_AFTER), Duration::ZERO);
        assert_eq!(pauses.after_connection(Duration::ZERO), Duration::ZERO);
        assert!(is_about(pauses.after_connection(Duration::ZERO), 1));
    }

    #[test]
    fn a_failure_waits_as_long_as_slack_says_and_as_people_need() {
        let refused = OpenError::Refused {
            code: "invalid_auth".to_owned(),
        };
        let limited = OpenError::Limited { after: 3 * MINUTE };
        let mut pauses = Pauses::default();
        assert!(is_about(pauses.after_failure(&OpenError::Form), 1));
        assert_eq!(pauses.after_failure(&refused), PERSON_PAUSE);
        assert_eq!(pauses.after_failure(&limited), 3 * MINUTE);
        assert!(is_about(pauses.after_failure(&OpenError::Form), 4));
    }
}
