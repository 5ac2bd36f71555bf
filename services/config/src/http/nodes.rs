//! Orgs, units and teams.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use tocsin_kit::Problem;
use tocsin_wire::OrgId;
use utoipa::ToSchema;

use super::approvals::{PendingApproval, Unwritten, approval};
use super::extract::{Id, InPath, InQuery, NodePath, OrgPath, TeamPath};
use super::node_config::{self, Answer, WriteQuery, with_etag};
use super::{Access, App, Caller, CallerKind, Routes, Scope, body, templates};
use crate::decide::{Action, WriteRequest};
use crate::error::OperationError;
use crate::http::routes::route;
use crate::merge::Config;
use crate::node::{Kind, Node, NodeId};
use crate::pg::{Mode, Written};

/// The table of this area.
pub(super) fn routes() -> Routes {
    let (read, write) = (Scope::ConfigRead, Scope::ConfigWrite);
    Routes::new()
        .add(Access::GlobalAdmin(Scope::Orgs), route!(create_org))
        .add(Access::GlobalAdmin(Scope::Orgs), route!(list_orgs))
        .add(Access::GlobalAdmin(Scope::Orgs), route!(delete_org))
        .add(Access::Admin(write), route!(create))
        .add(Access::Admin(read), route!(list))
        .add(Access::Admin(read), route!(read_node))
        .add(Access::Admin(write), route!(place))
        .add(Access::Admin(write), route!(delete))
        .add(Access::Admin(write), route!(create_team))
        .add(Access::Admin(write), route!(delete_team))
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
    responses((status = 200, description = "Its root node.", body = NodeOrPending)))]
pub(super) async fn create_org(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: Bytes,
) -> Result<Json<NodeOrPending>, Problem> {
    let request: CreateOrg = body::json(&body)?;
    let org = body::org(&request.org_id)?;
    let id = body::node_id(&request.org_id)?;
    let action = Action::Create {
        parent: None,
        kind: Kind::Org,
        name: request.name.unwrap_or_default(),
        config: Config::new(),
    };
    or_pending(create_node(&app, &org, id, action, &caller).await)
}

/// The orgs
#[utoipa::path(get, path = "/api/v1/admin/orgs", operation_id = "org_list", tag = "tree",
    responses((status = 200, description = "Their root nodes, by id.", body = [NodeView])))]
pub(super) async fn list_orgs(State(app): State<Arc<App>>) -> Result<Json<Vec<NodeView>>, Problem> {
    let roots = app.database.roots().await?;
    Ok(Json(roots.iter().map(NodeView::from).collect()))
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
    responses((status = 200, description = "The node.", body = NodeOrPending)))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(OrgPath { org }): InPath<OrgPath>,
    body: Bytes,
) -> Result<Json<NodeOrPending>, Problem> {
    let request: CreateNode = body::json(&body)?;
    if request.node_type == Kind::Org && caller.kind != CallerKind::GlobalAdmin {
        return Err(Problem::forbidden(
            "global_admin_required",
            "an admin of one org cannot create an org; use a token of a global admin",
        ));
    }
    let id = body::node_id(&request.node_id)?;
    let parent = request
        .parent_id
        .as_deref()
        .map(body::node_id)
        .transpose()?;
    let action = Action::Create {
        parent,
        kind: request.node_type,
        name: request.name.unwrap_or_default(),
        config: request.config,
    };
    or_pending(create_node(&app, &org, id, action, &caller).await)
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

#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct PlaceNode {
    parent_id: Option<String>,
    name: Option<String>,
    expected_version: Option<u64>,
}

/// Move or rename a node
///
/// All below it moves along. What is inherited changes with the line.
#[utoipa::path(patch, path = "/api/v1/admin/orgs/{org}/nodes/{node}", operation_id = "node_place", tag = "tree",
    params(NodePath, WriteQuery), request_body = PlaceNode,
    responses((status = 200, description = "The node.", body = Answer<NodeView>)))]
pub(super) async fn place(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(NodePath { org, node }): InPath<NodePath>,
    InQuery(query): InQuery<WriteQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let place: PlaceNode = body::json(&body)?;
    let parent = place.parent_id.as_deref().map(body::node_id).transpose()?;
    let action = Action::Place {
        parent,
        name: place.name,
    };
    let expected = body::expected_version(&headers, place.expected_version)?;
    let request = WriteRequest::new(node, action)
        .expecting(expected)
        .approval(approval(&headers, &caller)?);
    let view = |written: &Written| -> Result<NodeView, OperationError> {
        Ok(NodeView::from(written.node()?))
    };
    let answer = node_config::write(&app, &caller, &org, (&[request], query.mode()), view).await?;
    let version = match &answer {
        Answer::Applied(node) => node.version,
        Answer::Preview(_) | Answer::Pending(_) => 0,
    };
    Ok(with_etag(answer, version))
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
    responses((status = 200, description = "The node.", body = NodeOrPending)))]
pub(super) async fn create_team(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(TeamPath { org, team }): InPath<TeamPath>,
    body: Bytes,
) -> Result<Json<NodeOrPending>, Problem> {
    let request: CreateTeam = body::optional_json(&body)?;
    let parent = request.parent_id.unwrap_or_else(|| org.to_string());
    let action = Action::Create {
        parent: Some(body::node_id(&parent)?),
        kind: Kind::Team,
        name: request.name.unwrap_or_default(),
        config: request.config,
    };
    or_pending(create_node(&app, &org, team, action, &caller).await)
}

fn or_pending(created: Result<NodeView, Unwritten>) -> Result<Json<NodeOrPending>, Problem> {
    match created {
        Ok(node) => Ok(Json(NodeOrPending::Node(node))),
        Err(Unwritten::Held(held)) => Ok(Json(NodeOrPending::Pending(held.into()))),
        Err(Unwritten::Problem(problem)) => Err(problem),
    }
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
        let (outcome, template_applied) =
            templates::create_org(app, org, id, action, caller).await?;
        let written = node_config::applied(outcome)?;
        return Ok(NodeView {
            template_applied: Some(template_applied),
            ..NodeView::from(written.node()?)
        });
    }
    let request = WriteRequest::new(id, action);
    let outcome = app
        .database
        .write(org, &request, &caller.author(app))
        .await?;
    let written = node_config::applied(outcome)?;
    Ok(NodeView::from(written.node()?))
}

/// How something is deleted.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeleteQuery {
    /// With everything below it; without this, a node with others below it is refused with 409.
    #[serde(default)]
    recursive: bool,
    /// Show what would go, and keep it.
    #[serde(default)]
    dry_run: bool,
}

/// What a deletion answers: a body, because clients of the original cannot read a 204.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Deleted {
    status: &'static str,
    /// In the order in which they went, the deepest first.
    deleted: Vec<String>,
}

impl Deleted {
    fn of(written: &Written) -> Self {
        let ids = written.effects.iter();
        Self {
            status: "deleted",
            deleted: ids.map(|effect| effect.after.id.to_string()).collect(),
        }
    }
}

async fn delete_node(
    app: &App,
    caller: &Caller,
    (org, node): (&OrgId, NodeId),
    query: &DeleteQuery,
    headers: &HeaderMap,
) -> Result<Json<Answer<Deleted>>, Problem> {
    let action = Action::Delete {
        recursive: query.recursive,
    };
    let request = WriteRequest::new(node, action)
        .expecting(body::expected_version(headers, None)?)
        .approval(approval(headers, caller)?);
    let mode = if query.dry_run {
        Mode::DryRun
    } else {
        Mode::Apply
    };
    let applied = |written: &Written| Ok(Deleted::of(written));
    let answer = node_config::write(app, caller, org, (&[request], mode), applied).await?;
    Ok(Json(answer))
}

/// Delete a node
///
/// With its config, tokens and identifiers; its history stays.
#[utoipa::path(delete, path = "/api/v1/admin/orgs/{org}/nodes/{node}", operation_id = "node_delete", tag = "tree",
    params(NodePath, DeleteQuery),
    responses((status = 200, description = "What went.", body = Answer<Deleted>)))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(NodePath { org, node }): InPath<NodePath>,
    InQuery(query): InQuery<DeleteQuery>,
    headers: HeaderMap,
) -> Result<Json<Answer<Deleted>>, Problem> {
    if node.as_str() == org.as_str() && caller.kind != CallerKind::GlobalAdmin {
        return Err(Problem::forbidden(
            "global_admin_required",
            "an admin of one org cannot delete the org; use a token of a global admin",
        ));
    }
    delete_node(&app, &caller, (&org, node), &query, &headers).await
}

/// Delete an org
#[utoipa::path(delete, path = "/api/v1/admin/orgs/{org}", operation_id = "org_delete", tag = "tree",
    params(OrgPath, DeleteQuery),
    responses((status = 200, description = "What went.", body = Answer<Deleted>)))]
pub(super) async fn delete_org(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(OrgPath { org }): InPath<OrgPath>,
    InQuery(query): InQuery<DeleteQuery>,
    headers: HeaderMap,
) -> Result<Json<Answer<Deleted>>, Problem> {
    let root = body::node_id(org.as_str())?;
    delete_node(&app, &caller, (&org, root), &query, &headers).await
}

/// Delete a team
///
/// With its config, tokens and identifiers; its history stays.
#[utoipa::path(delete, path = "/api/v1/admin/orgs/{org}/teams/{team}", operation_id = "team_delete", tag = "tree",
    params(TeamPath, DeleteQuery),
    responses((status = 200, description = "It is gone.", body = Answer<Deleted>)))]
pub(super) async fn delete_team(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(TeamPath { org, team }): InPath<TeamPath>,
    InQuery(query): InQuery<DeleteQuery>,
    headers: HeaderMap,
) -> Result<Json<Answer<Deleted>>, Problem> {
    app.database.team(&org, &team).await?;
    delete_node(&app, &caller, (&org, team), &query, &headers).await
}
