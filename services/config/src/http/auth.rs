//! Who is calling.

use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use http::request::Parts;
use http::{HeaderMap, header};
use ring::digest;
use serde::Serialize;
use subtle::ConstantTimeEq as _;
use tocsin_kit::{ErrorChain, Problem, SecretList};
use tocsin_wire::{OrgId, TeamId};

use super::App;
use crate::pg::Author;
use crate::token::{self, Bad, Permission, Token};

/// Longest name that an admin may give for the record.
const MAX_ACTOR_CHARS: usize = 128;

/// Headers in which an admin names the person behind the token; the second is how the original
/// spelled it.
const ACTOR_HEADERS: [&str; 2] = ["x-admin-actor", "x_admin_actor"];

/// Anybody with a good credential.
#[derive(Debug)]
pub(super) enum Caller {
    Admin(Admin),
    Team(TeamCaller),
}

/// The global admin.
#[derive(Debug)]
pub(super) struct Admin {
    by: String,
}

impl Admin {
    pub(super) fn author(&self, app: &App) -> Author {
        Author {
            by: self.by.clone(),
            at: app.clock.now(),
        }
    }
}

/// The holder of a team token. Routes for teams take org and team from here and from nowhere else.
#[derive(Debug)]
pub(super) struct TeamCaller {
    token: Token,
}

impl TeamCaller {
    pub(super) fn org(&self) -> &OrgId {
        &self.token.org
    }

    pub(super) fn team(&self) -> &TeamId {
        &self.token.team
    }

    pub(super) fn author(&self, app: &App) -> Author {
        Author {
            by: format!("team_token:{}", self.token.id),
            at: app.clock.now(),
        }
    }

    /// Refuses a token that does not allow it.
    pub(super) fn needs(&self, permission: Permission) -> Result<(), Problem> {
        if self.token.permissions.contains(&permission) {
            return Ok(());
        }
        Err(Problem::forbidden(
            "permission_denied",
            format!(
                "this token lacks the permission {}; ask an admin for one that has it",
                permission.as_str()
            ),
        ))
    }
}

/// Another service, by the shared secret.
#[derive(Debug)]
pub(super) struct InternalCaller;

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        identify(app, &parts.headers).await
    }
}

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        if app.admin_tokens.is_empty() {
            return Err(Problem::unauthorized(
                "admin_token_not_configured",
                "this server has no admin token, so it refuses every admin; set ADMIN_TOKEN",
            ));
        }
        match identify(app, &parts.headers).await? {
            Caller::Admin(admin) => Ok(admin),
            Caller::Team(_) => Err(Problem::forbidden(
                "admin_required",
                "a team token cannot do this; use an admin token",
            )),
        }
    }
}

impl FromRequestParts<Arc<App>> for TeamCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        match identify(app, &parts.headers).await? {
            Caller::Team(caller) => Ok(caller),
            Caller::Admin(_) => Err(Problem::forbidden(
                "team_token_required",
                "an admin token names no team; use a team token, or the routes under /api/v1/admin",
            )),
        }
    }
}

impl FromRequestParts<Arc<App>> for InternalCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let header = |name: &str| {
            let value = parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok());
            value.map(str::trim).filter(|value| !value.is_empty())
        };
        if header("x-internal-service").is_none() {
            return Err(Problem::unauthorized(
                "missing_internal_service",
                "name the calling service in X-Internal-Service",
            ));
        }
        if app.internal_secrets.is_empty() {
            return Err(Problem::unauthorized(
                "internal_secret_not_configured",
                "this server has no internal secret, so it refuses every service; set INTERNAL_SERVICE_SECRET",
            ));
        }
        match header("x-internal-secret") {
            Some(secret) if is_one_of(&app.internal_secrets, secret) => Ok(Self),
            Some(_) => Err(Problem::forbidden(
                "invalid_internal_secret",
                "X-Internal-Secret is not INTERNAL_SERVICE_SECRET of this server",
            )),
            None => Err(Problem::unauthorized(
                "missing_internal_secret",
                "send INTERNAL_SERVICE_SECRET in X-Internal-Secret",
            )),
        }
    }
}

/// `Authorization: Bearer X`, else `X-Admin-Token: X`.
fn credential(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token);
    let admin = || {
        headers
            .get("x-admin-token")
            .and_then(|value| value.to_str().ok())
    };
    bearer
        .or_else(admin)
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

async fn identify(app: &App, headers: &HeaderMap) -> Result<Caller, Problem> {
    let Some(credential) = credential(headers) else {
        return Err(Problem::unauthorized(
            "missing_token",
            "send a token as Authorization: Bearer <token>",
        ));
    };
    if is_one_of(&app.admin_tokens, credential) {
        return Ok(Caller::Admin(Admin { by: actor(headers) }));
    }
    let Some(presented) = token::parse(credential) else {
        return Err(Bad::Invalid.into());
    };
    if app.peppers.is_empty() {
        return Err(pepper_missing());
    }
    let Some((stored, hash)) = app.database.token(presented.id).await? else {
        return Err(Bad::Invalid.into());
    };
    let now = app.clock.now();
    token::judge(&presented, &stored, &hash, &app.peppers, now)?;
    if let Err(error) = app.database.touch_token(&stored, now).await {
        // The token is good all the same.
        tracing::warn!(token = %stored.id, error = %ErrorChain(&error), "cannot note the use of a token");
    }
    Ok(Caller::Team(TeamCaller { token: stored }))
}

pub(super) fn pepper_missing() -> Problem {
    Problem::new(
        http::StatusCode::SERVICE_UNAVAILABLE,
        "token_pepper_not_configured",
        "this server cannot issue or check team tokens; set TOKEN_PEPPER",
    )
}

/// In constant time, also over lengths: digests are compared.
fn is_one_of(secrets: &SecretList, presented: &str) -> bool {
    let digest = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
    let presented = digest(presented);
    let found = secrets
        .iter()
        .fold(subtle::Choice::from(0), |found, secret| {
            found | digest(secret.expose()).as_ref().ct_eq(presented.as_ref())
        });
    found.into()
}

/// For the record only: whoever holds the admin token may say any name.
fn actor(headers: &HeaderMap) -> String {
    let named = ACTOR_HEADERS
        .iter()
        .find_map(|name| headers.get(*name)?.to_str().ok())
        .map(str::trim)
        .filter(|name| !name.is_empty());
    match named {
        Some(name) => {
            let name: String = name.chars().take(MAX_ACTOR_CHARS).collect();
            format!("admin_token:{name}")
        }
        None => "admin_token".to_owned(),
    }
}

/// Who the caller is, as the API shows it.
#[derive(Debug, Serialize)]
pub(super) struct Identity {
    role: &'static str,
    auth_kind: &'static str,
    org_id: Option<OrgId>,
    team_node_id: Option<TeamId>,
    subject: String,
    email: Option<String>,
    can_write: bool,
    permissions: Vec<&'static str>,
    visitor_session_id: Option<String>,
}

/// `GET /api/v1/auth/me`
pub(super) async fn me(State(_): State<Arc<App>>, caller: Caller) -> axum::Json<Identity> {
    axum::Json(match caller {
        Caller::Admin(admin) => Identity {
            role: "admin",
            auth_kind: "admin_token",
            org_id: None,
            team_node_id: None,
            subject: admin.by,
            email: None,
            can_write: true,
            permissions: vec!["admin:*"],
            visitor_session_id: None,
        },
        Caller::Team(TeamCaller { token }) => Identity {
            role: "team",
            auth_kind: "team_token",
            can_write: token.permissions.contains(&Permission::ConfigWrite),
            permissions: token
                .permissions
                .iter()
                .map(|known| known.as_str())
                .collect(),
            subject: format!("team_token:{}", token.id),
            email: None,
            org_id: Some(token.org),
            team_node_id: Some(token.team),
            visitor_session_id: None,
        },
    })
}
