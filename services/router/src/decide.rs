//! The pure core: what is to be done with an event, and why. No clock, no bus: the same event, index
//! and rules give the same decision.

mod author;
mod destination;
mod event_parts;
mod fingerprint;
mod notice;
mod reason;
mod route;
mod ruled;
mod silence;
mod trigger;

use tocsin_wire::proto::{Decision, DecisionAction, Destination, Event, Notice};

pub(crate) use destination::channel;
pub(crate) use event_parts::{is_later_news, is_over};
pub use fingerprint::Fingerprint;
pub(crate) use notice::queue_full;
pub use reason::{Reason, ReasonCode};
pub use route::{Lookup, Matched, Route, RouteOutcome, route};

use crate::owner::Owner;
use crate::rules::{BotIdentity, TeamRules};
use event_parts::{is_addressed, without_mentions};
use ruled::{How, Ruled};

/// What is to be done with an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    pub action: DecisionAction,
    /// In the order in which they were considered; the last one settled it.
    pub reasons: Vec<Reason>,
    /// Identifier types that were looked up, in order.
    pub tried: Vec<&'static str>,
    pub matched: Option<Matched>,
    /// Whose event it is; nobody's when it was not routed.
    pub owner: Option<Owner>,
    /// Who has a claim to what is ambiguous: for operators, never for one of them.
    pub candidates: Vec<Owner>,
    /// What a worker gets.
    pub start: Option<Start>,
    /// What makes the alert one with others of its team; the run that is open for it is told.
    pub fingerprint: Option<Fingerprint>,
    /// Routing names a team whose settings have not arrived: they may be on their way.
    pub settings_missing: bool,
}

/// A run to be started.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// Whose run it is; `unrouted` when it only tells that nobody's event it was.
    pub owner: Owner,
    pub agent: String,
    pub destinations: Vec<Destination>,
    /// Set when nothing is to be investigated: the run only posts this text.
    pub notice: Option<Notice>,
    /// An alert or message that joins the run that is open for its correlation key or conversation, if
    /// there is one; else the run is started.
    pub joins_open_run: bool,
}

/// Decides on `event`. `bots` are the names under which this installation writes.
pub fn decide(event: &Event, lookup: &impl Lookup, bots: &BotIdentity) -> Decided {
    decide_on(event, route(event, lookup), lookup, bots)
}

/// Decides on `event` again, after an earlier try has settled that it is `owner`'s.
pub fn decide_for(
    owner: &Owner,
    event: &Event,
    lookup: &impl Lookup,
    bots: &BotIdentity,
) -> Decided {
    decide_on(event, route::settled(event, lookup, owner), lookup, bots)
}

fn decide_on(event: &Event, route: Route, lookup: &impl Lookup, bots: &BotIdentity) -> Decided {
    let Route {
        outcome,
        tried,
        matched,
        reasons,
        candidates,
    } = route;
    let owner = match &outcome {
        RouteOutcome::Owned(owner) => Some(owner.clone()),
        RouteOutcome::Ambiguous | RouteOutcome::Nobody => None,
    };
    let rules = owner.as_ref().and_then(|owner| lookup.rules(owner));
    let mut decided = Decided {
        action: DecisionAction::Ignore,
        reasons,
        tried,
        matched,
        owner,
        candidates,
        start: None,
        fingerprint: None,
        settings_missing: false,
    };
    if let Some(refusal) = author::refusal(event, bots, rules.as_deref()) {
        decided.reasons.push(refusal);
        return decided;
    }
    decided.fingerprint = rules
        .as_deref()
        .and_then(|rules| fingerprint::fingerprint(event, rules, false));
    let ruled = match (&outcome, &rules) {
        (RouteOutcome::Owned(_), Some(rules)) => ruled::judge(event, rules, &mut decided.reasons),
        _ => None,
    };
    match (ruled, &outcome, &rules) {
        (Some(Ruled::Ignored), ..) => return decided,
        (Some(Ruled::Told(how)), _, Some(rules)) => {
            if how.joins_open_run {
                decided.fingerprint = fingerprint::fingerprint(event, rules, true);
            }
            return decided;
        }
        (Some(Ruled::Started(how)), RouteOutcome::Owned(owner), Some(rules)) => {
            if let Some(why_not) = silence::silenced(event, rules) {
                decided.reasons.push(why_not);
                return decided;
            }
            if how.joins_open_run {
                decided.fingerprint = fingerprint::fingerprint(event, rules, true);
            }
            return run(decided, event, owner.clone(), rules, how);
        }
        _ => {}
    }
    by_triggers(decided, event, outcome, rules.as_deref(), bots)
}

/// What becomes of an event that no rule of the team's own decides.
fn by_triggers(
    mut decided: Decided,
    event: &Event,
    outcome: RouteOutcome,
    rules: Option<&TeamRules>,
    bots: &BotIdentity,
) -> Decided {
    let defaults = TeamRules::default();
    match trigger::trigger(event, bots, rules.unwrap_or(&defaults)) {
        Err(why_not) => {
            decided.reasons.push(why_not);
            return decided;
        }
        Ok(why) => decided.reasons.push(why),
    }
    if let Some(why_not) = rules.and_then(|rules| silence::silenced(event, rules)) {
        decided.reasons.push(why_not);
        return decided;
    }
    match (outcome, rules) {
        (RouteOutcome::Owned(owner), Some(rules)) => {
            run(decided, event, owner, rules, How::default())
        }
        (RouteOutcome::Owned(owner), None) => unknown_team(decided, event, &owner),
        (RouteOutcome::Ambiguous, _) => unrouted(
            decided,
            event,
            DecisionAction::Ambiguous,
            notice::ambiguous(event),
        ),
        (RouteOutcome::Nobody, _) => unrouted(
            decided,
            event,
            DecisionAction::NoRoute,
            notice::no_route(event),
        ),
    }
}

fn run(mut decided: Decided, event: &Event, owner: Owner, rules: &TeamRules, how: How) -> Decided {
    let destinations = destination::destinations(event, rules);
    let mut notice = None;
    if is_addressed(event) && without_mentions(&event.text).is_empty() {
        let detail = "Somebody called the bot and asked nothing, so it asks back.";
        decided
            .reasons
            .push(Reason::new(ReasonCode::EmptyMention, detail));
        notice = Some(notice::empty_mention());
    } else if destinations.is_empty() {
        let detail = "The team has no place for results of this kind; the result is only recorded. \
                      Set notifications.default_slack_channel_id to see it in Slack.";
        decided
            .reasons
            .push(Reason::new(ReasonCode::NoDestination, detail));
    }
    // What was asked for when an alert is over or seen is work of its own, not one more alert.
    let joins_open_run =
        decided.fingerprint.is_some() && (how.joins_open_run || !is_later_news(event));
    decided.action = DecisionAction::Run;
    decided.start = Some(Start {
        owner,
        agent: how.agent.unwrap_or_else(|| rules.agent().to_owned()),
        destinations,
        notice,
        joins_open_run,
    });
    decided
}

fn unknown_team(mut decided: Decided, event: &Event, owner: &Owner) -> Decided {
    let detail = format!(
        "Routing names {owner}, but no such team is published: it was deleted, or config has not \
         published it yet."
    );
    decided
        .reasons
        .push(Reason::new(ReasonCode::UnknownTeam, detail));
    decided.owner = None;
    decided.settings_missing = true;
    unrouted(
        decided,
        event,
        DecisionAction::NoRoute,
        notice::no_route(event),
    )
}

/// Nobody's event. Whoever spoke to the bot is told so; a machine's event is only recorded.
fn unrouted(
    mut decided: Decided,
    event: &Event,
    action: DecisionAction,
    notice: Notice,
) -> Decided {
    // What settled it goes last: that the kind is a trigger was only the condition.
    if let Some(settled) = decided
        .reasons
        .iter()
        .position(|reason| settles_unrouted(reason.code))
    {
        let reason = decided.reasons.remove(settled);
        decided.reasons.push(reason);
    }
    decided.action = action;
    let reply = is_addressed(event)
        .then(|| destination::reply(event))
        .flatten();
    decided.start = reply.map(|reply| Start {
        owner: Owner::unrouted(),
        agent: String::new(),
        destinations: vec![reply],
        notice: Some(notice),
        joins_open_run: false,
    });
    decided
}

fn settles_unrouted(code: ReasonCode) -> bool {
    matches!(
        code,
        ReasonCode::AmbiguousIdentifier
            | ReasonCode::NoIdentifier
            | ReasonCode::NoIdentifierMatched
            | ReasonCode::UnknownTeam
    )
}

impl Decided {
    /// Under what the end of this alert finds its run, where the fingerprint would not tell: the team takes other
    /// fields together than those that an alert and its end have in common, or nothing at all.
    pub(crate) fn resolution(&self, event: &Event) -> Option<Fingerprint> {
        fingerprint::resolution(event, self.fingerprint.as_ref())
    }

    /// As it is recorded; run, placement and figures are filled in by whoever carries it out.
    #[must_use]
    pub fn into_decision(self, event_id: &str, event: &Event) -> Decision {
        let (matched_by, matched_value) = match self.matched {
            Some(Matched { by, value }) => (by.to_owned(), value),
            None => Default::default(),
        };
        Decision {
            event_id: event_id.to_owned(),
            action: self.action.into(),
            reasons: self.reasons.into_iter().map(Into::into).collect(),
            tried: self.tried.into_iter().map(str::to_owned).collect(),
            matched_by,
            matched_value,
            agent: self.start.map(|start| start.agent).unwrap_or_default(),
            event_kind: event.kind.clone(),
            event_provider: event.provider.clone(),
            candidates: self.candidates.into_iter().map(Into::into).collect(),
            ..Decision::default()
        }
    }
}

#[cfg(test)]
mod tests;
