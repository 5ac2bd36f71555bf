//! Laying a template over a config, and taking it back. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::merge::Config;

/// Maps of switches in an agent: what is on above stays on unless it is said to be off.
const SWITCHES: [&str; 3] = ["tools", "sub_agents", "mcps"];

/// What a node would set with a template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Applied {
    /// The node's own config.
    pub(crate) config: Config,
    /// Built-in agents that the template does not bring and that are switched off.
    pub(crate) disabled: Vec<String>,
}

/// Lays `template` over a node's `own` config; `above` is what the node inherits.
///
/// * Keys that the template does not have stay as they are, agents of the node's own included.
/// * Built-in agents that the template does not bring are switched off.
/// * Agents of the template replace those of the same name whole: a tool, sub-agent or MCP server
///   that is on above and that the template does not name is switched off, or it would show through.
/// * All other keys of the template replace.
pub(crate) fn apply(
    template: &Config,
    own: &Config,
    above: &Config,
    built_in: &BTreeSet<&str>,
) -> Applied {
    let mut config = own.clone();
    let mut disabled = Vec::new();
    for (key, value) in template {
        if key != "agents" {
            config.insert(key.clone(), value.clone());
        }
    }
    let brought = object(template.get("agents"));
    let inherited = object(above.get("agents"));
    let mut agents = object(own.get("agents")).cloned().unwrap_or_default();
    for name in built_in {
        let is_brought = brought.is_some_and(|brought| brought.contains_key(*name));
        let is_known = inherited.is_some_and(|inherited| inherited.contains_key(*name))
            || agents.contains_key(*name);
        if !is_brought && is_known {
            let agent = agents
                .entry((*name).to_owned())
                .or_insert_with(|| json!({}));
            match agent {
                Value::Object(agent) => {
                    agent.insert("enabled".to_owned(), Value::Bool(false));
                }
                other => *other = json!({"enabled": false}),
            }
            disabled.push((*name).to_owned());
        }
    }
    for (name, agent) in brought.into_iter().flatten() {
        let above = inherited.and_then(|inherited| inherited.get(name));
        agents.insert(name.clone(), whole(agent, above));
    }
    if !agents.is_empty() {
        config.insert("agents".to_owned(), Value::Object(agents));
    }
    Applied { config, disabled }
}

/// The agent, with switches that are on above and not its own switched off.
fn whole(agent: &Value, above: Option<&Value>) -> Value {
    let (Value::Object(agent), Some(above)) = (agent, above) else {
        return agent.clone();
    };
    let mut agent = agent.clone();
    for switches in SWITCHES {
        let Some(inherited) = object(above.get(switches)) else {
            continue;
        };
        let own = agent.entry(switches).or_insert_with(|| json!({}));
        let Value::Object(own) = own else {
            continue;
        };
        for (name, on) in inherited {
            if on != &Value::Bool(false) && !own.contains_key(name) {
                own.insert(name.clone(), Value::Bool(false));
            }
        }
    }
    Value::Object(agent)
}

fn object(value: Option<&Value>) -> Option<&Config> {
    value.and_then(Value::as_object)
}

/// A config without a template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reverted {
    /// The node's own config.
    pub(crate) config: Config,
    /// Paths that the template had set, that were changed since, and that stay as they are now.
    pub(crate) kept: Vec<String>,
}

/// Takes back what changed from `before` to `after`, where `current` still says what `after` says.
pub(crate) fn revert(before: &Config, after: &Config, current: &Config) -> Reverted {
    let mut kept = Vec::new();
    let config = undo("", before, after, current, &mut kept);
    Reverted { config, kept }
}

fn undo(
    path: &str,
    before: &Config,
    after: &Config,
    current: &Config,
    kept: &mut Vec<String>,
) -> Config {
    let nothing = Config::new();
    let keys: BTreeMap<&String, ()> = before
        .keys()
        .chain(current.keys())
        .map(|key| (key, ()))
        .collect();
    let mut result = Config::new();
    for key in keys.into_keys() {
        let (was, set, now) = (before.get(key), after.get(key), current.get(key));
        let path = match path {
            "" => key.clone(),
            path => format!("{path}.{key}"),
        };
        let value = if was == set {
            // Not the template's doing.
            now.cloned()
        } else if now == set {
            was.cloned()
        } else if let (Some(Value::Object(set)), Some(Value::Object(now))) = (set, now) {
            let was = object(was);
            let below = undo(&path, was.unwrap_or(&nothing), set, now, kept);
            // An object that only the template made goes with its last key.
            (was.is_some() || !below.is_empty()).then_some(Value::Object(below))
        } else {
            kept.push(path);
            now.cloned()
        };
        if let Some(value) = value {
            result.insert(key.clone(), value);
        }
    }
    result
}
