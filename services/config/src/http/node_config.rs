//! The config of one node, for admins.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::{Json, response::IntoResponse};
use http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tocsin_kit::Problem;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::approvals::{self, PendingApproval, Unwritten};
use super::extract::{InPath, InQuery, NodePath};
use super::nodes::NodeView;
use super::{Access, App, Caller, Routes, Scope, body};
use crate::decide::{Action, Refusal, WriteRequest};
use crate::merge::Config;
use crate::pg::{Outcome, Written};

/// Versions that one answer holds.
const HISTORY_DEFAULT: i64 = 50;
const HISTORY_MAX: i64 = 200;

/// Longest reason of a change.
const MAX_REASON_CHARS: usize = 1_000;

/// The table of this area.
pub(super) fn routes() -> Routes {
    let (read, write) = (Scope::ConfigRead, Scope::ConfigWrite);
    Routes::new()
        .add(Access::Admin(read), routes!(own))
        .add(Access::Admin(write), routes!(patch))
        .add(Access::Admin(read), routes!(raw))
        .add(Access::Admin(read), routes!(effective))
        .add(Access::Admin(read), routes!(history))
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NodePatch)]
pub(super) struct Patch {
    #[schema(value_type = Object)]
    patch: Config,
    expected_version: Option<u64>,
    #[serde(default)]
    reason: Option<String>,
}

/// A node's own config.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OwnConfig)]
pub(super) struct Own {
    #[schema(value_type = Object)]
    config: Config,
}

/// Change what a node sets
#[utoipa::path(put, path = "/api/v1/admin/orgs/{org}/nodes/{node}/config", operation_id = "node_config_patch", tag = "config",
    params(NodePath), request_body = Patch,
    responses((status = 200, description = "The node's own config after it; its version is the ETag. Or that it waits for approval.", body = OwnOrPending)))]
pub(super) async fn patch(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(NodePath { org, node }): InPath<NodePath>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, Unwritten> {
    let request: Patch = body::json(&body)?;
    let request = WriteRequest::new(node, Action::Patch(request.patch))
        .expecting(body::expected_version(&headers, request.expected_version)?)
        .because(reason(request.reason)?)
        .approval(approvals::approval(&headers, &caller)?);
    let written = applied(
        app.database
            .write(&org, &request, &caller.author(&app))
            .await?,
    )?;
    let node = written.node()?;
    let own = Own {
        config: node.config.clone(),
    };
    Ok((body::etag(node.version), Json(OwnOrPending::Own(own))))
}

/// What was written at once.
pub(super) fn applied(outcome: Outcome) -> Result<Box<Written>, Unwritten> {
    match outcome {
        Outcome::Applied(written) => Ok(written),
        Outcome::Held(held) => Err(Unwritten::Held(held)),
    }
}

/// A node's own config after a write, or that somebody else has to approve the write first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OwnConfigOrPending)]
#[serde(untagged)]
pub(super) enum OwnOrPending {
    /// It is written.
    Own(Own),
    /// It waits.
    Pending(PendingApproval),
}

/// A reason that can be recorded.
pub(super) fn reason(given: Option<String>) -> Result<String, Problem> {
    let reason = given.unwrap_or_default();
    if reason.chars().count() > MAX_REASON_CHARS || reason.contains('\0') {
        let refusal = Refusal::Field(format!(
            "reason must be at most {MAX_REASON_CHARS} characters, without U+0000"
        ));
        return Err(refusal.into());
    }
    Ok(reason)
}

/// What a node sets
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/nodes/{node}/config", operation_id = "node_config_own", tag = "config",
    params(NodePath),
    responses((status = 200, description = "Its version is the ETag.", body = Own)))]
pub(super) async fn own(
    State(app): State<Arc<App>>,
    InPath(NodePath { org, node }): InPath<NodePath>,
) -> Result<impl IntoResponse, Problem> {
    let node = app.database.node(&org, &node).await?;
    let own = Own {
        config: node.config,
    };
    Ok((body::etag(node.version), Json(own)))
}

/// Each layer of a node's config.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RawConfig)]
pub(super) struct Raw {
    lineage: Vec<NodeView>,
    #[schema(value_type = Object)]
    configs: BTreeMap<String, Config>,
}

/// What each node of the line sets
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/nodes/{node}/raw", operation_id = "node_config_raw", tag = "config",
    params(NodePath),
    responses((status = 200, description = "The line, root first.", body = Raw)))]
pub(super) async fn raw(
    State(app): State<Arc<App>>,
    InPath(NodePath { org, node }): InPath<NodePath>,
) -> Result<Json<Raw>, Problem> {
    let line = app.database.lineage(&org, &node).await?;
    let lineage = line.0.iter().map(NodeView::from).collect();
    let configs = line
        .0
        .into_iter()
        .map(|node| (node.id.to_string(), node.config));
    Ok(Json(Raw {
        lineage,
        configs: configs.collect(),
    }))
}

/// What holds at a node
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/nodes/{node}/effective", operation_id = "node_config_effective", tag = "config",
    params(NodePath),
    responses((status = 200, description = "The config, without an envelope.", body = Object)))]
pub(super) async fn effective(
    State(app): State<Arc<App>>,
    InPath(NodePath { org, node }): InPath<NodePath>,
) -> Result<Json<Config>, Problem> {
    let line = app.database.lineage(&org, &node).await?;
    Ok(Json(line.effective(&app.defaults)))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// At most this many.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
}

/// One version, as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NodeVersion)]
pub(super) struct Version {
    org_id: String,
    node_id: String,
    version: i64,
    what: String,
    #[schema(value_type = String, format = DateTime)]
    changed_at: Timestamp,
    changed_by: String,
    reason: String,
    #[schema(value_type = Object)]
    diff: Value,
    #[schema(value_type = Option<Object>)]
    full_config: Option<Value>,
}

/// Versions of a node
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/nodes/{node}/audit", operation_id = "node_config_history", tag = "config",
    params(NodePath, HistoryQuery),
    responses((status = 200, description = "Newest first.", body = [Version])))]
pub(super) async fn history(
    State(app): State<Arc<App>>,
    InPath(NodePath { org, node }): InPath<NodePath>,
    InQuery(query): InQuery<HistoryQuery>,
) -> Result<Json<Vec<Version>>, Problem> {
    let limit = query.limit.unwrap_or(HISTORY_DEFAULT);
    if !(1..=HISTORY_MAX).contains(&limit) {
        return Err(Refusal::Field(format!("limit must be 1 to {HISTORY_MAX}")).into());
    }
    let rows = app.database.history(&org, &node, limit).await?;
    let version = |row: crate::pg::HistoryRow| Version {
        org_id: org.to_string(),
        node_id: node.to_string(),
        version: row.version,
        what: row.what,
        changed_at: row.changed_at.to_jiff(),
        changed_by: row.changed_by,
        reason: row.reason,
        diff: row.diff,
        full_config: row.config,
    };
    Ok(Json(rows.into_iter().map(version).collect()))
}
