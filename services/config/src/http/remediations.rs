//! Proposed actions: for teams, for an org's admins, and for services that act for a team.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tocsin_kit::{Problem, random};
use tocsin_wire::{OrgId, TeamId};
use utoipa::ToSchema;

use super::approvals::{ReviewAction, plain, review_body, reviewer, short};
use super::extract::{self, Id, InPath, InQuery, OrgPath};
use super::{Access, App, Caller, Routes, Scope, body};
use crate::decide::Refusal;
use crate::http::routes::route;
use crate::pg::{Remediation, RemediationQuery};
use crate::remediation::{Proposal, Status};
use crate::token::Permission;

/// Remediations that one answer holds.
const LIST_DEFAULT: i64 = 50;
const LIST_MAX: i64 = 200;

/// Longest comment of a reviewer, and longest result of an executor.
const MAX_COMMENT_CHARS: usize = 2_000;
const MAX_RESULT_BYTES: usize = 64 * 1024;

/// Hex digits of an id's random part.
const ID_DIGITS: usize = 12;

/// Names whom the caller proposes for.
const PROPOSED_BY: &str = "x-proposed-by";

/// The table of this area.
pub(super) fn routes() -> Routes {
    let (read, write) = (Permission::ConfigRead, Permission::ConfigWrite);
    let admin = Access::Admin(Scope::Approvals);
    Routes::new()
        .add(Access::Team(Permission::AgentInvoke), route!(propose))
        .add(Access::Team(read), route!(list))
        .add(Access::Team(read), route!(one))
        .add(Access::Team(write), route!(review))
        .add(Access::Team(write), route!(roll_back))
        .add(admin, route!(list_of_org))
        .add(admin, route!(review_of_org))
        .add(Access::Internal, route!(propose_for))
        .add(Access::Internal, route!(finish))
}

/// A proposed action.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Remediation)]
pub(super) struct RemediationView {
    /// `rem-` and 12 hex digits.
    id: String,
    org_id: String,
    team_node_id: String,
    #[serde(flatten)]
    proposal: Proposal,
    proposed_by: String,
    #[schema(value_type = String, format = DateTime)]
    proposed_at: Timestamp,
    status: Status,
    reviewed_by: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    reviewed_at: Option<Timestamp>,
    review_comment: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// As the executor reported it.
    #[schema(value_type = Value, required = false)]
    result: Option<Value>,
    /// The remediation that this one takes back.
    rolls_back: Option<String>,
}

impl From<Remediation> for RemediationView {
    fn from(found: Remediation) -> Self {
        Self {
            id: found.id,
            org_id: found.org.to_string(),
            team_node_id: found.team.to_string(),
            proposal: found.proposal,
            proposed_by: found.proposed_by,
            proposed_at: found.proposed_at,
            status: found.status,
            reviewed_by: found.reviewed_by,
            reviewed_at: found.reviewed_at,
            review_comment: found.review_comment,
            finished_at: found.finished_at,
            result: found.result,
            rolls_back: found.rolls_back,
        }
    }
}

/// Remediations, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Remediations)]
pub(super) struct Listed {
    items: Vec<RemediationView>,
    /// Without limit and offset.
    total: i64,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RemediationFilter {
    #[param(inline)]
    status: Option<Status>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    #[param(minimum = 0)]
    offset: Option<i64>,
}

/// `…/remediations/{remediation}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct RemediationPath {
    /// Its id.
    #[serde(deserialize_with = "plain")]
    #[param(example = "rem-0123456789ab")]
    remediation: String,
}

/// `…/orgs/{org}/remediations/{remediation}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OrgRemediationPath {
    /// The org.
    #[serde(deserialize_with = "extract::org")]
    #[param(value_type = Id, example = "acme")]
    org: OrgId,
    /// Its id.
    #[serde(deserialize_with = "plain")]
    #[param(example = "rem-0123456789ab")]
    remediation: String,
}

async fn kept(
    app: &App,
    caller: &Caller,
    (org, team): (OrgId, TeamId),
    headers: &HeaderMap,
    mut proposal: Proposal,
) -> Result<Json<RemediationView>, Problem> {
    let named = headers.get(PROPOSED_BY).and_then(|name| name.to_str().ok());
    if let Some(name) = named.map(str::trim).filter(|name| !name.is_empty()) {
        proposal.proposed_for = Some(name.to_owned());
    }
    if let Some(fault) = proposal.fault() {
        return Err(Refusal::Field(fault).into());
    }
    let author = caller.author(app);
    let remediation = Remediation {
        id: new_id(author.at),
        org,
        team,
        proposal,
        proposed_by: author.by,
        proposed_at: author.at,
        status: Status::Pending,
        reviewed_by: None,
        reviewed_at: None,
        review_comment: None,
        finished_at: None,
        result: None,
        rolls_back: None,
    };
    app.database.propose_remediation(&remediation).await?;
    Ok(Json(remediation.into()))
}

/// The random end of a time-ordered id: its front is nearly the same for a whole day.
fn new_id(now: Timestamp) -> String {
    let random = random::time_ordered_id(now).simple().to_string();
    let start = random.len().saturating_sub(ID_DIGITS);
    format!("rem-{}", random.get(start..).unwrap_or_default())
}

/// Propose an action
///
/// It waits until somebody else approves it. Config executes nothing: what is approved is recorded and
/// announced on the bus.
#[utoipa::path(post, path = "/api/v1/remediations", operation_id = "remediation_propose", tag = "approvals",
    request_body = Proposal,
    responses((status = 201, description = "The proposal.", body = RemediationView)))]
pub(super) async fn propose(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<RemediationView>), Problem> {
    let proposal: Proposal = body::json(&body)?;
    let kept = kept(&app, &caller, caller.team()?, &headers, proposal).await?;
    Ok((StatusCode::CREATED, kept))
}

/// A proposal of a service for a team.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = RemediationProposalForTeam)]
pub(super) struct ProposalFor {
    #[serde(deserialize_with = "extract::org")]
    #[schema(value_type = Id)]
    org_id: OrgId,
    #[serde(deserialize_with = "extract::node_id")]
    #[schema(value_type = Id)]
    team_node_id: TeamId,
    #[serde(flatten)]
    proposal: Proposal,
}

/// Propose an action for a team
#[utoipa::path(post, path = "/api/v1/internal/remediations", operation_id = "remediation_propose_for", tag = "internal",
    request_body = ProposalFor,
    responses((status = 201, description = "The proposal.", body = RemediationView)))]
pub(super) async fn propose_for(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<RemediationView>), Problem> {
    let request: ProposalFor = body::json(&body)?;
    let team = (request.org_id, request.team_node_id);
    let kept = kept(&app, &caller, team, &headers, request.proposal).await?;
    Ok((StatusCode::CREATED, kept))
}

async fn listed(
    app: &App,
    (org, team): (OrgId, Option<TeamId>),
    filter: RemediationFilter,
) -> Result<Json<Listed>, Problem> {
    let (limit, offset) = (
        filter.limit.unwrap_or(LIST_DEFAULT),
        filter.offset.unwrap_or(0),
    );
    if !(1..=LIST_MAX).contains(&limit) || offset < 0 {
        let refusal = Refusal::Field(format!(
            "limit must be 1 to {LIST_MAX}, and offset at least 0"
        ));
        return Err(refusal.into());
    }
    let query = RemediationQuery {
        org,
        team,
        status: filter.status,
        limit,
        offset,
    };
    let (found, total) = app.database.remediations(&query).await?;
    Ok(Json(Listed {
        items: found.into_iter().map(RemediationView::from).collect(),
        total,
    }))
}

/// Proposed actions of my team
#[utoipa::path(get, path = "/api/v1/remediations", operation_id = "remediations", tag = "approvals",
    params(RemediationFilter),
    responses((status = 200, description = "Newest first.", body = Listed)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    InQuery(filter): InQuery<RemediationFilter>,
) -> Result<Json<Listed>, Problem> {
    let (org, team) = caller.team()?;
    listed(&app, (org, Some(team)), filter).await
}

/// Proposed actions of an org
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/remediations", operation_id = "remediations_of_org", tag = "approvals",
    params(OrgPath, RemediationFilter),
    responses((status = 200, description = "Newest first.", body = Listed)))]
pub(super) async fn list_of_org(
    State(app): State<Arc<App>>,
    InPath(OrgPath { org }): InPath<OrgPath>,
    InQuery(filter): InQuery<RemediationFilter>,
) -> Result<Json<Listed>, Problem> {
    listed(&app, (org, None), filter).await
}

/// One proposed action of my team
#[utoipa::path(get, path = "/api/v1/remediations/{remediation}", operation_id = "remediation", tag = "approvals",
    params(RemediationPath),
    responses((status = 200, description = "The proposal and what became of it.", body = RemediationView)))]
pub(super) async fn one(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(RemediationPath { remediation }): InPath<RemediationPath>,
) -> Result<Json<RemediationView>, Problem> {
    let (org, team) = caller.team()?;
    let found = app
        .database
        .remediation(&org, Some(&team), &remediation)
        .await?;
    Ok(Json(found.into()))
}

async fn decided(
    app: &App,
    caller: &Caller,
    (org, id): (&OrgId, &str),
    body: &Bytes,
) -> Result<Json<RemediationView>, Problem> {
    let request = review_body(body)?;
    if let Some(comment) = &request.comment {
        short("comment", comment, MAX_COMMENT_CHARS)?;
    }
    let decision = (request.action == ReviewAction::Approve, request.comment);
    let author = caller.author(app);
    let found = app
        .database
        .review_remediation((org, id), decision, &reviewer(caller), &author)
        .await?;
    Ok(Json(found.into()))
}

/// Approve or refuse an action that somebody else proposed for my team
#[utoipa::path(post, path = "/api/v1/remediations/{remediation}/review", operation_id = "remediation_review", tag = "approvals",
    params(RemediationPath), request_body = super::approvals::ReviewBody,
    responses((status = 200, description = "The proposal after it.", body = RemediationView)))]
pub(super) async fn review(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(RemediationPath { remediation }): InPath<RemediationPath>,
    body: Bytes,
) -> Result<Json<RemediationView>, Problem> {
    let (org, _) = caller.team()?;
    decided(&app, &caller, (&org, &remediation), &body).await
}

/// Approve or refuse an action that somebody else proposed
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/remediations/{remediation}/review", operation_id = "remediation_review_of_org", tag = "approvals",
    params(OrgRemediationPath), request_body = super::approvals::ReviewBody,
    responses((status = 200, description = "The proposal after it.", body = RemediationView)))]
pub(super) async fn review_of_org(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(OrgRemediationPath { org, remediation }): InPath<OrgRemediationPath>,
    body: Bytes,
) -> Result<Json<RemediationView>, Problem> {
    decided(&app, &caller, (&org, &remediation), &body).await
}

/// Propose what takes an executed action back
///
/// Only scaling has such an inverse, and it can be proposed once. It waits for approval as any other.
#[utoipa::path(post, path = "/api/v1/remediations/{remediation}/rollback", operation_id = "remediation_rollback", tag = "approvals",
    params(RemediationPath),
    responses((status = 200, description = "The new proposal.", body = RemediationView)))]
pub(super) async fn roll_back(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(RemediationPath { remediation }): InPath<RemediationPath>,
) -> Result<Json<RemediationView>, Problem> {
    let (org, team) = caller.team()?;
    let author = caller.author(&app);
    let new_id = new_id(author.at);
    let back = app
        .database
        .roll_back_remediation(&org, (&team, &remediation), &new_id, &author)
        .await?;
    Ok(Json(back.into()))
}

/// How an execution ended.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ended {
    Executed,
    Failed,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = RemediationResult)]
pub(super) struct Finish {
    #[serde(deserialize_with = "extract::org")]
    #[schema(value_type = Id)]
    org_id: OrgId,
    #[schema(inline)]
    status: Ended,
    /// What was done or went wrong; `previous_replicas` of a scaling makes it possible to take it back.
    #[schema(value_type = Value, required = false)]
    result: Option<Value>,
}

/// Report how an approved action ended
///
/// May be sent twice.
#[utoipa::path(post, path = "/api/v1/internal/remediations/{remediation}/result", operation_id = "remediation_finish", tag = "internal",
    params(RemediationPath), request_body = Finish,
    responses((status = 200, description = "The proposal after it.", body = RemediationView)))]
pub(super) async fn finish(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(RemediationPath { remediation }): InPath<RemediationPath>,
    body: Bytes,
) -> Result<Json<RemediationView>, Problem> {
    let request: Finish = body::json(&body)?;
    let result = request.result.filter(|result| !result.is_null());
    let text = result.as_ref().map(Value::to_string).unwrap_or_default();
    if text.len() > MAX_RESULT_BYTES || text.contains("\\u0000") {
        let refusal = Refusal::Field(format!(
            "result must be at most {MAX_RESULT_BYTES} bytes, without U+0000"
        ));
        return Err(refusal.into());
    }
    let to = match request.status {
        Ended::Executed => Status::Executed,
        Ended::Failed => Status::Failed,
    };
    let about = (&request.org_id, remediation.as_str());
    let author = caller.author(&app);
    let found = app
        .database
        .finish_remediation(about, to, result, &author)
        .await?;
    Ok(Json(found.into()))
}
