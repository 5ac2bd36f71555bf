//! All tokens of an org, for its admins.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tocsin_kit::Problem;
use tocsin_wire::{OrgId, TeamId};
use utoipa::ToSchema;
use uuid::Uuid;

use super::auth::Peer;
use super::extract::{self, InPath, OrgPath};
use super::tokens::{self, BulkRevoked, Extend, Revoked, TokenView};
use super::{Access, App, Caller, Routes, Scope};
use crate::decide::Refusal;
use crate::http::routes::route;
use crate::identity::sweep;
use crate::pg::Among;
use crate::token::{Permission, Token};

/// The table of this area.
pub(super) fn routes() -> Routes {
    let access = Access::Admin(Scope::Tokens);
    Routes::new()
        .add(access, route!(list))
        .add(access, route!(revoke_many))
        .add(access, route!(read))
        .add(access, route!(delete))
        .add(access, route!(revoke))
        .add(access, route!(extend))
        .add(access, route!(permissions))
        .add(access, route!(run_lifecycle))
}

/// `…/orgs/{org}/tokens/{token}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OrgTokenPath {
    /// The org.
    #[serde(deserialize_with = "extract::org")]
    #[param(value_type = String, example = "acme")]
    pub(super) org: OrgId,
    /// The token's id.
    #[param(example = "0195d2f0-0000-7000-8000-000000000000")]
    pub(super) token: String,
}

/// Tokens of the teams of an org.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OrgTokens {
    tokens: Vec<TokenView>,
    total: usize,
}

/// 404 for an org that is not there.
pub(super) async fn must_be_org(app: &App, org: &OrgId) -> Result<(), Problem> {
    if app.database.is_org(org).await? {
        return Ok(());
    }
    Err(Refusal::NoOrg { org: org.clone() }.into())
}

/// Tokens of all teams
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/tokens", operation_id = "org_token_list", tag = "tokens",
    params(OrgPath),
    responses((status = 200, description = "Newest first, without their text.", body = OrgTokens)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    InPath(OrgPath { org }): InPath<OrgPath>,
) -> Result<Json<OrgTokens>, Problem> {
    must_be_org(&app, &org).await?;
    let tokens = tokens::views(app.database.tokens(&org, Among::Teams).await?, &app);
    Ok(Json(OrgTokens {
        total: tokens.len(),
        tokens,
    }))
}

/// A token of any team
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/tokens/{token}", operation_id = "org_token_read", tag = "tokens",
    params(OrgTokenPath),
    responses((status = 200, description = "Without its text.", body = TokenView)))]
pub(super) async fn read(
    State(app): State<Arc<App>>,
    InPath(OrgTokenPath { org, token }): InPath<OrgTokenPath>,
) -> Result<Json<TokenView>, Problem> {
    tokens::read_among(&app, &org, Among::Teams, &token).await
}

/// End a token of any team
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/tokens/{token}/revoke",
    operation_id = "org_token_revoke", tag = "tokens", params(OrgTokenPath),
    responses((status = 200, description = "It is worth nothing from now on.", body = Revoked)))]
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    peer: Peer,
    InPath(OrgTokenPath { org, token }): InPath<OrgTokenPath>,
) -> Result<Json<Revoked>, Problem> {
    must_be_org(&app, &org).await?;
    let by = peer.by(&caller, &app);
    tokens::revoke_if_known(&app, &org, Among::Teams, &token, &by).await
}

/// End a token of any team, by method
#[utoipa::path(delete, path = "/api/v1/admin/orgs/{org}/tokens/{token}",
    operation_id = "org_token_delete", tag = "tokens", params(OrgTokenPath),
    responses((status = 200, description = "It is worth nothing from now on.", body = Revoked)))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    peer: Peer,
    InPath(OrgTokenPath { org, token }): InPath<OrgTokenPath>,
) -> Result<Json<Revoked>, Problem> {
    let by = peer.by(&caller, &app);
    tokens::revoke_known(&app, &org, Among::Teams, &token, &by).await
}

/// Extend a token of any team
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/tokens/{token}/extend",
    operation_id = "org_token_extend", tag = "tokens", params(OrgTokenPath), request_body = Option<Extend>,
    responses((status = 200, description = "With its new end.", body = TokenView)))]
pub(super) async fn extend(
    State(app): State<Arc<App>>,
    caller: Caller,
    peer: Peer,
    InPath(OrgTokenPath { org, token }): InPath<OrgTokenPath>,
    body: Bytes,
) -> Result<Json<TokenView>, Problem> {
    let by = peer.by(&caller, &app);
    tokens::extend_among(&app, &org, Among::Teams, &token, &body, &by).await
}

/// End several tokens of the org's teams
///
/// All of them, or none when one belongs to somebody else.
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/tokens/bulk-revoke",
    operation_id = "org_token_revoke_many", tag = "tokens", params(OrgPath), request_body = tokens::Bulk,
    responses((status = 200, description = "They are worth nothing from now on.", body = BulkRevoked)))]
pub(super) async fn revoke_many(
    State(app): State<Arc<App>>,
    caller: Caller,
    peer: Peer,
    InPath(OrgPath { org }): InPath<OrgPath>,
    body: Bytes,
) -> Result<Json<BulkRevoked>, Problem> {
    must_be_org(&app, &org).await?;
    let by = peer.by(&caller, &app);
    tokens::revoke_bulk(&app, &org, Among::Teams, &body, &by).await
}

/// What tokens of teams may allow.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenPermissions {
    permissions: Vec<Permission>,
    /// What a token allows when nobody says otherwise.
    default: Vec<Permission>,
}

/// What tokens may allow
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/token-permissions", operation_id = "token_permissions", tag = "tokens",
    params(OrgPath),
    responses((status = 200, description = "The vocabulary.", body = TokenPermissions)))]
pub(super) async fn permissions(
    State(app): State<Arc<App>>,
    InPath(OrgPath { org }): InPath<OrgPath>,
) -> Result<Json<TokenPermissions>, Problem> {
    must_be_org(&app, &org).await?;
    Ok(Json(TokenPermissions {
        permissions: Permission::ALL.to_vec(),
        default: Permission::DEFAULT.to_vec(),
    }))
}

/// A token in a report.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SweptToken {
    token_id: Uuid,
    #[schema(value_type = Option<String>)]
    team_node_id: Option<TeamId>,
    label: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

impl From<Token> for SweptToken {
    fn from(token: Token) -> Self {
        Self {
            token_id: token.id,
            team_node_id: token.holder.team().cloned(),
            label: token.label,
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
        }
    }
}

/// What a run did.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LifecycleRun {
    #[schema(value_type = String)]
    org_id: OrgId,
    tokens_expiring_soon: Vec<SweptToken>,
    tokens_revoked: Vec<SweptToken>,
    /// Of those that expire soon: whose warning was put on record just now. Each is warned once a
    /// day.
    warnings_sent: usize,
}

/// Look after the tokens now
///
/// What else happens once a day: tokens that nobody used for long are revoked, those that end soon
/// are put on record.
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/token-lifecycle/run", operation_id = "token_lifecycle_run", tag = "tokens",
    params(OrgPath),
    responses((status = 200, description = "What was done.", body = LifecycleRun)))]
pub(super) async fn run_lifecycle(
    State(app): State<Arc<App>>,
    caller: Caller,
    peer: Peer,
    InPath(OrgPath { org }): InPath<OrgPath>,
) -> Result<Json<LifecycleRun>, Problem> {
    must_be_org(&app, &org).await?;
    let swept = sweep::sweep(&app, &org, &peer.by(&caller, &app)).await?;
    Ok(Json(LifecycleRun {
        org_id: org,
        tokens_expiring_soon: swept.expiring.into_iter().map(Into::into).collect(),
        tokens_revoked: swept.revoked.into_iter().map(Into::into).collect(),
        warnings_sent: swept.warned,
    }))
}
