//! Which configs use which secrets. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;
use tocsin_wire::SecretName;
use tocsin_wire::sealed::{self, MalformedReference, Reference};

use crate::merge::Config;
use crate::node::NodeId;
use crate::secrets::SecretFacts;

/// Uses that one answer names.
pub(crate) const MAX_USES: usize = 100;

/// A place that names a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Use {
    /// Whose config.
    pub(crate) node_id: NodeId,
    /// Where in it: `integrations.slack.bot_token`.
    pub(crate) path: String,
}

impl fmt::Display for Use {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.node_id, self.path)
    }
}

/// A reference in a config that is to be saved and that cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{node_id}: {path}: {why}")]
pub(crate) struct BadReference {
    /// Whose config.
    pub(crate) node_id: NodeId,
    /// Where in it.
    pub(crate) path: String,
    /// What to do.
    #[serde(rename = "message")]
    pub(crate) why: String,
}

/// What a config refers to: good and malformed references.
#[derive(Debug, Default)]
pub(crate) struct Found {
    good: Vec<Reference>,
    malformed: Vec<MalformedReference>,
}

impl Found {
    pub(crate) fn is_empty(&self) -> bool {
        self.good.is_empty() && self.malformed.is_empty()
    }
}

/// The references of a config, without those that stood there `before`.
pub(crate) fn references(config: &Config, before: Option<&Config>) -> Found {
    let all = |config: &Config| sealed::references(&Value::Object(config.clone()));
    let (mut good, mut malformed) = all(config);
    if let Some(before) = before.filter(|_| !good.is_empty() || !malformed.is_empty()) {
        let (known_good, known_malformed) = all(before);
        good.retain(|one| !known_good.contains(one));
        malformed.retain(|one| !known_malformed.contains(one));
    }
    Found { good, malformed }
}

/// Which of them cannot hold at `node`, where secrets of the names `known` may be used. Empty when
/// all do.
pub(crate) fn check(
    node: &NodeId,
    found: Found,
    known: &BTreeSet<SecretName>,
) -> Vec<BadReference> {
    let bad = |path: String, why: String| BadReference {
        node_id: node.clone(),
        path,
        why,
    };
    let malformed = found.malformed.into_iter().map(|one| {
        let why = one.to_string();
        bad(one.path, why)
    });
    let unknown = found
        .good
        .into_iter()
        .filter(|one| !known.contains(&one.name))
        .map(|Reference { path, name }| {
            let why = format!(
                "there is no secret {name} at this node or above it; set it first, with \
                 `tocsin secrets set` or PUT …/secrets/{name}"
            );
            bad(path, why)
        });
    malformed.chain(unknown).collect()
}

/// Of two secrets with one name the one at the nearer node; `line` is root first. By name.
pub(crate) fn nearest(found: Vec<SecretFacts>, line: &[&NodeId]) -> Vec<SecretFacts> {
    let depth = |facts: &SecretFacts| line.iter().position(|node| **node == facts.node);
    let mut by_name: BTreeMap<SecretName, SecretFacts> = BTreeMap::new();
    for facts in found {
        let known = by_name.get(&facts.name);
        if known.is_none_or(|known| depth(known) < depth(&facts)) {
            by_name.insert(facts.name.clone(), facts);
        }
    }
    by_name.into_values().collect()
}

/// A node that may use a secret.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) node: NodeId,
    pub(crate) parent: Option<NodeId>,
    /// Has a secret of that name itself.
    pub(crate) defines: bool,
    /// When it names the secret at all.
    pub(crate) config: Option<Config>,
}

/// Who uses secret `name` of `owner`: configs above it (what is below inherits them) and below it,
/// unless a nearer node has a secret of that name. `above` is the line over the owner.
pub(crate) fn uses(
    owner: &NodeId,
    name: &SecretName,
    above: &[Candidate],
    below: &[Candidate],
) -> Vec<Use> {
    let known: BTreeMap<&NodeId, &Candidate> = below.iter().map(|one| (&one.node, one)).collect();
    let is_shadowed = |candidate: &Candidate| {
        let mut at = Some(candidate);
        // A line is at most as long as there are nodes, whatever the database holds.
        for _ in 0..=below.len() {
            let Some(node) = at.filter(|node| node.node != *owner) else {
                return false;
            };
            if node.defines {
                return true;
            }
            at = node
                .parent
                .as_ref()
                .and_then(|parent| known.get(parent))
                .copied();
        }
        false
    };
    let mut found: Vec<Use> = above
        .iter()
        .chain(below.iter().filter(|one| !is_shadowed(one)))
        .filter_map(|one| Some((one, one.config.as_ref()?)))
        .flat_map(|(one, config)| {
            let (references, _) = sealed::references(&Value::Object(config.clone()));
            let own = references.into_iter().filter(|found| found.name == *name);
            own.map(|found| Use {
                node_id: one.node.clone(),
                path: found.path,
            })
        })
        .collect();
    found.sort();
    found.dedup();
    found.truncate(MAX_USES);
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(value: Value) -> Config {
        match value {
            Value::Object(object) => object,
            other => panic!("not an object: {other}"),
        }
    }

    fn name(text: &str) -> SecretName {
        SecretName::new(text).expect("name")
    }

    #[test]
    fn a_reference_needs_its_secret_and_its_form() {
        let known = BTreeSet::from([name("slack")]);
        let said = |value: Value, before: Value| {
            let found = references(&config(value), Some(&config(before)));
            let bad = check(&NodeId::new("pay").expect("id"), found, &known);
            bad.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let nothing = || json!({});
        assert_eq!(
            said(json!({"a": "${secret:slack}", "b": "plain"}), nothing()),
            [""; 0]
        );
        let wrong = json!({"a": {"b": ["${secret:pager}"]}, "c": "${secret:Slack}"});
        let found = said(wrong.clone(), nothing());
        assert!(found[0].starts_with("pay: c: a reference is"), "{found:?}");
        assert!(
            found[1].starts_with("pay: a.b.0: there is no secret pager at this node"),
            "{found:?}"
        );
        // What stood there before is not in the way of another change.
        assert_eq!(said(wrong.clone(), wrong), [""; 0]);
    }

    #[test]
    fn a_nearer_secret_of_the_same_name_takes_its_references_along() {
        let id = |text: &str| NodeId::new(text).expect("id");
        let uses_it = || {
            Some(config(
                json!({"integrations": {"x": {"key": "a ${secret:k}"}}}),
            ))
        };
        let one = |node: &str, parent: Option<&str>, defines, config| Candidate {
            node: id(node),
            parent: parent.map(id),
            defines,
            config,
        };
        let above = [one("acme", None, false, uses_it())];
        let below = [
            one("unit", Some("acme"), true, None),
            one("pay", Some("unit"), false, uses_it()),
            one("web", Some("unit"), true, uses_it()),
            one("sub", Some("web"), false, uses_it()),
        ];
        let found = uses(&id("unit"), &name("k"), &above, &below);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["acme:integrations.x.key", "pay:integrations.x.key"]);
        assert!(uses(&id("unit"), &name("other"), &above, &below).is_empty());
    }
}
