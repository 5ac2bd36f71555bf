//! How a run ended, as far as its journal tells.

use tocsin_wire::proto::journal_entry::{Entry, Finished};
use tocsin_wire::proto::{Findings, RunOutcome, Usage};

use super::findings::parse_findings;
use super::post::{Post, Undelivered};
use super::state::{FAILED, Limit, RunState, TRUNCATED, Turn};
use super::step::{Assignment, is_unheard};

/// The last entry's content.
#[derive(Debug, Clone, PartialEq)]
pub struct Conclusion {
    pub outcome: RunOutcome,
    /// Why it is not complete, or what was not posted; empty when all went well.
    pub detail: String,
    pub findings: Option<Findings>,
    pub usage: Usage,
}

impl Conclusion {
    pub fn to_journal(&self) -> Entry {
        Entry::Finished(Finished {
            outcome: self.outcome.into(),
            detail: self.detail.clone(),
            findings: self.findings.clone(),
            usage: Some(self.usage),
        })
    }
}

/// The conclusion that the state allows now. Before the last turn's answer it says that nothing is
/// known yet.
pub fn conclude(state: &RunState, assignment: &Assignment) -> Conclusion {
    let (outcome, detail, findings) = judge(state, assignment);
    let undelivered = undelivered(state);
    let detail = match (detail.is_empty(), undelivered.is_empty()) {
        (false, false) => format!("{detail}; {undelivered}"),
        (true, _) => undelivered,
        (_, true) => detail,
    };
    Conclusion {
        outcome,
        detail,
        findings,
        usage: state.usage(),
    }
}

fn judge(state: &RunState, assignment: &Assignment) -> (RunOutcome, String, Option<Findings>) {
    if assignment.notice.is_some() {
        let refused = state.posts.values().any(|post| {
            matches!(
                post,
                Post::Undelivered(Undelivered::Refused(_) | Undelivered::Unavailable(_))
            )
        });
        let outcome = if refused {
            RunOutcome::Failed
        } else {
            RunOutcome::Completed
        };
        return (outcome, String::new(), None);
    }
    if is_unheard(state, assignment) {
        return (RunOutcome::Failed, String::new(), None);
    }
    match state.turns.last() {
        Some(turn) => judge_turn(state, turn),
        None => (
            RunOutcome::Failed,
            "the model was not asked".to_owned(),
            None,
        ),
    }
}

fn judge_turn(state: &RunState, turn: &Turn) -> (RunOutcome, String, Option<Findings>) {
    let limits = state.started.as_ref().map(|started| started.limits);
    let limits = limits.unwrap_or_default();
    let reached = turn
        .breach
        .map(|limit| format!("{} was reached", limit.describe(&limits)));
    let Some(answer) = &turn.answer else {
        return (RunOutcome::Failed, "no answer yet".to_owned(), None);
    };
    if answer.finish_reason == FAILED || answer.text.trim().is_empty() {
        let why = if answer.finish_reason == FAILED {
            answer.text.clone()
        } else {
            "the model gave an empty answer".to_owned()
        };
        let outcome = match turn.breach {
            Some(Limit::Time) => RunOutcome::TimedOut,
            _ => RunOutcome::Failed,
        };
        let detail = reached.map_or_else(|| why.clone(), |reached| format!("{reached}; {why}"));
        return (outcome, detail, None);
    }
    let findings = Some(parse_findings(&answer.text));
    if let Some(reached) = reached {
        return (RunOutcome::Partial, reached, findings);
    }
    if answer.finish_reason == TRUNCATED {
        let detail = "the model's answer was cut off at its token limit".to_owned();
        return (RunOutcome::Partial, detail, findings);
    }
    (RunOutcome::Completed, String::new(), findings)
}

/// "slack:C1 refused: channel_not_found", for every place that did not get its message.
fn undelivered(state: &RunState) -> String {
    let mut named: Vec<String> = Vec::new();
    for (key, post) in &state.posts {
        if let Post::Undelivered(why) = post {
            let line = format!("nothing posted to {} ({why})", key.destination);
            if !named.contains(&line) {
                named.push(line);
            }
        }
    }
    named.join("; ")
}
