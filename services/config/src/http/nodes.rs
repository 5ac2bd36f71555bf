//! Orgs, units and teams.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::{Json, response::IntoResponse};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use tocsin_kit::Problem;
use tocsin_wire::OrgId;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::approvals::{PendingApproval, Unwritten};
use super::extract::{Id, InPath, NodePath, OrgPath, TeamPath};
use super::{Access, App, Caller, Routes, Scope, body, node_config, templates};
use crate::decide::{Action, WriteRequest};
use crate::merge::Config;
use crate::node::{Kind, Node, NodeId};

/// The table of this area.
pub(super) fn routes() -> Routes {
    let (read, write) = (Scope::ConfigRead, Scope::ConfigWrite);
    Routes::new()
        .add(Access::GlobalAdmin(Scope::Orgs), routes!(create_org))
        .add(Access::Admin(write), routes!(create))
        .add(Access::Admin(read), routes!(list))
        .add(Access::Admin(read), routes!(read_node))
        .add(Access::Admin(write), routes!(create_team))
        .add(Access::Admin(write), routes!(delete_team))
}

/// A node as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Node)]
pub(super) struct NodeView {
    org_id: String,
    node_id: String,
    parent_id: Option<String>,
    node_type: Kind,
    name: String,
    version: u64,
    /// Of a new org: whether it follows the template for new orgs.
    #[serde(skip_serializing_if = "Option::is_none")]
    template_applied: Option<bool>,
}

impl From<&Node> for NodeView {
    fn from(node: &Node) -> Self {
        Self {
            org_id: node.org.to_string(),
            node_id: node.id.to_string(),
            parent_id: node.parent.as_ref().map(ToString::to_string),
            node_type: node.kind,
            name: node.name.clone(),
            version: node.version,
            template_applied: None,
        }
    }
}

/// A new node, or that somebody else has to approve its config first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum NodeOrPending {
    /// It is there.
    Node(NodeView),
    /// It waits.
    Pending(PendingApproval),
}

#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct CreateOrg {
    #[schema(value_type = Id)]
    org_id: String,
    name: Option<String>,
}

/// Create an org
#[utoipa::path(post, path = "/api/v1/admin/orgs", operation_id = "org_create", tag = "tree",
    request_body = CreateOrg,
    responses((status = 201, description = "Its root node.", body = NodeView)))]
pub(super) async fn create_org(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: Bytes,
) -> Result<impl IntoResponse, Unwritten> {
    let request: CreateOrg = body::json(&body)?;
    let org = body::org(&request.org_id)?;
    let id = body::node_id(&request.org_id)?;
    let action = Action::Create {
        parent: None,
        kind: Kind::Org,
        name: request.name.unwrap_or_default(),
        config: Config::new(),
    };
    let node = create_node(&app, &org, id, action, &caller).await?;
    Ok((StatusCode::CREATED, Json(node)))
}

#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct CreateNode {
    #[schema(value_type = Id)]
    node_id: String,
    #[schema(value_type = Option<Id>)]
    parent_id: Option<String>,
    node_type: Kind,
    name: Option<String>,
    #[serde(default)]
    #[schema(value_type = Object)]
    config: Config,
}

/// Create a node
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/nodes", operation_id = "node_create", tag = "tree",
    params(OrgPath), request_body = CreateNode,
    responses((status = 200, description = "The node, or that its config waits for approval.", body = NodeOrPending)))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(OrgPath { org }): InPath<OrgPath>,
    body: Bytes,
) -> Result<Json<NodeOrPending>, Unwritten> {
    let request: CreateNode = body::json(&body)?;
    let id = body::node_id(&request.node_id)?;
    let action = Action::Create {
        parent: request
            .parent_id
            .as_deref()
            .map(body::node_id)
            .transpose()?,
        kind: request.node_type,
        name: request.name.unwrap_or_default(),
        config: request.config,
    };
    let node = create_node(&app, &org, id, action, &caller).await?;
    Ok(Json(NodeOrPending::Node(node)))
}

/// Nodes of an org
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/nodes", operation_id = "node_list", tag = "tree",
    params(OrgPath),
    responses((status = 200, description = "By id.", body = [NodeView])))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    InPath(OrgPath { org }): InPath<OrgPath>,
) -> Result<Json<Vec<NodeView>>, Problem> {
    let nodes = app.database.nodes(&org).await?;
    Ok(Json(nodes.iter().map(NodeView::from).collect()))
}

/// One node
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/nodes/{node}", operation_id = "node_read", tag = "tree",
    params(NodePath),
    responses((status = 200, description = "The node.", body = NodeView)))]
pub(super) async fn read_node(
    State(app): State<Arc<App>>,
    InPath(NodePath { org, node }): InPath<NodePath>,
) -> Result<Json<NodeView>, Problem> {
    let node = app.database.node(&org, &node).await?;
    Ok(Json(NodeView::from(&node)))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct CreateTeam {
    name: Option<String>,
    #[schema(value_type = Option<Id>)]
    parent_id: Option<String>,
    #[serde(default)]
    #[schema(value_type = Object)]
    config: Config,
}

/// Create a team
///
/// Below the org, unless `parent_id` says otherwise; the body may be empty.
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/teams/{team}", operation_id = "team_create", tag = "tree",
    params(TeamPath), request_body = Option<CreateTeam>,
    responses((status = 201, description = "The node.", body = NodeView),
        (status = 200, description = "Its config waits for approval.", body = PendingApproval)))]
pub(super) async fn create_team(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(TeamPath { org, team }): InPath<TeamPath>,
    body: Bytes,
) -> Result<impl IntoResponse, Unwritten> {
    let request: CreateTeam = body::optional_json(&body)?;
    let parent = request.parent_id.unwrap_or_else(|| org.to_string());
    let action = Action::Create {
        parent: Some(body::node_id(&parent)?),
        kind: Kind::Team,
        name: request.name.unwrap_or_default(),
        config: request.config,
    };
    let node = create_node(&app, &org, team, action, &caller).await?;
    Ok((StatusCode::CREATED, Json(node)))
}

async fn create_node(
    app: &App,
    org: &OrgId,
    id: NodeId,
    action: Action,
    caller: &Caller,
) -> Result<NodeView, Unwritten> {
    if let Action::Create {
        kind: Kind::Org, ..
    } = &action
    {
        let (outcome, is_applied) = templates::create_org(app, org, id, action, caller).await?;
        let written = node_config::applied(outcome)?;
        return Ok(NodeView {
            template_applied: Some(is_applied),
            ..NodeView::from(written.node()?)
        });
    }
    let request = WriteRequest::new(id, action);
    let written = node_config::applied(
        app.database
            .write(org, &request, &caller.author(app))
            .await?,
    )?;
    Ok(NodeView::from(written.node()?))
}

/// What a deletion answers: a body, because clients of the original cannot read a 204.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Deleted {
    status: &'static str,
}

/// Delete a team
///
/// With its config, tokens and identifiers; its history stays.
#[utoipa::path(delete, path = "/api/v1/admin/orgs/{org}/teams/{team}", operation_id = "team_delete", tag = "tree",
    params(TeamPath),
    responses((status = 200, description = "It is gone.", body = Deleted)))]
pub(super) async fn delete_team(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(TeamPath { org, team }): InPath<TeamPath>,
    headers: HeaderMap,
) -> Result<Json<Deleted>, Unwritten> {
    let expected = body::expected_version(&headers, None)?;
    app.database.team(&org, &team).await?;
    let request = WriteRequest::new(team, Action::Delete { recursive: false }).expecting(expected);
    node_config::applied(
        app.database
            .write(&org, &request, &caller.author(&app))
            .await?,
    )?;
    Ok(Json(Deleted { status: "deleted" }))
}
