//! Interactivity: buttons, modals and shortcuts, as JSON in the form field `payload`.

use tocsin_wire::proto::{ActorKind, Conversation, Event, EventStatus, TextFormat};

use super::said::Message;
use super::{Place, kinds, record_attempt};
use crate::{
    json::{List, Text, object},
    normalize::{
        Delivery, Malformed,
        draft::{Draft, is_id},
        read_json, times,
    },
};

object! {
    Payload {
        "type" => kind: Text<'a>,
        "team" => team: Team<'a>,
        "enterprise" => enterprise: Enterprise<'a>,
        "user" => user: User<'a>,
        "api_app_id" => api_app_id: Text<'a>,
        "channel" => channel: Channel<'a>,
        "container" => container: Container<'a>,
        "message" => message: Message<'a>,
        // What attachments of old name it.
        "original_message" => original_message: Message<'a>,
        "message_ts" => message_ts: Text<'a>,
        "actions" => actions: List<Action<'a>>,
        "view" => view: View<'a>,
        "callback_id" => callback_id: Text<'a>,
        "action_id" => action_id: Text<'a>,
        "block_id" => block_id: Text<'a>,
        "value" => value: Text<'a>,
        "action_ts" => action_ts: Text<'a>,
        "trigger_id" => trigger_id: Text<'a>,
    }
}

object! {
    Team { "id" => id: Text<'a>, "enterprise_id" => enterprise_id: Text<'a> }
}

object! {
    Enterprise { "id" => id: Text<'a> }
}

object! {
    User {
        "id" => id: Text<'a>,
        "username" => username: Text<'a>,
        "name" => name: Text<'a>,
        "team_id" => team_id: Text<'a>,
    }
}

object! {
    Channel { "id" => id: Text<'a>, "name" => name: Text<'a> }
}

object! {
    Container {
        "channel_id" => channel_id: Text<'a>,
        "message_ts" => message_ts: Text<'a>,
        "thread_ts" => thread_ts: Text<'a>,
    }
}

object! {
    Action {
        "action_id" => action_id: Text<'a>,
        // Attachments of old name their actions so.
        "name" => name: Text<'a>,
        "block_id" => block_id: Text<'a>,
        "value" => value: Text<'a>,
        "selected_option" => selected_option: Choice<'a>,
        "selected_options" => selected_options: List<Choice<'a>>,
        "selected_user" => selected_user: Text<'a>,
        "selected_conversation" => selected_conversation: Text<'a>,
        "selected_channel" => selected_channel: Text<'a>,
        "selected_date" => selected_date: Text<'a>,
        "action_ts" => action_ts: Text<'a>,
        "text" => text: Label<'a>,
    }
}

impl Action<'_> {
    /// What was chosen, by whatever kind of element; several options in their order.
    fn values(&self) -> Vec<&str> {
        let one = [
            &self.value,
            &self.selected_option.value,
            &self.selected_user,
            &self.selected_conversation,
            &self.selected_channel,
            &self.selected_date,
        ];
        match one.into_iter().find_map(Text::get) {
            Some(one) => vec![one],
            None => {
                let options = self.selected_options.iter();
                options.map(|option| option.value.text()).collect()
            }
        }
    }
}

object! {
    Choice { "value" => value: Text<'a> }
}

object! {
    Label { "text" => text: Text<'a> }
}

object! {
    View {
        "id" => id: Text<'a>,
        "hash" => hash: Text<'a>,
        "callback_id" => callback_id: Text<'a>,
        "private_metadata" => private_metadata: Text<'a>,
        "title" => title: Label<'a>,
        "team_id" => team_id: Text<'a>,
    }
}

pub(super) fn event(delivery: Delivery<'_>, payload: &str) -> Result<Event, Malformed> {
    let payload: Payload<'_> = read_json(payload)?;
    let mut draft = Draft::new(super::NAME, delivery);
    kinds::interaction(payload.kind.text()).clone_into(&mut draft.event.kind);
    draft.event.native_type = payload.kind.owned();
    record_attempt(&mut draft, &delivery);

    let place = place(&payload);
    place.identify(&mut draft);
    let user = &payload.user;
    let name = user.username.get().unwrap_or(user.name.text());
    draft.actor(ActorKind::User, user.id.text(), name);
    let said = Some(payload.message.said()).filter(|said| !said.is_empty());
    let said = said.unwrap_or_else(|| payload.original_message.said());
    draft.text(&said, TextFormat::Slack);
    let first = payload.actions.first();
    let label = first.map_or("", |action| action.text.text.text());
    let title = [label, payload.view.title.text.text(), callback_id(&payload)];
    draft.title(
        title
            .into_iter()
            .find(|title| !title.is_empty())
            .unwrap_or_default(),
    );
    let at = first.map_or("", |action| action.action_ts.text());
    draft.occurred(times::slack(at).or_else(|| times::slack(payload.action_ts.text())));
    draft.event.status = EventStatus::Info.into();
    draft.event.conversation = conversation(&payload, place);
    attributes(&mut draft, &payload);
    let trigger = payload.trigger_id.get().filter(|id| is_id(id));
    Ok(draft.finish(payload.trigger_id.text(), trigger))
}

fn place<'a>(payload: &'a Payload<'_>) -> Place<'a> {
    let first =
        |texts: [&'a Text<'_>; 3]| texts.into_iter().find_map(Text::get).unwrap_or_default();
    Place {
        channel: payload
            .channel
            .id
            .get()
            .unwrap_or(payload.container.channel_id.text()),
        // Null in installations that span an organisation.
        workspace: first([
            &payload.team.id,
            &payload.user.team_id,
            &payload.view.team_id,
        ]),
        enterprise: payload
            .enterprise
            .id
            .get()
            .unwrap_or(payload.team.enterprise_id.text()),
        app: payload.api_app_id.text(),
    }
}

fn conversation(payload: &Payload<'_>, place: Place<'_>) -> Option<Conversation> {
    if place.channel.is_empty() {
        return None;
    }
    let message = [
        &payload.container.message_ts,
        &payload.message_ts,
        &payload.message.ts,
        &payload.original_message.ts,
    ];
    let message = message.into_iter().find_map(Text::get).unwrap_or_default();
    let thread = [
        &payload.container.thread_ts,
        &payload.message.thread_ts,
        &payload.original_message.thread_ts,
    ];
    let thread = thread.into_iter().find_map(Text::get);
    Some(Conversation {
        workspace: place.workspace.to_owned(),
        channel: place.channel.to_owned(),
        thread: thread.unwrap_or(message).to_owned(),
        message: message.to_owned(),
    })
}

fn callback_id<'a>(payload: &'a Payload<'_>) -> &'a str {
    payload
        .callback_id
        .get()
        .unwrap_or(payload.view.callback_id.text())
}

fn attributes(draft: &mut Draft<'_>, payload: &Payload<'_>) {
    draft.attribute("callback_id", callback_id(payload));
    draft.attribute("channel_name", payload.channel.name.text());
    draft.attribute("view_id", payload.view.id.text());
    draft.attribute("view_hash", payload.view.hash.text());
    draft.attribute("private_metadata", payload.view.private_metadata.text());
    let Some(action) = payload.actions.first() else {
        draft.attribute("action_id", payload.action_id.text());
        draft.attribute("block_id", payload.block_id.text());
        draft.attribute("value", payload.value.text());
        return;
    };
    draft.attribute(
        "action_id",
        action.action_id.get().unwrap_or(action.name.text()),
    );
    draft.attribute("block_id", action.block_id.text());
    match action.values()[..] {
        // One value may be longer than what is kept of a list.
        [value] => draft.attribute("value", value),
        ref values => draft.attribute_list("value", values.iter().copied()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::normalize::Normalized;
    use crate::normalize::fixtures::{deliver, headers};

    fn read(payload: &str) -> Event {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("payload", payload)
            .finish();
        let headers = headers([("content-type", "application/x-www-form-urlencoded")]);
        match deliver("slack", Some("interactions"), &headers, &Bytes::from(body)) {
            Ok(Normalized::Event(event)) => *event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_chosen_is_the_value_of_any_element() {
        for (action, expected) in [
            (r#""value":"ack""#, Some("ack")),
            (r#""selected_option":{"value":"high"}"#, Some("high")),
            (r#""selected_options":[{"value":"a"}]"#, Some("a")),
            (
                r#""selected_options":[{"value":"a"},{"value":"b"}]"#,
                Some("a,b"),
            ),
            (r#""selected_user":"U2""#, Some("U2")),
            (r#""selected_conversation":"D2""#, Some("D2")),
            (r#""selected_channel":"C2""#, Some("C2")),
            (r#""selected_date":"2026-01-02""#, Some("2026-01-02")),
            (r#""selected_options":[]"#, None),
        ] {
            let event = read(&format!(
                r#"{{"type":"block_actions","actions":[{{"action_id":"a",{action}}}]}}"#
            ));
            let value = event.attributes.get("value").map(String::as_str);
            assert_eq!(value, expected, "{action}");
        }
    }

    #[test]
    fn the_message_of_an_old_attachment_is_read() {
        let event = read(
            r#"{"type":"interactive_message","channel":{"id":"C1"},"message_ts":"2.2",
                "original_message":{"text":"CPU high","ts":"2.2","thread_ts":"1.1"},
                "actions":[{"name":"menu","type":"select","selected_options":[{"value":"ack"}]}]}"#,
        );
        let place = event.conversation.expect("a conversation");
        assert_eq!(event.text, "CPU high");
        assert_eq!(
            (place.thread.as_str(), place.message.as_str()),
            ("1.1", "2.2")
        );
        assert_eq!(event.attributes["value"], "ack");
    }
}
