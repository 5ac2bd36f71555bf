//! Whether an event is something that a team wants to be looked at.

use tocsin_wire::proto::Event;

use super::event_parts::{
    attribute, channel, is_check, is_direct_message, is_top_level, mentions_handle,
};
use super::reason::{Reason, ReasonCode};
use crate::rules::{BotIdentity, TeamRules, Trigger};

/// Conclusions of a check that somebody should look at.
const FAILED: &[&str] = &["failure", "timed_out"];

/// What Slack sends when people press, choose, submit or command.
const INTERACTIONS: &[&str] = &[
    "block_actions",
    "block_suggestion",
    "dialog_cancellation",
    "dialog_submission",
    "dialog_suggestion",
    "interactive_message",
    "message_action",
    "shortcut",
    "slash_command",
    "view_closed",
    "view_submission",
    "workflow_step_edit",
];

/// `Ok` with why the event starts something, `Err` with why it does not.
pub(super) fn trigger(
    event: &Event,
    bots: &BotIdentity,
    rules: &TeamRules,
) -> Result<Reason, Reason> {
    let triggers = rules.triggers(&event.provider);
    let mut of_kind = triggers
        .iter()
        .filter(|trigger| trigger.kind == event.kind)
        .peekable();
    if of_kind.peek().is_none() {
        return Err(not_a_trigger(event, &triggers));
    }
    let named = of_kind.find(|trigger| {
        let action = trigger.action.as_ref();
        action.is_none_or(|action| *action == event.action)
    });
    let Some(named) = named else {
        return Err(wrong_action(event, "the team's triggers name others"));
    };
    match (event.provider.as_str(), event.kind.as_str()) {
        ("slack", "message") => slack_message(event, rules),
        ("github", "issue_comment" | "pull_request_review_comment" | "commit_comment") => {
            comment(event, bots, rules, named)
        }
        ("github", _) if is_check(event) => check(event, named),
        _ => Ok(because(format!("{} is a trigger.", spoken_kind(event)))),
    }
}

fn because(detail: String) -> Reason {
    Reason::new(ReasonCode::Trigger, detail)
}

fn slack_message(event: &Event, rules: &TeamRules) -> Result<Reason, Reason> {
    if is_direct_message(event) {
        return Ok(because(
            "A direct message to the bot is a trigger.".to_owned(),
        ));
    }
    let channel = channel(event);
    if !rules.investigates_channel(channel) {
        let detail = format!(
            "Nobody mentioned the bot, and {channel} is not among the channels that are investigated \
             by themselves (auto_investigate.channel_ids)."
        );
        return Err(Reason::new(ReasonCode::ChannelNotWatched, detail));
    }
    if !is_top_level(event) {
        let detail = format!("Replies in {channel} start nothing; its top-level messages do.");
        return Err(Reason::new(ReasonCode::ThreadReply, detail));
    }
    let detail = format!("Every top-level message in {channel} is a trigger.");
    Ok(because(detail))
}

fn comment(
    event: &Event,
    bots: &BotIdentity,
    rules: &TeamRules,
    named: &Trigger,
) -> Result<Reason, Reason> {
    if named.action.is_none() && event.action != "created" {
        return Err(wrong_action(event, "only a new comment is a trigger"));
    }
    let handles = [&rules.bot.github_handle, &bots.github_handle];
    let mut handles = handles.into_iter().flatten();
    if handles.any(|handle| mentions_handle(&event.text, handle)) {
        return Ok(because(
            "A comment that mentions the bot is a trigger.".to_owned(),
        ));
    }
    let detail = "The comment does not mention the bot.";
    Err(Reason::new(ReasonCode::NotMentioned, detail))
}

fn check(event: &Event, named: &Trigger) -> Result<Reason, Reason> {
    if named.action.is_none() && event.action != "completed" {
        return Err(wrong_action(event, "only a completed check is a trigger"));
    }
    let conclusion = attribute(event, "conclusion");
    if FAILED.contains(&conclusion) {
        return Ok(because(format!(
            "{} ended with {conclusion}.",
            spoken_kind(event)
        )));
    }
    let told = if conclusion.is_empty() {
        "none"
    } else {
        conclusion
    };
    let detail = format!("The check's conclusion is {told}; failure and timed_out are triggers.");
    Err(Reason::new(ReasonCode::CheckDidNotFail, detail))
}

fn wrong_action(event: &Event, but: &str) -> Reason {
    let action = &event.action;
    let detail = format!("{} {action:?}: {but}.", spoken_kind(event));
    Reason::new(ReasonCode::ActionNotATrigger, detail)
}

fn not_a_trigger(event: &Event, triggers: &[Trigger]) -> Reason {
    let kind = event.kind.as_str();
    if event.provider == "slack" && INTERACTIONS.contains(&kind) {
        let detail = "Buttons, forms, shortcuts and commands are recorded; this version does not act \
                      on them yet. Mention the bot instead.";
        return Reason::new(ReasonCode::NotActedOnYet, detail);
    }
    if kind == "other" {
        let native = &event.native_type;
        let detail = format!(
            "Tocsin does not know {native:?} of {}; it is only recorded.",
            event.provider
        );
        return Reason::new(ReasonCode::UnknownKind, detail);
    }
    let names: Vec<&str> = triggers
        .iter()
        .map(|trigger| trigger.kind.as_str())
        .collect();
    let known = match names.as_slice() {
        [] => "nothing is".to_owned(),
        names => names.join(", "),
    };
    let provider = &event.provider;
    let detail = format!(
        "{} starts nothing. Triggers of {provider}: {known}.",
        spoken_kind(event)
    );
    Reason::new(ReasonCode::KindNotATrigger, detail)
}

/// `slack app_mention`
fn spoken_kind(event: &Event) -> String {
    format!("{} {}", event.provider, event.kind)
}
