//! Counting an org's runs, so that what is decided by the count is still true when it is published.
//!
//! The counts come from the streams themselves, never from a process: no restart and no number of
//! replicas makes them wrong. They are taken after a [`Fence`], the newest message of all the org's
//! subjects; a publish under that fence is refused when another run got in meanwhile. Runs that ended
//! meanwhile only make more room.

use std::collections::{BTreeMap, HashMap};
use std::sync::{PoisonError, RwLock};

use jiff::Timestamp;
use serde_json::json;
use tocsin_wire::queue::{OrgLimits, OrgLoad, QueueLimits};
use tocsin_wire::{OrgId, Pool, Priority, Subject, TeamId};

use crate::connect::Bus;
use crate::error::BusError;
use crate::message::Stored;
use crate::publish::{Fence, Outgoing, PublishError};

/// An org's runs at one moment.
#[derive(Debug, Clone)]
pub struct Counted {
    /// How many of which team are where.
    pub load: OrgLoad,
    /// Holds until another run of the org is stored where they were counted.
    pub fence: Fence,
}

impl Counted {
    /// The same with one more admitted run of `team`, stored at `sequence` under this fence.
    #[must_use]
    pub fn and_admitted(mut self, team: &TeamId, sequence: u64) -> Self {
        self.load.teams.entry(team.clone()).or_default().running += 1;
        self.fence.sequence = sequence;
        self
    }
}

/// A run that waits.
#[derive(Debug, Clone)]
pub struct Queued {
    /// The severity in whose order it stands.
    pub priority: Priority,
    /// Since when, and what.
    pub stored: Stored,
}

/// The limits of all teams, as a service has read them from the bucket `teams`.
#[derive(Debug, Default)]
pub struct QueueBook(RwLock<HashMap<OrgId, OrgLimits>>);

impl QueueBook {
    /// Replaces a team's.
    pub fn put(&self, org: &OrgId, team: &TeamId, limits: QueueLimits) {
        let mut orgs = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let own = orgs.entry(org.clone()).or_default();
        own.teams.insert(team.clone(), limits);
    }

    /// A team is gone.
    pub fn remove(&self, org: &OrgId, team: &TeamId) {
        let mut orgs = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = orgs.get_mut(org) {
            own.teams.remove(team);
            if own.teams.is_empty() {
                orgs.remove(org);
            }
        }
    }

    /// Reads the limits of an org; an unknown one has no teams, and each team the defaults.
    pub fn read<T>(&self, org: &OrgId, read: impl FnOnce(&OrgLimits) -> T) -> T {
        let orgs = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match orgs.get(org) {
            Some(own) => read(own),
            None => read(&OrgLimits::default()),
        }
    }
}

impl Bus {
    /// Counts an org's runs: admitted ones of all pools, and those that wait for `pool`. Their fence
    /// is around the admitted ones.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn count_admitted(&self, pool: &Pool, org: &OrgId) -> Result<Counted, BusError> {
        let fence = self.fence("WORK", format!("work.run.*.{org}.>")).await?;
        let mut load = self.count_waiting(pool, org).await?;
        for (subject, count) in self.subjects_of("WORK", &fence.subjects).await? {
            if let Subject::WorkRun { team, .. } = subject {
                load.teams.entry(team).or_default().running += count;
            }
        }
        Ok(Counted { load, fence })
    }

    /// Counts an org's runs that wait for `pool`. Their fence is around those of one priority.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn count_queued(
        &self,
        pool: &Pool,
        org: &OrgId,
        priority: Priority,
    ) -> Result<Counted, BusError> {
        let subjects = format!("backlog.run.{pool}.{org}.*.{priority}");
        let fence = self.fence("BACKLOG", subjects).await?;
        let load = self.count_waiting(pool, org).await?;
        Ok(Counted { load, fence })
    }

    pub(crate) async fn count_waiting(
        &self,
        pool: &Pool,
        org: &OrgId,
    ) -> Result<OrgLoad, BusError> {
        let mut load = OrgLoad::default();
        let filter = format!("backlog.run.{pool}.{org}.>");
        for (subject, count) in self.subjects_of("BACKLOG", &filter).await? {
            if let Subject::BacklogRun { team, priority, .. } = subject {
                let own = load.teams.entry(team).or_default();
                *own.waiting.entry(priority).or_default() += count;
            }
        }
        Ok(load)
    }

    async fn fence(&self, stream: &str, subjects: String) -> Result<Fence, BusError> {
        let request = json!({ "last_by_subj": subjects });
        let (found, _) = self.direct_batch(stream, &request).await?;
        let sequence = found.first().map_or(0, |newest| newest.sequence);
        Ok(Fence { subjects, sequence })
    }

    /// Whether the stream of this message took one with its id lately (two minutes), without storing it:
    /// it is published behind a message that cannot be, and the broker looks for repeats before that.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn was_published(&self, outgoing: Outgoing) -> Result<bool, PublishError> {
        match self.publish(outgoing.impossible()).await {
            Ok(published) => Ok(published.duplicate),
            Err(PublishError::WrongSequence { .. } | PublishError::SubjectFull { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A team's waiting runs in the order in which they move up, verified; at most `limit`.
    ///
    /// # Errors
    /// When the broker does not answer, or a message's signature does not hold.
    pub async fn waiting_runs(
        &self,
        pool: &Pool,
        org: &OrgId,
        team: &TeamId,
        limit: usize,
    ) -> Result<Vec<Queued>, BusError> {
        let mut runs = Vec::new();
        for (priority, _) in self.queue(pool, org, team).await? {
            let subject = Subject::BacklogRun {
                pool: pool.clone(),
                org: org.clone(),
                team: team.clone(),
                priority,
            };
            let left = limit.saturating_sub(runs.len());
            let stored = self.first_of(&subject, left).await?.into_iter();
            runs.extend(stored.map(|stored| Queued { priority, stored }));
        }
        Ok(runs)
    }

    /// Subjects of `stream` that fit `filter`, with the number of their messages.
    pub(crate) async fn subjects_of(
        &self,
        stream: &str,
        filter: &str,
    ) -> Result<BTreeMap<Subject, u64>, BusError> {
        let info: StreamInfo = self
            .inner
            .jetstream
            .request(
                format!("STREAM.INFO.{stream}"),
                &json!({ "subjects_filter": filter }),
            )
            .await
            .map_err(|error| BusError::request(format!("counting {filter}"), error))?;
        let subjects = info.state.subjects.unwrap_or_default().into_iter();
        Ok(subjects
            .filter_map(|(subject, count)| Some((subject.parse().ok()?, count)))
            .collect())
    }
}

#[derive(serde::Deserialize)]
struct StreamInfo {
    state: StreamState,
}

#[derive(serde::Deserialize)]
struct StreamState {
    #[serde(default)]
    subjects: Option<HashMap<String, u64>>,
}

impl Queued {
    /// Since when it waits.
    pub fn since(&self) -> Timestamp {
        self.stored.stored_at
    }
}
