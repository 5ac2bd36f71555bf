//! Coralogix: its generic outbound webhook, filled in from a template whose values are all strings. Facts
//! beside the alert itself are a list of keys and values.
//!
//! Variables that do not apply stay as they are written, `$SERVICE`: they are taken for absent, so that
//! nobody's alert goes to the team called "$TEAM_NAME".

use tocsin_wire::proto::{Event, EventStatus, Severity, TextFormat};
use tocsin_wire::scheme::Scheme;

use super::template::{filled, is_placeholder};
use super::{
    Delivery, Malformed, Normalized, OTHER, draft::Draft, read_json, severity, times, utf8,
};
use crate::json::{List, Text, object};
use crate::provider::{Endpoint, Provider, SecretSetting, Throttled};

/// As events and subjects name it.
const NAME: &str = "coralogix";

/// Coralogix signs nothing: a header of the webhook carries a secret.
pub const PROVIDER: Provider = Provider {
    name: NAME,
    secret: SecretSetting {
        flag: "coralogix-webhook-secret",
        variable: "CORALOGIX_WEBHOOK_SECRET",
        help: "Bearer tokens in the headers of Coralogix's outbound webhook",
    },
    endpoints: &[Endpoint::only(normalize)],
    schemes: &[Scheme::Bearer, Scheme::Basic],
    single_headers: &[],
    kept_headers: &[],
    // It documents no second try.
    throttled: Throttled::Deferred,
};

object! {
    Alert {
        "uuid" => webhook: Text<'a>,
        "alert_id" => id: Text<'a>,
        "name" => name: Text<'a>,
        "description" => description: Text<'a>,
        "threshold" => threshold: Text<'a>,
        "timewindow" => window: Text<'a>,
        "group_by_labels" => group_by: Text<'a>,
        "alert_action" => action: Text<'a>,
        "alert_url" => url: Text<'a>,
        "log_url" => log_url: Text<'a>,
        "service" => service: Text<'a>,
        "duration" => duration: Text<'a>,
        "errors" => errors: Text<'a>,
        "spans" => spans: Text<'a>,
        "fields" => fields: List<Field<'a>>,
    }
}

object! {
    Field { "key" => key: Text<'a>, "value" => value: Text<'a> }
}

impl Alert<'_> {
    /// A value of the list; empty when it is not there or was not filled in.
    fn field(&self, key: &str) -> &str {
        let mut values = self.fields.iter().filter(|field| field.key.text() == key);
        values
            .find_map(|field| filled(&field.value))
            .unwrap_or_default()
    }

    /// Whether this is the template itself, as its author tries it out.
    fn is_template(&self) -> bool {
        [&self.id, &self.name, &self.action]
            .into_iter()
            .all(|text| is_placeholder(text.text()))
    }
}

/// Reads a verified delivery.
///
/// # Errors
/// When the body is not JSON, which a quote in a log line is enough for: the template is filled in as text.
pub fn normalize(delivery: Delivery<'_>) -> Result<Normalized, Malformed> {
    let alert: Alert<'_> = read_json(utf8(delivery.body)?)?;
    if alert.is_template() {
        return Ok(Normalized::Ping);
    }
    Ok(Normalized::Event(Box::new(event(delivery, &alert))))
}

fn event(delivery: Delivery<'_>, alert: &Alert<'_>) -> Event {
    let given = |text| filled(text).unwrap_or_default();
    let mut draft = Draft::new(NAME, delivery);
    "alert".clone_into(&mut draft.event.native_type);
    let action = given(&alert.action);
    action.clone_into(&mut draft.event.action);
    let (kind, status) = match action.to_ascii_lowercase().as_str() {
        "trigger" | "triggered" => ("alert_triggered", EventStatus::Firing),
        "resolve" | "resolved" => ("alert_resolved", EventStatus::Resolved),
        _ => (OTHER, EventStatus::Info),
    };
    kind.clone_into(&mut draft.event.kind);
    draft.state(action, status);

    draft.identifier("coralogix_subsystem", alert.field("subsystem"));
    draft.identifier("coralogix_application", alert.field("application"));
    draft.identifier("coralogix_team_name", alert.field("team"));
    draft.identifier("coralogix_webhook_uuid", given(&alert.webhook));
    draft.identifier("coralogix_alert_id", given(&alert.id));

    draft.title(given(&alert.name));
    draft.text(given(&alert.description), TextFormat::Plain);
    given(&alert.url).clone_into(&mut draft.event.url);
    let told = ["timestampISO", "timestamp", "timestampMs"].map(|key| alert.field(key));
    draft.occurred(told.into_iter().find_map(times::number_or_date));
    let (severity, native) = severity(alert);
    draft.severity(severity, native);
    let unique = match alert.field("alertUniqueIdentifier") {
        "" => given(&alert.id),
        unique => unique,
    };
    draft.correlation(&[unique]);
    attributes(&mut draft, alert);
    // Trigger and resolution share every id.
    let at = told.into_iter().find(|told| !told.is_empty());
    draft.finish_derived(&[unique, action, at.unwrap_or_default()])
}

/// The severity of the event, else the priority of the alert.
fn severity<'a>(alert: &'a Alert<'_>) -> (Severity, &'a str) {
    let native = match alert.field("severity") {
        "" => alert.field("priority"),
        severity => severity,
    };
    (severity::worded(native), native)
}

fn attributes(draft: &mut Draft<'_>, alert: &Alert<'_>) {
    for (name, text) in [
        ("threshold", &alert.threshold),
        ("window_minutes", &alert.window),
        ("group_by", &alert.group_by),
        ("log_url", &alert.log_url),
        ("service_name", &alert.service),
        ("duration", &alert.duration),
        ("errors", &alert.errors),
        ("spans", &alert.spans),
    ] {
        draft.attribute(name, filled(text).unwrap_or_default());
    }
    for (name, key) in [
        ("application", "application"),
        ("subsystem", "subsystem"),
        ("team_name", "team"),
        ("priority", "priority"),
        ("hit_count", "hitCount"),
        ("log_text", "text"),
        ("query", "queryText"),
        ("computer", "computer"),
        ("ip_address", "ipAddress"),
        ("labels", "metaLabels"),
        ("unique_id", "alertUniqueIdentifier"),
    ] {
        draft.attribute(name, alert.field(key));
    }
}
