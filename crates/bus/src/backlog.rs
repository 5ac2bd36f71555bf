//! Moving a team's next run from BACKLOG to WORK. The broker counts; any number may race.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use tocsin_wire::{OrgId, Pool, Priority, Subject, TeamId};

use crate::connect::Bus;
use crate::direct::Found;
use crate::error::BusError;
use crate::publish::PublishError;

/// What became of a team's next run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// One run was admitted.
    Admitted,
    /// The team's window is full.
    WindowFull,
    /// Nothing waits.
    Empty,
}

#[derive(Deserialize)]
struct StreamInfo {
    state: StreamState,
}

#[derive(Deserialize)]
struct StreamState {
    #[serde(default)]
    subjects: Option<std::collections::HashMap<String, u64>>,
}

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
            let request = json!({ "seq": 1, "next_by_subj": waiting.to_string() });
            let (found, _) = self.direct_batch("BACKLOG", &request).await?;
            // Another mover may have taken the last one of this severity meanwhile.
            if let Some(next) = found.into_iter().next() {
                return self.move_one(&waiting, next).await;
            }
        }
        Ok(Moved::Empty)
    }

    async fn move_one(&self, waiting: &Subject, next: Found) -> Result<Moved, BusError> {
        let sequence = next.sequence;
        match self.admit(waiting, next).await {
            Ok(()) => {}
            Err(PublishError::SubjectFull { .. }) => return Ok(Moved::WindowFull),
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
        let waiting = self.waiting_subjects(&filter).await?;
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
    async fn admit(&self, waiting: &Subject, next: Found) -> Result<(), PublishError> {
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
        let work = waiting.consumed_on().to_string();
        self.publish_bytes(work, headers, next.message.payload)
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
        let waiting = self
            .waiting_subjects(&format!("backlog.run.{pool}.>"))
            .await?;
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

    async fn waiting_subjects(&self, filter: &str) -> Result<Vec<(Subject, u64)>, BusError> {
        let info: StreamInfo = self
            .inner
            .jetstream
            .request("STREAM.INFO.BACKLOG", &json!({ "subjects_filter": filter }))
            .await
            .map_err(|error| BusError::request("asking who waits", error))?;
        let subjects = info.state.subjects.unwrap_or_default().into_iter();
        Ok(subjects
            .filter_map(|(subject, count)| Some((subject.parse().ok()?, count)))
            .collect())
    }
}
