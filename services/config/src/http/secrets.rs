//! Secrets, for admins and for teams: written here, listed here, read back nowhere.

mod master;
mod problem;
mod view;

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use http::HeaderMap;
use serde::Deserialize;
use tocsin_kit::Problem;
use tocsin_wire::{OrgId, SecretName};

use super::extract::{self, Id, InPath, InQuery, NodePath};
use super::{Access, App, Caller, Routes, Scope, body};
use crate::http::routes::route;
use crate::node::NodeId;
use crate::pg::NewSecret;
use crate::secrets::master::MasterKeys;
use crate::secrets::usage;
use crate::secrets::{SecretRefusal, check_value};
use crate::source::SourceId;
use crate::token::Permission;
use view::{Details, UseView, Version, View, Write, parse};
pub(super) use view::{SecretText, quietly, whole};

/// Versions that one answer names.
const HISTORY_LIMIT: i64 = 50;

/// The table of this area.
pub(super) fn routes() -> Routes {
    let admin = Access::Admin(Scope::Secrets);
    let (read, write) = (
        Access::Team(Permission::ConfigRead),
        Access::Team(Permission::ConfigWrite),
    );
    Routes::new()
        .add(admin, route!(list))
        .add(admin, route!(show))
        .add(admin, route!(set))
        .add(admin, route!(delete))
        .add(read, route!(list_mine))
        .add(read, route!(show_mine))
        .add(write, route!(set_mine))
        .add(write, route!(delete_mine))
        .add(Access::GlobalAdmin(Scope::Secrets), route!(master::list))
        .add(Access::GlobalAdmin(Scope::Secrets), route!(master::rotate))
}

/// `…/nodes/{node}/secrets/{name}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
struct SecretPath {
    /// The org.
    #[serde(deserialize_with = "extract::org")]
    #[param(value_type = Id, example = "acme")]
    org: OrgId,
    /// A node of it: the org itself, a unit or a team.
    #[serde(deserialize_with = "extract::node_id")]
    #[param(value_type = Id, example = "payments")]
    node: NodeId,
    /// What references call it: `${secret:name}`.
    #[param(value_type = String, pattern = "^[a-z0-9][a-z0-9_-]{0,62}$", example = "slack-bot-token")]
    name: SecretName,
}

/// `…/secrets/{name}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
struct OwnSecretPath {
    /// What references call it: `${secret:name}`.
    #[param(value_type = String, pattern = "^[a-z0-9][a-z0-9_-]{0,62}$", example = "slack-bot-token")]
    name: SecretName,
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Also those that the node gets from above; of two with one name, the nearest.
    #[serde(default)]
    inherited: bool,
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct DeleteQuery {
    /// Even when references to it are left without a value.
    #[serde(default)]
    force: bool,
}

/// List the secrets of a node
///
/// Names and who set them; values are never shown.
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/nodes/{node}/secrets", operation_id = "secret_list", tag = "secrets",
    params(NodePath, ListQuery), responses((status = 200, description = "By name.", body = Vec<View>)))]
async fn list(
    State(app): State<Arc<App>>,
    InPath(NodePath { org, node }): InPath<NodePath>,
    InQuery(query): InQuery<ListQuery>,
) -> Result<Json<Vec<View>>, Problem> {
    listed(&app, &org, &node, query.inherited).await.map(Json)
}

/// Show one secret
///
/// Its versions and which configs refer to it, never its value.
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/nodes/{node}/secrets/{name}", operation_id = "secret_show", tag = "secrets",
    params(SecretPath), responses((status = 200, description = "Without its value.", body = Details)))]
async fn show(
    State(app): State<Arc<App>>,
    InPath(SecretPath { org, node, name }): InPath<SecretPath>,
) -> Result<Json<Details>, Problem> {
    shown(&app, &org, &node, &name).await.map(Json)
}

/// Set a secret
///
/// Makes the next version. The value is encrypted at rest and sealed to its audience; nobody reads it back.
#[utoipa::path(put, path = "/api/v1/admin/orgs/{org}/nodes/{node}/secrets/{name}", operation_id = "secret_set", tag = "secrets",
    params(SecretPath), request_body = Write, responses((status = 200, description = "Without its value.", body = View)))]
async fn set(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(SecretPath { org, node, name }): InPath<SecretPath>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<View>, Problem> {
    let written = write(&app, &caller, (&org, &node, &name), &headers, &body).await;
    written.map(Json)
}

/// Delete a secret
///
/// Refused with 409 while configs refer to it, unless forced. Versions go on where they stopped.
#[utoipa::path(delete, path = "/api/v1/admin/orgs/{org}/nodes/{node}/secrets/{name}", operation_id = "secret_delete", tag = "secrets",
    params(SecretPath, DeleteQuery), responses((status = 200, description = "What was deleted.", body = View)))]
async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(SecretPath { org, node, name }): InPath<SecretPath>,
    InQuery(query): InQuery<DeleteQuery>,
    headers: HeaderMap,
) -> Result<Json<View>, Problem> {
    let gone = remove(&app, &caller, (&org, &node, &name), query.force, &headers).await;
    gone.map(Json)
}

/// List the secrets that the team can use
///
/// Its own and those of the nodes above it; of two with one name, the nearest.
#[utoipa::path(get, path = "/api/v1/config/me/secrets", operation_id = "my_secret_list", tag = "me",
    responses((status = 200, description = "By name.", body = Vec<View>)))]
async fn list_mine(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<Vec<View>>, Problem> {
    let (org, team) = caller.team()?;
    listed(&app, &org, &team, true).await.map(Json)
}

/// Show one secret of the team
///
/// Its versions and which configs refer to it, never its value.
#[utoipa::path(get, path = "/api/v1/config/me/secrets/{name}", operation_id = "my_secret_show", tag = "me",
    params(OwnSecretPath), responses((status = 200, description = "Without its value.", body = Details)))]
async fn show_mine(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(OwnSecretPath { name }): InPath<OwnSecretPath>,
) -> Result<Json<Details>, Problem> {
    let (org, team) = caller.team()?;
    shown(&app, &org, &team, &name).await.map(Json)
}

/// Set a secret of the team
///
/// Makes the next version. The value is encrypted at rest and sealed to its audience; nobody reads it back.
#[utoipa::path(put, path = "/api/v1/config/me/secrets/{name}", operation_id = "my_secret_set", tag = "me",
    params(OwnSecretPath), request_body = Write, responses((status = 200, description = "Without its value.", body = View)))]
async fn set_mine(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(OwnSecretPath { name }): InPath<OwnSecretPath>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<View>, Problem> {
    let (org, team) = caller.team()?;
    let written = write(&app, &caller, (&org, &team, &name), &headers, &body).await;
    written.map(Json)
}

/// Delete a secret of the team
///
/// Refused with 409 while its config refers to it, unless forced.
#[utoipa::path(delete, path = "/api/v1/config/me/secrets/{name}", operation_id = "my_secret_delete", tag = "me",
    params(OwnSecretPath, DeleteQuery), responses((status = 200, description = "What was deleted.", body = View)))]
async fn delete_mine(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(OwnSecretPath { name }): InPath<OwnSecretPath>,
    InQuery(query): InQuery<DeleteQuery>,
    headers: HeaderMap,
) -> Result<Json<View>, Problem> {
    let (org, team) = caller.team()?;
    let gone = remove(&app, &caller, (&org, &team, &name), query.force, &headers).await;
    gone.map(Json)
}

/// The master keys as they are now.
pub(super) fn master_keys(app: &App) -> Result<Arc<MasterKeys>, Problem> {
    Ok(app.vault.keys().map_err(SecretRefusal::from)?)
}

async fn listed(
    app: &App,
    org: &OrgId,
    node: &NodeId,
    inherited: bool,
) -> Result<Vec<View>, Problem> {
    let line = app.database.lineage(org, node).await?;
    let ids = if inherited { line.ids() } else { vec![node] };
    let found = app.database.secrets_of(org, &ids).await?;
    let found = usage::nearest(found, &ids);
    // Sources list theirs themselves.
    let own = found
        .into_iter()
        .filter(|facts| SourceId::owning(&facts.name).is_none());
    Ok(own.map(View::from).collect())
}

async fn shown(
    app: &App,
    org: &OrgId,
    node: &NodeId,
    name: &SecretName,
) -> Result<Details, Problem> {
    let facts = app.database.secret(org, node, name).await?;
    let used_by = app.database.secret_uses(org, node, name).await?;
    let history = app
        .database
        .secret_history(org, node, name, HISTORY_LIMIT)
        .await?;
    Ok(Details {
        secret: facts.into(),
        used_by: used_by.into_iter().map(UseView::from).collect(),
        history: history.into_iter().map(Version::from).collect(),
    })
}

async fn write(
    app: &App,
    caller: &Caller,
    (org, node, name): (&OrgId, &NodeId, &SecretName),
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<View, Problem> {
    let request = parse(body)?;
    check_value(request.value())?;
    let keys = master_keys(app)?;
    let new = NewSecret {
        name,
        value: request.value(),
        audience: request.audience(),
        expected: body::expected_version(headers, request.expected_version())?,
    };
    let author = caller.author(app);
    let set = app.database.set_secret((org, node), &new, &keys, &author);
    Ok(set.await?.into())
}

async fn remove(
    app: &App,
    caller: &Caller,
    (org, node, name): (&OrgId, &NodeId, &SecretName),
    force: bool,
    headers: &HeaderMap,
) -> Result<View, Problem> {
    let expected = body::expected_version(headers, None)?;
    let author = caller.author(app);
    let deleting = app
        .database
        .delete_secret((org, node), name, (expected, force), &author);
    Ok(deleting.await?.into())
}
