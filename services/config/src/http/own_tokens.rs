//! Tokens of a team, for the team itself.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::Deserialize;
use tocsin_kit::Problem;

use super::auth::Peer;
use super::extract::InPath;
use super::tokens::{self, Issue, Issued, Revoked, TokenView};
use super::{Access, App, Caller, Routes, body};
use crate::http::routes::route;
use crate::pg::Among;
use crate::token::{Holder, Permission};

/// The table of this area.
pub(super) fn routes() -> Routes {
    let issues = Access::Team(Permission::TokensIssue);
    let revokes = Access::Team(Permission::TokensRevoke);
    Routes::new()
        .add(issues, route!(issue_own))
        .add(revokes, route!(list_own))
        .add(revokes, route!(delete_own))
}

/// Issue a token of the own team
///
/// It may allow no more than the token with which it is asked for, and lives no longer.
#[utoipa::path(post, path = "/api/v1/config/me/tokens", operation_id = "own_token_issue", tag = "tokens",
    request_body = Option<Issue>,
    responses((status = 200, description = "The only time that its text is shown.", body = Issued)))]
pub(super) async fn issue_own(
    State(app): State<Arc<App>>,
    caller: Caller,
    peer: Peer,
    body: Bytes,
) -> Result<Json<Issued>, Problem> {
    let request: Issue = body::optional_json(&body)?;
    let (org, team) = caller.team()?;
    let holder = match &request.permissions {
        Some(_) => tokens::team_holder(org.clone(), team, &request),
        // The default, as far as the issuer has it.
        None => Holder::Team {
            org: org.clone(),
            team,
            permissions: Permission::DEFAULT
                .into_iter()
                .filter(|known| caller.has(*known))
                .collect(),
        },
    };
    if let Holder::Team { permissions, .. } = &holder {
        let beyond: Vec<&str> = permissions
            .difference(&caller.permissions)
            .map(|known| known.as_str())
            .collect();
        if !beyond.is_empty() {
            return Err(Problem::forbidden(
                "permissions_exceed_issuer",
                format!(
                    "a token may allow no more than the one that issues it, which lacks {}",
                    beyond.join(", ")
                ),
            ));
        }
    }
    let issuer = match caller.token {
        Some(id) => app.database.token_of(&org, Among::Org, id).await?,
        None => None,
    };
    let last = issuer.and_then(|issuer| issuer.expires_at);
    let end = match (request.expires_at, last) {
        (Some(wanted), Some(last)) if wanted > last => {
            return Err(Problem::forbidden(
                "expiry_exceeds_issuer",
                format!("a token may live no longer than the one that issues it: until {last}"),
            ));
        }
        (wanted, last) => wanted.or(last),
    };
    let by = peer.by(&caller, &app);
    tokens::issue_to(&app, holder, request.label, end, &by).await
}

/// Tokens of the own team
#[utoipa::path(get, path = "/api/v1/config/me/tokens", operation_id = "own_token_list", tag = "tokens",
    responses((status = 200, description = "Newest first, without their text.", body = [TokenView])))]
pub(super) async fn list_own(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<Vec<TokenView>>, Problem> {
    let (org, team) = caller.team()?;
    let found = app.database.tokens(&org, Among::Team(&team)).await?;
    Ok(Json(tokens::views(found, &app)))
}

/// `…/tokens/{token}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OwnTokenPath {
    /// The token's id.
    #[param(example = "0195d2f0-0000-7000-8000-000000000000")]
    token: String,
}

/// End a token of the own team
#[utoipa::path(delete, path = "/api/v1/config/me/tokens/{token}",
    operation_id = "own_token_delete", tag = "tokens", params(OwnTokenPath),
    responses((status = 200, description = "It is worth nothing from now on.", body = Revoked)))]
pub(super) async fn delete_own(
    State(app): State<Arc<App>>,
    caller: Caller,
    peer: Peer,
    InPath(OwnTokenPath { token }): InPath<OwnTokenPath>,
) -> Result<Json<Revoked>, Problem> {
    let (org, team) = caller.team()?;
    let by = peer.by(&caller, &app);
    tokens::revoke_known(&app, &org, Among::Team(&team), &token, &by).await
}
