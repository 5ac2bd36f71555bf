//! Loads what some requests need to know.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::types::Json;
use tocsin_store::Tx;
use tocsin_wire::OrgId;

use crate::decide::{Action, Known, WriteRequest};
use crate::error::OperationError;
use crate::merge::Config;
use crate::node::{Node, NodeId, Tree};
use crate::pg::nodes::WALK_LIMIT;
use crate::pg::rows::{self, NodeRow};

/// After the org is locked.
pub(super) async fn load(
    tx: &mut Tx<'_>,
    org: &OrgId,
    requests: &[WriteRequest],
) -> Result<Known, OperationError> {
    let mut wanted: BTreeSet<&str> = BTreeSet::from([org.as_str()]);
    let mut with_below: BTreeSet<&str> = BTreeSet::new();
    let mut created: BTreeSet<&str> = BTreeSet::new();
    let mut versions: BTreeSet<(&NodeId, u64)> = BTreeSet::new();
    for WriteRequest { node, action, .. } in requests {
        wanted.insert(node.as_str());
        match action {
            Action::Create { parent, .. } => {
                created.insert(node.as_str());
                wanted.extend(parent.as_ref().map(NodeId::as_str));
            }
            Action::Place { parent, .. } => {
                wanted.extend(parent.as_ref().map(NodeId::as_str));
                if parent.is_some() {
                    with_below.insert(node.as_str());
                }
            }
            Action::Delete { .. } => {
                with_below.insert(node.as_str());
            }
            Action::Rollback(version) => {
                versions.insert((node, *version));
            }
            Action::Patch(_) | Action::Replace(_) => {}
        }
    }
    Ok(Known {
        org: org.clone(),
        tree: tree(tx, org, &wanted, &with_below).await?,
        last_versions: last_versions(tx, org, &created).await?,
        past: past(tx, org, &versions).await?,
    })
}

/// The nodes with all above them, and all below some.
async fn tree(
    tx: &mut Tx<'_>,
    org: &OrgId,
    wanted: &BTreeSet<&str>,
    with_below: &BTreeSet<&str>,
) -> Result<Tree, OperationError> {
    let columns =
        |ids: &BTreeSet<&str>| -> Vec<String> { ids.iter().map(|id| (*id).to_owned()).collect() };
    let rows: Vec<NodeRow> = sqlx::query_as(
        "with recursive up (node_id, parent_id, step) as ( \
             select node_id::text, parent_id::text, 0 from nodes where org_id = $1 and node_id = any($2) \
             union \
             select parent.node_id::text, parent.parent_id::text, up.step + 1 \
             from up join nodes parent on parent.org_id = $1 and parent.node_id = up.parent_id \
             where up.step < $4), \
         down (node_id, step) as ( \
             select node_id::text, 0 from nodes where org_id = $1 and node_id = any($3) \
             union \
             select child.node_id::text, down.step + 1 \
             from down join nodes child on child.org_id = $1 and child.parent_id = down.node_id \
             where down.step < $4) \
         select org_id, node_id, kind, parent_id, name, version, config, updated_at, updated_by \
         from nodes where org_id = $1 \
           and node_id in (select node_id from up union select node_id from down)",
    )
    .bind(org.as_str())
    .bind(columns(wanted))
    .bind(columns(with_below))
    .bind(WALK_LIMIT)
    .fetch_all(&mut **tx)
    .await
    .map_err(OperationError::query("read the nodes of a write"))?;
    let nodes: Result<Vec<Node>, _> = rows.into_iter().map(Node::try_from).collect();
    Ok(Tree::new(nodes?))
}

async fn last_versions(
    tx: &mut Tx<'_>,
    org: &OrgId,
    created: &BTreeSet<&str>,
) -> Result<BTreeMap<NodeId, u64>, OperationError> {
    if created.is_empty() {
        return Ok(BTreeMap::new());
    }
    let created: Vec<&str> = created.iter().copied().collect();
    let found: Vec<(String, i64)> = sqlx::query_as(
        "select node_id, max(version) from node_history \
         where org_id = $1 and node_id = any($2) group by node_id",
    )
    .bind(org.as_str())
    .bind(created)
    .fetch_all(&mut **tx)
    .await
    .map_err(OperationError::query("read the last versions"))?;
    let entry = |(id, version): (String, i64)| Ok((parse(id)?, rows::version(version)?));
    found.into_iter().map(entry).collect()
}

async fn past(
    tx: &mut Tx<'_>,
    org: &OrgId,
    versions: &BTreeSet<(&NodeId, u64)>,
) -> Result<BTreeMap<(NodeId, u64), Option<Config>>, OperationError> {
    if versions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (ids, numbers): (Vec<&str>, Vec<i64>) = versions
        .iter()
        .filter_map(|(id, version)| Some((id.as_str(), i64::try_from(*version).ok()?)))
        .unzip();
    let found: Vec<(String, i64, Option<Json<Config>>)> = sqlx::query_as(
        "select node_id, version, config from node_history \
         join unnest($2::text[], $3::bigint[]) as asked (node_id, version) using (node_id, version) \
         where org_id = $1",
    )
    .bind(org.as_str())
    .bind(ids)
    .bind(numbers)
    .fetch_all(&mut **tx)
    .await
    .map_err(OperationError::query("read earlier versions"))?;
    let entry = |(id, version, config): (String, i64, Option<Json<Config>>)| {
        let key = (parse(id)?, rows::version(version)?);
        Ok((key, config.map(|config| config.0)))
    };
    found.into_iter().map(entry).collect()
}

fn parse(id: String) -> Result<NodeId, OperationError> {
    NodeId::new(id).map_err(|error| OperationError::corrupt("nodes", error.to_string()))
}
