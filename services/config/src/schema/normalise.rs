//! Older shapes of configs, brought to the canonical one. Pure and idempotent.
//!
//! | Read | Kept as |
//! |---|---|
//! | `tools: {enabled: [a], disabled: [b]}`, `tools: [a]` (top level, or of an agent) | `{a: true, b: false}` |
//! | `sub_agents: [a]`, `mcps: [a]` | `{a: true}` |
//! | `prompt: "text"` | `{system: "text"}` |
//! | `model: "name"` | `{name: "name"}` |
//! | `integrations.x.config: {…}`, `.config_values: {…}` | its fields directly under `integrations.x`; fields that stand there already win |
//!
//! A list says what is on and nothing about the rest: what a node above switched on stays on.

use serde_json::{Map, Value};

use crate::merge::{Config, INHERIT};

/// Where older clients put an integration's values.
const NESTS: [&str; 2] = ["config", "config_values"];

/// The config (or patch) in the canonical shape. What is of no known shape stays as it is, for the
/// schema to refuse.
pub(crate) fn normalised(config: Config) -> Config {
    config
        .into_iter()
        .map(|(key, value)| {
            let value = match key.as_str() {
                "agents" => each(value, agent),
                "tools" => switches(value),
                "integrations" => each(value, integration),
                _ => value,
            };
            (key, value)
        })
        .collect()
}

fn each(value: Value, change: impl Fn(Map<String, Value>) -> Map<String, Value>) -> Value {
    let Value::Object(entries) = value else {
        return value;
    };
    let changed = entries.into_iter().map(|(key, entry)| match entry {
        Value::Object(entry) => (key, Value::Object(change(entry))),
        other => (key, other),
    });
    Value::Object(changed.collect())
}

fn agent(agent: Map<String, Value>) -> Map<String, Value> {
    agent
        .into_iter()
        .map(|(key, value)| {
            let value = match key.as_str() {
                "model" => wrapped(value, "name"),
                "prompt" => wrapped(value, "system"),
                "tools" | "sub_agents" | "mcps" => switches(value),
                _ => value,
            };
            (key, value)
        })
        .collect()
}

/// A plain text as the object that holds it.
fn wrapped(value: Value, field: &str) -> Value {
    match value {
        // Drops the whole object: no text.
        Value::String(text) if text == INHERIT => Value::String(text),
        Value::String(text) => Value::Object(
            [(field.to_owned(), Value::String(text))]
                .into_iter()
                .collect(),
        ),
        other => other,
    }
}

fn switches(value: Value) -> Value {
    match value {
        Value::Array(names) => match all_on(&names, true) {
            Some(on) => Value::Object(on),
            None => Value::Array(names),
        },
        Value::Object(object) => Value::Object(switch_lists(object)),
        other => other,
    }
}

/// `enabled` and `disabled` are lists in the older shape; a tool of such a name is no list.
fn switch_lists(mut object: Map<String, Value>) -> Map<String, Value> {
    for (list, on) in [("enabled", true), ("disabled", false)] {
        let switched = match object.get(list) {
            Some(Value::Array(names)) => all_on(names, on),
            _ => None,
        };
        if let Some(switched) = switched {
            object.remove(list);
            for (name, value) in switched {
                object.insert(name, value);
            }
        }
    }
    object
}

/// `None` when something else than names is in the list.
fn all_on(names: &[Value], on: bool) -> Option<Map<String, Value>> {
    names
        .iter()
        .map(|name| Some((name.as_str()?.to_owned(), Value::Bool(on))))
        .collect()
}

fn integration(mut integration: Map<String, Value>) -> Map<String, Value> {
    // As often as something is nested: the result holds no nest, so that a second pass finds nothing.
    while let Some((nest, fields)) = nested(&integration) {
        integration.remove(nest);
        for (field, value) in fields {
            integration.entry(field).or_insert(value);
        }
    }
    integration
}

fn nested(integration: &Map<String, Value>) -> Option<(&'static str, Map<String, Value>)> {
    NESTS.into_iter().find_map(|nest| {
        let fields = integration.get(nest)?.as_object()?;
        Some((nest, fields.clone()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn normal(config: Value) -> Value {
        match config {
            Value::Object(config) => Value::Object(normalised(config)),
            other => other,
        }
    }

    #[test]
    fn older_shapes_become_the_canonical_one() {
        for (older, canonical) in [
            (
                json!({"tools":{"enabled":["think"],"disabled":["http_get"]}}),
                json!({"tools":{"think":true,"http_get":false}}),
            ),
            (json!({"tools":["think"]}), json!({"tools":{"think":true}})),
            (
                json!({"agents":{"a":{"sub_agents":["b","c"],"mcps":["m"],"tools":{"enabled":["t"]}}}}),
                json!({"agents":{"a":{"sub_agents":{"b":true,"c":true},"mcps":{"m":true},"tools":{"t":true}}}}),
            ),
            (
                json!({"agents":{"a":{"prompt":"Be brief.","model":"gpt-4o"}}}),
                json!({"agents":{"a":{"prompt":{"system":"Be brief."},"model":{"name":"gpt-4o"}}}}),
            ),
            (
                json!({"integrations":{"slack":{"bot_token":"flat","config":{"bot_token":"nested","app_id":"A1"}}}}),
                json!({"integrations":{"slack":{"bot_token":"flat","app_id":"A1"}}}),
            ),
            (
                json!({"integrations":{"slack":{"config":{"config_values":{"app_id":"A1"}}}}}),
                json!({"integrations":{"slack":{"app_id":"A1"}}}),
            ),
        ] {
            assert_eq!(normal(older.clone()), canonical, "{older}");
        }
    }

    #[test]
    fn what_is_no_older_shape_stays() {
        for config in [
            json!({"agents":{"a":{"prompt":INHERIT,"model":INHERIT,"tools":INHERIT}}}),
            json!({"tools":{"enabled":true,"disabled":{"allow":[]}}}),
            json!({"tools":{"enabled":[1]}}),
            json!({"agents":{"a":{"sub_agents":[1]}}}),
            json!({"agents":5,"tools":null,"integrations":{"slack":{"config":"text"}}}),
            json!({"mcp_servers":{"m":{"config_values":{"K":"v"}}}}),
        ] {
            assert_eq!(normal(config.clone()), config);
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (0..9).prop_map(|number| json!(number)),
            "[a-c]{1,2}".prop_map(Value::String),
            Just(json!(INHERIT)),
        ];
        leaf.prop_recursive(5, 40, 4, |inner| {
            let key = prop_oneof![
                "[ab]",
                Just("enabled".to_owned()),
                Just("disabled".to_owned()),
                Just("config".to_owned()),
                Just("config_values".to_owned()),
                Just("tools".to_owned()),
                Just("prompt".to_owned()),
                Just("model".to_owned()),
                Just("sub_agents".to_owned()),
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                prop::collection::btree_map(key, inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_second_time_changes_nothing(agents in value(), tools in value(), integrations in value()) {
            let once = normal(json!({"agents":{"a":agents},"tools":tools,"integrations":{"i":integrations}}));
            prop_assert_eq!(normal(once.clone()), once);
        }
    }
}
