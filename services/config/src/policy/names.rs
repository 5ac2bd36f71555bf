//! Names of models and tools, checked when they are saved. Pure.

use std::collections::BTreeSet;

use serde_json::Value;
use tocsin_wire::catalogue::Catalogue;

use super::Rules;
use super::dependency::{server_tools, unknown};
use super::path::Pattern;
use super::violation::{Rule, Violation};
use crate::merge::Config;

/// Names of an effective config that nobody knows.
pub(crate) fn faults(rules: &Rules, effective: &Config) -> Vec<Violation> {
    let mut found = Vec::new();
    models(rules, effective, &mut found);
    tools(&rules.standards.catalogue, effective, &mut found);
    found
}

/// A model is of the catalogue, of a provider (`openai/…`), or one that the org or the installation
/// lists in its allowed values.
fn models(rules: &Rules, effective: &Config, found: &mut Vec<Violation>) {
    let catalogue = &rules.standards.catalogue;
    let Ok(pattern) = Pattern::parse("agents.*.model.name") else {
        return;
    };
    for (path, value) in pattern.find(effective) {
        let Some(name) = value.as_str() else { continue };
        let is_listed = rules.security.lists(&path, value)
            || rules.fields.iter().any(|field| {
                let allowed = field
                    .definition
                    .allowed_values
                    .as_deref()
                    .unwrap_or_default();
                field.pattern.is(&path) && allowed.contains(value)
            });
        if !is_listed && !catalogue.allows_model(name) {
            let expected = "a model of the catalogue, a model with its provider such as openai/gpt-5, \
                            or one that the org's policy allows";
            let known = catalogue.models.keys().map(String::as_str);
            found.push(unknown(Rule::UnknownModel, &path, expected, name, known));
        }
    }
}

/// A tool is of the catalogue, of an MCP server, or described under `tools` as an object. What a server
/// of unknown tools offers is named `mcp__<server>__<tool>` or `<server>__<tool>`.
fn tools(catalogue: &Catalogue, effective: &Config, found: &mut Vec<Violation>) {
    let servers = effective.get("mcp_servers").and_then(Value::as_object);
    let servers = || servers.into_iter().flatten();
    let own = effective.get("tools").and_then(Value::as_object);
    let described = own
        .into_iter()
        .flatten()
        .filter(|(_, tool)| tool.is_object())
        .map(|(name, _)| name.as_str());
    let of_servers = servers()
        .filter_map(|(_, server)| server.as_object())
        .flat_map(server_tools);
    let known: BTreeSet<&str> = catalogue
        .tools
        .keys()
        .map(String::as_str)
        .chain(of_servers)
        .chain(described)
        .collect();
    let is_known = |name: &str| {
        name == "*"
            || known.contains(name)
            || servers().any(|(id, _)| {
                let name = name.strip_prefix("mcp__").unwrap_or(name);
                name.strip_prefix(id.as_str())
                    .is_some_and(|tool| tool.starts_with("__") && tool.len() > 2)
            })
    };
    for pattern in ["agents.*.tools.*", "tools.*"] {
        let Ok(pattern) = Pattern::parse(pattern) else {
            continue;
        };
        for (path, _) in pattern.find(effective) {
            let name = path.keys().last().map(String::as_str).unwrap_or_default();
            if !is_known(name) {
                let expected =
                    "a tool of the catalogue, of an MCP server, or described under tools";
                found.push(unknown(
                    Rule::UnknownTool,
                    &path,
                    expected,
                    name,
                    known.iter().copied(),
                ));
            }
        }
    }
}
