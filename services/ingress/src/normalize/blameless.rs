//! Blameless: `{"event_type", "incident": {…}}`, or the same object under `data`.

use tocsin_wire::proto::{Event, EventStatus, TextFormat};
use tocsin_wire::scheme::{HmacScheme, Scheme};

use super::draft::{self, Draft};
use super::{Delivery, Malformed, Normalized, first, read_json, times, utf8, words};
use crate::json::{Text, object};
use crate::provider::{Endpoint, Provider, SecretSetting, Throttled};

/// As events and subjects name it.
const NAME: &str = "blameless";

/// The signature.
const SIGNATURE: &str = "x-blameless-signature";

/// Blameless's outgoing webhooks.
pub const PROVIDER: Provider = Provider {
    name: NAME,
    secret: SecretSetting {
        flag: "blameless-webhook-secret",
        variable: "BLAMELESS_WEBHOOK_SECRET",
        help: "Secrets of Blameless's webhooks",
    },
    endpoints: &[Endpoint::only(normalize)],
    schemes: &[
        Scheme::Hmac(HmacScheme::over_body(SIGNATURE, "sha256=")),
        Scheme::Bearer,
    ],
    single_headers: &[],
    kept_headers: &[],
    throttled: Throttled::Deferred,
};

/// Event types that we have a name for: theirs, with `_` for the dot.
const KNOWN: &[&str] = &[
    "incident.closed",
    "incident.created",
    "incident.deleted",
    "incident.resolved",
    "incident.updated",
];

object! {
    Body {
        "event_id" => id: Text<'a>,
        "event_type" => event_type: Text<'a>,
        "timestamp" => timestamp: Text<'a>,
        "incident" => incident: Incident<'a>,
        "data" => data: Incident<'a>,
    }
}

object! {
    Incident {
        "id" => id: Text<'a>,
        "title" => title: Text<'a>,
        "name" => name: Text<'a>,
        "description" => description: Text<'a>,
        "severity" => severity: Text<'a>,
        "status" => status: Text<'a>,
        "team_id" => team: Text<'a>,
        "url" => url: Text<'a>,
        "created_at" => created_at: Text<'a>,
        "updated_at" => updated_at: Text<'a>,
    }
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
    let native = body.event_type.text();
    if KNOWN.contains(&native) {
        draft.event.kind = native.replace('.', "_");
    }
    native.clone_into(&mut draft.event.native_type);
    draft.event.action = native.rsplit('.').next().unwrap_or_default().to_owned();
    // Under one of two names; with both, the first decides whole.
    let incident = if body.incident.id.get().is_some() {
        &body.incident
    } else {
        &body.data
    };
    let id = incident.id.text();

    draft.identifier("blameless_team_id", incident.team.text());
    draft.identifier("blameless_incident_id", id);

    draft.title(first(&[&incident.title, &incident.name]));
    draft.text(incident.description.text(), TextFormat::Plain);
    incident.url.text().clone_into(&mut draft.event.url);
    draft.occurred(times::number_or_date(first(&[
        &body.timestamp,
        &incident.updated_at,
        &incident.created_at,
    ])));
    let state = incident.status.text();
    let status = match native {
        "incident.resolved" | "incident.closed" | "incident.deleted" => EventStatus::Resolved,
        "incident.created" => EventStatus::Firing,
        _ => words::status(state).unwrap_or(EventStatus::Info),
    };
    draft.state(state, status);
    let native_severity = incident.severity.text();
    draft.severity(words::severity(native_severity), native_severity);
    draft.correlation(&[id]);
    let event_id = body.id.get().filter(|id| draft::is_id(id));
    draft.finish(body.id.text(), event_id)
}
