//! Actions that an agent proposes and people decide on. Pure.
//!
//! Config keeps the record: what was proposed, who decided, what came of it. It runs nothing. An approved
//! action is announced on `config.changed.<org>.<team>` as `remediation_approved`; whoever executes it
//! reports `executed` or `failed`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::policy::PolicyRefusal;

/// Longest texts of a proposal.
const MAX_SHORT_CHARS: usize = 256;
const MAX_TEXT_CHARS: usize = 8_000;
/// Longest parameters: names and numbers, no documents.
const MAX_PARAMETER_BYTES: usize = 16 * 1024;

/// What may be proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ActionType {
    RestartPod,
    RestartDeployment,
    ScaleDeployment,
    RollbackDeployment,
    DeletePod,
}

/// How soon somebody should decide.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Urgency {
    Low,
    #[default]
    Medium,
    High,
    Critical,
}

/// Where a remediation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RemediationStatus)]
pub(crate) enum Status {
    Pending,
    Approved,
    Rejected,
    Executed,
    Failed,
}

impl Status {
    /// As it is stored and shown.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Executed => "executed",
            Self::Failed => "failed",
        }
    }

    /// Undoes [`Status::as_str`].
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [
            Self::Pending,
            Self::Approved,
            Self::Rejected,
            Self::Executed,
            Self::Failed,
        ]
        .into_iter()
        .find(|status| status.as_str() == text)
    }

    /// The state that has to come before.
    const fn before(self) -> Self {
        match self {
            Self::Pending | Self::Approved | Self::Rejected => Self::Pending,
            Self::Executed | Self::Failed => Self::Approved,
        }
    }
}

/// An action that somebody wants to take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = RemediationProposal)]
pub(crate) struct Proposal {
    pub(crate) action_type: ActionType,
    /// The pod or deployment.
    pub(crate) target: String,
    pub(crate) reason: String,
    /// `namespace`, `replicas`, `previous_replicas`, …
    #[serde(default)]
    #[schema(value_type = Object)]
    pub(crate) parameters: Map<String, Value>,
    #[serde(default)]
    pub(crate) urgency: Urgency,
    /// What would undo it, for people.
    #[serde(default)]
    #[schema(value_type = Value, required = false)]
    pub(crate) rollback_action: Option<Value>,
    #[serde(default)]
    pub(crate) correlation_id: Option<String>,
    #[serde(default)]
    pub(crate) agent_name: Option<String>,
    #[serde(default)]
    pub(crate) investigation_summary: Option<String>,
    /// Who the caller says that it proposes for; a claim.
    #[serde(default)]
    pub(crate) proposed_for: Option<String>,
}

impl Proposal {
    /// What is wrong with it.
    pub(crate) fn fault(&self) -> Option<String> {
        let texts = [
            ("target", Some(&self.target), MAX_SHORT_CHARS),
            ("reason", Some(&self.reason), MAX_TEXT_CHARS),
            (
                "correlation_id",
                self.correlation_id.as_ref(),
                MAX_SHORT_CHARS,
            ),
            ("agent_name", self.agent_name.as_ref(), MAX_SHORT_CHARS),
            ("proposed_for", self.proposed_for.as_ref(), MAX_SHORT_CHARS),
            (
                "investigation_summary",
                self.investigation_summary.as_ref(),
                MAX_TEXT_CHARS,
            ),
        ];
        for (name, text, most) in texts {
            if text.is_some_and(|text| text.chars().count() > most) {
                return Some(format!("{name} must be at most {most} characters"));
            }
        }
        if self.target.trim().is_empty() {
            return Some("target must name a pod or a deployment".to_owned());
        }
        let free = json!([self.parameters, self.rollback_action]).to_string();
        if free.len() > MAX_PARAMETER_BYTES {
            return Some(format!(
                "parameters and rollback_action together must be at most {MAX_PARAMETER_BYTES} bytes"
            ));
        }
        let all = serde_json::to_string(self).unwrap_or_default();
        all.contains("\\u0000")
            .then(|| "no text may hold U+0000".to_owned())
    }
}

/// Whether it may go on to `to`.
pub(crate) fn step(
    id: &str,
    status: Status,
    to: Status,
    action: &'static str,
) -> Result<(), PolicyRefusal> {
    let needed = to.before();
    if status == needed {
        return Ok(());
    }
    Err(PolicyRefusal::RemediationState {
        id: id.to_owned(),
        status: status.as_str().to_owned(),
        needed: needed.as_str(),
        action,
    })
}

/// The proposal that takes an executed one back: only scaling has an inverse that follows from its record.
pub(crate) fn inverse(
    id: &str,
    status: Status,
    proposal: &Proposal,
    result: Option<&Value>,
) -> Result<Proposal, PolicyRefusal> {
    if status != Status::Executed {
        return Err(PolicyRefusal::RemediationState {
            id: id.to_owned(),
            status: status.as_str().to_owned(),
            needed: Status::Executed.as_str(),
            action: "rolled back",
        });
    }
    let none = |why: &str| PolicyRefusal::NoInverse {
        id: id.to_owned(),
        why: why.to_owned(),
    };
    if proposal.action_type != ActionType::ScaleDeployment {
        return Err(none(
            "only scaling can be taken back by itself; propose what undoes it",
        ));
    }
    let replicas = result
        .and_then(|result| result.get("previous_replicas"))
        .or_else(|| proposal.parameters.get("previous_replicas"))
        .and_then(Value::as_u64)
        .ok_or_else(|| {
            none("its record does not say previous_replicas; propose the scaling itself")
        })?;
    let mut parameters = proposal.parameters.clone();
    if let Some(now) = parameters.insert("replicas".to_owned(), json!(replicas)) {
        parameters.insert("previous_replicas".to_owned(), now);
    }
    Ok(Proposal {
        reason: format!("Takes {id} back: {}", proposal.reason),
        parameters,
        rollback_action: None,
        ..proposal.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::needless_pass_by_value,
        reason = "literals read best as they are"
    )]
    fn proposal(action: &str, parameters: Value) -> Proposal {
        let body =
            json!({"action_type":action,"target":"web","reason":"r","parameters":parameters});
        serde_json::from_value(body).expect("proposal")
    }

    #[test]
    fn a_remediation_goes_one_way() {
        use Status::{Approved, Executed, Failed, Pending, Rejected};
        for (from, to, allowed) in [
            (Pending, Approved, true),
            (Pending, Rejected, true),
            (Pending, Executed, false),
            (Approved, Executed, true),
            (Approved, Failed, true),
            (Approved, Rejected, false),
            (Rejected, Approved, false),
            (Executed, Executed, false),
            (Failed, Executed, false),
        ] {
            assert_eq!(
                step("rem-1", from, to, "x").is_ok(),
                allowed,
                "{from:?} {to:?}"
            );
        }
    }

    #[test]
    fn only_scaling_that_was_executed_has_an_inverse() {
        let scale = proposal(
            "scale_deployment",
            json!({"replicas":5,"previous_replicas":2,"namespace":"n"}),
        );
        let back = inverse("rem-1", Status::Executed, &scale, None).expect("inverse");
        assert_eq!(
            Value::Object(back.parameters),
            json!({"replicas":2,"previous_replicas":5,"namespace":"n"})
        );
        let measured = json!({"previous_replicas":3});
        let back = inverse("rem-1", Status::Executed, &scale, Some(&measured)).expect("inverse");
        assert_eq!(back.parameters.get("replicas"), Some(&json!(3)));
        let blind = proposal("scale_deployment", json!({"replicas":5}));
        for (status, of) in [
            (Status::Approved, &scale),
            (Status::Failed, &scale),
            (Status::Executed, &blind),
            (Status::Executed, &proposal("restart_pod", json!({}))),
        ] {
            assert!(
                inverse("rem-1", status, of, None).is_err(),
                "{status:?} {of:?}"
            );
        }
    }

    #[test]
    fn a_proposal_has_limits() {
        assert_eq!(proposal("restart_pod", json!({})).fault(), None);
        let mut blank = proposal("restart_pod", json!({}));
        blank.target = " ".to_owned();
        let mut nul = proposal("restart_pod", json!({}));
        nul.reason = "a\0".to_owned();
        let large = proposal("restart_pod", json!({"x":"y".repeat(MAX_PARAMETER_BYTES)}));
        for bad in [blank, nul, large] {
            assert!(bad.fault().is_some());
        }
    }
}
