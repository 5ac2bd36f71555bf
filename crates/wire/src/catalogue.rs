//! What agents can be made of: tools, models, shipped agents and MCP servers. A data file, so that
//! config checks a name when it is saved, the API lists it, and a worker finds its facts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Reviewed as a data file, shipped inside every binary.
const SHIPPED: &str = include_str!("catalogue.json");

/// Between a model and the date of its snapshot: `gpt-4o-2024-08-06`, `claude-opus-4-1-20250805`.
const SNAPSHOT_SEPARATOR: char = '-';

/// A tool that an agent may be given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// As configs write it.
    pub id: String,
    /// For people.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// For lists: `kubernetes`, `metrics`, …
    pub category: String,
    /// Without these integrations it cannot work.
    pub required_integrations: Vec<String>,
    /// It works better with these.
    pub optional_integrations: Vec<String>,
    /// Whether a worker of this release has it; the others come with MCP servers or later releases.
    pub built_in: bool,
}

/// How a model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Takes a temperature.
    Chat,
    /// Takes reasoning effort and verbosity instead.
    Reasoning,
}

/// A language model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// As configs write it, without a provider.
    pub id: String,
    /// How it is asked.
    pub kind: ModelKind,
    /// Tokens of question and answer together.
    pub context_tokens: u32,
    /// Tokens of one answer.
    pub max_output_tokens: u32,
}

/// An agent that templates and defaults build on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// As configs write it.
    pub id: String,
    /// For people.
    pub name: String,
    /// One sentence.
    pub description: String,
}

/// An MCP server that is known to work, as a starting point for `mcp_servers.<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpServer {
    /// As configs write it.
    pub id: String,
    /// For people.
    pub name: String,
    /// What starts it.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Names of variables that it needs.
    pub env: Vec<String>,
    /// Tools that it offers; empty when that depends on its version.
    pub tools: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tools: Vec<Tool>,
    models: Vec<Model>,
    model_providers: Vec<String>,
    agents: Vec<Agent>,
    mcp_servers: Vec<McpServer>,
}

/// Everything known, by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    /// By id.
    pub tools: BTreeMap<String, Tool>,
    /// By id.
    pub models: BTreeMap<String, Model>,
    /// What may stand before the slash in `openai/gpt-5`.
    pub model_providers: Vec<String>,
    /// By id.
    pub agents: BTreeMap<String, Agent>,
    /// By id.
    pub mcp_servers: BTreeMap<String, McpServer>,
}

impl Catalogue {
    /// The one of this release. Parse it once, at start.
    ///
    /// # Errors
    /// When the shipped file is broken; a test keeps it whole.
    pub fn shipped() -> Result<Self, serde_json::Error> {
        let file: File = serde_json::from_str(SHIPPED)?;
        Ok(Self {
            tools: by(file.tools, |tool| &tool.id),
            models: by(file.models, |model| &model.id),
            model_providers: file.model_providers,
            agents: by(file.agents, |agent| &agent.id),
            mcp_servers: by(file.mcp_servers, |server| &server.id),
        })
    }

    /// The facts of a model: its own name, a dated snapshot of it, either behind a provider.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&Model> {
        let name = name.rsplit_once('/').map_or(name, |(_, model)| model);
        self.models
            .get(name)
            .or_else(|| self.models.get(without_date(name)?))
    }

    /// Whether a config may name this model: one that is known, or any model of a known provider
    /// (`ollama/our-own`), because providers add models more often than we release.
    #[must_use]
    pub fn allows_model(&self, name: &str) -> bool {
        match name.split_once('/') {
            None => self.model(name).is_some(),
            Some((provider, model)) => {
                !model.is_empty() && self.model_providers.iter().any(|known| known == provider)
            }
        }
    }

    /// How a model is asked. One that is not known is judged by its name, as gateways do.
    #[must_use]
    pub fn model_kind(&self, name: &str) -> ModelKind {
        if let Some(model) = self.model(name) {
            return model.kind;
        }
        let name = name.rsplit_once('/').map_or(name, |(_, model)| model);
        if ["o1", "o3", "o4", "gpt-5"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            ModelKind::Reasoning
        } else {
            ModelKind::Chat
        }
    }
}

/// `gpt-4o` of `gpt-4o-2024-08-06` or `gpt-4o-20240806`.
fn without_date(name: &str) -> Option<&str> {
    let digits = |text: &str| text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((model, date)) = name.rsplit_once(SNAPSHOT_SEPARATOR)
        && digits(date)
    {
        return Some(model);
    }
    let cut = name.len().checked_sub("-2024-08-06".len())?;
    let (model, date) = (name.get(..cut)?, name.get(cut..)?);
    let parts: Vec<&str> = date.split(SNAPSHOT_SEPARATOR).collect();
    match parts.as_slice() {
        ["", year, month, day]
            if (year.len(), month.len(), day.len()) == (4, 2, 2)
                && digits(&format!("{year}{month}{day}")) =>
        {
            Some(model)
        }
        _ => None,
    }
}

fn by<T>(items: Vec<T>, id: impl Fn(&T) -> &String) -> BTreeMap<String, T> {
    items
        .into_iter()
        .map(|item| (id(&item).clone(), item))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_is_whole() {
        let file: File = serde_json::from_str(SHIPPED).expect("parses");
        let catalogue = Catalogue::shipped().expect("parses");
        let counts = (
            catalogue.tools.len(),
            catalogue.models.len(),
            catalogue.mcp_servers.len(),
        );
        assert_eq!(
            counts,
            (file.tools.len(), file.models.len(), file.mcp_servers.len()),
            "an id stands twice"
        );
        for tool in catalogue.tools.values() {
            assert!(
                !tool.description.is_empty() && !tool.category.is_empty(),
                "{}",
                tool.id
            );
        }
    }

    #[test]
    fn a_model_is_known_by_name_snapshot_or_provider() {
        let catalogue = Catalogue::shipped().expect("parses");
        for (name, known, allowed) in [
            ("gpt-4o", Some("gpt-4o"), true),
            ("gpt-4o-2024-08-06", Some("gpt-4o"), true),
            ("claude-opus-4-1-20250805", Some("claude-opus-4-1"), true),
            ("openai/gpt-5", Some("gpt-5"), true),
            ("ollama/our-own", None, true),
            ("openrouter/meta/llama", None, true),
            ("gpt-4o-latest-greatest", None, false),
            ("gpt-4o-2024-8-6", None, false),
            ("nobody/gpt-4o", Some("gpt-4o"), false),
            ("openai/", None, false),
            ("", None, false),
        ] {
            let found = catalogue.model(name).map(|model| model.id.as_str());
            assert_eq!(
                (found, catalogue.allows_model(name)),
                (known, allowed),
                "{name}"
            );
        }
        for (name, kind) in [
            ("gpt-5.2", ModelKind::Reasoning),
            ("azure/o3-large", ModelKind::Reasoning),
            ("gpt-4o", ModelKind::Chat),
            ("ollama/our-own", ModelKind::Chat),
        ] {
            assert_eq!(catalogue.model_kind(name), kind, "{name}");
        }
    }
}
