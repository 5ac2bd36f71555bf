//! The team's own rules, asked before its triggers: the first that holds decides.

use tocsin_wire::proto::Event;
use tocsin_wire::rule::Then;

use super::event_parts::{is_later_news, is_over};
use super::reason::{Reason, ReasonCode};
use crate::event_rules::Winner;
use crate::rules::TeamRules;

/// Failed rules that a decision tells of one by one.
const MAX_FAILED: usize = 5;

/// What a rule decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ruled {
    Ignored,
    /// Nothing is started: what the event says is for the run that looks into it, if there is one.
    Told(How),
    Started(How),
}

/// How a run is started, where that is not as the team's events usually are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct How {
    /// Instead of the team's agent.
    pub(super) agent: Option<String>,
    pub(super) joins_open_run: bool,
}

/// Asks the rules; `None` leaves the event to the triggers. Says why in `reasons`.
pub(super) fn judge(event: &Event, rules: &TeamRules, reasons: &mut Vec<Reason>) -> Option<Ruled> {
    let verdict = rules.events.judge(event);
    reasons.extend(failed(&verdict.failed));
    let winner = verdict.winner?;
    let (code, consequence, ruled) = match winner.then {
        Then::Ignore => (
            ReasonCode::RuleIgnored,
            "it says that such events start nothing".to_owned(),
            Ruled::Ignored,
        ),
        Then::Agent(agent) => (
            ReasonCode::RuleMatched,
            format!("it gives such events to the agent {agent}"),
            Ruled::Started(How {
                agent: Some(agent.clone()),
                ..How::default()
            }),
        ),
        Then::Join => (
            ReasonCode::RuleMatched,
            "it lets such events join the run that is open for them".to_owned(),
            Ruled::Started(How {
                joins_open_run: true,
                ..How::default()
            }),
        ),
        // The rules themselves skip it while there are no flows.
        Then::Flow(_) => return None,
    };
    reasons.push(Reason::new(code, told(&winner, &consequence)));
    Some(match ruled {
        Ruled::Started(how) if is_later_news(event) && !winner.names_stage => {
            reasons.push(not_firing(event));
            Ruled::Told(how)
        }
        // The end of an alert joins nothing anew: the run hears of it as what it is.
        Ruled::Started(how) if how.joins_open_run && is_over(event) => Ruled::Told(how),
        ruled => ruled,
    })
}

fn not_firing(event: &Event) -> Reason {
    let what = if is_over(event) {
        "is over"
    } else {
        "has been seen by somebody"
    };
    let detail = format!(
        "The alert {what}. A rule that asks for no kind, action or status starts runs for alerts that fire."
    );
    Reason::new(ReasonCode::NotFiring, detail)
}

fn told(winner: &Winner<'_>, consequence: &str) -> String {
    let Winner {
        name,
        when,
        because,
        ..
    } = winner;
    format!("The team's rule {name:?} holds, and {consequence}: {when} ({because}).")
}

fn failed(failed: &[(&str, String)]) -> Vec<Reason> {
    let reason = |detail| Reason::new(ReasonCode::RuleFailed, detail);
    let mut reasons: Vec<Reason> = failed
        .iter()
        .take(MAX_FAILED)
        .map(|(name, why)| {
            reason(format!(
                "The team's rule {name:?} could not be evaluated and was skipped: {why}."
            ))
        })
        .collect();
    let more = failed.len().saturating_sub(MAX_FAILED);
    if more > 0 {
        reasons.push(reason(format!(
            "{more} more of the team's rules could not be evaluated and were skipped."
        )));
    }
    reasons
}
