//! Names of models and tools, and references to secrets, checked when they are saved. Pure.

use std::collections::BTreeSet;

use serde_json::Value;
use tocsin_wire::catalogue::Catalogue;

use super::Rules;
use super::dependency::{server_tools, unknown};
use super::path::{Path, Pattern, leaves};
use super::violation::{Rule, Violation};
use crate::merge::Config;

/// How a reference to a secret begins and ends.
const REFERENCE: &str = "${secret:";
const END: char = '}';

/// Longest name of a secret.
const MAX_SECRET_CHARS: usize = 128;

/// Names of an effective config that nobody knows.
pub(crate) fn faults(rules: &Rules, effective: &Config) -> Vec<Violation> {
    let mut found = Vec::new();
    models(rules, effective, &mut found);
    tools(&rules.shipped.catalogue, effective, &mut found);
    found
}

/// A model is of the catalogue, of a provider (`openai/…`), or one that the org or the installation
/// lists in its allowed values.
fn models(rules: &Rules, effective: &Config, found: &mut Vec<Violation>) {
    let catalogue = &rules.shipped.catalogue;
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

/// Every secret that a config refers to, with where.
pub(crate) fn secrets(config: &Config) -> Vec<(Path, Result<String, String>)> {
    let mut found = Vec::new();
    for (path, value) in leaves(config) {
        collect(&path, value, &mut found);
    }
    found
}

fn collect(path: &Path, value: &Value, found: &mut Vec<(Path, Result<String, String>)>) {
    match value {
        Value::String(text) => {
            let mut rest = text.as_str();
            while let Some((_, after)) = rest.split_once(REFERENCE) {
                found.push((path.clone(), reference(after)));
                rest = after;
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(path, item, found)),
        // Objects are found as values of lists only.
        Value::Object(object) => object
            .values()
            .for_each(|value| collect(path, value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn reference(after: &str) -> Result<String, String> {
    let Some((name, _)) = after.split_once(END) else {
        return Err("it has no closing brace".to_owned());
    };
    let letter =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
    match name.len() {
        1..=MAX_SECRET_CHARS if name.bytes().all(letter) => Ok(name.to_owned()),
        _ => Err(format!(
            "a name has 1 to {MAX_SECRET_CHARS} letters, digits, and _ - . /"
        )),
    }
}

/// References that cannot be followed. `exists` is asked about well-formed ones.
pub(crate) fn secret_faults(config: &Config, exists: &dyn Fn(&str) -> bool) -> Vec<Violation> {
    secrets(config)
        .into_iter()
        .filter_map(|(path, reference)| match reference {
            Ok(name) if exists(&name) => None,
            Ok(name) => Some(Violation::saying(
                Rule::UnknownSecret,
                &path,
                "the name of a secret of this node or of one above it",
                format!(
                    "{path}: there is no secret {name:?} at this node or above it; set it first"
                ),
            )),
            Err(why) => Some(Violation::saying(
                Rule::InvalidSecretReference,
                &path,
                "a reference of the form ${secret:name}",
                format!("{path}: a reference to a secret is written ${{secret:name}}; {why}"),
            )),
        })
        .collect()
}
