//! Changes of a team, for the holder of its credential.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::Deserialize;
use tocsin_kit::Problem;
use utoipa::ToSchema;

use super::super::extract::{InPath, InQuery};
use super::super::{App, Caller, body};
use super::{
    ListQuery, PendingChange, PendingChanges, ReviewAction, ReviewBody, decided, listed, plain,
};
use crate::pg::PendingQuery;

/// `…/pending-changes/{change}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::http) struct MyChangePath {
    /// Its id.
    #[serde(deserialize_with = "plain")]
    change: String,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ReviewComment)]
pub(in crate::http) struct CommentBody {
    /// For who asked.
    comment: Option<String>,
}

/// Changes of my team that wait or waited
#[utoipa::path(get, path = "/api/v1/team/pending-changes", operation_id = "my_pending_changes", tag = "approvals",
    params(ListQuery),
    responses((status = 200, description = "Newest first.", body = PendingChanges)))]
pub(in crate::http) async fn list_mine(
    State(app): State<Arc<App>>,
    caller: Caller,
    InQuery(query): InQuery<ListQuery>,
) -> Result<Json<PendingChanges>, Problem> {
    let (org, team) = caller.team()?;
    let query = PendingQuery {
        node: Some(team),
        ..query.checked()?
    };
    listed(&app, &org, &query).await
}

/// A change of my team that waits or waited
#[utoipa::path(get, path = "/api/v1/team/pending-changes/{change}", operation_id = "my_pending_change", tag = "approvals",
    params(MyChangePath),
    responses((status = 200, description = "The change.", body = PendingChange)))]
pub(in crate::http) async fn one_of_mine(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(MyChangePath { change }): InPath<MyChangePath>,
) -> Result<Json<PendingChange>, Problem> {
    let (org, team) = caller.team()?;
    let change = app
        .database
        .pending_change(&org, &change, Some(&team))
        .await?;
    Ok(Json(change.into()))
}

/// Approve a change of my team that somebody else asked for
#[utoipa::path(post, path = "/api/v1/team/pending-changes/{change}/approve", operation_id = "my_pending_change_approve", tag = "approvals",
    params(MyChangePath), request_body = Option<CommentBody>,
    responses((status = 200, description = "The change after it.", body = PendingChange)))]
pub(in crate::http) async fn approve_mine(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(MyChangePath { change }): InPath<MyChangePath>,
    body: Bytes,
) -> Result<Json<PendingChange>, Problem> {
    decide_mine(&app, &caller, &change, (ReviewAction::Approve, &body)).await
}

/// Refuse a change of my team that somebody else asked for
#[utoipa::path(post, path = "/api/v1/team/pending-changes/{change}/reject", operation_id = "my_pending_change_reject", tag = "approvals",
    params(MyChangePath), request_body = Option<CommentBody>,
    responses((status = 200, description = "The change after it.", body = PendingChange)))]
pub(in crate::http) async fn reject_mine(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(MyChangePath { change }): InPath<MyChangePath>,
    body: Bytes,
) -> Result<Json<PendingChange>, Problem> {
    decide_mine(&app, &caller, &change, (ReviewAction::Reject, &body)).await
}

async fn decide_mine(
    app: &App,
    caller: &Caller,
    id: &str,
    (action, body): (ReviewAction, &Bytes),
) -> Result<Json<PendingChange>, Problem> {
    let (org, _) = caller.team()?;
    let CommentBody { comment } = body::optional_json(body)?;
    decided(app, caller, (&org, id), ReviewBody { action, comment }).await
}
