//! Who is calling.

use std::collections::BTreeSet;

use http::{HeaderMap, header};
use ring::digest;
use serde::Serialize;
use subtle::ConstantTimeEq as _;
use tocsin_kit::{ErrorChain, Problem, SecretList};
use tocsin_wire::{OrgId, TeamId};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{Access, App, Caller, CallerKind, Proof, Routes, Scope};
use crate::token::{self, Bad, Permission, Token};

/// Longest name that an admin may give for the record.
const MAX_ACTOR_CHARS: usize = 128;

/// Headers in which an admin names the person behind the token; the second is how the original
/// spelled it.
const ACTOR_HEADERS: [&str; 2] = ["x-admin-actor", "x_admin_actor"];

/// The table of this area.
pub(super) fn routes() -> Routes {
    Routes::new().add(Access::Anybody, routes!(me))
}

/// Another service, by the shared secret.
///
/// # Errors
/// 401 without name or secret, 403 for a wrong one.
pub(super) fn identify_service(app: &App, headers: &HeaderMap) -> Result<Caller, Problem> {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.map(str::trim).filter(|value| !value.is_empty())
    };
    let Some(service) = header("x-internal-service") else {
        return Err(Problem::unauthorized(
            "missing_internal_service",
            "name the calling service in X-Internal-Service",
        ));
    };
    if app.internal_secrets.is_empty() {
        return Err(Problem::unauthorized(
            "internal_secret_not_configured",
            "this server has no internal secret, so it refuses every service; set INTERNAL_SERVICE_SECRET",
        ));
    }
    match header("x-internal-secret") {
        Some(secret) if is_one_of(&app.internal_secrets, secret) => Ok(internal_caller(service)),
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

fn internal_caller(service: &str) -> Caller {
    let service: String = service.chars().take(MAX_ACTOR_CHARS).collect();
    Caller {
        kind: CallerKind::Internal,
        proof: Proof::InternalSecret,
        subject: format!("internal:{service}"),
        email: None,
        org: None,
        team: None,
        scopes: BTreeSet::new(),
        permissions: BTreeSet::new(),
        token: None,
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

/// Whoever the credential belongs to.
///
/// # Errors
/// 401 where it belongs to nobody, 503 where that cannot be found out.
pub(super) async fn identify(app: &App, headers: &HeaderMap) -> Result<Caller, Problem> {
    let Some(credential) = credential(headers) else {
        return Err(Problem::unauthorized(
            "missing_token",
            "send a token as Authorization: Bearer <token>",
        ));
    };
    if is_one_of(&app.admin_tokens, credential) {
        return Ok(global_admin(actor(headers)));
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
    Ok(team_caller(stored))
}

fn global_admin(subject: String) -> Caller {
    Caller {
        kind: CallerKind::GlobalAdmin,
        proof: Proof::AdminToken,
        subject,
        email: None,
        org: None,
        team: None,
        scopes: BTreeSet::from([Scope::All]),
        permissions: BTreeSet::new(),
        token: None,
    }
}

fn team_caller(token: Token) -> Caller {
    Caller {
        kind: CallerKind::Team,
        proof: Proof::TeamToken,
        subject: format!("team_token:{}", token.id),
        email: None,
        org: Some(token.org),
        team: Some(token.team),
        scopes: BTreeSet::new(),
        permissions: token.permissions.into_iter().collect(),
        token: Some(token.id),
    }
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
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Identity {
    /// `admin` or `team`; `service` for another service.
    role: &'static str,
    /// By what the caller proved it.
    auth_kind: &'static str,
    #[schema(value_type = Option<String>)]
    org_id: Option<OrgId>,
    #[schema(value_type = Option<String>)]
    team_node_id: Option<TeamId>,
    /// As it stands in the record.
    subject: String,
    email: Option<String>,
    can_write: bool,
    /// What an admin or a team may do.
    permissions: Vec<&'static str>,
    /// Always null: there are no visitors here. Clients of the original expect the key.
    visitor_session_id: Option<String>,
}

/// Who am I
#[utoipa::path(get, path = "/api/v1/auth/me", operation_id = "auth_me", tag = "auth",
    responses((status = 200, description = "What the credential is worth.", body = Identity)))]
pub(super) async fn me(caller: Caller) -> axum::Json<Identity> {
    let (role, can_write) = match caller.kind {
        CallerKind::GlobalAdmin | CallerKind::OrgAdmin => ("admin", true),
        CallerKind::Team => ("team", caller.has(Permission::ConfigWrite)),
        CallerKind::Impersonation => ("team", false),
        CallerKind::Internal => ("service", false),
    };
    let scopes = caller.scopes.iter().map(|scope| scope.as_str());
    let allowed = caller.permissions.iter().map(|known| known.as_str());
    axum::Json(Identity {
        role,
        auth_kind: caller.proof.as_str(),
        permissions: scopes.chain(allowed).collect(),
        org_id: caller.org,
        team_node_id: caller.team,
        subject: caller.subject,
        email: caller.email,
        can_write,
        visitor_session_id: None,
    })
}
