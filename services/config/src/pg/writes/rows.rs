//! Stores effects: one statement per table, however many nodes there are.

use std::collections::{BTreeMap, BTreeSet};

use jiff_sqlx::ToSqlx as _;
use sqlx::types::Json;
use tocsin_store::Tx;
use tocsin_wire::OrgId;

use crate::change::What;
use crate::decide::{Effect, Known};
use crate::diff::Diff;
use crate::error::OperationError;
use crate::merge::Config;
use crate::node::{Node, NodeId};
use crate::pg::nodes::WALK_LIMIT;

/// Inserts, updates and deletes, so that the table says what the last effect of each node says.
pub(super) async fn store_nodes(
    tx: &mut Tx<'_>,
    org: &OrgId,
    before: &Known,
    after: &Known,
    effects: &[Effect],
) -> Result<(), OperationError> {
    let touched: BTreeMap<&NodeId, &Effect> = effects
        .iter()
        .map(|effect| (&effect.after.id, effect))
        .collect();
    let deleted: BTreeSet<&NodeId> = effects
        .iter()
        .filter(|effect| effect.is_deletion())
        .map(|effect| &effect.after.id)
        .collect();
    let (mut new, mut kept, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for id in touched.keys() {
        match (before.tree.get(id), after.tree.get(id)) {
            (None, Some(node)) => new.push(node),
            (Some(_), Some(node)) if !deleted.contains(id) => kept.push(node),
            // Deleted and created again: nothing of the old one stays.
            (Some(_), Some(node)) => {
                gone.push(id.as_str());
                new.push(node);
            }
            (Some(_), None) => gone.push(id.as_str()),
            (None, None) => {}
        }
    }
    delete(tx, org, gone).await?;
    insert(tx, org, after, &new).await?;
    update(tx, org, after, &kept).await
}

async fn delete(tx: &mut Tx<'_>, org: &OrgId, ids: Vec<&str>) -> Result<(), OperationError> {
    if ids.is_empty() {
        return Ok(());
    }
    // Tokens and identifiers go with them.
    sqlx::query("delete from nodes where org_id = $1 and node_id = any($2)")
        .bind(org.as_str())
        .bind(ids)
        .execute(&mut **tx)
        .await
        .map_err(OperationError::query("delete nodes"))?;
    Ok(())
}

/// Kind and depth of the parent, as the foreign key wants them.
fn place<'a>(known: &'a Known, node: &Node) -> (Option<&'a str>, Option<i32>) {
    let line = node
        .parent
        .as_ref()
        .and_then(|parent| known.tree.lineage(parent));
    let Some(line) = line else {
        return (None, None);
    };
    let kind = line.node().map(|parent| parent.kind.as_str());
    // Longer than the column holds is refused by the schema long before.
    let depth = i32::try_from(line.0.len()).unwrap_or(i32::MAX);
    (kind, Some(depth.saturating_sub(1)))
}

#[derive(Default)]
struct Columns<'a> {
    ids: Vec<&'a str>,
    kinds: Vec<&'static str>,
    parents: Vec<Option<&'a str>>,
    parent_kinds: Vec<Option<&'a str>>,
    parent_depths: Vec<Option<i32>>,
    names: Vec<&'a str>,
    versions: Vec<i64>,
    configs: Vec<Json<&'a Config>>,
    times: Vec<jiff_sqlx::Timestamp>,
    authors: Vec<&'a str>,
}

fn columns<'a>(known: &'a Known, nodes: &[&'a Node]) -> Columns<'a> {
    let mut columns = Columns::default();
    for node in nodes {
        let (parent_kind, parent_depth) = place(known, node);
        columns.ids.push(node.id.as_str());
        columns.kinds.push(node.kind.as_str());
        columns
            .parents
            .push(node.parent.as_ref().map(NodeId::as_str));
        columns.parent_kinds.push(parent_kind);
        columns.parent_depths.push(parent_depth);
        columns.names.push(&node.name);
        columns.versions.push(stored(node.version));
        columns.configs.push(Json(&node.config));
        columns.times.push(node.updated_at.to_sqlx());
        columns.authors.push(&node.updated_by);
    }
    columns
}

/// A version beyond what the column holds would take a write every nanosecond for 292 years.
fn stored(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

const INSERT: &str = "\
insert into nodes (org_id, node_id, kind, parent_id, parent_kind, parent_depth, name, version, \
                   config, created_at, updated_at, updated_by) \
select $1, node_id, kind, parent_id, parent_kind, parent_depth, name, version, config, updated_at, \
       updated_at, updated_by \
from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::int[], $7::text[], $8::bigint[], \
            $9::jsonb[], $10::timestamptz[], $11::text[]) \
  as new (node_id, kind, parent_id, parent_kind, parent_depth, name, version, config, updated_at, \
          updated_by)";

const UPDATE: &str = "\
update nodes set parent_id = new.parent_id, parent_kind = new.parent_kind, \
                 parent_depth = new.parent_depth, name = new.name, version = new.version, \
                 config = new.config, updated_at = new.updated_at, updated_by = new.updated_by \
from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::int[], $7::text[], $8::bigint[], \
            $9::jsonb[], $10::timestamptz[], $11::text[]) \
  as new (node_id, kind, parent_id, parent_kind, parent_depth, name, version, config, updated_at, \
          updated_by) \
where nodes.org_id = $1 and nodes.node_id = new.node_id";

async fn insert(
    tx: &mut Tx<'_>,
    org: &OrgId,
    known: &Known,
    nodes: &[&Node],
) -> Result<(), OperationError> {
    put(tx, org, columns(known, nodes), (INSERT, "insert nodes")).await
}

async fn update(
    tx: &mut Tx<'_>,
    org: &OrgId,
    known: &Known,
    nodes: &[&Node],
) -> Result<(), OperationError> {
    put(tx, org, columns(known, nodes), (UPDATE, "update nodes")).await
}

async fn put(
    tx: &mut Tx<'_>,
    org: &OrgId,
    columns: Columns<'_>,
    (statement, operation): (&'static str, &'static str),
) -> Result<(), OperationError> {
    if columns.ids.is_empty() {
        return Ok(());
    }
    sqlx::query(statement)
        .bind(org.as_str())
        .bind(columns.ids)
        .bind(columns.kinds)
        .bind(columns.parents)
        .bind(columns.parent_kinds)
        .bind(columns.parent_depths)
        .bind(columns.names)
        .bind(columns.versions)
        .bind(columns.configs)
        .bind(columns.times)
        .bind(columns.authors)
        .execute(&mut **tx)
        .await
        .map_err(OperationError::query(operation))?;
    Ok(())
}

/// One history row per effect.
pub(super) async fn record(
    tx: &mut Tx<'_>,
    org: &OrgId,
    revision: u64,
    effects: &[Effect],
) -> Result<(), OperationError> {
    fn column<'a, T>(effects: &'a [Effect], value: impl Fn(&'a Effect) -> T) -> Vec<T> {
        effects.iter().map(value).collect()
    }
    let node = |effect: &'_ Effect| -> NodeId { effect.after.id.clone() };
    let previous = column(effects, |effect| -> Option<Json<&Config>> {
        effect.before.as_ref().map(|before| Json(&before.config))
    });
    let configs = column(effects, |effect| -> Option<Json<&Config>> {
        (effect.what != What::Deleted).then_some(Json(&effect.after.config))
    });
    let ids: Vec<String> = effects
        .iter()
        .map(|effect| node(effect).to_string())
        .collect();
    sqlx::query(
        "insert into node_history (org_id, revision, node_id, version, what, kind, parent_id, name, \
                                   previous, config, diff, changed_by, changed_at, reason) \
         select $1, $2, row.* \
         from unnest($3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], \
                     $9::jsonb[], $10::jsonb[], $11::jsonb[], $12::text[], $13::timestamptz[], \
                     $14::text[]) as row",
    )
    .bind(org.as_str())
    .bind(stored(revision))
    .bind(ids)
    .bind(column(effects, |effect| stored(effect.after.version)))
    .bind(column(effects, |effect| effect.what.as_str()))
    .bind(column(effects, |effect| effect.after.kind.as_str()))
    .bind(column(effects, |effect| {
        effect.after.parent.as_ref().map(NodeId::as_str)
    }))
    .bind(column(effects, |effect| effect.after.name.as_str()))
    .bind(previous)
    .bind(configs)
    .bind(column(effects, |effect| -> Json<&Diff> {
        Json(&effect.diff)
    }))
    .bind(column(effects, |effect| effect.after.updated_by.as_str()))
    .bind(column(effects, |effect| effect.after.updated_at.to_sqlx()))
    .bind(column(effects, |effect| effect.reason.as_str()))
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("record versions"))?;
    Ok(())
}

/// For each node, bytes of the configs on the longest line through it.
pub(super) async fn heaviest(
    tx: &mut Tx<'_>,
    org: &OrgId,
    ids: Vec<&str>,
) -> Result<Vec<(String, i64)>, OperationError> {
    sqlx::query_as(
        "with recursive up (start, parent_id, bytes, step) as ( \
             select node_id::text, parent_id::text, octet_length(config::text)::bigint, 0 \
             from nodes where org_id = $1 and node_id = any($2) \
             union all \
             select up.start, parent.parent_id::text, up.bytes + octet_length(parent.config::text), up.step + 1 \
             from up join nodes parent on parent.org_id = $1 and parent.node_id = up.parent_id \
             where up.step < $3), \
         down (start, node_id, bytes, step) as ( \
             select node_id::text, node_id::text, 0::bigint, 0 \
             from nodes where org_id = $1 and node_id = any($2) \
             union all \
             select down.start, child.node_id::text, down.bytes + octet_length(child.config::text), down.step + 1 \
             from down join nodes child on child.org_id = $1 and child.parent_id = down.node_id \
             where down.step < $3) \
         select up.start, max(up.bytes) + (select max(down.bytes) from down where down.start = up.start) \
         from up group by up.start",
    )
    .bind(org.as_str())
    .bind(ids)
    .bind(WALK_LIMIT)
    .fetch_all(&mut **tx)
    .await
    .map_err(OperationError::query("add up the configs of a line"))
}
