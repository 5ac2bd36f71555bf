//! What rules and approvals say about one request of a transaction.

use crate::decide::{self, Approval, Effect, Known, WriteRequest};
use crate::error::OperationError;
use crate::merge::Config;
use crate::node::{Lineage, Node, NodeId};
use crate::pg::Author;
use crate::policy::{self, Judged, PolicyRefusal, Reason, Rules, Verdict};

/// What one request does, and why it has to wait, if it has to.
pub(super) struct Judgement {
    pub(super) effects: Vec<Effect>,
    pub(super) reasons: Vec<(NodeId, Reason)>,
}

/// Judges one request.
pub(super) fn judge(
    rules: &Rules,
    known: &Known,
    request: &WriteRequest,
    author: &Author,
) -> Result<Judgement, OperationError> {
    let mut effects = decide::write(known, request, author)?;
    let mut reasons = Vec::new();
    for effect in effects.iter_mut().filter(|effect| !effect.is_deletion()) {
        let verdict = policy::judge(
            rules,
            &Judged {
                line: &line_before(known, effect),
                after: &effect.after.config,
            },
        );
        match (verdict, request.approval) {
            (Verdict::Refuse(violations), _) => {
                return Err(PolicyRefusal::Violations(violations).into());
            }
            (Verdict::Apply, _) | (Verdict::Hold(_), Approval::Given) => {}
            (Verdict::Hold(_), Approval::Bypassed) => bypass(rules, effect)?,
            (Verdict::Hold(found), Approval::Needed) => {
                let node = &effect.after.id;
                reasons.extend(found.into_iter().map(|reason| (node.clone(), reason)));
            }
        }
    }
    Ok(Judgement { effects, reasons })
}

fn bypass(rules: &Rules, effect: &mut Effect) -> Result<(), OperationError> {
    if !rules.security.policy.allow_approval_bypass {
        return Err(PolicyRefusal::NoBypass.into());
    }
    let said = std::mem::take(&mut effect.reason);
    effect.reason = match said.as_str() {
        "" => "approval bypassed".to_owned(),
        said => format!("{said} (approval bypassed)"),
    };
    Ok(())
}

/// The node before the effect, with all above it. One that is new set nothing.
fn line_before(known: &Known, effect: &Effect) -> Lineage {
    if let Some(line) = known.tree.lineage(&effect.after.id) {
        return line;
    }
    let parent = effect.after.parent.as_ref();
    let mut line = parent
        .and_then(|parent| known.tree.lineage(parent))
        .unwrap_or(Lineage(Vec::new()));
    line.0.push(Node {
        config: Config::new(),
        ..effect.after.clone()
    });
    line
}
