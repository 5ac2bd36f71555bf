//! Reading secrets: facts for people, ciphertext for who seals.

use sqlx::PgExecutor;
use tocsin_wire::sealed::Audience;
use tocsin_wire::{OrgId, SecretName};

use super::rows::{FactsRow, SecretHistoryRow, StoredRow, StoredSecret};
use crate::error::OperationError;
use crate::node::NodeId;
use crate::pg::Database;
use crate::secrets::{SecretFacts, SecretRefusal};

impl Database {
    /// Secrets of these nodes, without their values, by node and name.
    pub(crate) async fn secrets_of(
        &self,
        org: &OrgId,
        line: &[&NodeId],
    ) -> Result<Vec<SecretFacts>, OperationError> {
        let ids: Vec<&str> = line.iter().map(|node| node.as_str()).collect();
        let rows: Vec<FactsRow> = sqlx::query_as(
            "select org_id, node_id, name, version, audience, master_key_id, updated_at, updated_by \
             from secrets where org_id = $1 and node_id = any($2) order by node_id, name",
        )
        .bind(org.as_str())
        .bind(ids)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("list secrets"))?;
        rows.into_iter().map(SecretFacts::try_from).collect()
    }

    /// One secret without its value.
    pub(crate) async fn secret(
        &self,
        org: &OrgId,
        node: &NodeId,
        name: &SecretName,
    ) -> Result<SecretFacts, OperationError> {
        find(self.store.pool(), org, node, name)
            .await?
            .ok_or_else(|| unknown(org, node, name))
    }

    /// Versions of a secret, newest first, also of one that is gone.
    pub(crate) async fn secret_history(
        &self,
        org: &OrgId,
        node: &NodeId,
        name: &SecretName,
        limit: i64,
    ) -> Result<Vec<SecretHistoryRow>, OperationError> {
        sqlx::query_as(
            "select version, what, audience, changed_by, changed_at from secret_history \
             where org_id = $1 and node_id = $2 and name = $3 order by version desc limit $4",
        )
        .bind(org.as_str())
        .bind(node.as_str())
        .bind(name.as_str())
        .bind(limit)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("read the history of a secret"))
    }

    /// What is to be sealed; `None` when there is no such secret (any more).
    pub(crate) async fn stored_secret(
        &self,
        org: &OrgId,
        node: &NodeId,
        name: &SecretName,
    ) -> Result<Option<StoredSecret>, OperationError> {
        let row: Option<StoredRow> = sqlx::query_as(
            "select secrets.*, (select coalesce(max(history.version), 0) from secret_history as history \
                                where history.org_id = secrets.org_id and history.node_id = secrets.node_id \
                                  and history.name = secrets.name) as latest_version \
             from secrets where org_id = $1 and node_id = $2 and name = $3",
        )
        .bind(org.as_str())
        .bind(node.as_str())
        .bind(name.as_str())
        .fetch_optional(self.store.pool())
        .await
        .map_err(OperationError::query("read a secret to seal it"))?;
        row.map(StoredSecret::try_from).transpose()
    }

    /// Every secret, without its value.
    pub(crate) async fn all_secrets(&self) -> Result<Vec<SecretFacts>, OperationError> {
        let rows: Vec<FactsRow> = sqlx::query_as(
            "select org_id, node_id, name, version, audience, master_key_id, updated_at, updated_by \
             from secrets",
        )
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("list all secrets"))?;
        rows.into_iter().map(SecretFacts::try_from).collect()
    }

    /// Every name and audience that secrets of a node ever had: what may lie in the bucket.
    pub(crate) async fn secret_places_of(
        &self,
        org: &OrgId,
        node: &NodeId,
    ) -> Result<Vec<(SecretName, Audience)>, OperationError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "select distinct name, audience from secret_history where org_id = $1 and node_id = $2",
        )
        .bind(org.as_str())
        .bind(node.as_str())
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("list the places of a node's secrets"))?;
        let corrupt = |why: String| OperationError::corrupt("secret_history", why);
        rows.into_iter()
            .map(|(name, audience)| {
                let name = SecretName::new(name).map_err(|error| corrupt(error.to_string()))?;
                let audience = audience.parse();
                Ok((name, audience.map_err(|_| corrupt("audience".to_owned()))?))
            })
            .collect()
    }
}

pub(super) async fn find(
    executor: impl PgExecutor<'_>,
    org: &OrgId,
    node: &NodeId,
    name: &SecretName,
) -> Result<Option<SecretFacts>, OperationError> {
    let row: Option<FactsRow> = sqlx::query_as(
        "select org_id, node_id, name, version, audience, master_key_id, updated_at, updated_by \
         from secrets where org_id = $1 and node_id = $2 and name = $3",
    )
    .bind(org.as_str())
    .bind(node.as_str())
    .bind(name.as_str())
    .fetch_optional(executor)
    .await
    .map_err(OperationError::query("find a secret"))?;
    row.map(SecretFacts::try_from).transpose()
}

pub(super) fn unknown(org: &OrgId, node: &NodeId, name: &SecretName) -> OperationError {
    SecretRefusal::Unknown {
        org: org.clone(),
        node: node.clone(),
        name: name.clone(),
    }
    .into()
}
