//! What is wrong with configs as they are, what teams still need, and the schema itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tocsin_kit::Problem;
use tocsin_wire::OrgId;
use utoipa::ToSchema;

use super::extract::{InPath, NodePath, OrgPath};
use super::{Access, App, Caller, Routes, Scope};
use crate::http::routes::route;
use crate::node::NodeId;
use crate::pg::ValidationRow;
use crate::policy::{self, Missing, Violation};
use crate::token::Permission;

/// The table of this area.
pub(super) fn routes() -> Routes {
    let admin = Access::Admin(Scope::ConfigRead);
    Routes::new()
        .add(Access::Public, route!(schema))
        .add(admin, route!(validate))
        .add(admin, route!(statuses))
        .add(admin, route!(readiness))
        .add(
            Access::Team(Permission::ConfigRead),
            route!(my_required_fields),
        )
}

/// The JSON Schema (2020-12) of one node's config
#[utoipa::path(get, path = "/api/v1/config/schema", operation_id = "config_schema", tag = "config",
    responses((status = 200, description = "The schema that every write is checked with.", body = Object)))]
pub(super) async fn schema(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    let document = app.database.standards().schema.document();
    document.map(Json).map_err(|error| {
        tracing::error!(%error, "the config schema in this program is no JSON");
        Problem::internal()
    })
}

/// What a validation found.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Validation {
    node_id: String,
    /// Nothing is missing and nothing is wrong.
    valid: bool,
    missing_required: Vec<Missing>,
    errors: Vec<Violation>,
    /// The node's version that was looked at.
    version: u64,
}

/// Check a node as it is
///
/// Also for what a new rule says about an old config; writes only answer for what they change. The result
/// is kept and shows in the org's validation status.
#[utoipa::path(post, path = "/api/v1/config/orgs/{org}/nodes/{node}/validate", operation_id = "node_validate", tag = "config",
    params(NodePath),
    responses((status = 200, description = "What was found.", body = Validation)))]
pub(super) async fn validate(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(NodePath { org, node }): InPath<NodePath>,
) -> Result<Json<Validation>, Problem> {
    let line = app.database.lineage(&org, &node).await?;
    let rules = app.database.rules(&org).await?;
    let (readiness, errors) = policy::validation(&rules, &line);
    let missing = readiness.missing;
    let version = line.node().map_or(0, |node| node.version);
    if let Some(node) = line.node() {
        let author = caller.author(&app);
        app.database
            .keep_validation(node, (&missing, &errors), &author)
            .await?;
    }
    Ok(Json(Validation {
        node_id: node.to_string(),
        valid: missing.is_empty() && errors.is_empty(),
        missing_required: missing,
        errors,
        version,
    }))
}

/// What the last validation of a node found.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ValidationStatus {
    node_id: String,
    valid: bool,
    missing_required: Vec<Missing>,
    errors: Vec<Violation>,
    version: i64,
    #[schema(value_type = String, format = DateTime)]
    validated_at: Timestamp,
    validated_by: String,
}

impl From<ValidationRow> for ValidationStatus {
    fn from(row: ValidationRow) -> Self {
        Self {
            node_id: row.node_id,
            valid: row.valid,
            missing_required: row.missing.0,
            errors: row.errors.0,
            version: row.node_version,
            validated_at: row.checked_at.to_jiff(),
            validated_by: row.checked_by,
        }
    }
}

/// Nodes whose last validation found something
#[utoipa::path(get, path = "/api/v1/config/orgs/{org}/validation-status", operation_id = "validation_status", tag = "config",
    params(OrgPath),
    responses((status = 200, description = "Invalid nodes only.", body = [ValidationStatus])))]
pub(super) async fn statuses(
    State(app): State<Arc<App>>,
    InPath(OrgPath { org }): InPath<OrgPath>,
) -> Result<Json<Vec<ValidationStatus>>, Problem> {
    let rows = app.database.invalid_nodes(&org).await?;
    Ok(Json(rows.into_iter().map(ValidationStatus::from).collect()))
}

/// What is required at a node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RequiredFields {
    node_id: String,
    missing: Vec<Missing>,
    total_required: usize,
    /// How many of them are set.
    configured: usize,
}

async fn required(app: &App, org: &OrgId, node: &NodeId) -> Result<RequiredFields, Problem> {
    let line = app.database.lineage(org, node).await?;
    let rules = app.database.rules(org).await?;
    Ok(required_fields(app, &rules, &line, node))
}

fn required_fields(
    app: &App,
    rules: &policy::Rules,
    line: &crate::node::Lineage,
    node: &NodeId,
) -> RequiredFields {
    let found = policy::readiness(rules, &line.effective(&app.defaults));
    RequiredFields {
        node_id: node.to_string(),
        configured: found.total_required - found.missing.len(),
        missing: found.missing,
        total_required: found.total_required,
    }
}

/// What my team still has to set
#[utoipa::path(get, path = "/api/v1/config/me/required-fields", operation_id = "my_required_fields", tag = "me",
    responses((status = 200, description = "What is missing.", body = RequiredFields)))]
pub(super) async fn my_required_fields(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<RequiredFields>, Problem> {
    let (org, team) = caller.team()?;
    Ok(Json(required(&app, &org, &team).await?))
}

/// Whether a team has everything that it needs.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TeamReadiness {
    ready: bool,
    #[serde(flatten)]
    fields: RequiredFields,
}

/// Which teams of an org have everything that they need
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/readiness", operation_id = "org_readiness", tag = "config",
    params(OrgPath),
    responses((status = 200, description = "By team.", body = [TeamReadiness])))]
pub(super) async fn readiness(
    State(app): State<Arc<App>>,
    InPath(OrgPath { org }): InPath<OrgPath>,
) -> Result<Json<Vec<TeamReadiness>>, Problem> {
    let nodes = app.database.nodes(&org).await?;
    let rules = app.database.rules(&org).await?;
    let tree = crate::node::Tree::new(nodes);
    let mut teams = Vec::new();
    for line in tree.teams() {
        if let Some(team) = line.node() {
            let fields = required_fields(&app, &rules, &line, &team.id);
            teams.push(TeamReadiness {
                ready: fields.missing.is_empty(),
                fields,
            });
        }
    }
    Ok(Json(teams))
}
