//! Who is calling.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts};
use http::request::Parts;
use http::{HeaderMap, header};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, Header};
use ring::digest;
use serde::Serialize;
use serde_json::json;
use subtle::ConstantTimeEq as _;
use tocsin_kit::{ErrorChain, Problem, SecretList};
use tocsin_wire::{OrgId, TeamId};
use utoipa::ToSchema;

use super::{Access, App, Caller, CallerKind, Proof, Routes, Scope};
use crate::http::routes::route;
use crate::identity::cache::Known;
use crate::identity::impersonation;
use crate::identity::oidc::{self, BadToken, Role};
use crate::pg::{By, EventKind, TokenEvent};
use crate::token::{self, Bad, Holder, Permission, Token};

/// A provider that restarts is back within seconds.
const PROVIDER_RETRY: Duration = Duration::from_secs(5);

/// Longest name that an admin may give for the record.
const MAX_ACTOR_CHARS: usize = 128;

/// Headers in which an admin names the person behind the token; the second is how the original
/// spelled it.
const ACTOR_HEADERS: [&str; 2] = ["x-admin-actor", "x_admin_actor"];

/// The table of this area.
pub(super) fn routes() -> Routes {
    Routes::new().add(Access::Anybody, route!(me))
}

/// Another service, by the shared secret; without it only from where the settings say so.
///
/// # Errors
/// 401 without name or secret, 403 for a wrong one.
pub(super) fn identify_service(
    app: &App,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
) -> Result<Caller, Problem> {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.map(str::trim).filter(|value| !value.is_empty())
    };
    let Some(service) = header("x-internal-service") else {
        return Err(Problem::unauthorized(
            "missing_internal_service",
            "Missing internal service header: name the calling service in X-Internal-Service",
        ));
    };
    match header("x-internal-secret") {
        Some(secret) if is_one_of(&app.internal_secrets, secret) => {
            Ok(internal_caller(service, Proof::InternalSecret))
        }
        Some(_) if !app.internal_secrets.is_empty() => Err(Problem::forbidden(
            "invalid_internal_secret",
            "X-Internal-Secret is not INTERNAL_SERVICE_SECRET of this server",
        )),
        None if is_trusted(app, service, peer) => {
            Ok(internal_caller(service, Proof::InternalHeader))
        }
        _ if app.internal_secrets.is_empty() => Err(Problem::unauthorized(
            "internal_secret_not_configured",
            "this server has no internal secret, so it refuses every service; set INTERNAL_SERVICE_SECRET",
        )),
        _ => Err(Problem::unauthorized(
            "missing_internal_secret",
            "send INTERNAL_SERVICE_SECRET in X-Internal-Secret",
        )),
    }
}

/// Whether the operator takes this caller for a service by its name or its network alone.
fn is_trusted(app: &App, service: &str, peer: Option<IpAddr>) -> bool {
    let settings = &app.identity.settings;
    let names = &settings.internal_trusted_names.0;
    names.iter().any(|name| name == service)
        || peer.is_some_and(|peer| settings.internal_trusted_networks.hold(peer))
}

fn internal_caller(service: &str, proof: Proof) -> Caller {
    let service: String = service.chars().take(MAX_ACTOR_CHARS).collect();
    Caller {
        kind: CallerKind::Internal,
        proof,
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
/// 401 where it belongs to nobody, 403 where it may be good and is of no use here, 503 where that
/// cannot be found out.
pub(super) async fn identify(app: &App, headers: &HeaderMap) -> Result<Caller, Problem> {
    let Some(credential) = credential(headers) else {
        return Err(Problem::unauthorized(
            "missing_token",
            "send a token as Authorization: Bearer <token>",
        ));
    };
    let settings = &app.identity.settings;
    if is_one_of(&app.admin_tokens, credential) {
        if !settings.admin_auth_mode.takes_tokens() {
            return Err(tokens_not_taken("ADMIN_AUTH_MODE"));
        }
        return Ok(global_admin(actor(headers)));
    }
    match jsonwebtoken::decode_header(credential) {
        Ok(header) if header.alg == Algorithm::HS256 => impersonated(app, credential).await,
        Ok(header) => by_provider(app, credential, &header).await,
        Err(_) => by_token(app, credential).await,
    }
}

fn tokens_not_taken(setting: &str) -> Problem {
    Problem::unauthorized(
        "token_auth_disabled",
        format!(
            "this server takes no such tokens ({setting}=oidc); sign in with the identity provider"
        ),
    )
}

/// A token of ours.
async fn by_token(app: &App, credential: &str) -> Result<Caller, Problem> {
    let Some(presented) = token::parse(credential) else {
        return Err(Bad::Invalid.into());
    };
    if app.peppers.is_empty() {
        return Err(pepper_missing());
    }
    let now = app.clock.now();
    let known = checked(app, &presented, now).await?;
    let token = &known.token;
    let settings = &app.identity.settings;
    let (mode, setting) = match token.holder {
        Holder::Team { .. } => (settings.team_auth_mode, "TEAM_AUTH_MODE"),
        Holder::OrgAdmin { .. } => (settings.admin_auth_mode, "ADMIN_AUTH_MODE"),
    };
    // A session of a person came from an identity provider.
    if !mode.takes_tokens() && token.email.is_none() {
        return Err(tokens_not_taken(setting));
    }
    let notes = &app.identity.notes;
    notes.used(token.id, token.last_used_at, now).await;
    Ok(token_caller(token))
}

/// The stored token, if the presented one is good.
async fn checked(
    app: &App,
    presented: &token::Presented,
    now: Timestamp,
) -> Result<Arc<Known>, Problem> {
    let identity = &app.identity;
    let is_revoked = || identity.revoked.contains(presented.id.as_u128());
    let cached = match identity.cache.get(presented.id).await {
        Some(known) if identity.revoked.is_live() && known.is_fresh(now) && !is_revoked() => {
            match token::judge(presented, &known.token, &known.hash, &app.peppers, now) {
                Ok(()) => return Ok(known),
                // It may have been extended elsewhere: only Postgres knows.
                Err(Bad::Expired) => Some(known),
                Err(bad) => return Err(bad.into()),
            }
        }
        cached => cached,
    };
    let known = match app.database.token(presented.id).await {
        Ok(Some((token, hash))) => identity.cache.put(token, hash, now).await,
        Ok(None) => {
            identity.cache.forget(presented.id).await;
            return Err(Bad::Invalid.into());
        }
        Err(_) if is_revoked() => return Err(Bad::Revoked.into()),
        Err(error) => match cached {
            Some(known)
                if error.is_unavailable() && identity.revoked.is_live() && known.is_usable(now) =>
            {
                identity.cache.postpone(&known, now).await;
                known
            }
            _ => return Err(error.into()),
        },
    };
    let verdict = token::judge(presented, &known.token, &known.hash, &app.peppers, now);
    if verdict == Err(Bad::Expired) {
        note_refusal(app, &known.token, EventKind::Expired, json!({}), now).await;
    }
    verdict?;
    if is_revoked() {
        return Err(Bad::Revoked.into());
    }
    Ok(known)
}

/// On record, not more often than every five minutes.
async fn note_refusal(
    app: &App,
    token: &Token,
    kind: EventKind,
    details: serde_json::Value,
    now: Timestamp,
) {
    let event = TokenEvent {
        org: token.holder.org().clone(),
        team: token.holder.team().cloned(),
        token: Some(token.id),
        kind,
        at: now,
        actor: token.subject(),
        details,
        ip: None,
    };
    app.identity.notes.refused(token.id, event, now).await;
}

/// A caller was told that its token does not allow what it wanted.
pub(super) async fn note_denial(
    app: &App,
    caller: &Caller,
    what: &str,
    code: &str,
    peer: Option<IpAddr>,
) {
    let (Some(token), Some(org)) = (caller.token, &caller.org) else {
        return;
    };
    let now = app.clock.now();
    let event = TokenEvent {
        org: org.clone(),
        team: caller.team.clone(),
        token: Some(token),
        kind: EventKind::PermissionDenied,
        at: now,
        actor: caller.subject.clone(),
        details: json!({"wanted": what, "code": code}),
        ip: peer.map(|ip| ip.to_string()),
    };
    app.identity.notes.refused(token, event, now).await;
}

/// What an admin got to look as a team.
async fn impersonated(app: &App, credential: &str) -> Result<Caller, Problem> {
    let settings = &app.identity.settings;
    let audience = (
        settings.impersonation_audience.as_str(),
        settings.impersonation_legacy_audience,
    );
    let secrets = &settings.impersonation_secret;
    let who = impersonation::verify(credential, secrets, audience, app.clock.now())
        .map_err(|bad| signed_token_refused(&bad.to_string()))?;
    if settings.impersonation_require_log && !app.database.knows_impersonation(who.jti).await? {
        return Err(signed_token_refused(
            "its id (jti) was never given out here",
        ));
    }
    Ok(Caller {
        kind: CallerKind::Impersonation,
        proof: Proof::Impersonation,
        subject: who.subject,
        email: who.email,
        org: Some(who.org),
        team: Some(who.team),
        scopes: BTreeSet::new(),
        permissions: BTreeSet::from([Permission::ConfigRead]),
        token: None,
    })
}

fn signed_token_refused(why: &str) -> Problem {
    Problem::unauthorized(
        "invalid_token",
        format!("Invalid token: {why}; get a new one"),
    )
}

/// A token of the operator's identity provider.
async fn by_provider(app: &App, credential: &str, header: &Header) -> Result<Caller, Problem> {
    let settings = &app.identity.settings;
    let modes = (settings.admin_auth_mode, settings.team_auth_mode);
    let oidc = &settings.oidc;
    if !oidc.is_complete() || !(modes.0.takes_oidc() || modes.1.takes_oidc()) {
        return Err(signed_token_refused(
            "this server takes no tokens of an identity provider",
        ));
    }
    let refused = |bad: BadToken| signed_token_refused(&bad.to_string());
    let accepted = &oidc.oidc_alg.0;
    let id = oidc::key_id(header, accepted).map_err(refused)?;
    let now = app.clock.now();
    let keys = app.identity.keys.holding(&id, now).await.map_err(|error| {
        tracing::debug!(error = %ErrorChain(&error), "no keys of the identity provider");
        Problem::unavailable(
            "identity_provider_unavailable",
            "the identity provider's keys cannot be read; send it again later",
            PROVIDER_RETRY,
        )
    })?;
    let claims = oidc::open(credential, header, &keys, accepted).map_err(refused)?;
    oidc::check(&claims, oidc, now).map_err(|bad| refused(bad.into()))?;
    let person = oidc::person(&claims, oidc).map_err(|bad| refused(bad.into()))?;
    let role = oidc::role(&person, modes, oidc.team_oidc_write_enabled);
    let role = role.map_err(|why| Problem::forbidden(why.code(), why.to_string()))?;
    let mut caller = Caller {
        kind: CallerKind::GlobalAdmin,
        proof: Proof::Oidc,
        subject: format!("oidc:{}", person.subject),
        email: person.email,
        org: None,
        team: None,
        scopes: BTreeSet::new(),
        permissions: BTreeSet::new(),
        token: None,
    };
    match role {
        Role::Admin { org, scopes } => {
            if org.is_some() {
                caller.kind = CallerKind::OrgAdmin;
            }
            caller.org = org;
            caller.scopes = scopes
                .iter()
                .filter_map(|text| Scope::parse(text))
                .collect();
        }
        Role::Team {
            org,
            team,
            permissions,
        } => {
            caller.kind = CallerKind::Team;
            caller.org = Some(org);
            caller.team = Some(team);
            caller.permissions = permissions;
        }
    }
    Ok(caller)
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

fn token_caller(token: &Token) -> Caller {
    let (kind, proof, scopes, permissions) = match &token.holder {
        Holder::Team { permissions, .. } => (
            CallerKind::Team,
            Proof::TeamToken,
            BTreeSet::new(),
            permissions.clone(),
        ),
        Holder::OrgAdmin { scopes, .. } => (
            CallerKind::OrgAdmin,
            Proof::AdminToken,
            scopes.clone(),
            BTreeSet::new(),
        ),
    };
    Caller {
        kind,
        proof,
        subject: token.subject(),
        email: token.email.clone(),
        org: Some(token.holder.org().clone()),
        team: token.holder.team().cloned(),
        scopes,
        permissions,
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
    /// Scopes of an admin; `team:read` and `team:write` for a team, as clients of the original know
    /// them.
    permissions: Vec<&'static str>,
    /// What exactly a team's credential allows.
    allowed: Vec<&'static str>,
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
    let reads = caller.has(Permission::ConfigRead).then_some("team:read");
    let writes = caller.has(Permission::ConfigWrite).then_some("team:write");
    axum::Json(Identity {
        role,
        auth_kind: caller.proof.as_str(),
        permissions: scopes.chain(reads).chain(writes).collect(),
        allowed: caller
            .permissions
            .iter()
            .map(|known| known.as_str())
            .collect(),
        org_id: caller.org,
        team_node_id: caller.team,
        subject: caller.subject,
        email: caller.email,
        can_write,
        visitor_session_id: None,
    })
}

/// The address at the other end of the connection, for the record.
#[derive(Debug, Clone)]
pub(super) struct Peer(pub(super) Option<IpAddr>);

impl Peer {
    pub(super) fn of(extensions: &http::Extensions) -> Self {
        let info = extensions.get::<ConnectInfo<SocketAddr>>();
        Self(info.map(|ConnectInfo(address)| address.ip().to_canonical()))
    }

    /// Whoever calls from there, at this moment.
    pub(super) fn by(&self, caller: &Caller, app: &App) -> By {
        By {
            author: caller.author(app),
            ip: self.0.map(|ip| ip.to_string()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}
