//! Where secrets are referenced.

use std::collections::BTreeSet;

use sqlx::PgExecutor;
use sqlx::types::Json;
use tocsin_store::Tx;
use tocsin_wire::sealed::REFERENCE;
use tocsin_wire::{OrgId, SecretName};

use super::super::{Database, nodes};
use crate::decide::{Effect, Known};
use crate::error::OperationError;
use crate::merge::Config;
use crate::node::{Node, NodeId};
use crate::secrets::SecretRefusal;
use crate::secrets::usage::{self, Candidate, Use};
use crate::source::SourceId;

/// Longer than any line that the rules allow; a ring in bad data ends there.
const WALK_LIMIT: i32 = 100;

#[derive(sqlx::FromRow)]
struct CandidateRow {
    node_id: String,
    parent_id: Option<String>,
    defines: bool,
    config: Option<Json<Config>>,
}

impl TryFrom<CandidateRow> for Candidate {
    type Error = OperationError;

    fn try_from(row: CandidateRow) -> Result<Self, Self::Error> {
        let id = |text: String| {
            NodeId::new(text).map_err(|error| OperationError::corrupt("nodes", error.to_string()))
        };
        Ok(Self {
            node: id(row.node_id)?,
            parent: row.parent_id.map(id).transpose()?,
            defines: row.defines,
            config: row.config.map(|config| config.0),
        })
    }
}

impl Database {
    /// Which configs use a secret.
    pub(crate) async fn secret_uses(
        &self,
        org: &OrgId,
        node: &NodeId,
        name: &SecretName,
    ) -> Result<Vec<Use>, OperationError> {
        let mut connection = self
            .store
            .pool()
            .acquire()
            .await
            .map_err(OperationError::query("look for the uses of a secret"))?;
        uses(&mut connection, org, node, name).await
    }
}

/// Refuses configs that begin to refer to secrets which are not there, or whose references are
/// malformed. `known` is the tree before the effects; a reference that was there already is not in
/// the way of other changes, unless its node moves.
pub(in crate::pg) async fn check_references(
    tx: &mut Tx<'_>,
    known: &Known,
    effects: &[Effect],
) -> Result<(), OperationError> {
    let mut bad = Vec::new();
    for effect in effects.iter().filter(|effect| !effect.is_deletion()) {
        let node = &effect.after;
        let before = effect.before.as_ref();
        let has_moved = before.is_some_and(|before| before.parent != node.parent);
        let found = match before.filter(|_| !has_moved) {
            Some(before) if before.config == node.config => continue,
            before => usage::references(&node.config, before.map(|before| &before.config)),
        };
        if found.is_empty() {
            continue;
        }
        let names = known_names(tx, known, node).await?;
        bad.extend(usage::check(&node.id, found, &names));
    }
    if bad.is_empty() {
        return Ok(());
    }
    Err(SecretRefusal::References { bad }.into())
}

/// Names that a config of `node` may refer to: of the node and those above it; for an org or a unit
/// also those of all nodes below, which may each bring their own.
async fn known_names(
    tx: &mut Tx<'_>,
    known: &Known,
    node: &Node,
) -> Result<BTreeSet<SecretName>, OperationError> {
    let above = node.parent.as_ref().and_then(|id| known.tree.lineage(id));
    let mut line: Vec<&str> = above
        .iter()
        .flat_map(|line| line.ids())
        .map(NodeId::as_str)
        .collect();
    line.push(node.id.as_str());
    let names: Vec<String> = sqlx::query_scalar(
        "with recursive below (node_id, depth) as ( \
             select node_id::text, 0 from nodes where org_id = $1 and node_id = $2 and kind <> 'team' \
             union all \
             select child.node_id::text, below.depth + 1 \
             from below join nodes child on child.org_id = $1 and child.parent_id = below.node_id \
             where below.depth < $4) \
         select distinct name from secrets where org_id = $1 \
             and (node_id = any($3) or node_id in (select node_id from below))",
    )
    .bind(node.org.as_str())
    .bind(node.id.as_str())
    .bind(line)
    .bind(WALK_LIMIT)
    .fetch_all(&mut **tx)
    .await
    .map_err(OperationError::query("list the names of secrets that a config may use"))?;
    let names = names
        .into_iter()
        .map(SecretName::new)
        // Those of sources are for ingress alone.
        .filter(|name| !matches!(name, Ok(name) if SourceId::owning(name).is_some()))
        .collect::<Result<_, _>>();
    names.map_err(|error| OperationError::corrupt("secrets", error.to_string()))
}

/// Writes of the org's configs wait until this transaction ends.
pub(super) async fn hold_configs(tx: &mut Tx<'_>, org: &OrgId) -> Result<(), OperationError> {
    sqlx::query("select from org_revisions where org_id = $1 for update")
        .bind(org.as_str())
        .execute(&mut **tx)
        .await
        .map_err(OperationError::query("hold an org's configs"))?;
    Ok(())
}

/// Refuses to leave references without a value. One of the same name above takes their place.
pub(super) async fn must_be_unused(
    tx: &mut Tx<'_>,
    owner: &Node,
    name: &SecretName,
) -> Result<(), OperationError> {
    let line = nodes::read_lineage(&mut **tx, &owner.org, &owner.id).await?;
    let above: Vec<String> = line
        .iter()
        .flat_map(|line| line.ids())
        .filter(|id| **id != owner.id)
        .map(ToString::to_string)
        .collect();
    let has_another: bool = sqlx::query_scalar(
        "select exists (select from secrets where org_id = $1 and node_id = any($2) and name = $3)",
    )
    .bind(owner.org.as_str())
    .bind(above)
    .bind(name.as_str())
    .fetch_one(&mut **tx)
    .await
    .map_err(OperationError::query(
        "look for a secret of the same name above",
    ))?;
    if has_another {
        return Ok(());
    }
    let used_by = uses(tx, &owner.org, &owner.id, name).await?;
    if used_by.is_empty() {
        return Ok(());
    }
    Err(SecretRefusal::Referenced {
        name: name.clone(),
        used_by,
    }
    .into())
}

async fn uses(
    connection: &mut sqlx::PgConnection,
    org: &OrgId,
    node: &NodeId,
    name: &SecretName,
) -> Result<Vec<Use>, OperationError> {
    let above = candidates(&mut *connection, ABOVE, org, node, name).await?;
    let below = candidates(&mut *connection, BELOW, org, node, name).await?;
    Ok(usage::uses(node, name, &above, &below))
}

const ABOVE: &str = "with recursive walk (node_id, parent_id, step) as ( \
         select node_id::text, parent_id::text, 0 from nodes where org_id = $1 and node_id = $2 \
         union all \
         select next.node_id::text, next.parent_id::text, walk.step + 1 \
         from walk join nodes next on next.org_id = $1 and next.node_id = walk.parent_id \
         where walk.step < $5) \
     select nodes.node_id, nodes.parent_id, false as defines, nodes.config \
     from walk join nodes on nodes.org_id = $1 and nodes.node_id = walk.node_id \
     where walk.step > 0 and position($4 in nodes.config::text) > 0 and $3 <> ''";

const BELOW: &str = "with recursive walk (node_id, step) as ( \
         select node_id::text, 0 from nodes where org_id = $1 and node_id = $2 \
         union all \
         select next.node_id::text, walk.step + 1 \
         from walk join nodes next on next.org_id = $1 and next.parent_id = walk.node_id \
         where walk.step < $5) \
     select nodes.node_id, nodes.parent_id, \
            exists (select from secrets where secrets.org_id = $1 and secrets.node_id = nodes.node_id \
                                          and secrets.name = $3) as defines, \
            case when position($4 in nodes.config::text) > 0 then nodes.config end as config \
     from walk join nodes on nodes.org_id = $1 and nodes.node_id = walk.node_id";

async fn candidates(
    executor: impl PgExecutor<'_>,
    query: &'static str,
    org: &OrgId,
    node: &NodeId,
    name: &SecretName,
) -> Result<Vec<Candidate>, OperationError> {
    let rows: Vec<CandidateRow> = sqlx::query_as(query)
        .bind(org.as_str())
        .bind(node.as_str())
        .bind(name.as_str())
        .bind(format!("{REFERENCE}{name}}}"))
        .bind(WALK_LIMIT)
        .fetch_all(executor)
        .await
        .map_err(OperationError::query("look for the uses of a secret"))?;
    rows.into_iter().map(Candidate::try_from).collect()
}
