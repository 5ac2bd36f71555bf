//! Changes that wait for approval: held, listed, decided.
//!
//! A change is decided and applied in one transaction that holds its row, so it is decided once. It is
//! applied by the same path as any write, against the versions that it was made for.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde_json::{Map, Value};
use sqlx::types::Json;
use tocsin_kit::random;
use tocsin_store::{Isolation, Tx};
use tocsin_wire::{OrgId, TeamId};

use super::writes::{self, Author, Held, Outcome};
use super::{Database, nodes, policy};
use crate::decide::{Approval, Effect, Refusal, WriteRequest};
use crate::error::OperationError;
use crate::node::NodeId;
use crate::policy::{ChangeType, PolicyRefusal, Reason, Reviewer, may_review};

/// The change's row is locked first.
const ISOLATION: Isolation = Isolation::ReadCommitted;

/// A change with what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) id: String,
    pub(crate) org: OrgId,
    pub(crate) node: NodeId,
    pub(crate) change_type: String,
    pub(crate) change_types: Vec<String>,
    pub(crate) change_path: String,
    pub(crate) previous_value: Option<Value>,
    pub(crate) proposed_value: Option<Value>,
    /// What is to be written, each with the version that it was made for.
    pub(crate) requests: Vec<WriteRequest>,
    /// By node.
    pub(crate) diffs: Map<String, Value>,
    pub(crate) requested_by: String,
    pub(crate) requested_at: Timestamp,
    pub(crate) reason: String,
    pub(crate) status: String,
    pub(crate) reviewed_by: Option<String>,
    pub(crate) reviewed_at: Option<Timestamp>,
    pub(crate) review_comment: Option<String>,
    pub(crate) applied_version: Option<u64>,
}

/// Which changes to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct PendingQuery {
    pub(crate) node: Option<NodeId>,
    pub(crate) status: Option<String>,
    pub(crate) change_type: Option<String>,
    pub(crate) limit: i64,
    pub(crate) offset: i64,
}

/// A decision about a change.
#[derive(Debug, Clone)]
pub(crate) struct Review {
    pub(crate) approve: bool,
    pub(crate) comment: Option<String>,
    pub(crate) reviewer: Reviewer,
}

#[derive(sqlx::FromRow)]
struct PendingRow {
    change_id: String,
    org_id: String,
    node_id: String,
    change_type: String,
    change_types: Vec<String>,
    change_path: String,
    previous_value: Option<Value>,
    proposed_value: Option<Value>,
    requests: Json<Vec<WriteRequest>>,
    diff: Json<Map<String, Value>>,
    requested_by: String,
    requested_at: jiff_sqlx::Timestamp,
    reason: String,
    status: String,
    reviewed_by: Option<String>,
    reviewed_at: Option<jiff_sqlx::Timestamp>,
    review_comment: Option<String>,
    applied_version: Option<i64>,
}

impl TryFrom<PendingRow> for Pending {
    type Error = OperationError;

    fn try_from(row: PendingRow) -> Result<Self, OperationError> {
        let corrupt = |why: String| OperationError::corrupt("pending_changes", why);
        let applied = row.applied_version.map(super::rows::version).transpose()?;
        Ok(Self {
            id: row.change_id,
            org: OrgId::new(row.org_id).map_err(|error| corrupt(error.to_string()))?,
            node: NodeId::new(row.node_id).map_err(|error| corrupt(error.to_string()))?,
            change_type: row.change_type,
            change_types: row.change_types,
            change_path: row.change_path,
            previous_value: row.previous_value,
            proposed_value: row.proposed_value,
            requests: row.requests.0,
            diffs: row.diff.0,
            requested_by: row.requested_by,
            requested_at: row.requested_at.to_jiff(),
            reason: row.reason,
            status: row.status,
            reviewed_by: row.reviewed_by,
            reviewed_at: row.reviewed_at.map(jiff_sqlx::Timestamp::to_jiff),
            review_comment: row.review_comment,
            applied_version: applied,
        })
    }
}

impl Database {
    /// Changes of an org, newest first, and how many there are in all.
    pub(crate) async fn pending_changes(
        &self,
        org: &OrgId,
        query: &PendingQuery,
    ) -> Result<(Vec<Pending>, i64), OperationError> {
        let rows: Vec<PendingRow> = sqlx::query_as(
            "select change_id, org_id, node_id, change_type, change_types, change_path, previous_value, \
                    proposed_value, requests, diff, requested_by, requested_at, reason, status, \
                    reviewed_by, reviewed_at, review_comment, applied_version from pending_changes \
             where org_id = $1 and ($2::text is null or node_id = $2) and ($3::text is null or status = $3) \
               and ($4::text is null or change_type = $4) \
             order by requested_at desc, change_id desc limit $5 offset $6",
        )
        .bind(org.as_str())
        .bind(query.node.as_ref().map(NodeId::as_str))
        .bind(query.status.as_deref())
        .bind(query.change_type.as_deref())
        .bind(query.limit)
        .bind(query.offset)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("list pending changes"))?;
        let total: i64 = sqlx::query_scalar(
            "select count(*) from pending_changes \
             where org_id = $1 and ($2::text is null or node_id = $2) and ($3::text is null or status = $3) \
               and ($4::text is null or change_type = $4)",
        )
        .bind(org.as_str())
        .bind(query.node.as_ref().map(NodeId::as_str))
        .bind(query.status.as_deref())
        .bind(query.change_type.as_deref())
        .fetch_one(self.store.pool())
        .await
        .map_err(OperationError::query("count pending changes"))?;
        let changes: Result<Vec<Pending>, _> = rows.into_iter().map(Pending::try_from).collect();
        Ok((changes?, total))
    }

    /// One change; for a team only what is about its own node.
    pub(crate) async fn pending_change(
        &self,
        org: &OrgId,
        id: &str,
        team: Option<&TeamId>,
    ) -> Result<Pending, OperationError> {
        let row: Option<PendingRow> = sqlx::query_as(
            "select change_id, org_id, node_id, change_type, change_types, change_path, previous_value, \
                    proposed_value, requests, diff, requested_by, requested_at, reason, status, \
                    reviewed_by, reviewed_at, review_comment, applied_version from pending_changes \
             where org_id = $1 and change_id = $2 and ($3::text is null or node_id = $3)",
        )
        .bind(org.as_str())
        .bind(id)
        .bind(team.map(TeamId::as_str))
        .fetch_optional(self.store.pool())
        .await
        .map_err(OperationError::query("read a pending change"))?;
        row.ok_or_else(|| no_change(org, id))?.try_into()
    }

    /// Decides on a change; an approved one is written in the same transaction.
    pub(crate) async fn review_change(
        &self,
        org: &OrgId,
        id: &str,
        review: &Review,
        author: &Author,
    ) -> Result<Pending, OperationError> {
        // Which nodes it is about stands in the change.
        let _noting = self.noting_all(org);
        self.store
            .run_tx_with("review_change", ISOLATION, |tx| {
                Box::pin(async move { self.decide_change(tx, (org, id), review, author).await })
            })
            .await
    }

    /// Keeps a change that somebody proposes from outside. The same id with the same content is the
    /// same change, however often it is sent.
    pub(crate) async fn propose_change(
        &self,
        proposal: &Pending,
    ) -> Result<Pending, OperationError> {
        self.store
            .run_tx_with("propose_change", ISOLATION, |tx| {
                Box::pin(async move { propose(tx, proposal).await })
            })
            .await
    }

    async fn decide_change(
        &self,
        tx: &mut Tx<'_>,
        (org, id): (&OrgId, &str),
        review: &Review,
        author: &Author,
    ) -> Result<Pending, OperationError> {
        let team = review.reviewer.team.as_ref().map(|(_, team)| team);
        let mut change = lock(tx, org, id, team).await?;
        if change.status != "pending" {
            return Err(PolicyRefusal::Decided {
                id: id.to_owned(),
                status: change.status,
            }
            .into());
        }
        let rules = policy::read_rules(&mut **tx, &self.standards, org).await?;
        let mut nodes: Vec<&NodeId> = change
            .requests
            .iter()
            .map(|request| &request.node)
            .collect();
        nodes.push(&change.node);
        let policy = &rules.security.policy;
        may_review(
            &review.reviewer,
            &change.requested_by,
            (org, &nodes),
            policy,
        )?;
        if review.approve && !change.requests.is_empty() {
            change.applied_version = Some(self.apply(tx, &change, author).await?);
        }
        let status = if review.approve {
            "approved"
        } else {
            "rejected"
        };
        status.clone_into(&mut change.status);
        change.reviewed_by = Some(author.by.clone());
        change.reviewed_at = Some(author.at);
        change.review_comment.clone_from(&review.comment);
        close(tx, &change).await?;
        Ok(change)
    }

    /// Writes what was approved; the version of its node after it.
    async fn apply(
        &self,
        tx: &mut Tx<'_>,
        change: &Pending,
        reviewer: &Author,
    ) -> Result<u64, OperationError> {
        let requests: Vec<WriteRequest> = change
            .requests
            .iter()
            .map(|request| approved(request.clone(), change, &reviewer.by))
            .collect();
        // The requester made the change; the reason says who let it through.
        let author = Author {
            by: change.requested_by.clone(),
            at: reviewer.at,
        };
        let written = writes::write(tx, &self.standards, &change.org, &requests, &author).await;
        match written.map_err(stale)? {
            Outcome::Applied(written) => Ok(written.node()?.version),
            Outcome::Held(_) => Err(OperationError::corrupt(
                "pending_changes",
                "an approved change was held again",
            )),
        }
    }
}

fn approved(request: WriteRequest, change: &Pending, reviewer: &str) -> WriteRequest {
    let note = format!("approved by {reviewer} as change {}", change.id);
    let reason = match request.reason.as_str() {
        "" => note,
        said => format!("{said} ({note})"),
    };
    request.because(reason).approval(Approval::Given)
}

/// A version that is another than at the time of the request.
fn stale(error: OperationError) -> OperationError {
    let refusal = match error {
        OperationError::Refused(refusal) | OperationError::Stopped { refusal, .. } => refusal,
        error => return error,
    };
    match refusal {
        Refusal::VersionConflict {
            node,
            expected,
            actual,
            ..
        } => PolicyRefusal::Stale {
            node,
            made_for: expected,
            actual,
        }
        .into(),
        refusal => refusal.into(),
    }
}

fn no_change(org: &OrgId, id: &str) -> OperationError {
    PolicyRefusal::NoChange {
        org: org.clone(),
        id: id.to_owned(),
    }
    .into()
}

async fn lock(
    tx: &mut Tx<'_>,
    org: &OrgId,
    id: &str,
    team: Option<&TeamId>,
) -> Result<Pending, OperationError> {
    let row: Option<PendingRow> = sqlx::query_as(
        "select change_id, org_id, node_id, change_type, change_types, change_path, previous_value, \
                proposed_value, requests, diff, requested_by, requested_at, reason, status, \
                reviewed_by, reviewed_at, review_comment, applied_version from pending_changes \
         where org_id = $1 and change_id = $2 and ($3::text is null or node_id = $3) for update",
    )
    .bind(org.as_str())
    .bind(id)
    .bind(team.map(TeamId::as_str))
    .fetch_optional(&mut **tx)
    .await
    .map_err(OperationError::query("lock a pending change"))?;
    row.ok_or_else(|| no_change(org, id))?.try_into()
}

async fn close(tx: &mut Tx<'_>, change: &Pending) -> Result<(), OperationError> {
    sqlx::query(
        "update pending_changes set status = $3, reviewed_by = $4, reviewed_at = $5, \
             review_comment = $6, applied_version = $7 where org_id = $1 and change_id = $2",
    )
    .bind(change.org.as_str())
    .bind(&change.id)
    .bind(&change.status)
    .bind(change.reviewed_by.as_deref())
    .bind(change.reviewed_at.map(|at| at.to_sqlx()))
    .bind(change.review_comment.as_deref())
    .bind(
        change
            .applied_version
            .map(|version| i64::try_from(version).unwrap_or(i64::MAX)),
    )
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("close a pending change"))?;
    Ok(())
}

/// Whether it is new.
async fn insert(tx: &mut Tx<'_>, change: &Pending) -> Result<bool, OperationError> {
    let inserted = sqlx::query(
        "insert into pending_changes (change_id, org_id, node_id, change_type, change_types, change_path, \
             previous_value, proposed_value, requests, diff, requested_by, requested_at, reason, status) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'pending') \
         on conflict (change_id) do nothing",
    )
    .bind(&change.id)
    .bind(change.org.as_str())
    .bind(change.node.as_str())
    .bind(&change.change_type)
    .bind(&change.change_types)
    .bind(&change.change_path)
    .bind(change.previous_value.as_ref().map(Json))
    .bind(change.proposed_value.as_ref().map(Json))
    .bind(Json(&change.requests))
    .bind(Json(&change.diffs))
    .bind(&change.requested_by)
    .bind(change.requested_at.to_sqlx())
    .bind(&change.reason)
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("keep a pending change"))?;
    Ok(inserted.rows_affected() == 1)
}

async fn propose(tx: &mut Tx<'_>, proposal: &Pending) -> Result<Pending, OperationError> {
    let mut proposal = proposal.clone();
    // Made for the node as it is now.
    let node = nodes::lock(tx, &proposal.org, &proposal.node).await?;
    for request in &mut proposal.requests {
        request.expected = Some(node.version);
    }
    if insert(tx, &proposal).await? {
        return Ok(proposal);
    }
    let taken = || PolicyRefusal::ChangeIdTaken {
        id: proposal.id.clone(),
    };
    let known = lock(tx, &proposal.org, &proposal.id, None).await;
    let known = known.map_err(|error| match error {
        OperationError::Refused(_) => OperationError::from(taken()),
        error => error,
    })?;
    let is_same = known.node == proposal.node
        && known.change_type == proposal.change_type
        && known.change_path == proposal.change_path
        && known.proposed_value == proposal.proposed_value;
    if is_same {
        Ok(known)
    } else {
        Err(taken().into())
    }
}

/// What a write needs to know to be held.
pub(super) struct Hold<'a> {
    pub(super) org: &'a OrgId,
    /// Each with the version that it was made for.
    pub(super) requests: Vec<WriteRequest>,
    pub(super) effects: &'a [Effect],
    /// With the node whose change needs approval; never empty.
    pub(super) reasons: &'a [(NodeId, Reason)],
}

/// Keeps the whole of it instead of writing it.
pub(super) async fn hold(
    tx: &mut Tx<'_>,
    hold: Hold<'_>,
    author: &Author,
) -> Result<Held, OperationError> {
    let Some((node, first)) = hold.reasons.first() else {
        return Err(OperationError::corrupt(
            "pending_changes",
            "nothing to approve",
        ));
    };
    let pending = random::time_ordered_id(author.at);
    let mut change_types: Vec<String> = hold
        .reasons
        .iter()
        .map(|(_, reason)| reason.change_type.as_str().to_owned())
        .collect();
    change_types.dedup();
    let effect = hold.effects.iter().find(|effect| effect.after.id == *node);
    let before = effect.and_then(|effect| effect.before.as_ref());
    let mut diffs = Map::new();
    for effect in hold.effects {
        let diff = serde_json::to_value(&effect.diff).map_err(|source| OperationError::Encode {
            what: "a difference",
            source,
        })?;
        diffs.insert(effect.after.id.to_string(), diff);
    }
    let reason = hold.requests.first().map(|request| request.reason.clone());
    let change = Pending {
        id: pending.to_string(),
        org: hold.org.clone(),
        node: node.clone(),
        change_type: first.change_type.as_str().to_owned(),
        change_types: change_types.clone(),
        change_path: first.path.to_string(),
        previous_value: before
            .and_then(|node| first.path.get(&node.config))
            .cloned(),
        proposed_value: effect
            .and_then(|effect| first.path.get(&effect.after.config))
            .cloned(),
        requests: hold.requests,
        diffs,
        requested_by: author.by.clone(),
        requested_at: author.at,
        reason: reason.unwrap_or_default(),
        status: "pending".to_owned(),
        reviewed_by: None,
        reviewed_at: None,
        review_comment: None,
        applied_version: None,
    };
    insert(tx, &change).await?;
    Ok(Held {
        pending,
        change_types,
    })
}

impl Pending {
    /// A change that somebody proposes from outside; its requests get their versions when it is kept.
    pub(crate) fn proposed(
        (id, org, node): (String, OrgId, NodeId),
        (change_type, change_path): (ChangeType, String),
        requests: Vec<WriteRequest>,
        author: Author,
    ) -> Self {
        Self {
            id,
            org,
            node,
            change_type: change_type.as_str().to_owned(),
            change_types: vec![change_type.as_str().to_owned()],
            change_path,
            previous_value: None,
            proposed_value: None,
            requests,
            diffs: Map::new(),
            requested_by: author.by,
            requested_at: author.at,
            reason: String::new(),
            status: "pending".to_owned(),
            reviewed_by: None,
            reviewed_at: None,
            review_comment: None,
            applied_version: None,
        }
    }
}
