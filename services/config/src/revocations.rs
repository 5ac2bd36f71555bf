//! From tokens that ended to everybody who keeps tokens in memory: the bucket `revoked`.
//!
//! A trigger lists every token that ends, whatever ends it; the list is told by the process that
//! ended it, at once, and by the relay of the outbox, should that process die first.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tocsin_bus::{Bus, KeyValueError};
use tocsin_kit::{Context, ErrorChain};
use tocsin_wire::Service;
use tocsin_wire::ids::{EventId, MessageId};
use tocsin_wire::limits::REVOKED_WINDOW;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{self, Envelope};
use tocsin_wire::time;

use crate::Error;
use crate::error::OperationError;
use crate::http::App;
use crate::pg::{Database, Revocation};

/// Before what failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Not (yet) told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TellError {
    #[error("read which tokens ended")]
    Read(#[source] OperationError),
    #[error("write which tokens ended")]
    Write(#[source] KeyValueError),
}

/// Follows the bucket and tells what ends here, until the context stops.
pub(crate) fn spawn(bus: &Bus, app: &Arc<App>, context: &Context) {
    let (following, shared, stop) = (bus.clone(), Arc::clone(app), context.stop.clone());
    context.tasks.spawn("follow revocations", async move {
        let revoked = &shared.identity.revoked;
        revoked.follow(&following, stop.soft()).await;
        Ok::<_, Error>(())
    });
    let (telling, shared, stop) = (bus.clone(), Arc::clone(app), context.stop.clone());
    context.tasks.spawn("tell revocations", async move {
        stop.until_soft(keep_telling(&telling, &shared)).await;
        Ok::<_, Error>(())
    });
}

async fn keep_telling(bus: &Bus, app: &App) {
    app.identity.revoked.caught_up().await;
    until_done(|| Box::pin(heal(app))).await;
    loop {
        until_done(|| Box::pin(tell(bus, &app.database))).await;
        app.identity.revoked_here.notified().await;
    }
}

async fn until_done<F: Future<Output = Result<(), TellError>>>(attempt: impl Fn() -> F) {
    while let Err(error) = attempt().await {
        tracing::debug!(error = %ErrorChain(&error), "revocations wait to be told");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Has told again what the bucket no longer holds and should.
async fn heal(app: &App) -> Result<(), TellError> {
    let window = SignedDuration::try_from(REVOKED_WINDOW).unwrap_or(SignedDuration::MAX);
    let now = app.clock.now();
    let since = now.checked_sub(window).unwrap_or(now);
    let told = app.database.told_revocations(since).await;
    let mut lost = told.map_err(TellError::Read)?;
    lost.retain(|token| !app.identity.revoked.contains(token.as_u128()));
    let again = app.database.tell_revocations_again(&lost).await;
    again.map_err(TellError::Read)
}

/// Tells everything that was not told yet. Two processes may do so at once: a key says the same
/// whoever writes it.
pub(crate) async fn tell(bus: &Bus, database: &Database) -> Result<(), TellError> {
    let bucket = bus.bucket("revoked");
    loop {
        let untold = database
            .untold_revocations()
            .await
            .map_err(TellError::Read)?;
        if untold.is_empty() {
            return Ok(());
        }
        for revocation in &untold {
            let key = revocation.token_id.simple().to_string();
            let value = value(revocation, &key);
            bucket.put(&key, &value).await.map_err(TellError::Write)?;
        }
        let ids: Vec<_> = untold.iter().map(|one| one.token_id).collect();
        database
            .revocations_told(&ids)
            .await
            .map_err(TellError::Read)?;
    }
}

fn value(revocation: &Revocation, key: &str) -> Envelope {
    let id = MessageId::key_value("revoked", key, "");
    let body = Body::Revocation(proto::Revocation {
        token_id: key.to_owned(),
        org: revocation.org_id.clone(),
        node: revocation.node_id.clone(),
        revoked_at: Some(time::to_proto(revocation.at())),
    });
    let correlation = EventId::from(id.as_uuid());
    Envelope::new(
        id,
        Service::Config,
        revocation.at(),
        correlation,
        None,
        body,
    )
}
