//! Sources, for an org's admins: senders with a URL, secrets and limits of their own.

mod problem;
mod request;
mod shape;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::IntoResponse;
use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::Value;
use tocsin_kit::{ErrorChain, Problem};
use tocsin_wire::OrgId;

use super::extract::{InPath, InQuery, OrgPath};
use super::secrets::master_keys;
use super::tokens_of_org::must_be_org;
use super::{Access, App, Caller, Routes, Scope, body};
use crate::http::routes::route;
use crate::pg::NewSource;
use crate::secrets::random;
use crate::source::{
    Source, SourceId, SourceRefusal, SourceSecret, check_name, check_secret, check_settings,
    generated_secret, provider,
};
use request::{
    Change, Create, Filter, Rotate, SecretPath, SourcePath, TestRequest, captured, change, create,
    rotation,
};
use tocsin_wire::sealed::Zeroizing;
use tocsin_wire::source::{SourceProvider, SourceSettings};
use view::{HealthView, Seen, SourceView, WithSecret};

/// The table of this area.
pub(super) fn routes() -> Routes {
    let admin = Access::Admin(Scope::Secrets);
    Routes::new()
        .add(admin, route!(list, add))
        .add(admin, route!(health_of_all))
        .add(admin, route!(show, alter, delete))
        .add(admin, route!(health))
        .add(admin, route!(rotate))
        .add(admin, route!(delete_secret))
        .add(admin, route!(test))
}

/// List the sources of an org
///
/// With what is known of their secrets; values are never shown.
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/sources", operation_id = "source_list", tag = "sources",
    params(OrgPath, Filter),
    responses((status = 200, description = "By provider and name.", body = Vec<SourceView>)))]
async fn list(
    State(app): State<Arc<App>>,
    InPath(OrgPath { org }): InPath<OrgPath>,
    InQuery(filter): InQuery<Filter>,
) -> Result<Json<Vec<SourceView>>, Problem> {
    let sources = listed(&app, &org, filter.provider.as_deref()).await?;
    let seen = glance(&app, &sources).await;
    let now = app.clock.now();
    let views = sources.into_iter();
    Ok(Json(
        views
            .map(|source| SourceView::new(source, &seen, now))
            .collect(),
    ))
}

/// Create a source
///
/// Its secret is in the answer and is never shown again. Without one in the request, a fitting one is made:
/// `whsec_…` for Standard Webhooks, else 64 hex digits.
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/sources", operation_id = "source_create", tag = "sources",
    params(OrgPath), request_body = Create,
    responses((status = 201, description = "The source with its secret; its version is the ETag.", body = WithSecret)))]
async fn add(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(OrgPath { org }): InPath<OrgPath>,
    body: Bytes,
) -> Result<impl IntoResponse, Problem> {
    let request = create(&body)?;
    let kind = provider(&request.provider)?;
    check_name(&request.name)?;
    check_settings(kind, &request.settings)?;
    let secret = secret(kind, &request.settings, request.secret)?;
    let author = caller.author(&app);
    let source = Source {
        id: SourceId::from_random(&*random()?),
        org,
        provider: kind.name.to_owned(),
        name: request.name,
        disabled: false,
        settings: request.settings,
        secrets: vec![SourceSecret {
            number: 1,
            version: 0,
            not_before: None,
            expires: None,
            created_at: author.at,
            created_by: author.by.clone(),
        }],
        last_secret: 1,
        version: 1,
        created_at: author.at,
        created_by: author.by.clone(),
        updated_at: author.at,
        updated_by: author.by.clone(),
    };
    let new = NewSource {
        source,
        secret: &secret,
    };
    let keys = master_keys(&app)?;
    let created = app.database.create_source(&new, &keys, &author).await?;
    // Nobody can have used it.
    let (seen, now) = (Some(BTreeMap::new()), app.clock.now());
    Ok((
        StatusCode::CREATED,
        body::etag(created.version),
        Json(WithSecret::new(created, &seen, secret, now)),
    ))
}

/// Show one source
///
/// With what is known of its secrets and when ingress last saw each used; values are never shown.
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/sources/{source}", operation_id = "source_show", tag = "sources",
    params(SourcePath),
    responses((status = 200, description = "Its version is the ETag.", body = SourceView)))]
async fn show(
    State(app): State<Arc<App>>,
    InPath(SourcePath { org, source }): InPath<SourcePath>,
) -> Result<impl IntoResponse, Problem> {
    let found = app.database.source(&org, &id(&org, &source)?).await?;
    shown(&app, found).await
}

/// Change a source
///
/// What is left out stays. Settings are replaced as a whole. Whoever changes the scheme also adds a secret
/// that fits it.
#[utoipa::path(patch, path = "/api/v1/admin/orgs/{org}/sources/{source}", operation_id = "source_change", tag = "sources",
    params(SourcePath), request_body = Change,
    responses((status = 200, description = "After the change; its version is the ETag.", body = SourceView)))]
async fn alter(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(SourcePath { org, source }): InPath<SourcePath>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, Problem> {
    let (change, in_body) = change(&body)?;
    let expected = body::expected_version(&headers, in_body)?;
    let id = id(&org, &source)?;
    if let Some(name) = &change.name {
        check_name(name)?;
    }
    if let Some(settings) = &change.settings {
        let present = app.database.source(&org, &id).await?;
        check_settings(provider(&present.provider)?, settings)?;
    }
    let author = caller.author(&app);
    let changing = app
        .database
        .change_source((&org, &id), (&change, expected), &author);
    shown(&app, changing.await?).await
}

/// Delete a source
///
/// With its secrets. Its URL answers 404 from then on.
#[utoipa::path(delete, path = "/api/v1/admin/orgs/{org}/sources/{source}", operation_id = "source_delete", tag = "sources",
    params(SourcePath),
    responses((status = 200, description = "What was deleted.", body = SourceView)))]
async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(SourcePath { org, source }): InPath<SourcePath>,
    headers: HeaderMap,
) -> Result<Json<SourceView>, Problem> {
    let expected = body::expected_version(&headers, None)?;
    let id = id(&org, &source)?;
    let author = caller.author(&app);
    let gone = app.database.delete_source((&org, &id), expected, &author);
    Ok(Json(SourceView::new(gone.await?, &None, app.clock.now())))
}

/// Add a secret to a source
///
/// The new one is in the answer and is never shown again. Those that count now end `old_expires_in_seconds`
/// (a day) after it begins to count; those that ended before are removed.
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/sources/{source}/secrets", operation_id = "source_rotate", tag = "sources",
    params(SourcePath), request_body = Option<Rotate>,
    responses((status = 201, description = "The source with its new secret; its version is the ETag.", body = WithSecret)))]
async fn rotate(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(SourcePath { org, source }): InPath<SourcePath>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, Problem> {
    let request = rotation(&body)?;
    let expected = body::expected_version(&headers, request.expected_version)?;
    let id = id(&org, &source)?;
    let present = app.database.source(&org, &id).await?;
    let kind = provider(&present.provider)?;
    let secret = secret(kind, &present.settings, request.secret)?;
    let keys = master_keys(&app)?;
    let author = caller.author(&app);
    // The secret fits the settings of this version and of no other.
    let expected = expected.or(Some(present.version));
    let rotating = app.database.rotate_source(
        (&org, &id),
        (&request.rotation, expected),
        (&secret, &keys),
        &author,
    );
    let rotated = rotating.await?;
    let seen = glance(&app, std::slice::from_ref(&rotated)).await;
    Ok((
        StatusCode::CREATED,
        body::etag(rotated.version),
        Json(WithSecret::new(rotated, &seen, secret, app.clock.now())),
    ))
}

/// Remove a secret of a source
///
/// At once, whenever it would have ended. Refused with 409 for the only one that counts, unless the source
/// is disabled.
#[utoipa::path(delete, path = "/api/v1/admin/orgs/{org}/sources/{source}/secrets/{secret}",
    operation_id = "source_secret_delete", tag = "sources", params(SecretPath),
    responses((status = 200, description = "After the change; its version is the ETag.", body = SourceView)))]
async fn delete_secret(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(SecretPath {
        org,
        source,
        secret,
    }): InPath<SecretPath>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let expected = body::expected_version(&headers, None)?;
    let id = id(&org, &source)?;
    let author = caller.author(&app);
    let removing = app
        .database
        .delete_source_secret((&org, &id), (secret, expected), &author);
    shown(&app, removing.await?).await
}

/// Try a source
///
/// Says what is wrong with its last refused delivery, or with the one in the body: a wrong secret, a body that
/// a proxy wrote anew, a clock that is off, a body that cannot be read, a kind that the source does not take.
/// One that may be old is judged by its signature. `verdict` is `ok`, `filtered` (acknowledged and dropped) or
/// the code that the sender would hear; `becomes` and `kinds` say what would be stored.
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/sources/{source}/test", operation_id = "source_test", tag = "sources",
    params(SourcePath), request_body = Option<TestRequest>,
    responses((status = 200, description = "As ingress says.", body = Object)))]
async fn test(
    State(app): State<Arc<App>>,
    InPath(SourcePath { org, source }): InPath<SourcePath>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let captured = captured(&body)?;
    let found = app.database.source(&org, &id(&org, &source)?).await?;
    Ok(Json(app.ingress.test(&found.id, &captured).await?))
}

/// How a source does
///
/// What every ingress together saw of it.
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/sources/{source}/health", operation_id = "source_health", tag = "sources",
    params(SourcePath),
    responses((status = 200, description = "As ingress saw it.", body = HealthView)))]
async fn health(
    State(app): State<Arc<App>>,
    InPath(SourcePath { org, source }): InPath<SourcePath>,
) -> Result<Json<HealthView>, Problem> {
    let found = app.database.source(&org, &id(&org, &source)?).await?;
    let mut seen = app.ingress.health(&[&found.id]).await?;
    Ok(Json(HealthView::new(found, &mut seen)))
}

/// How the sources of an org do
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/sources/health", operation_id = "sources_health", tag = "sources",
    params(OrgPath, Filter),
    responses((status = 200, description = "By provider and name.", body = Vec<HealthView>)))]
async fn health_of_all(
    State(app): State<Arc<App>>,
    InPath(OrgPath { org }): InPath<OrgPath>,
    InQuery(filter): InQuery<Filter>,
) -> Result<Json<Vec<HealthView>>, Problem> {
    let sources = listed(&app, &org, filter.provider.as_deref()).await?;
    let ids: Vec<&SourceId> = sources.iter().map(|source| &source.id).collect();
    let mut seen = app.ingress.health(&ids).await?;
    let views = sources.into_iter();
    Ok(Json(
        views
            .map(|source| HealthView::new(source, &mut seen))
            .collect(),
    ))
}

/// What is no id names no source.
fn id(org: &OrgId, text: &str) -> Result<SourceId, Problem> {
    let unknown = || {
        Problem::from(SourceRefusal::Unknown {
            org: org.clone(),
            id: text.chars().take(64).collect(),
        })
    };
    SourceId::parse(text).ok_or_else(unknown)
}

async fn listed(app: &App, org: &OrgId, provider: Option<&str>) -> Result<Vec<Source>, Problem> {
    let sources = app.database.sources(org, provider).await?;
    if sources.is_empty() {
        must_be_org(app, org).await?;
    }
    Ok(sources)
}

/// The secret that was given, if it fits, or a new one that does.
fn secret(
    kind: &SourceProvider,
    settings: &SourceSettings,
    given: Option<super::secrets::SecretText>,
) -> Result<Zeroizing<String>, Problem> {
    match given {
        Some(given) => {
            check_secret(kind, settings, given.as_str())?;
            Ok(Zeroizing::new(given.as_str().to_owned()))
        }
        None => Ok(generated_secret(kind, settings, &*random()?)?),
    }
}

/// When secrets were last used. Without ingress, all else is known.
async fn glance(app: &App, sources: &[Source]) -> Seen {
    let ids: Vec<&SourceId> = sources.iter().map(|source| &source.id).collect();
    match app.ingress.glance(&ids).await {
        Ok(seen) => Some(seen),
        Err(error) => {
            tracing::debug!(error = %ErrorChain(&error), "ingress does not say when secrets were used");
            None
        }
    }
}

type Shown = ([(HeaderName, String); 1], Json<SourceView>);

async fn shown(app: &App, source: Source) -> Result<Shown, Problem> {
    let seen = glance(app, std::slice::from_ref(&source)).await;
    let view = SourceView::new(source, &seen, app.clock.now());
    Ok((body::etag(view.version()), Json(view)))
}
