//! Creating, patching and deleting nodes: each one transaction with its history row, its
//! identifiers and its outbox row.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::types::Json;
use tocsin_store::{Isolation, Tx, outbox};
use tocsin_wire::{OrgId, TeamId};

use super::{Database, nodes, routing, rows};
use crate::change::{Change, What};
use crate::decide::{self, NewNode, Refusal};
use crate::diff::{self, Diff};
use crate::error::OperationError;
use crate::merge::Config;
use crate::node::{Kind, Node, NodeId};
use crate::routing::Identifier;

/// Rows are locked explicitly, so waiting for them suffices and nothing has to be repeated.
const ISOLATION: Isolation = Isolation::ReadCommitted;

/// Who writes, and when.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    pub(crate) by: String,
    pub(crate) at: Timestamp,
}

/// A change of a node's own config.
#[derive(Debug, Clone)]
pub(crate) struct PatchRequest {
    pub(crate) patch: Config,
    pub(crate) expected: Option<u64>,
    pub(crate) reason: String,
}

impl Database {
    /// Creates a node. Its version goes on where a namesake that was deleted stopped.
    pub(crate) async fn create(
        &self,
        new: &NewNode,
        author: &Author,
    ) -> Result<Node, OperationError> {
        self.store
            .run_tx_with("create_node", ISOLATION, |tx| {
                Box::pin(async move { create(tx, new, author).await })
            })
            .await
    }

    /// Patches a node's own config.
    pub(crate) async fn patch(
        &self,
        org: &OrgId,
        node: &NodeId,
        request: &PatchRequest,
        author: &Author,
    ) -> Result<Node, OperationError> {
        self.store
            .run_tx_with("patch_node", ISOLATION, |tx| {
                Box::pin(async move { patch(tx, (org, node), request, author).await })
            })
            .await
    }

    /// Deletes a team with its config, tokens and identifiers. Its history stays.
    pub(crate) async fn delete_team(
        &self,
        org: &OrgId,
        team: &TeamId,
        expected: Option<u64>,
        author: &Author,
    ) -> Result<(), OperationError> {
        self.store
            .run_tx_with("delete_team", ISOLATION, |tx| {
                Box::pin(async move { delete_team(tx, (org, team), expected, author).await })
            })
            .await
    }
}

async fn create(tx: &mut Tx<'_>, new: &NewNode, author: &Author) -> Result<Node, OperationError> {
    let parent = match &new.parent {
        Some(parent) => nodes::read_lineage(&mut **tx, &new.org, parent).await?,
        None => None,
    };
    if new.kind != Kind::Org && parent.is_none() {
        must_exist(tx, &new.org).await?;
    }
    let outcome = decide::create(new, parent.as_ref())?;
    let name = if new.name.is_empty() {
        new.id.to_string()
    } else {
        new.name.clone()
    };
    let node = Node {
        org: new.org.clone(),
        id: new.id.clone(),
        parent: new.parent.clone(),
        kind: new.kind,
        name,
        version: next_version(tx, &new.org, &new.id).await?,
        config: outcome.config,
        updated_at: author.at,
        updated_by: author.by.clone(),
    };
    let parent_kind = parent
        .as_ref()
        .and_then(|line| line.node())
        .map(|node| node.kind.as_str());
    insert(tx, &node, parent_kind).await?;
    let step = Step {
        before: None,
        diff: &outcome.diff,
        reason: "",
        what: What::Created,
    };
    record(tx, &node, &step).await?;
    let touched = claim(tx, None, Some(&node)).await?;
    announce(tx, &node, What::Created, touched).await?;
    Ok(node)
}

/// A missing org is told apart from a missing parent in it.
async fn must_exist(tx: &mut Tx<'_>, org: &OrgId) -> Result<(), OperationError> {
    let exists: bool =
        sqlx::query_scalar("select exists (select from nodes where org_id = $1 and kind = 'org')")
            .bind(org.as_str())
            .fetch_one(&mut **tx)
            .await
            .map_err(OperationError::query("look for an org"))?;
    if exists {
        return Ok(());
    }
    Err(Refusal::NoOrg { org: org.clone() }.into())
}

/// Never one that was used before: message ids derive from it.
async fn next_version(tx: &mut Tx<'_>, org: &OrgId, node: &NodeId) -> Result<u64, OperationError> {
    let last: i64 = sqlx::query_scalar(
        "select coalesce(max(version), 0) from node_history where org_id = $1 and node_id = $2",
    )
    .bind(org.as_str())
    .bind(node.as_str())
    .fetch_one(&mut **tx)
    .await
    .map_err(OperationError::query("read the last version"))?;
    rows::version(last + 1)
}

async fn insert(
    tx: &mut Tx<'_>,
    node: &Node,
    parent_kind: Option<&str>,
) -> Result<(), OperationError> {
    let inserted = sqlx::query(
        "insert into nodes (org_id, node_id, kind, parent_id, parent_kind, name, version, config, \
                            created_at, updated_at, updated_by) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10) on conflict (org_id, node_id) do nothing",
    )
    .bind(node.org.as_str())
    .bind(node.id.as_str())
    .bind(node.kind.as_str())
    .bind(node.parent.as_ref().map(NodeId::as_str))
    .bind(parent_kind)
    .bind(&node.name)
    .bind(stored_version(node))
    .bind(Json(&node.config))
    .bind(node.updated_at.to_sqlx())
    .bind(&node.updated_by)
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("insert a node"))?;
    if inserted.rows_affected() == 1 {
        return Ok(());
    }
    let refusal = Refusal::Exists {
        org: node.org.clone(),
        node: node.id.clone(),
    };
    Err(refusal.into())
}

async fn patch(
    tx: &mut Tx<'_>,
    (org, id): (&OrgId, &NodeId),
    request: &PatchRequest,
    author: &Author,
) -> Result<Node, OperationError> {
    let before = nodes::lock(tx, org, id).await?;
    let outcome = decide::patch(&before, &request.patch, request.expected)?;
    let after = Node {
        version: before.version + 1,
        config: outcome.config,
        updated_at: author.at,
        updated_by: author.by.clone(),
        ..before.clone()
    };
    sqlx::query(
        "update nodes set version = $3, config = $4, updated_at = $5, updated_by = $6 \
         where org_id = $1 and node_id = $2",
    )
    .bind(after.org.as_str())
    .bind(after.id.as_str())
    .bind(stored_version(&after))
    .bind(Json(&after.config))
    .bind(after.updated_at.to_sqlx())
    .bind(&after.updated_by)
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("update a node"))?;
    let step = Step {
        before: Some(&before.config),
        diff: &outcome.diff,
        reason: &request.reason,
        what: What::Updated,
    };
    record(tx, &after, &step).await?;
    let touched = claim(tx, Some(&before), Some(&after)).await?;
    announce(tx, &after, What::Updated, touched).await?;
    Ok(after)
}

async fn delete_team(
    tx: &mut Tx<'_>,
    (org, team): (&OrgId, &TeamId),
    expected: Option<u64>,
    author: &Author,
) -> Result<(), OperationError> {
    let before = nodes::lock(tx, org, team).await?;
    let children: i64 =
        sqlx::query_scalar("select count(*) from nodes where org_id = $1 and parent_id = $2")
            .bind(org.as_str())
            .bind(team.as_str())
            .fetch_one(&mut **tx)
            .await
            .map_err(OperationError::query("count the nodes below a node"))?;
    decide::delete_team(
        &before,
        usize::try_from(children).unwrap_or(usize::MAX),
        expected,
    )?;
    // Tokens and identifiers go with it.
    sqlx::query("delete from nodes where org_id = $1 and node_id = $2")
        .bind(org.as_str())
        .bind(team.as_str())
        .execute(&mut **tx)
        .await
        .map_err(OperationError::query("delete a node"))?;
    let gone = Node {
        version: before.version + 1,
        config: Config::new(),
        updated_at: author.at,
        updated_by: author.by.clone(),
        ..before.clone()
    };
    let step = Step {
        before: Some(&before.config),
        diff: &diff::between(&before.config, &gone.config),
        reason: "",
        what: What::Deleted,
    };
    record(tx, &gone, &step).await?;
    let touched = claim(tx, Some(&before), None).await?;
    announce(tx, &gone, What::Deleted, touched).await
}

/// What the node claimed before or claims now.
async fn claim(
    tx: &mut Tx<'_>,
    before: Option<&Node>,
    after: Option<&Node>,
) -> Result<BTreeSet<Identifier>, OperationError> {
    let Some(node) = after.or(before) else {
        return Ok(BTreeSet::new());
    };
    let written = [routing::Written { before, after }];
    let mut touched = routing::claim(tx, &node.org, &written).await?;
    Ok(touched.remove(&node.id).unwrap_or_default())
}

/// What a history row says beyond the node.
struct Step<'a> {
    before: Option<&'a Config>,
    diff: &'a Diff,
    reason: &'a str,
    what: What,
}

async fn record(tx: &mut Tx<'_>, after: &Node, step: &Step<'_>) -> Result<(), OperationError> {
    let config = (step.what != What::Deleted).then_some(Json(&after.config));
    sqlx::query(
        "insert into node_history (org_id, node_id, version, what, previous, config, diff, \
                                   changed_by, changed_at, reason) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(after.org.as_str())
    .bind(after.id.as_str())
    .bind(stored_version(after))
    .bind(step.what.as_str())
    .bind(step.before.map(Json))
    .bind(config)
    .bind(Json(step.diff))
    .bind(&after.updated_by)
    .bind(after.updated_at.to_sqlx())
    .bind(step.reason)
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("record a version"))?;
    Ok(())
}

/// Last in its transaction: appending holds a lock that other writers wait for.
async fn announce(
    tx: &mut Tx<'_>,
    node: &Node,
    what: What,
    identifiers: BTreeSet<Identifier>,
) -> Result<(), OperationError> {
    let change = Change {
        org: node.org.clone(),
        node: node.id.clone(),
        kind: node.kind,
        version: node.version,
        what,
        about: String::new(),
        by: node.updated_by.clone(),
        at: node.updated_at,
        identifiers,
    };
    outbox::append(tx, &[change.message()?]).await?;
    Ok(())
}

/// A version beyond what the column holds would take a write every nanosecond for 292 years.
fn stored_version(node: &Node) -> i64 {
    i64::try_from(node.version).unwrap_or(i64::MAX)
}
