//! Datadog: whatever template the user gave the webhook, as JSON or as a form. Read are the names of
//! Datadog's default body and of the body that the README recommends.
//!
//! The default body has no state. Datadog writes it into the title, and so it is read from there.

use std::borrow::Cow;
use std::collections::BTreeMap;

use form_urlencoded as form;
use serde_json::value::RawValue;
use tocsin_wire::proto::{Event, EventStatus, Severity, TextFormat};
use tocsin_wire::scheme::Scheme;

use super::template::filled;
use super::{
    Delivery, Malformed, Normalized, OTHER, draft::Draft, read_json, severity, times, utf8,
};
use crate::json::{Text, object};
use crate::provider::{Endpoint, Provider, SecretSetting, Throttled};

/// As events and subjects name it.
const NAME: &str = "datadog";

/// Datadog signs nothing: the webhook's custom headers carry a secret.
pub const PROVIDER: Provider = Provider {
    name: NAME,
    secret: SecretSetting {
        flag: "datadog-webhook-secret",
        variable: "DATADOG_WEBHOOK_SECRET",
        help: "Bearer tokens in the custom headers of Datadog's webhook",
    },
    endpoints: &[Endpoint::only(normalize)],
    schemes: &[Scheme::Bearer, Scheme::Basic],
    single_headers: &[],
    kept_headers: &[],
    // It tries again after a 5xx only.
    throttled: Throttled::Unavailable,
};

/// `$ALERT_TRANSITION`, what we call it, and what it means.
const TRANSITIONS: &[(&str, &str, EventStatus)] = &[
    ("Triggered", "alert_triggered", EventStatus::Firing),
    ("Warn", "alert_warned", EventStatus::Firing),
    ("No Data", "alert_no_data", EventStatus::Firing),
    ("Re-Triggered", "alert_retriggered", EventStatus::Firing),
    ("Re-Warn", "alert_rewarned", EventStatus::Firing),
    ("Re-No Data", "alert_still_no_data", EventStatus::Firing),
    ("Renotify", "alert_renotified", EventStatus::Firing),
    ("Recovered", "alert_recovered", EventStatus::Resolved),
];

object! {
    Organization { "id" => id: Text<'a>, "name" => name: Text<'a> }
}

object! {
    Notification {
        "id" => id: Text<'a>,
        "title" => title: Text<'a>,
        "body" => body: Text<'a>,
        "date" => date: Text<'a>,
        "last_updated" => last_updated: Text<'a>,
        "event_type" => event_type: Text<'a>,
        "org" => org: Organization<'a>,
        "org_id" => org_id: Text<'a>,
        "alert_id" => alert_id: Text<'a>,
        "alert_title" => alert_title: Text<'a>,
        "alert_transition" => transition: Text<'a>,
        "alert_type" => alert_type: Text<'a>,
        "alert_cycle_key" => cycle_key: Text<'a>,
        "aggreg_key" => aggregation_key: Text<'a>,
        "priority" => priority: Text<'a>,
        "alert_priority" => alert_priority: Text<'a>,
        "alert_scope" => scope: Text<'a>,
        "alert_metric" => metric: Text<'a>,
        "alert_query" => query: Text<'a>,
        "alert_status" => status: Text<'a>,
        "link" => link: Text<'a>,
        "snapshot" => snapshot: Text<'a>,
        "tags" => tags: Text<'a>,
        "hostname" => hostname: Text<'a>,
    }
}

/// Reads a verified delivery.
///
/// # Errors
/// When the body is neither JSON nor a form.
pub fn normalize(delivery: Delivery<'_>) -> Result<Normalized, Malformed> {
    let json = if delivery.is_form() && delivery.body.first() != Some(&b'{') {
        Cow::Owned(form_as_json(delivery.body)?)
    } else {
        Cow::Borrowed(utf8(delivery.body)?)
    };
    let notification: Notification<'_> = read_json(&json)?;
    Ok(Normalized::Event(Box::new(event(delivery, &notification))))
}

/// A form as the object that it was made of: members that were objects are JSON inside their field.
fn form_as_json(body: &[u8]) -> Result<String, Malformed> {
    let members: BTreeMap<Cow<'_, str>, Box<RawValue>> = form::parse(body)
        .map(|(name, value)| {
            let object = RawValue::from_string(value.trim().to_owned());
            let object = object.ok().filter(|raw| raw.get().starts_with('{'));
            let value = match object {
                Some(object) => object,
                None => serde_json::value::to_raw_value(&value)?,
            };
            Ok((name, value))
        })
        .collect::<Result<_, _>>()
        .map_err(Malformed::Json)?;
    serde_json::to_string(&members).map_err(Malformed::Json)
}

fn event(delivery: Delivery<'_>, notification: &Notification<'_>) -> Event {
    let given = |text| filled(text).unwrap_or_default();
    let mut draft = Draft::new(NAME, delivery);
    "alert".clone_into(&mut draft.event.native_type);
    let transition = filled(&notification.transition);
    let action = transition.unwrap_or(given(&notification.event_type));
    action.clone_into(&mut draft.event.action);
    let in_title = || transition_of_title(given(&notification.title));
    let state = transition.or_else(in_title).unwrap_or_default();
    let (kind, status) = kind(state, given(&notification.alert_type));
    kind.clone_into(&mut draft.event.kind);
    draft.state(state, status);

    draft.identifier("datadog_monitor_id", given(&notification.alert_id));
    let org = filled(&notification.org.id).unwrap_or(given(&notification.org_id));
    draft.identifier("datadog_org_id", org);

    let title = filled(&notification.title).unwrap_or(given(&notification.alert_title));
    draft.title(title);
    draft.text(given(&notification.body), TextFormat::Markdown);
    given(&notification.link).clone_into(&mut draft.event.url);
    let dates = [&notification.date, &notification.last_updated];
    let dates: Vec<_> = dates.into_iter().filter_map(filled).collect();
    let at = dates.first().copied().unwrap_or_default();
    draft.occurred(times::number_or_date(at));
    let (severity, native) = severity(notification);
    draft.severity(severity, native);
    let correlation = filled(&notification.cycle_key);
    draft.correlation(&[correlation.unwrap_or(given(&notification.aggregation_key))]);
    attributes(&mut draft, notification);
    match filled(&notification.id) {
        Some(id) if super::draft::is_id(id) => draft.finish(id, Some(id)),
        // An event that was updated keeps its date: both times tell what happened.
        _ => draft.finish_derived(&[
            given(&notification.aggregation_key),
            state,
            &dates.join("/"),
        ]),
    }
}

/// What a transition is called; without a known one, what the type of the alert says.
fn kind(state: &str, alert_type: &str) -> (&'static str, EventStatus) {
    let state = match (known(state), alert_type) {
        (Some(known), _) => return known,
        (None, _) if !state.is_empty() => return (OTHER, EventStatus::Info),
        (None, "error") => "Triggered",
        (None, "warning") => "Warn",
        (None, "success") => "Recovered",
        (None, _) => "",
    };
    known(state).unwrap_or((OTHER, EventStatus::Info))
}

fn known(state: &str) -> Option<(&'static str, EventStatus)> {
    let mut transitions = TRANSITIONS.iter();
    let found = transitions.find(|(native, ..)| native.eq_ignore_ascii_case(state));
    found.map(|(_, kind, status)| (*kind, *status))
}

/// `Triggered` of `[P1] [Triggered on {host:web-1}] High CPU`.
fn transition_of_title(title: &str) -> Option<&str> {
    let mut rest = title.trim_start();
    while let Some(bracketed) = rest.strip_prefix('[') {
        let (inside, after) = bracketed.split_once(']')?;
        let word = inside.split_once(" on ").map_or(inside, |(word, _)| word);
        if known(word).is_some() {
            return Some(word);
        }
        rest = after.trim_start();
    }
    None
}

/// The monitor's priority, else the type of the alert. `priority` is the monitor's in the body that we
/// recommend, and the event's (normal or low) where a template also has `alert_priority`.
fn severity<'a>(notification: &'a Notification<'_>) -> (Severity, &'a str) {
    let given = [
        &notification.alert_priority,
        &notification.priority,
        &notification.alert_type,
    ];
    let natives = given.into_iter().filter_map(filled);
    let known = |native| (severity::worded(native), native);
    let found = natives
        .clone()
        .map(known)
        .find(|(severity, _)| *severity != Severity::Unspecified);
    let unknown = natives.map(known).next();
    found.or(unknown).unwrap_or_default()
}

fn attributes(draft: &mut Draft<'_>, notification: &Notification<'_>) {
    for (name, text) in [
        ("monitor_name", &notification.alert_title),
        ("event_type", &notification.event_type),
        ("alert_type", &notification.alert_type),
        ("aggregation_key", &notification.aggregation_key),
        ("scope", &notification.scope),
        ("metric", &notification.metric),
        ("query", &notification.query),
        ("status_text", &notification.status),
        ("snapshot_url", &notification.snapshot),
        ("tags", &notification.tags),
        ("hostname", &notification.hostname),
        ("org_name", &notification.org.name),
    ] {
        draft.attribute(name, filled(text).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::fixtures::{deliver, headers};
    use super::*;

    fn read(content_type: &str, body: &str) -> Event {
        let headers = headers([("content-type", content_type)]);
        match deliver(NAME, None, &headers, &Bytes::from(body.to_owned())) {
            Ok(Normalized::Event(event)) => *event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_transition_is_in_a_field_or_in_the_title() {
        for (title, expected) in [
            ("[Triggered] CPU", Some("Triggered")),
            ("[P2] [Re-Warn on {host:a}] CPU", Some("Re-Warn")),
            ("[P2][No data on {host:a}] CPU", Some("No data")),
            ("[Triggered", None),
            ("[Muted] [x] CPU", None),
            ("CPU [Triggered]", None),
            ("", None),
        ] {
            assert_eq!(transition_of_title(title), expected, "{title}");
        }
        for (state, alert_type, expected) in [
            ("re-no data", "", "alert_still_no_data"),
            ("Muted", "error", OTHER),
            ("", "error", "alert_triggered"),
            ("", "success", "alert_recovered"),
            ("", "info", OTHER),
        ] {
            assert_eq!(kind(state, alert_type).0, expected, "{state} {alert_type}");
        }
    }

    #[test]
    fn a_form_says_what_json_says() {
        let json =
            r#"{"id":"7","title":"[Warn] a b","org":{"id":"12","name":"Acme"},"priority":"P2"}"#;
        let form = "id=7&title=%5BWarn%5D+a+b&org=%7B%22id%22%3A%2212%22%2C%22name%22%3A%22Acme%22%7D&priority=P2";
        let (json, form) = (
            read("application/json", json),
            read("application/x-www-form-urlencoded", form),
        );
        assert_eq!(json.kind, "alert_warned");
        assert_eq!(json.identifiers, form.identifiers);
        assert_eq!(json.attributes, form.attributes);
        assert_eq!(
            (json.title, json.delivery_key, json.severity),
            (form.title, form.delivery_key, form.severity)
        );
    }

    #[test]
    fn what_datadog_did_not_fill_in_is_not_there() {
        let event = read(
            "application/json",
            r#"{"id":"$ID","alert_id":"$ALERT_ID","priority":"$ALERT_PRIORITY","alert_type":"warning",
                "aggreg_key":"k","alert_transition":"Triggered","date":"1760000000000"}"#,
        );
        assert_eq!(event.identifiers, []);
        assert_eq!(
            (event.severity(), event.severity_native.as_str()),
            (Severity::Medium, "warning")
        );
        assert!(event.delivery_key.starts_with("datadog:shared:derived:"));
        assert_eq!(event.correlation_key, "datadog:shared:k");
    }

    #[test]
    fn the_monitors_priority_outranks_the_events() {
        for (body, expected) in [
            (
                r#"{"alert_priority":"P1","priority":"low","alert_type":"error"}"#,
                (Severity::Critical, "P1"),
            ),
            (
                r#"{"alert_priority":"$ALERT_PRIORITY","priority":"P2"}"#,
                (Severity::High, "P2"),
            ),
            (
                r#"{"priority":"normal","alert_type":"warning"}"#,
                (Severity::Medium, "warning"),
            ),
            (
                r#"{"priority":"normal"}"#,
                (Severity::Unspecified, "normal"),
            ),
        ] {
            let event = read("application/json", body);
            let got = (event.severity(), event.severity_native.as_str());
            assert_eq!(got, expected, "{body}");
        }
    }

    #[test]
    fn without_an_id_both_times_tell_deliveries_apart() {
        let key = |times: &str| {
            let body = format!(r#"{{"aggreg_key":"k","alert_transition":"Triggered"{times}}}"#);
            read("application/json", &body).delivery_key
        };
        let first = key(r#","date":"1760000000000","last_updated":"1760000000000""#);
        let updated = key(r#","date":"1760000000000","last_updated":"1760000600000""#);
        let again = key(r#","last_updated":"1760000600000","date":"1760000000000""#);
        let only_date = key(r#","date":"1760000000000""#);
        assert_ne!(first, updated);
        assert_eq!(updated, again);
        assert_ne!(only_date, first);
        for key in [first, only_date] {
            assert!(key.starts_with("datadog:shared:derived:"), "{key}");
        }
        assert!(key("").starts_with("datadog:shared:sha256:"));
    }
}
