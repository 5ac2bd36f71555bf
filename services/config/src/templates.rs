//! Templates: agents for a purpose, to be laid over a node's own config, seen before and taken back
//! after. Pure.
//!
//! The program ships ten; they are data files, read-only, and newer with each release. Admins add
//! their own. A node follows at most one template at a time.

mod apply;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::merge::Config;

pub(crate) use apply::{Applied, apply, revert};

/// The template that every new org starts with.
pub(crate) const OF_NEW_ORGS: &str = "slack-incident-triage";

/// Longest template; well below what a node's config may hold.
pub(crate) const MAX_TEMPLATE_BYTES: usize = 64 * 1024;

/// What a template must not set: each belongs to one node and cannot be handed out.
const RESERVED: [(&str, &str); 3] = [
    ("routing", "identifiers belong to one team"),
    ("team_name", "a team's name is its own"),
    (
        "integrations",
        "applying would replace the credentials that are there",
    ),
];

/// Reviewed as data files, shipped inside the binary; prompts are lists of lines there.
const SHIPPED: [&str; 10] = [
    include_str!("templates/slack-incident-triage.json"),
    include_str!("templates/git-ci-auto-fix.json"),
    include_str!("templates/aws-cost.json"),
    include_str!("templates/coding-assistant.json"),
    include_str!("templates/data-migration.json"),
    include_str!("templates/news-comedian.json"),
    include_str!("templates/alert-fatigue.json"),
    include_str!("templates/dr-validator.json"),
    include_str!("templates/postmortem.json"),
    include_str!("templates/universal-telemetry.json"),
];

/// One template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Template {
    /// Names it in paths; unique.
    pub(crate) slug: String,
    /// For people.
    pub(crate) name: String,
    /// One sentence.
    pub(crate) description: String,
    /// For lists: `incident_response`, `cost`, …
    pub(crate) category: String,
    /// One more with each change of it.
    pub(crate) version: i32,
    /// MCP servers that a team needs for it.
    pub(crate) required_mcps: Vec<String>,
    /// Tools without which it is of no use.
    pub(crate) required_tools: Vec<String>,
    /// What it sets.
    pub(crate) template: Config,
}

/// The ten of this release, by slug in the order of the list above. Parse them once, at start.
///
/// # Errors
/// When a shipped file is broken; a test keeps them whole.
pub(crate) fn shipped() -> Result<Vec<Template>, serde_json::Error> {
    SHIPPED
        .iter()
        .map(|text| {
            let mut template: Template = serde_json::from_str(text)?;
            join_prompts(&mut template.template);
            Ok(template)
        })
        .collect()
}

/// A list of lines is one text.
fn join_prompts(template: &mut Config) {
    let agents = template.get_mut("agents").and_then(Value::as_object_mut);
    for agent in agents.into_iter().flat_map(|agents| agents.values_mut()) {
        if let Some(system) = agent.pointer_mut("/prompt/system")
            && let Value::Array(lines) = system
        {
            let lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
            *system = Value::String(lines.join("\n"));
        }
    }
}

/// A template cannot be kept as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidTemplate {
    /// See [`RESERVED`].
    #[error("template_json must not set {key}: {why}")]
    Reserved {
        key: &'static str,
        why: &'static str,
    },
    /// Something else is there than a map of agents.
    #[error("template_json.agents must be an object with an object per agent")]
    Agents,
    /// It names an agent that it does not bring.
    #[error("template_json.entrance_agent must name one of its agents that is not disabled")]
    Entrance,
    /// Nothing is set.
    #[error("template_json is empty: there would be nothing to apply")]
    Empty,
    /// Over [`MAX_TEMPLATE_BYTES`].
    #[error("template_json has {0} bytes; at most {MAX_TEMPLATE_BYTES} are allowed")]
    TooLarge(usize),
    /// U+0000 somewhere.
    #[error("template_json holds U+0000, which cannot be stored")]
    Nul,
    /// The slug breaks its rule.
    #[error(
        "slug must be 1 to 63 of a-z, 0-9 and -, beginning with a letter or digit: it stands in paths"
    )]
    Slug,
    /// A text is too long or holds U+0000.
    #[error("{0} must be at most {1} characters, without U+0000, and not empty")]
    Text(&'static str, usize),
}

/// What of an admin's template can be checked without knowing where it will be applied.
pub(crate) fn check(template: &Config) -> Result<(), InvalidTemplate> {
    if template.is_empty() {
        return Err(InvalidTemplate::Empty);
    }
    for (key, why) in RESERVED {
        if template.contains_key(key) {
            return Err(InvalidTemplate::Reserved { key, why });
        }
    }
    let agents = match template.get("agents") {
        None => None,
        Some(Value::Object(agents)) if agents.values().all(Value::is_object) => Some(agents),
        Some(_) => return Err(InvalidTemplate::Agents),
    };
    if let Some(entrance) = template.get("entrance_agent") {
        let agent = entrance
            .as_str()
            .and_then(|entrance| agents.and_then(|agents| agents.get(entrance)));
        if !agent.is_some_and(|agent| agent.get("enabled") != Some(&Value::Bool(false))) {
            return Err(InvalidTemplate::Entrance);
        }
    }
    let text = Value::Object(template.clone()).to_string();
    if text.len() > MAX_TEMPLATE_BYTES {
        return Err(InvalidTemplate::TooLarge(text.len()));
    }
    // As JSON writes it.
    if text.contains("\\u0000") {
        return Err(InvalidTemplate::Nul);
    }
    Ok(())
}

/// A slug of an admin's template.
pub(crate) fn check_slug(slug: &str) -> Result<(), InvalidTemplate> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_good =
        (1..=63).contains(&slug.len()) && slug.bytes().all(allowed) && !slug.starts_with('-');
    if is_good {
        Ok(())
    } else {
        Err(InvalidTemplate::Slug)
    }
}

#[cfg(test)]
mod tests;
