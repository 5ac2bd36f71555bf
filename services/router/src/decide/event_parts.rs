//! Reading normalized events.

use tocsin_wire::proto::{Event, EventStatus};

/// A provider-specific fact; empty when the event does not have it.
pub(super) fn attribute<'a>(event: &'a Event, name: &str) -> &'a str {
    event.attributes.get(name).map_or("", String::as_str)
}

pub(super) fn is_slack_message(event: &Event) -> bool {
    event.provider == "slack" && matches!(event.kind.as_str(), "app_mention" | "message")
}

/// What GitHub tells of builds and tests.
pub(super) fn is_check(event: &Event) -> bool {
    let kinds = ["workflow_run", "workflow_job", "check_run", "check_suite"];
    event.provider == "github" && kinds.contains(&event.kind.as_str())
}

/// A message between one person and the bot.
pub(super) fn is_direct_message(event: &Event) -> bool {
    is_slack_message(event) && attribute(event, "channel_type") == "im"
}

/// A person speaks to the bot and expects an answer.
pub(super) fn is_addressed(event: &Event) -> bool {
    event.provider == "slack" && (event.kind == "app_mention" || is_direct_message(event))
}

/// Somebody said it to the bot, as opposed to an alert: questions are answered one by one, whatever rules
/// hold for alerts.
pub(super) fn is_said(event: &Event) -> bool {
    let is_comment = event.provider == "github"
        && matches!(
            event.kind.as_str(),
            "issue_comment" | "pull_request_review_comment" | "commit_comment"
        );
    is_comment || is_addressed(event)
}

/// An alert that somebody has seen, or that is over: the news is for the run that looks into it.
pub(crate) fn is_later_news(event: &Event) -> bool {
    is_over(event) || event.status() == EventStatus::Acknowledged
}

pub(crate) fn is_over(event: &Event) -> bool {
    event.status() == EventStatus::Resolved
}

/// A message that is no reply.
pub(super) fn is_top_level(event: &Event) -> bool {
    event
        .conversation
        .as_ref()
        .is_none_or(|place| place.thread.is_empty() || place.thread == place.message)
}

pub(super) fn channel(event: &Event) -> &str {
    event
        .conversation
        .as_ref()
        .map_or("", |place| &place.channel)
}

/// What is left of a Slack text without mentions of users: empty when nothing was asked.
pub(super) fn without_mentions(text: &str) -> String {
    let mut parts = text.split("<@");
    let mut rest = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('>') {
            Some((_mention, after)) => rest.push_str(after),
            None => rest.push_str(part),
        }
    }
    rest.trim().to_owned()
}

/// Whether a Markdown text speaks to `@handle`: as a word of its own, outside quoted lines, which
/// repeat what somebody else said.
pub(super) fn mentions_handle(text: &str, handle: &str) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || "-_`/.".contains(character);
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('>'));
    lines.into_iter().any(|line| {
        line.match_indices('@').any(|(at, _)| {
            let before = line.get(..at).and_then(|before| before.chars().next_back());
            let name = line.get(at + 1..at + 1 + handle.len());
            let after = line.get(at + 1 + handle.len()..);
            let after = after.and_then(|after| after.chars().next());
            !handle.is_empty()
                && before.is_none_or(|before| !is_word(before))
                && name.is_some_and(|name| name.eq_ignore_ascii_case(handle))
                && after.is_none_or(|after| !after.is_alphanumeric() && !"-_/".contains(after))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mentions_are_cut_out() {
        for (text, expected) in [
            ("<@U0> why is it slow?", "why is it slow?"),
            (" <@U0|tocsin>  ", ""),
            ("<@U0> <@U1>", ""),
            ("ask <@U1> too", "ask  too"),
            ("<@U0", "U0"),
            ("", ""),
        ] {
            assert_eq!(without_mentions(text), expected, "{text:?}");
        }
    }

    #[test]
    fn only_a_word_of_its_own_is_a_mention() {
        for (text, expected) in [
            ("@tocsin why?", true),
            ("please, @Tocsin.", true),
            ("(@tocsin)", true),
            ("@tocsin[bot] look", true),
            ("first\n@tocsin", true),
            ("ü@tocsin", false),
            ("mail@tocsin", false),
            ("@tocsin-ops", false),
            ("@tocsin/team", false),
            ("`@tocsin`", false),
            ("> @tocsin why?\nnothing new", false),
            ("tocsin", false),
            ("@", false),
            ("@töcsin", false),
        ] {
            assert_eq!(mentions_handle(text, "tocsin"), expected, "{text:?}");
        }
        assert!(!mentions_handle("@ x", ""));
    }
}
