//! The loop guard: Tocsin never answers itself, and answers other bots only where a team asked for it.

use tocsin_wire::proto::{ActorKind, Event};

use super::event_parts::{attribute, is_check, is_slack_message, is_top_level};
use super::reason::{Reason, ReasonCode};
use crate::rules::{BotIdentity, TeamRules};

/// Begins every GitHub comment that Tocsin posts, also under a person's token.
const OWN_COMMENT: &str = "<!-- tocsin:";

/// Subtypes of Slack messages that are something said; the rest are edits, joins and the like.
const SAID: &[&str] = &[
    "",
    "file_share",
    "thread_broadcast",
    "me_message",
    "bot_message",
];

/// Why the author of `event` gets no answer, if that is so. `bots` are the names of this
/// installation; the team's rules may add its own.
pub(super) fn refusal(
    event: &Event,
    bots: &BotIdentity,
    rules: Option<&TeamRules>,
) -> Option<Reason> {
    let team = rules.map(|rules| &rules.bot);
    let names: Vec<&BotIdentity> = std::iter::once(bots).chain(team).collect();
    match event.provider.as_str() {
        "slack" => slack(event, &names, rules),
        "github" => github(event, &names),
        _ => None,
    }
}

fn slack(event: &Event, names: &[&BotIdentity], rules: Option<&TeamRules>) -> Option<Reason> {
    // Of reactions and the like only the actor tells: a press of a button carries our app's id as well.
    if is_by_own_user(event, names) || (is_slack_message(event) && is_own_slack(event, names)) {
        let detail = "Tocsin's own Slack app caused this event.";
        return Some(Reason::new(ReasonCode::OwnMessage, detail));
    }
    if !is_slack_message(event) {
        return None;
    }
    if attribute(event, "hidden") == "true" {
        let detail = "Slack hides this message: it is bookkeeping, such as an unfurled link.";
        return Some(Reason::new(ReasonCode::HiddenMessage, detail));
    }
    let subtype = attribute(event, "subtype");
    if !SAID.contains(&subtype) {
        let detail =
            format!("A Slack message of subtype {subtype} is not something that was said.");
        return Some(Reason::new(ReasonCode::MessageSubtype, detail));
    }
    if is_person(event) && subtype != "bot_message" {
        return None;
    }
    let is_watched = rules.is_some_and(|rules| is_watched_alert(event, rules));
    (!is_watched).then(|| {
        let detail = "A bot wrote this message. Bots are heard only in channels that the team \
                      investigates by itself (auto_investigate.channel_ids), at top level.";
        Reason::new(ReasonCode::BotAuthor, detail)
    })
}

fn is_by_own_user(event: &Event, names: &[&BotIdentity]) -> bool {
    let actor = event.actor.as_ref().map_or("", |actor| &actor.id);
    let is_own = |own: &&BotIdentity| own.slack_user.as_deref() == Some(actor);
    !actor.is_empty() && (actor == attribute(event, "bot_user_id") || names.iter().any(is_own))
}

fn is_own_slack(event: &Event, names: &[&BotIdentity]) -> bool {
    let app = attribute(event, "app_id");
    let bot = attribute(event, "bot_id");
    // Slack names the app and the bot user that it delivers to: that is us.
    let receivers = event
        .identifiers
        .iter()
        .filter(|identifier| identifier.r#type == "slack_app_id")
        .map(|identifier| identifier.value.as_str());
    let is = |own: &Option<String>, id: &str| !id.is_empty() && own.as_deref() == Some(id);
    let is_receiver = !app.is_empty() && receivers.into_iter().any(|own| own == app);
    is_receiver
        || names
            .iter()
            .any(|own| is(&own.slack_app, app) || is(&own.slack_bot, bot))
}

/// An alert that another app posts to a channel the team wants investigated. An app that does not
/// tell its id could be us, and a reply in a thread could be an answer to us: neither is heard.
fn is_watched_alert(event: &Event, rules: &TeamRules) -> bool {
    let channel = event
        .conversation
        .as_ref()
        .map_or("", |place| &place.channel);
    event.kind == "message"
        && !attribute(event, "app_id").is_empty()
        && is_top_level(event)
        && rules.investigates_channel(channel)
}

fn github(event: &Event, names: &[&BotIdentity]) -> Option<Reason> {
    // Who caused a failed check does not matter.
    if is_check(event) {
        return None;
    }
    let is_comment = matches!(
        event.kind.as_str(),
        "issue_comment" | "pull_request_review_comment" | "commit_comment"
    );
    let login = event.actor.as_ref().map_or("", |actor| &actor.name);
    let bare = login.strip_suffix("[bot]").unwrap_or(login);
    let is_own_login = |own: &&BotIdentity| {
        let handle = own.github_handle.as_deref();
        handle.is_some_and(|handle| handle.eq_ignore_ascii_case(bare))
    };
    let is_marked = is_comment && event.text.trim_start().starts_with(OWN_COMMENT);
    if is_marked || names.iter().any(is_own_login) {
        let detail = format!("Tocsin itself caused this event, as {login}.");
        return Some(Reason::new(ReasonCode::OwnMessage, detail));
    }
    (is_comment && (!is_person(event) || login.ends_with("[bot]"))).then(|| {
        let detail = format!("The bot {login} wrote this comment; bots get no answer.");
        Reason::new(ReasonCode::BotAuthor, detail)
    })
}

fn is_person(event: &Event) -> bool {
    event
        .actor
        .as_ref()
        .is_some_and(|actor| actor.kind() == ActorKind::User)
}
