//! Moves teams' waiting runs into the work queue: one after each finished run, and the rest by a sweep.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use tocsin_bus::{Bus, BusError, Moved};
use tocsin_kit::{ErrorChain, Stop};
use tocsin_wire::{OrgId, Pool, TeamId};
use tokio::sync::mpsc;

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

/// After each finished run, the next of its team.
pub(crate) async fn follow(
    bus: Bus,
    pool: Pool,
    mut freed: mpsc::Receiver<(OrgId, TeamId)>,
    stop: Stop,
) -> Result<(), BusError> {
    while let Some(Some((org, team))) = stop.until_hard(freed.recv()).await {
        for pause in ACK_PAUSES {
            tokio::time::sleep(pause).await;
            match bus.move_backlog(&pool, &org, &team).await {
                Ok(Moved::WindowFull) => {}
                Ok(Moved::Admitted | Moved::Empty) => break,
                Err(error) => {
                    tracing::debug!(%org, %team, error = %ErrorChain(&error), "cannot move a waiting run; the sweep will");
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Every team that waits, every quarter of a second.
pub(crate) async fn sweep(
    bus: Bus,
    pool: Pool,
    instance: String,
    stop: Stop,
) -> Result<(), BusError> {
    let mut hasher = DefaultHasher::new();
    instance.hash(&mut hasher);
    let pause = SWEEP + Duration::from_millis(hasher.finish() % SWEEP_SPREAD_MILLIS);
    let mut failing = false;
    while stop.until_soft(tokio::time::sleep(pause)).await.is_some() {
        match sweep_once(&bus, &pool).await {
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

async fn sweep_once(bus: &Bus, pool: &Pool) -> Result<(), BusError> {
    for (org, team, waiting) in bus.waiting_teams(pool).await? {
        for _ in 0..waiting {
            if bus.move_backlog(pool, &org, &team).await? != Moved::Admitted {
                break;
            }
        }
    }
    Ok(())
}
