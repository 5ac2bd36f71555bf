//! What is refused around rules and approvals. The text says what to do.

use tocsin_wire::OrgId;

use super::field::InvalidField;
use super::security::InvalidPolicy;
use super::violation::Violation;
use crate::node::NodeId;

/// A request that the rules do not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PolicyRefusal {
    /// A write breaks rules; never empty.
    #[error("{}", .0.first().map_or("the config breaks a rule", |first| first.message.as_str()))]
    Violations(Vec<Violation>),
    /// A definition cannot be kept.
    #[error(transparent)]
    Field(#[from] InvalidField),
    /// A policy cannot be kept.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// No definition of this path.
    #[error("there is no field definition for {path:?}")]
    NoField {
        /// As it was asked for.
        path: String,
    },
    /// The path has a definition.
    #[error("{path} has a field definition already; change it with PUT")]
    FieldExists {
        /// Which one.
        path: String,
    },
    /// Somebody else wrote in between.
    #[error("it is at version {actual}, not {expected}; read it again and repeat the change")]
    RuleVersion {
        /// What the caller had seen.
        expected: u64,
        /// What it is now.
        actual: u64,
    },
    /// No such change, or not of this team.
    #[error("org {org} has no pending change {id}")]
    NoChange {
        /// Org that was asked for.
        org: OrgId,
        /// Change that was asked for.
        id: String,
    },
    /// It was decided before.
    #[error("{id} is {status} already; nothing was changed")]
    Decided {
        /// Which one.
        id: String,
        /// What became of it.
        status: String,
    },
    /// Four eyes.
    #[error("{requester} asked for it, so somebody else has to review it")]
    OwnRequest {
        /// Who asked.
        requester: String,
    },
    /// The org keeps reviews to its admins.
    #[error("the org's security policy leaves reviews to admins; ask one of them")]
    AdminsOnly,
    /// A team reviews what concerns it alone.
    #[error("this change is about more than your team; an admin has to review it")]
    NotOnlyYours,
    /// The node is another since.
    #[error(
        "the change was made for version {made_for} of {node}, which is at {actual} now; \
         refuse it and ask for it again"
    )]
    Stale {
        /// Which node.
        node: NodeId,
        /// The version that the requester saw.
        made_for: u64,
        /// What it is now.
        actual: u64,
    },
    /// The id means another change.
    #[error("{id} is the id of another change; use a new one")]
    ChangeIdTaken {
        /// Which id.
        id: String,
    },
    /// The policy does not let anybody pass by approvals.
    #[error(
        "the org's security policy does not allow to bypass approvals; send the change without \
         the header, and somebody else approves it"
    )]
    NoBypass,
    /// No such remediation, or not of this team.
    #[error("there is no remediation {id}")]
    NoRemediation {
        /// As it was asked for.
        id: String,
    },
    /// Not in the state that this needs.
    #[error("{id} is {status}; only what is {needed} can be {action}")]
    RemediationState {
        /// Which one.
        id: String,
        /// Its state.
        status: String,
        /// What it would have to be.
        needed: &'static str,
        /// What was asked for.
        action: &'static str,
    },
    /// Nothing undoes it.
    #[error("{id}: {why}")]
    NoInverse {
        /// Which one.
        id: String,
        /// Why not.
        why: String,
    },
}
