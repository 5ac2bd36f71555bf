//! Tokens of one team, for admins.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use tocsin_kit::{Problem, random};
use tocsin_wire::{OrgId, TeamId};
use utoipa::ToSchema;
use uuid::Uuid;

use super::auth::{self, Peer};
use super::extract::{InPath, TeamPath, TokenPath};
use super::{Access, App, Caller, Routes, Scope, body};
use crate::decide::Refusal;
use crate::http::routes::route;
use crate::identity::lifecycle;
use crate::pg::{Among, By, Ended, Extension, NewToken};
use crate::token::{self, Holder, Permission, Token};

/// Longest label.
const MAX_LABEL_CHARS: usize = 256;
/// Tokens ended with one request.
const MAX_BULK: usize = 1_000;
/// How far a token's end is moved when nobody says.
const EXTENSION_DAYS: u32 = 90;

/// The table of this area.
pub(super) fn routes() -> Routes {
    let access = Access::Admin(Scope::Tokens);
    Routes::new()
        .add(access, route!(issue))
        .add(access, route!(list))
        .add(access, route!(revoke_all))
        .add(access, route!(revoke_all_by_post))
        .add(access, route!(revoke_many))
        .add(access, route!(read))
        .add(access, route!(delete))
        .add(access, route!(revoke))
        .add(access, route!(extend))
}

/// What a new token shall be. Everything may be left out, the body too.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = TokenIssue)]
pub(super) struct Issue {
    /// For people.
    pub(super) label: Option<String>,
    /// What it allows: config:read, config:write and agent:invoke unless said otherwise.
    pub(super) permissions: Option<BTreeSet<Permission>>,
    /// When it ends by itself: as the org's policy says, unless said otherwise.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) expires_at: Option<Timestamp>,
}

/// A new token: the only time that its text is shown.
#[derive(Serialize, ToSchema)]
#[schema(as = TokenIssued)]
pub(super) struct Issued {
    pub(super) token: String,
    pub(super) token_id: Uuid,
    #[schema(value_type = String, format = DateTime)]
    pub(super) issued_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) expires_at: Option<Timestamp>,
    pub(super) label: String,
    pub(super) permissions: Vec<&'static str>,
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
    peer: Peer,
    InPath(TeamPath { org, team }): InPath<TeamPath>,
    body: Bytes,
) -> Result<Json<Issued>, Problem> {
    let request: Issue = body::optional_json(&body)?;
    let holder = team_holder(org, team, &request);
    let by = peer.by(&caller, &app);
    issue_to(&app, holder, request.label, request.expires_at, &by).await
}

pub(super) fn team_holder(org: OrgId, team: TeamId, request: &Issue) -> Holder {
    let permissions = request.permissions.clone();
    Holder::Team {
        org,
        team,
        permissions: permissions.unwrap_or_else(|| Permission::DEFAULT.into_iter().collect()),
    }
}

/// Makes and stores a token.
pub(super) async fn issue_to(
    app: &App,
    holder: Holder,
    label: Option<String>,
    end: Option<Timestamp>,
    by: &By,
) -> Result<Json<Issued>, Problem> {
    let label = checked_label(label)?;
    let now = by.author.at;
    if end.is_some_and(|end| end <= now) {
        return Err(Refusal::Field("expires_at is in the past".to_owned()).into());
    }
    let end = match end {
        Some(end) => Some(end),
        None => {
            let policy = app.database.token_policy(holder.org()).await?;
            policy.default_end(now)
        }
    };
    let (new, text) = made(app, holder, label, None, end, now)?;
    app.database.issue_token(&new, by).await?;
    Ok(Json(Issued {
        token: text,
        token_id: new.id,
        issued_at: now,
        expires_at: new.expires_at,
        label: new.label,
        permissions: new.holder.allows(),
    }))
}

/// A token that is not stored yet, and its text.
pub(super) fn made(
    app: &App,
    holder: Holder,
    label: String,
    email: Option<String>,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(NewToken, String), Problem> {
    let pepper = app.peppers.first().ok_or_else(auth::pepper_missing)?;
    let mut secret = [0; token::SECRET_BYTES];
    if SystemRandom::new().fill(&mut secret).is_err() {
        tracing::error!("the system gives no random bytes");
        return Err(Problem::internal());
    }
    let id = random::time_ordered_id(now);
    let text = token::text(&holder, id, &secret);
    let hash = token::hash(pepper, &secret);
    let new = NewToken {
        id,
        hash,
        holder,
        label,
        email,
        expires_at,
    };
    Ok((new, text))
}

fn checked_label(given: Option<String>) -> Result<String, Problem> {
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
    /// Null for tokens of the org's admins.
    #[schema(value_type = Option<String>)]
    team_node_id: Option<TeamId>,
    label: String,
    permissions: Vec<&'static str>,
    /// active, expired, revoked.
    status: &'static str,
    #[schema(value_type = String, format = DateTime)]
    issued_at: Timestamp,
    issued_by: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    /// To within five minutes.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

impl TokenView {
    pub(super) fn of(token: Token, now: Timestamp) -> Self {
        Self {
            token_id: token.id,
            permissions: token.holder.allows(),
            status: token.status(now),
            team_node_id: token.holder.team().cloned(),
            label: token.label,
            issued_at: token.issued_at,
            issued_by: token.issued_by,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
            last_used_at: token.last_used_at,
        }
    }
}

pub(super) fn views(tokens: Vec<Token>, app: &App) -> Vec<TokenView> {
    let now = app.clock.now();
    let views = tokens.into_iter().map(|token| TokenView::of(token, now));
    views.collect()
}

/// Tokens of a team
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/teams/{team}/tokens", operation_id = "token_list", tag = "tokens",
    params(TeamPath),
    responses((status = 200, description = "Newest first, without their text.", body = [TokenView])))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    InPath(TeamPath { org, team }): InPath<TeamPath>,
) -> Result<Json<Vec<TokenView>>, Problem> {
    app.database.team(&org, &team).await?;
    let tokens = app.database.tokens(&org, Among::Team(&team)).await?;
    Ok(Json(views(tokens, &app)))
}

/// A token
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/teams/{team}/tokens/{token}", operation_id = "token_read", tag = "tokens",
    params(TokenPath),
    responses((status = 200, description = "Without its text.", body = TokenView)))]
pub(super) async fn read(
    State(app): State<Arc<App>>,
    InPath(TokenPath { org, team, token }): InPath<TokenPath>,
) -> Result<Json<TokenView>, Problem> {
    read_among(&app, &org, Among::Team(&team), &token).await
}

pub(super) async fn read_among(
    app: &App,
    org: &OrgId,
    among: Among<'_>,
    id: &str,
) -> Result<Json<TokenView>, Problem> {
    let id = token_id(id)?;
    let found = app.database.token_of(org, among, id).await?;
    let token = found.ok_or_else(no_token)?;
    Ok(Json(TokenView::of(token, app.clock.now())))
}

pub(super) fn token_id(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| no_token())
}

pub(super) fn no_token() -> Problem {
    Problem::not_found(
        "token_not_found",
        "there is no such token here; the list of tokens has their ids",
    )
}

/// What a revocation answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Revoked {
    /// `ok`
    status: &'static str,
    /// How many were live until now.
    revoked_count: usize,
}

/// Ends tokens, here at once and everywhere within a second.
pub(super) async fn revoke_among(
    app: &App,
    org: &OrgId,
    among: Among<'_>,
    ids: Option<&[Uuid]>,
    by: &By,
) -> Result<usize, Problem> {
    match app.database.revoke_tokens(org, among, ids, by).await? {
        Ended::Revoked(revoked) => {
            for id in &revoked {
                app.identity.revoked.insert(id.as_u128(), by.author.at);
                app.identity.cache.forget(*id).await;
            }
            app.identity.revoked_here.notify_one();
            Ok(revoked.len())
        }
        Ended::Foreign => Err(Problem::forbidden(
            "foreign_token",
            "one of the tokens does not belong here; nothing was revoked",
        )),
    }
}

/// End a token
///
/// Doing so again changes nothing, and a token that is unknown here is none that could be used.
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/teams/{team}/tokens/{token}/revoke",
    operation_id = "token_revoke", tag = "tokens", params(TokenPath),
    responses((status = 200, description = "It is worth nothing from now on.", body = Revoked)))]
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    peer: Peer,
    InPath(TokenPath { org, team, token }): InPath<TokenPath>,
) -> Result<Json<Revoked>, Problem> {
    app.database.team(&org, &team).await?;
    let by = peer.by(&caller, &app);
    revoke_if_known(&app, &org, Among::Team(&team), &token, &by).await
}

/// A token that is not there is 200 with a count of 0.
pub(super) async fn revoke_if_known(
    app: &App,
    org: &OrgId,
    among: Among<'_>,
    token: &str,
    by: &By,
) -> Result<Json<Revoked>, Problem> {
    let revoked_count = match token.parse() {
        Ok(id) => revoke_among(app, org, among, Some(&[id]), by).await?,
        Err(_) => 0,
    };
    Ok(Json(Revoked {
        status: "ok",
        revoked_count,
    }))
}

/// A token that is not there is 404.
pub(super) async fn revoke_known(
    app: &App,
    org: &OrgId,
    among: Among<'_>,
    token: &str,
    by: &By,
) -> Result<Json<Revoked>, Problem> {
    let id = token_id(token)?;
    let found = app.database.token_of(org, among, id).await?;
    found.ok_or_else(no_token)?;
    revoke_if_known(app, org, among, token, by).await
}

/// End a token, by method
#[utoipa::path(delete, path = "/api/v1/admin/orgs/{org}/teams/{team}/tokens/{token}",
    operation_id = "token_delete", tag = "tokens", params(TokenPath),
    responses((status = 200, description = "It is worth nothing from now on.", body = Revoked)))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    peer: Peer,
    InPath(TokenPath { org, team, token }): InPath<TokenPath>,
) -> Result<Json<Revoked>, Problem> {
    let by = peer.by(&caller, &app);
    revoke_known(&app, &org, Among::Team(&team), &token, &by).await
}

/// End all tokens of a team
#[utoipa::path(delete, path = "/api/v1/admin/orgs/{org}/teams/{team}/tokens",
    operation_id = "token_delete_all", tag = "tokens", params(TeamPath),
    responses((status = 200, description = "None of them is worth anything from now on.", body = Revoked)))]
pub(super) async fn revoke_all(
    State(app): State<Arc<App>>,
    caller: Caller,
    peer: Peer,
    InPath(TeamPath { org, team }): InPath<TeamPath>,
) -> Result<Json<Revoked>, Problem> {
    app.database.team(&org, &team).await?;
    let by = peer.by(&caller, &app);
    let revoked_count = revoke_among(&app, &org, Among::Team(&team), None, &by).await?;
    Ok(Json(Revoked {
        status: "ok",
        revoked_count,
    }))
}

/// End all tokens of a team, by POST
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/teams/{team}/tokens/revoke-all",
    operation_id = "token_revoke_all", tag = "tokens", params(TeamPath),
    responses((status = 200, description = "None of them is worth anything from now on.", body = Revoked)))]
pub(super) async fn revoke_all_by_post(
    state: State<Arc<App>>,
    caller: Caller,
    peer: Peer,
    path: InPath<TeamPath>,
) -> Result<Json<Revoked>, Problem> {
    revoke_all(state, caller, peer, path).await
}

/// Several tokens.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = TokenBulk)]
pub(super) struct Bulk {
    /// At most 1,000.
    #[schema(max_items = 1000)]
    token_ids: Vec<Uuid>,
}

/// What a bulk revocation answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BulkRevoked {
    /// `ok`
    status: &'static str,
    /// How many were live until now.
    revoked_count: usize,
    total_requested: usize,
}

pub(super) async fn revoke_bulk(
    app: &App,
    org: &OrgId,
    among: Among<'_>,
    body: &Bytes,
    by: &By,
) -> Result<Json<BulkRevoked>, Problem> {
    let request: Bulk = body::json(body)?;
    if request.token_ids.len() > MAX_BULK {
        let refusal = Refusal::Field(format!(
            "token_ids has {} entries; at most {MAX_BULK} are revoked at once",
            request.token_ids.len()
        ));
        return Err(refusal.into());
    }
    let revoked_count = revoke_among(app, org, among, Some(&request.token_ids), by).await?;
    Ok(Json(BulkRevoked {
        status: "ok",
        revoked_count,
        total_requested: request.token_ids.len(),
    }))
}

/// End several tokens of a team
///
/// All of them, or none when one belongs to somebody else.
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/teams/{team}/tokens/bulk-revoke",
    operation_id = "token_revoke_many", tag = "tokens", params(TeamPath), request_body = Bulk,
    responses((status = 200, description = "They are worth nothing from now on.", body = BulkRevoked)))]
pub(super) async fn revoke_many(
    State(app): State<Arc<App>>,
    caller: Caller,
    peer: Peer,
    InPath(TeamPath { org, team }): InPath<TeamPath>,
    body: Bytes,
) -> Result<Json<BulkRevoked>, Problem> {
    app.database.team(&org, &team).await?;
    let by = peer.by(&caller, &app);
    revoke_bulk(&app, &org, Among::Team(&team), &body, &by).await
}

/// By how much a token's end is moved.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = TokenExtend)]
pub(super) struct Extend {
    /// More than 0; 90 unless said otherwise.
    #[schema(minimum = 1, maximum = 36500)]
    days: Option<i64>,
}

pub(super) async fn extend_among(
    app: &App,
    org: &OrgId,
    among: Among<'_>,
    token: &str,
    body: &Bytes,
    by: &By,
) -> Result<Json<TokenView>, Problem> {
    let id = token_id(token)?;
    let request: Extend = body::optional_json(body)?;
    let days = u32::try_from(request.days.unwrap_or(i64::from(EXTENSION_DAYS))).ok();
    let days = days
        .filter(|days| (1..=lifecycle::MAX_DAYS).contains(days))
        .ok_or_else(|| Refusal::Field(format!("days must be from 1 to {}", lifecycle::MAX_DAYS)))?;
    let extension = app.database.extend_token(org, among, id, days, by).await?;
    match extension {
        Extension::Extended(token) => {
            app.identity.cache.forget(id).await;
            Ok(Json(TokenView::of(*token, by.author.at)))
        }
        Extension::NoToken => Err(no_token()),
        Extension::Revoked => Err(Problem::bad_request(
            "token_revoked",
            "the token is revoked, and stays so; issue a new one",
        )),
    }
}

/// Extend a token
///
/// From its end, or from now where that has passed or there is none.
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/teams/{team}/tokens/{token}/extend",
    operation_id = "token_extend", tag = "tokens", params(TokenPath), request_body = Option<Extend>,
    responses((status = 200, description = "With its new end.", body = TokenView)))]
pub(super) async fn extend(
    State(app): State<Arc<App>>,
    caller: Caller,
    peer: Peer,
    InPath(TokenPath { org, team, token }): InPath<TokenPath>,
    body: Bytes,
) -> Result<Json<TokenView>, Problem> {
    let by = peer.by(&caller, &app);
    extend_among(&app, &org, Among::Team(&team), &token, &body, &by).await
}
