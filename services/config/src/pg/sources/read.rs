//! Reading sources: for their org's admins, and for the snapshots.

use tocsin_store::{Isolation, Tx};
use tocsin_wire::OrgId;

use super::rows::{Selection, select};
use crate::error::OperationError;
use crate::pg::Database;
use crate::source::{Source, SourceId, SourceRefusal};

impl Database {
    /// Sources of an org, by provider and name; of one provider, where one is named.
    pub(crate) async fn sources(
        &self,
        org: &OrgId,
        provider: Option<&str>,
    ) -> Result<Vec<Source>, OperationError> {
        self.selected(Selection {
            org: Some(org.as_str()),
            provider,
            ids: None,
        })
        .await
    }

    /// One source of an org.
    pub(crate) async fn source(
        &self,
        org: &OrgId,
        id: &SourceId,
    ) -> Result<Source, OperationError> {
        let which = Selection {
            org: Some(org.as_str()),
            ids: Some(&[id.as_str()]),
            provider: None,
        };
        let found = self.selected(which).await?.pop();
        Ok(found.ok_or_else(|| unknown(org, id))?)
    }

    /// Those of these sources that are there; with `None`, every source of every org.
    pub(crate) async fn sources_by_id(
        &self,
        ids: Option<&[&SourceId]>,
    ) -> Result<Vec<Source>, OperationError> {
        let texts: Option<Vec<&str>> = ids.map(|ids| ids.iter().map(|id| id.as_str()).collect());
        self.selected(Selection {
            ids: texts.as_deref(),
            ..Selection::default()
        })
        .await
    }

    /// Every source that an org ever had: what may lie in the bucket.
    pub(crate) async fn sources_ever_of(
        &self,
        org: &OrgId,
    ) -> Result<Vec<SourceId>, OperationError> {
        let ids: Vec<String> =
            sqlx::query_scalar("select distinct source_id from source_history where org_id = $1")
                .bind(org.as_str())
                .fetch_all(self.store.pool())
                .await
                .map_err(OperationError::query(
                    "list the sources that an org ever had",
                ))?;
        ids.iter()
            .map(|id| {
                let corrupt = || OperationError::corrupt("source_history", id.clone());
                SourceId::parse(id).ok_or_else(corrupt)
            })
            .collect()
    }

    /// Sources and their secrets as of one moment: a record never has the settings of one version and
    /// the secrets of another.
    async fn selected(&self, which: Selection<'_>) -> Result<Vec<Source>, OperationError> {
        self.store
            .run_tx_with("read_sources", Isolation::Snapshot, |tx: &mut Tx<'_>| {
                Box::pin(async move { select(tx, which).await })
            })
            .await
    }
}

pub(super) fn unknown(org: &OrgId, id: &SourceId) -> SourceRefusal {
    SourceRefusal::Unknown {
        org: org.clone(),
        id: id.to_string(),
    }
}
