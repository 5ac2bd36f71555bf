//! incident.io: `{"event_type": T, "<T>": {…}}`, the object under a key that equals the type.
//!
//! Status changes and shifts wrap what they are about one level deeper. Of private incidents, alerts and
//! escalations only the id is told.

mod payload;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;
use tocsin_wire::proto::{ActorKind, Event, EventStatus, Severity, TextFormat};
use tocsin_wire::scheme::{HmacScheme, Scheme};

use super::{Delivery, Malformed, Normalized, draft::Draft, read_json, times, utf8, words};
use crate::json::Text;
use crate::provider::{Endpoint, Provider, SecretSetting, Throttled};
use crate::verify::standard_webhooks;
use payload::{Envelope, NewStatus, Object};

/// As events and subjects name it.
const NAME: &str = "incidentio";

/// incident.io, which delivers through Svix. The older header of its own is for sources that choose it.
pub const PROVIDER: Provider = Provider {
    name: NAME,
    secret: SecretSetting {
        flag: "incidentio-webhook-secret",
        variable: "INCIDENTIO_WEBHOOK_SECRET",
        help: "Signing secrets of incident.io's webhook endpoint (whsec_…)",
    },
    endpoints: &[Endpoint::only(normalize)],
    schemes: &[
        Scheme::StandardWebhooks,
        Scheme::Hmac(HmacScheme::over_body("x-incident-signature", "")),
    ],
    single_headers: &[],
    kept_headers: &[],
    throttled: Throttled::TooManyRequests,
};

/// Event types that we have a name for, without scope and version.
const KNOWN: &[&str] = &[
    "action_created",
    "action_updated",
    "alert_created",
    "alert_resolved",
    "created",
    "deleted",
    "escalation_created",
    "escalation_status_updated",
    "follow_up_created",
    "follow_up_updated",
    "incident_created",
    "incident_status_updated",
    "incident_updated",
    "membership_granted",
    "membership_revoked",
    "postmortem_document_status_updated",
    "shift_change",
    "updated",
];

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Incident,
    Alert,
    Escalation,
    Schedule,
    /// An action, a follow-up, a document: part of an incident.
    Part,
}

impl About {
    fn of(scope: &str, name: &str) -> Self {
        match (scope, name) {
            ("schedule", _) => Self::Schedule,
            (_, name) if name.starts_with("incident_") => Self::Incident,
            (_, name) if name.starts_with("alert_") => Self::Alert,
            (_, name) if name.starts_with("escalation_") => Self::Escalation,
            _ => Self::Part,
        }
    }
}

/// Reads a verified delivery.
///
/// # Errors
/// When the body is not JSON.
pub fn normalize(delivery: Delivery<'_>) -> Result<Normalized, Malformed> {
    let text = utf8(delivery.body)?;
    let envelope: Envelope<'_> = read_json(text)?;
    let native = envelope.event_type.text();
    // The key has a dot in it and differs from type to type; the last of two equal keys wins.
    let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(text).unwrap_or_default();
    let object = members.get(native).map(|raw| read_json(raw.get()));
    let outer: Object<'_> = object.transpose()?.unwrap_or_default();
    let inner: Option<Object<'_>> = outer
        .wrapped()
        .map(|raw| read_json(raw.get()))
        .transpose()?;
    let inner = inner.as_ref().unwrap_or(&outer);
    let event = event(delivery, native, &outer, inner);
    Ok(Normalized::Event(Box::new(event)))
}

fn event(delivery: Delivery<'_>, native: &str, outer: &Object<'_>, inner: &Object<'_>) -> Event {
    let mut draft = Draft::new(NAME, delivery);
    let (scope, name) = parts(native);
    if KNOWN.contains(&name) {
        draft.event.kind = match scope {
            "schedule" => format!("schedule_{name}"),
            _ => name.to_owned(),
        };
    }
    native.clone_into(&mut draft.event.native_type);
    // The word after the last underscore: created, updated, resolved.
    let action = name.rsplit('_').next().unwrap_or_default();
    action.clone_into(&mut draft.event.action);
    draft.flag("private", scope.starts_with("private_"));

    let about = About::of(scope, name);
    identifiers(&mut draft, about, inner);
    texts(&mut draft, outer, inner);
    if draft.event.title.is_empty() {
        // Nothing else is told of what is private.
        draft.title(&name.replace('_', " "));
    }
    actor(&mut draft, outer, inner);
    let new_status = NewStatus::read(outer);
    let (state, status) = status(about, action, &new_status, inner);
    draft.state(state, status);
    let native_severity = inner
        .severity
        .name
        .get()
        .unwrap_or(inner.priority.name.text());
    draft.severity(severity(native_severity), native_severity);
    // Of a shift only the schedule's own times are told.
    let changed = inner.updated_at.get().unwrap_or(inner.created_at.text());
    let changed = if action == "change" { "" } else { changed };
    draft.occurred(times::rfc3339(changed));
    draft.correlation(&[correlation(about, inner)]);
    draft.attribute("reference", inner.reference.text());
    draft.attribute("mode", inner.mode.text());
    draft.attribute("deduplication_key", inner.deduplication_key.text());
    // It is part of what was signed, and the same on every retry.
    let id = standard_webhooks::delivery_id(delivery.headers);
    draft.finish(id, Some(id).filter(|id| super::draft::is_id(id)))
}

/// `public_incident.incident_created_v2` is `incident_created` of `public_incident`.
fn parts(native: &str) -> (&str, &str) {
    let (scope, rest) = native.split_once('.').unwrap_or(("", native));
    let unversioned = rest.rsplit_once("_v").filter(|(_, version)| {
        !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())
    });
    (scope, unversioned.map_or(rest, |(name, _)| name))
}

/// Those that route come first: an alert's team and service, then where it came from.
fn identifiers(draft: &mut Draft<'_>, about: About, inner: &Object<'_>) {
    for attribute in inner.attributes.iter() {
        let kind = match attribute
            .attribute
            .name
            .text()
            .to_ascii_lowercase()
            .as_str()
        {
            "team" => "incidentio_team_id",
            "service" => "service",
            _ => continue,
        };
        for value in std::iter::once(&attribute.value).chain(attribute.values.iter()) {
            for name in value.names() {
                draft.identifier(kind, name);
            }
        }
    }
    let (incident, own) = match about {
        About::Incident => (inner.id.text(), None),
        About::Alert => ("", Some("incidentio_alert_id")),
        About::Escalation => ("", Some("incidentio_escalation_id")),
        About::Schedule => ("", Some("incidentio_schedule_id")),
        About::Part => (inner.incident_id.text(), None),
    };
    draft.identifier("incidentio_alert_source_id", inner.alert_source_id.text());
    draft.identifier("slack_channel_id", inner.slack_channel_id.text());
    draft.identifier("incidentio_incident_id", incident);
    if let Some(own) = own {
        draft.identifier(own, inner.id.text());
    }
    draft.identifier("incidentio_incident_type_id", inner.incident_type.id.text());
    draft.identifier(
        "incidentio_escalation_path_id",
        inner.escalation_path_id.text(),
    );
    for alert in inner.related_alerts.iter() {
        draft.identifier("incidentio_alert_source_ids", alert.source.text());
    }
    for team in inner.team_ids.iter() {
        draft.identifier("incidentio_team_ids", team.text());
    }
}

fn texts(draft: &mut Draft<'_>, outer: &Object<'_>, inner: &Object<'_>) {
    let first = |texts: &[&Text<'_>]| {
        let found = texts.iter().find_map(|text| text.get());
        found.unwrap_or_default().to_owned()
    };
    draft.title(&first(&[&inner.name, &inner.title, &inner.description]));
    let text = first(&[&outer.message, &inner.summary, &inner.description]);
    draft.text(&text, TextFormat::Plain);
    draft.event.url = first(&[&inner.permalink, &inner.source_url, &inner.document_url]);
}

/// Who changed it, else who made it.
fn actor(draft: &mut Draft<'_>, outer: &Object<'_>, inner: &Object<'_>) {
    for who in [&outer.actor, &inner.creator] {
        let named = [
            (ActorKind::User, &who.user.id, &who.user.name),
            (ActorKind::App, &who.api_key.id, &who.api_key.name),
            (ActorKind::App, &who.workflow.id, &who.workflow.name),
            (ActorKind::System, &who.alert.id, &who.alert.title),
        ];
        let found = named.into_iter().find(|(_, id, _)| id.get().is_some());
        if let Some((kind, id, name)) = found {
            draft.actor(kind, id.text(), name.text());
            return;
        }
    }
}

/// Their word for the state, and ours. What an event says counts more than the object it carries: a
/// resolved alert may still say that it is firing.
fn status<'a>(
    about: About,
    action: &str,
    new_status: &'a NewStatus<'_>,
    inner: &'a Object<'_>,
) -> (&'a str, EventStatus) {
    let native = new_status
        .name()
        .or(inner.status.get())
        .unwrap_or(inner.incident_status.name.text());
    let status = match (about, action) {
        (About::Alert, "resolved") => EventStatus::Resolved,
        (About::Alert | About::Escalation, _) => named_status(native),
        (About::Incident, _) => match new_status.category(&inner.incident_status) {
            "triage" | "live" => EventStatus::Firing,
            "paused" => EventStatus::Acknowledged,
            "learning" | "closed" | "declined" | "merged" | "canceled" => EventStatus::Resolved,
            _ => EventStatus::Info,
        },
        (About::Schedule | About::Part, _) => EventStatus::Info,
    };
    (native, status)
}

fn named_status(native: &str) -> EventStatus {
    match native {
        "firing" | "pending" | "triggered" => EventStatus::Firing,
        "acked" => EventStatus::Acknowledged,
        "resolved" | "expired" | "cancelled" => EventStatus::Resolved,
        _ => EventStatus::Info,
    }
}

/// An account may name its severities as it likes; the usual words are known, also `SEV-1` and `Sev 1`.
fn severity(native: &str) -> Severity {
    words::severity(&native.replace([' ', '-'], ""))
}

/// An incident with its parts is one thread; so is an alert from its first to its last word.
fn correlation<'a>(about: About, inner: &'a Object<'_>) -> &'a str {
    match about {
        About::Part => inner.incident_id.text(),
        _ => inner.id.text(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::super::fixtures::deliver;
    use super::*;

    #[test]
    fn types_have_a_scope_a_name_and_perhaps_a_version() {
        for (native, expected) in [
            (
                "public_incident.incident_created_v2",
                ("public_incident", "incident_created"),
            ),
            ("schedule.shift_change_v1", ("schedule", "shift_change")),
            ("schedule.created", ("schedule", "created")),
            (
                "public_alert.alert_vanished",
                ("public_alert", "alert_vanished"),
            ),
            ("x_v", ("", "x_v")),
            ("", ("", "")),
        ] {
            assert_eq!(parts(native), expected, "{native}");
        }
    }

    fn read(native: &str, object: &str) -> Event {
        let body = format!(r#"{{"event_type":"{native}","{native}":{object}}}"#);
        match deliver(NAME, None, &HeaderMap::new(), &Bytes::from(body)) {
            Ok(Normalized::Event(event)) => *event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_new_status_counts_more_than_the_incident_that_comes_with_it() {
        let live = r#"{"name":"Investigating","category":"live"}"#;
        for (new, now, expected) in [
            (
                r#"{"name":"Closed","category":"closed"}"#,
                live,
                ("Closed", EventStatus::Resolved),
            ),
            (
                r#"{"name":"Paused","category":"paused"}"#,
                live,
                ("Paused", EventStatus::Acknowledged),
            ),
            // Its category is not told, and that of another status says nothing of it.
            (r#"{"name":"Closed"}"#, live, ("Closed", EventStatus::Info)),
            (r#""Closed""#, live, ("Closed", EventStatus::Info)),
            (
                r#""Investigating""#,
                live,
                ("Investigating", EventStatus::Firing),
            ),
            ("null", live, ("Investigating", EventStatus::Firing)),
            ("[7]", live, ("Investigating", EventStatus::Firing)),
        ] {
            let object = format!(
                r#"{{"incident":{{"id":"I","incident_status":{now}}},"new_status":{new}}}"#
            );
            let event = read("public_incident.incident_status_updated_v2", &object);
            let got = (event.attributes["state"].as_str(), event.status());
            assert_eq!(got, expected, "{new}");
        }
        let escalation = read(
            "public_escalation.escalation_status_updated_v1",
            r#"{"escalation":{"id":"E","status":"pending"},"new_status":"acked"}"#,
        );
        assert_eq!(escalation.status(), EventStatus::Acknowledged);
    }

    #[test]
    fn severities_have_the_usual_names_or_numbers() {
        for (native, expected) in [
            ("SEV1", Severity::Critical),
            ("sev-2", Severity::High),
            ("Sev 3", Severity::Medium),
            ("SEV4", Severity::Low),
            ("SEV5", Severity::Info),
            ("Critical", Severity::Critical),
            ("Major", Severity::High),
            ("Minor", Severity::Low),
            ("P2", Severity::High),
            ("Sev", Severity::Unspecified),
            ("Catastrophe", Severity::Unspecified),
        ] {
            assert_eq!(severity(native), expected, "{native}");
        }
    }

    #[test]
    fn an_attribute_is_an_entry_or_a_literal() {
        let entry = r#""catalog_entry":{"id":"01TEAM","name":"Payments"}"#;
        for (value, expected) in [
            (format!("{{{entry}}}"), vec!["01TEAM", "Payments"]),
            (
                format!(r#"{{{entry},"literal":"01TEAM"}}"#),
                vec!["01TEAM", "Payments"],
            ),
            (format!(r#"{{{entry},"literal":"Payments"}}"#), vec![]),
            (format!(r#"{{{entry},"literal":"other"}}"#), vec![]),
            (r#"{"literal":"pay"}"#.to_owned(), vec!["pay"]),
            ("{}".to_owned(), vec![]),
        ] {
            let object = format!(
                r#"{{"id":"A","attributes":[{{"attribute":{{"name":"Team"}},"value":{value}}}]}}"#
            );
            let event = read("public_alert.alert_created_v1", &object);
            let teams: Vec<_> = event
                .identifiers
                .iter()
                .filter(|one| one.r#type == "incidentio_team_id")
                .map(|one| one.value.as_str())
                .collect();
            assert_eq!(teams, expected, "{value}");
        }
    }
}
