//! Settings of an org, and what live tests of integrations said last.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::types::Json;
use tocsin_wire::OrgId;

use super::{Author, Database};
use crate::error::OperationError;
use crate::merge::Config;
use crate::node::NodeId;

/// The root of an org, and who last changed one setting of it.
#[derive(Debug, Clone)]
pub(crate) struct RootSetting {
    pub(crate) config: Config,
    pub(crate) created_at: Timestamp,
    /// When it was never set: when and by whom the org was created.
    pub(crate) updated_at: Timestamp,
    pub(crate) updated_by: String,
}

#[derive(sqlx::FromRow)]
struct RootRow {
    config: Json<Config>,
    created_at: jiff_sqlx::Timestamp,
    updated_at: jiff_sqlx::Timestamp,
    updated_by: String,
}

/// What a live test said.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct TestResult {
    pub(crate) integration: String,
    pub(crate) success: bool,
    pub(crate) message: String,
    pub(crate) tested_at: jiff_sqlx::Timestamp,
    pub(crate) tested_by: String,
}

impl Database {
    /// `path`: dotted, as differences name it. `None`: no such org.
    pub(crate) async fn root_setting(
        &self,
        org: &OrgId,
        path: &str,
    ) -> Result<Option<RootSetting>, OperationError> {
        let row: Option<RootRow> = sqlx::query_as(
            "select nodes.config, nodes.created_at, \
                    coalesce(changed.changed_at, nodes.created_at) as updated_at, \
                    coalesce(changed.changed_by, created.changed_by, nodes.updated_by) as updated_by \
             from nodes \
             left join lateral ( \
                 select changed_at, changed_by from node_history as history \
                 where history.org_id = nodes.org_id and history.node_id = nodes.node_id \
                   and (diff -> 'added' ? $2 or diff -> 'changed' ? $2 or diff -> 'removed' ? $2) \
                 order by version desc limit 1) as changed on true \
             left join lateral ( \
                 select changed_by from node_history as history \
                 where history.org_id = nodes.org_id and history.node_id = nodes.node_id and what = 'created' \
                 order by version desc limit 1) as created on true \
             where nodes.org_id = $1 and nodes.node_id = $1",
        )
        .bind(org.as_str())
        .bind(path)
        .fetch_optional(self.store.pool())
        .await
        .map_err(OperationError::query("read a setting of an org"))?;
        Ok(row.map(|row| RootSetting {
            config: row.config.0,
            created_at: row.created_at.to_jiff(),
            updated_at: row.updated_at.to_jiff(),
            updated_by: row.updated_by,
        }))
    }

    /// Of a node, by integration.
    pub(crate) async fn integration_tests(
        &self,
        org: &OrgId,
        node: &NodeId,
    ) -> Result<Vec<TestResult>, OperationError> {
        sqlx::query_as(
            "select integration, success, message, tested_at, tested_by from integration_tests \
             where org_id = $1 and node_id = $2",
        )
        .bind(org.as_str())
        .bind(node.as_str())
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("read the tests of integrations"))
    }

    /// The last word counts.
    pub(crate) async fn note_integration_test(
        &self,
        (org, node): (&OrgId, &NodeId),
        integration: &str,
        (success, message): (bool, &str),
        author: &Author,
    ) -> Result<(), OperationError> {
        sqlx::query(
            "insert into integration_tests (org_id, node_id, integration, success, message, tested_at, tested_by) \
             values ($1, $2, $3, $4, $5, $6, $7) on conflict (org_id, node_id, integration) do update set \
                 success = excluded.success, message = excluded.message, tested_at = excluded.tested_at, \
                 tested_by = excluded.tested_by",
        )
        .bind(org.as_str())
        .bind(node.as_str())
        .bind(integration)
        .bind(success)
        .bind(message)
        .bind(author.at.to_sqlx())
        .bind(&author.by)
        .execute(self.store.pool())
        .await
        .map_err(OperationError::query("note the test of an integration"))?;
        Ok(())
    }
}
