//! Team tokens, for admins.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use tocsin_kit::{Problem, random};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use super::extract::{InPath, TeamPath, TokenPath};
use super::{Access, App, Caller, Routes, Scope, auth, body};
use crate::decide::Refusal;
use crate::pg::NewToken;
use crate::token::{self, Permission, Token};

/// Longest label.
const MAX_LABEL_CHARS: usize = 256;

/// The table of this area.
pub(super) fn routes() -> Routes {
    let access = Access::Admin(Scope::Tokens);
    Routes::new()
        .add(access, routes!(issue))
        .add(access, routes!(list))
        .add(access, routes!(revoke))
        .add(access, routes!(delete))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = TokenIssue)]
pub(super) struct Issue {
    label: Option<String>,
    permissions: Option<Vec<Permission>>,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// A new token: the only time that its text is shown.
#[derive(Serialize, ToSchema)]
#[schema(as = TokenIssued)]
pub(super) struct Issued {
    token: String,
    token_id: Uuid,
    #[schema(value_type = String, format = DateTime)]
    issued_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    permissions: Vec<Permission>,
}

/// Issue a token
///
/// The body may be empty.
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/teams/{team}/tokens", operation_id = "token_issue", tag = "tokens",
    params(TeamPath), request_body = Option<Issue>,
    responses((status = 200, description = "The only time that its text is shown.", body = Issued)))]
pub(super) async fn issue(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(TeamPath { org, team }): InPath<TeamPath>,
    body: Bytes,
) -> Result<Json<Issued>, Problem> {
    let request: Issue = body::optional_json(&body)?;
    let pepper = app.peppers.first().ok_or_else(auth::pepper_missing)?;
    let author = caller.author(&app);
    let label = label(request.label)?;
    if request.expires_at.is_some_and(|end| end <= author.at) {
        return Err(Refusal::Field("expires_at is in the past".to_owned()).into());
    }
    let mut permissions = request
        .permissions
        .unwrap_or_else(|| Permission::DEFAULT.to_vec());
    permissions.sort_unstable();
    permissions.dedup();
    let mut secret = [0; token::SECRET_BYTES];
    if SystemRandom::new().fill(&mut secret).is_err() {
        tracing::error!("the system gives no random bytes");
        return Err(Problem::internal());
    }
    let new = NewToken {
        id: random::time_ordered_id(author.at),
        hash: token::hash(pepper, &secret),
        permissions,
        label,
        expires_at: request.expires_at,
    };
    app.database.issue_token(&org, &team, &new, &author).await?;
    Ok(Json(Issued {
        token: token::text(&org, &team, new.id, &secret),
        token_id: new.id,
        issued_at: author.at,
        expires_at: new.expires_at,
        permissions: new.permissions,
    }))
}

fn label(given: Option<String>) -> Result<String, Problem> {
    let label = given.unwrap_or_default();
    if label.chars().count() > MAX_LABEL_CHARS || label.contains('\0') {
        let refusal = Refusal::Field(format!(
            "label must be at most {MAX_LABEL_CHARS} characters, without U+0000"
        ));
        return Err(refusal.into());
    }
    Ok(label)
}

/// A token without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Token)]
pub(super) struct TokenView {
    token_id: Uuid,
    label: String,
    permissions: Vec<Permission>,
    status: &'static str,
    #[schema(value_type = String, format = DateTime)]
    issued_at: Timestamp,
    issued_by: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

impl TokenView {
    fn of(token: Token, now: Timestamp) -> Self {
        let status = if token.revoked_at.is_some() {
            "revoked"
        } else if token.expires_at.is_some_and(|end| end <= now) {
            "expired"
        } else {
            "active"
        };
        Self {
            token_id: token.id,
            label: token.label,
            permissions: token.permissions,
            status,
            issued_at: token.issued_at,
            issued_by: token.issued_by,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
            last_used_at: token.last_used_at,
        }
    }
}

/// Tokens of a team
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/teams/{team}/tokens", operation_id = "token_list", tag = "tokens",
    params(TeamPath),
    responses((status = 200, description = "Newest first, without their text.", body = [TokenView])))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    InPath(TeamPath { org, team }): InPath<TeamPath>,
) -> Result<Json<Vec<TokenView>>, Problem> {
    let tokens = app.database.tokens(&org, &team).await?;
    let now = app.clock.now();
    let views = tokens.into_iter().map(|token| TokenView::of(token, now));
    Ok(Json(views.collect()))
}

/// What a revocation answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Revoked {
    status: &'static str,
}

/// End a token
///
/// Doing so again changes nothing.
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/teams/{team}/tokens/{token}/revoke",
    operation_id = "token_revoke", tag = "tokens", params(TokenPath),
    responses((status = 200, description = "It is worth nothing from now on.", body = Revoked)))]
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(TokenPath { org, team, token }): InPath<TokenPath>,
) -> Result<Json<Revoked>, Problem> {
    let id: Uuid = token.parse().map_err(|_| Refusal::NoToken {
        org: org.clone(),
        team: team.clone(),
    })?;
    app.database
        .revoke_token(&org, &team, id, &caller.author(&app))
        .await?;
    Ok(Json(Revoked { status: "ok" }))
}

/// End a token, by method
#[utoipa::path(delete, path = "/api/v1/admin/orgs/{org}/teams/{team}/tokens/{token}",
    operation_id = "token_delete", tag = "tokens", params(TokenPath),
    responses((status = 200, description = "It is worth nothing from now on.", body = Revoked)))]
pub(super) async fn delete(
    state: State<Arc<App>>,
    caller: Caller,
    path: InPath<TokenPath>,
) -> Result<Json<Revoked>, Problem> {
    revoke(state, caller, path).await
}
