//! The same for my team, and for any node.

use super::*;

/// What a template would change for my team
#[utoipa::path(get, path = "/api/v1/team/templates/{template}/preview", operation_id = "my_template_preview", tag = "templates",
    params(TemplatePath),
    responses((status = 200, description = "Nothing is changed.", body = Preview)))]
pub(super) async fn my_preview(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(TemplatePath { template }): InPath<TemplatePath>,
) -> Result<Json<Preview>, Problem> {
    let (org, team) = caller.team()?;
    preview(&app, (&org, &team), &template).await
}

/// Let my team follow a template
///
/// Keys that it does not have stay; one that is followed already is taken back first.
#[utoipa::path(post, path = "/api/v1/team/templates/{template}/apply", operation_id = "my_template_apply", tag = "templates",
    params(TemplatePath),
    responses((status = 200, description = "Applied, or waiting for approval.", body = Applied)))]
pub(super) async fn my_apply(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(TemplatePath { template }): InPath<TemplatePath>,
    headers: HeaderMap,
) -> Result<Json<Applied>, Problem> {
    let (org, team) = caller.team()?;
    let expected = body::expected_version(&headers, None)?;
    apply(&app, &caller, (&org, &team), &template, expected).await
}

/// The template that my team follows
#[utoipa::path(get, path = "/api/v1/team/template", operation_id = "my_template", tag = "templates",
    responses((status = 200, description = "With `null`s when there is none.", body = InUse)))]
pub(super) async fn mine(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<InUse>, Problem> {
    let (org, team) = caller.team()?;
    in_use(&app, &org, &team).await
}

/// Take my team's template back
///
/// What was changed since stays as it is.
#[utoipa::path(delete, path = "/api/v1/team/template", operation_id = "my_template_revert", tag = "templates",
    responses((status = 200, description = "Taken back, or waiting for approval.", body = Reverted)))]
pub(super) async fn my_revert(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Json<Reverted>, Problem> {
    let (org, team) = caller.team()?;
    let expected = body::expected_version(&headers, None)?;
    take_back(&app, &caller, (&org, &team), expected).await
}

/// What a template would change at a node
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/nodes/{node}/templates/{template}/preview", operation_id = "node_template_preview", tag = "templates",
    params(NodeTemplatePath),
    responses((status = 200, description = "Nothing is changed.", body = Preview)))]
pub(super) async fn node_preview(
    State(app): State<Arc<App>>,
    InPath(path): InPath<NodeTemplatePath>,
) -> Result<Json<Preview>, Problem> {
    preview(&app, (&path.org, &path.node), &path.template).await
}

/// Let a node follow a template
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/nodes/{node}/templates/{template}/apply", operation_id = "node_template_apply", tag = "templates",
    params(NodeTemplatePath),
    responses((status = 200, description = "Applied, or waiting for approval.", body = Applied)))]
pub(super) async fn node_apply(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(path): InPath<NodeTemplatePath>,
    headers: HeaderMap,
) -> Result<Json<Applied>, Problem> {
    let expected = body::expected_version(&headers, None)?;
    apply(
        &app,
        &caller,
        (&path.org, &path.node),
        &path.template,
        expected,
    )
    .await
}

/// The template that a node follows
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/nodes/{node}/template", operation_id = "node_template", tag = "templates",
    params(NodePath),
    responses((status = 200, description = "With `null`s when there is none.", body = InUse)))]
pub(super) async fn of_node(
    State(app): State<Arc<App>>,
    InPath(NodePath { org, node }): InPath<NodePath>,
) -> Result<Json<InUse>, Problem> {
    in_use(&app, &org, &node).await
}

/// Take a node's template back
#[utoipa::path(delete, path = "/api/v1/admin/orgs/{org}/nodes/{node}/template", operation_id = "node_template_revert", tag = "templates",
    params(NodePath),
    responses((status = 200, description = "Taken back, or waiting for approval.", body = Reverted)))]
pub(super) async fn node_revert(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(NodePath { org, node }): InPath<NodePath>,
    headers: HeaderMap,
) -> Result<Json<Reverted>, Problem> {
    let expected = body::expected_version(&headers, None)?;
    take_back(&app, &caller, (&org, &node), expected).await
}
