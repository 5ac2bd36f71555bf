//! Tokens of an org's admins.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use jiff::Timestamp;
use serde::Deserialize;
use tocsin_kit::Problem;
use utoipa::ToSchema;

use super::auth::Peer;
use super::extract::{InPath, OrgPath};
use super::tokens::{self, Issued, Revoked, TokenView};
use super::tokens_of_org::{OrgTokenPath, must_be_org};
use super::{Access, App, Caller, Routes, Scope, body};
use crate::decide::Refusal;
use crate::http::routes::route;
use crate::pg::Among;
use crate::token::Holder;

/// The table of this area. An admin of an org may end tokens, and make none.
pub(super) fn routes() -> Routes {
    let access = Access::Admin(Scope::Tokens);
    Routes::new()
        .add(Access::GlobalAdmin(Scope::Tokens), route!(issue))
        .add(access, route!(list))
        .add(access, route!(delete))
        .add(access, route!(revoke))
}

/// What a new token shall be. Everything may be left out, the body too.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = AdminTokenIssue)]
pub(super) struct Issue {
    /// For people.
    label: Option<String>,
    /// Scopes: `admin:*` unless said otherwise.
    permissions: Option<Vec<String>>,
    /// When it ends by itself: as the org's policy says, unless said otherwise.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// Issue a token of an org's admin
///
/// The body may be empty.
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/admin-tokens", operation_id = "admin_token_issue", tag = "tokens",
    params(OrgPath), request_body = Option<Issue>,
    responses((status = 200, description = "The only time that its text is shown.", body = Issued)))]
pub(super) async fn issue(
    State(app): State<Arc<App>>,
    caller: Caller,
    peer: Peer,
    InPath(OrgPath { org }): InPath<OrgPath>,
    body: Bytes,
) -> Result<Json<Issued>, Problem> {
    let request: Issue = body::optional_json(&body)?;
    let scopes = match request.permissions {
        None => BTreeSet::from([Scope::All]),
        Some(named) => scopes(&named)?,
    };
    let holder = Holder::OrgAdmin { org, scopes };
    let by = peer.by(&caller, &app);
    tokens::issue_to(&app, holder, request.label, request.expires_at, &by).await
}

fn scopes(named: &[String]) -> Result<BTreeSet<Scope>, Problem> {
    let known = named.iter().map(|text| {
        Scope::parse(text).ok_or_else(|| {
            let all: Vec<&str> = Scope::ALL.into_iter().map(Scope::as_str).collect();
            let shown: String = text.chars().take(64).collect();
            Refusal::Field(format!(
                "permissions: {shown:?} is not one of {}",
                all.join(", ")
            ))
        })
    });
    Ok(known.collect::<Result<_, _>>()?)
}

/// Tokens of an org's admins
///
/// Sessions of people who signed in as admins are among them.
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/admin-tokens", operation_id = "admin_token_list", tag = "tokens",
    params(OrgPath),
    responses((status = 200, description = "Newest first, without their text.", body = [TokenView])))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    InPath(OrgPath { org }): InPath<OrgPath>,
) -> Result<Json<Vec<TokenView>>, Problem> {
    must_be_org(&app, &org).await?;
    let found = app.database.tokens(&org, Among::Admins).await?;
    Ok(Json(tokens::views(found, &app)))
}

/// End a token of an org's admin
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/admin-tokens/{token}/revoke",
    operation_id = "admin_token_revoke", tag = "tokens", params(OrgTokenPath),
    responses((status = 200, description = "It is worth nothing from now on.", body = Revoked)))]
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    peer: Peer,
    InPath(OrgTokenPath { org, token }): InPath<OrgTokenPath>,
) -> Result<Json<Revoked>, Problem> {
    must_be_org(&app, &org).await?;
    let by = peer.by(&caller, &app);
    tokens::revoke_if_known(&app, &org, Among::Admins, &token, &by).await
}

/// End a token of an org's admin, by method
#[utoipa::path(delete, path = "/api/v1/admin/orgs/{org}/admin-tokens/{token}",
    operation_id = "admin_token_delete", tag = "tokens", params(OrgTokenPath),
    responses((status = 200, description = "It is worth nothing from now on.", body = Revoked)))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    peer: Peer,
    InPath(OrgTokenPath { org, token }): InPath<OrgTokenPath>,
) -> Result<Json<Revoked>, Problem> {
    let by = peer.by(&caller, &app);
    tokens::revoke_known(&app, &org, Among::Admins, &token, &by).await
}
