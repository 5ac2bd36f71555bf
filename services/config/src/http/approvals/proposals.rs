//! Changes that other services propose.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;
use tocsin_kit::{Problem, random};
use tocsin_wire::OrgId;
use utoipa::ToSchema;

use super::super::{App, Caller, body, extract};
use super::{MAX_COMMENT_CHARS, PendingChange, short};
use crate::decide::{Action, Refusal, WriteRequest};
use crate::node::NodeId;
use crate::pg::{Author, Pending};
use crate::policy::{ChangeType, Pattern};

/// Longest id, and longest name of who a service proposes for.
const MAX_ID_CHARS: usize = 128;
const MAX_REQUESTER_CHARS: usize = 256;

/// A change that a service proposes.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ChangeProposal)]
pub(in crate::http) struct Proposal {
    /// Chosen by the caller, so that sending it again does no harm.
    id: Option<String>,
    #[serde(deserialize_with = "extract::org")]
    #[schema(value_type = extract::Id)]
    org_id: OrgId,
    #[serde(deserialize_with = "extract::node_id", alias = "team_node_id")]
    #[schema(value_type = extract::Id)]
    node_id: NodeId,
    #[schema(inline)]
    change_type: ChangeType,
    /// Where `proposed_value` is to stand. Knowledge without one is only recorded.
    change_path: Option<String>,
    #[schema(value_type = Object)]
    proposed_value: Value,
    requested_by: Option<String>,
    reason: Option<String>,
}

/// Propose a change
///
/// The same id with the same content is the same change, however often it is sent.
#[utoipa::path(post, path = "/api/v1/internal/pending-changes", operation_id = "pending_change_propose", tag = "internal",
    request_body = Proposal,
    responses((status = 200, description = "The change.", body = PendingChange)))]
pub(in crate::http) async fn propose(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: Bytes,
) -> Result<Json<PendingChange>, Problem> {
    let proposal: Proposal = body::json(&body)?;
    let mut author = caller.author(&app);
    if let Some(requester) = proposal
        .requested_by
        .as_deref()
        .filter(|name| !name.is_empty())
    {
        short("requested_by", requester, MAX_REQUESTER_CHARS)?;
        author = Author {
            by: format!("{}:{requester}", author.by),
            at: author.at,
        };
    }
    let id = proposal
        .id
        .unwrap_or_else(|| random::time_ordered_id(author.at).to_string());
    if id.is_empty() {
        return Err(Refusal::Field("id must not be empty".to_owned()).into());
    }
    short("id", &id, MAX_ID_CHARS)?;
    let reason = proposal.reason.unwrap_or_default();
    short("reason", &reason, MAX_COMMENT_CHARS)?;
    let path = proposal.change_path.unwrap_or_default();
    short("change_path", &path, MAX_COMMENT_CHARS)?;
    if proposal.proposed_value.to_string().contains("\\u0000") {
        return Err(Refusal::Field("proposed_value must not hold U+0000".to_owned()).into());
    }
    let requests = requests(
        (&proposal.node_id, proposal.change_type),
        &path,
        &proposal.proposed_value,
    )?;
    let requests = requests
        .into_iter()
        .map(|request| request.because(reason.clone()))
        .collect();
    let named = (id, proposal.org_id, proposal.node_id);
    let mut pending = Pending::proposed(named, (proposal.change_type, path), requests, author);
    pending.proposed_value = Some(proposal.proposed_value);
    pending.reason = reason;
    let change = app.database.propose_change(&pending).await?;
    Ok(Json(change.into()))
}

/// What an approval of it would write.
fn requests(
    (node, change_type): (&NodeId, ChangeType),
    path: &str,
    value: &Value,
) -> Result<Vec<WriteRequest>, Problem> {
    if change_type == ChangeType::Knowledge {
        return Ok(Vec::new());
    }
    let invalid = |why: String| Problem::bad_request("invalid_change_path", why);
    let pattern = Pattern::parse(path).map_err(|error| invalid(error.to_string()))?;
    let patch = pattern
        .literal()
        .and_then(|path| path.config_with(value.clone()))
        .ok_or_else(|| invalid("change_path names one path, without *".to_owned()))?;
    Ok(vec![WriteRequest::new(node.clone(), Action::Patch(patch))])
}
