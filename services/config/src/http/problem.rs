//! The one place where refusals and failures become answers.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use tocsin_kit::{ErrorChain, Problem};

use crate::decide::Refusal;
use crate::error::OperationError;
use crate::token::Bad;

/// A database that restarts is back within seconds.
const RETRY_AFTER: Duration = Duration::from_secs(2);

impl IntoResponse for OperationError {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}

impl From<OperationError> for Problem {
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::Refused(refusal) => refusal.into(),
            OperationError::Stopped {
                index,
                node,
                refusal,
            } => {
                let mut problem = Self::from(refusal)
                    .with("change", serde_json::json!(index))
                    .with("node_id", serde_json::json!(node));
                let detail = format!(
                    "change {index} of the batch, of node {node}: {}",
                    problem.detail
                );
                problem.detail = detail.into();
                problem
            }
            OperationError::Secret(refusal) => refusal.into(),
            OperationError::Source(refusal) => refusal.into(),
            error if error.is_commit_unknown() => {
                tracing::warn!(error = %ErrorChain(&error), "the outcome of a write is unknown");
                Self::unavailable(
                    "outcome_unknown",
                    "the database did not say whether the change was kept; read before repeating it",
                    RETRY_AFTER,
                )
            }
            error if error.is_unstorable_text() => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_text",
                "a text of the request holds U+0000, which cannot be stored; remove it",
            ),
            error if error.is_unavailable() => {
                tracing::debug!(error = %ErrorChain(&error), "the database is not available");
                Self::unavailable(
                    "database_unavailable",
                    "the database does not answer; nothing was changed; send it again later",
                    RETRY_AFTER,
                )
            }
            error => {
                tracing::error!(error = %ErrorChain(&error), "a request failed");
                Self::internal()
            }
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        use StatusCode as Status;
        if let Refusal::Policy(refusal) = refusal {
            return super::policy_problem::problem(&refusal);
        }
        let (status, code) = match &refusal {
            Refusal::NoNode { .. } => (Status::NOT_FOUND, "node_not_found"),
            Refusal::NoOrg { .. } => (Status::NOT_FOUND, "org_not_found"),
            Refusal::NotATeam { .. } => (Status::NOT_FOUND, "team_not_found"),
            Refusal::Exists { .. } => (Status::CONFLICT, "node_exists"),
            Refusal::HasChildren { .. } => (Status::CONFLICT, "node_has_children"),
            Refusal::VersionConflict { .. } => (Status::CONFLICT, "stale_version"),
            Refusal::NoVersion { .. } => (Status::NOT_FOUND, "version_not_found"),
            Refusal::TooLarge(_) => (Status::PAYLOAD_TOO_LARGE, "too_large"),
            Refusal::IdentifierTaken { .. } => (Status::CONFLICT, "routing_conflict"),
            Refusal::NoDefaultTeam { .. } => (Status::UNPROCESSABLE_ENTITY, "no_default_team"),
            Refusal::IsDefaultTeam { .. } => (Status::CONFLICT, "is_default_team"),
            Refusal::Id(_) => (Status::UNPROCESSABLE_ENTITY, "invalid_id"),
            Refusal::Parent(_) => (Status::BAD_REQUEST, "invalid_parent"),
            Refusal::Routing(_) => (Status::UNPROCESSABLE_ENTITY, "invalid_routing"),
            Refusal::Config(_) => (Status::BAD_REQUEST, "invalid_config"),
            Refusal::Policy(_) => (Status::BAD_REQUEST, "refused"),
            Refusal::Field(_) => (Status::BAD_REQUEST, "invalid_field"),
        };
        let problem = Self::new(status, code, refusal.to_string());
        match &refusal {
            Refusal::IdentifierTaken { identifier, claim } => problem
                .with("identifier", serde_json::json!(identifier))
                .with("owner", owner(claim)),
            Refusal::VersionConflict {
                expected,
                actual,
                current,
                yours,
                ..
            } => problem
                .with("expected_version", serde_json::json!(expected))
                .with("current_version", serde_json::json!(actual))
                .with("current", serde_json::json!(current))
                .with("yours", serde_json::json!(yours)),
            Refusal::HasChildren {
                children, names, ..
            } => problem
                .with("children", serde_json::json!(names))
                .with("children_count", serde_json::json!(children)),
            _ => problem,
        }
    }
}

/// Identifiers are unique per org, so whoever meets a claim belongs to the owner's org.
fn owner(claim: &crate::routing::Claim) -> serde_json::Value {
    serde_json::json!({
        "org_id": claim.owner.org,
        "team_node_id": claim.owner.team,
        "set_on": claim.source,
        "set_by": claim.by,
        "set_at": claim.at,
    })
}

impl From<Bad> for Problem {
    fn from(bad: Bad) -> Self {
        let code = match bad {
            Bad::Invalid => "invalid_token",
            Bad::Revoked => "token_revoked",
            Bad::Expired => "token_expired",
        };
        Self::unauthorized(code, bad.to_string())
    }
}
