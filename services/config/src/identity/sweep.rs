//! The daily run over all tokens: one process does it, whoever comes first.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tocsin_kit::{ErrorChain, Stop};
use tocsin_wire::OrgId;
use tocsin_wire::limits::REVOKED_WINDOW;

use crate::error::OperationError;
use crate::http::App;
use crate::pg::{Author, By, Swept};

/// How often it is due. A little less than a day, so that it does not drift.
const EVERY: SignedDuration = SignedDuration::from_hours(23);
/// How often each process looks whether it is due.
const LOOK: Duration = Duration::from_secs(10 * 60);
/// Before the schema is there, or while the database is away.
const RETRY: Duration = Duration::from_secs(5);
/// In the record.
const ACTOR: &str = "system:token_lifecycle";

/// Runs until the service stops.
pub(crate) async fn run(app: Arc<App>, stop: Stop) {
    loop {
        let pause = match stop.until_soft(once(&app)).await {
            None => return,
            Some(Ok(())) => LOOK,
            Some(Err(error)) => {
                tracing::debug!(error = %ErrorChain(&error), "the sweep of tokens waits for the database");
                RETRY
            }
        };
        stop.until_soft(tokio::time::sleep(pause)).await;
    }
}

async fn once(app: &App) -> Result<(), OperationError> {
    let now = app.clock.now();
    if !app.database.claim_sweep(now, EVERY).await? {
        return Ok(());
    }
    let (mut orgs, mut warned, mut revoked) = (0_usize, 0, 0);
    for org in app.database.orgs().await? {
        let by = By {
            author: Author {
                by: ACTOR.to_owned(),
                at: now,
            },
            ip: None,
        };
        let swept = sweep(app, &org, &by).await?;
        orgs += 1;
        warned += swept.warned;
        revoked += swept.revoked.len();
    }
    let window = SignedDuration::try_from(REVOKED_WINDOW).unwrap_or(SignedDuration::MAX);
    let before = now.checked_sub(window).unwrap_or(now);
    app.database.drop_revocations(before).await?;
    tracing::info!(orgs, warned, revoked, "the tokens were swept");
    Ok(())
}

/// One org: what nobody uses is revoked, what ends soon is put on record.
pub(crate) async fn sweep(app: &App, org: &OrgId, by: &By) -> Result<Swept, OperationError> {
    let policy = app.database.token_policy(org).await?;
    let swept = app.database.sweep_tokens(org, policy, by).await?;
    for token in &swept.revoked {
        app.identity
            .revoked
            .insert(token.id.as_u128(), by.author.at);
    }
    if !swept.revoked.is_empty() {
        app.identity.revoked_here.notify_one();
    }
    Ok(swept)
}
