//! PagerDuty at a steady rate: signed deliveries at their intended times, repeated until they are
//! accepted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tocsin_testkit::standins::pagerduty::{Incident, deliver_raw};
use tocsin_wire::ids::EventId;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::stack::{Stack, Team};

/// Before the second try; each further one waits twice as long.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// PagerDuty's pauses grow to minutes; a test has seconds.
const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// How much is sent, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Deliveries a second, over all teams in turn.
    pub per_second: u32,
    /// How long new deliveries begin.
    pub duration: Duration,
    /// How long one delivery is tried before it is given up.
    pub patience: Duration,
}

/// A delivery that got 2xx.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The event that ingress derives from it.
    pub event: EventId,
    /// Where its answer belongs.
    pub channel: String,
    /// Tries until the 2xx.
    pub attempts: u32,
    /// From the first try to the 2xx.
    pub took: Duration,
}

/// What the sender counts, while it sends and after.
#[derive(Debug, Default)]
pub struct Counts {
    /// Deliveries begun.
    pub sent: AtomicUsize,
    /// Deliveries that nobody accepted in time.
    pub given_up: AtomicUsize,
    /// Answers that were not 2xx, and tries without an answer.
    pub refused: AtomicUsize,
    accepted: Mutex<Vec<Accepted>>,
}

impl Counts {
    /// What was accepted so far.
    pub fn accepted(&self) -> Vec<Accepted> {
        self.list().clone()
    }

    /// How many were accepted so far.
    pub fn accepted_count(&self) -> usize {
        self.list().len()
    }

    pub(crate) fn add(&self, accepted: Accepted) {
        self.list().push(accepted);
    }

    fn list(&self) -> MutexGuard<'_, Vec<Accepted>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sender at work; it stops when this is dropped.
#[derive(Debug)]
pub struct Load {
    /// Its figures.
    pub counts: Arc<Counts>,
    task: JoinHandle<()>,
}

impl Load {
    /// Begins to send to `stack`, for each of `teams` in turn.
    #[expect(
        clippy::disallowed_methods,
        reason = "ends with this value; kit's Tasks are for services"
    )]
    pub fn start(stack: &Stack, teams: &[Team], rate: Rate) -> Self {
        let counts = Arc::new(Counts::default());
        let sender = Sender {
            http: stack.http.clone(),
            url: stack.ingress_url(),
            secret: stack.secrets.pagerduty.clone(),
            counts: Arc::clone(&counts),
            patience: rate.patience,
        };
        let task = tokio::spawn(send_all(sender, teams.to_vec(), rate));
        Self { counts, task }
    }

    /// Whether every delivery was accepted or given up.
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until every delivery was accepted or given up.
    ///
    /// # Errors
    /// When the sender panicked.
    pub async fn finish(mut self) -> anyhow::Result<Arc<Counts>> {
        (&mut self.task).await?;
        Ok(Arc::clone(&self.counts))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn send_all(sender: Sender, teams: Vec<Team>, rate: Rate) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate.per_second.max(1));
    // Open-loop: a delivery that was due is sent, however late the one before is.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let end = tokio::time::sleep(rate.duration);
    let mut end = std::pin::pin!(end);
    let mut teams = teams.iter().cycle();
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = &mut end => break,
            _ = ticks.tick() => {
                if let Some(team) = teams.next() {
                    running.push(sender.deliver(team));
                }
            }
            Some(()) = running.next() => {}
        }
    }
    while running.next().await.is_some() {}
}

struct Sender {
    http: reqwest::Client,
    url: String,
    secret: String,
    counts: Arc<Counts>,
    patience: Duration,
}

impl Sender {
    async fn deliver(&self, team: &Team) {
        let number = self.counts.sent.fetch_add(1, Ordering::Relaxed);
        let title = format!("{}: alert {number}", team.name);
        let incident = Incident::new(&team.pagerduty_service, &team.name, &title);
        let body = incident.body();
        let began = Instant::now();
        let mut pause = FIRST_RETRY;
        for attempts in 1.. {
            let answer = deliver_raw(&self.http, &self.url, &self.secret, body.clone()).await;
            if answer.is_ok_and(|status| status.is_success()) {
                self.counts.add(Accepted {
                    event: EventId::derive(&format!("pagerduty:shared:{}", incident.event_id)),
                    channel: team.channel.clone(),
                    attempts,
                    took: began.elapsed(),
                });
                return;
            }
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            if began.elapsed() + pause > self.patience {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_RETRY);
        }
        self.counts.given_up.fetch_add(1, Ordering::Relaxed);
    }
}
