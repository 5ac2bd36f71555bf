//! The second generation of the API: `/api/v1/config/orgs/{org}/nodes/{node}…`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tocsin_kit::Problem;
use tocsin_wire::OrgId;
use utoipa::ToSchema;

use super::{Answer, EffectiveQuery, Form, WriteQuery, reason, served, with_etag, write};
use crate::decide::{Action, Refusal, WriteRequest};
use crate::error::OperationError;
use crate::http::approvals::approval;
use crate::http::extract::{self, InPath, InQuery, NodePath};
use crate::http::me::EffectiveView;
use crate::http::routes::route;
use crate::http::{Access, App, Caller, Routes, Scope, body};
use crate::merge::Config;
use crate::node::{Kind, Node, NodeId};
use crate::pg::{AuditFilter, AuditRow, Written};
use crate::reading;

/// Versions that one answer holds.
const HISTORY_DEFAULT: i64 = 50;
const HISTORY_MAX: i64 = 100;

pub(super) fn routes() -> Routes {
    let (read, write) = (Scope::ConfigRead, Scope::ConfigWrite);
    Routes::new()
        .add(Access::Admin(read), route!(own))
        .add(Access::Admin(read), route!(effective))
        .add(Access::Admin(write), route!(patch))
        .add(Access::Admin(read), route!(history))
        .add(Access::Admin(write), route!(rollback))
        .add(Access::Public, route!(defaults))
}

/// A node's own config with its version.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConfiguredNode)]
pub(in crate::http) struct Configured {
    pub(in crate::http) node_id: String,
    pub(in crate::http) node_type: Kind,
    #[schema(value_type = Object)]
    pub(in crate::http) config: Config,
    pub(in crate::http) version: u64,
    #[schema(value_type = String, format = DateTime)]
    pub(in crate::http) updated_at: Timestamp,
    pub(in crate::http) updated_by: String,
}

impl From<&Node> for Configured {
    fn from(node: &Node) -> Self {
        Self {
            node_id: node.id.to_string(),
            node_type: node.kind,
            config: node.config.clone(),
            version: node.version,
            updated_at: node.updated_at,
            updated_by: node.updated_by.clone(),
        }
    }
}

impl Configured {
    pub(in crate::http) fn of(written: &Written) -> Result<Self, OperationError> {
        Ok(written.node()?.into())
    }

    /// With the version as the ETag.
    pub(in crate::http) fn answer(answer: Answer<Self>) -> Response {
        let version = match &answer {
            Answer::Applied(node) => node.version,
            Answer::Preview(_) | Answer::Pending(_) => 0,
        };
        with_etag(answer, version)
    }
}

/// What a node sets, with its version
#[utoipa::path(get, path = "/api/v1/config/orgs/{org}/nodes/{node}/raw", operation_id = "config_node_raw", tag = "config",
    params(NodePath),
    responses((status = 200, description = "Its version is the ETag.", body = Configured)))]
pub(super) async fn own(
    State(app): State<Arc<App>>,
    InPath(NodePath { org, node }): InPath<NodePath>,
) -> Result<impl IntoResponse, Problem> {
    let node = app.database.node(&org, &node).await?;
    Ok((body::etag(node.version), Json(Configured::from(&node))))
}

/// What holds at a node, in an envelope
#[utoipa::path(get, path = "/api/v1/config/orgs/{org}/nodes/{node}/effective", operation_id = "config_node_effective", tag = "config",
    params(NodePath, EffectiveQuery),
    responses((status = 200, description = "The effective config.", body = EffectiveView),
        (status = 304, description = "It is as the caller knows it.")))]
pub(super) async fn effective(
    State(app): State<Arc<App>>,
    InPath(NodePath { org, node }): InPath<NodePath>,
    InQuery(query): InQuery<EffectiveQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let read = reading::effective(&app, &org, &node, query.want()).await?;
    served(&app, &read, Form::Enveloped, &headers)
}

/// A change of a node's own config; `merge: false` puts `config` in its place.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ConfigPatch)]
pub(in crate::http) struct Patch {
    #[schema(value_type = Object)]
    config: Config,
    reason: Option<String>,
    expected_version: Option<u64>,
    /// `true` unless said otherwise.
    merge: Option<bool>,
}

impl Patch {
    pub(in crate::http) fn request(
        self,
        node: NodeId,
        headers: &HeaderMap,
    ) -> Result<WriteRequest, Problem> {
        let action = match self.merge {
            Some(false) => Action::Replace(self.config),
            Some(true) | None => Action::Patch(self.config),
        };
        Ok(WriteRequest::new(node, action)
            .expecting(body::expected_version(headers, self.expected_version)?)
            .because(reason(self.reason)?))
    }
}

/// Change what a node sets, with a reason
#[utoipa::path(patch, path = "/api/v1/config/orgs/{org}/nodes/{node}", operation_id = "config_node_patch", tag = "config",
    params(NodePath, WriteQuery), request_body = Patch,
    responses((status = 200, description = "The node after it; its version is the ETag.", body = Answer<Configured>)))]
pub(super) async fn patch(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(NodePath { org, node }): InPath<NodePath>,
    InQuery(query): InQuery<WriteQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let patch: Patch = body::json(&body)?;
    let request = patch
        .request(node, &headers)?
        .approval(approval(&headers, &caller)?);
    let requests = (std::slice::from_ref(&request), query.mode());
    let answer = write(&app, &caller, &org, requests, Configured::of).await?;
    Ok(Configured::answer(answer))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Limit {
    /// At most this many.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
}

/// One version of a node.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConfigVersion)]
pub(super) struct Version {
    version: i64,
    #[schema(value_type = String, format = DateTime)]
    changed_at: Timestamp,
    changed_by: String,
    change_reason: String,
    #[schema(value_type = Object)]
    change_diff: Value,
}

/// Versions of a node, briefly
#[utoipa::path(get, path = "/api/v1/config/orgs/{org}/nodes/{node}/history", operation_id = "config_node_history", tag = "config",
    params(NodePath, Limit),
    responses((status = 200, description = "Newest first.", body = [Version])))]
pub(super) async fn history(
    State(app): State<Arc<App>>,
    InPath(NodePath { org, node }): InPath<NodePath>,
    InQuery(query): InQuery<Limit>,
) -> Result<Json<Vec<Version>>, Problem> {
    let limit = query.limit.unwrap_or(HISTORY_DEFAULT);
    if !(1..=HISTORY_MAX).contains(&limit) {
        return Err(Refusal::Field(format!("limit must be 1 to {HISTORY_MAX}")).into());
    }
    let filter = AuditFilter {
        node: Some(node.clone()),
        limit,
        ..AuditFilter::default()
    };
    let rows = app.database.audit(&org, &filter).await?;
    if rows.is_empty() {
        app.database.must_have_been(&org, &node).await?;
    }
    let version = |row: AuditRow| Version {
        version: row.version,
        changed_at: row.changed_at.to_jiff(),
        changed_by: row.changed_by,
        change_reason: row.reason,
        change_diff: row.diff,
    };
    Ok(Json(rows.into_iter().map(version).collect()))
}

/// `…/orgs/{org}/nodes/{node}/…/{version}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct VersionPath {
    /// The org.
    #[serde(deserialize_with = "extract::org")]
    #[param(value_type = String, example = "acme")]
    org: OrgId,
    /// A node of it.
    #[serde(deserialize_with = "extract::node_id")]
    #[param(value_type = String, example = "payments")]
    node: NodeId,
    /// The version to go back to.
    #[param(minimum = 1)]
    version: u64,
}

/// Go back to an earlier version of a node
#[utoipa::path(post, path = "/api/v1/config/orgs/{org}/nodes/{node}/rollback/{version}", operation_id = "config_node_rollback", tag = "config",
    params(VersionPath, WriteQuery),
    responses((status = 200, description = "The node after it.", body = Answer<Configured>)))]
pub(super) async fn rollback(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(VersionPath { org, node, version }): InPath<VersionPath>,
    InQuery(query): InQuery<WriteQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let request = WriteRequest::new(node, Action::Rollback(version))
        .expecting(body::expected_version(&headers, None)?)
        .approval(approval(&headers, &caller)?);
    let requests = (std::slice::from_ref(&request), query.mode());
    let answer = write(&app, &caller, &org, requests, Configured::of).await?;
    Ok(Configured::answer(answer))
}

/// The system's defaults
///
/// The layer above every org.
#[utoipa::path(get, path = "/api/v1/config/defaults", operation_id = "config_defaults", tag = "config",
    responses((status = 200, description = "The defaults.", body = Object)))]
pub(super) async fn defaults(State(app): State<Arc<App>>) -> Json<Config> {
    Json(app.defaults.clone())
}
