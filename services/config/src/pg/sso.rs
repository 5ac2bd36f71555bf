//! How the people of an org sign in.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::types::Json;
use tocsin_wire::OrgId;

use super::Database;
use super::writes::Author;
use crate::decide::Refusal;
use crate::error::OperationError;
use crate::identity::sso::SsoConfig;

/// As it stands.
#[derive(Debug, Clone)]
pub(crate) struct StoredSso {
    pub(crate) config: SsoConfig,
    /// Sealed.
    pub(crate) client_secret: Option<Vec<u8>>,
    pub(crate) updated_at: Timestamp,
    pub(crate) updated_by: String,
}

type Row = (
    Json<SsoConfig>,
    Option<Vec<u8>>,
    jiff_sqlx::Timestamp,
    String,
);

impl Database {
    /// `None` where nobody has set anything.
    pub(crate) async fn sso_config(
        &self,
        org: &OrgId,
    ) -> Result<Option<StoredSso>, OperationError> {
        let row: Option<Row> = sqlx::query_as(
            "select settings, client_secret, updated_at, updated_by from sso_configs where org_id = $1",
        )
        .bind(org.as_str())
        .fetch_optional(self.store.pool())
        .await
        .map_err(OperationError::query("read how an org signs in"))?;
        Ok(row.map(
            |(config, client_secret, updated_at, updated_by)| StoredSso {
                config: config.0,
                client_secret,
                updated_at: updated_at.to_jiff(),
                updated_by,
            },
        ))
    }

    /// Replaces it. The org must be there.
    pub(crate) async fn put_sso_config(
        &self,
        org: &OrgId,
        config: &SsoConfig,
        client_secret: Option<&[u8]>,
        author: &Author,
    ) -> Result<(), OperationError> {
        let done = sqlx::query(
            "insert into sso_configs (org_id, root_id, settings, client_secret, updated_at, updated_by) \
             select org_id, node_id, $2, $3, $4, $5 from nodes where org_id = $1 and kind = 'org' \
             on conflict (org_id) do update set settings = excluded.settings, client_secret = excluded.client_secret, \
             updated_at = excluded.updated_at, updated_by = excluded.updated_by",
        )
        .bind(org.as_str())
        .bind(Json(config))
        .bind(client_secret)
        .bind(author.at.to_sqlx())
        .bind(&author.by)
        .execute(self.store.pool())
        .await
        .map_err(OperationError::query("store how an org signs in"))?;
        if done.rows_affected() == 0 {
            return Err(Refusal::NoOrg { org: org.clone() }.into());
        }
        Ok(())
    }

    /// Whether there is such an org.
    pub(crate) async fn is_org(&self, org: &OrgId) -> Result<bool, OperationError> {
        sqlx::query_scalar(
            "select exists (select from nodes where org_id = $1 and node_id = $1 and kind = 'org')",
        )
        .bind(org.as_str())
        .fetch_one(self.store.pool())
        .await
        .map_err(OperationError::query("look for an org"))
    }
}
