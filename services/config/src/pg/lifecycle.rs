//! What happens to tokens with time.

use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx as _;
use serde_json::json;
use sqlx::types::Uuid;
use tocsin_store::{Isolation, Tx};
use tocsin_wire::{OrgId, TeamId};

use super::rows::TokenRow;
use super::token_events::{self, EventKind};
use super::tokens::{self, By, token_columns};
use super::{Database, MAX_LIST};
use crate::error::OperationError;
use crate::identity::impersonation::Impersonation;
use crate::identity::lifecycle::TokenPolicy;
use crate::token::Token;

/// A token's holder is told at most once in this time.
const WARN_STEP: SignedDuration = SignedDuration::from_hours(24);

/// What a run over one org did.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    /// Live ones that end soon.
    pub(crate) expiring: Vec<Token>,
    /// How many of those were put on record just now.
    pub(crate) warned: usize,
    /// Ones that nobody used for long.
    pub(crate) revoked: Vec<Token>,
}

impl Database {
    /// What an org's security policy says about tokens; the default where there is none.
    pub(crate) async fn token_policy(&self, org: &OrgId) -> Result<TokenPolicy, OperationError> {
        let row: Option<(Option<i32>, Option<i32>, Option<i32>)> = sqlx::query_as(
            "select (policy ->> 'token_expiry_days')::int, (policy ->> 'token_warn_before_days')::int, \
                    (policy ->> 'token_revoke_inactive_days')::int \
             from security_policies where org_id = $1",
        )
        .bind(org.as_str())
        .fetch_optional(self.store.pool())
        .await
        .map_err(OperationError::query("read the token policy"))?;
        let days = |stored: Option<i32>| stored.and_then(|days| u32::try_from(days).ok());
        let default = TokenPolicy::default();
        Ok(row.map_or(default, |(expiry, warn, inactive)| TokenPolicy {
            expiry_days: days(expiry).filter(|days| *days > 0),
            warn_before_days: days(warn).unwrap_or(default.warn_before_days),
            revoke_inactive_days: days(inactive),
        }))
    }

    /// Revokes what nobody used for long and puts on record what ends soon, in one org.
    pub(crate) async fn sweep_tokens(
        &self,
        org: &OrgId,
        policy: TokenPolicy,
        by: &By,
    ) -> Result<Swept, OperationError> {
        self.store
            .run_tx_with("sweep_tokens", Isolation::ReadCommitted, |tx| {
                Box::pin(async move {
                    let now = by.author.at;
                    let mut swept = Swept::default();
                    if let Some(before) = policy.inactive_before(now) {
                        swept.revoked = revoke_inactive(tx, org, before, now).await?;
                        let details = || json!({"inactive_days": policy.revoke_inactive_days});
                        let kind = EventKind::AutoRevokedInactive;
                        tokens::tell(tx, org, &swept.revoked, kind, by, details).await?;
                    }
                    let until = policy.warn_until(now);
                    swept.expiring = expiring(tx, org, now, until).await?;
                    let unwarned = mark_warned(tx, org, now, until).await?;
                    let events: Vec<_> = swept
                        .expiring
                        .iter()
                        .filter(|token| unwarned.contains(&token.id))
                        .map(|token| {
                            let details = json!({"expires_at": token.expires_at});
                            tokens::event(
                                &token.holder,
                                token.id,
                                EventKind::ExpiryWarning,
                                by,
                                details,
                            )
                        })
                        .collect();
                    swept.warned = events.len();
                    token_events::insert(&mut **tx, &events).await?;
                    Ok(swept)
                })
            })
            .await
    }

    /// Whether the daily run is due, and nobody else does it: whoever is told so does it.
    pub(crate) async fn claim_sweep(
        &self,
        now: Timestamp,
        every: SignedDuration,
    ) -> Result<bool, OperationError> {
        let due = now.checked_sub(every).unwrap_or(Timestamp::MIN);
        self.store
            .run_tx_with("claim_sweep", Isolation::ReadCommitted, |tx| {
                Box::pin(async move {
                    let is_leader: bool = sqlx::query_scalar(
                        "select pg_try_advisory_xact_lock(hashtextextended('tocsin sweep of tokens', 0))",
                    )
                    .fetch_one(&mut **tx)
                    .await
                    .map_err(OperationError::query("claim the sweep of tokens"))?;
                    if !is_leader {
                        return Ok(false);
                    }
                    let claimed = sqlx::query(
                        "insert into token_sweeps (swept_at) values ($1) on conflict (only_one) \
                         do update set swept_at = excluded.swept_at where token_sweeps.swept_at <= $2",
                    )
                    .bind(now.to_sqlx())
                    .bind(due.to_sqlx())
                    .execute(&mut **tx)
                    .await
                    .map_err(OperationError::query("note the sweep of tokens"))?;
                    Ok(claimed.rows_affected() > 0)
                })
            })
            .await
    }

    /// Whether the org has this team.
    pub(crate) async fn is_team(&self, org: &OrgId, team: &TeamId) -> Result<bool, OperationError> {
        sqlx::query_scalar(
            "select exists (select from nodes where org_id = $1 and node_id = $2 and kind = 'team')",
        )
        .bind(org.as_str())
        .bind(team.as_str())
        .fetch_one(self.store.pool())
        .await
        .map_err(OperationError::query("look for a team"))
    }

    /// Keeps the id of an impersonation token, and drops those that ended long ago.
    pub(crate) async fn log_impersonation(
        &self,
        who: &Impersonation,
        (issued_at, expires_at): (Timestamp, Timestamp),
    ) -> Result<(), OperationError> {
        sqlx::query(
            "with gone as (delete from impersonations where expires_at < $5 - interval '90 days') \
             insert into impersonations (jti, org_id, team_id, subject, issued_at, expires_at) values ($1, $2, $3, $4, $5, $6)",
        )
        .bind(who.jti)
        .bind(who.org.as_str())
        .bind(who.team.as_str())
        .bind(&who.subject)
        .bind(issued_at.to_sqlx())
        .bind(expires_at.to_sqlx())
        .execute(self.store.pool())
        .await
        .map_err(OperationError::query("keep the id of an impersonation token"))?;
        Ok(())
    }

    /// Whether an impersonation token's id was kept.
    pub(crate) async fn knows_impersonation(&self, jti: Uuid) -> Result<bool, OperationError> {
        sqlx::query_scalar("select exists (select from impersonations where jti = $1)")
            .bind(jti)
            .fetch_one(self.store.pool())
            .await
            .map_err(OperationError::query("look for an impersonation token"))
    }
}

async fn revoke_inactive(
    tx: &mut Tx<'_>,
    org: &OrgId,
    before: Timestamp,
    now: Timestamp,
) -> Result<Vec<Token>, OperationError> {
    let rows: Vec<TokenRow> = sqlx::query_as(concat!(
        "update tokens set revoked_at = $3 where org_id = $1 and revoked_at is null \
         and (expires_at is null or expires_at > $3) and greatest(issued_at, last_used_at) < $2 returning ",
        token_columns!()
    ))
        .bind(org.as_str())
        .bind(before.to_sqlx())
        .bind(now.to_sqlx())
        .fetch_all(&mut **tx)
        .await
        .map_err(OperationError::query("revoke inactive tokens"))?;
    rows.into_iter().map(Token::try_from).collect()
}

/// Sessions of people end within days by design; nobody needs to be told.
async fn expiring(
    tx: &mut Tx<'_>,
    org: &OrgId,
    now: Timestamp,
    until: Timestamp,
) -> Result<Vec<Token>, OperationError> {
    let rows: Vec<TokenRow> = sqlx::query_as(concat!(
        "select ",
        token_columns!(),
        " from tokens where org_id = $1 and revoked_at is null and email is null \
         and expires_at > $2 and expires_at <= $3 order by expires_at, token_id limit $4"
    ))
    .bind(org.as_str())
    .bind(now.to_sqlx())
    .bind(until.to_sqlx())
    .bind(MAX_LIST)
    .fetch_all(&mut **tx)
    .await
    .map_err(OperationError::query("list tokens that end soon"))?;
    rows.into_iter().map(Token::try_from).collect()
}

/// Those whose holders were not told within the last day.
async fn mark_warned(
    tx: &mut Tx<'_>,
    org: &OrgId,
    now: Timestamp,
    until: Timestamp,
) -> Result<Vec<Uuid>, OperationError> {
    let day_ago = now.checked_sub(WARN_STEP).unwrap_or(Timestamp::MIN);
    sqlx::query_scalar(
        "update tokens set warned_at = $2 where org_id = $1 and revoked_at is null and email is null \
         and expires_at > $2 and expires_at <= $3 and (warned_at is null or warned_at <= $4) returning token_id",
    )
    .bind(org.as_str())
    .bind(now.to_sqlx())
    .bind(until.to_sqlx())
    .bind(day_ago.to_sqlx())
    .fetch_all(&mut **tx)
    .await
    .map_err(OperationError::query("note whose holders were told"))
}
