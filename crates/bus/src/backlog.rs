//! Moving the next run from BACKLOG to WORK. The broker counts; any number may race.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use serde_json::json;
use tocsin_wire::queue::Next;
use tocsin_wire::{OrgId, Pool, Priority, Subject, TeamId};

use crate::connect::{ACK_TIMEOUT, Bus};
use crate::direct::Found;
use crate::error::BusError;
use crate::publish::{Fence, PublishError};
use crate::queue::QueueBook;

/// What became of a team's next run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// One run was admitted.
    Admitted,
    /// The team's window is full, or the org's.
    WindowFull,
    /// Others moved or started runs of the org all the time.
    Overtaken,
    /// Nothing waits.
    Empty,
}

/// Tries at a move that other movers and routers come in between; the next sweep tries again.
const TRIES: usize = 20;

impl Bus {
    /// Moves one run of a team: the oldest of the most severe that wait. A crash between publish and
    /// delete leaves a copy: the stream's dedupe drops it inside its window, the journal's fence after it.
    pub async fn move_backlog(
        &self,
        pool: &Pool,
        org: &OrgId,
        team: &TeamId,
    ) -> Result<Moved, BusError> {
        for (priority, _) in self.queue(pool, org, team).await? {
            let (pool, org, team) = (pool.clone(), org.clone(), team.clone());
            let waiting = Subject::BacklogRun {
                pool,
                org,
                team,
                priority,
            };
            // Another mover may have taken the last one of this severity meanwhile.
            if let Some(next) = self.oldest(&waiting).await? {
                return self.move_one(&waiting, next, None).await;
            }
        }
        Ok(Moved::Empty)
    }

    /// Moves one run of an org whose runs are counted: of the team whose turn it is, the oldest of the most
    /// severe ([`tocsin_wire::OrgLoad::next`]). `after`: the team whose run ended, or that moved up last.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn move_in_turn(
        &self,
        pool: &Pool,
        org: &OrgId,
        book: &QueueBook,
        after: Option<&TeamId>,
    ) -> Result<(Moved, Option<TeamId>), BusError> {
        // Nearly always nobody waits, and that is one question instead of three.
        if self.count_waiting(pool, org).await?.teams.is_empty() {
            return Ok((Moved::Empty, None));
        }
        for _ in 0..TRIES {
            let counted = self.count_admitted(pool, org).await?;
            let (team, priority) = match book.read(org, |limits| counted.load.next(limits, after)) {
                Next::Team(team, priority) => (team, priority),
                Next::Full => return Ok((Moved::WindowFull, None)),
                Next::Nobody => return Ok((Moved::Empty, None)),
            };
            let waiting = Subject::BacklogRun {
                pool: pool.clone(),
                org: org.clone(),
                team: team.clone(),
                priority,
            };
            let Some(next) = self.oldest(&waiting).await? else {
                continue;
            };
            match self.move_one(&waiting, next, Some(&counted.fence)).await? {
                Moved::Overtaken => {}
                moved => return Ok((moved, Some(team))),
            }
        }
        Ok((Moved::Overtaken, None))
    }

    async fn oldest(&self, waiting: &Subject) -> Result<Option<Found>, BusError> {
        let request = json!({ "seq": 1, "next_by_subj": waiting.to_string() });
        let (found, _) = self.direct_batch("BACKLOG", &request).await?;
        Ok(found.into_iter().next())
    }

    async fn move_one(
        &self,
        waiting: &Subject,
        next: Found,
        fence: Option<&Fence>,
    ) -> Result<Moved, BusError> {
        let sequence = next.sequence;
        match self.admit(waiting, next, fence).await {
            Ok(()) => {}
            Err(PublishError::SubjectFull { .. }) => return Ok(Moved::WindowFull),
            Err(PublishError::WrongSequence { .. }) => return Ok(Moved::Overtaken),
            Err(error) => {
                return Err(BusError::request(
                    format!("moving a run of {waiting}"),
                    error,
                ));
            }
        }
        self.delete_from_backlog(sequence).await?;
        Ok(Moved::Admitted)
    }

    /// How many runs of a team wait, by priority, first to last; what nobody waits in is left out.
    pub async fn queue(
        &self,
        pool: &Pool,
        org: &OrgId,
        team: &TeamId,
    ) -> Result<Vec<(Priority, u64)>, BusError> {
        let filter = format!("backlog.run.{pool}.{org}.{team}.*");
        let waiting = self.subjects_of("BACKLOG", &filter).await?;
        let mut queue: Vec<_> = waiting
            .into_iter()
            .filter_map(|(subject, count)| match subject {
                Subject::BacklogRun { priority, .. } => Some((priority, count)),
                _ => None,
            })
            .collect();
        queue.sort();
        Ok(queue)
    }

    /// The same bytes and headers on the work subject, for which they were signed.
    async fn admit(
        &self,
        waiting: &Subject,
        next: Found,
        fence: Option<&Fence>,
    ) -> Result<(), PublishError> {
        let mut headers = HeaderMap::new();
        let original = next.message.headers.unwrap_or_default();
        for (name, values) in original.iter() {
            let name = name.to_string();
            let is_from_direct_get = name.starts_with("Nats-") && name != "Nats-Msg-Id";
            if !is_from_direct_get {
                for value in values {
                    headers.append(name.as_str(), value.clone());
                }
            }
        }
        if let Some(fence) = fence {
            fence.apply(&mut headers);
        }
        let work = waiting.consumed_on().to_string();
        self.publish_bytes(work, headers, next.message.payload, ACK_TIMEOUT)
            .await
            .map(|_| ())
    }

    async fn delete_from_backlog(&self, sequence: u64) -> Result<(), BusError> {
        let request = json!({ "seq": sequence, "no_erase": true });
        let answer: serde_json::Value = self
            .inner
            .jetstream
            .request("STREAM.MSG.DELETE.BACKLOG", &request)
            .await
            .map_err(|error| BusError::request("removing a moved run from the backlog", error))?;
        // "message not found" means that another mover was faster.
        if let Some(error) = answer.get("error") {
            tracing::debug!(sequence, %error, "a moved run was already gone from the backlog");
        }
        Ok(())
    }

    /// Teams of a pool with runs in the backlog, and how many.
    pub async fn waiting_teams(&self, pool: &Pool) -> Result<Vec<(OrgId, TeamId, u64)>, BusError> {
        let filter = format!("backlog.run.{pool}.>");
        let waiting = self.subjects_of("BACKLOG", &filter).await?;
        let mut teams = BTreeMap::<(OrgId, TeamId), u64>::new();
        for (subject, count) in waiting {
            if let Subject::BacklogRun { org, team, .. } = subject {
                *teams.entry((org, team)).or_default() += count;
            }
        }
        let teams = teams.into_iter();
        Ok(teams
            .map(|((org, team), count)| (org, team, count))
            .collect())
    }
}
