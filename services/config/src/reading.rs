//! Reading what holds at a node: from the cache, else from the database, else the last known state.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::postgres::PgListener;
use tocsin_kit::{Context, ErrorChain};
use tocsin_wire::OrgId;
use tocsin_wire::proto::envelope::Body;

use crate::Error;
use crate::cache::{Cache, Changes, Effective};
use crate::error::OperationError;
use crate::http::App;
use crate::node::NodeId;
use crate::pg::{CHANGED, Database};

/// How long to wait before listening is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// What holds at a node.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) effective: Arc<Effective>,
    /// Set when the database does not answer: nothing is known about what changed since then.
    pub(crate) stale_since: Option<Timestamp>,
}

/// Whether the cache may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// What certainly holds now, from wherever.
    Fresh,
    /// From the database, in any case.
    Refreshed,
}

/// What holds at a node. Never older than the last write that this replica has answered.
pub(crate) async fn effective(
    app: &App,
    org: &OrgId,
    node: &NodeId,
    want: Want,
) -> Result<Served, OperationError> {
    let cache = &app.cache;
    if want == Want::Fresh
        && let Some(effective) = cache.fresh(org, node).await
    {
        return Ok(Served {
            effective,
            stale_since: None,
        });
    }
    let as_of = cache.begin();
    match app.database.lineage(org, node).await {
        Ok(line) => {
            let config = line.effective(&app.defaults);
            let moment = (as_of, app.clock.now());
            let kept = cache.keep(&line, &config, moment).await;
            let effective = kept.map_err(|source| OperationError::Encode {
                what: "an effective config",
                source,
            })?;
            Ok(Served {
                effective,
                stale_since: None,
            })
        }
        Err(error) if error.is_unavailable() => last_known(cache, org, node).await.ok_or(error),
        Err(error) => {
            cache.forget(org, node).await;
            Err(error)
        }
    }
}

async fn last_known(cache: &Cache, org: &OrgId, node: &NodeId) -> Option<Served> {
    if let Some(effective) = cache.last_known(org, node).await {
        return Some(Served {
            stale_since: Some(cache.deaf_since().unwrap_or(effective.computed_at)),
            effective,
        });
    }
    let effective = snapshot(cache, org, node).await?;
    Some(Served {
        stale_since: Some(cache.deaf_since().unwrap_or(effective.computed_at)),
        effective: Arc::new(effective),
    })
}

/// What this service last put on the bus; there are snapshots of teams only.
async fn snapshot(cache: &Cache, org: &OrgId, node: &NodeId) -> Option<Effective> {
    let bucket = cache.snapshots()?;
    let entry = match bucket.get(&format!("{org}.{node}")).await {
        Ok(entry) => entry?,
        Err(error) => {
            tracing::debug!(error = %ErrorChain(&error), "no snapshot to answer from");
            return None;
        }
    };
    let Some(Body::TeamRecord(record)) = entry.envelope.body else {
        return None;
    };
    let line: Vec<&str> = record.lineage.iter().map(String::as_str).collect();
    let (version, config) = (&record.version, &record.effective_config);
    match Effective::from_snapshot(&line, version, config, entry.written_at) {
        Ok(effective) => Some(effective),
        Err(error) => {
            tracing::warn!(error = %ErrorChain(&error), "a snapshot cannot be sent");
            None
        }
    }
}

/// Hears of the writes of other replicas, until the context stops.
pub(crate) async fn follow(database: Database, context: Context) -> Result<(), Error> {
    let changes = Arc::clone(database.changes());
    let following = async {
        loop {
            if let Err(error) = listen(&database, &changes).await {
                tracing::debug!(error = %ErrorChain(&error), "changes of other replicas are not heard");
            }
            changes.lose(context.clock.now());
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    };
    context.stop.until_soft::<()>(following).await;
    Ok(())
}

/// Returns when the connection is lost.
async fn listen(database: &Database, changes: &Changes) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(database.store().pool()).await?;
    // A lost connection is reported here, not mended silently: what was missed meanwhile counts.
    listener.eager_reconnect(false);
    listener.listen(CHANGED).await?;
    changes.follow();
    while let Some(notification) = listener.try_recv().await? {
        match notification.payload().split_once(' ') {
            Some((org, node)) => changes.note(org, node),
            None => changes.follow(),
        }
    }
    Ok(())
}
