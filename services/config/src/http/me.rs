//! A team's own config, for the holder of its token.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::{Json, response::IntoResponse};
use http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tocsin_kit::Problem;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::approvals::{PendingApproval, Unwritten};
use super::{Access, App, Caller, Routes, body, node_config};
use crate::decide::{Action, WriteRequest};
use crate::merge::Config;
use crate::node::Kind;
use crate::token::Permission;

/// The table of this area.
pub(super) fn routes() -> Routes {
    let (read, write) = (Permission::ConfigRead, Permission::ConfigWrite);
    Routes::new()
        .add(Access::Team(read), routes!(effective))
        .add(Access::Team(read), routes!(effective_by_name))
        .add(Access::Team(write), routes!(patch))
}

/// What holds for the team.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EffectiveConfig)]
pub(super) struct Effective {
    node_id: String,
    #[schema(value_type = Object)]
    effective_config: Config,
    #[schema(value_type = String, format = DateTime)]
    computed_at: Timestamp,
    hierarchy: Vec<String>,
}

/// What holds for my team
#[utoipa::path(get, path = "/api/v1/config/me", operation_id = "my_config", tag = "me",
    responses((status = 200, description = "The effective config.", body = Effective)))]
pub(super) async fn effective(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<Effective>, Problem> {
    let (org, team) = caller.team()?;
    let line = app.database.lineage(&org, &team).await?;
    Ok(Json(Effective {
        node_id: team.to_string(),
        effective_config: line.effective(&app.defaults),
        computed_at: app.clock.now(),
        hierarchy: line.ids().iter().map(ToString::to_string).collect(),
    }))
}

/// What holds for my team, by its other name
#[utoipa::path(get, path = "/api/v1/config/me/effective", operation_id = "my_effective_config",
    tag = "me",
    responses((status = 200, description = "The effective config.", body = Effective)))]
pub(super) async fn effective_by_name(
    state: State<Arc<App>>,
    caller: Caller,
) -> Result<Json<Effective>, Problem> {
    effective(state, caller).await
}

/// Other keys (`merge`) are what clients of the original send along.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = MyPatch)]
pub(super) struct Patch {
    #[schema(value_type = Object)]
    config: Config,
    reason: Option<String>,
    expected_version: Option<u64>,
}

/// The team's own config after a write.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MyConfig)]
pub(super) struct Written {
    node_id: String,
    node_type: Kind,
    #[schema(value_type = Object)]
    config: Config,
    version: u64,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    updated_by: String,
}

/// The team's own config after a write, or that somebody else has to approve the write first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MyConfigOrPending)]
#[serde(untagged)]
pub(super) enum WrittenOrPending {
    /// It is written.
    Written(Written),
    /// It waits.
    Pending(PendingApproval),
}

/// Change what my team sets
#[utoipa::path(patch, path = "/api/v1/config/me", operation_id = "my_config_patch", tag = "me",
    request_body = Patch,
    responses((status = 200, description = "The team's own config after it; its version is the ETag. Or that it waits for approval.",
        body = WrittenOrPending)))]
pub(super) async fn patch(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, Unwritten> {
    let (org, team) = caller.team()?;
    let request: Patch = body::json(&body)?;
    let request = WriteRequest::new(team, Action::Patch(request.config))
        .expecting(body::expected_version(&headers, request.expected_version)?)
        .because(node_config::reason(request.reason)?);
    let outcome = app
        .database
        .write(&org, &request, &caller.author(&app))
        .await?;
    let written = node_config::applied(outcome)?;
    let node = written.node()?;
    let written = Written {
        node_id: node.id.to_string(),
        node_type: node.kind,
        config: node.config.clone(),
        version: node.version,
        updated_at: node.updated_at,
        updated_by: node.updated_by.clone(),
    };
    let version = node.version;
    Ok((
        body::etag(version),
        Json(WrittenOrPending::Written(written)),
    ))
}
