//! What configs can name: tools, agents, models, MCP servers; and what of it a team can use.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tocsin_kit::Problem;
use tocsin_wire::catalogue::{Model, ModelKind, Tool};
use utoipa::ToSchema;

use super::extract::InQuery;
use super::{Access, App, Caller, Routes};
use crate::http::routes::route;
use crate::integrations;
use crate::merge::Config;
use crate::token::Permission;

/// The table of this area.
pub(super) fn routes() -> Routes {
    let read = Access::Team(Permission::ConfigRead);
    Routes::new()
        .add(Access::Public, route!(tools))
        .add(Access::Public, route!(agents))
        .add(read, route!(my_tools))
        .add(read, route!(my_trees))
}

/// A tool that an agent may be given.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ToolMetadata)]
struct ToolView {
    id: String,
    name: String,
    description: String,
    category: String,
    /// Without these it cannot work.
    required_integrations: Vec<String>,
    /// It works better with these.
    optional_integrations: Vec<String>,
    /// Whether workers of this release have it; others come with MCP servers or later releases.
    built_in: bool,
}

impl From<&Tool> for ToolView {
    fn from(tool: &Tool) -> Self {
        Self {
            id: tool.id.clone(),
            name: tool.name.clone(),
            description: tool.description.clone(),
            category: tool.category.clone(),
            required_integrations: tool.required_integrations.clone(),
            optional_integrations: tool.optional_integrations.clone(),
            built_in: tool.built_in,
        }
    }
}

/// Which tools.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ToolFilter {
    /// Only these.
    category: Option<String>,
}

/// Tools.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ToolList)]
struct Tools {
    tools: Vec<ToolView>,
    total: usize,
}

/// Tools that agents can be given
#[utoipa::path(get, path = "/api/v1/tools/metadata", operation_id = "tool_list", tag = "catalogue",
    params(ToolFilter),
    responses((status = 200, description = "By id.", body = Tools)))]
async fn tools(State(app): State<Arc<App>>, InQuery(filter): InQuery<ToolFilter>) -> Json<Tools> {
    let tools = app.database.standards().catalogue.tools.values();
    let wanted = tools.filter(|tool| {
        filter
            .category
            .as_ref()
            .is_none_or(|only| &tool.category == only)
    });
    let tools: Vec<ToolView> = wanted.map(ToolView::from).collect();
    Json(Tools {
        total: tools.len(),
        tools,
    })
}

/// A model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelMetadata)]
struct ModelView {
    id: String,
    /// `chat` takes a temperature, `reasoning` an effort and a verbosity.
    kind: &'static str,
    context_tokens: u32,
    max_output_tokens: u32,
}

impl From<&Model> for ModelView {
    fn from(model: &Model) -> Self {
        Self {
            id: model.id.clone(),
            kind: match model.kind {
                ModelKind::Chat => "chat",
                ModelKind::Reasoning => "reasoning",
            },
            context_tokens: model.context_tokens,
            max_output_tokens: model.max_output_tokens,
        }
    }
}

/// An agent that templates and defaults build on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AgentMetadata)]
struct AgentView {
    id: String,
    name: String,
    description: String,
}

/// An MCP server that is known to work.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = McpServerMetadata)]
struct McpServerView {
    id: String,
    name: String,
    command: String,
    args: Vec<String>,
    /// Names of variables that it needs.
    env: Vec<String>,
    /// Empty when that depends on its version.
    tools: Vec<String>,
}

/// What an agent can be made of, besides tools.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AgentCatalogue)]
struct Agents {
    agents: Vec<AgentView>,
    models: Vec<ModelView>,
    /// Any model behind one of these is allowed: `ollama/our-own`.
    model_providers: Vec<String>,
    mcp_servers: Vec<McpServerView>,
}

/// Agents, models and MCP servers that configs can name
#[utoipa::path(get, path = "/api/v1/agents/metadata", operation_id = "agent_list", tag = "catalogue",
    responses((status = 200, description = "By id.", body = Agents)))]
async fn agents(State(app): State<Arc<App>>) -> Json<Agents> {
    let catalogue = &app.database.standards().catalogue;
    let agents = catalogue.agents.values().map(|agent| AgentView {
        id: agent.id.clone(),
        name: agent.name.clone(),
        description: agent.description.clone(),
    });
    let servers = catalogue.mcp_servers.values().map(|server| McpServerView {
        id: server.id.clone(),
        name: server.name.clone(),
        command: server.command.clone(),
        args: server.args.clone(),
        env: server.env.clone(),
        tools: server.tools.clone(),
    });
    Json(Agents {
        agents: agents.collect(),
        models: catalogue.models.values().map(ModelView::from).collect(),
        model_providers: catalogue.model_providers.clone(),
        mcp_servers: servers.collect(),
    })
}

/// A tool as a team has it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TeamTool)]
struct TeamTool {
    #[serde(flatten)]
    tool: ToolView,
    /// Agents of the team that are on and have it.
    agents: Vec<String>,
    /// Required integrations that are not set up.
    missing_integrations: Vec<String>,
    /// An agent has it, nothing forbids it, and nothing is missing.
    usable: bool,
}

/// Tools as a team has them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TeamTools)]
struct TeamTools {
    tools: Vec<TeamTool>,
    total: usize,
}

/// Which tools my team can use
#[utoipa::path(get, path = "/api/v1/team/tools/catalog", operation_id = "my_tools", tag = "catalogue",
    responses((status = 200, description = "By id.", body = TeamTools)))]
async fn my_tools(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<TeamTools>, Problem> {
    let (org, team) = caller.team()?;
    let line = app.database.lineage(&org, &team).await?;
    let effective = line.effective(&app.defaults);
    let owners = owners(&effective);
    let is_off = |tool: &str| {
        let switch = effective.get("tools").and_then(|tools| tools.get(tool));
        switch.is_some_and(|switch| {
            switch == &Value::Bool(false) || switch.get("enabled") == Some(&Value::Bool(false))
        })
    };
    let integrations = &app.shipped()?.integrations;
    let catalogue = &app.database.standards().catalogue;
    let tools = catalogue.tools.values().map(|tool| {
        let missing = tool.required_integrations.iter().filter(|id| {
            let integration = integrations.get(*id);
            let values = integrations::values(&effective, id);
            values.is_empty() || integration.is_some_and(|known| !known.missing(&values).is_empty())
        });
        let missing_integrations: Vec<String> = missing.cloned().collect();
        let mut agents = owners.get(&tool.id).cloned().unwrap_or_default();
        agents.extend(owners.get("*").into_iter().flatten().cloned());
        agents.sort_unstable();
        agents.dedup();
        TeamTool {
            usable: !agents.is_empty() && missing_integrations.is_empty() && !is_off(&tool.id),
            agents,
            missing_integrations,
            tool: ToolView::from(tool),
        }
    });
    let tools: Vec<TeamTool> = tools.collect();
    Ok(Json(TeamTools {
        total: tools.len(),
        tools,
    }))
}

/// Tool → agents that are on and have it.
fn owners(effective: &Config) -> BTreeMap<String, Vec<String>> {
    let mut owners: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let agents = effective.get("agents").and_then(Value::as_object);
    for (name, agent) in agents.into_iter().flatten() {
        if agent.get("enabled") == Some(&Value::Bool(false)) {
            continue;
        }
        let tools = agent.get("tools").and_then(Value::as_object);
        for (tool, on) in tools.into_iter().flatten() {
            if on == &Value::Bool(true) {
                owners.entry(tool.clone()).or_default().push(name.clone());
            }
        }
    }
    owners
}

/// A knowledge tree that counts for a team.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EffectiveTree)]
struct Tree {
    tree_name: String,
    /// `org`, `unit` or `team`: of the node that names it.
    level: &'static str,
    node_name: String,
    node_id: String,
    inherited: bool,
}

/// Knowledge trees that count for a team.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EffectiveTrees)]
struct Trees {
    /// The team's own first, the org's last.
    trees: Vec<Tree>,
    team_node_id: String,
}

/// Knowledge trees that count for my team
#[utoipa::path(get, path = "/api/v1/config/me/effective-trees", operation_id = "my_effective_trees", tag = "me",
    responses((status = 200, description = "The team's own first.", body = Trees)))]
async fn my_trees(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Trees>, Problem> {
    let (org, team) = caller.team()?;
    let line = app.database.lineage(&org, &team).await?;
    let trees = line.0.iter().rev().filter_map(|node| {
        let name = node.config.get("knowledge_tree")?.as_str()?.trim();
        (!name.is_empty()).then(|| Tree {
            tree_name: name.to_owned(),
            level: node.kind.as_str(),
            node_name: node.name.clone(),
            node_id: node.id.to_string(),
            inherited: node.id != team,
        })
    });
    Ok(Json(Trees {
        trees: trees.collect(),
        team_node_id: team.to_string(),
    }))
}
