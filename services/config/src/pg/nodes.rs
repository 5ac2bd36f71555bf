//! Reading the tree.

use sqlx::PgExecutor;
use tocsin_store::Tx;
use tocsin_wire::{OrgId, TeamId};

use super::rows::NodeRow;
use super::{Database, MAX_LIST};
use crate::decide::Refusal;
use crate::error::OperationError;
use crate::node::{Kind, Lineage, Node, NodeId, Tree};

/// Far above the levels that a tree may have: ends the walk whatever the data says.
pub(super) const WALK_LIMIT: i32 = 100;

impl Database {
    /// One node.
    pub(crate) async fn node(&self, org: &OrgId, node: &NodeId) -> Result<Node, OperationError> {
        let line = self.lineage(org, node).await?;
        let last = line.0.into_iter().next_back();
        Ok(last.ok_or_else(|| no_node(org, node))?)
    }

    /// A node that must be a team.
    pub(crate) async fn team(&self, org: &OrgId, team: &TeamId) -> Result<Node, OperationError> {
        let node = self.node(org, team).await?;
        must_be_team(&node)?;
        Ok(node)
    }

    /// A node with all above it.
    pub(crate) async fn lineage(
        &self,
        org: &OrgId,
        node: &NodeId,
    ) -> Result<Lineage, OperationError> {
        let line = self.find_lineage(org, node).await?;
        Ok(line.ok_or_else(|| no_node(org, node))?)
    }

    /// The same, for a node that may be gone.
    pub(crate) async fn find_lineage(
        &self,
        org: &OrgId,
        node: &NodeId,
    ) -> Result<Option<Lineage>, OperationError> {
        read_lineage(self.store.pool(), org, node).await
    }

    /// The nodes of an org, by id.
    pub(crate) async fn nodes(&self, org: &OrgId) -> Result<Vec<Node>, OperationError> {
        let rows: Vec<NodeRow> = sqlx::query_as(
            "select org_id, node_id, kind, parent_id, name, version, config, updated_at, updated_by \
             from nodes where org_id = $1 order by node_id limit $2",
        )
        .bind(org.as_str())
        .bind(MAX_LIST)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("list nodes"))?;
        if rows.is_empty() {
            return Err(Refusal::NoOrg { org: org.clone() }.into());
        }
        rows.into_iter().map(Node::try_from).collect()
    }

    /// Every node of an org, for the snapshots.
    pub(crate) async fn tree(&self, org: &OrgId) -> Result<Tree, OperationError> {
        let rows: Vec<NodeRow> = sqlx::query_as(
            "select org_id, node_id, kind, parent_id, name, version, config, updated_at, updated_by \
             from nodes where org_id = $1",
        )
        .bind(org.as_str())
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("read the tree"))?;
        let nodes: Result<Vec<Node>, _> = rows.into_iter().map(Node::try_from).collect();
        Ok(Tree::new(nodes?))
    }

    /// The roots of all orgs, by id.
    pub(crate) async fn roots(&self) -> Result<Vec<Node>, OperationError> {
        let rows: Vec<NodeRow> = sqlx::query_as(
            "select org_id, node_id, kind, parent_id, name, version, config, updated_at, updated_by \
             from nodes where kind = 'org' order by org_id limit $1",
        )
        .bind(MAX_LIST)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("list orgs"))?;
        rows.into_iter().map(Node::try_from).collect()
    }

    /// Every org.
    pub(crate) async fn orgs(&self) -> Result<Vec<OrgId>, OperationError> {
        let ids: Vec<String> =
            sqlx::query_scalar("select org_id from nodes where kind = 'org' order by org_id")
                .fetch_all(self.store.pool())
                .await
                .map_err(OperationError::query("list orgs"))?;
        let parsed = ids.into_iter().map(OrgId::new).collect::<Result<_, _>>();
        parsed.map_err(|error| OperationError::corrupt("nodes", error.to_string()))
    }

    /// Ids of the teams at or below a node; none when the node is gone.
    pub(crate) async fn teams_at_or_below(
        &self,
        org: &OrgId,
        top: &NodeId,
    ) -> Result<Vec<TeamId>, OperationError> {
        let ids: Vec<String> = sqlx::query_scalar(
            "with recursive below (org_id, node_id, kind, depth) as ( \
                 select org_id::text, node_id::text, kind, 0 from nodes where org_id = $1 and node_id = $2 \
                 union all \
                 select child.org_id::text, child.node_id::text, child.kind, below.depth + 1 \
                 from below join nodes child on child.org_id = below.org_id and child.parent_id = below.node_id \
                 where below.depth < $3) \
             select node_id from below where kind = 'team' order by node_id",
        )
        .bind(org.as_str())
        .bind(top.as_str())
        .bind(WALK_LIMIT)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("list the teams below a node"))?;
        let parsed = ids.into_iter().map(TeamId::new).collect::<Result<_, _>>();
        parsed.map_err(|error| OperationError::corrupt("nodes", error.to_string()))
    }

    /// Some teams with all above them, and the revision of the org at that moment.
    pub(crate) async fn lines(
        &self,
        org: &OrgId,
        teams: &[TeamId],
    ) -> Result<(Tree, u64), OperationError> {
        #[derive(sqlx::FromRow)]
        struct Row {
            #[sqlx(flatten)]
            node: NodeRow,
            revision: i64,
        }
        let ids: Vec<&str> = teams.iter().map(TeamId::as_str).collect();
        let rows: Vec<Row> = sqlx::query_as(
            "with recursive up (node_id, parent_id, step) as ( \
                 select node_id::text, parent_id::text, 0 from nodes where org_id = $1 and node_id = any($2) \
                 union \
                 select parent.node_id::text, parent.parent_id::text, up.step + 1 \
                 from up join nodes parent on parent.org_id = $1 and parent.node_id = up.parent_id \
                 where up.step < $3) \
             select org_id, node_id, kind, parent_id, name, version, config, updated_at, updated_by, \
                    (select revision from org_revisions where org_revisions.org_id = $1) as revision \
             from nodes where org_id = $1 and node_id in (select node_id from up)",
        )
        .bind(org.as_str())
        .bind(ids)
        .bind(WALK_LIMIT)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("read teams and those above them"))?;
        let revision = rows.first().map_or(0, |row| row.revision);
        let nodes: Result<Vec<Node>, _> = rows.into_iter().map(|row| row.node.try_into()).collect();
        Ok((Tree::new(nodes?), super::rows::version(revision)?))
    }

    /// Ids of the teams at or below any of some nodes.
    pub(crate) async fn teams_at_or_below_any(
        &self,
        org: &OrgId,
        tops: &[NodeId],
    ) -> Result<Vec<TeamId>, OperationError> {
        let tops: Vec<&str> = tops.iter().map(NodeId::as_str).collect();
        let ids: Vec<String> = sqlx::query_scalar(
            "with recursive below (node_id, kind, depth) as ( \
                 select node_id::text, kind, 0 from nodes where org_id = $1 and node_id = any($2) \
                 union \
                 select child.node_id::text, child.kind, below.depth + 1 \
                 from below join nodes child on child.org_id = $1 and child.parent_id = below.node_id \
                 where below.depth < $3) \
             select distinct node_id from below where kind = 'team' order by node_id",
        )
        .bind(org.as_str())
        .bind(tops)
        .bind(WALK_LIMIT)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("list the teams below nodes"))?;
        let parsed = ids.into_iter().map(TeamId::new).collect::<Result<_, _>>();
        parsed.map_err(|error| OperationError::corrupt("nodes", error.to_string()))
    }

    /// Ids of the nodes that one transaction changed.
    pub(crate) async fn changed_in(
        &self,
        org: &OrgId,
        revision: u64,
    ) -> Result<Vec<NodeId>, OperationError> {
        let ids: Vec<String> = sqlx::query_scalar(
            "select distinct node_id from node_history where org_id = $1 and revision = $2",
        )
        .bind(org.as_str())
        .bind(i64::try_from(revision).unwrap_or(i64::MAX))
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("list what a transaction changed"))?;
        let parsed = ids.into_iter().map(NodeId::new).collect::<Result<_, _>>();
        parsed.map_err(|error| OperationError::corrupt("node_history", error.to_string()))
    }

    /// Up to which row everything of the outbox is committed; 0 when it is empty.
    pub(crate) async fn last_outbox_id(&self) -> Result<i64, OperationError> {
        sqlx::query_scalar("select coalesce(max(id), 0) from outbox")
            .fetch_one(self.store.pool())
            .await
            .map_err(OperationError::query("read the end of the outbox"))
    }
}

pub(super) fn no_node(org: &OrgId, node: &NodeId) -> Refusal {
    Refusal::NoNode {
        org: org.clone(),
        node: node.clone(),
    }
}

pub(super) fn must_be_team(node: &Node) -> Result<(), Refusal> {
    if node.kind == Kind::Team {
        return Ok(());
    }
    Err(Refusal::NotATeam {
        org: node.org.clone(),
        node: node.id.clone(),
    })
}

/// The line of a node, root first.
pub(super) async fn read_lineage(
    executor: impl PgExecutor<'_>,
    org: &OrgId,
    node: &NodeId,
) -> Result<Option<Lineage>, OperationError> {
    let rows: Vec<NodeRow> = sqlx::query_as(
        "with recursive line (org_id, node_id, parent_id, up) as ( \
             select org_id::text, node_id::text, parent_id::text, 0 from nodes \
             where org_id = $1 and node_id = $2 \
             union all \
             select parent.org_id::text, parent.node_id::text, parent.parent_id::text, line.up + 1 \
             from line join nodes parent on parent.org_id = line.org_id and parent.node_id = line.parent_id \
             where line.up < $3) \
         select nodes.org_id, nodes.node_id, nodes.kind, nodes.parent_id, nodes.name, nodes.version, \
                nodes.config, nodes.updated_at, nodes.updated_by \
         from line join nodes using (org_id, node_id) order by line.up desc",
    )
    .bind(org.as_str())
    .bind(node.as_str())
    .bind(WALK_LIMIT)
    .fetch_all(executor)
    .await
    .map_err(OperationError::query("read a node and those above it"))?;
    let nodes: Result<Vec<Node>, _> = rows.into_iter().map(Node::try_from).collect();
    let nodes = nodes?;
    Ok((!nodes.is_empty()).then_some(Lineage(nodes)))
}

/// A node that no other transaction changes until this one ends.
pub(super) async fn lock(
    tx: &mut Tx<'_>,
    org: &OrgId,
    node: &NodeId,
) -> Result<Node, OperationError> {
    let row: Option<NodeRow> = sqlx::query_as(
        "select org_id, node_id, kind, parent_id, name, version, config, updated_at, updated_by \
         from nodes where org_id = $1 and node_id = $2 for update",
    )
    .bind(org.as_str())
    .bind(node.as_str())
    .fetch_optional(&mut **tx)
    .await
    .map_err(OperationError::query("lock a node"))?;
    row.ok_or_else(|| no_node(org, node))?.try_into()
}
