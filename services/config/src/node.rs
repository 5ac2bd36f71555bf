//! The tree of tenants: org, units, teams. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tocsin_wire::{InvalidToken, OrgId, TeamId};

use crate::merge::{self, Config};

/// Ids of orgs, units and teams share one alphabet.
pub(crate) type NodeId = TeamId;

/// Names that stand for "no tenant", "every tenant" and "no configured source" on the bus.
const RESERVED: [&str; 3] = [
    tocsin_wire::token::UNROUTED,
    tocsin_wire::token::ALL,
    "shared",
];

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = NodeKind)]
pub(crate) enum Kind {
    /// The root; its node id is the org's id.
    Org,
    /// Groups teams and other units.
    #[serde(alias = "group")]
    Unit,
    /// Owns routing identifiers, tokens and runs. A leaf.
    Team,
}

impl Kind {
    /// As it is stored and shown.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Org => "org",
            Self::Unit => "unit",
            Self::Team => "team",
        }
    }

    /// Undoes [`Kind::as_str`].
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Org, Self::Unit, Self::Team]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// One node with its own config.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Owner.
    pub(crate) org: OrgId,
    /// Unique within the org.
    pub(crate) id: NodeId,
    /// `None` for the org's root only.
    pub(crate) parent: Option<NodeId>,
    /// What it is.
    pub(crate) kind: Kind,
    /// For people.
    pub(crate) name: String,
    /// 1 at its creation, one more with each write; goes on where a deleted namesake stopped.
    pub(crate) version: u64,
    /// What this node itself sets.
    pub(crate) config: Config,
    /// When and by whom it was last written.
    pub(crate) updated_at: jiff::Timestamp,
    /// See [`Node::updated_at`].
    pub(crate) updated_by: String,
}

/// The id of an org, unless it is reserved.
pub(crate) fn org_id(text: &str) -> Result<OrgId, InvalidId> {
    allowed(text)?;
    OrgId::new(text).map_err(InvalidId::Malformed)
}

/// The id of a node, unless it is reserved.
pub(crate) fn node_id(text: &str) -> Result<NodeId, InvalidId> {
    allowed(text)?;
    NodeId::new(text).map_err(|error| {
        InvalidId::Malformed(InvalidToken {
            what: "node id",
            ..error
        })
    })
}

fn allowed(text: &str) -> Result<(), InvalidId> {
    match RESERVED.iter().find(|name| **name == text) {
        Some(name) => Err(InvalidId::Reserved(name)),
        None => Ok(()),
    }
}

/// The text cannot name an org or a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidId {
    /// Breaks the rule for ids.
    #[error("{0}")]
    Malformed(InvalidToken),
    /// Means something else on the bus.
    #[error("the id {0:?} is reserved; choose another")]
    Reserved(&'static str),
}

/// A node with all above it, the root first; never empty where it comes from the database.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lineage(pub(crate) Vec<Node>);

impl Lineage {
    /// The node itself.
    pub(crate) fn node(&self) -> Option<&Node> {
        self.0.last()
    }

    /// Ids from the root to the node.
    pub(crate) fn ids(&self) -> Vec<&NodeId> {
        self.0.iter().map(|node| &node.id).collect()
    }

    /// What holds at the node.
    pub(crate) fn effective(&self, defaults: &Config) -> Config {
        let own = self.0.iter().map(|node| &node.config);
        merge::effective(std::iter::once(defaults).chain(own))
    }

    /// Changes when any node of the line changes: `acme@3/backend@1/payments@7`.
    pub(crate) fn version(&self) -> String {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|node| format!("{}@{}", node.id, node.version))
            .collect();
        parts.join("/")
    }
}

/// All nodes of one org.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tree(BTreeMap<NodeId, Node>);

impl Tree {
    /// From nodes in any order.
    pub(crate) fn new(nodes: Vec<Node>) -> Self {
        Self(
            nodes
                .into_iter()
                .map(|node| (node.id.clone(), node))
                .collect(),
        )
    }

    /// The line of a node; `None` when the node is not there.
    pub(crate) fn lineage(&self, id: &NodeId) -> Option<Lineage> {
        let mut line = vec![self.0.get(id)?.clone()];
        // A line is at most as long as there are nodes, whatever the database holds.
        for _ in 0..self.0.len() {
            let parent = line.last().and_then(|node| node.parent.as_ref());
            match parent.and_then(|parent| self.0.get(parent)) {
                Some(parent) => line.push(parent.clone()),
                None => break,
            }
        }
        line.reverse();
        Some(Lineage(line))
    }

    /// One node.
    pub(crate) fn get(&self, id: &NodeId) -> Option<&Node> {
        self.0.get(id)
    }

    /// Adds a node, or takes another state of it over.
    pub(crate) fn put(&mut self, node: Node) {
        self.0.insert(node.id.clone(), node);
    }

    /// Forgets a node.
    pub(crate) fn remove(&mut self, id: &NodeId) {
        self.0.remove(id);
    }

    /// All below a node with how far below they are, parents before children.
    pub(crate) fn below(&self, id: &NodeId) -> Vec<(&Node, usize)> {
        let mut children: BTreeMap<&NodeId, Vec<&Node>> = BTreeMap::new();
        for node in self.0.values() {
            if let Some(parent) = &node.parent {
                children.entry(parent).or_default().push(node);
            }
        }
        let mut below = Vec::new();
        let mut level = children.remove(id).unwrap_or_default();
        let mut depth = 1;
        // Each list is taken once, so that a ring in bad data ends.
        while !level.is_empty() {
            below.extend(level.iter().map(|node| (*node, depth)));
            depth += 1;
            level = level
                .iter()
                .flat_map(|node| children.remove(&node.id).unwrap_or_default())
                .collect();
        }
        below
    }

    /// The lines of all teams.
    pub(crate) fn teams(&self) -> impl Iterator<Item = Lineage> + '_ {
        self.0
            .values()
            .filter(|node| node.kind == Kind::Team)
            .filter_map(|team| self.lineage(&team.id))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub(crate) fn node(id: &str, parent: Option<&str>, kind: Kind, config: Value) -> Node {
        Node {
            org: OrgId::new("acme").expect("id"),
            id: NodeId::new(id).expect("id"),
            parent: parent.map(|parent| NodeId::new(parent).expect("id")),
            kind,
            name: id.to_uppercase(),
            version: 1,
            config: match config {
                Value::Object(object) => object,
                other => panic!("not an object: {other}"),
            },
            updated_at: jiff::Timestamp::UNIX_EPOCH,
            updated_by: "test".to_owned(),
        }
    }

    fn tree() -> Tree {
        Tree::new(vec![
            node("sre", Some("platform"), Kind::Team, json!({"c":3})),
            node("acme", None, Kind::Org, json!({"a":1,"b":1,"c":1})),
            node("platform", Some("acme"), Kind::Unit, json!({"b":2,"c":2})),
            node("web", Some("acme"), Kind::Team, json!({})),
        ])
    }

    #[test]
    fn ids_follow_the_rule_and_reserved_ones_are_refused() {
        assert!(org_id("acme").is_ok() && node_id("sre-1").is_ok());
        for bad in ["unrouted", "all", "shared", "Acme", "a.b", ""] {
            assert!(org_id(bad).is_err() && node_id(bad).is_err(), "{bad}");
        }
        let error = node_id("A").expect_err("upper case").to_string();
        assert!(
            error.starts_with("node id \"A\" must be 1 to 63"),
            "{error}"
        );
    }

    #[test]
    fn a_line_goes_from_the_root_to_the_node() {
        let tree = tree();
        let line = tree
            .lineage(&NodeId::new("sre").expect("id"))
            .expect("there");
        assert_eq!(line.version(), "acme@1/platform@1/sre@1");
        let defaults = json!({"d":0,"a":0});
        let effective = line.effective(defaults.as_object().expect("object"));
        assert_eq!(Value::Object(effective), json!({"a":1,"b":2,"c":3,"d":0}));
        assert!(tree.lineage(&NodeId::new("nobody").expect("id")).is_none());
    }

    #[test]
    fn teams_are_found_at_any_depth() {
        let lines: Vec<String> = tree().teams().map(|line| line.version()).collect();
        assert_eq!(lines, ["acme@1/platform@1/sre@1", "acme@1/web@1"]);
    }

    #[test]
    fn a_ring_in_bad_data_ends() {
        let tree = Tree::new(vec![
            node("a", Some("b"), Kind::Unit, json!({})),
            node("b", Some("a"), Kind::Unit, json!({})),
        ]);
        assert!(tree.lineage(&NodeId::new("a").expect("id")).is_some());
    }
}
