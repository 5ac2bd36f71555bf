//! What a write may do and what follows from it. Pure.

use std::collections::BTreeSet;

use serde_json::Value;
use tocsin_wire::{OrgId, TeamId};

use crate::diff::{self, Diff};
use crate::merge::{self, Config};
use crate::node::{InvalidId, Kind, Lineage, Node, NodeId};
use crate::routing::{self, Claim, Identifier, InvalidRouting};

/// Longest config of one node. [`MAX_LEVELS`] of these and the defaults fit into one message, and
/// so does every team's effective config.
pub(crate) const MAX_CONFIG_BYTES: usize = 96 * 1024;

/// Nodes from the root to a team, both counted: deeper than any company chart that we know.
pub(crate) const MAX_LEVELS: usize = 8;

/// Longest name of a node.
pub(crate) const MAX_NAME_CHARS: usize = 256;

/// A request that the rules do not allow. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// No such org, or no such node in it.
    #[error("org {org} has no node {node}")]
    NoNode {
        /// Org that was asked for.
        org: OrgId,
        /// Node that was asked for.
        node: NodeId,
    },
    /// No such org.
    #[error("there is no org {org}; create it with POST /api/v1/admin/orgs")]
    NoOrg {
        /// Org that was asked for.
        org: OrgId,
    },
    /// The node is an org or a unit.
    #[error("{node} in org {org} is no team")]
    NotATeam {
        /// Org that was asked for.
        org: OrgId,
        /// Node that was asked for.
        node: NodeId,
    },
    /// No such token of this team.
    #[error("team {team} of org {org} has no such token")]
    NoToken {
        /// Org that was asked for.
        org: OrgId,
        /// Team that was asked for.
        team: TeamId,
    },
    /// The id is taken.
    #[error("org {org} already has a node {node}")]
    Exists {
        /// Its org.
        org: OrgId,
        /// The id.
        node: NodeId,
    },
    /// An id breaks the rule.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// The parent is missing, not in this org, or a team.
    #[error("{0}")]
    Parent(String),
    /// Deleting would leave nodes without a parent.
    #[error("{node} still has {children} nodes below it; delete those first")]
    HasChildren {
        /// The node.
        node: NodeId,
        /// How many.
        children: usize,
    },
    /// Somebody else wrote in between.
    #[error("{node} is at version {actual}, not {expected}; read it again and repeat the change")]
    VersionConflict {
        /// The node.
        node: NodeId,
        /// What the caller had seen.
        expected: u64,
        /// What it is now.
        actual: u64,
    },
    /// Another node of the org has it.
    #[error(
        "{} {:?} belongs to team {} of org {}: {} set it on {} at {}; remove it there first",
        identifier.kind, identifier.value, claim.owner.team, claim.owner.org, claim.by, claim.source, claim.at
    )]
    IdentifierTaken {
        /// Which one.
        identifier: Identifier,
        /// Whose it is.
        claim: Box<Claim>,
    },
    /// What a unit or org lists would lead to no team below it.
    #[error(
        "routing.default_team of {lister} names {team}, which is no team below {lister}; name one that is"
    )]
    NoDefaultTeam {
        /// The node with the lists.
        lister: NodeId,
        /// What it names.
        team: TeamId,
    },
    /// A unit or org above leads its identifiers to this team.
    #[error(
        "the identifiers that {lister} lists lead to team {team}; name another routing.default_team in {lister} first"
    )]
    IsDefaultTeam {
        /// The node with the lists.
        lister: NodeId,
        /// The team.
        team: TeamId,
    },
    /// A routing list is malformed.
    #[error(transparent)]
    Routing(#[from] InvalidRouting),
    /// The config cannot be stored.
    #[error("{0}")]
    Config(String),
    /// A field of the request is wrong.
    #[error("{0}")]
    Field(String),
}

/// A node that is to be created.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NewNode {
    /// Owner.
    pub(crate) org: OrgId,
    /// Its id.
    pub(crate) id: NodeId,
    /// `None` for the root of a new org only.
    pub(crate) parent: Option<NodeId>,
    /// What it is.
    pub(crate) kind: Kind,
    /// For people; the id when empty.
    pub(crate) name: String,
    /// What it sets from the start.
    pub(crate) config: Config,
}

/// Checks a new node against the line of its parent (`None`: there is no such parent).
pub(crate) fn create(new: &NewNode, parent: Option<&Lineage>) -> Result<Outcome, Refusal> {
    check_name(&new.name)?;
    match (new.kind, &new.parent) {
        (Kind::Org, None) if new.id.as_str() == new.org.as_str() => {}
        (Kind::Org, _) => {
            return Err(Refusal::Parent(
                "an org is a root: its node_id is its org_id and it has no parent_id".to_owned(),
            ));
        }
        (_, None) => {
            return Err(Refusal::Parent(
                "units and teams need a parent_id: the org or a unit".to_owned(),
            ));
        }
        (_, Some(id)) => check_parent(&new.org, id, parent)?,
    }
    outcome(
        new.kind,
        &Config::new(),
        merge::patched(&Config::new(), &new.config),
    )
}

fn check_parent(org: &OrgId, id: &NodeId, parent: Option<&Lineage>) -> Result<(), Refusal> {
    let line = parent
        .ok_or_else(|| Refusal::Parent(format!("org {org} has no node {id} to be the parent")))?;
    if line.node().is_some_and(|parent| parent.kind == Kind::Team) {
        return Err(Refusal::Parent(format!(
            "{id} is a team; a parent is the org or a unit"
        )));
    }
    if line.0.len() >= MAX_LEVELS {
        return Err(Refusal::Parent(format!(
            "{id} is at level {}; the tree has at most {MAX_LEVELS} levels",
            line.0.len()
        )));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), Refusal> {
    if name.chars().count() > MAX_NAME_CHARS || name.contains('\0') {
        return Err(Refusal::Field(format!(
            "name must be at most {MAX_NAME_CHARS} characters, without U+0000"
        )));
    }
    Ok(())
}

/// What a write leads to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    /// The node's own config after it.
    pub(crate) config: Config,
    /// What changed.
    pub(crate) diff: Diff,
    /// All identifiers that the node claims after it.
    pub(crate) claims: BTreeSet<Identifier>,
}

/// A patch of a node that the caller saw at version `expected`, or did not look at.
pub(crate) fn patch(
    node: &Node,
    patch: &Config,
    expected: Option<u64>,
) -> Result<Outcome, Refusal> {
    check_version(node, expected)?;
    outcome(node.kind, &node.config, merge::patched(&node.config, patch))
}

/// Only a team that nothing hangs below is deleted.
pub(crate) fn delete_team(
    node: &Node,
    children: usize,
    expected: Option<u64>,
) -> Result<(), Refusal> {
    if node.kind != Kind::Team {
        return Err(Refusal::NotATeam {
            org: node.org.clone(),
            node: node.id.clone(),
        });
    }
    if children > 0 {
        return Err(Refusal::HasChildren {
            node: node.id.clone(),
            children,
        });
    }
    check_version(node, expected)
}

fn check_version(node: &Node, expected: Option<u64>) -> Result<(), Refusal> {
    match expected {
        Some(expected) if expected != node.version => Err(Refusal::VersionConflict {
            node: node.id.clone(),
            expected,
            actual: node.version,
        }),
        _ => Ok(()),
    }
}

fn outcome(kind: Kind, before: &Config, config: Config) -> Result<Outcome, Refusal> {
    check_storable(&config)?;
    let claims = routing::claimed(kind, &config)?;
    let diff = diff::between(before, &config);
    Ok(Outcome {
        config,
        diff,
        claims,
    })
}

fn check_storable(config: &Config) -> Result<(), Refusal> {
    if let Some(path) = config.iter().find_map(|(key, value)| nul_in(key, value)) {
        return Err(Refusal::Config(format!(
            "{path:?} holds U+0000, which cannot be stored; remove it"
        )));
    }
    let bytes = Value::Object(config.clone()).to_string().len();
    if bytes > MAX_CONFIG_BYTES {
        return Err(Refusal::Config(format!(
            "the node's config would have {bytes} bytes; at most {MAX_CONFIG_BYTES} are allowed"
        )));
    }
    Ok(())
}

/// The path of the first text with U+0000, which Postgres stores in no text.
fn nul_in(key: &str, value: &Value) -> Option<String> {
    if key.contains('\0') {
        return Some(key.to_owned());
    }
    let below = |path: String| format!("{key}.{path}");
    match value {
        Value::String(text) => text.contains('\0').then(|| key.to_owned()),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| nul_in(&index.to_string(), item))
            .map(below),
        Value::Object(object) => object
            .iter()
            .find_map(|(name, value)| nul_in(name, value))
            .map(below),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests;
