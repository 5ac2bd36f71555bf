//! What people are told when nothing is investigated. These texts go to a channel that may belong
//! to anybody, so they name nothing but what the event itself names.

use tocsin_wire::proto::{Event, Notice};

use super::event_parts::{channel, is_direct_message};
use super::reason::ReasonCode;
use crate::owner::Owner;

fn notice(code: &str, text: String) -> Notice {
    Notice {
        code: code.to_owned(),
        text,
        ..Notice::default()
    }
}

/// Nobody owns the place where the bot was called.
pub(super) fn no_route(event: &Event) -> Notice {
    let (place, list, id) = claim(event);
    let text = format!(
        "No team looks after {place} yet, so I did not start an investigation. Ask whoever runs Tocsin \
         to add `{id}` to `routing.{list}` of your team, then mention me again."
    );
    notice("no_route", text)
}

/// Several own it.
pub(super) fn ambiguous(event: &Event) -> Notice {
    let (place, list, id) = claim(event);
    let text = format!(
        "More than one organisation claims {place}, so I cannot tell whose team should look and did not \
         start an investigation. Ask whoever runs Tocsin to leave `{id}` in `routing.{list}` of only one \
         team, then mention me again."
    );
    notice("ambiguous_route", text)
}

/// Somebody called and said nothing.
pub(super) fn empty_mention() -> Notice {
    let code = ReasonCode::EmptyMention.as_str();
    let text = "What would you like me to investigate? Mention me with a question, for example: \
                _why is checkout slow since 14:00?_";
    notice(code, text.to_owned())
}

/// There is no room for another waiting run; `waiting` says who has how many.
pub(crate) fn queue_full(owner: &Owner, waiting: &str) -> Notice {
    let text = format!(
        "The queue of *{}* is full: {waiting} of one severity waiting already, so new events start no run until some \
         have finished. Nothing is lost; every event is recorded and can be replayed. I say this at \
         most once in ten minutes.",
        owner.team
    );
    // The run is nobody's, because the team has no room; the channel may be in a workspace of its own.
    Notice {
        org: owner.org.to_string(),
        team: owner.team.to_string(),
        ..notice(ReasonCode::QueueFull.as_str(), text)
    }
}

/// What would have to be claimed for the place where the bot was called: the channel, or for a direct
/// message, which belongs to no team, the workspace.
fn claim(event: &Event) -> (&'static str, &'static str, &str) {
    if is_direct_message(event) {
        let workspace = event
            .conversation
            .as_ref()
            .map_or("", |place| &place.workspace);
        return ("this Slack workspace", "slack_workspace_ids", workspace);
    }
    ("this channel", "slack_channel_ids", channel(event))
}
