//! The record of an org's tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tocsin_kit::Problem;
use tocsin_wire::{OrgId, TeamId};
use utoipa::ToSchema;
use uuid::Uuid;

use super::extract::{InPath, InQuery, OrgPath};
use super::tokens_of_org::must_be_org;
use super::{Access, App, Routes, Scope};
use crate::http::routes::route;
use crate::pg::{EventFilter, EventKind, TokenEventRow};

/// Entries of a page when nobody says.
const PAGE: i64 = 100;
/// Entries of a page at most.
const MAX_PAGE: i64 = 1_000;

/// The table of this area.
pub(super) fn routes() -> Routes {
    Routes::new().add(Access::Admin(Scope::Audit), route!(list))
}

/// Which entries.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Of this team.
    #[param(value_type = Option<String>)]
    team_node_id: Option<TeamId>,
    /// Of this token.
    token_id: Option<Uuid>,
    /// Of this kind.
    #[param(inline)]
    event_type: Option<EventKind>,
    /// From 1 to 1000; 100 unless said otherwise.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
    /// How many to leave out.
    #[param(minimum = 0)]
    offset: Option<i64>,
}

/// What happened to a token.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TokenEvent)]
pub(super) struct Entry {
    id: i64,
    org_id: String,
    /// Null for tokens of the org's admins.
    team_node_id: Option<String>,
    token_id: Option<Uuid>,
    /// issued, revoked, expired, extended, permission_denied, expiry_warning, auto_revoked_inactive.
    event_type: String,
    #[schema(value_type = String, format = DateTime)]
    event_at: Timestamp,
    actor: String,
    #[schema(value_type = Object)]
    details: serde_json::Value,
    ip_address: Option<String>,
}

impl From<TokenEventRow> for Entry {
    fn from(row: TokenEventRow) -> Self {
        Self {
            id: row.id,
            org_id: row.org_id,
            team_node_id: row.team_id,
            token_id: row.token_id,
            event_type: row.event_type,
            event_at: row.event_at.to_jiff(),
            actor: row.actor,
            details: row.details,
            ip_address: row.ip_address,
        }
    }
}

/// A page of the record.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TokenEvents)]
pub(super) struct Page {
    #[schema(value_type = String)]
    org_id: OrgId,
    events: Vec<Entry>,
    /// Over all pages.
    total: i64,
    limit: i64,
    offset: i64,
}

/// The record of tokens
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/token-audit", operation_id = "token_audit", tag = "tokens",
    params(OrgPath, Filter),
    responses((status = 200, description = "Newest first.", body = Page)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    InPath(OrgPath { org }): InPath<OrgPath>,
    InQuery(query): InQuery<Filter>,
) -> Result<Json<Page>, Problem> {
    must_be_org(&app, &org).await?;
    let (limit, offset) = (query.limit.unwrap_or(PAGE), query.offset.unwrap_or(0));
    if !(1..=MAX_PAGE).contains(&limit) || offset < 0 {
        return Err(Problem::bad_request(
            "invalid_query",
            format!("limit must be from 1 to {MAX_PAGE}, offset not negative"),
        ));
    }
    let filter = EventFilter {
        team: query.team_node_id,
        token: query.token_id,
        kind: query.event_type,
        limit,
        offset,
    };
    let (rows, total) = app.database.token_events(&org, &filter).await?;
    Ok(Json(Page {
        org_id: org,
        events: rows.into_iter().map(Into::into).collect(),
        total,
        limit,
        offset,
    }))
}
