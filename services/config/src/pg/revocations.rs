//! Which tokens ended before their time: what the bucket `revoked` must tell.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::types::Uuid;

use super::Database;
use crate::error::OperationError;

/// Told with one question.
const BATCH: i64 = 256;

/// A token that ended before its time.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Revocation {
    pub(crate) token_id: Uuid,
    pub(crate) org_id: String,
    /// The team, or the org itself.
    pub(crate) node_id: String,
    revoked_at: jiff_sqlx::Timestamp,
}

impl Revocation {
    pub(crate) fn at(&self) -> Timestamp {
        self.revoked_at.to_jiff()
    }
}

impl Database {
    /// Those that were not told yet, oldest first; not all of them at once.
    pub(crate) async fn untold_revocations(&self) -> Result<Vec<Revocation>, OperationError> {
        sqlx::query_as(
            "select token_id, org_id, node_id, revoked_at from revocations where not published \
             order by revoked_at limit $1",
        )
        .bind(BATCH)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("list revocations that were not told"))
    }

    /// Notes that they were told.
    pub(crate) async fn revocations_told(&self, ids: &[Uuid]) -> Result<(), OperationError> {
        sqlx::query("update revocations set published = true where token_id = any($1)")
            .bind(ids)
            .execute(self.store.pool())
            .await
            .map_err(OperationError::query("note that revocations were told"))?;
        Ok(())
    }

    /// Ids of those since then that were told.
    pub(crate) async fn told_revocations(
        &self,
        since: Timestamp,
    ) -> Result<Vec<Uuid>, OperationError> {
        sqlx::query_scalar("select token_id from revocations where published and revoked_at >= $1")
            .bind(since.to_sqlx())
            .fetch_all(self.store.pool())
            .await
            .map_err(OperationError::query("list revocations"))
    }

    /// Has them told once more: the bucket was lost.
    pub(crate) async fn tell_revocations_again(&self, ids: &[Uuid]) -> Result<(), OperationError> {
        sqlx::query("update revocations set published = false where token_id = any($1)")
            .bind(ids)
            .execute(self.store.pool())
            .await
            .map_err(OperationError::query("have revocations told again"))?;
        Ok(())
    }

    /// Drops what nobody keeps in memory any more.
    pub(crate) async fn drop_revocations(&self, before: Timestamp) -> Result<(), OperationError> {
        sqlx::query("delete from revocations where published and revoked_at < $1")
            .bind(before.to_sqlx())
            .execute(self.store.pool())
            .await
            .map_err(OperationError::query("drop old revocations"))?;
        Ok(())
    }
}
