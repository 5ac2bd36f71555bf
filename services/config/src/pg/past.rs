//! The tree as it was: its history.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde_json::Value;
use sqlx::types::Json;
use tocsin_wire::OrgId;

use super::Database;
use super::nodes::{WALK_LIMIT, no_node};
use super::rows::version;
use crate::decide::Refusal;
use crate::error::OperationError;
use crate::explain::{LastChange, LastChanges};
use crate::merge::Config;
use crate::node::{Kind, Lineage, Node, NodeId};

/// One version of a node of an org.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct AuditRow {
    pub(crate) node_id: String,
    pub(crate) version: i64,
    pub(crate) revision: i64,
    pub(crate) what: String,
    pub(crate) diff: Value,
    pub(crate) config: Option<Value>,
    pub(crate) changed_by: String,
    pub(crate) changed_at: jiff_sqlx::Timestamp,
    pub(crate) reason: String,
}

/// Which versions of an org's nodes are asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct AuditFilter {
    pub(crate) node: Option<NodeId>,
    pub(crate) changed_by: Option<String>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
    pub(crate) limit: i64,
    /// With the whole config of each version.
    pub(crate) full: bool,
}

#[derive(sqlx::FromRow)]
struct PastRow {
    node_id: String,
    kind: String,
    parent_id: Option<String>,
    name: String,
    version: i64,
    config: Option<Json<Config>>,
    changed_at: jiff_sqlx::Timestamp,
    changed_by: String,
}

impl Database {
    /// The line of a node at a time; `None` when it was not there then.
    pub(crate) async fn lineage_at(
        &self,
        org: &OrgId,
        node: &NodeId,
        at: Timestamp,
    ) -> Result<Option<Lineage>, OperationError> {
        let rows: Vec<PastRow> = sqlx::query_as(
            "with recursive line as ( \
                 (select node_id::text, kind, parent_id::text, name, version, config, changed_at, \
                         changed_by, 0 as up \
                  from node_history where org_id = $1 and node_id = $2 and changed_at <= $3 \
                  order by version desc limit 1) \
                 union all \
                 select above.* from line cross join lateral ( \
                     select node_id::text, kind, parent_id::text, name, version, config, changed_at, \
                            changed_by, line.up + 1 \
                     from node_history where org_id = $1 and node_id = line.parent_id and changed_at <= $3 \
                     order by version desc limit 1) as above \
                 where line.up < $4) \
             select node_id, kind, parent_id, name, version, config, changed_at, changed_by \
             from line order by up desc",
        )
        .bind(org.as_str())
        .bind(node.as_str())
        .bind(at.to_sqlx())
        .bind(WALK_LIMIT)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("read a node as it was"))?;
        // Without a config, it was deleted then.
        let nodes: Option<Vec<Node>> = rows
            .into_iter()
            .map(|row| past_node(org, row).transpose())
            .collect::<Option<Result<_, _>>>()
            .transpose()?;
        Ok(nodes.filter(|nodes| !nodes.is_empty()).map(Lineage))
    }

    /// A node's own config at a version; `None` when it was deleted in it.
    pub(crate) async fn config_at(
        &self,
        org: &OrgId,
        node: &NodeId,
        at: u64,
    ) -> Result<Option<Config>, OperationError> {
        let found: Option<Option<Json<Config>>> = sqlx::query_scalar(
            "select config from node_history where org_id = $1 and node_id = $2 and version = $3",
        )
        .bind(org.as_str())
        .bind(node.as_str())
        .bind(i64::try_from(at).unwrap_or(i64::MAX))
        .fetch_optional(self.store.pool())
        .await
        .map_err(OperationError::query("read an earlier version"))?;
        let missing = || Refusal::NoVersion {
            node: node.clone(),
            version: at,
        };
        Ok(found.ok_or_else(missing)?.map(|config| config.0))
    }

    /// When each leaf of some nodes was last written.
    pub(crate) async fn last_changes(
        &self,
        org: &OrgId,
        nodes: &[&NodeId],
    ) -> Result<LastChanges, OperationError> {
        let ids: Vec<&str> = nodes.iter().map(|node| node.as_str()).collect();
        type Row = (String, String, i64, String, jiff_sqlx::Timestamp, String);
        let rows: Vec<Row> = sqlx::query_as(
            "select distinct on (node_id, path) node_id, path, version, changed_by, changed_at, reason \
             from node_history cross join lateral ( \
                 select jsonb_object_keys(diff -> 'added') union all select jsonb_object_keys(diff -> 'changed') \
             ) as leaves (path) \
             where org_id = $1 and node_id = any($2) order by node_id, path, version desc",
        )
        .bind(org.as_str())
        .bind(ids)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("read who set what"))?;
        let entry = |(node, path, number, by, at, reason): Row| {
            let node = NodeId::new(node)
                .map_err(|error| OperationError::corrupt("node_history", error.to_string()))?;
            let change = LastChange {
                version: version(number)?,
                by,
                at: at.to_jiff(),
                reason,
            };
            Ok(((node, path), change))
        };
        rows.into_iter().map(entry).collect()
    }

    /// Versions of an org's nodes, newest first.
    pub(crate) async fn audit(
        &self,
        org: &OrgId,
        filter: &AuditFilter,
    ) -> Result<Vec<AuditRow>, OperationError> {
        sqlx::query_as(
            "select node_id, version, revision, what, diff, case when $7 then config end as config, \
                    changed_by, changed_at, reason from node_history \
             where org_id = $1 and ($2::text is null or node_id = $2) \
               and ($3::text is null or changed_by = $3) \
               and ($4::timestamptz is null or changed_at >= $4) \
               and ($5::timestamptz is null or changed_at <= $5) \
             order by changed_at desc, revision desc, node_id, version desc limit $6",
        )
        .bind(org.as_str())
        .bind(filter.node.as_ref().map(NodeId::as_str))
        .bind(filter.changed_by.as_deref())
        .bind(filter.since.map(|at| at.to_sqlx()))
        .bind(filter.until.map(|at| at.to_sqlx()))
        .bind(filter.limit)
        .bind(filter.full)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("read the audit of an org"))
    }

    /// What happened to some nodes after one time and up to another, newest first.
    pub(crate) async fn changes_between(
        &self,
        org: &OrgId,
        nodes: &[NodeId],
        (from, to): (Timestamp, Timestamp),
        limit: i64,
    ) -> Result<Vec<AuditRow>, OperationError> {
        let ids: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
        sqlx::query_as(
            "select node_id, version, revision, what, diff, null::jsonb as config, changed_by, \
                    changed_at, reason from node_history \
             where org_id = $1 and node_id = any($2) and changed_at > $3 and changed_at <= $4 \
             order by changed_at desc, revision desc, node_id, version desc limit $5",
        )
        .bind(org.as_str())
        .bind(ids)
        .bind(from.to_sqlx())
        .bind(to.to_sqlx())
        .bind(limit)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query(
            "read what happened between two times",
        ))
    }

    /// Whether there is such an org.
    pub(crate) async fn must_have_org(&self, org: &OrgId) -> Result<(), OperationError> {
        let id =
            NodeId::new(org.as_str()).map_err(|_invalid| Refusal::NoOrg { org: org.clone() })?;
        match self.find_lineage(org, &id).await? {
            Some(_) => Ok(()),
            None => Err(Refusal::NoOrg { org: org.clone() }.into()),
        }
    }

    /// Whether a node is there or was once.
    pub(crate) async fn must_have_been(
        &self,
        org: &OrgId,
        node: &NodeId,
    ) -> Result<(), OperationError> {
        let known: bool = sqlx::query_scalar(
            "select exists (select from node_history where org_id = $1 and node_id = $2)",
        )
        .bind(org.as_str())
        .bind(node.as_str())
        .fetch_one(self.store.pool())
        .await
        .map_err(OperationError::query("look for a node"))?;
        if known {
            return Ok(());
        }
        Err(no_node(org, node).into())
    }
}

fn past_node(org: &OrgId, row: PastRow) -> Result<Option<Node>, OperationError> {
    let corrupt = |why: String| OperationError::corrupt("node_history", why);
    let id = |text: String| NodeId::new(text).map_err(|error| corrupt(error.to_string()));
    let Some(config) = row.config else {
        return Ok(None);
    };
    Ok(Some(Node {
        org: org.clone(),
        id: id(row.node_id)?,
        parent: row.parent_id.map(id).transpose()?,
        kind: Kind::parse(&row.kind).ok_or_else(|| corrupt(format!("kind {}", row.kind)))?,
        name: row.name,
        version: version(row.version)?,
        config: config.0,
        updated_at: row.changed_at.to_jiff(),
        updated_by: row.changed_by,
    }))
}
