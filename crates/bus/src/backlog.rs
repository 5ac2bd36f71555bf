//! Moving a team's next run from BACKLOG to WORK. The broker counts; any number may race.

use async_nats::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use tocsin_wire::{OrgId, Pool, Subject, TeamId};

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
    /// Moves one run of a team. A crash between publish and delete leaves a copy: the stream's
    /// dedupe drops it inside its window, the journal's fence after it.
    pub async fn move_backlog(
        &self,
        pool: &Pool,
        org: &OrgId,
        team: &TeamId,
    ) -> Result<Moved, BusError> {
        let (pool, org, team) = (pool.clone(), org.clone(), team.clone());
        let waiting = Subject::BacklogRun { pool, org, team };
        let request = json!({ "seq": 1, "next_by_subj": waiting.to_string() });
        let (found, _) = self.direct_batch("BACKLOG", &request).await?;
        let Some(next) = found.into_iter().next() else {
            return Ok(Moved::Empty);
        };
        let sequence = next.sequence;
        match self.admit(&waiting, next).await {
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
        let filter = format!("backlog.run.{pool}.>");
        let info: StreamInfo = self
            .inner
            .jetstream
            .request("STREAM.INFO.BACKLOG", &json!({ "subjects_filter": filter }))
            .await
            .map_err(|error| BusError::request("asking which teams wait", error))?;
        let subjects = info.state.subjects.unwrap_or_default();
        let mut teams: Vec<_> = subjects
            .into_iter()
            .filter_map(|(subject, count)| match subject.parse() {
                Ok(Subject::BacklogRun { org, team, .. }) => Some((org, team, count)),
                _ => None,
            })
            .collect();
        teams.sort();
        Ok(teams)
    }
}
