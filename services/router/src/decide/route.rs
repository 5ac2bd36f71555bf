//! Whose an event is: the first identifier, in order of priority, that anybody owns. An event that
//! came through the source of one organisation is of that organisation's teams, or nobody's.

use std::sync::Arc;

use tocsin_wire::identifier::{INSTALLATIONS, IdentifierType, PRIORITY};
use tocsin_wire::proto::Event;

use super::reason::{Reason, ReasonCode};
use crate::owner::Owner;
use crate::rules::TeamRules;

/// What the routing index knows.
pub trait Lookup {
    /// Who owns `value` as a `kind`, as the provider wrote it; empty when nobody does.
    fn owners(&self, kind: &IdentifierType, value: &str) -> Arc<[Owner]>;
    /// A team's settings, if they are published.
    fn rules(&self, owner: &Owner) -> Option<Arc<TeamRules>>;
}

/// The identifier that settled it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// Its type: `slack_channel_id`.
    pub by: &'static str,
    /// Its value, as the provider wrote it.
    pub value: String,
}

/// Whose an event is, and how that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub outcome: RouteOutcome,
    /// Types that were looked up, in order.
    pub tried: Vec<&'static str>,
    pub matched: Option<Matched>,
    /// The last one settled it.
    pub reasons: Vec<Reason>,
    /// Ambiguous: who they are.
    pub candidates: Vec<Owner>,
}

/// Whose an event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteOutcome {
    Owned(Owner),
    /// Several organisations have a claim.
    Ambiguous,
    Nobody,
}

/// Finds the owner of `event`.
pub fn route(event: &Event, lookup: &impl Lookup) -> Route {
    let mut tried = Vec::new();
    let mut ignored = Vec::new();
    for kind in PRIORITY {
        let mut values = values(event, kind).peekable();
        if values.peek().is_some() {
            tried.push(kind.name);
        }
        for value in values {
            let owners = allowed(event, lookup.owners(kind, value), || {
                ignored.push(other_org(event, kind, value));
            });
            if !owners.is_empty() {
                let mut found = matched(event, lookup, kind, value, &owners, tried);
                found.reasons.splice(0..0, ignored);
                return found;
            }
        }
    }
    unrouted(event, tried, ignored)
}

/// Of `owners` those who may have the event; `leave_out` is called when that is not all of them.
fn allowed(event: &Event, owners: Arc<[Owner]>, leave_out: impl FnOnce()) -> Arc<[Owner]> {
    if owners.iter().all(|owner| may_own(event, owner)) {
        return owners;
    }
    leave_out();
    let own = owners.iter().filter(|owner| may_own(event, owner));
    own.cloned().collect()
}

/// Whether the event's source, if it is one organisation's, lets `owner` have the event.
fn may_own(event: &Event, owner: &Owner) -> bool {
    event.org.is_empty() || event.org == owner.org.as_str()
}

/// Who the others are is not told.
fn other_org(event: &Event, kind: &IdentifierType, value: &str) -> Reason {
    let (name, org, source) = (kind.name, &event.org, &event.source_id);
    let detail = format!(
        "{name} {value} is routed by another organisation as well, which counts for nothing here: the \
         event came through source {source} of {org}."
    );
    Reason::new(ReasonCode::OtherOrgIgnored, detail)
}

/// No identifier matched: the team that the source names for this, or nobody.
fn unrouted(event: &Event, tried: Vec<&'static str>, mut reasons: Vec<Reason>) -> Route {
    // A source of nobody in particular cannot name somebody's team.
    if !event.org.is_empty()
        && !event.default_team.is_empty()
        && let Ok(owner) = Owner::new(&event.org, &event.default_team)
    {
        let source = &event.source_id;
        let detail = format!(
            "Nothing in the event routes it, and source {source} gives such events to {owner}."
        );
        reasons.push(Reason::new(ReasonCode::SourceDefaultTeam, detail));
        return Route {
            outcome: RouteOutcome::Owned(owner),
            tried,
            matched: None,
            reasons,
            candidates: Vec::new(),
        };
    }
    let reason = if tried.is_empty() {
        Reason::new(
            ReasonCode::NoIdentifier,
            "The event names nothing that could belong to a team (no channel, service or repository).",
        )
    } else {
        Reason::new(ReasonCode::NoIdentifierMatched, unmatched(event, &tried))
    };
    reasons.push(reason);
    Route {
        outcome: RouteOutcome::Nobody,
        tried,
        matched: None,
        reasons,
        candidates: Vec::new(),
    }
}

/// The route of an event whose owner was settled by an earlier try at it.
pub(super) fn settled(event: &Event, lookup: &impl Lookup, owner: &Owner) -> Route {
    let found = route(event, lookup);
    let outcome = if owner.is_unrouted() || !may_own(event, owner) {
        RouteOutcome::Nobody
    } else {
        RouteOutcome::Owned(owner.clone())
    };
    let detail = format!("An earlier try at this event settled that it belongs to {owner}.");
    Route {
        outcome,
        reasons: vec![Reason::new(ReasonCode::ClaimedBefore, detail)],
        candidates: Vec::new(),
        ..found
    }
}

fn matched(
    event: &Event,
    lookup: &impl Lookup,
    kind: &'static IdentifierType,
    value: &str,
    owners: &[Owner],
    tried: Vec<&'static str>,
) -> Route {
    let name = kind.name;
    let mut reasons = Vec::with_capacity(2);
    let mut candidates = Vec::new();
    let outcome = match owners {
        [owner] => {
            let detail = format!("{name} {value} belongs to {owner}.");
            reasons.push(Reason::new(ReasonCode::MatchedIdentifier, detail));
            RouteOutcome::Owned(owner.clone())
        }
        several => match installed(event, lookup, several) {
            Some((owner, by)) => {
                let detail = format!("{name} {value} belongs to {owner}, among others.");
                reasons.push(Reason::new(ReasonCode::MatchedIdentifier, detail));
                let org = &owner.org;
                let detail = format!("The event came through {by}, which only {org} has.");
                reasons.push(Reason::new(ReasonCode::Disambiguated, detail));
                RouteOutcome::Owned(owner)
            }
            None => {
                // Who they are is no business of the others: only their number is told.
                let detail = format!(
                    "{name} {value} belongs to {} teams, and nothing in the event tells which one is \
                     meant. Let only one keep it, or give its organisation the installation that the \
                     event came through (its Slack workspace, its GitHub App's installation, \
                     its Alertmanager's URL).",
                    several.len()
                );
                reasons.push(Reason::new(ReasonCode::AmbiguousIdentifier, detail));
                candidates = several.to_vec();
                RouteOutcome::Ambiguous
            }
        },
    };
    let matched = Some(Matched {
        by: name,
        value: value.to_owned(),
    });
    Route {
        outcome,
        tried,
        matched,
        reasons,
        candidates,
    }
}

/// The one of several owners whose organisation owns the installation the event came through.
fn installed(event: &Event, lookup: &impl Lookup, several: &[Owner]) -> Option<(Owner, String)> {
    let kinds = INSTALLATIONS
        .iter()
        .filter_map(|name| IdentifierType::named(name));
    for kind in kinds {
        for value in values(event, kind) {
            let installation = lookup.owners(kind, value);
            let mut left = several
                .iter()
                .filter(|owner| installation.iter().any(|other| other.org == owner.org));
            if let (Some(owner), None) = (left.next(), left.next()) {
                return Some((owner.clone(), format!("{} {value}", kind.name)));
            }
        }
    }
    None
}

/// The event's values of a type, without empty ones.
fn values<'a>(event: &'a Event, kind: &IdentifierType) -> impl Iterator<Item = &'a str> {
    let name = kind.name;
    event
        .identifiers
        .iter()
        .filter(move |identifier| identifier.r#type == name)
        .map(|identifier| identifier.value.as_str())
        .filter(|value| !value.trim().is_empty())
}

fn unmatched(event: &Event, tried: &[&'static str]) -> String {
    let named: Vec<String> = tried
        .iter()
        .filter_map(|name| IdentifierType::named(name))
        .flat_map(|kind| {
            values(event, kind)
                .map(move |value| format!("{value} (add it to routing.{} of one)", kind.list))
        })
        .collect();
    let whose = match event.org.as_str() {
        "" => String::new(),
        org => format!(" of {org}"),
    };
    format!("No team{whose} has {}.", named.join(", nor "))
}
