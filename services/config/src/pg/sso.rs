//! How the people of an org sign in.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::types::Json;
use tocsin_store::Isolation;
use tocsin_wire::OrgId;

use super::Database;
use super::writes::Author;
use crate::decide::Refusal;
use crate::error::OperationError;
use crate::identity::sso::{SsoConfig, rewrap_client_secret};
use crate::secrets::envelope::AtRest;
use crate::secrets::master::MasterKeys;

/// Moved to another master key in one transaction.
const REWRAP_BATCH: i64 = 100;

/// As it stands.
#[derive(Debug, Clone)]
pub(crate) struct StoredSso {
    pub(crate) config: SsoConfig,
    pub(crate) client_secret: Option<AtRest>,
    pub(crate) updated_at: Timestamp,
    pub(crate) updated_by: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    settings: Json<SsoConfig>,
    client_secret: Option<Vec<u8>>,
    wrapped_key: Option<Vec<u8>>,
    master_key_id: Option<String>,
    updated_at: jiff_sqlx::Timestamp,
    updated_by: String,
}

impl From<Row> for StoredSso {
    fn from(row: Row) -> Self {
        let parts = (row.client_secret, row.wrapped_key, row.master_key_id);
        let client_secret = match parts {
            (Some(value), Some(wrapped_key), Some(master_key_id)) => Some(AtRest {
                master_key_id,
                wrapped_key,
                value,
            }),
            _ => None,
        };
        Self {
            config: row.settings.0,
            client_secret,
            updated_at: row.updated_at.to_jiff(),
            updated_by: row.updated_by,
        }
    }
}

impl Database {
    /// `None` where nobody has set anything.
    pub(crate) async fn sso_config(
        &self,
        org: &OrgId,
    ) -> Result<Option<StoredSso>, OperationError> {
        let row: Option<Row> = sqlx::query_as(
            "select settings, client_secret, wrapped_key, master_key_id, updated_at, updated_by \
             from sso_configs where org_id = $1",
        )
        .bind(org.as_str())
        .fetch_optional(self.store.pool())
        .await
        .map_err(OperationError::query("read how an org signs in"))?;
        Ok(row.map(Into::into))
    }

    /// Replaces it. The org must be there.
    pub(crate) async fn put_sso_config(
        &self,
        org: &OrgId,
        config: &SsoConfig,
        client_secret: Option<&AtRest>,
        author: &Author,
    ) -> Result<(), OperationError> {
        let done = sqlx::query(
            "insert into sso_configs (org_id, root_id, settings, client_secret, wrapped_key, master_key_id, updated_at, updated_by) \
             select org_id, node_id, $2, $3, $4, $5, $6, $7 from nodes where org_id = $1 and kind = 'org' \
             on conflict (org_id) do update set settings = excluded.settings, client_secret = excluded.client_secret, \
             wrapped_key = excluded.wrapped_key, master_key_id = excluded.master_key_id, \
             updated_at = excluded.updated_at, updated_by = excluded.updated_by",
        )
        .bind(org.as_str())
        .bind(Json(config))
        .bind(client_secret.map(|at_rest| &at_rest.value))
        .bind(client_secret.map(|at_rest| &at_rest.wrapped_key))
        .bind(client_secret.map(|at_rest| &at_rest.master_key_id))
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

    /// Moves a batch of client secrets under the current master key. Returns how many were moved,
    /// how many are left, and the orgs whose secret does not open.
    pub(crate) async fn rewrap_client_secrets(
        &self,
        keys: &MasterKeys,
    ) -> Result<(u64, u64, Vec<String>), OperationError> {
        let (moved, failed) = self
            .store
            .run_tx_with("rewrap_client_secrets", Isolation::ReadCommitted, |tx| {
                Box::pin(async move {
                    let rows: Vec<(String, Vec<u8>, Vec<u8>, String)> = sqlx::query_as(
                        "select org_id, client_secret, wrapped_key, master_key_id from sso_configs \
                         where master_key_id <> $1 order by org_id limit $2 for update skip locked",
                    )
                    .bind(keys.current_id())
                    .bind(REWRAP_BATCH)
                    .fetch_all(&mut **tx)
                    .await
                    .map_err(OperationError::query("read client secrets under old master keys"))?;
                    let (mut moved, mut failed) = (0, Vec::new());
                    for (id, value, wrapped_key, master_key_id) in rows {
                        let org = OrgId::new(id.clone())
                            .map_err(|error| OperationError::corrupt("sso_configs", error.to_string()))?;
                        let stored = AtRest {
                            master_key_id,
                            wrapped_key,
                            value,
                        };
                        let Ok(wrapped) = rewrap_client_secret(keys, &org, &stored) else {
                            failed.push(format!("the client secret of single sign-on of org {org} does not open; set it anew"));
                            continue;
                        };
                        sqlx::query("update sso_configs set wrapped_key = $2, master_key_id = $3 where org_id = $1")
                            .bind(&id)
                            .bind(&wrapped.wrapped_key)
                            .bind(&wrapped.master_key_id)
                            .execute(&mut **tx)
                            .await
                            .map_err(OperationError::query("wrap the key of a client secret anew"))?;
                        moved += 1;
                    }
                    Ok::<_, OperationError>((moved, failed))
                })
            })
            .await?;
        let left: i64 =
            sqlx::query_scalar("select count(*) from sso_configs where master_key_id <> $1")
                .bind(keys.current_id())
                .fetch_one(self.store.pool())
                .await
                .map_err(OperationError::query(
                    "count client secrets under old master keys",
                ))?;
        Ok((moved, u64::try_from(left).unwrap_or_default(), failed))
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
