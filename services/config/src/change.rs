//! What a write leaves in the outbox: what happened, and which snapshots it touched.
//!
//! The row says what to refresh, not what to write: the publisher reads the present state when it
//! gets there. So a repeated or late row does no harm, the last state wins, and a change at the top
//! of a tree is one small row however many teams are below.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tocsin_store::outbox::Message;
use tocsin_wire::ids::MessageId;
use tocsin_wire::{OrgId, Subject};

use crate::error::OperationError;
use crate::node::{Kind, NodeId};
use crate::routing::Identifier;

/// What happened to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = WhatHappened)]
pub(crate) enum What {
    Created,
    Updated,
    Moved,
    Renamed,
    Deleted,
    TokenIssued,
    TokenRevoked,
    SecretSet,
    SecretDeleted,
    RemediationApproved,
    SourceCreated,
    SourceUpdated,
    SourceDeleted,
}

impl What {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Moved => "moved",
            Self::Renamed => "renamed",
            Self::Deleted => "deleted",
            Self::TokenIssued => "token_issued",
            Self::TokenRevoked => "token_revoked",
            Self::SecretSet => "secret_set",
            Self::SecretDeleted => "secret_deleted",
            Self::RemediationApproved => "remediation_approved",
            Self::SourceCreated => "source_created",
            Self::SourceUpdated => "source_updated",
            Self::SourceDeleted => "source_deleted",
        }
    }

    /// Whether it is about a source, which `about` names.
    pub(crate) const fn is_of_source(self) -> bool {
        matches!(
            self,
            Self::SourceCreated | Self::SourceUpdated | Self::SourceDeleted
        )
    }

    /// Whether it changes what the other rooms read of the tree.
    pub(crate) const fn touches_snapshots(self) -> bool {
        matches!(
            self,
            Self::Created | Self::Updated | Self::Moved | Self::Renamed | Self::Deleted
        )
    }
}

/// One change, as it lies in the outbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) org: OrgId,
    pub(crate) node: NodeId,
    pub(crate) kind: Kind,
    /// Of the node after the change; of its last state when it was deleted.
    pub(crate) version: u64,
    pub(crate) what: What,
    /// Tells two changes of one version apart: the token's id, or the name and version of a secret or
    /// source.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) about: String,
    pub(crate) by: String,
    pub(crate) at: Timestamp,
    /// Of the org after the transaction; the same for all that it changed. 0: it changed no node.
    #[serde(default)]
    pub(crate) revision: u64,
    /// How many nodes the transaction changed.
    #[serde(default)]
    pub(crate) batch: u32,
    /// Identifiers that the node claimed before or claims now.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) identifiers: BTreeSet<Identifier>,
}

impl Change {
    /// The same for every publication of this change.
    pub(crate) fn message_id(&self) -> MessageId {
        let what = match self.about.as_str() {
            "" => self.what.as_str().to_owned(),
            about => format!("{}:{about}", self.what.as_str()),
        };
        MessageId::config_changed(self.org.as_str(), self.node.as_str(), self.version, &what)
    }

    pub(crate) fn subject(&self) -> Subject {
        Subject::ConfigChanged {
            org: self.org.clone(),
            node: self.node.clone(),
        }
    }

    /// The row for the outbox.
    pub(crate) fn message(&self) -> Result<Message, OperationError> {
        let payload = serde_json::to_vec(self).map_err(|source| OperationError::Encode {
            what: "a change for the outbox",
            source,
        })?;
        Ok(Message {
            message_id: self.message_id().to_string(),
            subject: self.subject().to_string(),
            headers: Vec::new(),
            payload,
        })
    }
}
