//! Slack messages that follow a run while it goes on.
//!
//! Each has a task of its own, so a slow Slack never holds up a step. Only the newest content is kept;
//! updates are spaced, and the final text waits for an update in flight and then closes the gate.

use std::sync::Arc;

use tocsin_bus::BusState;
use tocsin_wire::limits;
use tocsin_wire::proto::RunRequest;
use tocsin_wire::proto::destination::Kind;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::Worker;
use crate::decide::{Assignment, RunState};
use crate::slack::client::SlackMessage;
use crate::slack::{Rendered, SlackClient, SlackError, dashboard};

/// All live messages of one run.
#[derive(Debug)]
pub(super) struct LiveMessages {
    /// Name, user and, once posted, the message of each Slack destination.
    places: Vec<Place>,
    run_id: String,
    slack: Option<Arc<SlackClient>>,
}

#[derive(Debug)]
struct Place {
    destination: String,
    user: String,
    live: Option<Live>,
}

#[derive(Debug)]
struct Live {
    content: watch::Sender<Option<Shown>>,
    gate: Arc<Mutex<Gate>>,
}

/// What to show, and when it was certain that the run is ours.
#[derive(Debug, Clone)]
struct Shown {
    content: Rendered,
    owned_at: Instant,
    /// As it was then: a broker that comes back may give the run to another worker at once.
    connection: watch::Receiver<BusState>,
}

impl Shown {
    /// A process that stood still, or whose connection was lost, may have lost the run meanwhile: it
    /// must not paint over what the new owner shows.
    fn is_certain(&self) -> bool {
        let is_unbroken = self.connection.has_changed().is_ok_and(|changed| !changed);
        is_unbroken && self.owned_at.elapsed() < limits::WORK_ACK_WAIT
    }
}

/// Held during an update; closed for good before the final one.
#[derive(Debug, Default)]
struct Gate {
    is_closed: bool,
}

impl LiveMessages {
    pub(super) fn new(
        assignment: &Assignment,
        request: &RunRequest,
        client: Option<Arc<SlackClient>>,
    ) -> Self {
        let slack = assignment.destinations.iter().filter_map(|destination| {
            let Some(Kind::Slack(slack)) = &destination.kind else {
                return None;
            };
            Some(Place {
                destination: crate::decide::destination_name(destination),
                user: slack.user.clone(),
                live: None,
            })
        });
        Self {
            places: slack.collect(),
            run_id: request.run_id.clone(),
            slack: client,
        }
    }

    /// The person whom the messages of this destination mention.
    pub(super) fn user(&self, destination: &str) -> &str {
        let mut places = self.places.iter();
        places
            .find(|place| place.destination == destination)
            .map_or("", |place| place.user.as_str())
    }

    /// After a take-over: follows the messages that the journal knows, and updates them at once.
    pub(super) fn reopen(&mut self, state: &RunState, worker: &Worker) {
        let known: Vec<(String, SlackMessage)> = self
            .places
            .iter()
            .filter_map(|place| {
                let (channel, ts) = state.first_message(&place.destination)?;
                let (channel, ts) = (channel.to_owned(), ts.to_owned());
                Some((place.destination.clone(), SlackMessage { channel, ts }))
            })
            .collect();
        for (destination, message) in known {
            self.open(&destination, message, worker, Instant::now());
        }
    }

    /// Follows a message that is there now; the next update not before `next`.
    pub(super) fn open(
        &mut self,
        destination: &str,
        message: SlackMessage,
        worker: &Worker,
        next: Instant,
    ) {
        let Some(slack) = self.slack.clone() else {
            return;
        };
        let mut places = self.places.iter_mut();
        let Some(place) = places.find(|place| place.destination == destination) else {
            return;
        };
        let (content, changes) = watch::channel(None);
        let gate = Arc::new(Mutex::new(Gate::default()));
        let follower = Follower {
            slack,
            message,
            run_id: self.run_id.clone(),
            gate: Arc::clone(&gate),
            changes,
        };
        worker
            .tasks
            .spawn_contained("slack-updates", follower.follow(next));
        place.live = Some(Live { content, gate });
    }

    /// The newest state of the run; what was not shown yet is skipped.
    pub(super) fn show(
        &self,
        state: &RunState,
        request: &RunRequest,
        connection: &watch::Receiver<BusState>,
    ) {
        if state.finished.is_some() {
            return;
        }
        for place in &self.places {
            if let Some(live) = &place.live {
                let content = dashboard(state, request, &place.user);
                let owned_at = Instant::now();
                let mut connection = connection.clone();
                connection.mark_unchanged();
                live.content.send_replace(Some(Shown {
                    content,
                    owned_at,
                    connection,
                }));
            }
        }
    }

    /// Shows nothing until the next [`LiveMessages::show`]: while an append is unanswered nobody
    /// knows whose the run is.
    pub(super) fn hide(&self) {
        for live in self.places.iter().filter_map(|place| place.live.as_ref()) {
            live.content.send_replace(None);
        }
    }

    /// The run is somebody else's: nothing more from here.
    pub(super) async fn close_all(&mut self) {
        for place in &mut self.places {
            if let Some(live) = place.live.take() {
                live.gate.lock().await.is_closed = true;
            }
        }
    }

    /// No update after this one returns.
    pub(super) async fn close(&mut self, destination: &str) {
        let mut places = self.places.iter_mut();
        let place = places.find(|place| place.destination == destination);
        if let Some(live) = place.and_then(|place| place.live.take()) {
            live.gate.lock().await.is_closed = true;
        }
    }
}

struct Follower {
    slack: Arc<SlackClient>,
    message: SlackMessage,
    run_id: String,
    gate: Arc<Mutex<Gate>>,
    changes: watch::Receiver<Option<Shown>>,
}

impl Follower {
    /// Ends when the run no longer has anything to show.
    async fn follow(mut self, mut next: Instant) -> Result<(), SlackError> {
        let interval = self.slack.limits().update_interval;
        let mut shown = None;
        while self.changes.changed().await.is_ok() {
            tokio::time::sleep_until(next).await;
            let gate = self.gate.lock().await;
            if gate.is_closed {
                return Ok(());
            }
            let newest = self.changes.borrow_and_update().clone();
            let newest = newest.filter(Shown::is_certain);
            let content = newest.map(|newest| newest.content);
            let Some(content) = content.filter(|content| Some(content) != shown.as_ref()) else {
                continue;
            };
            let updated = self
                .slack
                .update(&self.message, &content, &self.run_id)
                .await;
            drop(gate);
            next = Instant::now() + interval;
            match updated {
                Ok(()) => shown = Some(content),
                Err(
                    error @ (SlackError::Refused { .. }
                    | SlackError::Address(_)
                    | SlackError::Token { .. }),
                ) => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::debug!(%error, "a progress update will be tried again");
                    self.changes.mark_changed();
                }
            }
        }
        Ok(())
    }
}
