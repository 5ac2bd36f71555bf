//! The Events API: `{"type": "event_callback", "event": {…}, …}` and its two relatives.

use jiff::Timestamp;
use tocsin_wire::proto::{ActorKind, Conversation, Event, EventStatus, TextFormat};

use super::said::{Attachment, Block, Message, said};
use super::{Place, kinds, mentions, record_attempt};
use crate::{
    json::{Flag, List, Reference, Text, object},
    normalize::{
        Delivery, Malformed, Normalized,
        draft::{Draft, is_id},
        read_json, times,
    },
};

object! {
    Outer {
        "type" => kind: Text<'a>,
        "challenge" => challenge: Text<'a>,
        "team_id" => team_id: Text<'a>,
        "enterprise_id" => enterprise_id: Text<'a>,
        "api_app_id" => api_app_id: Text<'a>,
        "event_id" => event_id: Text<'a>,
        "event_time" => event_time: Text<'a>,
        "minute_rate_limited" => minute_rate_limited: Text<'a>,
        "is_ext_shared_channel" => is_ext_shared_channel: Flag,
        "authorizations" => authorizations: List<Authorization<'a>>,
        "event" => event: Inner<'a>,
    }
}

object! {
    Authorization { "user_id" => user_id: Text<'a>, "is_bot" => is_bot: Flag }
}

object! {
    Inner {
        "type" => kind: Text<'a>,
        "subtype" => subtype: Text<'a>,
        "text" => text: Text<'a>,
        "user" => user: Reference<'a>,
        "username" => username: Text<'a>,
        "ts" => ts: Text<'a>,
        "thread_ts" => thread_ts: Text<'a>,
        "event_ts" => event_ts: Text<'a>,
        "channel" => channel: Reference<'a>,
        "channel_id" => channel_id: Text<'a>,
        "old_channel_id" => old_channel_id: Text<'a>,
        "new_channel_id" => new_channel_id: Text<'a>,
        "assistant_thread" => assistant_thread: AssistantThread<'a>,
        "channel_type" => channel_type: Text<'a>,
        "item" => item: Item<'a>,
        "item_user" => item_user: Text<'a>,
        "reaction" => reaction: Text<'a>,
        "inviter" => inviter: Text<'a>,
        "tab" => tab: Text<'a>,
        "bot_id" => bot_id: Text<'a>,
        "app_id" => app_id: Text<'a>,
        "bot_profile" => bot_profile: BotProfile<'a>,
        "user_team" => user_team: Text<'a>,
        "source_team" => source_team: Text<'a>,
        "hidden" => hidden: Flag,
        "edited" => edited: Edited<'a>,
        "message" => message: Message<'a>,
        "previous_message" => previous_message: Message<'a>,
        "attachments" => attachments: List<Attachment<'a>>,
        "blocks" => blocks: List<Block<'a>>,
    }
}

object! {
    Item { "channel" => channel: Text<'a>, "ts" => ts: Text<'a> }
}

object! {
    BotProfile { "app_id" => app_id: Text<'a>, "name" => name: Text<'a> }
}

object! {
    Edited { "ts" => ts: Text<'a> }
}

object! {
    /// A person's conversation with an app that is an assistant.
    AssistantThread {
        "channel_id" => channel_id: Text<'a>,
        "user_id" => user_id: Text<'a>,
        "thread_ts" => thread_ts: Text<'a>,
        "context" => context: Context<'a>,
    }
}

object! {
    /// What the person looks at beside it.
    Context { "channel_id" => channel_id: Text<'a> }
}

pub(super) fn normalize(delivery: Delivery<'_>, body: &str) -> Result<Normalized, Malformed> {
    let outer: Outer<'_> = read_json(body)?;
    if outer.kind.text() == "url_verification" {
        return Ok(Normalized::Challenge(outer.challenge.owned()));
    }
    Ok(Normalized::Event(Box::new(event(delivery, &outer))))
}

fn event(delivery: Delivery<'_>, outer: &Outer<'_>) -> Event {
    let mut draft = Draft::new(super::NAME, delivery);
    let inner = &outer.event;
    let native = match outer.kind.text() {
        "event_callback" => inner.kind.text(),
        // app_rate_limited, and what may come.
        other => other,
    };
    kinds::event(native).clone_into(&mut draft.event.kind);
    native.clone_into(&mut draft.event.native_type);
    draft.event.action = inner.subtype.owned();
    record_attempt(&mut draft, &delivery);

    let place = place(outer);
    place.identify(&mut draft);
    // Config may know a channel by the id that it had.
    draft.identifier("slack_channel_id", inner.old_channel_id.text());
    actor(&mut draft, inner);
    let text = text(inner);
    draft.text(&text, TextFormat::Slack);
    match inner.reaction.get() {
        Some(reaction) => draft.title(&format!(":{reaction}:")),
        None => draft.title(&text),
    }
    draft.occurred(occurred(outer));
    draft.event.status = EventStatus::Info.into();
    draft.event.conversation = conversation(inner, place);
    if let Some(conversation) = &draft.event.conversation {
        let Conversation {
            workspace,
            channel,
            thread,
            ..
        } = conversation.clone();
        draft.correlation(&[&workspace, &channel, &thread]);
    }
    draft.attribute_list("mentions", mentions::mentioned(&text));
    attributes(&mut draft, outer);
    let semantic = semantic(outer, place);
    draft.finish(outer.event_id.text(), semantic.as_deref())
}

fn place<'a>(outer: &'a Outer<'_>) -> Place<'a> {
    let inner = &outer.event;
    let channel = [
        &inner.channel.id,
        &inner.item.channel,
        &inner.channel_id,
        &inner.new_channel_id,
        &inner.assistant_thread.channel_id,
    ];
    Place {
        channel: channel.into_iter().find_map(Text::get).unwrap_or_default(),
        workspace: outer.team_id.text(),
        enterprise: outer.enterprise_id.text(),
        app: outer.api_app_id.text(),
    }
}

/// A person, unless a bot wrote it: bots may carry the user id of who installed them.
fn actor(draft: &mut Draft<'_>, inner: &Inner<'_>) {
    let user = [
        &inner.user.id,
        &inner.message.user,
        &inner.previous_message.user,
        &inner.assistant_thread.user_id,
    ];
    let user = user.into_iter().find_map(Text::get);
    let bot = inner.bot_id.get().or(inner.message.bot_id.get());
    let name = [&inner.user.name, &inner.username, &inner.bot_profile.name];
    let name = name.into_iter().find_map(Text::get).unwrap_or_default();
    match (user, bot) {
        (user, Some(bot)) => draft.actor(ActorKind::Bot, user.unwrap_or(bot), name),
        (Some(user), None) => draft.actor(ActorKind::User, user, name),
        (None, None) => {}
    }
}

/// What was said: by the message itself, or by the one that it is about. An edit tells the new text only,
/// and a deletion the one that is gone.
fn text(inner: &Inner<'_>) -> String {
    let own = said(&inner.text, &inner.blocks, &inner.attachments);
    if !own.is_empty() {
        return own;
    }
    match inner.subtype.text() {
        "message_deleted" => inner.previous_message.said(),
        _ => inner.message.said(),
    }
}

fn occurred(outer: &Outer<'_>) -> Option<Timestamp> {
    let inner = &outer.event;
    [
        &inner.event_ts,
        &inner.ts,
        &outer.event_time,
        &outer.minute_rate_limited,
    ]
    .into_iter()
    .find_map(|time| times::slack(time.text()))
}

/// Where it was said; a message outside a thread begins one.
fn conversation(inner: &Inner<'_>, place: Place<'_>) -> Option<Conversation> {
    if place.channel.is_empty() {
        return None;
    }
    let message = [
        &inner.message.ts,
        &inner.previous_message.ts,
        &inner.item.ts,
        &inner.ts,
    ];
    let message = message.into_iter().find_map(Text::get).unwrap_or_default();
    let thread = [
        &inner.thread_ts,
        &inner.message.thread_ts,
        &inner.previous_message.thread_ts,
        &inner.assistant_thread.thread_ts,
    ];
    let thread = thread.into_iter().find_map(Text::get);
    // A reaction does not tell the thread of the message it is on.
    let begins = if inner.item.ts.get().is_some() {
        ""
    } else {
        message
    };
    Some(Conversation {
        workspace: place.workspace.to_owned(),
        channel: place.channel.to_owned(),
        thread: thread.unwrap_or(begins).to_owned(),
        message: message.to_owned(),
    })
}

/// One message comes under two event ids when it mentions an app that also listens to the channel:
/// its channel and `ts` are what it is. Edits and deletions are events of their own.
fn semantic(outer: &Outer<'_>, place: Place<'_>) -> Option<String> {
    let inner = &outer.event;
    let is_said = match (inner.kind.text(), inner.subtype.text()) {
        ("app_mention", _) => true,
        ("message", subtype) => !matches!(
            subtype,
            "message_changed" | "message_deleted" | "message_replied"
        ),
        _ => false,
    };
    let known = [place.workspace, place.channel, inner.ts.text()];
    if is_said && known.into_iter().all(is_id) {
        let said = known.join(":");
        // An edit may add a mention; that is news, and both twins then carry the same edit.
        return Some(match inner.edited.ts.get().filter(|ts| is_id(ts)) {
            Some(edited) => format!("{said}:{edited}"),
            None => said,
        });
    }
    outer
        .event_id
        .get()
        .filter(|id| is_id(id))
        .map(str::to_owned)
}

fn attributes(draft: &mut Draft<'_>, outer: &Outer<'_>) {
    let inner = &outer.event;
    draft.attribute("subtype", inner.subtype.text());
    draft.attribute("channel_type", inner.channel_type.text());
    draft.attribute(
        "bot_id",
        inner.bot_id.get().unwrap_or(inner.message.bot_id.text()),
    );
    draft.attribute(
        "app_id",
        inner
            .bot_profile
            .app_id
            .get()
            .unwrap_or(inner.app_id.text()),
    );
    let bot_user = outer.authorizations.iter().find(|grant| grant.is_bot.0);
    draft.attribute(
        "bot_user_id",
        bot_user.map_or("", |grant| grant.user_id.text()),
    );
    let is_edited = inner.edited.ts.get().is_some() || inner.subtype.text() == "message_changed";
    draft.flag("edited", is_edited);
    draft.flag("hidden", inner.hidden.0);
    draft.flag("ext_shared", outer.is_ext_shared_channel.0);
    draft.attribute(
        "user_team",
        inner.user_team.get().unwrap_or(inner.source_team.text()),
    );
    draft.attribute("reaction", inner.reaction.text());
    draft.attribute("item_user", inner.item_user.text());
    draft.attribute("inviter", inner.inviter.text());
    draft.attribute("tab", inner.tab.text());
    draft.attribute("channel_name", inner.channel.name.text());
    draft.attribute("old_channel_id", inner.old_channel_id.text());
    let context = &inner.assistant_thread.context;
    draft.attribute("context_channel_id", context.channel_id.text());
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;
    use crate::normalize::fixtures::deliver;

    fn read(inner: &str) -> Event {
        let body = format!(
            r#"{{"type":"event_callback","team_id":"T1","event_id":"Ev1","event":{inner}}}"#
        );
        let body = Bytes::from(body);
        match deliver("slack", Some("events"), &HeaderMap::new(), &body) {
            Ok(Normalized::Event(event)) => *event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_channel_with_a_new_id_is_known_by_both() {
        let event = read(
            r#"{"type":"channel_id_changed","old_channel_id":"G1","new_channel_id":"C1","event_ts":"1612206778.000000"}"#,
        );
        let channels: Vec<_> = event
            .identifiers
            .iter()
            .filter(|one| one.r#type == "slack_channel_id")
            .map(|one| one.value.as_str())
            .collect();
        assert_eq!(channels, ["C1", "G1"]);
        assert_eq!(event.conversation.expect("a channel").channel, "C1");
        assert_eq!(event.attributes["old_channel_id"], "G1");
    }

    #[test]
    fn an_assistants_thread_has_its_place_and_its_person() {
        for kind in [
            "assistant_thread_started",
            "assistant_thread_context_changed",
        ] {
            let event = read(&format!(
                r#"{{"type":"{kind}","assistant_thread":{{"user_id":"U1","context":{{"channel_id":"C2","team_id":"T2"}},
                    "channel_id":"D1","thread_ts":"1729999327.187299"}},"event_ts":"1715873754.429808"}}"#
            ));
            let place = event.conversation.expect("a conversation");
            assert_eq!(
                (place.channel.as_str(), place.thread.as_str()),
                ("D1", "1729999327.187299")
            );
            assert_eq!(event.actor.expect("somebody").id, "U1");
            assert_eq!(
                event.correlation_key,
                "slack:shared:T1:D1:1729999327.187299"
            );
            assert_eq!(event.attributes["context_channel_id"], "C2");
        }
    }

    #[test]
    fn an_edit_tells_the_new_text_and_a_deletion_the_old_one() {
        let old = r#""previous_message":{"text":"old"}"#;
        for (inner, expected) in [
            (format!(r#""subtype":"message_changed","message":{{"text":"new"}},{old}"#), "new"),
            (format!(r#""subtype":"message_changed","message":{{"text":""}},{old}"#), ""),
            (
                format!(
                    r#""subtype":"message_changed","message":{{"text":"","attachments":[{{"title":"CPU","fields":[{{"title":"host","value":"db-1"}}]}}]}},{old}"#
                ),
                "CPU\nhost: db-1",
            ),
            (format!(r#""subtype":"message_deleted",{old}"#), "old"),
            (
                r#""subtype":"message_deleted","previous_message":{"blocks":[{"type":"header","text":{"text":"gone"}}]}"#.to_owned(),
                "gone",
            ),
            (
                r#""subtype":"bot_message","text":"","blocks":[{"type":"context","elements":[{"type":"mrkdwn","text":"prod"}]}]"#.to_owned(),
                "prod",
            ),
        ] {
            let event = read(&format!(r#"{{"type":"message","channel":"C1","ts":"1.1",{inner}}}"#));
            assert_eq!(event.text, expected, "{inner}");
        }
    }
}
