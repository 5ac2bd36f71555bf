//! A team's own config, for the holder of its token.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tocsin_kit::Problem;
use utoipa::ToSchema;

use super::extract::InQuery;
use super::node_config::{
    self, Answer, Configured, ExplainQuery, Explained, Form, HistoryQuery, Patch, Version,
    WriteQuery, served,
};
use super::{Access, App, Caller, Routes, body};
use crate::decide::{Action, WriteRequest};
use crate::http::routes::route;
use crate::merge::Config;
use crate::reading::{self, Want};
use crate::token::Permission;

/// The table of this area.
pub(super) fn routes() -> Routes {
    let (read, write) = (Permission::ConfigRead, Permission::ConfigWrite);
    Routes::new()
        .add(Access::Team(read), route!(effective))
        .add(Access::Team(read), route!(effective_by_name))
        .add(Access::Team(read), route!(raw))
        .add(Access::Team(read), route!(explain))
        .add(Access::Team(Permission::AuditRead), route!(audit))
        .add(Access::Team(write), route!(patch))
        .add(Access::Team(write), route!(put))
        .add(Access::Team(write), route!(rollback))
}

/// What holds for a node, as it is sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EffectiveConfig)]
pub(super) struct EffectiveView {
    node_id: String,
    #[schema(value_type = Object)]
    effective_config: Config,
    /// When it was read from the database.
    #[schema(value_type = String, format = DateTime)]
    computed_at: Timestamp,
    /// From the org to the node.
    hierarchy: Vec<String>,
}

/// What holds for my team
///
/// The ETag changes with any node of the line; `If-None-Match` is answered 304. While the database is
/// down, the last known state is sent with `Tocsin-Stale: true` and its `Age`.
#[utoipa::path(get, path = "/api/v1/config/me", operation_id = "my_config", tag = "me",
    responses((status = 200, description = "The effective config.", body = EffectiveView),
        (status = 304, description = "It is as the caller knows it.")))]
pub(super) async fn effective(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (org, team) = caller.team()?;
    let read = reading::effective(&app, &org, &team, Want::Fresh).await?;
    served(&app, &read, Form::Enveloped, &headers)
}

/// What holds for my team, by its other name
#[utoipa::path(get, path = "/api/v1/config/me/effective", operation_id = "my_effective_config",
    tag = "me",
    responses((status = 200, description = "The effective config.", body = EffectiveView),
        (status = 304, description = "It is as the caller knows it.")))]
pub(super) async fn effective_by_name(
    state: State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    effective(state, caller, headers).await
}

/// Each layer of my team's config.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MyRawConfig)]
pub(super) struct Raw {
    /// From the org to the team.
    lineage: Vec<String>,
    #[schema(value_type = Object)]
    configs: BTreeMap<String, Config>,
}

/// What each node above my team and the team itself set
#[utoipa::path(get, path = "/api/v1/config/me/raw", operation_id = "my_raw_config", tag = "me",
    responses((status = 200, description = "By node.", body = Raw)))]
pub(super) async fn raw(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Raw>, Problem> {
    let (org, team) = caller.team()?;
    let line = app.database.lineage(&org, &team).await?;
    let lineage = line.ids().iter().map(ToString::to_string).collect();
    let configs = line.0.into_iter();
    let configs = configs.map(|node| (node.id.to_string(), node.config));
    Ok(Json(Raw {
        lineage,
        configs: configs.collect(),
    }))
}

/// Where each value of my team comes from
#[utoipa::path(get, path = "/api/v1/config/me/explain", operation_id = "my_config_explain", tag = "me",
    params(ExplainQuery),
    responses((status = 200, description = "By path.", body = Explained)))]
pub(super) async fn explain(
    State(app): State<Arc<App>>,
    caller: Caller,
    InQuery(query): InQuery<ExplainQuery>,
) -> Result<Json<Explained>, Problem> {
    let (org, team) = caller.team()?;
    let explained = node_config::explained(&app, &org, &team, &query).await?;
    Ok(Json(explained))
}

/// Versions of what my team sets
#[utoipa::path(get, path = "/api/v1/config/me/audit", operation_id = "my_config_audit", tag = "me",
    params(HistoryQuery),
    responses((status = 200, description = "Newest first.", body = [Version])))]
pub(super) async fn audit(
    State(app): State<Arc<App>>,
    caller: Caller,
    InQuery(query): InQuery<HistoryQuery>,
) -> Result<Json<Vec<Version>>, Problem> {
    let (org, team) = caller.team()?;
    let versions = node_config::versions(&app, &org, &team, &query).await?;
    Ok(Json(versions))
}

/// Change what my team sets
///
/// `"__INHERIT__"` as a value removes the key, so that what is set above shows again; `null` is a
/// value like any other.
#[utoipa::path(patch, path = "/api/v1/config/me", operation_id = "my_config_patch", tag = "me",
    params(WriteQuery), request_body = Patch,
    responses((status = 200, description = "The team's own config after it; its version is the ETag.",
        body = Answer<Configured>)))]
pub(super) async fn patch(
    State(app): State<Arc<App>>,
    caller: Caller,
    InQuery(query): InQuery<WriteQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let patch: Patch = body::json(&body)?;
    let (_, team) = caller.team()?;
    let request = patch.request(team, &headers)?;
    write(&app, &caller, &request, &query).await
}

/// Change what my team sets, the first way
///
/// The body is the patch itself, without an envelope.
#[utoipa::path(put, path = "/api/v1/config/me", operation_id = "my_config_put", tag = "me",
    params(WriteQuery), request_body = Object,
    responses((status = 200, description = "The team's own config after it; its version is the ETag.",
        body = Answer<Configured>)))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    caller: Caller,
    InQuery(query): InQuery<WriteQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let patch: Config = body::json(&body)?;
    let (_, team) = caller.team()?;
    let request = WriteRequest::new(team, Action::Patch(patch))
        .expecting(body::expected_version(&headers, None)?);
    write(&app, &caller, &request, &query).await
}

/// Which version to go back to.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = MyRollback)]
pub(super) struct Rollback {
    #[schema(minimum = 1)]
    version: u64,
    reason: Option<String>,
}

/// Go back to an earlier version of my team's config
#[utoipa::path(post, path = "/api/v1/config/me/rollback", operation_id = "my_config_rollback", tag = "me",
    params(WriteQuery), request_body = Rollback,
    responses((status = 200, description = "The team's own config after it.", body = Answer<Configured>)))]
pub(super) async fn rollback(
    State(app): State<Arc<App>>,
    caller: Caller,
    InQuery(query): InQuery<WriteQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let rollback: Rollback = body::json(&body)?;
    let (_, team) = caller.team()?;
    let request = WriteRequest::new(team, Action::Rollback(rollback.version))
        .expecting(body::expected_version(&headers, None)?)
        .because(node_config::reason(rollback.reason)?);
    write(&app, &caller, &request, &query).await
}

async fn write(
    app: &App,
    caller: &Caller,
    request: &WriteRequest,
    query: &WriteQuery,
) -> Result<Response, Problem> {
    let (org, _) = caller.team()?;
    let requests = (std::slice::from_ref(request), query.mode());
    let answer = node_config::write(app, caller, &org, requests, Configured::of).await?;
    Ok(Configured::answer(answer))
}
