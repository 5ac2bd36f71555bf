//! Rows of secrets and what they mean.

use jiff::Timestamp;
use tocsin_wire::sealed::Place;
use tocsin_wire::{OrgId, SecretName};

use super::super::rows;
use crate::error::OperationError;
use crate::node::NodeId;
use crate::secrets::SecretFacts;
use crate::secrets::envelope::AtRest;

/// A stored secret with the version that its history says it must have.
#[derive(Debug, Clone)]
pub(crate) struct StoredSecret {
    pub(crate) facts: SecretFacts,
    pub(crate) at_rest: AtRest,
    pub(crate) latest_version: u64,
}

impl StoredSecret {
    /// What is bound to its ciphertext.
    pub(crate) fn place(&self) -> Place {
        place(&self.facts)
    }
}

pub(super) fn place(facts: &SecretFacts) -> Place {
    Place {
        org: facts.org.clone(),
        node: facts.node.clone(),
        name: facts.name.clone(),
        version: facts.version,
        audience: facts.audience.clone(),
    }
}

/// Who set or deleted a version.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct SecretHistoryRow {
    pub(crate) version: i64,
    pub(crate) what: String,
    pub(crate) audience: String,
    pub(crate) changed_by: String,
    pub(crate) changed_at: jiff_sqlx::Timestamp,
}

/// Times are only shown.
impl SecretHistoryRow {
    pub(crate) fn changed_at(&self) -> Timestamp {
        self.changed_at.to_jiff()
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct FactsRow {
    org_id: String,
    node_id: String,
    name: String,
    version: i64,
    audience: String,
    master_key_id: String,
    updated_at: jiff_sqlx::Timestamp,
    updated_by: String,
}

impl TryFrom<FactsRow> for SecretFacts {
    type Error = OperationError;

    fn try_from(row: FactsRow) -> Result<Self, Self::Error> {
        let corrupt = |why: String| OperationError::corrupt("secrets", why);
        Ok(Self {
            org: OrgId::new(row.org_id).map_err(|error| corrupt(error.to_string()))?,
            node: NodeId::new(row.node_id).map_err(|error| corrupt(error.to_string()))?,
            name: SecretName::new(row.name).map_err(|error| corrupt(error.to_string()))?,
            version: rows::version(row.version)?,
            audience: row
                .audience
                .parse()
                .map_err(|_| corrupt("audience".to_owned()))?,
            master_key_id: row.master_key_id,
            updated_at: row.updated_at.to_jiff(),
            updated_by: row.updated_by,
        })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct StoredRow {
    #[sqlx(flatten)]
    facts: FactsRow,
    wrapped_key: Vec<u8>,
    value: Vec<u8>,
    latest_version: i64,
}

impl TryFrom<StoredRow> for StoredSecret {
    type Error = OperationError;

    fn try_from(row: StoredRow) -> Result<Self, Self::Error> {
        Ok(Self {
            at_rest: AtRest {
                master_key_id: row.facts.master_key_id.clone(),
                wrapped_key: row.wrapped_key,
                value: row.value,
            },
            facts: row.facts.try_into()?,
            latest_version: rows::version(row.latest_version)?,
        })
    }
}
