//! Who changed what: of one node, of an org, and as a file.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tocsin_kit::Problem;
use tocsin_wire::OrgId;
use utoipa::ToSchema;

use crate::decide::Refusal;
use crate::http::extract::{InPath, InQuery, NodePath, OrgPath};
use crate::http::routes::route;
use crate::http::{Access, App, Routes, Scope, body};
use crate::node::NodeId;
use crate::pg::{AuditFilter, AuditRow};

/// Versions that one answer holds.
const NODE_DEFAULT: i64 = 50;
const NODE_MAX: i64 = 200;
const ORG_DEFAULT: i64 = 200;
const ORG_MAX: i64 = 500;
const EXPORT_MAX: i64 = 10_000;

const COLUMNS: &str = "org_id,node_id,version,changed_at,changed_by,change_diff,new_config\r\n";

pub(super) fn routes() -> Routes {
    Routes::new()
        .add(Access::Admin(Scope::ConfigRead), route!(node_audit))
        .add(Access::Admin(Scope::Audit), route!(org_audit))
        .add(Access::Admin(Scope::Audit), route!(export))
}

/// How many versions.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct HistoryQuery {
    /// At most this many.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
}

/// One version, as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NodeVersion)]
pub(in crate::http) struct Version {
    org_id: String,
    node_id: String,
    version: i64,
    /// Of the org: what was changed together has one.
    revision: i64,
    what: String,
    #[schema(value_type = String, format = DateTime)]
    changed_at: Timestamp,
    changed_by: String,
    reason: String,
    #[schema(value_type = Object)]
    diff: Value,
    #[schema(value_type = Option<Object>)]
    full_config: Option<Value>,
}

impl Version {
    pub(in crate::http) fn new(org: &OrgId, row: AuditRow) -> Self {
        Self {
            org_id: org.to_string(),
            node_id: row.node_id,
            version: row.version,
            revision: row.revision,
            what: row.what,
            changed_at: row.changed_at.to_jiff(),
            changed_by: row.changed_by,
            reason: row.reason,
            diff: row.diff,
            full_config: row.config,
        }
    }
}

/// Versions of a node with their configs, newest first; also of one that is gone.
pub(in crate::http) async fn versions(
    app: &App,
    org: &OrgId,
    node: &NodeId,
    query: &HistoryQuery,
) -> Result<Vec<Version>, Problem> {
    let filter = AuditFilter {
        node: Some(node.clone()),
        limit: limit(query.limit, NODE_DEFAULT, NODE_MAX)?,
        full: true,
        ..AuditFilter::default()
    };
    let rows = app.database.audit(org, &filter).await?;
    if rows.is_empty() {
        app.database.must_have_been(org, node).await?;
    }
    Ok(rows.into_iter().map(|row| Version::new(org, row)).collect())
}

/// Versions of a node
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/nodes/{node}/audit", operation_id = "node_config_history", tag = "config",
    params(NodePath, HistoryQuery),
    responses((status = 200, description = "Newest first.", body = [Version])))]
pub(super) async fn node_audit(
    State(app): State<Arc<App>>,
    InPath(NodePath { org, node }): InPath<NodePath>,
    InQuery(query): InQuery<HistoryQuery>,
) -> Result<Json<Vec<Version>>, Problem> {
    Ok(Json(versions(&app, &org, &node, &query).await?))
}

/// Which versions of an org's nodes.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// Of this node only.
    node_id: Option<String>,
    /// By this author only, as `changed_by` shows it.
    changed_by: Option<String>,
    /// At this time or later, RFC 3339.
    #[param(format = DateTime)]
    since: Option<String>,
    /// At this time or earlier, RFC 3339.
    #[param(format = DateTime)]
    until: Option<String>,
    /// At most this many.
    #[param(minimum = 1)]
    limit: Option<i64>,
    /// With the whole config of each version.
    #[serde(default)]
    include_full: bool,
    /// Of an export: `csv` or `json`.
    format: Option<String>,
}

impl AuditQuery {
    fn filter(&self, default: i64, max: i64, full: bool) -> Result<AuditFilter, Problem> {
        Ok(AuditFilter {
            node: self.node_id.as_deref().map(body::node_id).transpose()?,
            changed_by: self.changed_by.clone(),
            since: time("since", self.since.as_deref())?,
            until: time("until", self.until.as_deref())?,
            limit: limit(self.limit, default, max)?,
            full,
        })
    }
}

fn limit(asked: Option<i64>, default: i64, max: i64) -> Result<i64, Problem> {
    let limit = asked.unwrap_or(default);
    if (1..=max).contains(&limit) {
        return Ok(limit);
    }
    Err(Refusal::Field(format!("limit must be 1 to {max}")).into())
}

fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = text else {
        return Ok(None);
    };
    // In a query, an unescaped + of an offset arrives as a space.
    let parsed = text.replace(' ', "+").parse();
    parsed.map(Some).map_err(|_error| {
        let what = format!("{name} must be a time such as 2026-03-01T12:00:00Z, not {text:?}");
        Refusal::Field(what).into()
    })
}

/// Versions of all nodes
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/audit", operation_id = "org_config_audit", tag = "config",
    params(OrgPath, AuditQuery),
    responses((status = 200, description = "Newest first.", body = [Version])))]
pub(super) async fn org_audit(
    State(app): State<Arc<App>>,
    InPath(OrgPath { org }): InPath<OrgPath>,
    InQuery(query): InQuery<AuditQuery>,
) -> Result<Json<Vec<Version>>, Problem> {
    let filter = query.filter(ORG_DEFAULT, ORG_MAX, query.include_full)?;
    let rows = app.database.audit(&org, &filter).await?;
    Ok(Json(
        rows.into_iter()
            .map(|row| Version::new(&org, row))
            .collect(),
    ))
}

/// Versions of all nodes, as a file
///
/// CSV with the columns org_id, node_id, version, changed_at, changed_by, change_diff, new_config, or
/// JSON.
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/audit/export", operation_id = "org_config_audit_export", tag = "config",
    params(OrgPath, AuditQuery),
    responses((status = 200, description = "Newest first.",
        content(([Version] = "application/json"), (String = "text/csv")))))]
pub(super) async fn export(
    State(app): State<Arc<App>>,
    InPath(OrgPath { org }): InPath<OrgPath>,
    InQuery(query): InQuery<AuditQuery>,
) -> Result<Response, Problem> {
    let as_csv = match query.format.as_deref() {
        None | Some("csv") => true,
        Some("json") => false,
        Some(other) => {
            return Err(
                Refusal::Field(format!("format must be csv or json, not {other:?}")).into(),
            );
        }
    };
    let filter = query.filter(ORG_MAX, EXPORT_MAX, true)?;
    let rows = app.database.audit(&org, &filter).await?;
    if !as_csv {
        let rows = rows.into_iter().map(|row| Version::new(&org, row));
        return Ok(Json(rows.collect::<Vec<_>>()).into_response());
    }
    let mut text = COLUMNS.to_owned();
    for row in &rows {
        csv_line(&mut text, &org, row);
    }
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/csv; charset=utf-8"),
    );
    let name = format!("attachment; filename=\"{org}-config-audit.csv\"");
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

fn csv_line(text: &mut String, org: &OrgId, row: &AuditRow) {
    let config = row.config.as_ref().map(Value::to_string);
    let fields = [
        org.as_str(),
        &row.node_id,
        &row.version.to_string(),
        &row.changed_at.to_jiff().to_string(),
        &row.changed_by,
        &row.diff.to_string(),
        &config.unwrap_or_default(),
    ];
    let fields = fields.map(csv_field);
    text.push_str(&fields.join(","));
    text.push_str("\r\n");
}

/// Quoted where it must be (RFC 4180). A leading sign or `=` gets an apostrophe, because spreadsheets
/// would run it as a formula.
fn csv_field(field: &str) -> String {
    let is_formula = field.starts_with(['=', '+', '-', '@', '\t']);
    let guard = if is_formula { "'" } else { "" };
    if is_formula || field.contains([',', '"', '\r', '\n']) {
        format!("\"{guard}{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_cannot_leave_its_cell() {
        for (field, written) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("a\nb", "\"a\nb\""),
            ("=1+1", "\"'=1+1\""),
        ] {
            assert_eq!(csv_field(field), written);
        }
    }
}
