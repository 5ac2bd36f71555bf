//! What has to be done so that an org is as a file says. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// An org as it stands in a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tree {
    pub(super) org: String,
    /// Parents before children; the first is the org itself.
    pub(super) nodes: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    pub(super) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) parent: Option<String>,
    pub(super) r#type: String,
    /// The id, if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(super) config: Map<String, Value>,
}

impl Node {
    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }
}

impl Tree {
    /// Refuses what config could not make sense of, in words about the file.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut known = BTreeSet::new();
        for node in &self.nodes {
            if !known.insert(node.id.as_str()) {
                return Err(format!("node {} stands in the file twice", node.id));
            }
            match &node.parent {
                Some(parent) if !known.contains(parent.as_str()) => {
                    return Err(format!(
                        "the parent {parent} of node {} does not come before it in the file",
                        node.id
                    ));
                }
                None if node.id != self.org => {
                    return Err(format!(
                        "node {} needs a parent; only the org {} has none",
                        node.id, self.org
                    ));
                }
                _ => {}
            }
        }
        if known.contains(self.org.as_str()) {
            Ok(())
        } else {
            Err(format!("the org {} is not among the nodes", self.org))
        }
    }
}

/// As config exports it.
#[derive(Debug, Deserialize)]
pub(super) struct Exported {
    org_id: String,
    nodes: Vec<ExportedNode>,
}

#[derive(Debug, Deserialize)]
struct ExportedNode {
    node_id: String,
    parent_id: Option<String>,
    node_type: String,
    name: String,
    version: u64,
    config: Map<String, Value>,
}

/// By node.
pub(super) type Versions = BTreeMap<String, u64>;

impl Exported {
    pub(super) fn into_tree(self) -> (Tree, Versions) {
        let versions = self.nodes.iter();
        let versions = versions.map(|node| (node.node_id.clone(), node.version));
        let versions = versions.collect();
        let node = |node: ExportedNode| Node {
            name: (node.name != node.node_id).then_some(node.name),
            id: node.node_id,
            parent: node.parent_id,
            r#type: node.node_type,
            config: node.config,
        };
        let tree = Tree {
            org: self.org_id,
            nodes: self.nodes.into_iter().map(node).collect(),
        };
        (tree, versions)
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Create(Node),
    Place {
        id: String,
        version: u64,
        /// Old and new, where they differ.
        parent: Option<(String, String)>,
        name: Option<(String, String)>,
    },
    Configure {
        id: String,
        version: u64,
        before: Map<String, Value>,
        after: Map<String, Value>,
        /// A step before this one makes a version of the node, too.
        placed: bool,
    },
    Delete {
        id: String,
        version: u64,
    },
}

/// Everything to do, in an order in which it can be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub(super) org: String,
    pub(super) steps: Vec<Step>,
}

impl Plan {
    /// `prune`: nodes that are not in the file go.
    pub(super) fn new(
        present: Option<(Tree, Versions)>,
        wanted: Tree,
        prune: bool,
    ) -> Result<Self, String> {
        let (tree, versions) = match present {
            Some((tree, versions)) => (tree.nodes, versions),
            None => (Vec::new(), Versions::new()),
        };
        let known: BTreeMap<&str, &Node> =
            tree.iter().map(|node| (node.id.as_str(), node)).collect();
        let version = |id: &str| versions.get(id).copied().unwrap_or_default();
        let named: BTreeSet<&str> = wanted.nodes.iter().map(|node| node.id.as_str()).collect();
        let (mut creates, mut places, mut configures) = (Vec::new(), Vec::new(), Vec::new());
        for node in &wanted.nodes {
            let Some(before) = known.get(node.id.as_str()) else {
                creates.push(Step::Create(node.clone()));
                continue;
            };
            if before.r#type != node.r#type {
                return Err(format!(
                    "{} is a {}, the file says {}: delete it first, its tokens and history with it",
                    node.id, before.r#type, node.r#type
                ));
            }
            let placed = placement(before, node, version(&node.id));
            let is_placed = placed.is_some();
            places.extend(placed);
            if before.config != node.config {
                configures.push(Step::Configure {
                    id: node.id.clone(),
                    version: version(&node.id),
                    before: before.config.clone(),
                    after: node.config.clone(),
                    placed: is_placed,
                });
            }
        }
        let gone = tree
            .iter()
            .rev()
            .filter(|node| prune && !named.contains(node.id.as_str()));
        let deletes = gone.map(|node| Step::Delete {
            id: node.id.clone(),
            version: version(&node.id),
        });
        // What is moved may go below what is new; what goes is empty by then.
        let deletes: Vec<Step> = deletes.collect();
        let steps = creates.into_iter().chain(places).chain(configures);
        Ok(Self {
            org: wanted.org,
            steps: steps.chain(deletes).collect(),
        })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// For config's bulk route.
    pub(super) fn changes(&self) -> Vec<Value> {
        self.steps.iter().map(change).collect()
    }
}

fn placement(before: &Node, after: &Node, version: u64) -> Option<Step> {
    let differs =
        |one: &str, other: &str| (one != other).then(|| (one.to_owned(), other.to_owned()));
    let parent = match (&before.parent, &after.parent) {
        (Some(before), Some(after)) => differs(before, after),
        _ => None,
    };
    let name = differs(before.name(), after.name());
    (parent.is_some() || name.is_some()).then(|| Step::Place {
        id: after.id.clone(),
        version,
        parent,
        name,
    })
}

fn change(step: &Step) -> Value {
    match step {
        Step::Create(node) => json!({
            "op": "create", "node_id": node.id, "parent_id": node.parent, "node_type": node.r#type,
            "name": node.name, "config": node.config,
        }),
        Step::Place {
            id,
            version,
            parent,
            name,
        } => json!({
            "op": "place", "node_id": id, "expected_version": version,
            "parent_id": parent.as_ref().map(|(_, new)| new), "name": name.as_ref().map(|(_, new)| new),
        }),
        Step::Configure {
            id,
            version,
            after,
            placed,
            ..
        } => json!({
            "op": "replace", "node_id": id, "config": after,
            "expected_version": version + u64::from(*placed),
        }),
        Step::Delete { id, version } => json!({
            "op": "delete", "node_id": id, "expected_version": version,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::needless_pass_by_value,
        reason = "literals read best as they are"
    )]
    fn tree(nodes: Value) -> Tree {
        serde_json::from_value(json!({"org": "acme", "nodes": nodes})).expect("fits")
    }

    fn present() -> Option<(Tree, Versions)> {
        let tree = tree(json!([
            {"id":"acme","type":"org","name":"Acme"},
            {"id":"old","parent":"acme","type":"unit"},
            {"id":"sre","parent":"old","type":"team","config":{"a":1}},
            {"id":"web","parent":"acme","type":"team"},
        ]));
        let versions = [("acme", 1), ("old", 2), ("sre", 3), ("web", 4)];
        let versions = versions.map(|(id, version)| (id.to_owned(), version));
        Some((tree, versions.into_iter().collect()))
    }

    #[test]
    fn a_plan_does_what_differs_and_nothing_else() {
        let same = present().map(|(tree, _)| tree).expect("there");
        assert!(Plan::new(present(), same, true).expect("plans").is_empty());

        let wanted = tree(json!([
            {"id":"acme","type":"org","name":"ACME"},
            {"id":"new","parent":"acme","type":"unit"},
            {"id":"sre","parent":"new","type":"team","config":{"a":2}},
        ]));
        let ops = |plan: &Plan| -> Vec<Value> {
            plan.changes()
                .iter()
                .map(|change| json!([change["op"], change["node_id"], change["expected_version"]]))
                .collect()
        };
        let kept = Plan::new(present(), wanted.clone(), false).expect("plans");
        let expected = [
            json!(["create", "new", null]),
            json!(["place", "acme", 1]),
            json!(["place", "sre", 3]),
            json!(["replace", "sre", 4]),
        ];
        assert_eq!(ops(&kept), expected);
        let pruned = Plan::new(present(), wanted.clone(), true).expect("plans");
        let deletes = [json!(["delete", "web", 4]), json!(["delete", "old", 2])];
        assert_eq!(ops(&pruned), [&expected[..], &deletes[..]].concat());

        let fresh = Plan::new(None, wanted, true).expect("plans");
        assert!(
            fresh
                .steps
                .iter()
                .all(|step| matches!(step, Step::Create(_)))
        );

        let other =
            tree(json!([{"id":"acme","type":"org"},{"id":"web","parent":"acme","type":"unit"}]));
        assert!(Plan::new(present(), other, false).is_err());
    }

    #[test]
    fn a_file_that_makes_no_tree_is_refused() {
        for (nodes, text) in [
            (json!([]), "not among the nodes"),
            (
                json!([{"id":"acme","type":"org"},{"id":"acme","type":"org"}]),
                "twice",
            ),
            (
                json!([{"id":"acme","type":"org"},{"id":"x","type":"team"}]),
                "needs a parent",
            ),
            (
                json!([{"id":"x","parent":"acme","type":"team"},{"id":"acme","type":"org"}]),
                "does not come before",
            ),
        ] {
            let error = tree(nodes).check().expect_err(text);
            assert!(error.contains(text), "{error}");
        }
    }
}
