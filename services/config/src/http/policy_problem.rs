//! Broken rules and refused approvals as answers.

use http::StatusCode;
use serde_json::json;
use tocsin_kit::Problem;

use crate::policy::{PolicyRefusal, Rule, Violation};

/// Violations that one answer lists.
const MAX_LISTED: usize = 20;

pub(super) fn problem(refusal: &PolicyRefusal) -> Problem {
    use StatusCode as Status;
    if let PolicyRefusal::Violations(violations) = refusal {
        return violated(violations);
    }
    let (status, code) = match refusal {
        PolicyRefusal::Violations(_) => (Status::BAD_REQUEST, "invalid_config"),
        PolicyRefusal::Field(_) => (Status::UNPROCESSABLE_ENTITY, "invalid_field_definition"),
        PolicyRefusal::Policy(_) => (Status::UNPROCESSABLE_ENTITY, "invalid_security_policy"),
        PolicyRefusal::NoField { .. } => (Status::NOT_FOUND, "field_definition_not_found"),
        PolicyRefusal::FieldExists { .. } => (Status::CONFLICT, "field_definition_exists"),
        PolicyRefusal::RuleVersion { .. } | PolicyRefusal::Stale { .. } => {
            (Status::CONFLICT, "stale_version")
        }
        PolicyRefusal::NoChange { .. } => (Status::NOT_FOUND, "pending_change_not_found"),
        PolicyRefusal::Decided { .. } => (Status::BAD_REQUEST, "already_reviewed"),
        PolicyRefusal::OwnRequest { .. } => (Status::FORBIDDEN, "four_eyes"),
        PolicyRefusal::AdminsOnly => (Status::FORBIDDEN, "review_is_for_admins"),
        PolicyRefusal::NotOnlyYours => (Status::FORBIDDEN, "change_of_several_nodes"),
        PolicyRefusal::ChangeIdTaken { .. } => (Status::CONFLICT, "change_id_taken"),
        PolicyRefusal::NoBypass => (Status::FORBIDDEN, "approval_bypass_denied"),
        PolicyRefusal::NoRemediation { .. } => (Status::NOT_FOUND, "remediation_not_found"),
        PolicyRefusal::RemediationState { .. } => (Status::BAD_REQUEST, "wrong_remediation_state"),
        PolicyRefusal::NoInverse { .. } => (Status::BAD_REQUEST, "no_inverse"),
    };
    let problem = Problem::new(status, code, refusal.to_string());
    match refusal {
        PolicyRefusal::RuleVersion { expected, actual } => problem
            .with("expected_version", json!(expected))
            .with("current_version", json!(actual)),
        PolicyRefusal::Stale {
            made_for, actual, ..
        } => problem
            .with("expected_version", json!(made_for))
            .with("current_version", json!(actual)),
        _ => problem,
    }
}

/// The first violation decides status and code; all are listed, with the original's texts beside them.
fn violated(violations: &[Violation]) -> Problem {
    let Some(first) = violations.first() else {
        return Problem::internal();
    };
    let status = if first.rule == Rule::FieldLocked {
        StatusCode::FORBIDDEN
    } else {
        StatusCode::BAD_REQUEST
    };
    let detail = match violations.len() {
        1 => first.message.clone(),
        more => format!("{} (and {} more, in errors)", first.message, more - 1),
    };
    let listed: Vec<&Violation> = violations.iter().take(MAX_LISTED).collect();
    let problem = Problem::new(status, first.rule.code(), detail).with("errors", json!(listed));
    match first.rule {
        Rule::FieldLocked => problem.with("message", "Cannot modify locked fields"),
        Rule::DependencyValidationFailed if first.dependents.is_empty() => problem
            .with("error", first.rule.code())
            .with("message", "Agent configuration validation failed"),
        Rule::DependencyValidationFailed => problem
            .with("error", first.rule.code())
            .with(
                "message",
                format!("Dependency validation failed: {}", first.message),
            )
            .with("dependents", json!(first.dependents)),
        _ => problem.with("message", first.message.clone()),
    }
}
