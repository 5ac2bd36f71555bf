//! Templates of admins: adding, changing and deleting them, and what they are used for.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tocsin_kit::{Problem, random};
use utoipa::ToSchema;

use super::super::extract::{Id, InPath, InQuery};
use super::super::{Access, App, Caller, Routes, Scope, body};
use super::{ApplicationView, Applied, Filter, List, TemplatePath, View, apply, no_template};
use crate::http::routes::route;
use crate::merge::Config;
use crate::pg::Stored;
use crate::templates::{self, InvalidTemplate, Template};

/// Latest uses that the figures of a template name.
const RECENT: i64 = 50;
/// Longest texts.
const MAX_NAME_CHARS: usize = 200;
const MAX_DESCRIPTION_CHARS: usize = 2_000;
const MAX_CATEGORY_CHARS: usize = 64;
/// Names in a list of what is required.
const MAX_REQUIRED: usize = 100;

/// Templates are shared by all orgs, so only global admins change them.
pub(super) fn routes() -> Routes {
    let access = Access::GlobalAdmin(Scope::Templates);
    Routes::new()
        .add(access, route!(list))
        .add(access, route!(create))
        .add(access, route!(read))
        .add(access, route!(update))
        .add(access, route!(delete))
        .add(access, route!(apply_to))
        .add(access, route!(analytics))
}

/// Templates, for admins
#[utoipa::path(get, path = "/api/v1/admin/templates", operation_id = "admin_template_list", tag = "templates",
    params(Filter),
    responses((status = 200, description = "The shipped ones, then those of admins by slug.", body = List)))]
async fn list(state: State<Arc<App>>, filter: InQuery<Filter>) -> Result<Json<List>, Problem> {
    super::list(state, filter).await
}

/// One template, for admins
#[utoipa::path(get, path = "/api/v1/admin/templates/{template}", operation_id = "admin_template_read", tag = "templates",
    params(TemplatePath),
    responses((status = 200, description = "The template.", body = View)))]
async fn read(state: State<Arc<App>>, path: InPath<TemplatePath>) -> Result<Json<View>, Problem> {
    super::read_one(state, path).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = TemplateCreate)]
struct Create {
    /// Stands in paths; stays as it is.
    #[schema(pattern = "^[a-z0-9][a-z0-9-]{0,62}$")]
    slug: String,
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    category: String,
    #[schema(value_type = Object)]
    template_json: Config,
    #[serde(default)]
    required_mcps: Vec<String>,
    #[serde(default)]
    required_tools: Vec<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = TemplateUpdate)]
struct Update {
    name: Option<String>,
    description: Option<String>,
    category: Option<String>,
    #[schema(value_type = Option<Object>)]
    template_json: Option<Config>,
    required_mcps: Option<Vec<String>>,
    required_tools: Option<Vec<String>>,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err takes"
)]
fn invalid(error: InvalidTemplate) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid_template",
        error.to_string(),
    )
}

fn checked(template: Template) -> Result<Template, Problem> {
    let check = || {
        templates::check_slug(&template.slug)?;
        text("name", &template.name, MAX_NAME_CHARS)?;
        if !template.description.is_empty() {
            text("description", &template.description, MAX_DESCRIPTION_CHARS)?;
        }
        if !template.category.is_empty() {
            text("category", &template.category, MAX_CATEGORY_CHARS)?;
        }
        for names in [&template.required_mcps, &template.required_tools] {
            if names.len() > MAX_REQUIRED {
                return Err(InvalidTemplate::Text(
                    "a list of what is required",
                    MAX_REQUIRED,
                ));
            }
            for name in names {
                text("a name of what is required", name, MAX_NAME_CHARS)?;
            }
        }
        templates::check(&template.template)
    };
    check().map_err(invalid)?;
    Ok(template)
}

fn text(what: &'static str, value: &str, max: usize) -> Result<(), InvalidTemplate> {
    let length = value.chars().count();
    if length == 0 || length > max || value.contains('\0') {
        return Err(InvalidTemplate::Text(what, max));
    }
    Ok(())
}

/// Add a template
#[utoipa::path(post, path = "/api/v1/admin/templates", operation_id = "template_create", tag = "templates",
    request_body = Create,
    responses((status = 200, description = "The template.", body = View)))]
async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: Bytes,
) -> Result<Json<View>, Problem> {
    let request: Create = body::json(&body)?;
    let template = checked(Template {
        slug: request.slug,
        name: request.name,
        description: request.description,
        category: request.category,
        version: 1,
        required_mcps: request.required_mcps,
        required_tools: request.required_tools,
        template: request.template_json,
    })?;
    let author = caller.author(&app);
    let id = random::time_ordered_id(author.at);
    let stored = match app.shipped()?.template(&template.slug) {
        Some(_) => None,
        None => app.database.create_template(id, &template, &author).await?,
    };
    let stored = stored.ok_or_else(|| {
        Problem::conflict(
            "template_exists",
            format!(
                "there is a template {:?} already; choose another slug",
                template.slug
            ),
        )
    })?;
    let usage = app.database.template_usage().await?;
    Ok(Json(View::of_admin(stored, &usage)))
}

/// One that may be changed.
async fn changeable(app: &App, template: &str) -> Result<Stored, Problem> {
    if app.shipped()?.template(template).is_some() {
        return Err(Problem::conflict(
            "template_shipped",
            format!(
                "{template} comes with the program and changes with its releases; add one of your own under another slug"
            ),
        ));
    }
    let stored = app.database.template(template).await?;
    stored.ok_or_else(|| no_template(template))
}

/// Change a template
///
/// Nodes that follow it stay as they are until it is applied again.
#[utoipa::path(put, path = "/api/v1/admin/templates/{template}", operation_id = "template_update", tag = "templates",
    params(TemplatePath), request_body = Update,
    responses((status = 200, description = "One version later.", body = View)))]
async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(TemplatePath { template }): InPath<TemplatePath>,
    body: Bytes,
) -> Result<Json<View>, Problem> {
    let request: Update = body::json(&body)?;
    let stored = changeable(&app, &template).await?;
    let old = stored.template;
    let changed = checked(Template {
        name: request.name.unwrap_or(old.name),
        description: request.description.unwrap_or(old.description),
        category: request.category.unwrap_or(old.category),
        required_mcps: request.required_mcps.unwrap_or(old.required_mcps),
        required_tools: request.required_tools.unwrap_or(old.required_tools),
        template: request.template_json.unwrap_or(old.template),
        slug: old.slug,
        version: old.version,
    })?;
    let author = caller.author(&app);
    let updated = app
        .database
        .update_template(stored.id, &changed, &author)
        .await?;
    let updated = updated.ok_or_else(|| no_template(&template))?;
    let usage = app.database.template_usage().await?;
    Ok(Json(View::of_admin(updated, &usage)))
}

/// What a deletion answers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TemplateDeleted)]
struct Deleted {
    status: &'static str,
}

/// Delete a template
///
/// Nodes that follow it keep what it set, and can still take it back.
#[utoipa::path(delete, path = "/api/v1/admin/templates/{template}", operation_id = "template_delete", tag = "templates",
    params(TemplatePath),
    responses((status = 200, description = "It is gone.", body = Deleted)))]
async fn delete(
    State(app): State<Arc<App>>,
    InPath(TemplatePath { template }): InPath<TemplatePath>,
) -> Result<Json<Deleted>, Problem> {
    let stored = changeable(&app, &template).await?;
    if !app.database.delete_template(stored.id).await? {
        return Err(no_template(&template));
    }
    Ok(Json(Deleted { status: "deleted" }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = TemplateTarget)]
struct Target {
    #[schema(value_type = Id)]
    org_id: String,
    /// The org itself, a unit or a team.
    #[serde(alias = "node_id")]
    #[schema(value_type = Id)]
    team_node_id: String,
    expected_version: Option<u64>,
}

/// Let any node follow a template
#[utoipa::path(post, path = "/api/v1/admin/templates/{template}/apply", operation_id = "template_apply", tag = "templates",
    params(TemplatePath), request_body = Target,
    responses((status = 200, description = "Applied, or waiting for approval.", body = Applied)))]
async fn apply_to(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(TemplatePath { template }): InPath<TemplatePath>,
    body: Bytes,
) -> Result<Json<Applied>, Problem> {
    let target: Target = body::json(&body)?;
    let (org, node) = (
        body::org(&target.org_id)?,
        body::node_id(&target.team_node_id)?,
    );
    apply(
        &app,
        &caller,
        (&org, &node),
        &template,
        target.expected_version,
    )
    .await
}

/// What a template is used for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TemplateAnalytics)]
struct Analytics {
    template_id: String,
    /// Applications, whatever became of them.
    usage_count: i64,
    /// Nodes that follow it now.
    active_count: i64,
    /// Of the latest ones: taken back, or replaced by another.
    ended_count: usize,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_applied_at: Option<Timestamp>,
    /// The latest, newest first.
    applications: Vec<ApplicationView>,
}

/// What a template is used for
#[utoipa::path(get, path = "/api/v1/admin/templates/{template}/analytics", operation_id = "template_analytics", tag = "templates",
    params(TemplatePath),
    responses((status = 200, description = "Its uses.", body = Analytics)))]
async fn analytics(
    State(app): State<Arc<App>>,
    InPath(TemplatePath { template }): InPath<TemplatePath>,
) -> Result<Json<Analytics>, Problem> {
    let chosen = super::chosen(&app, &template).await?;
    let usage = app.database.template_usage().await?;
    let usage = usage.get(&chosen.id).copied().unwrap_or_default();
    let recent = app
        .database
        .template_applications(&chosen.id, RECENT)
        .await?;
    let applications: Vec<ApplicationView> =
        recent.into_iter().map(ApplicationView::from).collect();
    Ok(Json(Analytics {
        template_id: chosen.id,
        usage_count: usage.applied,
        active_count: usage.active,
        ended_count: applications
            .iter()
            .filter(|one| one.ended_at.is_some())
            .count(),
        last_applied_at: applications.first().map(|one| one.applied_at),
        applications,
    }))
}
