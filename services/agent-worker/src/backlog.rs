//! Moves waiting runs into the work queue: one after each finished run, and the rest by a sweep.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tocsin_bus::{Bus, BusError, Change, Moved, QueueBook};
use tocsin_kit::{ErrorChain, Stop};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::{OrgId, OrgLimits, Pool, QueueLimits, TeamId};
use tokio::sync::{mpsc, watch};

/// Finished runs whose team waits to be looked at; as many as end within one sweep.
pub(crate) const FREED: usize = 1_024;
/// Between two sweeps, plus a part that differs between processes so that they do not race.
const SWEEP: Duration = Duration::from_millis(200);
const SWEEP_SPREAD_MILLIS: u64 = 100;
/// The acknowledgement that frees the place is on its way when the team is looked at.
const ACK_PAUSES: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(5),
    Duration::from_millis(25),
];

/// Moves runs up, one at a time.
pub(crate) struct Mover {
    bus: Bus,
    pool: Pool,
    /// How many runs each team and org may have.
    book: QueueBook,
    /// Of orgs whose runs are counted: the team that moved up last or whose run ended last. Only a hint
    /// where the circle of teams goes on; without it, it begins at the first one.
    turns: Mutex<HashMap<OrgId, TeamId>>,
}

impl Mover {
    pub(crate) fn new(bus: Bus, pool: Pool) -> Self {
        Self {
            bus,
            pool,
            book: QueueBook::default(),
            turns: Mutex::default(),
        }
    }

    /// Keeps the limits of all teams in memory; `known` turns true once all of them are.
    pub(crate) async fn watch_limits(&self, stop: Stop, known: watch::Sender<bool>) {
        let teams = self.bus.bucket("teams");
        let observe = |change| match change {
            Change::CaughtUp => {
                known.send_replace(true);
            }
            Change::Put { key, entry } => self.put(&key, entry.envelope.body),
            Change::Removed { key } => {
                if let Some((org, team)) = tenant(&key) {
                    self.book.remove(&org, &team);
                }
            }
        };
        teams.watch(stop.soft(), observe).await;
    }

    fn put(&self, key: &str, body: Option<Body>) {
        let Some((org, team)) = tenant(key) else {
            return;
        };
        let limits = match body {
            Some(Body::TeamRecord(record)) => serde_json::from_slice(&record.effective_config)
                .map(|effective| QueueLimits::read(&effective))
                .ok(),
            _ => None,
        };
        if limits.is_none() {
            tracing::error!(
                key,
                "the bucket teams holds something that is no team's config; its runs have the default limits"
            );
        }
        self.book.put(&org, &team, limits.unwrap_or_default());
    }

    /// Moves one run of the team, or where the org's runs are counted, of the team of the org whose turn it
    /// is. `ended`: the team's run has just ended.
    async fn move_one(&self, org: &OrgId, team: &TeamId, ended: bool) -> Result<Moved, BusError> {
        let is_counted = self.book.read(org, OrgLimits::shares_running);
        if !is_counted {
            return self.bus.move_backlog(&self.pool, org, team).await;
        }
        let last = self.turns().get(org).cloned();
        let after = if ended { Some(team.clone()) } else { last };
        let moving = self
            .bus
            .move_in_turn(&self.pool, org, &self.book, after.as_ref());
        let (moved, whose) = moving.await?;
        if let Some(last) = whose.or(after) {
            self.turns().insert(org.clone(), last);
        }
        Ok(moved)
    }

    fn turns(&self) -> MutexGuard<'_, HashMap<OrgId, TeamId>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tenant(key: &str) -> Option<(OrgId, TeamId)> {
    let (org, team) = key.split_once('.')?;
    Some((OrgId::new(org).ok()?, TeamId::new(team).ok()?))
}

/// After each finished run, the next one.
pub(crate) async fn follow(
    mover: Arc<Mover>,
    mut known: watch::Receiver<bool>,
    mut freed: mpsc::Receiver<(OrgId, TeamId)>,
    stop: Stop,
) -> Result<(), BusError> {
    // The sender lives as long as its watch, which ends with the soft stop.
    let _ended = known.wait_for(|known| *known).await.map(|_known| ());
    while let Some(Some((org, team))) = stop.until_hard(freed.recv()).await {
        for pause in ACK_PAUSES {
            tokio::time::sleep(pause).await;
            match mover.move_one(&org, &team, true).await {
                Ok(Moved::WindowFull) => {}
                Ok(Moved::Admitted | Moved::Empty | Moved::Overtaken) => break,
                Err(error) => {
                    tracing::debug!(%org, %team, error = %ErrorChain(&error), "cannot move a waiting run; the sweep will");
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Everybody who waits, every quarter of a second.
pub(crate) async fn sweep(
    mover: Arc<Mover>,
    mut known: watch::Receiver<bool>,
    instance: String,
    stop: Stop,
) -> Result<(), BusError> {
    let _ended = known.wait_for(|known| *known).await.map(|_known| ());
    let mut hasher = DefaultHasher::new();
    instance.hash(&mut hasher);
    let pause = SWEEP + Duration::from_millis(hasher.finish() % SWEEP_SPREAD_MILLIS);
    let mut failing = false;
    while stop.until_soft(tokio::time::sleep(pause)).await.is_some() {
        match sweep_once(&mover).await {
            Ok(()) => failing = false,
            Err(error) if failing => {
                tracing::debug!(error = %ErrorChain(&error), "cannot sweep the backlog");
            }
            Err(error) => {
                // Once per outage: the bus itself says when it is away.
                failing = true;
                tracing::warn!(error = %ErrorChain(&error), "cannot sweep the backlog; trying again");
            }
        }
    }
    Ok(())
}

async fn sweep_once(mover: &Mover) -> Result<(), BusError> {
    for (org, team, waiting) in mover.bus.waiting_teams(&mover.pool).await? {
        for _ in 0..waiting {
            if mover.move_one(&org, &team, false).await? != Moved::Admitted {
                break;
            }
        }
    }
    Ok(())
}
