//! The Events API: `{"type": "event_callback", "event": {…}, …}` and its two relatives.

use jiff::Timestamp;
use tocsin_wire::proto::{ActorKind, Conversation, Event, EventStatus, TextFormat};

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
    /// The message inside an edit or a deletion.
    Message {
        "text" => text: Text<'a>,
        "user" => user: Text<'a>,
        "ts" => ts: Text<'a>,
        "thread_ts" => thread_ts: Text<'a>,
        "bot_id" => bot_id: Text<'a>,
    }
}

object! {
    Attachment {
        "pretext" => pretext: Text<'a>,
        "title" => title: Text<'a>,
        "text" => text: Text<'a>,
        "fallback" => fallback: Text<'a>,
    }
}

object! {
    Block { "text" => text: BlockText<'a>, "fields" => fields: List<BlockText<'a>> }
}

object! {
    BlockText { "text" => text: Text<'a> }
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
    let channel = [&inner.channel.id, &inner.item.channel, &inner.channel_id];
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

/// The text, of the edited or deleted message if it is about one. Alerting bots leave it empty and
/// put everything into attachments or blocks.
fn text(inner: &Inner<'_>) -> String {
    let text = [
        &inner.text,
        &inner.message.text,
        &inner.previous_message.text,
    ];
    if let Some(text) = text.into_iter().find_map(Text::get) {
        return text.to_owned();
    }
    let attached = inner.attachments.iter().flat_map(|attachment| {
        let Attachment {
            pretext,
            title,
            text,
            fallback,
        } = attachment;
        let parts = [pretext.get(), title.get(), text.get()];
        let is_empty = parts.iter().all(Option::is_none);
        parts
            .into_iter()
            .chain([fallback.get().filter(|_| is_empty)])
            .flatten()
    });
    let blocks = inner.blocks.iter().flat_map(|block| {
        let fields = block.fields.iter().filter_map(|field| field.text.get());
        block.text.text.get().into_iter().chain(fields)
    });
    blocks.chain(attached).collect::<Vec<_>>().join("\n")
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
}
