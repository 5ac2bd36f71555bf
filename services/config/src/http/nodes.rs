//! Orgs, units and teams.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::{Json, response::IntoResponse};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use tocsin_kit::Problem;

use super::App;
use super::auth::Admin;
use super::body;
use crate::decide::NewNode;
use crate::merge::Config;
use crate::node::{Kind, Node};

/// A node as the API shows it.
#[derive(Debug, Serialize)]
pub(super) struct NodeView {
    org_id: String,
    node_id: String,
    parent_id: Option<String>,
    node_type: Kind,
    name: String,
    version: u64,
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
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct CreateOrg {
    org_id: String,
    name: Option<String>,
}

/// `POST /api/v1/admin/orgs {org_id, name?}` → 201 with the root node.
pub(super) async fn create_org(
    State(app): State<Arc<App>>,
    admin: Admin,
    body: Bytes,
) -> Result<impl IntoResponse, Problem> {
    let request: CreateOrg = body::json(&body)?;
    let org = body::org(&request.org_id)?;
    let new = NewNode {
        id: body::node_id(&request.org_id)?,
        org,
        parent: None,
        kind: Kind::Org,
        name: request.name.unwrap_or_default(),
        config: Config::new(),
    };
    let node = app.database.create(&new, &admin.author(&app)).await?;
    Ok((StatusCode::CREATED, Json(NodeView::from(&node))))
}

#[derive(Debug, Deserialize)]
pub(super) struct CreateNode {
    node_id: String,
    parent_id: Option<String>,
    node_type: Kind,
    name: Option<String>,
    #[serde(default)]
    config: Config,
}

/// `POST …/nodes {node_id, parent_id?, node_type, name?, config?}` → the node.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(org): Path<String>,
    body: Bytes,
) -> Result<Json<NodeView>, Problem> {
    let org = body::org(&org)?;
    let request: CreateNode = body::json(&body)?;
    let new = NewNode {
        org,
        id: body::node_id(&request.node_id)?,
        parent: request
            .parent_id
            .as_deref()
            .map(body::node_id)
            .transpose()?,
        kind: request.node_type,
        name: request.name.unwrap_or_default(),
        config: request.config,
    };
    let node = app.database.create(&new, &admin.author(&app)).await?;
    Ok(Json(NodeView::from(&node)))
}

/// `GET …/nodes` → the nodes by id.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    _: Admin,
    Path(org): Path<String>,
) -> Result<Json<Vec<NodeView>>, Problem> {
    let nodes = app.database.nodes(&body::org(&org)?).await?;
    Ok(Json(nodes.iter().map(NodeView::from).collect()))
}

/// `GET …/nodes/{node}` → the node.
pub(super) async fn read(
    State(app): State<Arc<App>>,
    _: Admin,
    Path(path): Path<(String, String)>,
) -> Result<Json<NodeView>, Problem> {
    let (org, node) = body::org_and_node(&path)?;
    let node = app.database.node(&org, &node).await?;
    Ok(Json(NodeView::from(&node)))
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct CreateTeam {
    name: Option<String>,
    parent_id: Option<String>,
    #[serde(default)]
    config: Config,
}

/// `POST …/teams/{team}` with nothing or `{name?, parent_id?, config?}` → 201 with the node. The
/// parent is the org unless said otherwise.
pub(super) async fn create_team(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(path): Path<(String, String)>,
    body: Bytes,
) -> Result<impl IntoResponse, Problem> {
    let (org, team) = body::org_and_team(&path)?;
    let request: CreateTeam = body::optional_json(&body)?;
    let parent = request.parent_id.unwrap_or_else(|| org.to_string());
    let new = NewNode {
        org,
        id: team,
        parent: Some(body::node_id(&parent)?),
        kind: Kind::Team,
        name: request.name.unwrap_or_default(),
        config: request.config,
    };
    let node = app.database.create(&new, &admin.author(&app)).await?;
    Ok((StatusCode::CREATED, Json(NodeView::from(&node))))
}

/// What a deletion answers: a body, because clients of the original cannot read a 204.
#[derive(Debug, Serialize)]
pub(super) struct Deleted {
    status: &'static str,
}

/// `DELETE …/teams/{team}`: with its config, tokens and identifiers; its history stays.
pub(super) async fn delete_team(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Deleted>, Problem> {
    let (org, team) = body::org_and_team(&path)?;
    let expected = body::expected_version(&headers, None)?;
    app.database
        .delete_team(&org, &team, expected, &admin.author(&app))
        .await?;
    Ok(Json(Deleted { status: "deleted" }))
}
