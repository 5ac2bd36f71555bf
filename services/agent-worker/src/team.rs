//! What a team configured for its agent: read from the effective config, with our defaults beneath.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use tocsin_bus::SecretReader;

use crate::credential::{Credential, Owner, Written};

/// The agent that runs when the team names none.
const DEFAULT_AGENT: &str = "planner";
const DEFAULT_MAX_TOKENS: u32 = 8_000;
const DEFAULT_TEMPERATURE: f64 = 0.3;

/// Used when the team wrote no prompt of its own.
const BUILT_IN_PROMPT: &str = include_str!("team/investigator.md");
/// Added to every prompt: how an answer is read, and what must not be obeyed.
const RULES: &str = include_str!("team/rules.md");

/// The settings of one agent.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentConfig {
    /// `None`: the worker's own.
    pub model: Option<String>,
    pub temperature: f64,
    pub max_tokens: u32,
    pub reasoning: Option<String>,
    pub verbosity: Option<String>,
    /// The whole system prompt.
    pub system_prompt: String,
    /// `None`: the worker's own.
    pub max_turns: Option<u32>,
    /// Agent-level switches; empty: every tool.
    tools: BTreeMap<String, bool>,
    /// Team-level switches; only `false` matters.
    team_tools: BTreeMap<String, bool>,
    /// The team's own Prometheus: reached through the SSRF guard.
    pub prometheus_url: Option<String>,
    /// Hosts that `http_get` may reach for this team, besides the operator's.
    pub http_allow: Vec<String>,
    /// The team's own Slack app, instead of the operator's.
    pub slack_token: Option<Written>,
    /// The team's own account with the model's endpoint, instead of the operator's.
    pub model_key: Option<Written>,
    /// Shown to the team's Prometheus.
    pub prometheus_token: Option<Written>,
    /// Whose secrets its references may name.
    pub owner: Option<Arc<Owner>>,
    /// Of the config it was read from; empty for the built-in defaults.
    pub version: String,
}

impl AgentConfig {
    /// Reads `agents.<agent>`; an agent that is not configured gets the defaults. `agent` empty means
    /// the team's `entrance_agent`.
    pub fn read(effective: &Value, version: &str, agent: &str) -> Self {
        let entrance = text(effective.get("entrance_agent"));
        let agent = match (agent, &entrance) {
            ("", Some(entrance)) => entrance.as_str(),
            ("", None) => DEFAULT_AGENT,
            (named, _) => named,
        };
        let config = effective.pointer("/agents").and_then(|all| all.get(agent));
        let field = |path: &str| config.and_then(|config| config.pointer(path));
        let number = |path: &str| field(path).and_then(Value::as_u64);
        // Older configs write model and prompt as plain strings.
        let model = text(field("/model/name")).or_else(|| text(field("/model")));
        let allow = effective.pointer("/tools/http_get/allow");
        let prometheus = integration(effective, "prometheus", &["url"]);
        let secret =
            |name: &str, fields: &[&str]| integration(effective, name, fields).map(Written::new);
        Self {
            model,
            temperature: field("/model/temperature")
                .and_then(Value::as_f64)
                .unwrap_or(DEFAULT_TEMPERATURE)
                .clamp(0.0, 2.0),
            max_tokens: number("/model/max_tokens")
                .and_then(|tokens| u32::try_from(tokens).ok())
                .filter(|tokens| *tokens > 0)
                .unwrap_or(DEFAULT_MAX_TOKENS),
            reasoning: text(field("/model/reasoning")),
            verbosity: text(field("/model/verbosity")),
            system_prompt: system_prompt(config),
            max_turns: number("/max_turns")
                .and_then(|turns| u32::try_from(turns).ok())
                .map(|turns| turns.clamp(1, 100)),
            tools: switches(field("/tools")),
            team_tools: switches(effective.get("tools")),
            prometheus_url: prometheus,
            http_allow: strings(allow),
            slack_token: secret("slack", &["bot_token"]),
            model_key: secret("openai", &["api_key"]),
            prometheus_token: secret("prometheus", &["bearer_token", "token", "api_key"]),
            owner: None,
            version: version.to_owned(),
        }
    }

    /// The same, for a team whose secrets it may use.
    #[must_use]
    pub fn of(mut self, owner: Owner) -> Self {
        self.owner = Some(Arc::new(owner));
        self
    }

    /// Built-in defaults, for a team without config.
    pub fn built_in() -> Self {
        Self::read(&Value::Null, "", "")
    }

    /// What a text of the config stands for, at each use.
    pub fn credential(
        &self,
        written: &Option<Written>,
        secrets: Option<&SecretReader>,
    ) -> Option<Credential> {
        let (written, owner) = (written.as_ref()?, self.owner.as_ref()?);
        Some(Credential::Team {
            written: written.clone(),
            owner: Arc::clone(owner),
            secrets: secrets.cloned(),
        })
    }

    /// A tool is offered when the agent has it and the team has not switched it off.
    pub fn offers(&self, tool: &str) -> bool {
        let of_agent = self.tools.is_empty() || self.tools.get(tool) == Some(&true);
        of_agent && self.team_tools.get(tool) != Some(&false)
    }
}

/// A field of an integration: directly under it, or nested as older configs have it.
fn integration(effective: &Value, name: &str, fields: &[&str]) -> Option<String> {
    let integration = effective.pointer("/integrations")?.get(name)?;
    let places = ["", "/config", "/config_values"];
    fields.iter().find_map(|field| {
        let mut places = places.iter();
        places.find_map(|place| text(integration.pointer(&format!("{place}/{field}"))))
    })
}

fn system_prompt(config: Option<&Value>) -> String {
    let field = |path: &str| text(config.and_then(|config| config.pointer(path)));
    let system = field("/prompt/system").or_else(|| field("/prompt"));
    let parts = [
        field("/prompt/prefix"),
        Some(system.unwrap_or_else(|| BUILT_IN_PROMPT.trim().to_owned())),
        field("/prompt/suffix"),
        Some(RULES.trim().to_owned()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join("\n\n")
}

/// A string with something in it.
fn text(value: Option<&Value>) -> Option<String> {
    let text = value?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array);
    let texts = items.into_iter().flatten().filter_map(Value::as_str);
    texts.map(|text| text.trim().to_ascii_lowercase()).collect()
}

/// `{"tool": true}`, also in the older form `{"enabled": […], "disabled": […]}`. A tool may be an object
/// with settings; then `enabled` counts.
fn switches(value: Option<&Value>) -> BTreeMap<String, bool> {
    let Some(object) = value.and_then(Value::as_object) else {
        return BTreeMap::new();
    };
    let mut switches = BTreeMap::new();
    for (name, value) in object {
        match value {
            Value::Bool(on) => {
                switches.insert(name.clone(), *on);
            }
            Value::Array(tools) if name == "enabled" || name == "disabled" => {
                let tools = tools.iter().filter_map(Value::as_str);
                switches.extend(tools.map(|tool| (tool.to_owned(), name == "enabled")));
            }
            Value::Object(settings) => {
                if let Some(on) = settings.get("enabled").and_then(Value::as_bool) {
                    switches.insert(name.clone(), on);
                }
            }
            _ => {}
        }
    }
    switches
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tool_needs_the_agent_and_must_not_be_off_for_the_team() {
        let config = |agent: Value, team: Value| {
            let effective = json!({"agents": {"planner": {"tools": agent}}, "tools": team});
            AgentConfig::read(&effective, "1", "planner").offers("http_get")
        };
        for (agent, team, offered) in [
            (json!({}), json!({}), true),
            (json!({"http_get": true}), json!({}), true),
            (json!({"http_get": false}), json!({}), false),
            (json!({"read_event": true}), json!({}), false),
            (json!({"http_get": true}), json!({"http_get": false}), false),
            (
                json!({"http_get": true}),
                json!({"http_get": {"allow": ["x"]}}),
                true,
            ),
            (json!({"enabled": ["http_get"]}), json!({}), true),
            (json!({}), json!({"disabled": ["http_get"]}), false),
        ] {
            assert_eq!(
                config(agent.clone(), team.clone()),
                offered,
                "{agent} {team}"
            );
        }
    }

    #[test]
    fn settings_are_read_with_defaults_beneath() {
        let effective = json!({
            "entrance_agent": "sre",
            "agents": {"sre": {
                "model": {"name": "gpt-5", "temperature": 9, "max_tokens": 100, "reasoning": "low"},
                "prompt": {"system": "You are Ada.", "prefix": "Hello."}, "max_turns": 500}},
            "integrations": {"prometheus": {"config": {"url": "https://prom.acme.io"}}},
            "tools": {"http_get": {"allow": ["Status.acme.io"]}},
        });
        let config = AgentConfig::read(&effective, "7", "");
        assert_eq!(config.model.as_deref(), Some("gpt-5"));
        assert_eq!(
            (config.temperature, config.max_tokens, config.max_turns),
            (2.0, 100, Some(100))
        );
        assert!(
            config
                .system_prompt
                .starts_with("Hello.\n\nYou are Ada.\n\n")
        );
        assert_eq!(
            config.prometheus_url.as_deref(),
            Some("https://prom.acme.io")
        );
        assert_eq!(config.http_allow, ["status.acme.io"]);

        let legacy = json!({"agents": {"planner": {"model": "gpt-4o", "prompt": "Short."}}});
        let config = AgentConfig::read(&legacy, "7", "");
        assert_eq!(config.model.as_deref(), Some("gpt-4o"));
        assert!(config.system_prompt.starts_with("Short.\n"));
        assert!(AgentConfig::built_in().system_prompt.contains("root_cause"));
    }
}
