//! What a write may do and what follows from it. Pure.

mod write;

use serde_json::Value;
use tocsin_wire::{OrgId, TeamId};

use crate::merge::Config;
use crate::node::{InvalidId, NodeId};
use crate::policy::PolicyRefusal;
use crate::routing::{Claim, Identifier, InvalidRouting};

pub(crate) use write::{
    Action, Approval, Author, Effect, Known, WriteRequest, check_heaviest, write,
};

/// Longest config of one node.
pub(crate) const MAX_CONFIG_BYTES: usize = 256 * 1024;

/// The configs from the root to a team together: these and the defaults, which are 26 KB, fit into
/// one message, and so does every team's effective config.
pub(crate) const MAX_LINE_BYTES: usize = 768 * 1024;

/// Levels below the org; the schema refuses more.
pub(crate) const MAX_DEPTH: usize = 64;

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
    #[error(
        "{node} still has {children} nodes right below it: {}; delete those first, or all of it with ?recursive=true \
         (add dry_run=true to see what would go)",
        listed(names)
    )]
    HasChildren {
        /// The node.
        node: NodeId,
        /// How many.
        children: usize,
        /// The first of them.
        names: Vec<NodeId>,
    },
    /// There was no such version, or the node was deleted then.
    #[error("{node} has no version {version} to go back to; its history lists those it has")]
    NoVersion {
        /// The node.
        node: NodeId,
        /// What was asked for.
        version: u64,
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
        /// The node's own config now.
        current: Box<Config>,
        /// What the request would have made of it.
        yours: Box<Config>,
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
    /// A config is over a limit.
    #[error("{0}")]
    TooLarge(String),
    /// Rules or approvals stand against it.
    #[error(transparent)]
    Policy(#[from] PolicyRefusal),
    /// A field of the request is wrong.
    #[error("{0}")]
    Field(String),
}

fn listed(names: &[NodeId]) -> String {
    let names: Vec<&str> = names.iter().map(NodeId::as_str).collect();
    names.join(", ")
}

fn check_name(name: &str) -> Result<(), Refusal> {
    if name.chars().count() > MAX_NAME_CHARS || name.contains('\0') {
        return Err(Refusal::Field(format!(
            "name must be at most {MAX_NAME_CHARS} characters, without U+0000"
        )));
    }
    Ok(())
}

fn check_storable(config: &Config) -> Result<(), Refusal> {
    if let Some(path) = config.iter().find_map(|(key, value)| nul_in(key, value)) {
        return Err(Refusal::Config(format!(
            "{path:?} holds U+0000, which cannot be stored; remove it"
        )));
    }
    let bytes = write::bytes(config);
    if bytes > MAX_CONFIG_BYTES {
        return Err(Refusal::TooLarge(format!(
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
