//! Slash commands: a plain form.

use tocsin_wire::proto::{ActorKind, Conversation, Event, EventStatus, TextFormat};

use super::{Form, Place, mentions, record_attempt};
use crate::normalize::{
    Delivery,
    draft::{Draft, is_id},
};

pub(super) fn event(delivery: Delivery<'_>, fields: &Form<'_>) -> Event {
    let mut draft = Draft::new(super::NAME, delivery);
    super::SLASH_COMMAND.clone_into(&mut draft.event.kind);
    super::SLASH_COMMAND.clone_into(&mut draft.event.native_type);
    record_attempt(&mut draft, &delivery);
    let place = Place {
        channel: fields.get("channel_id"),
        workspace: fields.get("team_id"),
        enterprise: fields.get("enterprise_id"),
        app: fields.get("api_app_id"),
    };
    place.identify(&mut draft);
    draft.actor(
        ActorKind::User,
        fields.get("user_id"),
        fields.get("user_name"),
    );
    draft.title(fields.get("command"));
    draft.text(fields.get("text"), TextFormat::Slack);
    draft.event.status = EventStatus::Info.into();
    if !place.channel.is_empty() {
        draft.event.conversation = Some(Conversation {
            workspace: place.workspace.to_owned(),
            channel: place.channel.to_owned(),
            thread: fields.get("thread_ts").to_owned(),
            message: String::new(),
        });
    }
    draft.attribute("command", fields.get("command"));
    draft.attribute("channel_name", fields.get("channel_name"));
    draft.attribute_list("mentions", mentions::mentioned(fields.get("text")));
    let trigger = Some(fields.get("trigger_id")).filter(|id| is_id(id));
    draft.finish(fields.get("trigger_id"), trigger)
}
