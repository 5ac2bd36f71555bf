//! Where the result of a run goes: the team's override, the place where it was said or the team's
//! channel for this provider, its default destinations, its default channel.

use tocsin_wire::proto::destination::Kind;
use tocsin_wire::proto::{
    ActorKind, Destination, Event, GithubDestination, PagerdutyDestination, SlackDestination,
};

use super::event_parts::attribute;
use crate::rules::{Override, TeamRules};

/// Every place to post to, each once. Empty when the team named none.
pub(super) fn destinations(event: &Event, rules: &TeamRules) -> Vec<Destination> {
    let mut found = match rules.overridden(&event.provider) {
        Some(Override::Default) => rules.default_destinations.clone(),
        Some(Override::InPlace) => in_place(event),
        None => built_in(event, rules),
    };
    if found.is_empty() {
        found.clone_from(&rules.default_destinations);
    }
    if found.is_empty() {
        found.extend(rules.default_channel.as_deref().map(channel));
    }
    let mut unique: Vec<Destination> = Vec::with_capacity(found.len());
    for destination in found {
        if !unique.contains(&destination) {
            unique.push(destination);
        }
    }
    unique
}

/// The thread that was spoken in, or the one that a message begins.
pub(super) fn reply(event: &Event) -> Option<Destination> {
    let place = event.conversation.as_ref()?;
    if event.provider != "slack" || place.channel.is_empty() {
        return None;
    }
    let thread = [&place.thread, &place.message]
        .into_iter()
        .find(|ts| !ts.is_empty());
    let person = event
        .actor
        .as_ref()
        .filter(|actor| actor.kind() == ActorKind::User);
    Some(slack(SlackDestination {
        channel: place.channel.clone(),
        thread: thread.cloned().unwrap_or_default(),
        user: person.map(|person| person.id.clone()).unwrap_or_default(),
    }))
}

/// A new message at the top level of a Slack channel.
pub(crate) fn channel(id: &str) -> Destination {
    slack(SlackDestination {
        channel: id.to_owned(),
        ..SlackDestination::default()
    })
}

fn slack(slack: SlackDestination) -> Destination {
    Destination {
        kind: Some(Kind::Slack(slack)),
    }
}

fn in_place(event: &Event) -> Vec<Destination> {
    reply(event)
        .or_else(|| comment(event))
        .into_iter()
        .collect()
}

fn built_in(event: &Event, rules: &TeamRules) -> Vec<Destination> {
    let team_channel = rules.output_channel(&event.provider).map(channel);
    match event.provider.as_str() {
        "slack" => reply(event).into_iter().collect(),
        "github" => comment(event).into_iter().chain(team_channel).collect(),
        "pagerduty" => {
            let note = incident_note(event).filter(|_| rules.pagerduty_note);
            team_channel.into_iter().chain(note).collect()
        }
        _ => team_channel.into_iter().collect(),
    }
}

/// The pull request or issue that the event is about.
fn comment(event: &Event) -> Option<Destination> {
    let is_repository = |kind: &str| kind == "github_repo";
    let repository = event
        .identifiers
        .iter()
        .find(|identifier| is_repository(&identifier.r#type))?;
    let number = ["pr_number", "issue_number"]
        .into_iter()
        .find_map(|name| attribute(event, name).parse().ok())?;
    let github = GithubDestination {
        repository: repository.value.clone(),
        issue_number: number,
    };
    Some(Destination {
        kind: Some(Kind::Github(github)),
    })
}

fn incident_note(event: &Event) -> Option<Destination> {
    let incident_id = attribute(event, "incident_id");
    (!incident_id.is_empty()).then(|| Destination {
        kind: Some(Kind::Pagerduty(PagerdutyDestination {
            incident_id: incident_id.to_owned(),
        })),
    })
}
