//! Single sign-on: what an org's admins set, and the way in.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tocsin_kit::{ErrorChain, Problem};
use tocsin_wire::{OrgId, TeamId};
use utoipa::ToSchema;

use super::auth::Peer;
use super::extract::{InPath, OrgPath};
use super::tokens_of_org::must_be_org;
use super::{Access, App, Caller, Routes, Scope, body, tokens};
use crate::decide::Refusal;
use crate::http::routes::route;
use crate::identity::claims::{Claims, text};
use crate::identity::discovery;
use crate::identity::sso::{self, Exchange, ExchangeError, ProviderType, SsoConfig};
use crate::pg::{Author, By, StoredSso};
use crate::secrets::SecretRefusal;
use crate::secrets::envelope::AtRest;
use crate::token::{Holder, Permission};

/// A provider that restarts is back within seconds.
const PROVIDER_RETRY: Duration = Duration::from_secs(5);
/// Longest client secret.
const MAX_SECRET_CHARS: usize = 1_024;

/// The table of this area.
pub(super) fn routes() -> Routes {
    let access = Access::Admin(Scope::Sso);
    Routes::new()
        .add(access, route!(read))
        .add(access, route!(write))
        .add(access, route!(test))
        .add(Access::Public, route!(public))
        .add(Access::Public, route!(exchange))
}

/// How an org's people sign in, without the client secret.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SsoView {
    #[schema(value_type = String)]
    org_id: OrgId,
    enabled: bool,
    provider_type: ProviderType,
    provider_name: Option<String>,
    issuer: Option<String>,
    client_id: Option<String>,
    /// Whether one is stored; nobody reads it.
    has_client_secret: bool,
    scopes: String,
    tenant_id: Option<String>,
    email_claim: String,
    name_claim: String,
    groups_claim: String,
    admin_group: Option<String>,
    allowed_domains: String,
    redirect_uris: String,
    #[schema(pattern = "^([a-z0-9][a-z0-9_-]{0,62})?$")]
    team_node_id: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Option<Timestamp>,
    updated_by: Option<String>,
}

impl SsoView {
    fn of(org: OrgId, stored: Option<StoredSso>) -> Self {
        let (config, has_client_secret, updated) = match stored {
            Some(stored) => (
                stored.config,
                stored.client_secret.is_some(),
                Some((stored.updated_at, stored.updated_by)),
            ),
            None => (SsoConfig::default(), false, None),
        };
        let (updated_at, updated_by) = updated.unzip();
        Self {
            org_id: org,
            has_client_secret,
            updated_at,
            updated_by,
            enabled: config.enabled,
            provider_type: config.provider_type,
            provider_name: config.provider_name,
            issuer: config.issuer,
            client_id: config.client_id,
            scopes: config.scopes,
            tenant_id: config.tenant_id,
            email_claim: config.email_claim,
            name_claim: config.name_claim,
            groups_claim: config.groups_claim,
            admin_group: config.admin_group,
            allowed_domains: config.allowed_domains,
            redirect_uris: config.redirect_uris,
            team_node_id: config.team_node_id,
        }
    }
}

/// How the org signs in
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/sso-config", operation_id = "sso_config_read", tag = "auth",
    params(OrgPath),
    responses((status = 200, description = "Without the client secret.", body = SsoView)))]
pub(super) async fn read(
    State(app): State<Arc<App>>,
    InPath(OrgPath { org }): InPath<OrgPath>,
) -> Result<Json<SsoView>, Problem> {
    must_be_org(&app, &org).await?;
    let stored = app.database.sso_config(&org).await?;
    Ok(Json(SsoView::of(org, stored)))
}

/// What is left out stays as it is.
#[derive(ToSchema)]
#[schema(as = SsoConfigWrite)]
#[expect(dead_code, reason = "describes what `write` merges")]
pub(super) struct Write {
    enabled: Option<bool>,
    provider_type: Option<ProviderType>,
    provider_name: Option<String>,
    issuer: Option<String>,
    client_id: Option<String>,
    /// Write only. An empty one removes what is stored.
    client_secret: Option<String>,
    scopes: Option<String>,
    tenant_id: Option<String>,
    email_claim: Option<String>,
    name_claim: Option<String>,
    groups_claim: Option<String>,
    admin_group: Option<String>,
    /// Comma-separated; empty: any.
    allowed_domains: Option<String>,
    /// Comma-separated; empty: any https address.
    redirect_uris: Option<String>,
    /// Team of those who are no admins; `sso-users` unless said otherwise.
    #[schema(pattern = "^([a-z0-9][a-z0-9_-]{0,62})?$")]
    team_node_id: Option<String>,
}

/// Set how the org signs in
#[utoipa::path(put, path = "/api/v1/admin/orgs/{org}/sso-config", operation_id = "sso_config_write", tag = "auth",
    params(OrgPath), request_body = Write,
    responses((status = 200, description = "As it is now, without the client secret.", body = SsoView)))]
pub(super) async fn write(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(OrgPath { org }): InPath<OrgPath>,
    body: Bytes,
) -> Result<Json<SsoView>, Problem> {
    let mut request: Map<String, Value> = body::json(&body)?;
    let secret = request.remove("client_secret");
    let stored = app.database.sso_config(&org).await?;
    let (known, known_secret) = match stored {
        Some(stored) => (stored.config, stored.client_secret),
        None => (SsoConfig::default(), None),
    };
    let config = merged(&known, request)?;
    config
        .check()
        .map_err(|bad| Problem::bad_request("invalid_sso_config", bad.to_string()))?;
    let client_secret = match secret {
        None | Some(Value::Null) => known_secret,
        Some(Value::String(text)) if text.is_empty() => None,
        Some(Value::String(text)) if text.chars().count() <= MAX_SECRET_CHARS => {
            let keys = app.vault.keys().map_err(SecretRefusal::from)?;
            Some(sso::seal_client_secret(&keys, &org, &text)?)
        }
        Some(_) => {
            return Err(Refusal::Field(format!(
                "client_secret must be a text of at most {MAX_SECRET_CHARS} characters"
            ))
            .into());
        }
    };
    let author = caller.author(&app);
    let written = app
        .database
        .put_sso_config(&org, &config, client_secret.as_ref(), &author);
    written.await?;
    let stored = StoredSso {
        config,
        client_secret,
        updated_at: author.at,
        updated_by: author.by,
    };
    Ok(Json(SsoView::of(org, Some(stored))))
}

/// The known config with what the request names; null is the default.
fn merged(known: &SsoConfig, request: Map<String, Value>) -> Result<SsoConfig, Problem> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(known) else {
        return Err(Problem::internal());
    };
    for (name, value) in request {
        if !fields.contains_key(&name) && !is_read_only(&name) {
            let shown: String = name.chars().take(64).collect();
            return Err(Problem::new(
                http::StatusCode::UNPROCESSABLE_ENTITY,
                "unknown_field",
                format!("{shown:?} is no field of single sign-on"),
            ));
        }
        if value.is_null() {
            fields.remove(&name);
        } else if !is_read_only(&name) {
            fields.insert(name, value);
        }
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| {
        Problem::new(
            http::StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_body",
            format!("the body does not have the expected shape: {error}"),
        )
    })
}

/// What a client that read it may send back.
fn is_read_only(name: &str) -> bool {
    matches!(
        name,
        "org_id" | "has_client_secret" | "updated_at" | "updated_by"
    )
}

/// What a test found.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SsoTest {
    success: bool,
    /// What to do, or what was found.
    message: String,
    issuer: Option<String>,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
}

/// Try how the org signs in
///
/// Fetches the provider's discovery document and keys.
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/sso-config/test", operation_id = "sso_config_test", tag = "auth",
    params(OrgPath),
    responses((status = 200, description = "What was found; `success` says whether it will do.", body = SsoTest)))]
pub(super) async fn test(
    State(app): State<Arc<App>>,
    InPath(OrgPath { org }): InPath<OrgPath>,
) -> Result<Json<SsoTest>, Problem> {
    must_be_org(&app, &org).await?;
    let stored = app.database.sso_config(&org).await?;
    let failed = |message: String| SsoTest {
        success: false,
        message,
        issuer: None,
        authorization_endpoint: None,
        token_endpoint: None,
    };
    let Some(stored) = stored else {
        return Ok(Json(failed("nothing is set up yet".to_owned())));
    };
    let issuer = match stored.config.issuer() {
        Ok(issuer) => issuer,
        Err(bad) => return Ok(Json(failed(bad.to_string()))),
    };
    let http = &app.http;
    let tried = async {
        let document = discovery::discover(http, &issuer).await?;
        let keys = discovery::keys(http, &document.jwks_uri).await?;
        Ok::<_, discovery::ProviderError>((document, keys.keys.len()))
    };
    Ok(Json(match tried.await {
        Ok((document, keys)) => SsoTest {
            success: keys > 0 && document.token_endpoint.is_some(),
            message: format!("the provider answers and has {keys} keys"),
            issuer: Some(document.issuer),
            authorization_endpoint: document.authorization_endpoint.map(Into::into),
            token_endpoint: document.token_endpoint.map(Into::into),
        },
        Err(error) => failed(ErrorChain(&error).to_string()),
    }))
}

/// What a page to sign in with needs to know.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct SsoPublic {
    enabled: bool,
    provider_type: Option<ProviderType>,
    provider_name: Option<String>,
    issuer: Option<String>,
    client_id: Option<String>,
    scopes: Option<String>,
    tenant_id: Option<String>,
}

/// Where to sign in
///
/// For everybody. An org that does not exist looks like one without single sign-on.
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/sso-config/public", operation_id = "sso_config_public", tag = "auth",
    params(OrgPath),
    responses((status = 200, description = "What a browser needs.", body = SsoPublic)))]
pub(super) async fn public(
    State(app): State<Arc<App>>,
    InPath(OrgPath { org }): InPath<OrgPath>,
) -> Result<Json<SsoPublic>, Problem> {
    let stored = app.database.sso_config(&org).await?;
    let config = stored.map(|stored| stored.config);
    let Some(config) = config.filter(|config| config.enabled) else {
        return Ok(Json(SsoPublic::default()));
    };
    Ok(Json(SsoPublic {
        enabled: true,
        issuer: config.issuer().ok(),
        provider_type: Some(config.provider_type),
        provider_name: config.provider_name,
        client_id: config.client_id,
        scopes: Some(config.scopes),
        tenant_id: config.tenant_id,
    }))
}

/// What the browser brought back from the provider. The caller checks `state` itself.
#[derive(Deserialize, ToSchema)]
#[schema(as = SsoExchange)]
pub(super) struct ExchangeRequest {
    org_id: String,
    code: String,
    redirect_uri: String,
    /// Of PKCE, where the caller used it.
    code_verifier: Option<String>,
    /// What the caller sent along as `nonce`, where it did: the provider's token must say the same.
    nonce: Option<String>,
}

/// A session.
#[derive(Serialize, ToSchema)]
#[schema(as = SsoSession)]
pub(super) struct Session {
    /// A token like any other, for a week.
    session_token: String,
    email: String,
    name: Option<String>,
    /// admin, member.
    role: &'static str,
    #[schema(value_type = String)]
    org_id: OrgId,
    #[schema(value_type = Option<String>)]
    team_node_id: Option<TeamId>,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Sign in
#[utoipa::path(post, path = "/api/v1/auth/sso/exchange", operation_id = "sso_exchange", tag = "auth",
    request_body = ExchangeRequest,
    responses((status = 200, description = "The only time that the session's token is shown.", body = Session)))]
pub(super) async fn exchange(
    State(app): State<Arc<App>>,
    peer: Peer,
    body: Bytes,
) -> Result<Json<Session>, Problem> {
    let request: ExchangeRequest = body::json(&body)?;
    let org = body::org(&request.org_id)?;
    let stored = app.database.sso_config(&org).await?;
    let stored = stored
        .filter(|stored| stored.config.enabled)
        .ok_or_else(|| {
            Problem::bad_request(
                "sso_not_enabled",
                "this org has no single sign-on; an admin of it can set it up",
            )
        })?;
    let config = &stored.config;
    config
        .check_redirect(&request.redirect_uri)
        .map_err(|bad| Problem::bad_request("invalid_redirect_uri", bad.to_string()))?;
    let client_secret = opened_secret(&app, &org, stored.client_secret.as_ref())?;
    let what = Exchange {
        code: &request.code,
        redirect_uri: &request.redirect_uri,
        code_verifier: request.code_verifier.as_deref(),
        client_secret: client_secret.as_ref().map(|text| text.as_str()),
    };
    let now = app.clock.now();
    let http = &app.http;
    let claims = sso::exchange(http, config, &what, now)
        .await
        .map_err(|error| exchange_problem(&error))?;
    if request.nonce.is_some() && request.nonce.as_deref() != text(&claims, "nonce") {
        return Err(Problem::unauthorized(
            "sso_token_refused",
            "the identity provider's token belongs to another sign-in (nonce)",
        ));
    }
    session(&app, org, config, &claims, (now, &peer)).await
}

/// `None` where the client has no secret.
fn opened_secret(
    app: &App,
    org: &OrgId,
    stored: Option<&AtRest>,
) -> Result<Option<zeroize::Zeroizing<String>>, Problem> {
    let Some(stored) = stored else {
        return Ok(None);
    };
    let keys = app.vault.keys().map_err(SecretRefusal::from)?;
    let opened = sso::open_client_secret(&keys, org, stored);
    opened.map(Some).map_err(|error| {
        tracing::error!(%org, error = %ErrorChain(&error), "the client secret of single sign-on does not open");
        Problem::new(
            http::StatusCode::SERVICE_UNAVAILABLE,
            "sso_secret_unreadable",
            "the org's client secret cannot be opened; an admin must set it again",
        )
    })
}

fn exchange_problem(error: &ExchangeError) -> Problem {
    match error {
        ExchangeError::Setup(_) => Problem::bad_request("sso_not_enabled", error.to_string()),
        ExchangeError::Code(_) => Problem::unauthorized("sso_code_refused", error.to_string()),
        ExchangeError::Token(_) => {
            tracing::warn!(error = %ErrorChain(error), "a provider's token was refused");
            Problem::unauthorized("sso_token_refused", ErrorChain(error).to_string())
        }
        ExchangeError::Provider(_) => {
            tracing::warn!(error = %ErrorChain(error), "an identity provider does not answer");
            Problem::unavailable(
                "identity_provider_unavailable",
                "the identity provider does not answer as it should; try again later",
                PROVIDER_RETRY,
            )
        }
    }
}

/// A token for the person, if the org lets the person in.
async fn session(
    app: &App,
    org: OrgId,
    config: &SsoConfig,
    claims: &Claims,
    (now, peer): (Timestamp, &Peer),
) -> Result<Json<Session>, Problem> {
    let email = config.email(claims).ok_or_else(|| {
        Problem::forbidden(
            "sso_no_email",
            "the identity provider tells no verified mail address for you",
        )
    })?;
    if !config.allows(&email) {
        return Err(Problem::forbidden(
            "sso_domain_denied",
            "people with your mail address may not sign in to this org",
        ));
    }
    let holder = if config.is_admin(claims) {
        Holder::OrgAdmin {
            org: org.clone(),
            scopes: [Scope::All].into_iter().collect(),
        }
    } else {
        member(app, &org, config).await?
    };
    let end = now.saturating_add(SignedDuration::from_hours(24 * sso::SESSION_DAYS));
    let end = end.unwrap_or(Timestamp::MAX);
    let team_node_id = holder.team().cloned();
    let label = format!("sso:{email}");
    let owner = Some(email.clone());
    let (new, session_token) = tokens::made(app, holder, label.clone(), owner, Some(end), now)?;
    let by = By {
        author: Author { by: label, at: now },
        ip: peer.0.map(|ip| ip.to_string()),
    };
    app.database.issue_token(&new, &by).await?;
    Ok(Json(Session {
        session_token,
        email,
        name: config.name(claims),
        role: if team_node_id.is_some() {
            "member"
        } else {
            "admin"
        },
        org_id: org,
        team_node_id,
        expires_at: end,
    }))
}

/// A person who is no admin reads as the team of those.
async fn member(app: &App, org: &OrgId, config: &SsoConfig) -> Result<Holder, Problem> {
    let named = config.team();
    let team = TeamId::new(named).ok();
    let team = match team {
        Some(team) if app.database.is_team(org, &team).await? => team,
        _ => {
            return Err(Problem::forbidden(
                "sso_no_team",
                format!(
                    "you are no admin, and this org has no team {named} for others; an admin can create it, or name another in team_node_id"
                ),
            ));
        }
    };
    Ok(Holder::Team {
        org: org.clone(),
        team,
        permissions: [Permission::ConfigRead].into_iter().collect(),
    })
}
