//! FireHydrant: `{"data": {"incident": {…}}, "event": {"operation", "resource_type"}}`, signed over the body.

use tocsin_wire::proto::{Event, EventStatus, Severity, TextFormat};
use tocsin_wire::scheme::{HmacScheme, Scheme};

use super::{Delivery, Malformed, Normalized, draft::Draft, first, read_json, times, utf8};
use crate::json::{List, Text, object};
use crate::provider::{Endpoint, Provider, SecretSetting, Throttled};

/// As events and subjects name it.
const NAME: &str = "firehydrant";

/// FireHydrant's webhooks. It documents no id of a delivery, and no second try.
pub const PROVIDER: Provider = Provider {
    name: NAME,
    secret: SecretSetting {
        flag: "firehydrant-webhook-secret",
        variable: "FIREHYDRANT_WEBHOOK_SECRET",
        help: "Secrets of FireHydrant's webhooks",
    },
    endpoints: &[Endpoint::only(normalize)],
    schemes: &[Scheme::Hmac(HmacScheme::over_body("fh-signature", ""))],
    single_headers: &[],
    kept_headers: &[],
    throttled: Throttled::Deferred,
};

object! {
    Body { "data" => data: Data<'a>, "event" => event: Happened<'a> }
}

object! {
    Happened { "operation" => operation: Text<'a>, "resource_type" => resource: Text<'a> }
}

object! {
    Data { "incident" => incident: Incident<'a>, "change_event" => change: Change<'a> }
}

object! {
    Incident {
        "id" => id: Text<'a>,
        "number" => number: Text<'a>,
        "name" => name: Text<'a>,
        "summary" => summary: Text<'a>,
        "description" => description: Text<'a>,
        "customer_impact_summary" => impact: Text<'a>,
        "current_milestone" => milestone: Text<'a>,
        "severity" => severity: Text<'a>,
        "priority" => priority: Text<'a>,
        "incident_url" => url: Text<'a>,
        "created_at" => created_at: Text<'a>,
        "updated_at" => updated_at: Text<'a>,
        "started_at" => started_at: Text<'a>,
        "team_assignments" => teams: List<Assigned<'a>>,
        "impacts" => impacts: List<Impact<'a>>,
    }
}

object! {
    Change { "id" => id: Text<'a>, "summary" => summary: Text<'a>, "starts_at" => starts_at: Text<'a> }
}

object! {
    Assigned { "team" => team: Named<'a> }
}

object! {
    Impact { "type" => kind: Text<'a>, "impact" => impact: Named<'a> }
}

object! {
    Named { "id" => id: Text<'a>, "name" => name: Text<'a> }
}

/// Reads a verified delivery.
///
/// # Errors
/// When the body is not JSON.
pub fn normalize(delivery: Delivery<'_>) -> Result<Normalized, Malformed> {
    let body: Body<'_> = read_json(utf8(delivery.body)?)?;
    Ok(Normalized::Event(Box::new(event(delivery, &body))))
}

fn event(delivery: Delivery<'_>, body: &Body<'_>) -> Event {
    let mut draft = Draft::new(NAME, delivery);
    let incident = &body.data.incident;
    let operation = body.event.operation.text().to_ascii_lowercase();
    let (kind, status) = kind(
        body.event.resource.text(),
        &operation,
        incident.milestone.text(),
    );
    kind.clone_into(&mut draft.event.kind);
    draft.event.native_type = body.event.resource.owned();
    draft.event.action = operation;

    for assigned in incident.teams.iter() {
        draft.identifier("firehydrant_team_id", assigned.team.id.text());
    }
    for impact in incident.impacts.iter() {
        if impact.kind.text() == "service" {
            draft.identifier("service", impact.impact.name.text());
        }
    }
    draft.identifier("firehydrant_incident_id", incident.id.text());

    let change = &body.data.change;
    draft.title(first(&[&incident.name, &change.summary]));
    let text = [&incident.summary, &incident.description, &incident.impact];
    draft.text(first(&text), TextFormat::Plain);
    draft.event.url = incident.url.owned();
    draft.occurred(times::date(first(&[
        &incident.updated_at,
        &incident.started_at,
        &incident.created_at,
        &change.starts_at,
    ])));
    draft.state(incident.milestone.text(), status);
    let native_severity = first(&[&incident.severity, &incident.priority]);
    draft.severity(severity(native_severity), native_severity);
    draft.correlation(&[incident.id.text()]);
    draft.attribute("incident_number", incident.number.text());
    draft.attribute("priority", incident.priority.text());
    draft.attribute("change_event_id", change.id.text());
    let teams = incident.teams.iter();
    draft.attribute_list("teams", teams.map(|assigned| assigned.team.name.text()));
    draft.finish("", None)
}

fn kind(resource: &str, operation: &str, milestone: &str) -> (&'static str, EventStatus) {
    let is_over = matches!(
        milestone,
        "resolved"
            | "postmortem_started"
            | "postmortem_completed"
            | "retrospective_started"
            | "retrospective_completed"
            | "closed"
    );
    match (resource, operation) {
        ("incident", _) if is_over => ("incident_resolved", EventStatus::Resolved),
        ("incident", "created") => ("incident_opened", EventStatus::Firing),
        ("incident", _) if milestone == "acknowledged" => {
            ("incident_updated", EventStatus::Acknowledged)
        }
        ("incident", _) => ("incident_updated", EventStatus::Firing),
        ("change_event", _) => ("change_event", EventStatus::Info),
        _ => (super::OTHER, EventStatus::Info),
    }
}

/// The names that new accounts have: `SEV1` to `SEV5`, `P1` to `P4`.
fn severity(native: &str) -> Severity {
    match native.to_ascii_uppercase().as_str() {
        "SEV1" | "P1" => Severity::Critical,
        "SEV2" | "P2" => Severity::High,
        "SEV3" | "P3" => Severity::Medium,
        "SEV4" | "P4" => Severity::Low,
        "SEV5" | "GAMEDAY" | "MAINTENANCE" => Severity::Info,
        _ => Severity::Unspecified,
    }
}
