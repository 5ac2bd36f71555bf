//! Where a run goes: to the workers, behind others, or nowhere.
//!
//! A team's window is the broker's own limit, and costs nothing. Where a team has a smaller number, or the
//! windows of an org's teams are together more than the org's number, the org's runs are counted before
//! each publish, and the publish is refused when the count is old ([`tocsin_bus::Counted`]): the numbers
//! hold exactly, over all routers and workers. Only the config may be old, by what a change takes to
//! arrive.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use tocsin_bus::{Bus, BusError, Counted, Fence, Outgoing, PublishError, Published};
use tocsin_wire::proto::{Envelope, Placement};
use tocsin_wire::queue::{Cap, OrgLimits};
use tocsin_wire::{OrgId, Pool, Priority, Subject, limits};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::index::Index;
use crate::owner::Owner;
use crate::publish::Cause;

/// Tries at a place that other processes take runs to; then the event is tried again after a pause.
const TRIES: usize = 50;

/// Runs of one org that is counted go one after the other within a process, so that they do not overtake
/// each other all the time; other orgs that share a turn wait some milliseconds.
const TURNS: usize = 64;

/// How long a count is good for the org's next run as well, if no other process admitted one since, which the fence
/// tells. It takes no place from who waits: a team that got room since then got it from a run that ended, and the old
/// count still holds that one's place taken. For the same reason nobody is told to wait by an old count.
const REMEMBERED: Duration = Duration::from_millis(200);

/// Where a run went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// To the workers.
    Admitted,
    /// Behind others, as so many go on already.
    Waits(Cap),
    /// Nowhere, as so many wait already.
    Full(Cap),
}

/// A run could not be placed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error("publish the run")]
    Publish(#[from] PublishError),
    #[error("count the runs of the org")]
    Count(#[from] BusError),
    #[error("other routers and workers start runs of {org} all the time; trying again")]
    Contended { org: String },
}

/// One run to be placed.
pub(crate) struct Arrival<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) priority: Priority,
    pub(crate) envelope: Envelope,
    pub(crate) cause: &'a Cause,
    /// An earlier try may have placed it.
    pub(crate) is_repeat: bool,
}

/// WORK and BACKLOG, as the router writes them.
pub(crate) struct Places {
    bus: Bus,
    turns: Vec<Mutex<Turn>>,
}

/// Whose turn it is holds this.
#[derive(Default)]
struct Turn {
    /// The latest count of an org that shares this turn, with what was admitted after it.
    remembered: Option<Remembered>,
}

struct Remembered {
    org: OrgId,
    counted: Counted,
    at: Instant,
}

impl Turn {
    fn recall(&mut self, org: &OrgId) -> Option<(Counted, Instant)> {
        let latest = self.remembered.take()?;
        let is_good = latest.org == *org && latest.at.elapsed() < REMEMBERED;
        is_good.then_some((latest.counted, latest.at))
    }
}

impl Placed {
    /// As decisions have it.
    pub(crate) fn placement(self) -> Placement {
        match self {
            Self::Admitted => Placement::Admitted,
            Self::Waits(_) => Placement::Backlog,
            Self::Full(_) => Placement::Unspecified,
        }
    }
}

impl Arrival<'_> {
    fn window(&self) -> Subject {
        Subject::WorkRun {
            pool: Pool::shared(),
            org: self.owner.org.clone(),
            team: self.owner.team.clone(),
        }
    }

    fn backlog(&self) -> Subject {
        Subject::BacklogRun {
            pool: Pool::shared(),
            org: self.owner.org.clone(),
            team: self.owner.team.clone(),
            priority: self.priority,
        }
    }

    fn on(&self, subject: Subject) -> Outgoing {
        Outgoing::new(subject, self.envelope.clone()).traced(self.cause.trace.clone())
    }
}

impl Places {
    pub(crate) fn new(bus: Bus) -> Self {
        Self {
            bus,
            turns: (0..TURNS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Puts a run into its team's window, or else into its backlog, as far as the numbers in `index` allow.
    pub(crate) async fn place(
        &self,
        index: &Index,
        arrival: &Arrival<'_>,
    ) -> Result<Placed, PlaceError> {
        let Owner { org, team } = arrival.owner;
        let (counts_running, counts_queued) = index.queues().read(org, |limits| {
            (limits.counts_running(team), limits.counts_queued(team))
        });
        let mut turn = if counts_running || counts_queued {
            self.turn(arrival.owner).await
        } else {
            None
        };
        // What was placed before counts itself: it would be told that there is no room for it.
        if arrival.is_repeat && (counts_running || counts_queued) {
            let admitted = arrival.on(arrival.window());
            if self.bus.was_published(admitted).await? {
                return Ok(Placed::Admitted);
            }
            if self
                .bus
                .was_published(arrival.on(arrival.backlog()))
                .await?
            {
                let own = index.queues().read(org, |limits| limits.team(team));
                return Ok(Placed::Waits(Cap::Team(own.team_running)));
            }
        }
        let waits = if counts_running {
            let turn = turn.as_deref_mut();
            self.admit_counted(index, arrival, turn).await?
        } else {
            let full = Cap::Team(limits::TEAM_WINDOW.unsigned_abs());
            let stored = self.store(arrival.on(arrival.window())).await?;
            stored.is_none().then_some(full)
        };
        let Some(waits) = waits else {
            return Ok(Placed::Admitted);
        };
        let full = if counts_queued {
            self.queue_counted(index, arrival).await?
        } else {
            let full = Cap::Team(limits::TEAM_BACKLOG.unsigned_abs());
            let stored = self.store(arrival.on(arrival.backlog())).await?;
            stored.is_none().then_some(full)
        };
        Ok(full.map_or(Placed::Waits(waits), Placed::Full))
    }

    /// The place of a run that has just been put into the team's backlog: it stands behind all that are as
    /// severe as it is. Others may move meanwhile, so this is the place at about that moment.
    pub(crate) async fn position(
        &self,
        owner: &Owner,
        priority: Priority,
    ) -> Result<u64, BusError> {
        let (org, team) = (&owner.org, &owner.team);
        let queue = self.bus.queue(&Pool::shared(), org, team).await?;
        let before = queue.iter().filter(|(other, _)| *other <= priority);
        Ok(before.map(|(_, count)| count).sum())
    }

    async fn admit_counted(
        &self,
        index: &Index,
        arrival: &Arrival<'_>,
        mut turn: Option<&mut Turn>,
    ) -> Result<Option<Cap>, PlaceError> {
        let Owner { org, team } = arrival.owner;
        for _ in 0..TRIES {
            let recalled = turn.as_deref_mut().and_then(|turn| turn.recall(org));
            let is_old = recalled.is_some();
            let (counted, at) = match recalled {
                Some(recalled) => recalled,
                None => {
                    let at = Instant::now();
                    (self.bus.count_admitted(&Pool::shared(), org).await?, at)
                }
            };
            let wait = |limits: &OrgLimits| counted.load.must_wait(team, limits);
            match index.queues().read(org, wait) {
                Some(_) if is_old => continue,
                Some(cap) => return Ok(Some(cap)),
                None => {}
            }
            let fence = counted.fence.clone();
            let Some(stored) = self.store_fenced(arrival, arrival.window(), fence).await? else {
                continue;
            };
            let Some(stored) = stored else {
                return Ok(Some(Cap::Team(limits::TEAM_WINDOW.unsigned_abs())));
            };
            // A repeat's sequence is not the newest.
            if let Some(turn) = turn.filter(|_| !stored.duplicate) {
                turn.remembered = Some(Remembered {
                    org: org.clone(),
                    counted: counted.and_admitted(team, stored.sequence),
                    at,
                });
            }
            return Ok(None);
        }
        let org = org.to_string();
        Err(PlaceError::Contended { org })
    }

    async fn queue_counted(
        &self,
        index: &Index,
        arrival: &Arrival<'_>,
    ) -> Result<Option<Cap>, PlaceError> {
        let Owner { org, team } = arrival.owner;
        let priority = arrival.priority;
        for _ in 0..TRIES {
            let pool = Pool::shared();
            let counted = self.bus.count_queued(&pool, org, priority).await?;
            let full = |limits: &OrgLimits| counted.load.may_not_wait(team, priority, limits);
            if let Some(cap) = index.queues().read(org, full) {
                return Ok(Some(cap));
            }
            let full = Cap::Team(limits::TEAM_BACKLOG.unsigned_abs());
            let storing = self.store_fenced(arrival, arrival.backlog(), counted.fence);
            if let Some(stored) = storing.await? {
                return Ok(stored.is_none().then_some(full));
            }
        }
        let org = org.to_string();
        Err(PlaceError::Contended { org })
    }

    /// As [`Places::store`]; `None` when the count is old.
    async fn store_fenced(
        &self,
        arrival: &Arrival<'_>,
        subject: Subject,
        fence: Fence,
    ) -> Result<Option<Option<Published>>, PublishError> {
        match self.store(arrival.on(subject).fenced(fence)).await {
            Ok(stored) => Ok(Some(stored)),
            Err(PublishError::WrongSequence { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where the run is stored, now or before; `None` when the subject is full.
    async fn store(&self, outgoing: Outgoing) -> Result<Option<Published>, PublishError> {
        match self.bus.publish(outgoing).await {
            Ok(stored_or_repeated) => Ok(Some(stored_or_repeated)),
            Err(PublishError::SubjectFull { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn turn(&self, owner: &Owner) -> Option<MutexGuard<'_, Turn>> {
        let mut hasher = DefaultHasher::new();
        owner.org.hash(&mut hasher);
        let count = u64::try_from(self.turns.len()).unwrap_or(1).max(1);
        let place = usize::try_from(hasher.finish() % count).unwrap_or(0);
        match self.turns.get(place) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        }
    }
}
