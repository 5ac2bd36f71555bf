//! Replacing the master key: data keys are wrapped anew, values are not touched.

use tocsin_store::{Isolation, Tx};

use super::refused;
use super::rows::{StoredRow, StoredSecret};
use crate::error::OperationError;
use crate::pg::Database;
use crate::secrets::envelope;
use crate::secrets::master::MasterKeys;
use crate::secrets::random;

/// Rows whose data keys one transaction of a rotation wraps anew: it holds their locks for some
/// milliseconds.
const REWRAP_BATCH: i64 = 100;

/// How far a rotation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rewrapped {
    /// Wrapped anew by this call.
    pub(crate) rewrapped: u64,
    /// Still under other keys.
    pub(crate) remaining: u64,
    /// What could not be wrapped anew, and why.
    pub(crate) failed: Vec<String>,
}

impl Database {
    /// Wraps a batch of data keys under the current master key. Called until nothing is left; it may
    /// stop anywhere, and several may run at once.
    pub(crate) async fn rewrap_secrets(
        &self,
        keys: &MasterKeys,
    ) -> Result<Rewrapped, OperationError> {
        let (rewrapped, failed) = self
            .store
            .run_tx_with("rewrap_secrets", Isolation::ReadCommitted, |tx| {
                Box::pin(async move { rewrap(tx, keys).await })
            })
            .await?;
        let remaining: i64 =
            sqlx::query_scalar("select count(*) from secrets where master_key_id <> $1")
                .bind(keys.current_id())
                .fetch_one(self.store.pool())
                .await
                .map_err(OperationError::query("count secrets under old master keys"))?;
        Ok(Rewrapped {
            rewrapped,
            remaining: u64::try_from(remaining).unwrap_or_default(),
            failed,
        })
    }

    /// How many secrets are under which master key.
    pub(crate) async fn secrets_by_master_key(&self) -> Result<Vec<(String, i64)>, OperationError> {
        sqlx::query_as(
            "select master_key_id, count(*) from ( \
                 select master_key_id from secrets union all \
                 select master_key_id from sso_configs where master_key_id is not null) as everything \
             group by master_key_id order by master_key_id",
        )
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("count secrets by master key"))
    }
}

/// How many, and what could not be: a damaged row does not hold up the others.
async fn rewrap(tx: &mut Tx<'_>, keys: &MasterKeys) -> Result<(u64, Vec<String>), OperationError> {
    let rows: Vec<StoredRow> = sqlx::query_as(
        "select secrets.*, version as latest_version from secrets where master_key_id <> $1 \
         order by org_id, node_id, name limit $2 for update skip locked",
    )
    .bind(keys.current_id())
    .bind(REWRAP_BATCH)
    .fetch_all(&mut **tx)
    .await
    .map_err(OperationError::query("read secrets under old master keys"))?;
    let (mut count, mut failed) = (0, Vec::new());
    for row in rows {
        let stored = StoredSecret::try_from(row)?;
        let nonce = random()?;
        let wrapped = envelope::rewrap(keys, &stored.place(), &stored.at_rest, &nonce);
        let wrapped = match wrapped {
            Ok(wrapped) => wrapped,
            Err(error) => {
                failed.push(refused(error, &stored.facts).to_string());
                continue;
            }
        };
        sqlx::query(
            "update secrets set master_key_id = $4, wrapped_key = $5 \
             where org_id = $1 and node_id = $2 and name = $3",
        )
        .bind(stored.facts.org.as_str())
        .bind(stored.facts.node.as_str())
        .bind(stored.facts.name.as_str())
        .bind(&wrapped.master_key_id)
        .bind(&wrapped.wrapped_key)
        .execute(&mut **tx)
        .await
        .map_err(OperationError::query("wrap a data key anew"))?;
        count += 1;
    }
    Ok((count, failed))
}
