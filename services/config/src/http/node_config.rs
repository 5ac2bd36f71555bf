//! The config of one node, for admins.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::{Json, response::IntoResponse};
use http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tocsin_kit::Problem;

use super::App;
use super::auth::Admin;
use super::body;
use super::nodes::NodeView;
use crate::decide::Refusal;
use crate::merge::Config;
use crate::pg::PatchRequest;

/// Versions that one answer holds.
const HISTORY_DEFAULT: i64 = 50;
const HISTORY_MAX: i64 = 200;

/// Longest reason of a change.
const MAX_REASON_CHARS: usize = 1_000;

#[derive(Debug, Deserialize)]
pub(super) struct Patch {
    patch: Config,
    expected_version: Option<u64>,
    #[serde(default)]
    reason: Option<String>,
}

/// A node's own config.
#[derive(Debug, Serialize)]
pub(super) struct Own {
    config: Config,
}

/// `PUT …/nodes/{node}/config {"patch": {…}, expected_version?, reason?}` → `{"config": {…}}`, the
/// node's own config after it; its version is the ETag.
pub(super) async fn patch(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, Problem> {
    let (org, node) = body::org_and_node(&path)?;
    let request: Patch = body::json(&body)?;
    let request = PatchRequest {
        patch: request.patch,
        expected: body::expected_version(&headers, request.expected_version)?,
        reason: reason(request.reason)?,
    };
    let node = app
        .database
        .patch(&org, &node, &request, &admin.author(&app))
        .await?;
    let own = Own {
        config: node.config,
    };
    Ok((body::etag(node.version), Json(own)))
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

/// `GET …/nodes/{node}/config` → `{"config": {…}}`; the version is the ETag.
pub(super) async fn own(
    State(app): State<Arc<App>>,
    _: Admin,
    Path(path): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let (org, node) = body::org_and_node(&path)?;
    let node = app.database.node(&org, &node).await?;
    let own = Own {
        config: node.config,
    };
    Ok((body::etag(node.version), Json(own)))
}

/// Each layer of a node's config.
#[derive(Debug, Serialize)]
pub(super) struct Raw {
    lineage: Vec<NodeView>,
    configs: BTreeMap<String, Config>,
}

/// `GET …/nodes/{node}/raw` → the line, root first, and what each node of it sets.
pub(super) async fn raw(
    State(app): State<Arc<App>>,
    _: Admin,
    Path(path): Path<(String, String)>,
) -> Result<Json<Raw>, Problem> {
    let (org, node) = body::org_and_node(&path)?;
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

/// `GET …/nodes/{node}/effective` → what holds at the node, without an envelope.
pub(super) async fn effective(
    State(app): State<Arc<App>>,
    _: Admin,
    Path(path): Path<(String, String)>,
) -> Result<Json<Config>, Problem> {
    let (org, node) = body::org_and_node(&path)?;
    let line = app.database.lineage(&org, &node).await?;
    Ok(Json(line.effective(&app.defaults)))
}

#[derive(Debug, Deserialize)]
pub(super) struct HistoryQuery {
    limit: Option<i64>,
}

/// One version, as the API shows it.
#[derive(Debug, Serialize)]
pub(super) struct Version {
    org_id: String,
    node_id: String,
    version: i64,
    what: String,
    changed_at: Timestamp,
    changed_by: String,
    reason: String,
    diff: Value,
    full_config: Option<Value>,
}

/// `GET …/nodes/{node}/audit?limit=50` (1 to 200) → versions, newest first.
pub(super) async fn history(
    State(app): State<Arc<App>>,
    _: Admin,
    Path(path): Path<(String, String)>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<Vec<Version>>, Problem> {
    let (org, node) = body::org_and_node(&path)?;
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
