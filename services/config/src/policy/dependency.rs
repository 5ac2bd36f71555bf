//! What a config needs to hang together: nothing that is used is switched off, and every name leads
//! somewhere. Judged on what holds at a node. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::path::Path;
use super::violation::{Rule, Violation};
use crate::merge::Config;

/// All faults of an effective config.
pub(crate) fn faults(effective: &Config) -> Vec<Violation> {
    let agents = Agents::read(effective);
    let mut found = Vec::new();
    disabled_integrations(effective, &mut found);
    disabled_tools(effective, &agents, &mut found);
    disabled_agents(&agents, &mut found);
    servers(effective, &agents, &mut found);
    entrance(effective, &agents, &mut found);
    cycles(&agents, &mut found);
    found
}

/// The enabled agents that start investigations: they call others, and none calls them.
pub(crate) fn entrances(effective: &Config) -> Vec<&str> {
    let agents = Agents::read(effective);
    let called: BTreeSet<&str> = agents
        .enabled()
        .flat_map(|(_, agent)| on(agent, "sub_agents"))
        .collect();
    agents
        .enabled()
        .filter(|(id, agent)| on(agent, "sub_agents").next().is_some() && !called.contains(id))
        .map(|(id, _)| id)
        .collect()
}

struct Agents<'a>(BTreeMap<&'a str, &'a Map<String, Value>>);

impl<'a> Agents<'a> {
    fn read(effective: &'a Config) -> Self {
        Self(objects(effective, "agents").collect())
    }

    fn enabled(&self) -> impl Iterator<Item = (&'a str, &'a Map<String, Value>)> + '_ {
        self.0
            .iter()
            .filter(|(_, agent)| is_enabled(agent))
            .map(|(id, agent)| (*id, *agent))
    }

    /// Paths of the enabled agents' switches that are on for this name.
    fn using(&self, switches: &str, name: &str) -> Vec<String> {
        self.enabled()
            .filter(|(_, agent)| on(agent, switches).any(|used| used == name))
            .map(|(id, _)| Path::of(["agents", id, switches, name]).to_string())
            .collect()
    }
}

/// The objects under a top-level key; what is `null` is not there.
fn objects<'a>(
    effective: &'a Config,
    key: &str,
) -> impl Iterator<Item = (&'a str, &'a Map<String, Value>)> {
    effective
        .get(key)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(id, value)| Some((id.as_str(), value.as_object()?)))
}

/// What does not say otherwise is enabled.
pub(super) fn is_enabled(object: &Map<String, Value>) -> bool {
    object.get("enabled") != Some(&Value::Bool(false))
}

fn on<'a>(agent: &'a Map<String, Value>, switches: &str) -> impl Iterator<Item = &'a str> {
    let switches = agent.get(switches).and_then(Value::as_object);
    switches
        .into_iter()
        .flatten()
        .filter(|(_, value)| value.as_bool() == Some(true))
        .map(|(name, _)| name.as_str())
}

fn needed(path: &Path, what: &str, dependents: Vec<String>, found: &mut Vec<Violation>) {
    if dependents.is_empty() {
        return;
    }
    let message = format!(
        "{path} cannot be false: {what} is used by {}; switch those off first",
        dependents.join(", ")
    );
    let mut violation = Violation::saying(
        Rule::DependencyValidationFailed,
        path,
        "true while something uses it",
        message,
    );
    violation.actual = Some("false".to_owned());
    violation.dependents = dependents;
    found.push(violation);
}

/// Rule 1: an integration that an enabled tool requires.
fn disabled_integrations(effective: &Config, found: &mut Vec<Violation>) {
    for (id, integration) in objects(effective, "integrations") {
        if is_enabled(integration) {
            continue;
        }
        let dependents = objects(effective, "tools")
            .filter(|(_, tool)| {
                is_enabled(tool)
                    && tool.get("requires_integration").and_then(Value::as_str) == Some(id)
            })
            .map(|(tool, _)| Path::of(["tools", tool]).to_string())
            .collect();
        let path = Path::of(["integrations", id, "enabled"]);
        needed(&path, &format!("integration {id}"), dependents, found);
    }
}

/// Rule 2: a tool that an enabled agent has, by its name or by `*`. `tools.T: false` is no fault: that
/// is how a team takes a tool from all its agents.
fn disabled_tools(effective: &Config, agents: &Agents<'_>, found: &mut Vec<Violation>) {
    for (id, tool) in objects(effective, "tools") {
        if is_enabled(tool) {
            continue;
        }
        let mut dependents = agents.using("tools", id);
        dependents.extend(agents.using("tools", "*"));
        let path = Path::of(["tools", id, "enabled"]);
        needed(&path, &format!("tool {id}"), dependents, found);
    }
}

/// Rules 3 and 8: an agent that an enabled agent calls; and that calls one which is not there.
fn disabled_agents(agents: &Agents<'_>, found: &mut Vec<Violation>) {
    for (id, agent) in &agents.0 {
        if !is_enabled(agent) {
            let path = Path::of(["agents", id, "enabled"]);
            needed(
                &path,
                &format!("agent {id}"),
                agents.using("sub_agents", id),
                found,
            );
        }
    }
    for (id, agent) in agents.enabled() {
        for called in on(agent, "sub_agents").filter(|called| !agents.0.contains_key(called)) {
            let path = Path::of(["agents", id, "sub_agents", called]);
            found.push(unknown(
                Rule::UnknownAgent,
                &path,
                "an agent of this node",
                called,
                agents.0.keys().copied(),
            ));
        }
    }
}

/// Rules 4, 5 and 6: an MCP server that an enabled agent uses, its tools, and servers that are not there.
fn servers(effective: &Config, agents: &Agents<'_>, found: &mut Vec<Violation>) {
    let servers: BTreeMap<&str, &Map<String, Value>> = objects(effective, "mcp_servers").collect();
    for (id, server) in &servers {
        if !is_enabled(server) {
            let path = Path::of(["mcp_servers", id, "enabled"]);
            needed(
                &path,
                &format!("MCP server {id}"),
                agents.using("mcps", id),
                found,
            );
        }
        unknown_server_tools(id, server, found);
    }
    for (id, agent) in &agents.0 {
        let named = agent.get("mcps").and_then(Value::as_object);
        for (server, _) in named.into_iter().flatten() {
            if !servers.contains_key(server.as_str()) {
                let path = Path::of(["agents", id, "mcps", server]);
                let known = servers.keys().copied();
                found.push(unknown(
                    Rule::UnknownMcpServer,
                    &path,
                    "a server of mcp_servers",
                    server,
                    known,
                ));
            }
        }
    }
}

fn unknown_server_tools(id: &str, server: &Map<String, Value>, found: &mut Vec<Violation>) {
    let offered: BTreeSet<&str> = server_tools(server).collect();
    let enabled = server.get("enabled_tools").and_then(Value::as_array);
    if offered.is_empty() {
        return;
    }
    for tool in enabled.into_iter().flatten().filter_map(Value::as_str) {
        if tool != "*" && !offered.contains(tool) {
            let path = Path::of(["mcp_servers", id, "enabled_tools"]);
            let known = offered.iter().copied();
            found.push(unknown(
                Rule::UnknownTool,
                &path,
                "a tool of this server",
                tool,
                known,
            ));
        }
    }
}

/// Names that a server offers, where they are known: texts, or objects with a name.
pub(super) fn server_tools(server: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let tools = server.get("tools").and_then(Value::as_array);
    tools
        .into_iter()
        .flatten()
        .filter_map(|tool| tool.as_str().or_else(|| tool.get("name")?.as_str()))
}

/// Rule 7: the agent that gets the events.
fn entrance(effective: &Config, agents: &Agents<'_>, found: &mut Vec<Violation>) {
    let Some(entrance) = effective.get("entrance_agent").and_then(Value::as_str) else {
        return;
    };
    let path = Path::of(["entrance_agent"]);
    match agents.0.get(entrance) {
        None => found.push(unknown(
            Rule::UnknownAgent,
            &path,
            "an agent of this node",
            entrance,
            agents.0.keys().copied(),
        )),
        Some(agent) if !is_enabled(agent) => {
            let path = Path::of(["agents", entrance, "enabled"]);
            needed(
                &path,
                &format!("agent {entrance}"),
                vec!["entrance_agent".to_owned()],
                found,
            );
        }
        Some(_) => {}
    }
}

/// An agent that would call itself, through whomever: its run would never end.
fn cycles(agents: &Agents<'_>, found: &mut Vec<Violation>) {
    for (id, agent) in agents.enabled() {
        for called in on(agent, "sub_agents") {
            if reaches(agents, called, id) {
                let path = Path::of(["agents", id, "sub_agents", called]);
                let message =
                    format!("{path} cannot be true: {called} calls {id}, itself or through others");
                found.push(Violation::saying(
                    Rule::AgentCycle,
                    &path,
                    "an agent that does not call back",
                    message,
                ));
            }
        }
    }
}

fn reaches(agents: &Agents<'_>, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(id) = open.pop() {
        if id == to {
            return true;
        }
        if let Some(agent) = agents.0.get(id).filter(|agent| is_enabled(agent))
            && seen.insert(id)
        {
            open.extend(on(agent, "sub_agents"));
        }
    }
    false
}

/// A name that leads nowhere, with the one that may have been meant.
pub(super) fn unknown<'a>(
    rule: Rule,
    path: &Path,
    expected: &str,
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> Violation {
    let meant = crate::schema::nearest(name, known).map(str::to_owned);
    let question = match &meant {
        Some(meant) => format!("; did you mean {meant}?"),
        None => String::new(),
    };
    let shown: String = name.chars().take(128).collect();
    let message = format!("{path}: {shown:?} is not {expected}{question}");
    let mut violation = Violation::saying(rule, path, expected, message);
    violation.actual = Some(shown);
    violation.suggestion = meant;
    violation
}
