//! The rules: security policies of orgs, field definitions of the installation.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::{Json, response::IntoResponse};
use http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tocsin_kit::Problem;
use utoipa::ToSchema;

use super::approvals::plain;
use super::extract::{InPath, InQuery, OrgPath};
use super::{Access, App, Caller, Routes, Scope, body};
use crate::decide::Refusal;
use crate::http::routes::route;
use crate::pg::{Expected, RuleVersion, Versioned};
use crate::policy::{FieldDefinition, InvalidPolicy, PolicyRefusal, SecurityPolicy};
use crate::schema::nearest;

/// Versions that one answer holds.
const HISTORY_DEFAULT: i64 = 50;
const HISTORY_MAX: i64 = 200;

/// The table of this area.
pub(super) fn routes() -> Routes {
    let policy = Access::Admin(Scope::Policy);
    let fields = Access::GlobalAdmin(Scope::Policy);
    Routes::new()
        .add(policy, route!(security_policy, write_security_policy))
        .add(policy, route!(security_policy_history))
        .add(Access::Public, route!(public_fields))
        .add(fields, route!(fields_for_admins, create_field))
        .add(fields, route!(field, write_field, delete_field))
        .add(fields, route!(field_history))
}

/// The security policy of an org.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrgSecurityPolicy)]
pub(super) struct PolicyView {
    org_id: String,
    #[serde(flatten)]
    policy: SecurityPolicy,
    /// 0: the default, as nobody wrote one.
    version: u64,
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Option<Timestamp>,
    updated_by: String,
}

fn policy_view(org: &tocsin_wire::OrgId, policy: Versioned<SecurityPolicy>) -> PolicyView {
    PolicyView {
        org_id: org.to_string(),
        policy: policy.document,
        version: policy.version,
        updated_at: policy.updated_at,
        updated_by: policy.updated_by,
    }
}

/// The security policy of an org
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/security-policies", operation_id = "security_policy", tag = "policy",
    params(OrgPath),
    responses((status = 200, description = "Its version is the ETag.", body = PolicyView)))]
pub(super) async fn security_policy(
    State(app): State<Arc<App>>,
    InPath(OrgPath { org }): InPath<OrgPath>,
) -> Result<impl IntoResponse, Problem> {
    let policy = app.database.security_policy(&org).await?;
    Ok((body::etag(policy.version), Json(policy_view(&org, policy))))
}

/// Change the security policy of an org
///
/// Fields that are missing stay as they are.
#[utoipa::path(put, path = "/api/v1/admin/orgs/{org}/security-policies", operation_id = "security_policy_write", tag = "policy",
    params(OrgPath), request_body = SecurityPolicy,
    responses((status = 200, description = "The policy after it.", body = PolicyView)))]
pub(super) async fn write_security_policy(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(OrgPath { org }): InPath<OrgPath>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, Problem> {
    let given: Map<String, Value> = body::json(&body)?;
    let change = move |policy: &SecurityPolicy| changed(policy, &given);
    let policy = app
        .database
        .write_security_policy(
            &org,
            &change,
            body::expected_version(&headers, None)?,
            &caller.author(&app),
        )
        .await?;
    Ok((body::etag(policy.version), Json(policy_view(&org, policy))))
}

/// The policy with the given fields in place of its own.
fn changed(
    policy: &SecurityPolicy,
    given: &Map<String, Value>,
) -> Result<SecurityPolicy, PolicyRefusal> {
    let invalid = |why: String| PolicyRefusal::Policy(InvalidPolicy::Limits(why));
    let present = serde_json::to_value(policy).map_err(|error| invalid(error.to_string()))?;
    let Value::Object(mut fields) = present else {
        return Err(invalid("a policy is an object".to_owned()));
    };
    for (name, value) in given {
        if !fields.contains_key(name) {
            let meant = nearest(name, fields.keys().map(String::as_str));
            let question =
                meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
            return Err(invalid(format!(
                "{name} is no field of a security policy{question}"
            )));
        }
        fields.insert(name.clone(), value.clone());
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| invalid(error.to_string()))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RuleHistoryQuery {
    /// At most this many.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
}

impl RuleHistoryQuery {
    fn limit(&self) -> Result<i64, Problem> {
        let limit = self.limit.unwrap_or(HISTORY_DEFAULT);
        if (1..=HISTORY_MAX).contains(&limit) {
            return Ok(limit);
        }
        Err(Refusal::Field(format!("limit must be 1 to {HISTORY_MAX}")).into())
    }
}

/// One version of a policy or of a field definition.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RuleVersion)]
pub(super) struct RuleVersionView {
    /// Of a field definition.
    path: Option<String>,
    version: i64,
    /// `created`, `updated` or `deleted`
    what: String,
    #[schema(value_type = Object)]
    document: Value,
    #[schema(value_type = String, format = DateTime)]
    changed_at: Timestamp,
    changed_by: String,
}

impl From<RuleVersion> for RuleVersionView {
    fn from(row: RuleVersion) -> Self {
        Self {
            path: row.path,
            version: row.version,
            what: row.what,
            document: row.document,
            changed_at: row.changed_at.to_jiff(),
            changed_by: row.changed_by,
        }
    }
}

/// Versions of the security policy of an org
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/security-policies/history", operation_id = "security_policy_history", tag = "policy",
    params(OrgPath, RuleHistoryQuery),
    responses((status = 200, description = "Newest first.", body = [RuleVersionView])))]
pub(super) async fn security_policy_history(
    State(app): State<Arc<App>>,
    InPath(OrgPath { org }): InPath<OrgPath>,
    InQuery(query): InQuery<RuleHistoryQuery>,
) -> Result<Json<Vec<RuleVersionView>>, Problem> {
    let rows = app
        .database
        .rule_history(Some(&org), query.limit()?)
        .await?;
    Ok(Json(rows.into_iter().map(RuleVersionView::from).collect()))
}

/// A field definition with its version.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = VersionedFieldDefinition)]
pub(super) struct FieldView {
    #[serde(flatten)]
    definition: FieldDefinition,
    version: u64,
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Option<Timestamp>,
    updated_by: String,
}

impl From<Versioned<FieldDefinition>> for FieldView {
    fn from(field: Versioned<FieldDefinition>) -> Self {
        Self {
            definition: field.document,
            version: field.version,
            updated_at: field.updated_at,
            updated_by: field.updated_by,
        }
    }
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FieldQuery {
    /// Only of this category.
    category: Option<String>,
}

/// What the installation says about single fields
#[utoipa::path(get, path = "/api/v1/config/field-definitions", operation_id = "field_definitions", tag = "policy",
    params(FieldQuery),
    responses((status = 200, description = "By category and order.", body = [FieldDefinition])))]
pub(super) async fn public_fields(
    State(app): State<Arc<App>>,
    InQuery(query): InQuery<FieldQuery>,
) -> Result<Json<Vec<FieldDefinition>>, Problem> {
    let fields = app.database.field_definitions().await?;
    let of_category = |field: &FieldDefinition| {
        query
            .category
            .as_ref()
            .is_none_or(|category| *category == field.category)
    };
    let fields = fields.into_iter().map(|field| field.document);
    Ok(Json(fields.filter(of_category).collect()))
}

/// Field definitions with their versions
#[utoipa::path(get, path = "/api/v1/admin/field-definitions", operation_id = "field_definitions_admin", tag = "policy",
    responses((status = 200, description = "By category and order.", body = [FieldView])))]
pub(super) async fn fields_for_admins(
    State(app): State<Arc<App>>,
) -> Result<Json<Vec<FieldView>>, Problem> {
    let fields = app.database.field_definitions().await?;
    Ok(Json(fields.into_iter().map(FieldView::from).collect()))
}

/// Define a field
#[utoipa::path(post, path = "/api/v1/admin/field-definitions", operation_id = "field_definition_create", tag = "policy",
    request_body = FieldDefinition,
    responses((status = 200, description = "The definition.", body = FieldView)))]
pub(super) async fn create_field(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: Bytes,
) -> Result<impl IntoResponse, Problem> {
    let definition: FieldDefinition = body::json(&body)?;
    let author = caller.author(&app);
    let field = app
        .database
        .write_field(&definition, Expected::New, &author)
        .await?;
    Ok((body::etag(field.version), Json(FieldView::from(field))))
}

/// `…/field-definitions/{path}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct FieldPath {
    /// Dotted; `*` stands for any one key.
    #[serde(deserialize_with = "plain")]
    #[param(example = "agents.*.model.name")]
    path: String,
}

/// One field definition
#[utoipa::path(get, path = "/api/v1/admin/field-definitions/{path}", operation_id = "field_definition", tag = "policy",
    params(FieldPath),
    responses((status = 200, description = "Its version is the ETag.", body = FieldView)))]
pub(super) async fn field(
    State(app): State<Arc<App>>,
    InPath(FieldPath { path }): InPath<FieldPath>,
) -> Result<impl IntoResponse, Problem> {
    let field = app.database.field_definition(&path).await?;
    Ok((body::etag(field.version), Json(FieldView::from(field))))
}

impl From<PolicyRefusal> for Problem {
    fn from(refusal: PolicyRefusal) -> Self {
        super::policy_problem::problem(&refusal)
    }
}

/// Change a field definition
///
/// The body replaces it; its path is that of the URL.
#[utoipa::path(put, path = "/api/v1/admin/field-definitions/{path}", operation_id = "field_definition_write", tag = "policy",
    params(FieldPath), request_body = FieldDefinition,
    responses((status = 200, description = "The definition after it.", body = FieldView)))]
pub(super) async fn write_field(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(FieldPath { path }): InPath<FieldPath>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, Problem> {
    let definition: FieldDefinition = body::json(&body)?;
    if definition.path != path {
        let refusal =
            Refusal::Field("path must be that of the URL; a field is not renamed".to_owned());
        return Err(refusal.into());
    }
    let expected = Expected::Known(body::expected_version(&headers, None)?);
    let author = caller.author(&app);
    let field = app
        .database
        .write_field(&definition, expected, &author)
        .await?;
    Ok((body::etag(field.version), Json(FieldView::from(field))))
}

/// What a deletion answers: a body, because clients of the original cannot read a 204.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FieldDeleted)]
pub(super) struct Deleted {
    status: &'static str,
}

/// Take a field definition away
#[utoipa::path(delete, path = "/api/v1/admin/field-definitions/{path}", operation_id = "field_definition_delete", tag = "policy",
    params(FieldPath),
    responses((status = 200, description = "It is gone.", body = Deleted)))]
pub(super) async fn delete_field(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(FieldPath { path }): InPath<FieldPath>,
) -> Result<Json<Deleted>, Problem> {
    app.database
        .delete_field(&path, &caller.author(&app))
        .await?;
    Ok(Json(Deleted { status: "deleted" }))
}

/// Versions of all field definitions
#[utoipa::path(get, path = "/api/v1/admin/field-definition-history", operation_id = "field_definition_history", tag = "policy",
    params(RuleHistoryQuery),
    responses((status = 200, description = "Newest first.", body = [RuleVersionView])))]
pub(super) async fn field_history(
    State(app): State<Arc<App>>,
    InQuery(query): InQuery<RuleHistoryQuery>,
) -> Result<Json<Vec<RuleVersionView>>, Problem> {
    let rows = app.database.rule_history(None, query.limit()?).await?;
    Ok(Json(rows.into_iter().map(RuleVersionView::from).collect()))
}
