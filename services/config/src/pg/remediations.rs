//! Proposed actions and what became of them.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde_json::Value;
use sqlx::types::Json;
use tocsin_store::{Isolation, Tx, outbox};
use tocsin_wire::{OrgId, TeamId};

use super::{Author, Database, nodes, policy};
use crate::change::{Change, What};
use crate::error::OperationError;
use crate::policy::{PolicyRefusal, Reviewer, may_review};
use crate::remediation::{self, Proposal, Status};

/// The row is locked before it is judged.
const ISOLATION: Isolation = Isolation::ReadCommitted;

/// A proposed action.
#[derive(Debug, Clone)]
pub(crate) struct Remediation {
    pub(crate) id: String,
    pub(crate) org: OrgId,
    pub(crate) team: TeamId,
    pub(crate) proposal: Proposal,
    pub(crate) proposed_by: String,
    pub(crate) proposed_at: Timestamp,
    pub(crate) status: Status,
    pub(crate) reviewed_by: Option<String>,
    pub(crate) reviewed_at: Option<Timestamp>,
    pub(crate) review_comment: Option<String>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) result: Option<Value>,
    /// The one that it takes back.
    pub(crate) rolls_back: Option<String>,
}

/// Whose remediations: of one team, or of all teams of an org.
#[derive(Debug, Clone)]
pub(crate) struct RemediationQuery {
    pub(crate) org: OrgId,
    pub(crate) team: Option<TeamId>,
    pub(crate) status: Option<Status>,
    pub(crate) limit: i64,
    pub(crate) offset: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    remediation_id: String,
    org_id: String,
    team_id: String,
    proposal: Json<Proposal>,
    proposed_by: String,
    proposed_at: jiff_sqlx::Timestamp,
    status: String,
    reviewed_by: Option<String>,
    reviewed_at: Option<jiff_sqlx::Timestamp>,
    review_comment: Option<String>,
    finished_at: Option<jiff_sqlx::Timestamp>,
    result: Option<Value>,
    rolls_back: Option<String>,
}

impl TryFrom<Row> for Remediation {
    type Error = OperationError;

    fn try_from(row: Row) -> Result<Self, OperationError> {
        let corrupt = |why: String| OperationError::corrupt("remediations", why);
        Ok(Self {
            id: row.remediation_id,
            org: OrgId::new(row.org_id).map_err(|error| corrupt(error.to_string()))?,
            team: TeamId::new(row.team_id).map_err(|error| corrupt(error.to_string()))?,
            proposal: row.proposal.0,
            proposed_by: row.proposed_by,
            proposed_at: row.proposed_at.to_jiff(),
            status: Status::parse(&row.status)
                .ok_or_else(|| corrupt(format!("status {}", row.status)))?,
            reviewed_by: row.reviewed_by,
            reviewed_at: row.reviewed_at.map(jiff_sqlx::Timestamp::to_jiff),
            review_comment: row.review_comment,
            finished_at: row.finished_at.map(jiff_sqlx::Timestamp::to_jiff),
            result: row.result,
            rolls_back: row.rolls_back,
        })
    }
}

impl Database {
    /// Keeps a proposal of a team that is there.
    pub(crate) async fn propose_remediation(
        &self,
        remediation: &Remediation,
    ) -> Result<(), OperationError> {
        self.store
            .run_tx_with("propose_remediation", ISOLATION, |tx| {
                Box::pin(async move {
                    let node = nodes::lock(tx, &remediation.org, &remediation.team).await?;
                    nodes::must_be_team(&node)?;
                    insert(tx, remediation).await
                })
            })
            .await
    }

    /// Newest first, and how many there are in all.
    pub(crate) async fn remediations(
        &self,
        query: &RemediationQuery,
    ) -> Result<(Vec<Remediation>, i64), OperationError> {
        let rows: Vec<Row> = sqlx::query_as(
            "select remediation_id, org_id, team_id, proposal, proposed_by, proposed_at, status, reviewed_by, \
                    reviewed_at, review_comment, finished_at, result, rolls_back from remediations \
             where org_id = $1 and ($2::text is null or team_id = $2) and ($3::text is null or status = $3) \
             order by proposed_at desc, remediation_id desc limit $4 offset $5",
        )
        .bind(query.org.as_str())
        .bind(query.team.as_ref().map(TeamId::as_str))
        .bind(query.status.map(Status::as_str))
        .bind(query.limit)
        .bind(query.offset)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("list remediations"))?;
        let total: i64 = sqlx::query_scalar(
            "select count(*) from remediations \
             where org_id = $1 and ($2::text is null or team_id = $2) and ($3::text is null or status = $3)",
        )
        .bind(query.org.as_str())
        .bind(query.team.as_ref().map(TeamId::as_str))
        .bind(query.status.map(Status::as_str))
        .fetch_one(self.store.pool())
        .await
        .map_err(OperationError::query("count remediations"))?;
        let found: Result<Vec<Remediation>, _> =
            rows.into_iter().map(Remediation::try_from).collect();
        Ok((found?, total))
    }

    /// One remediation; for a team only its own.
    pub(crate) async fn remediation(
        &self,
        org: &OrgId,
        team: Option<&TeamId>,
        id: &str,
    ) -> Result<Remediation, OperationError> {
        self.store
            .run_tx_with("read_remediation", ISOLATION, |tx| {
                Box::pin(async move { lock(tx, org, team, id).await })
            })
            .await
    }

    /// Approves or refuses; what is approved is announced.
    pub(crate) async fn review_remediation(
        &self,
        (org, id): (&OrgId, &str),
        (approve, comment): (bool, Option<String>),
        reviewer: &Reviewer,
        author: &Author,
    ) -> Result<Remediation, OperationError> {
        let comment = &comment;
        self.store
            .run_tx_with("review_remediation", ISOLATION, |tx| {
                Box::pin(async move {
                    let team = reviewer.team.as_ref().map(|(_, team)| team);
                    let mut found = lock(tx, org, team, id).await?;
                    let to = if approve {
                        Status::Approved
                    } else {
                        Status::Rejected
                    };
                    remediation::step(id, found.status, to, "reviewed")?;
                    let rules = policy::read_rules(&mut **tx, &self.standards, org).await?;
                    let about = (org, &[&found.team][..]);
                    let policy = &rules.security.policy;
                    may_review(reviewer, &found.proposed_by, about, policy)?;
                    found.status = to;
                    found.reviewed_by = Some(author.by.clone());
                    found.reviewed_at = Some(author.at);
                    found.review_comment.clone_from(comment);
                    update(tx, &found).await?;
                    if approve {
                        announce(tx, &found, author).await?;
                    }
                    Ok(found)
                })
            })
            .await
    }

    /// What came of an approved one, as its executor reports it.
    pub(crate) async fn finish_remediation(
        &self,
        (org, id): (&OrgId, &str),
        to: Status,
        result: Option<Value>,
        author: &Author,
    ) -> Result<Remediation, OperationError> {
        let result = &result;
        self.store
            .run_tx_with("finish_remediation", ISOLATION, |tx| {
                Box::pin(async move {
                    let mut found = lock(tx, org, None, id).await?;
                    // A report may arrive twice.
                    if found.status == to {
                        return Ok(found);
                    }
                    remediation::step(id, found.status, to, "finished")?;
                    found.status = to;
                    found.finished_at = Some(author.at);
                    found.result.clone_from(result);
                    update(tx, &found).await?;
                    Ok(found)
                })
            })
            .await
    }

    /// Proposes what takes an executed one back, once.
    pub(crate) async fn roll_back_remediation(
        &self,
        org: &OrgId,
        (team, id): (&TeamId, &str),
        new_id: &str,
        author: &Author,
    ) -> Result<Remediation, OperationError> {
        self.store
            .run_tx_with("roll_back_remediation", ISOLATION, |tx| {
                Box::pin(async move {
                    let found = lock(tx, org, Some(team), id).await?;
                    let result = found.result.as_ref();
                    let proposal = remediation::inverse(id, found.status, &found.proposal, result)?;
                    let taken: Option<String> = sqlx::query_scalar(
                        "select remediation_id from remediations where rolls_back = $1",
                    )
                    .bind(id)
                    .fetch_optional(&mut **tx)
                    .await
                    .map_err(OperationError::query("look for a rollback"))?;
                    if let Some(taken) = taken {
                        return Err(PolicyRefusal::NoInverse {
                            id: id.to_owned(),
                            why: format!("{taken} takes it back already"),
                        }
                        .into());
                    }
                    let back = Remediation {
                        id: new_id.to_owned(),
                        org: org.clone(),
                        team: team.clone(),
                        proposal,
                        proposed_by: author.by.clone(),
                        proposed_at: author.at,
                        status: Status::Pending,
                        reviewed_by: None,
                        reviewed_at: None,
                        review_comment: None,
                        finished_at: None,
                        result: None,
                        rolls_back: Some(id.to_owned()),
                    };
                    insert(tx, &back).await?;
                    Ok(back)
                })
            })
            .await
    }
}

async fn lock(
    tx: &mut Tx<'_>,
    org: &OrgId,
    team: Option<&TeamId>,
    id: &str,
) -> Result<Remediation, OperationError> {
    let row: Option<Row> = sqlx::query_as(
        "select remediation_id, org_id, team_id, proposal, proposed_by, proposed_at, status, reviewed_by, \
                reviewed_at, review_comment, finished_at, result, rolls_back from remediations \
         where org_id = $1 and remediation_id = $2 and ($3::text is null or team_id = $3) for update",
    )
    .bind(org.as_str())
    .bind(id)
    .bind(team.map(TeamId::as_str))
    .fetch_optional(&mut **tx)
    .await
    .map_err(OperationError::query("lock a remediation"))?;
    let missing = || PolicyRefusal::NoRemediation { id: id.to_owned() };
    row.ok_or_else(missing)?.try_into()
}

async fn insert(tx: &mut Tx<'_>, new: &Remediation) -> Result<(), OperationError> {
    sqlx::query(
        "insert into remediations (remediation_id, org_id, team_id, proposal, proposed_by, proposed_at, \
                                   status, rolls_back) \
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&new.id)
    .bind(new.org.as_str())
    .bind(new.team.as_str())
    .bind(Json(&new.proposal))
    .bind(&new.proposed_by)
    .bind(new.proposed_at.to_sqlx())
    .bind(new.status.as_str())
    .bind(new.rolls_back.as_deref())
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("keep a remediation"))?;
    Ok(())
}

async fn update(tx: &mut Tx<'_>, found: &Remediation) -> Result<(), OperationError> {
    sqlx::query(
        "update remediations set status = $2, reviewed_by = $3, reviewed_at = $4, review_comment = $5, \
             finished_at = $6, result = $7 where remediation_id = $1",
    )
    .bind(&found.id)
    .bind(found.status.as_str())
    .bind(found.reviewed_by.as_deref())
    .bind(found.reviewed_at.map(|at| at.to_sqlx()))
    .bind(found.review_comment.as_deref())
    .bind(found.finished_at.map(|at| at.to_sqlx()))
    .bind(found.result.as_ref().map(Json))
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("write a remediation"))?;
    Ok(())
}

/// Whoever executes approved actions hears of it.
async fn announce(
    tx: &mut Tx<'_>,
    found: &Remediation,
    author: &Author,
) -> Result<(), OperationError> {
    let node = nodes::lock(tx, &found.org, &found.team).await?;
    let change = Change {
        org: node.org,
        node: node.id,
        kind: node.kind,
        version: node.version,
        what: What::RemediationApproved,
        about: found.id.clone(),
        by: author.by.clone(),
        at: author.at,
        revision: 0,
        batch: 0,
        identifiers: std::collections::BTreeSet::new(),
    };
    outbox::append(tx, &[change.message()?]).await?;
    Ok(())
}
