//! The config of one node, for admins.

mod answer;
mod bulk;
mod compare;
mod history;
mod v2;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use tocsin_kit::Problem;
use utoipa::ToSchema;

use super::approvals::approval;
use super::extract::{InPath, InQuery, NodePath};
use super::nodes::NodeView;
use super::{Access, App, Caller, Routes, Scope, body};
use crate::decide::{Action, Refusal, WriteRequest};
use crate::http::routes::route;
use crate::merge::Config;
use crate::pg::{Mode, Written};
use crate::reading::{self, Want};

pub(super) use answer::{Answer, Form, applied, served, with_etag, write};
pub(super) use compare::{ExplainQuery, Explained, explained};
pub(super) use history::{HistoryQuery, Version, versions};
pub(super) use v2::{Configured, Patch};

/// Longest reason of a change.
const MAX_REASON_CHARS: usize = 1_000;

/// The table of this area.
pub(super) fn routes() -> Routes {
    let (read, write) = (Scope::ConfigRead, Scope::ConfigWrite);
    Routes::new()
        .add(Access::Admin(read), route!(own))
        .add(Access::Admin(write), route!(put))
        .add(Access::Admin(write), route!(rollback))
        .add(Access::Admin(read), route!(raw))
        .add(Access::Admin(read), route!(effective))
        .merge(bulk::routes())
        .merge(compare::routes())
        .merge(history::routes())
        .merge(v2::routes())
}

/// How a write is done.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WriteQuery {
    /// Show what would change, and change nothing.
    #[serde(default)]
    pub(super) dry_run: bool,
}

impl WriteQuery {
    pub(super) const fn mode(&self) -> Mode {
        if self.dry_run {
            Mode::DryRun
        } else {
            Mode::Apply
        }
    }
}

/// Whether what is sent is merged into what the node sets, or takes its place.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum PutMode {
    #[default]
    Merge,
    Replace,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PutQuery {
    /// Show what would change, and change nothing.
    #[serde(default)]
    dry_run: bool,
    /// `replace`: the node sets nothing but what is sent. A body with `config` means this, too.
    #[serde(default)]
    #[param(inline)]
    mode: PutMode,
}

/// `patch` is merged into what the node sets; `config` takes its place.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NodeConfigPut)]
pub(super) struct Put {
    #[schema(value_type = Option<Object>)]
    patch: Option<Config>,
    #[schema(value_type = Option<Object>)]
    config: Option<Config>,
    /// That the node has; else 409 `stale_version`. `If-Match` says the same.
    expected_version: Option<u64>,
    /// For the history.
    reason: Option<String>,
}

impl Put {
    fn action(self, mode: PutMode) -> Result<Action, Problem> {
        match (self.patch, self.config, mode) {
            (Some(patch), None, PutMode::Merge) => Ok(Action::Patch(patch)),
            (Some(config), None, PutMode::Replace) | (None, Some(config), _) => {
                Ok(Action::Replace(config))
            }
            (Some(_), Some(_), _) | (None, None, _) => Err(Problem::new(
                http::StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_field",
                "send either patch, which is merged into what the node sets, or config, which takes its place",
            )),
        }
    }
}

/// A node's own config.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OwnConfig)]
pub(super) struct Own {
    #[schema(value_type = Object)]
    config: Config,
    version: u64,
}

impl Own {
    fn of(written: &Written) -> Result<Self, crate::error::OperationError> {
        let node = written.node()?;
        Ok(Self {
            config: node.config.clone(),
            version: node.version,
        })
    }
}

fn own_answer(answer: Answer<Own>) -> Response {
    let version = match &answer {
        Answer::Applied(own) => own.version,
        Answer::Preview(_) | Answer::Pending(_) => 0,
    };
    with_etag(answer, version)
}

/// Change what a node sets
///
/// `"__INHERIT__"` as a value removes the key, so that what is set above shows again; `null` is a
/// value like any other.
#[utoipa::path(put, path = "/api/v1/admin/orgs/{org}/nodes/{node}/config", operation_id = "node_config_put", tag = "config",
    params(NodePath, PutQuery), request_body = Put,
    responses((status = 200, description = "The node's own config after it; its version is the ETag. Or what would change; or that it waits for approval.", body = Answer<Own>)))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(NodePath { org, node }): InPath<NodePath>,
    InQuery(query): InQuery<PutQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut put: Put = body::json(&body)?;
    let expected = body::expected_version(&headers, put.expected_version)?;
    let reason = reason(put.reason.take())?;
    let request = WriteRequest::new(node, put.action(query.mode)?)
        .expecting(expected)
        .because(reason)
        .approval(approval(&headers, &caller)?);
    let mode = WriteQuery {
        dry_run: query.dry_run,
    }
    .mode();
    let answer = write(&app, &caller, &org, (&[request], mode), Own::of).await?;
    Ok(own_answer(answer))
}

/// Which version to go back to.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Rollback {
    #[schema(minimum = 1)]
    version: u64,
    reason: Option<String>,
    expected_version: Option<u64>,
}

/// Go back to an earlier version
///
/// As a new version with the reason `Rollback to version N`; any version will do, the first included.
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/nodes/{node}/config/rollback", operation_id = "node_config_rollback", tag = "config",
    params(NodePath, WriteQuery), request_body = Rollback,
    responses((status = 200, description = "The node's own config after it.", body = Answer<Own>)))]
pub(super) async fn rollback(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(NodePath { org, node }): InPath<NodePath>,
    InQuery(query): InQuery<WriteQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let rollback: Rollback = body::json(&body)?;
    let request = WriteRequest::new(node, Action::Rollback(rollback.version))
        .expecting(body::expected_version(&headers, rollback.expected_version)?)
        .because(reason(rollback.reason)?)
        .approval(approval(&headers, &caller)?);
    let answer = write(&app, &caller, &org, (&[request], query.mode()), Own::of).await?;
    Ok(own_answer(answer))
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
        version: node.version,
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

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EffectiveQuery {
    /// Read the database, whatever the cache knows.
    #[serde(default)]
    force_refresh: bool,
}

impl EffectiveQuery {
    pub(super) const fn want(&self) -> Want {
        if self.force_refresh {
            Want::Refreshed
        } else {
            Want::Fresh
        }
    }
}

/// What holds at a node
///
/// The ETag changes with any node of the line; `If-None-Match` is answered 304. While the database is
/// down, the last known state is sent with `Tocsin-Stale: true` and its `Age`.
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/nodes/{node}/effective", operation_id = "node_config_effective", tag = "config",
    params(NodePath, EffectiveQuery),
    responses((status = 200, description = "The config, without an envelope.", body = Object),
        (status = 304, description = "It is as the caller knows it.")))]
pub(super) async fn effective(
    State(app): State<Arc<App>>,
    InPath(NodePath { org, node }): InPath<NodePath>,
    InQuery(query): InQuery<EffectiveQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let read = reading::effective(&app, &org, &node, query.want()).await?;
    served(&app, &read, Form::Bare, &headers)
}
