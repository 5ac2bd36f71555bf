//! incident.io: `{"event_type": T, "<T>": {…}}`, the object under a key that equals the type.
//!
//! Status changes and shifts wrap what they are about one level deeper. Of private incidents, alerts and
//! escalations only the id is told.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;
use tocsin_wire::proto::{ActorKind, Event, EventStatus, Severity, TextFormat};
use tocsin_wire::scheme::{HmacScheme, Scheme};

use super::{Delivery, Malformed, Normalized, draft::Draft, read_json, times, utf8};
use crate::json::{List, Reference, Text, object};
use crate::provider::{Endpoint, MAX_BODY, Provider, SecretSetting, Throttled};
use crate::verify::standard_webhooks;

/// As events and subjects name it.
const NAME: &str = "incidentio";

/// incident.io, which delivers through Svix. The older header of its own is for sources that choose it.
pub const PROVIDER: Provider = Provider {
    name: NAME,
    title: "incident.io",
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
    max_body: MAX_BODY,
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

object! {
    Envelope { "event_type" => event_type: Text<'a> }
}

object! {
    Named { "id" => id: Text<'a>, "name" => name: Text<'a> }
}

object! {
    Status { "name" => name: Text<'a>, "category" => category: Text<'a> }
}

object! {
    Creator {
        "user" => user: Named<'a>,
        "api_key" => api_key: Named<'a>,
        "workflow" => workflow: Named<'a>,
        "alert" => alert: Titled<'a>,
    }
}

object! {
    Titled { "id" => id: Text<'a>, "title" => title: Text<'a> }
}

object! {
    AttributeValue { "literal" => literal: Text<'a>, "catalog_entry" => entry: Named<'a> }
}

object! {
    Attribute {
        "attribute" => attribute: Named<'a>,
        "value" => value: AttributeValue<'a>,
        "array_value" => values: List<AttributeValue<'a>>,
    }
}

object! {
    Alert { "alert_source_id" => source: Text<'a> }
}

object! {
    /// Whatever stands under the type: the kinds of objects share most of their fields.
    Object {
        "id" => id: Text<'a>,
        "incident_id" => incident_id: Text<'a>,
        "reference" => reference: Text<'a>,
        "name" => name: Text<'a>,
        "title" => title: Text<'a>,
        "summary" => summary: Text<'a>,
        "description" => description: Text<'a>,
        "message" => message: Text<'a>,
        "status" => status: Text<'a>,
        "new_status" => new_status: Text<'a>,
        "permalink" => permalink: Text<'a>,
        "source_url" => source_url: Text<'a>,
        "document_url" => document_url: Text<'a>,
        "created_at" => created_at: Text<'a>,
        "updated_at" => updated_at: Text<'a>,
        "alert_source_id" => alert_source_id: Text<'a>,
        "deduplication_key" => deduplication_key: Text<'a>,
        "escalation_path_id" => escalation_path_id: Text<'a>,
        "slack_channel_id" => slack_channel_id: Text<'a>,
        "mode" => mode: Text<'a>,
        "severity" => severity: Named<'a>,
        "priority" => priority: Named<'a>,
        "incident_status" => incident_status: Status<'a>,
        "incident_type" => incident_type: Reference<'a>,
        "actor" => actor: Creator<'a>,
        "creator" => creator: Creator<'a>,
        "attributes" => attributes: List<Attribute<'a>>,
        "related_alerts" => related_alerts: List<Alert<'a>>,
        "team_ids" => team_ids: List<Text<'a>>,
        "incident" => incident: Option<&'a RawValue>,
        "escalation" => escalation: Option<&'a RawValue>,
        "schedule" => schedule: Option<&'a RawValue>,
        "postmortem_document" => postmortem: Option<&'a RawValue>,
    }
}

impl<'a> Object<'a> {
    /// What it is about, where that is one level deeper. Read apart: an object type that holds itself
    /// would take a frame of the stack for each level that somebody sends.
    fn wrapped(&self) -> Option<&'a RawValue> {
        let wrapped = [
            self.incident,
            self.escalation,
            self.schedule,
            self.postmortem,
        ];
        wrapped.into_iter().flatten().next()
    }
}

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
    let (state, status) = status(about, action, outer, inner);
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
            // A value is an entry of the catalogue or a literal. With both, nobody can say what it means,
            // and what it means decides whose alert this is.
            match (value.entry.id.get(), value.literal.get()) {
                (Some(id), None) => {
                    draft.identifier(kind, id);
                    draft.identifier(kind, value.entry.name.text());
                }
                (None, Some(literal)) => draft.identifier(kind, literal),
                _ => {}
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
    outer: &'a Object<'_>,
    inner: &'a Object<'_>,
) -> (&'a str, EventStatus) {
    let native = [
        &outer.new_status,
        &inner.status,
        &inner.incident_status.name,
    ];
    let native = native.into_iter().find_map(|text| text.get());
    let native = native.unwrap_or_default();
    let status = match (about, action) {
        (About::Alert, "resolved") => EventStatus::Resolved,
        (About::Alert, _) => named_status(native),
        (About::Incident, _) => match inner.incident_status.category.text() {
            "triage" | "live" => EventStatus::Firing,
            "paused" => EventStatus::Acknowledged,
            "learning" | "closed" | "declined" | "merged" | "canceled" => EventStatus::Resolved,
            _ => EventStatus::Info,
        },
        (About::Escalation, _) => named_status(native),
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

/// The names that new accounts have; an account may name its severities as it likes.
fn severity(native: &str) -> Severity {
    match native.to_ascii_lowercase().as_str() {
        "critical" | "p1" => Severity::Critical,
        "major" | "urgent" | "high" | "p2" => Severity::High,
        "medium" | "p3" => Severity::Medium,
        "minor" | "low" | "p4" => Severity::Low,
        "p5" => Severity::Info,
        _ => Severity::Unspecified,
    }
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
}
