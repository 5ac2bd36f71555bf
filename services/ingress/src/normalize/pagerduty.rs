//! PagerDuty V3: `{"event": {id, event_type, occurred_at, agent, client, data}}`, one per request.
//!
//! Where the incident and its service stand depends on the kind of object in `data`; notes and status
//! updates name no service at all.

use tocsin_wire::proto::{ActorKind, Event, EventStatus, Severity, TextFormat};
use tocsin_wire::scheme::{HmacScheme, Scheme};

use super::{Delivery, Malformed, Normalized, draft::Draft, read_json, times, utf8};
use crate::json::{List, Text, object};
use crate::provider::{Endpoint, Provider, SecretSetting, Throttled};

/// As events and subjects name it.
const NAME: &str = "pagerduty";

/// PagerDuty V3 webhooks. It rotates a secret by sending several signatures.
pub const PROVIDER: Provider = Provider {
    name: NAME,
    secret: SecretSetting {
        flag: "pagerduty-webhook-secret",
        variable: "PAGERDUTY_WEBHOOK_SECRET",
        help: "Secrets of PagerDuty's webhook subscriptions",
    },
    endpoints: &[Endpoint::only(normalize)],
    schemes: &[Scheme::Hmac(HmacScheme::list(
        "x-pagerduty-signature",
        "v1=",
        ',',
    ))],
    single_headers: &[],
    kept_headers: &["x-webhook-id", "x-webhook-subscription"],
    // A 4xx but 429 drops the event, three in a row the subscription.
    throttled: Throttled::TooManyRequests,
};

/// The button *Send Test Event*.
const PING: &str = "pagey.ping";

/// Event types that we have a name for: theirs, with `_` for the dots.
const KNOWN: &[&str] = &[
    "incident.acknowledged",
    "incident.action_invocation.created",
    "incident.action_invocation.terminated",
    "incident.action_invocation.updated",
    "incident.annotated",
    "incident.conference_bridge.updated",
    "incident.custom_field_values.updated",
    "incident.delegated",
    "incident.escalated",
    "incident.incident_type.changed",
    "incident.priority_updated",
    "incident.reassigned",
    "incident.reopened",
    "incident.resolved",
    "incident.responder.added",
    "incident.responder.replied",
    "incident.role.assigned",
    "incident.role.unassigned",
    "incident.service_updated",
    "incident.status_update_published",
    "incident.task.completed",
    "incident.task.created",
    "incident.task.deleted",
    "incident.task.updated",
    "incident.triggered",
    "incident.unacknowledged",
    "incident.workflow.completed",
    "incident.workflow.started",
    "service.created",
    "service.custom_field_values.updated",
    "service.deleted",
    "service.updated",
];

object! {
    Body { "event" => event: Webhook<'a> }
}

object! {
    Webhook {
        "id" => id: Text<'a>,
        "event_type" => event_type: Text<'a>,
        "occurred_at" => occurred_at: Text<'a>,
        "agent" => agent: Resource<'a>,
        "client" => client: Client<'a>,
        "data" => data: Data<'a>,
    }
}

object! {
    Client { "name" => name: Text<'a> }
}

object! {
    /// PagerDuty's short form of anything.
    Resource {
        "id" => id: Text<'a>,
        "type" => kind: Text<'a>,
        "summary" => summary: Text<'a>,
        "html_url" => html_url: Text<'a>,
    }
}

object! {
    RoleAssignment { "incident" => incident: Resource<'a> }
}

object! {
    IncidentType { "name" => name: Text<'a> }
}

object! {
    Data {
        "id" => id: Text<'a>,
        "type" => kind: Text<'a>,
        "html_url" => html_url: Text<'a>,
        "number" => number: Text<'a>,
        "title" => title: Text<'a>,
        "name" => name: Text<'a>,
        "summary" => summary: Text<'a>,
        "description" => description: Text<'a>,
        "content" => content: Text<'a>,
        "message" => message: Text<'a>,
        "status" => status: Text<'a>,
        "state" => state: Text<'a>,
        "urgency" => urgency: Text<'a>,
        "incident_key" => incident_key: Text<'a>,
        "resolve_reason" => resolve_reason: Resource<'a>,
        "incident_type" => incident_type: IncidentType<'a>,
        "priority" => priority: Resource<'a>,
        "service" => service: Resource<'a>,
        "incident" => incident: Resource<'a>,
        "incident_role_assignments" => role_assignments: List<RoleAssignment<'a>>,
        "escalation_policy" => escalation_policy: Resource<'a>,
        "teams" => teams: List<Resource<'a>>,
        "assignees" => assignees: List<Resource<'a>>,
        "user" => user: Resource<'a>,
    }
}

/// Reads a verified delivery.
///
/// # Errors
/// When the body is not JSON.
pub fn normalize(delivery: Delivery<'_>) -> Result<Normalized, Malformed> {
    let body: Body<'_> = read_json(utf8(delivery.body)?)?;
    if body.event.event_type.text() == PING {
        return Ok(Normalized::Ping);
    }
    Ok(Normalized::Event(Box::new(event(delivery, &body.event))))
}

fn event(delivery: Delivery<'_>, webhook: &Webhook<'_>) -> Event {
    let mut draft = Draft::new(NAME, delivery);
    let native = webhook.event_type.text();
    if KNOWN.contains(&native) {
        draft.event.kind = native.replace('.', "_");
    }
    draft.event.native_type = webhook.event_type.owned();
    // The word after the last dot: triggered, created, replied.
    draft.event.action = native.rsplit('.').next().unwrap_or_default().to_owned();
    let data = &webhook.data;
    let incident = Incident::of(data);
    let subdomain = urls(webhook).find_map(subdomain).unwrap_or_default();

    draft.identifier("pagerduty_service_id", service_id(data));
    draft.identifier("pagerduty_incident_id", incident.id);
    draft.identifier(
        "pagerduty_escalation_policy_id",
        data.escalation_policy.id.text(),
    );
    for team in data.teams.iter() {
        draft.identifier("pagerduty_team_ids", team.id.text());
    }
    draft.identifier("pagerduty_subdomain", subdomain);

    actor(&mut draft, webhook);
    let title = [&data.title, &incident.summary, &data.name, &data.summary];
    draft.title(
        title
            .into_iter()
            .find_map(|title| title.get())
            .unwrap_or_default(),
    );
    let text = [&data.content, &data.message, &data.description];
    let text = text.into_iter().find_map(|text| text.get());
    draft.text(text.unwrap_or_default(), TextFormat::Plain);
    let url = data.html_url.get().unwrap_or(incident.url);
    url.clone_into(&mut draft.event.url);
    draft.occurred(times::rfc3339(webhook.occurred_at.text()));
    let state = data.status.get().unwrap_or(data.state.text());
    draft.state(state, status(native, state));
    let (severity, native_severity) = severity(data);
    draft.severity(severity, native_severity);
    draft.correlation(&[incident.id]);
    attributes(&mut draft, data, incident.id);
    // The same incident event reaches two subscriptions under two delivery ids, but one event id.
    let id = webhook.id.get();
    draft.finish(webhook.id.text(), id.filter(|id| super::draft::is_id(id)))
}

/// The incident that an event is about.
struct Incident<'a> {
    id: &'a str,
    summary: Text<'a>,
    url: &'a str,
}

impl<'a> Incident<'a> {
    fn of(data: &'a Data<'a>) -> Self {
        if data.kind.text() == "incident" {
            let (id, url) = (data.id.text(), data.html_url.text());
            return Self {
                id,
                summary: Text::default(),
                url,
            };
        }
        let assigned = data.role_assignments.first().map(|first| &first.incident);
        let incident = match (&data.incident, assigned) {
            (Resource { id, .. }, Some(assigned)) if id.get().is_none() => assigned,
            (incident, _) => incident,
        };
        Self {
            id: incident.id.text(),
            summary: incident.summary.clone(),
            url: incident.html_url.text(),
        }
    }
}

fn service_id<'a>(data: &'a Data<'_>) -> &'a str {
    match data.kind.text() {
        "service" => data.id.text(),
        _ => data.service.id.text(),
    }
}

/// Links of the event, the ones that are about it first.
fn urls<'a>(webhook: &'a Webhook<'a>) -> impl Iterator<Item = &'a str> {
    let data = &webhook.data;
    let assigned = data
        .role_assignments
        .iter()
        .map(|role| &role.incident.html_url);
    [
        &data.html_url,
        &data.incident.html_url,
        &data.service.html_url,
    ]
    .into_iter()
    .chain(assigned)
    .chain([
        &webhook.agent.html_url,
        &data.escalation_policy.html_url,
        &data.user.html_url,
    ])
    .chain(
        data.teams
            .iter()
            .chain(data.assignees.iter())
            .map(|resource| &resource.html_url),
    )
    .filter_map(Text::get)
}

/// The account in `https://<account>.pagerduty.com/…` or `https://<account>.eu.pagerduty.com/…`.
fn subdomain(url: &str) -> Option<&str> {
    let host = url
        .strip_prefix("https://")?
        .split(['/', '?', '#'])
        .next()?;
    let account = host.strip_suffix(".pagerduty.com")?;
    let account = account.strip_suffix(".eu").unwrap_or(account);
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (!account.is_empty() && account.bytes().all(is_label)).then_some(account)
}

fn actor(draft: &mut Draft<'_>, webhook: &Webhook<'_>) {
    let agent = &webhook.agent;
    if agent.id.get().is_none() && agent.summary.get().is_none() {
        draft.actor(ActorKind::System, "", webhook.client.name.text());
        return;
    }
    let kind = match agent.kind.text() {
        "user_reference" | "user" => ActorKind::User,
        _ => ActorKind::App,
    };
    draft.actor(kind, agent.id.text(), agent.summary.text());
}

fn status(event_type: &str, state: &str) -> EventStatus {
    match (event_type, state) {
        ("incident.triggered" | "incident.reopened" | "incident.unacknowledged", _) => {
            EventStatus::Firing
        }
        ("incident.acknowledged", _) | (_, "acknowledged") => EventStatus::Acknowledged,
        ("incident.resolved", _) | (_, "resolved") => EventStatus::Resolved,
        (_, "triggered") => EventStatus::Firing,
        _ => EventStatus::Info,
    }
}

/// The priority decides when it is one of the usual names, else the urgency.
fn severity<'a>(data: &'a Data<'_>) -> (Severity, &'a str) {
    let urgency = match data.urgency.text() {
        "high" => Severity::High,
        "low" => Severity::Low,
        _ => Severity::Unspecified,
    };
    let severity = match data.priority.summary.text().to_ascii_uppercase().as_str() {
        "P1" => Severity::Critical,
        "P2" => Severity::High,
        "P3" => Severity::Medium,
        "P4" => Severity::Low,
        "P5" => Severity::Info,
        _ => urgency,
    };
    (
        severity,
        data.priority.summary.get().unwrap_or(data.urgency.text()),
    )
}

fn attributes(draft: &mut Draft<'_>, data: &Data<'_>, incident_id: &str) {
    draft.attribute("incident_id", incident_id);
    draft.attribute("incident_number", data.number.text());
    draft.attribute("incident_key", data.incident_key.text());
    draft.attribute("incident_type", data.incident_type.name.text());
    draft.attribute("urgency", data.urgency.text());
    draft.attribute("priority", data.priority.summary.text());
    let service = match data.kind.text() {
        "service" => &data.summary,
        _ => &data.service.summary,
    };
    draft.attribute("service_name", service.text());
    draft.attribute("resolve_reason", data.resolve_reason.kind.text());
    draft.attribute_list("teams", data.teams.iter().map(|team| team.summary.text()));
    draft.attribute_list(
        "assignees",
        data.assignees.iter().map(|person| person.summary.text()),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pagerdutys_own_hosts_name_an_account() {
        for (url, expected) in [
            ("https://acme.pagerduty.com/incidents/P1", Some("acme")),
            ("https://acme-2.eu.pagerduty.com/x", Some("acme-2")),
            ("https://acme.pagerduty.com", Some("acme")),
            ("https://evil.example/acme.pagerduty.com", None),
            ("https://acme.pagerduty.com.evil.example/x", None),
            ("https://user@acme.pagerduty.com/", None),
            ("https://a.b.pagerduty.com/", None),
            ("https://pagerduty.com/x", None),
            ("http://acme.pagerduty.com/", None),
            ("", None),
        ] {
            assert_eq!(subdomain(url), expected, "{url}");
        }
    }
}
