//! Takes runs from the work queue.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tocsin_bus::{Bucket, Bus, Delivery, KeyValueError, Outcome};
use tocsin_kit::ErrorChain;
use tocsin_wire::ids::{EventId, RunId};
use tocsin_wire::proto::RunRequest;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::{OrgId, Subject, TeamId};
use tokio::sync::mpsc;

use crate::credential::Owner;
use crate::run::{BusRecord, Ended, Work, Worker, execute};
use crate::team::AgentConfig;

/// The bus was away: by then it may be back.
const BUS_RETRY: Duration = Duration::from_secs(1);

/// What the handler of a work message needs.
pub(crate) struct Handler {
    pub(crate) worker: Arc<Worker>,
    pub(crate) bus: Bus,
    pub(crate) teams: Bucket,
    /// Teams that have just finished a run.
    pub(crate) freed: mpsc::Sender<(OrgId, TeamId)>,
    pub(crate) live: LiveRuns,
    /// Tells tries of this process apart from those of an earlier one with the same name.
    pub(crate) incarnation: String,
    pub(crate) tries: AtomicU64,
}

impl Handler {
    pub(crate) async fn handle(&self, delivery: Delivery) -> Outcome {
        let Subject::WorkRun { org, team, .. } = &delivery.subject else {
            return Outcome::Reject(format!("{} is no work subject", delivery.subject));
        };
        let Some((request, run)) = run_request(&delivery) else {
            return Outcome::Reject(
                "the message is no request for a run with a valid id".to_owned(),
            );
        };
        // The same message may come again while its run is still going on here, after a reconnect.
        let _alone = self.live.enter(run).await;
        let config = match self.config_of(&request, (org, team)).await {
            Ok(config) => config,
            Err(error) => {
                tracing::warn!(%run, error = %ErrorChain(&error), "cannot read the team's config; trying again");
                return Outcome::Retry(BUS_RETRY);
            }
        };
        let number = self.tries.fetch_add(1, Ordering::Relaxed);
        let record = BusRecord {
            bus: self.bus.clone(),
            org: org.clone(),
            team: team.clone(),
            run,
            correlation: delivery
                .envelope
                .correlation()
                .unwrap_or_else(|| EventId::from(run.as_uuid())),
            causation: delivery.envelope.message_id(),
            writer: format!("{}/{}/{number}", self.worker.name, self.incarnation),
            trace: delivery.trace.clone(),
        };
        let work = Work {
            request,
            sequence: delivery.sequence,
            stored_at: delivery.stored_at,
        };
        metrics::gauge!("tocsin_worker_slots_busy").increment(1.0);
        // Boxed: a run's whole state is in this future.
        let ended = Box::pin(execute(&self.worker, &work, &config, record)).await;
        metrics::gauge!("tocsin_worker_slots_busy").decrement(1.0);
        match ended {
            Ok(Ended::Finished) => {
                // A full channel is no loss: the sweep finds the team.
                if self.freed.try_send((org.clone(), team.clone())).is_err() {
                    tracing::debug!(%org, %team, "the mover is busy; the sweep will find this team");
                }
                Outcome::Done
            }
            Ok(Ended::Fenced) => Outcome::Leave,
            Ok(Ended::Copy) => Outcome::Done,
            Ok(Ended::HandedOver) => Outcome::Retry(Duration::ZERO),
            Err(error) => {
                tracing::warn!(%run, error = %ErrorChain(&error), "the run is put back");
                Outcome::Retry(BUS_RETRY)
            }
        }
    }

    /// What the run goes by: the settings of its owner, or of the team that a notice is for.
    async fn config_of(
        &self,
        request: &RunRequest,
        (org, team): (&OrgId, &TeamId),
    ) -> Result<AgentConfig, KeyValueError> {
        let named = request.notice.as_ref().and_then(|notice| {
            let org = OrgId::new(notice.org.as_str()).ok()?;
            Some((org, TeamId::new(notice.team.as_str()).ok()?))
        });
        match named {
            Some((org, team)) => self.config(&org, &team, &request.agent).await,
            None => self.config(org, team, &request.agent).await,
        }
    }

    /// The team's settings; the built-in ones when there are none.
    async fn config(
        &self,
        org: &OrgId,
        team: &TeamId,
        agent: &str,
    ) -> Result<AgentConfig, KeyValueError> {
        let key = format!("{org}.{team}");
        let Some(entry) = self.teams.get(&key).await? else {
            return Ok(AgentConfig::built_in());
        };
        let Some(Body::TeamRecord(record)) = entry.envelope.body else {
            tracing::error!(%key, "the bucket teams holds something else than a team's record");
            return Ok(AgentConfig::built_in());
        };
        let effective: Value = match serde_json::from_slice(&record.effective_config) {
            Ok(effective) => effective,
            Err(error) => {
                tracing::error!(%key, %error, "a team's effective config is no JSON; using the defaults");
                Value::Null
            }
        };
        let line = record.lineage.iter().cloned().map(TeamId::new);
        let owner = match line.collect() {
            Ok(line) => Owner {
                org: org.clone(),
                line,
            },
            Err(error) => {
                tracing::error!(%key, %error, "a team's record has a broken lineage; only its own secrets are used");
                own_secrets_only(org, team)
            }
        };
        // A record of an older config has no lineage.
        let owner = if owner.line.last() == Some(team) {
            owner
        } else {
            own_secrets_only(org, team)
        };
        Ok(AgentConfig::read(&effective, &record.version, agent).of(owner))
    }
}

fn own_secrets_only(org: &OrgId, team: &TeamId) -> Owner {
    Owner {
        org: org.clone(),
        line: vec![team.clone()],
    }
}

fn run_request(delivery: &Delivery) -> Option<(RunRequest, RunId)> {
    match &delivery.envelope.body {
        Some(Body::RunRequest(request)) => {
            let run = request.run_id.parse().ok()?;
            Some((RunRequest::clone(request), run))
        }
        _ => None,
    }
}

/// One try per run and process at a time; a second one waits for the first.
#[derive(Debug, Default)]
pub(crate) struct LiveRuns(Mutex<HashMap<RunId, Arc<tokio::sync::Mutex<()>>>>);

pub(crate) struct Alone<'a> {
    runs: &'a LiveRuns,
    run: RunId,
    guard: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl LiveRuns {
    pub(crate) async fn enter(&self, run: RunId) -> Alone<'_> {
        let cell = Arc::clone(self.lock().entry(run).or_default());
        Alone {
            runs: self,
            run,
            guard: Some(cell.lock_owned().await),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Arc<tokio::sync::Mutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        let mut runs = self.runs.lock();
        self.guard = None;
        // Only the map holds it: nobody waits. Waiters take their clone under the same lock.
        if runs
            .get(&self.run)
            .is_some_and(|cell| Arc::strong_count(cell) == 1)
        {
            runs.remove(&self.run);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_second_try_waits_and_nothing_is_kept() {
        let runs = LiveRuns::default();
        let run = RunId::from(Uuid::from_u128(7));
        let first = runs.enter(run).await;
        let other = runs.enter(RunId::from(Uuid::from_u128(8))).await;
        let mut second = Box::pin(runs.enter(run));
        assert!(
            second.as_mut().now_or_never().is_none(),
            "the first is at work"
        );
        drop(first);
        let second = second.await;
        drop((second, other));
        assert!(runs.lock().is_empty());
    }
}
