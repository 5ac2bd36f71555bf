//! Many changes of one org at once: all of them or none.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use tocsin_kit::Problem;
use utoipa::ToSchema;

use super::{Answer, WriteQuery, reason, write};
use crate::change::What;
use crate::decide::{Action, Refusal, WriteRequest};
use crate::error::OperationError;
use crate::http::approvals::approval;
use crate::http::extract::{Id, InPath, InQuery, OrgPath};
use crate::http::routes::route;
use crate::http::{Access, App, Caller, CallerKind, Routes, Scope, body};
use crate::merge::Config;
use crate::node::Kind;
use crate::pg::Written;

/// Changes of one request. More than this keep other writers of the org waiting for too long.
const MAX_CHANGES: usize = 5_000;

pub(super) fn routes() -> Routes {
    Routes::new()
        .add(Access::Admin(Scope::ConfigWrite), route!(bulk))
        .add(Access::Admin(Scope::ConfigWrite), route!(configs))
        .add(Access::Admin(Scope::ConfigRead), route!(export))
}

/// Changes that are made together, in order.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = BulkChanges)]
pub(super) struct Bulk {
    changes: Vec<Change>,
    /// For the history of each node.
    reason: Option<String>,
}

/// One change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "op", rename_all = "snake_case")]
#[schema(as = BulkChange)]
pub(super) enum Change {
    /// A new node; one of type `org` needs a global admin.
    Create {
        #[schema(value_type = Id)]
        node_id: String,
        #[schema(value_type = Option<Id>)]
        parent_id: Option<String>,
        node_type: Kind,
        name: Option<String>,
        #[serde(default)]
        #[schema(value_type = Object)]
        config: Config,
    },
    /// Merge into what the node sets.
    Patch {
        #[schema(value_type = Id)]
        node_id: String,
        #[serde(alias = "patch")]
        #[schema(value_type = Object)]
        config: Config,
        expected_version: Option<u64>,
    },
    /// Put in the place of what the node sets.
    Replace {
        #[schema(value_type = Id)]
        node_id: String,
        #[schema(value_type = Object)]
        config: Config,
        expected_version: Option<u64>,
    },
    /// Go back to an earlier version.
    Rollback {
        #[schema(value_type = Id)]
        node_id: String,
        version: u64,
        expected_version: Option<u64>,
    },
    /// Another parent, another name, or both.
    Place {
        #[schema(value_type = Id)]
        node_id: String,
        #[schema(value_type = Option<Id>)]
        parent_id: Option<String>,
        name: Option<String>,
        expected_version: Option<u64>,
    },
    /// Remove it; with everything below it if `recursive`.
    Delete {
        #[schema(value_type = Id)]
        node_id: String,
        #[serde(default)]
        recursive: bool,
        expected_version: Option<u64>,
    },
}

impl Change {
    fn request(self) -> Result<WriteRequest, Problem> {
        let parent = |id: Option<String>| id.as_deref().map(body::node_id).transpose();
        let (node, action, expected) = match self {
            Self::Create {
                node_id,
                parent_id,
                node_type,
                name,
                config,
            } => {
                let action = Action::Create {
                    parent: parent(parent_id)?,
                    kind: node_type,
                    name: name.unwrap_or_default(),
                    config,
                };
                (node_id, action, None)
            }
            Self::Patch {
                node_id,
                config,
                expected_version,
            } => (node_id, Action::Patch(config), expected_version),
            Self::Replace {
                node_id,
                config,
                expected_version,
            } => (node_id, Action::Replace(config), expected_version),
            Self::Rollback {
                node_id,
                version,
                expected_version,
            } => (node_id, Action::Rollback(version), expected_version),
            Self::Place {
                node_id,
                parent_id,
                name,
                expected_version,
            } => {
                let parent = parent(parent_id)?;
                let action = Action::Place { parent, name };
                (node_id, action, expected_version)
            }
            Self::Delete {
                node_id,
                recursive,
                expected_version,
            } => (node_id, Action::Delete { recursive }, expected_version),
        };
        Ok(WriteRequest::new(body::node_id(&node)?, action).expecting(expected))
    }
}

/// What was done.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BulkDone)]
pub(super) struct Done {
    /// Of the org: each message and snapshot that follows from this names it.
    revision: u64,
    changes: Vec<DoneChange>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BulkDoneChange)]
pub(super) struct DoneChange {
    node_id: String,
    what: What,
    version: u64,
}

impl Done {
    fn of(written: &Written) -> Result<Self, OperationError> {
        let change = |effect: &crate::decide::Effect| DoneChange {
            node_id: effect.after.id.to_string(),
            what: effect.what,
            version: effect.after.version,
        };
        Ok(Self {
            revision: written.revision,
            changes: written.effects.iter().map(change).collect(),
        })
    }
}

/// Change many nodes
///
/// Create, patch, replace, roll back, move, rename and delete, in the order given and all or nothing;
/// a later change sees what an earlier one did. What is refused names the change by its position.
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/bulk", operation_id = "org_bulk", tag = "config",
    params(OrgPath, WriteQuery), request_body = Bulk,
    responses((status = 200, description = "What was done.", body = Answer<Done>)))]
pub(super) async fn bulk(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(OrgPath { org }): InPath<OrgPath>,
    InQuery(query): InQuery<WriteQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Answer<Done>>, Problem> {
    let bulk: Bulk = body::json(&body)?;
    let makes_orgs = bulk.changes.iter().any(|change| {
        let is_org = |kind: &Kind| *kind == Kind::Org;
        matches!(change, Change::Create { node_type, .. } if is_org(node_type))
    });
    if makes_orgs && caller.kind != CallerKind::GlobalAdmin {
        return Err(Problem::forbidden(
            "global_admin_required",
            "an admin of one org cannot create an org; use a token of a global admin",
        ));
    }
    let requests: Result<Vec<_>, _> = bulk.changes.into_iter().map(Change::request).collect();
    let requests = finished(requests?, bulk.reason, &headers, &caller)?;
    let answer = write(&app, &caller, &org, (&requests, query.mode()), Done::of).await?;
    Ok(Json(answer))
}

/// Configs of several nodes.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = BulkConfigs)]
pub(super) struct Configs {
    configs: Vec<NodeConfig>,
    reason: Option<String>,
}

/// `patch` is merged into what the node sets; `config` takes its place.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = BulkNodeConfig)]
pub(super) struct NodeConfig {
    node_id: String,
    #[schema(value_type = Option<Object>)]
    patch: Option<Config>,
    #[schema(value_type = Option<Object>)]
    config: Option<Config>,
    expected_version: Option<u64>,
}

/// Change the configs of many nodes
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/configs/bulk", operation_id = "org_configs_bulk", tag = "config",
    params(OrgPath, WriteQuery), request_body = Configs,
    responses((status = 200, description = "What was done.", body = Answer<Done>)))]
pub(super) async fn configs(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(OrgPath { org }): InPath<OrgPath>,
    InQuery(query): InQuery<WriteQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Answer<Done>>, Problem> {
    let configs: Configs = body::json(&body)?;
    let request = |one: NodeConfig| -> Result<WriteRequest, Problem> {
        let put = super::Put {
            patch: one.patch,
            config: one.config,
            expected_version: None,
            reason: None,
        };
        let action = put.action(super::PutMode::Merge)?;
        let request = WriteRequest::new(body::node_id(&one.node_id)?, action);
        Ok(request.expecting(one.expected_version))
    };
    let requests: Result<Vec<_>, _> = configs.configs.into_iter().map(request).collect();
    let requests = finished(requests?, configs.reason, &headers, &caller)?;
    let answer = write(&app, &caller, &org, (&requests, query.mode()), Done::of).await?;
    Ok(Json(answer))
}

fn finished(
    requests: Vec<WriteRequest>,
    because: Option<String>,
    headers: &HeaderMap,
    caller: &Caller,
) -> Result<Vec<WriteRequest>, Problem> {
    if requests.is_empty() || requests.len() > MAX_CHANGES {
        let count = requests.len();
        return Err(Refusal::Field(format!(
            "a bulk has 1 to {MAX_CHANGES} changes, not {count}; send more in several"
        ))
        .into());
    }
    let (reason, approval) = (reason(because)?, approval(headers, caller)?);
    let finish = |request: WriteRequest| request.because(reason.clone()).approval(approval);
    Ok(requests.into_iter().map(finish).collect())
}

/// A whole org: each node with what it sets.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrgExport)]
pub(super) struct Export {
    org_id: String,
    nodes: Vec<ExportedNode>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExportedNode {
    node_id: String,
    parent_id: Option<String>,
    node_type: Kind,
    name: String,
    version: u64,
    #[schema(value_type = Object)]
    config: Config,
}

/// Everything that an org's nodes set
///
/// Secrets are references here as everywhere; their values are in no answer.
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/export", operation_id = "org_export", tag = "config",
    params(OrgPath),
    responses((status = 200, description = "Parents before children.", body = Export)))]
pub(super) async fn export(
    State(app): State<Arc<App>>,
    InPath(OrgPath { org }): InPath<OrgPath>,
) -> Result<Json<Export>, Problem> {
    app.database.must_have_org(&org).await?;
    let tree = app.database.tree(&org).await?;
    let root = body::node_id(org.as_str())?;
    let below = tree.below(&root).into_iter().map(|(node, _)| node);
    let nodes = tree.get(&root).into_iter().chain(below);
    let node = |node: &crate::node::Node| ExportedNode {
        node_id: node.id.to_string(),
        parent_id: node.parent.as_ref().map(ToString::to_string),
        node_type: node.kind,
        name: node.name.clone(),
        version: node.version,
        config: node.config.clone(),
    };
    Ok(Json(Export {
        org_id: org.to_string(),
        nodes: nodes.map(node).collect(),
    }))
}
