//! Templates: which there are, what one would change, following one and taking it back.

mod admin;
mod places;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tocsin_kit::{Problem, random};
use tocsin_wire::OrgId;
use utoipa::ToSchema;
use uuid::Uuid;

use super::extract::{Id, InPath, InQuery, NodePath};
use super::{Access, App, Caller, Routes, Scope, body};
use crate::decide::{Action, WriteRequest};
use crate::diff::{self, Diff};
use crate::http::routes::route;
use crate::integrations;
use crate::merge::{self, Config};
use crate::node::NodeId;
use crate::pg::{Application, Chosen, Follow, Followed, Held, Left, Outcome, Stored, Usage};
use crate::templates::{self, Template};
use crate::token::Permission;

/// The table of this area.
pub(super) fn routes() -> Routes {
    let (read, write) = (
        Access::Team(Permission::ConfigRead),
        Access::Team(Permission::ConfigWrite),
    );
    let admin = Access::Admin(Scope::Templates);
    Routes::new()
        .add(Access::Anybody, route!(list))
        .add(Access::Anybody, route!(read_one))
        .add(read, route!(places::my_preview))
        .add(write, route!(places::my_apply))
        .add(read, route!(places::mine))
        .add(write, route!(places::my_revert))
        .add(admin, route!(places::node_preview))
        .add(admin, route!(places::node_apply))
        .add(admin, route!(places::of_node))
        .add(admin, route!(places::node_revert))
        .merge(admin::routes())
}

/// `…/templates/{template}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
struct TemplatePath {
    /// Its id or slug.
    #[param(example = "slack-incident-triage")]
    template: String,
}

/// `…/orgs/{org}/nodes/{node}/templates/{template}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
struct NodeTemplatePath {
    /// The org.
    #[serde(deserialize_with = "super::extract::org")]
    #[param(value_type = Id, example = "acme")]
    org: OrgId,
    /// A node of it: the org itself, a unit or a team.
    #[serde(deserialize_with = "super::extract::node_id")]
    #[param(value_type = Id, example = "payments")]
    node: NodeId,
    /// Its id or slug.
    #[param(example = "slack-incident-triage")]
    template: String,
}

/// A template.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Template)]
struct View {
    id: String,
    slug: String,
    name: String,
    description: String,
    category: String,
    #[schema(value_type = Object)]
    template_json: Config,
    required_mcps: Vec<String>,
    required_tools: Vec<String>,
    version: i32,
    /// Comes with the program and cannot be changed.
    shipped: bool,
    /// How often it was applied.
    usage_count: i64,
    /// Nodes that follow it now.
    active_count: i64,
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
    created_by: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Option<Timestamp>,
    updated_by: Option<String>,
}

impl View {
    fn new(id: String, template: Template, usage: &BTreeMap<String, Usage>) -> Self {
        let usage = usage.get(&id).copied().unwrap_or_default();
        Self {
            id,
            slug: template.slug,
            name: template.name,
            description: template.description,
            category: template.category,
            template_json: template.template,
            required_mcps: template.required_mcps,
            required_tools: template.required_tools,
            version: template.version,
            shipped: true,
            usage_count: usage.applied,
            active_count: usage.active,
            created_at: None,
            created_by: None,
            updated_at: None,
            updated_by: None,
        }
    }

    fn of_admin(stored: Stored, usage: &BTreeMap<String, Usage>) -> Self {
        Self {
            shipped: false,
            created_at: Some(stored.created_at),
            created_by: Some(stored.created_by),
            updated_at: Some(stored.updated_at),
            updated_by: Some(stored.updated_by),
            ..Self::new(stored.id.to_string(), stored.template, usage)
        }
    }
}

/// Which templates.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only these.
    category: Option<String>,
    /// Only those whose name or description holds it.
    search: Option<String>,
}

/// Templates.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Templates)]
struct List {
    templates: Vec<View>,
    total: usize,
}

/// Templates
#[utoipa::path(get, path = "/api/v1/templates", operation_id = "template_list", tag = "templates",
    params(Filter),
    responses((status = 200, description = "The shipped ones, then those of admins by slug.", body = List)))]
async fn list(
    State(app): State<Arc<App>>,
    InQuery(filter): InQuery<Filter>,
) -> Result<Json<List>, Problem> {
    let usage = app.database.template_usage().await?;
    let own = app.database.templates().await?;
    let shipped = app.shipped()?.templates.iter();
    let shipped = shipped.map(|one| View::new(one.slug.clone(), one.clone(), &usage));
    let own = own.into_iter().map(|one| View::of_admin(one, &usage));
    let wanted = filter.search.map(|text| text.to_lowercase());
    let templates: Vec<View> = shipped
        .chain(own)
        .filter(|one| {
            filter
                .category
                .as_ref()
                .is_none_or(|only| &one.category == only)
        })
        .filter(|one| {
            wanted.as_ref().is_none_or(|text| {
                one.name.to_lowercase().contains(text)
                    || one.description.to_lowercase().contains(text)
            })
        })
        .collect();
    Ok(Json(List {
        total: templates.len(),
        templates,
    }))
}

/// One template
#[utoipa::path(get, path = "/api/v1/templates/{template}", operation_id = "template_read", tag = "templates",
    params(TemplatePath),
    responses((status = 200, description = "The template.", body = View)))]
async fn read_one(
    State(app): State<Arc<App>>,
    InPath(TemplatePath { template }): InPath<TemplatePath>,
) -> Result<Json<View>, Problem> {
    let usage = app.database.template_usage().await?;
    if let Some(found) = app.shipped()?.template(&template) {
        return Ok(Json(View::new(found.slug.clone(), found.clone(), &usage)));
    }
    let stored = app.database.template(&template).await?;
    let stored = stored.ok_or_else(|| no_template(&template))?;
    Ok(Json(View::of_admin(stored, &usage)))
}

fn no_template(template: &str) -> Problem {
    Problem::not_found(
        "template_not_found",
        format!("there is no template {template:?}; GET /api/v1/templates lists those there are"),
    )
}

async fn chosen(app: &App, template: &str) -> Result<Chosen, Problem> {
    if let Some(found) = app.shipped()?.template(template) {
        return Ok(Chosen {
            id: found.slug.clone(),
            template: found.clone(),
        });
    }
    let stored = app.database.template(template).await?;
    let stored = stored.ok_or_else(|| no_template(template))?;
    Ok(Chosen {
        id: stored.id.to_string(),
        template: stored.template,
    })
}

/// What a template would change at a node.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TemplatePreview)]
struct Preview {
    template_id: String,
    node_id: String,
    /// In what holds at the node.
    #[schema(value_type = Object)]
    effective_diff: Diff,
    /// In what the node itself sets.
    #[schema(value_type = Object)]
    own_diff: Diff,
    /// Built-in agents that would be switched off.
    disabled_agents: Vec<String>,
    /// What is still missing for it to work.
    next_steps: Vec<String>,
}

async fn preview(
    app: &App,
    (org, node): (&OrgId, &NodeId),
    template: &str,
) -> Result<Json<Preview>, Problem> {
    let chosen = chosen(app, template).await?;
    let built_in = app.shipped()?.built_in_agents();
    let follow = Follow {
        org,
        node,
        chosen: &chosen,
        application: Uuid::nil(),
        defaults: &app.defaults,
        built_in: &built_in,
        expected: None,
    };
    let (line, applied) = app.database.preview_template(&follow).await?;
    let before = line.effective(&app.defaults);
    let above = line.0.iter().take(line.0.len().saturating_sub(1));
    let layers = std::iter::once(&app.defaults).chain(above.map(|node| &node.config));
    let after = merge::effective(layers.chain([&applied.config]));
    let own = line
        .node()
        .map(|node| node.config.clone())
        .unwrap_or_default();
    Ok(Json(Preview {
        template_id: chosen.id.clone(),
        node_id: node.to_string(),
        effective_diff: diff::between(&before, &after),
        own_diff: diff::between(&own, &applied.config),
        disabled_agents: applied.disabled,
        next_steps: next_steps(app, &chosen.template, &after)?,
    }))
}

/// Integrations and MCP servers that the template needs and the node does not have.
fn next_steps(app: &App, template: &Template, effective: &Config) -> Result<Vec<String>, Problem> {
    let integrations = &app.shipped()?.integrations;
    let tools = template.required_tools.iter();
    let mut needed: Vec<&str> = tools
        .filter_map(|tool| app.database.standards().catalogue.tools.get(tool))
        .flat_map(|tool| tool.required_integrations.iter().map(String::as_str))
        .collect();
    needed.sort_unstable();
    needed.dedup();
    let unready = needed.into_iter().filter_map(|id| {
        let integration = integrations.get(id)?;
        let missing = integration.missing(&integrations::values(effective, id));
        (!missing.is_empty()).then(|| {
            format!(
                "Connect {}: set {} under integrations.{id}",
                integration.name,
                missing.join(", ")
            )
        })
    });
    let servers = effective.get("mcp_servers").and_then(Value::as_object);
    let absent = template
        .required_mcps
        .iter()
        .filter(|id| servers.is_none_or(|servers| !servers.contains_key(id.as_str())));
    let absent = absent.map(|id| format!("Add the MCP server {id} under mcp_servers.{id}"));
    Ok(unready.chain(absent).collect())
}

/// What became of an application.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TemplateApplied)]
struct Applied {
    /// `false` while somebody has to approve it.
    success: bool,
    application_id: Option<Uuid>,
    /// The change that waits for approval.
    pending_change_id: Option<Uuid>,
    message: String,
    next_steps: Vec<String>,
    node_id: String,
    /// Of the node after it.
    version: Option<u64>,
    disabled_agents: Vec<String>,
}

async fn apply(
    app: &App,
    caller: &Caller,
    (org, node): (&OrgId, &NodeId),
    template: &str,
    expected: Option<u64>,
) -> Result<Json<Applied>, Problem> {
    let chosen = chosen(app, template).await?;
    let author = caller.author(app);
    let built_in = app.shipped()?.built_in_agents();
    let follow = Follow {
        org,
        node,
        chosen: &chosen,
        application: random::time_ordered_id(author.at),
        defaults: &app.defaults,
        built_in: &built_in,
        expected,
    };
    let name = &chosen.template.name;
    let (after, disabled) = match app.database.apply_template(&follow, &author).await? {
        Followed::Done { node, disabled } => (node, disabled),
        Followed::Held(held) => {
            return Ok(Json(Applied {
                success: false,
                application_id: None,
                pending_change_id: Some(held.pending),
                message: waits(name, &held),
                next_steps: vec!["Apply it again once the change is approved".to_owned()],
                node_id: node.to_string(),
                version: None,
                disabled_agents: Vec::new(),
            }));
        }
    };
    let line = app.database.lineage(org, node).await?;
    Ok(Json(Applied {
        success: true,
        application_id: Some(follow.application),
        pending_change_id: None,
        message: format!("{node} follows {name} from version {} on", after.version),
        next_steps: next_steps(app, &chosen.template, &line.effective(&app.defaults))?,
        node_id: node.to_string(),
        version: Some(after.version),
        disabled_agents: disabled,
    }))
}

/// Creates an org that follows the template for new orgs from its first version on; an org that comes
/// with a config of its own keeps to that. Whether it follows the template.
pub(super) async fn create_org(
    app: &App,
    org: &OrgId,
    id: NodeId,
    action: Action,
    caller: &Caller,
) -> Result<(Outcome, bool), Problem> {
    let author = caller.author(app);
    let template = app.shipped()?.template(templates::OF_NEW_ORGS);
    let (
        Action::Create {
            parent,
            kind,
            name,
            config,
        },
        Some(template),
    ) = (&action, template)
    else {
        let request = WriteRequest::new(id, action);
        return Ok((app.database.write(org, &request, &author).await?, false));
    };
    if !config.is_empty() {
        let request = WriteRequest::new(id, action);
        return Ok((app.database.write(org, &request, &author).await?, false));
    }
    let built_in = app.shipped()?.built_in_agents();
    let applied = templates::apply(&template.template, config, &app.defaults, &built_in);
    let request = WriteRequest::new(
        id.clone(),
        Action::Create {
            parent: parent.clone(),
            kind: *kind,
            name: name.clone(),
            config: applied.config,
        },
    )
    .because(format!(
        "Template {} version {} applied",
        template.slug, template.version
    ));
    let chosen = Chosen {
        id: template.slug.clone(),
        template: template.clone(),
    };
    let follow = Follow {
        org,
        node: &id,
        chosen: &chosen,
        application: random::time_ordered_id(author.at),
        defaults: &app.defaults,
        built_in: &built_in,
        expected: None,
    };
    let outcome = app.database.create_org(&request, &follow, &author).await?;
    Ok((outcome, true))
}

fn waits(name: &str, held: &Held) -> String {
    format!(
        "{name} changes {}, which somebody has to approve first",
        held.change_types.join(", ")
    )
}

/// The template that a node follows.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TemplateInUse)]
struct InUse {
    /// `null`: none.
    application: Option<ApplicationView>,
    /// As it is now; `null` when it was deleted since.
    template: Option<View>,
    /// There is a newer version than the one that was applied.
    update_available: bool,
}

/// One use of a template.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TemplateApplication)]
struct ApplicationView {
    application_id: Uuid,
    org_id: String,
    node_id: String,
    template_id: String,
    slug: String,
    template_version: i32,
    /// The node's version that it made.
    node_version: u64,
    #[schema(value_type = String, format = DateTime)]
    applied_at: Timestamp,
    applied_by: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    ended_by: Option<String>,
    /// `replaced` by another template, or `reverted`.
    ended_as: Option<String>,
}

impl From<Application> for ApplicationView {
    fn from(one: Application) -> Self {
        Self {
            application_id: one.id,
            org_id: one.org,
            node_id: one.node,
            template_id: one.template,
            slug: one.slug,
            template_version: one.template_version,
            node_version: one.node_version,
            applied_at: one.applied_at,
            applied_by: one.applied_by,
            ended_at: one.ended_at,
            ended_by: one.ended_by,
            ended_as: one.ended_as,
        }
    }
}

async fn in_use(app: &App, org: &OrgId, node: &NodeId) -> Result<Json<InUse>, Problem> {
    // A node that is not there is 404, not one without a template.
    app.database.node(org, node).await?;
    let Some(application) = app.database.active_template(org, node).await? else {
        return Ok(Json(InUse {
            application: None,
            template: None,
            update_available: false,
        }));
    };
    let usage = app.database.template_usage().await?;
    let template = match app.shipped()?.template(&application.template) {
        Some(found) => Some(View::new(found.slug.clone(), found.clone(), &usage)),
        None => {
            let stored = app.database.template(&application.template).await?;
            stored.map(|stored| View::of_admin(stored, &usage))
        }
    };
    let newest = template.as_ref().map(|template| template.version);
    Ok(Json(InUse {
        update_available: newest.is_some_and(|newest| newest > application.template_version),
        application: Some(application.into()),
        template,
    }))
}

/// What became of taking a template back.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TemplateReverted)]
struct Reverted {
    /// `false` while somebody has to approve it.
    success: bool,
    message: String,
    pending_change_id: Option<Uuid>,
    node_id: String,
    /// Of the node after it.
    version: Option<u64>,
    /// Paths that the template set and that somebody changed since: they stay.
    kept: Vec<String>,
}

async fn take_back(
    app: &App,
    caller: &Caller,
    (org, node): (&OrgId, &NodeId),
    expected: Option<u64>,
) -> Result<Json<Reverted>, Problem> {
    let author = caller.author(app);
    match app
        .database
        .revert_template((org, node), expected, &author)
        .await?
    {
        Left::None => Err(Problem::not_found(
            "no_active_template",
            format!("{node} follows no template; there is nothing to take back"),
        )),
        Left::Held(held) => Ok(Json(Reverted {
            success: false,
            message: waits("taking the template back", &held),
            pending_change_id: Some(held.pending),
            node_id: node.to_string(),
            version: None,
            kept: Vec::new(),
        })),
        Left::Done {
            node,
            application,
            kept,
        } => Ok(Json(Reverted {
            success: true,
            message: format!("{} no longer follows {}", node.id, application.slug),
            pending_change_id: None,
            node_id: node.id.to_string(),
            version: Some(node.version),
            kept,
        })),
    }
}
