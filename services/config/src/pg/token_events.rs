//! The record of tokens: what happened to them, append-only.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde_json::Value;
use sqlx::PgExecutor;
use sqlx::types::Uuid;
use tocsin_wire::{OrgId, TeamId};

use super::Database;
use crate::error::OperationError;

/// What happened to a token.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[schema(as = TokenEventType)]
pub(crate) enum EventKind {
    Issued,
    Revoked,
    /// It was used after its end.
    Expired,
    Extended,
    /// It was used for what it does not allow.
    PermissionDenied,
    ExpiryWarning,
    AutoRevokedInactive,
}

impl EventKind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Extended => "extended",
            Self::PermissionDenied => "permission_denied",
            Self::ExpiryWarning => "expiry_warning",
            Self::AutoRevokedInactive => "auto_revoked_inactive",
        }
    }
}

/// One entry that is to be written.
#[derive(Debug, Clone)]
pub(crate) struct TokenEvent {
    pub(crate) org: OrgId,
    /// `None` for tokens of the org's admins.
    pub(crate) team: Option<TeamId>,
    pub(crate) token: Option<Uuid>,
    pub(crate) kind: EventKind,
    pub(crate) at: Timestamp,
    pub(crate) actor: String,
    pub(crate) details: Value,
    pub(crate) ip: Option<String>,
}

/// One entry as it stands.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct TokenEventRow {
    pub(crate) id: i64,
    pub(crate) org_id: String,
    pub(crate) team_id: Option<String>,
    pub(crate) token_id: Option<Uuid>,
    pub(crate) event_type: String,
    pub(crate) event_at: jiff_sqlx::Timestamp,
    pub(crate) actor: String,
    pub(crate) details: Value,
    pub(crate) ip_address: Option<String>,
}

/// Which entries are asked for.
#[derive(Debug, Default)]
pub(crate) struct EventFilter {
    pub(crate) team: Option<TeamId>,
    pub(crate) token: Option<Uuid>,
    pub(crate) kind: Option<EventKind>,
    pub(crate) limit: i64,
    pub(crate) offset: i64,
}

impl Database {
    /// Writes entries behind a request. Orgs that are gone are fine: the record outlives them.
    pub(crate) async fn note_token_events(
        &self,
        events: &[TokenEvent],
    ) -> Result<(), OperationError> {
        insert(self.store.pool(), events).await
    }

    /// Entries of an org, newest first, and how many there are in all.
    pub(crate) async fn token_events(
        &self,
        org: &OrgId,
        filter: &EventFilter,
    ) -> Result<(Vec<TokenEventRow>, i64), OperationError> {
        let team = filter.team.as_ref().map(TeamId::as_str);
        let kind = filter.kind.map(EventKind::as_str);
        let rows = sqlx::query_as(
            "select id, org_id, team_id, token_id, event_type, event_at, actor, details, ip_address from token_events \
             where org_id = $1 and ($2::text is null or team_id = $2) and ($3::uuid is null or token_id = $3) \
             and ($4::text is null or event_type = $4) order by event_at desc, id desc limit $5 offset $6",
        )
        .bind(org.as_str())
        .bind(team)
        .bind(filter.token)
        .bind(kind)
        .bind(filter.limit)
        .bind(filter.offset)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("read the record of tokens"))?;
        let total = sqlx::query_scalar(
            "select count(*) from token_events \
             where org_id = $1 and ($2::text is null or team_id = $2) and ($3::uuid is null or token_id = $3) \
             and ($4::text is null or event_type = $4)",
        )
        .bind(org.as_str())
        .bind(team)
        .bind(filter.token)
        .bind(kind)
        .fetch_one(self.store.pool())
        .await
        .map_err(OperationError::query("count the record of tokens"))?;
        Ok((rows, total))
    }
}

pub(super) async fn insert(
    executor: impl PgExecutor<'_>,
    events: &[TokenEvent],
) -> Result<(), OperationError> {
    if events.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into token_events (org_id, team_id, token_id, event_type, event_at, actor, details, ip_address) \
         select * from unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::timestamptz[], $6::text[], $7::jsonb[], $8::text[])",
    )
    .bind(column(events, |event| event.org.as_str()))
    .bind(column(events, |event| event.team.as_ref().map(TeamId::as_str)))
    .bind(column(events, |event| event.token))
    .bind(column(events, |event| event.kind.as_str()))
    .bind(column(events, |event| event.at.to_sqlx()))
    .bind(column(events, |event| event.actor.as_str()))
    .bind(column(events, |event| event.details.clone()))
    .bind(column(events, |event| event.ip.as_deref()))
    .execute(executor)
    .await
    .map_err(OperationError::query("put tokens on record"))?;
    Ok(())
}

fn column<'a, T>(events: &'a [TokenEvent], value: impl Fn(&'a TokenEvent) -> T) -> Vec<T> {
    events.iter().map(value).collect()
}
