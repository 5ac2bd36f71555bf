//! Team tokens, for admins.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use tocsin_kit::{Problem, random};
use uuid::Uuid;

use super::App;
use super::auth::{self, Admin};
use super::body;
use crate::decide::Refusal;
use crate::pg::NewToken;
use crate::token::{self, Permission, Token};

/// Longest label.
const MAX_LABEL_CHARS: usize = 256;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Issue {
    label: Option<String>,
    permissions: Option<Vec<Permission>>,
    expires_at: Option<Timestamp>,
}

/// A new token: the only time that its text is shown.
#[derive(Serialize)]
pub(super) struct Issued {
    token: String,
    token_id: Uuid,
    issued_at: Timestamp,
    expires_at: Option<Timestamp>,
    permissions: Vec<Permission>,
}

/// `POST …/teams/{team}/tokens` with nothing or `{label?, permissions?, expires_at?}`
pub(super) async fn issue(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(path): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Issued>, Problem> {
    let (org, team) = body::org_and_team(&path)?;
    let request: Issue = body::optional_json(&body)?;
    let pepper = app.peppers.first().ok_or_else(auth::pepper_missing)?;
    let author = admin.author(&app);
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
#[derive(Debug, Serialize)]
pub(super) struct TokenView {
    token_id: Uuid,
    label: String,
    permissions: Vec<Permission>,
    status: &'static str,
    issued_at: Timestamp,
    issued_by: String,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
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

/// `GET …/teams/{team}/tokens` → newest first.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    _: Admin,
    Path(path): Path<(String, String)>,
) -> Result<Json<Vec<TokenView>>, Problem> {
    let (org, team) = body::org_and_team(&path)?;
    let tokens = app.database.tokens(&org, &team).await?;
    let now = app.clock.now();
    let views = tokens.into_iter().map(|token| TokenView::of(token, now));
    Ok(Json(views.collect()))
}

/// What a revocation answers.
#[derive(Debug, Serialize)]
pub(super) struct Revoked {
    status: &'static str,
}

/// `POST …/tokens/{id}/revoke` and `DELETE …/tokens/{id}`: ends it; doing so again changes nothing.
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path((org, team, id)): Path<(String, String, String)>,
) -> Result<Json<Revoked>, Problem> {
    let (org, team) = body::org_and_team(&(org, team))?;
    let id: Uuid = id.parse().map_err(|_| Refusal::NoToken {
        org: org.clone(),
        team: team.clone(),
    })?;
    app.database
        .revoke_token(&org, &team, id, &admin.author(&app))
        .await?;
    Ok(Json(Revoked { status: "ok" }))
}
