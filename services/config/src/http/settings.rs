//! Output, notifications and the settings of a whole org. All of them stand in configs, so they are
//! inherited, locked, recorded and published like everything else.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::{Json, response::IntoResponse};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use tocsin_kit::Problem;
use tocsin_wire::OrgId;
use utoipa::ToSchema;

use super::approvals::{PendingApproval, Unwritten};
use super::extract::{InPath, NodePath, OrgPath};
use super::{Access, App, Caller, Routes, Scope, body, node_config};
use crate::decide::{Action, WriteRequest};
use crate::http::routes::route;
use crate::merge::Config;
use crate::node::{Node, NodeId};
use crate::section;
use crate::token::Permission;

/// Where the settings of an org stand, at its root.
const ORG_SETTINGS: &str = "org_settings";
const TELEMETRY: &str = "telemetry_enabled";

/// The table of this area.
pub(super) fn routes() -> Routes {
    let (read, write) = (
        Access::Team(Permission::ConfigRead),
        Access::Team(Permission::ConfigWrite),
    );
    let (admin_read, admin_write) = (
        Access::Admin(Scope::ConfigRead),
        Access::Admin(Scope::ConfigWrite),
    );
    Routes::new()
        .add(read, route!(my_output))
        .add(write, route!(set_my_output))
        .add(admin_read, route!(output))
        .add(admin_write, route!(set_output))
        .add(read, route!(my_notifications))
        .add(write, route!(set_my_notifications))
        .add(admin_read, route!(notifications))
        .add(admin_write, route!(set_notifications))
        .add(
            Access::TeamOrOrgAdmin(Permission::ConfigRead, Scope::ConfigRead),
            route!(my_org_settings),
        )
        .add(
            Access::TeamOrOrgAdmin(Permission::ConfigWrite, Scope::ConfigWrite),
            route!(set_my_org_settings),
        )
        .add(admin_read, route!(org_settings))
        .add(admin_write, route!(set_org_settings))
}

/// Serde would read a list as an object whose fields come in order.
fn object<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let object: Option<Config> = Option::deserialize(deserializer)?;
    let read = |object| serde_json::from_value(Value::Object(object)).map_err(D::Error::custom);
    object.map(read).transpose()
}

/// The same for a list of objects.
fn objects<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let objects: Vec<Config> = Vec::deserialize(deserializer)?;
    let read = |object| serde_json::from_value(Value::Object(object)).map_err(D::Error::custom);
    objects.into_iter().map(read).collect()
}

/// Where a result goes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = OutputDestination)]
struct Destination {
    /// `slack`, `github_pr_comment`, `pagerduty_note`, …
    r#type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repo: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    config: Option<Config>,
}

/// Where the answer to a trigger goes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = OutputOverride)]
enum Override {
    ReplyInThread,
    CommentOnPr,
    UseDefault,
}

/// Where results go.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = OutputConfig)]
struct Output {
    #[serde(default, deserialize_with = "objects")]
    default_destinations: Vec<Destination>,
    /// By what triggered the run: `slack`, `github`, …
    #[serde(default)]
    trigger_overrides: BTreeMap<String, Override>,
}

/// Where results go, or that somebody else has to approve the change first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum OutputOrPending {
    /// It is set.
    Set(Output),
    /// It waits.
    #[expect(dead_code, reason = "described here, answered by `Unwritten`")]
    Pending(PendingApproval),
}

const OUTPUT: &str = "output_config";
const NOTIFICATIONS: &str = "notifications";

async fn effective_section(
    app: &App,
    org: &OrgId,
    node: &NodeId,
    section: &str,
) -> Result<Value, Problem> {
    let line = app.database.lineage(org, node).await?;
    let mut effective = line.effective(&app.defaults);
    Ok(effective.remove(section).unwrap_or_else(|| json!({})))
}

/// Makes the node's own section say what is wanted.
async fn set_section(
    app: &App,
    caller: &Caller,
    (org, id): (&OrgId, &NodeId),
    (name, wanted): (&str, Config),
    expected: Option<u64>,
) -> Result<Node, Unwritten> {
    let node = app.database.node(org, id).await?;
    let patch = section::replacing(node.config.get(name), wanted);
    let patch = [(name.to_owned(), Value::Object(patch))]
        .into_iter()
        .collect();
    let request = WriteRequest::new(id.clone(), Action::Patch(patch)).expecting(expected);
    let outcome = app
        .database
        .write(org, &request, &caller.author(app))
        .await?;
    let written = node_config::applied(outcome)?;
    Ok(written.node()?.clone())
}

async fn read_output(app: &App, org: &OrgId, node: &NodeId) -> Result<Json<Output>, Problem> {
    let section = effective_section(app, org, node, OUTPUT).await?;
    // Configs from before there was a schema may hold anything.
    Ok(Json(serde_json::from_value(section).unwrap_or_default()))
}

async fn write_output(
    app: &App,
    caller: &Caller,
    (org, node): (&OrgId, &NodeId),
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<impl IntoResponse + use<>, Unwritten> {
    let output: Output = body::json(body)?;
    let wanted = serde_json::to_value(&output)
        .ok()
        .and_then(|value| match value {
            Value::Object(wanted) => Some(wanted),
            _ => None,
        });
    let wanted = wanted.ok_or_else(Problem::internal)?;
    let expected = body::expected_version(headers, None)?;
    let node = set_section(app, caller, (org, node), (OUTPUT, wanted), expected).await?;
    Ok((body::etag(node.version), Json(OutputOrPending::Set(output))))
}

/// Where my team's results go
#[utoipa::path(get, path = "/api/v1/team/output-config", operation_id = "my_output_config", tag = "settings",
    responses((status = 200, description = "What holds for the team; part of its effective config as `output_config`.", body = Output)))]
async fn my_output(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Output>, Problem> {
    let (org, team) = caller.team()?;
    read_output(&app, &org, &team).await
}

/// Say where my team's results go
#[utoipa::path(put, path = "/api/v1/team/output-config", operation_id = "my_output_config_set", tag = "settings",
    request_body = Output,
    responses((status = 200, description = "As it was sent; the team's version is the ETag.", body = OutputOrPending)))]
async fn set_my_output(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, Unwritten> {
    let (org, team) = caller.team()?;
    write_output(&app, &caller, (&org, &team), &headers, &body).await
}

/// Where a node's results go
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/nodes/{node}/output-config", operation_id = "node_output_config", tag = "settings",
    params(NodePath),
    responses((status = 200, description = "What holds at the node.", body = Output)))]
async fn output(
    State(app): State<Arc<App>>,
    InPath(NodePath { org, node }): InPath<NodePath>,
) -> Result<Json<Output>, Problem> {
    read_output(&app, &org, &node).await
}

/// Say where a node's results go
#[utoipa::path(put, path = "/api/v1/admin/orgs/{org}/nodes/{node}/output-config", operation_id = "node_output_config_set", tag = "settings",
    params(NodePath), request_body = Output,
    responses((status = 200, description = "As it was sent; the node's version is the ETag.", body = OutputOrPending)))]
async fn set_output(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(NodePath { org, node }): InPath<NodePath>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, Unwritten> {
    write_output(&app, &caller, (&org, &node), &headers, &body).await
}

/// Where messages of a provider go.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = NotificationOutput)]
struct ProviderOutput {
    #[serde(default)]
    slack_channel_id: Option<String>,
    /// For PagerDuty: also as a note on the incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    post_pagerduty_note: Option<bool>,
    /// For incident.io: also on the incident's timeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    post_timeline: Option<bool>,
}

/// Where messages go.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = Notifications)]
struct Notifications {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default_slack_channel_id: Option<String>,
    #[serde(
        default,
        deserialize_with = "object",
        skip_serializing_if = "Option::is_none"
    )]
    github_output: Option<ProviderOutput>,
    #[serde(
        default,
        deserialize_with = "object",
        skip_serializing_if = "Option::is_none"
    )]
    pagerduty_output: Option<ProviderOutput>,
    #[serde(
        default,
        deserialize_with = "object",
        skip_serializing_if = "Option::is_none"
    )]
    incidentio_output: Option<ProviderOutput>,
}

/// Where messages go, or that somebody else has to approve the change first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum NotificationsOrPending {
    /// It is set.
    Set(Notifications),
    /// It waits.
    #[expect(dead_code, reason = "described here, answered by `Unwritten`")]
    Pending(PendingApproval),
}

async fn read_notifications(
    app: &App,
    org: &OrgId,
    node: &NodeId,
) -> Result<Json<Notifications>, Problem> {
    let section = effective_section(app, org, node, NOTIFICATIONS).await?;
    Ok(Json(serde_json::from_value(section).unwrap_or_default()))
}

async fn write_notifications(
    app: &App,
    caller: &Caller,
    (org, node): (&OrgId, &NodeId),
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<impl IntoResponse + use<>, Unwritten> {
    let wanted: Notifications = body::json(body)?;
    let section = match serde_json::to_value(&wanted) {
        Ok(Value::Object(section)) => section,
        _ => return Err(Problem::internal().into()),
    };
    let expected = body::expected_version(headers, None)?;
    let node = set_section(app, caller, (org, node), (NOTIFICATIONS, section), expected).await?;
    Ok((
        body::etag(node.version),
        Json(NotificationsOrPending::Set(wanted)),
    ))
}

/// Where my team's messages go
#[utoipa::path(get, path = "/api/v1/team/notifications", operation_id = "my_notifications", tag = "settings",
    responses((status = 200, description = "What holds for the team.", body = Notifications)))]
async fn my_notifications(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<Notifications>, Problem> {
    let (org, team) = caller.team()?;
    read_notifications(&app, &org, &team).await
}

/// Say where my team's messages go
#[utoipa::path(put, path = "/api/v1/team/notifications", operation_id = "my_notifications_set", tag = "settings",
    request_body = Notifications,
    responses((status = 200, description = "As it was sent; the team's version is the ETag.", body = NotificationsOrPending)))]
async fn set_my_notifications(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, Unwritten> {
    let (org, team) = caller.team()?;
    write_notifications(&app, &caller, (&org, &team), &headers, &body).await
}

/// Where a node's messages go
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/nodes/{node}/notifications", operation_id = "node_notifications", tag = "settings",
    params(NodePath),
    responses((status = 200, description = "What holds at the node.", body = Notifications)))]
async fn notifications(
    State(app): State<Arc<App>>,
    InPath(NodePath { org, node }): InPath<NodePath>,
) -> Result<Json<Notifications>, Problem> {
    read_notifications(&app, &org, &node).await
}

/// Say where a node's messages go
#[utoipa::path(put, path = "/api/v1/admin/orgs/{org}/nodes/{node}/notifications", operation_id = "node_notifications_set", tag = "settings",
    params(NodePath), request_body = Notifications,
    responses((status = 200, description = "As it was sent; the node's version is the ETag.", body = NotificationsOrPending)))]
async fn set_notifications(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(NodePath { org, node }): InPath<NodePath>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, Unwritten> {
    write_notifications(&app, &caller, (&org, &node), &headers, &body).await
}

/// Settings of a whole org.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrgSettings)]
struct OrgSettings {
    /// Whether figures about its use may be sent; off unless somebody turns it on.
    telemetry_enabled: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    updated_by: String,
}

/// Settings of an org, or that somebody else has to approve the change first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum OrgSettingsOrPending {
    /// It is set.
    Set(OrgSettings),
    /// It waits.
    #[expect(dead_code, reason = "described here, answered by `Unwritten`")]
    Pending(PendingApproval),
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OrgSettingsChange)]
struct OrgSettingsChange {
    telemetry_enabled: bool,
}

async fn read_org(app: &App, org: &OrgId) -> Result<Json<OrgSettings>, Problem> {
    let facts = app
        .database
        .root_setting(org, &format!("{ORG_SETTINGS}.{TELEMETRY}"))
        .await?;
    let facts = facts.ok_or_else(|| no_org(org))?;
    let set = facts
        .config
        .get(ORG_SETTINGS)
        .and_then(|set| set.get(TELEMETRY));
    Ok(Json(OrgSettings {
        telemetry_enabled: set.and_then(Value::as_bool).unwrap_or(false),
        created_at: facts.created_at,
        updated_at: facts.updated_at,
        updated_by: facts.updated_by,
    }))
}

fn no_org(org: &OrgId) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "org_not_found",
        format!("there is no org {org}; create it with POST /api/v1/admin/orgs"),
    )
}

async fn write_org(
    app: &App,
    caller: &Caller,
    org: &OrgId,
    body: &Bytes,
) -> Result<Json<OrgSettingsOrPending>, Unwritten> {
    let change: OrgSettingsChange = body::json(body)?;
    let patch = json!({ ORG_SETTINGS: { TELEMETRY: change.telemetry_enabled } });
    let Value::Object(patch) = patch else {
        return Err(Problem::internal().into());
    };
    let root = body::node_id(org.as_str())?;
    let request = WriteRequest::new(root, Action::Patch(patch));
    let outcome = app
        .database
        .write(org, &request, &caller.author(app))
        .await?;
    node_config::applied(outcome)?;
    let Json(settings) = read_org(app, org).await?;
    Ok(Json(OrgSettingsOrPending::Set(settings)))
}

/// The only org that the caller has to do with.
fn own_org(caller: &Caller) -> Result<OrgId, Problem> {
    caller.org.clone().ok_or_else(|| {
        Problem::forbidden(
            "org_required",
            "this credential belongs to no org; use /api/v1/admin/orgs/{org}/settings",
        )
    })
}

/// Settings of my org
#[utoipa::path(get, path = "/api/v1/config/me/org-settings", operation_id = "my_org_settings", tag = "settings",
    responses((status = 200, description = "They hold for all teams of the org.", body = OrgSettings)))]
async fn my_org_settings(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<OrgSettings>, Problem> {
    read_org(&app, &own_org(&caller)?).await
}

/// Change settings of my org
#[utoipa::path(put, path = "/api/v1/config/me/org-settings", operation_id = "my_org_settings_set", tag = "settings",
    request_body = OrgSettingsChange,
    responses((status = 200, description = "They hold for all teams of the org.", body = OrgSettingsOrPending)))]
async fn set_my_org_settings(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: Bytes,
) -> Result<Json<OrgSettingsOrPending>, Unwritten> {
    write_org(&app, &caller, &own_org(&caller)?, &body).await
}

/// Settings of an org
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/settings", operation_id = "org_settings", tag = "settings",
    params(OrgPath),
    responses((status = 200, description = "They hold for all its teams.", body = OrgSettings)))]
async fn org_settings(
    State(app): State<Arc<App>>,
    InPath(OrgPath { org }): InPath<OrgPath>,
) -> Result<Json<OrgSettings>, Problem> {
    read_org(&app, &org).await
}

/// Change settings of an org
#[utoipa::path(put, path = "/api/v1/admin/orgs/{org}/settings", operation_id = "org_settings_set", tag = "settings",
    params(OrgPath), request_body = OrgSettingsChange,
    responses((status = 200, description = "They hold for all its teams.", body = OrgSettingsOrPending)))]
async fn set_org_settings(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(OrgPath { org }): InPath<OrgPath>,
    body: Bytes,
) -> Result<Json<OrgSettingsOrPending>, Unwritten> {
    write_org(&app, &caller, &org, &body).await
}
