//! Changes that wait for approval: for admins here, for teams in `mine`, proposals of services in `proposals`.

mod mine;
mod proposals;

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use tocsin_kit::Problem;
use tocsin_wire::OrgId;
use utoipa::ToSchema;

use super::extract::{self, InPath, InQuery, OrgPath};
use super::{Access, App, Caller, CallerKind, Routes, Scope, body};
use crate::decide::{Approval, Refusal, WriteRequest};
use crate::error::OperationError;
use crate::http::routes::route;
use crate::pg::{Held, Pending, PendingQuery, Review};
use crate::policy::{ChangeType, Reviewer};
use crate::token::Permission;

/// Changes that one answer holds.
const LIST_DEFAULT: i64 = 50;
const LIST_MAX: i64 = 200;

/// Longest comment or reason.
const MAX_COMMENT_CHARS: usize = 2_000;

/// Asks to do without the approval that a change needs. The second is how the original spelled it.
const BYPASS_HEADERS: [&str; 2] = ["x-bypass-approval", "x_bypass_approval"];

/// The table of this area.
pub(super) fn routes() -> Routes {
    let admin = Access::Admin(Scope::Approvals);
    let (read, write) = (Permission::ConfigRead, Permission::ConfigWrite);
    Routes::new()
        .add(admin, route!(list))
        .add(admin, route!(one))
        .add(admin, route!(review))
        .add(Access::Team(read), route!(mine::list_mine))
        .add(Access::Team(read), route!(mine::one_of_mine))
        .add(Access::Team(write), route!(mine::approve_mine))
        .add(Access::Team(write), route!(mine::reject_mine))
        .add(Access::Internal, route!(proposals::propose))
}

/// What a write answers that somebody else has to approve first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PendingApproval {
    /// `pending_approval`
    status: &'static str,
    message: String,
    pending_change_id: String,
    /// `prompt`, `tools`, …
    change_types: Vec<String>,
}

/// Why a write did not take place: it waits, or something is wrong.
#[derive(Debug)]
pub(super) enum Unwritten {
    Held(Held),
    Problem(Problem),
}

impl From<Problem> for Unwritten {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<OperationError> for Unwritten {
    fn from(error: OperationError) -> Self {
        Self::Problem(error.into())
    }
}

impl From<Held> for PendingApproval {
    fn from(held: Held) -> Self {
        Self {
            status: "pending_approval",
            message: format!(
                "Change requires approval ({}); nothing has changed yet",
                held.change_types.join(", ")
            ),
            pending_change_id: held.pending.to_string(),
            change_types: held.change_types,
        }
    }
}

impl IntoResponse for Unwritten {
    fn into_response(self) -> Response {
        match self {
            Self::Held(held) => Json(PendingApproval::from(held)).into_response(),
            Self::Problem(problem) => problem.into_response(),
        }
    }
}

/// Whether the caller wants to do without approval; only global admins may ask.
pub(super) fn approval(headers: &HeaderMap, caller: &Caller) -> Result<Approval, Problem> {
    let asked = BYPASS_HEADERS
        .iter()
        .filter_map(|name| headers.get(*name)?.to_str().ok())
        .any(|value| matches!(value.trim().to_ascii_lowercase().as_str(), "true" | "1"));
    match (asked, caller.kind) {
        (false, _) => Ok(Approval::Needed),
        (true, CallerKind::GlobalAdmin) => Ok(Approval::Bypassed),
        (true, _) => Err(Problem::forbidden(
            "approval_bypass_denied",
            "only a global admin may bypass approvals; send the change without the header",
        )),
    }
}

/// A change that waits or waited.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PendingChange {
    id: String,
    org_id: String,
    node_id: String,
    /// `prompt`, `tools`, `mcp`, `config` or `knowledge`: of the first path that needs approval.
    change_type: String,
    change_types: Vec<String>,
    change_path: String,
    proposed_value: Option<Value>,
    previous_value: Option<Value>,
    /// The whole of it: what is written when it is approved.
    #[schema(value_type = Vec<Object>)]
    requests: Vec<WriteRequest>,
    /// What it does to the node, on dotted paths.
    #[schema(value_type = Option<Object>)]
    diff: Option<Value>,
    /// The same for every node of a batch.
    #[schema(value_type = Object)]
    diffs: Map<String, Value>,
    /// The version of the node that it was made for.
    base_version: Option<u64>,
    requested_by: String,
    #[schema(value_type = String, format = DateTime)]
    requested_at: Timestamp,
    reason: String,
    /// `pending`, `approved` or `rejected`
    status: String,
    reviewed_by: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    reviewed_at: Option<Timestamp>,
    review_comment: Option<String>,
    /// The version of the node that it became.
    applied_version: Option<u64>,
}

impl From<Pending> for PendingChange {
    fn from(change: Pending) -> Self {
        let of_node = |request: &&WriteRequest| request.node == change.node;
        let base_version = change
            .requests
            .iter()
            .find(of_node)
            .and_then(|own| own.expected);
        Self {
            diff: change.diffs.get(change.node.as_str()).cloned(),
            base_version,
            id: change.id,
            org_id: change.org.to_string(),
            node_id: change.node.to_string(),
            change_type: change.change_type,
            change_types: change.change_types,
            change_path: change.change_path,
            proposed_value: change.proposed_value,
            previous_value: change.previous_value,
            requests: change.requests,
            diffs: change.diffs,
            requested_by: change.requested_by,
            requested_at: change.requested_at,
            reason: change.reason,
            status: change.status,
            reviewed_by: change.reviewed_by,
            reviewed_at: change.reviewed_at,
            review_comment: change.review_comment,
            applied_version: change.applied_version,
        }
    }
}

/// Changes, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PendingChanges {
    items: Vec<PendingChange>,
    /// Without limit and offset.
    total: i64,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ChangeStatus {
    Pending,
    Approved,
    Rejected,
}

impl ChangeStatus {
    fn stored(self) -> String {
        let text = match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        };
        text.to_owned()
    }
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only of this node.
    node_id: Option<String>,
    #[param(inline)]
    status: Option<ChangeStatus>,
    #[param(inline)]
    change_type: Option<ChangeType>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    #[param(minimum = 0)]
    offset: Option<i64>,
}

impl ListQuery {
    fn checked(self) -> Result<PendingQuery, Problem> {
        let node = self.node_id.as_deref().map(body::node_id).transpose()?;
        let (limit, offset) = (self.limit.unwrap_or(LIST_DEFAULT), self.offset.unwrap_or(0));
        if !(1..=LIST_MAX).contains(&limit) || offset < 0 {
            return Err(Refusal::Field(format!(
                "limit must be 1 to {LIST_MAX}, and offset at least 0"
            ))
            .into());
        }
        Ok(PendingQuery {
            node,
            status: self.status.map(ChangeStatus::stored),
            change_type: self.change_type.map(|kind| kind.as_str().to_owned()),
            limit,
            offset,
        })
    }
}

/// `…/orgs/{org}/pending-changes/{change}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct ChangePath {
    /// The org.
    #[serde(deserialize_with = "extract::org")]
    #[param(value_type = extract::Id, example = "acme")]
    org: OrgId,
    /// Its id.
    #[serde(deserialize_with = "plain")]
    change: String,
}

/// For `#[serde(deserialize_with)]`: a text that Postgres takes.
pub(super) fn plain<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.contains('\0') {
        return Err(D::Error::custom("no such thing: it holds U+0000"));
    }
    Ok(text)
}

async fn listed(
    app: &App,
    org: &OrgId,
    query: &PendingQuery,
) -> Result<Json<PendingChanges>, Problem> {
    let (changes, total) = app.database.pending_changes(org, query).await?;
    Ok(Json(PendingChanges {
        items: changes.into_iter().map(PendingChange::from).collect(),
        total,
    }))
}

/// Changes of an org that wait or waited
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/pending-changes", operation_id = "pending_changes", tag = "approvals",
    params(OrgPath, ListQuery),
    responses((status = 200, description = "Newest first.", body = PendingChanges)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    InPath(OrgPath { org }): InPath<OrgPath>,
    InQuery(query): InQuery<ListQuery>,
) -> Result<Json<PendingChanges>, Problem> {
    listed(&app, &org, &query.checked()?).await
}

/// A change that waits or waited
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/pending-changes/{change}", operation_id = "pending_change", tag = "approvals",
    params(ChangePath),
    responses((status = 200, description = "The change.", body = PendingChange)))]
pub(super) async fn one(
    State(app): State<Arc<App>>,
    InPath(ChangePath { org, change }): InPath<ChangePath>,
) -> Result<Json<PendingChange>, Problem> {
    let change = app.database.pending_change(&org, &change, None).await?;
    Ok(Json(change.into()))
}

/// What the reviewer decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReviewAction {
    Approve,
    Reject,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ChangeReview)]
pub(super) struct ReviewBody {
    #[schema(inline)]
    pub(super) action: ReviewAction,
    /// For who asked.
    pub(super) comment: Option<String>,
}

/// Approve or refuse a change
///
/// Who asked for it cannot. An approved change is written at once, as a whole, if the node is still at
/// the version that it was made for; else 409 `stale_version`.
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/pending-changes/{change}/review", operation_id = "pending_change_review", tag = "approvals",
    params(ChangePath), request_body = ReviewBody,
    responses((status = 200, description = "The change after it.", body = PendingChange)))]
pub(super) async fn review(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(ChangePath { org, change }): InPath<ChangePath>,
    body: Bytes,
) -> Result<Json<PendingChange>, Problem> {
    let request = review_body(&body)?;
    decided(&app, &caller, (&org, &change), request).await
}

/// The action is told apart from other faults: 400, as clients know it.
pub(super) fn review_body(body: &Bytes) -> Result<ReviewBody, Problem> {
    let request: Value = body::json(body)?;
    match request.get("action").map(|action| action.as_str()) {
        Some(Some("approve" | "reject")) => body::json(body),
        _ => Err(Problem::bad_request(
            "invalid_action",
            "action must be \"approve\" or \"reject\"",
        )),
    }
}

async fn decided(
    app: &App,
    caller: &Caller,
    (org, id): (&OrgId, &str),
    request: ReviewBody,
) -> Result<Json<PendingChange>, Problem> {
    let comment = request.comment.filter(|comment| !comment.is_empty());
    if let Some(comment) = &comment {
        short("comment", comment, MAX_COMMENT_CHARS)?;
    }
    let review = Review {
        approve: request.action == ReviewAction::Approve,
        comment,
        reviewer: reviewer(caller),
    };
    let author = caller.author(app);
    let change = app
        .database
        .review_change(org, id, &review, &author)
        .await?;
    Ok(Json(change.into()))
}

pub(super) fn reviewer(caller: &Caller) -> Reviewer {
    let team = match caller.kind {
        CallerKind::Team | CallerKind::Impersonation => caller.team().ok(),
        CallerKind::GlobalAdmin | CallerKind::OrgAdmin | CallerKind::Internal => None,
    };
    Reviewer {
        subject: caller.subject.clone(),
        team,
    }
}

pub(super) fn short(name: &str, text: &str, most: usize) -> Result<(), Problem> {
    if text.chars().count() > most || text.contains('\0') {
        let refusal = Refusal::Field(format!(
            "{name} must be at most {most} characters, without U+0000"
        ));
        return Err(refusal.into());
    }
    Ok(())
}
