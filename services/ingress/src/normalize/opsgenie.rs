//! Opsgenie: what was done to an alert, `{action, alert, source, integrationId, integrationName}`.
//!
//! An escalation tells almost nothing of its alert.

use tocsin_wire::proto::{ActorKind, Event, EventStatus, TextFormat};
use tocsin_wire::scheme::Scheme;

use super::{
    Delivery, Malformed, Normalized, OTHER, draft::Draft, read_json, severity, times, utf8,
};
use crate::json::{List, Reference, Text, object};
use crate::provider::{Endpoint, Provider, SecretSetting, Throttled};

/// As events and subjects name it.
const NAME: &str = "opsgenie";

/// Opsgenie signs nothing: the webhook's custom headers carry a secret.
pub const PROVIDER: Provider = Provider {
    name: NAME,
    secret: SecretSetting {
        flag: "opsgenie-webhook-secret",
        variable: "OPSGENIE_WEBHOOK_SECRET",
        help: "Bearer tokens in the custom headers of Opsgenie's webhook",
    },
    endpoints: &[Endpoint::only(normalize)],
    schemes: &[Scheme::Bearer, Scheme::Basic],
    single_headers: &[],
    kept_headers: &[],
    throttled: Throttled::TooManyRequests,
};

/// Actions, what we call them, and what they mean for the alert.
const ACTIONS: &[(&str, &str, EventStatus)] = &[
    (
        "Acknowledge",
        "alert_acknowledged",
        EventStatus::Acknowledged,
    ),
    ("AddNote", "alert_note_added", EventStatus::Info),
    ("AddRecipient", "alert_recipient_added", EventStatus::Info),
    ("AddResponder", "alert_responder_added", EventStatus::Info),
    ("AddTags", "alert_tags_added", EventStatus::Info),
    ("AddTeam", "alert_team_added", EventStatus::Info),
    (
        "AssignOwnership",
        "alert_ownership_assigned",
        EventStatus::Info,
    ),
    ("Close", "alert_closed", EventStatus::Resolved),
    ("Create", "alert_created", EventStatus::Firing),
    ("Delete", "alert_deleted", EventStatus::Resolved),
    ("Escalate", "alert_escalated", EventStatus::Firing),
    ("RemoveTags", "alert_tags_removed", EventStatus::Info),
    ("Snooze", "alert_snoozed", EventStatus::Acknowledged),
    ("SnoozeEnded", "alert_snooze_ended", EventStatus::Firing),
    ("TakeOwnership", "alert_ownership_taken", EventStatus::Info),
    ("UnAcknowledge", "alert_unacknowledged", EventStatus::Firing),
    (
        "UpdateDescription",
        "alert_description_updated",
        EventStatus::Info,
    ),
    ("UpdateMessage", "alert_message_updated", EventStatus::Info),
    (
        "UpdatePriority",
        "alert_priority_updated",
        EventStatus::Info,
    ),
];

object! {
    Webhook {
        "action" => action: Text<'a>,
        "alert" => alert: Alert<'a>,
        "source" => source: Origin<'a>,
        "integrationId" => integration: Text<'a>,
        "integrationName" => integration_name: Text<'a>,
        "escalationName" => escalation: Text<'a>,
        "escalationTime" => escalated_at: Text<'a>,
    }
}

object! {
    Origin { "name" => name: Text<'a>, "type" => kind: Text<'a> }
}

object! {
    Alert {
        "alertId" => id: Text<'a>,
        "tinyId" => number: Text<'a>,
        "message" => message: Text<'a>,
        "description" => description: Text<'a>,
        "note" => note: Text<'a>,
        "alias" => alias: Text<'a>,
        "entity" => entity: Text<'a>,
        "source" => source: Text<'a>,
        "priority" => priority: Text<'a>,
        "oldPriority" => old_priority: Text<'a>,
        "tags" => tags: List<Text<'a>>,
        "teams" => teams: List<Reference<'a>>,
        "owner" => owner: Text<'a>,
        "userId" => user: Text<'a>,
        "username" => user_name: Text<'a>,
        "createdAt" => created_at: Text<'a>,
        "updatedAt" => updated_at: Text<'a>,
        "escalationTime" => escalated_at: Text<'a>,
    }
}

/// Reads a verified delivery.
///
/// # Errors
/// When the body is not JSON.
pub fn normalize(delivery: Delivery<'_>) -> Result<Normalized, Malformed> {
    let webhook: Webhook<'_> = read_json(utf8(delivery.body)?)?;
    Ok(Normalized::Event(Box::new(event(delivery, &webhook))))
}

fn event(delivery: Delivery<'_>, webhook: &Webhook<'_>) -> Event {
    let mut draft = Draft::new(NAME, delivery);
    let (action, alert) = (webhook.action.text(), &webhook.alert);
    "alert".clone_into(&mut draft.event.native_type);
    action.clone_into(&mut draft.event.action);
    let known = ACTIONS.iter().find(|(native, ..)| *native == action);
    let (kind, status) = known.map_or((OTHER, EventStatus::Info), |(_, kind, status)| {
        (*kind, *status)
    });
    kind.clone_into(&mut draft.event.kind);
    draft.state(action, status);

    draft.identifier("opsgenie_integration_id", webhook.integration.text());
    draft.identifier("opsgenie_alert_id", alert.id.text());

    let kind = match webhook.source.kind.text() {
        "API" | "api" => ActorKind::App,
        _ => ActorKind::User,
    };
    draft.actor(kind, alert.user.text(), alert.user_name.text());
    draft.title(alert.message.text());
    draft.text(
        alert.note.get().unwrap_or(alert.description.text()),
        TextFormat::Plain,
    );
    let times = [
        &alert.updated_at,
        &webhook.escalated_at,
        &alert.escalated_at,
    ];
    let at = times
        .into_iter()
        .find_map(|text| text.get())
        .unwrap_or_default();
    draft.occurred(
        times::number_or_date(at).or_else(|| times::number_or_date(alert.created_at.text())),
    );
    let native = alert.priority.text();
    draft.severity(severity::numbered(native), native);
    draft.correlation(&[alert.id.text()]);
    attributes(&mut draft, webhook);
    draft.finish_derived(&[alert.id.text(), action, at])
}

fn attributes(draft: &mut Draft<'_>, webhook: &Webhook<'_>) {
    let alert = &webhook.alert;
    for (name, text) in [
        ("alert_number", &alert.number),
        ("alias", &alert.alias),
        ("entity", &alert.entity),
        ("owner", &alert.owner),
        ("alert_source", &alert.source),
        ("priority", &alert.priority),
        ("old_priority", &alert.old_priority),
        ("integration_name", &webhook.integration_name),
        ("escalation_name", &webhook.escalation),
        ("description", &alert.description),
    ] {
        draft.attribute(name, text.text());
    }
    draft.attribute_list("tags", alert.tags.iter().map(Text::text));
    draft.attribute_list(
        "teams",
        alert
            .teams
            .iter()
            .map(|team| team.name.get().unwrap_or(team.id.text())),
    );
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tocsin_wire::proto::Severity;

    use super::super::fixtures::{deliver, headers};
    use super::*;

    fn read(body: &str) -> Event {
        match deliver(NAME, None, &headers([]), &Bytes::from(body.to_owned())) {
            Ok(Normalized::Event(event)) => *event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_escalation_with_little_of_its_alert_is_one_delivery() {
        let body = r#"{"action":"Escalate","alert":{"alertId":"a"},"escalationTime":1686916891894,"integrationId":"i"}"#;
        let event = read(body);
        assert_eq!(event.kind, "alert_escalated");
        assert!(event.delivery_key.starts_with("opsgenie:shared:derived:"));
        assert_eq!(event.correlation_key, "opsgenie:shared:a");
        let later = read(&body.replace("894", "895"));
        assert_ne!(event.delivery_key, later.delivery_key);
    }

    #[test]
    fn priorities_are_texts_or_numbers_and_nanoseconds_stay_whole() {
        for (priority, expected) in [
            ("\"P1\"", Severity::Critical),
            ("5", Severity::Info),
            ("3.0", Severity::Medium),
            ("\"none\"", Severity::Unspecified),
        ] {
            let body = format!(
                r#"{{"action":"Create","alert":{{"priority":{priority},"updatedAt":1502709956288000111}}}}"#
            );
            let event = read(&body);
            assert_eq!(event.severity(), expected, "{priority}");
            let at = event.occurred_at.expect("a time");
            assert_eq!((at.seconds, at.nanos), (1_502_709_956, 288_000_111));
        }
    }
}
