//! What people send themselves: a cron job, a script, a service without a format of its own.
//!
//! Either `{"title", "message", "severity", "status", "identifiers": {"service": "checkout"}, "dedupe_key",
//! "source", "url", "timestamp", "metadata"}` or `{"type", "timestamp", "data"}` of Standard Webhooks, or
//! both mixed; nothing must be there. `identifiers` may hold what config can route by, as strings; nothing
//! else in the body picks a tenant.
//!
//! A source may say by expressions what is picked from a body of any other form ([`super::pick`]); what it
//! does not pick is read as above.

use tocsin_wire::identifier::PRIORITY;
use tocsin_wire::proto::{ActorKind, Event, TextFormat};
use tocsin_wire::scheme::{HmacScheme, Scheme};
use tocsin_wire::source::PickField;

use super::draft::{self, Draft};
use super::pick::NOT_PICKED;
use super::{Delivery, Malformed, Normalized, first, read_json, times, utf8, words};
use crate::json::{Strings, Text, object};
use crate::provider::{Endpoint, Provider, SecretSetting, Throttled};
use crate::verify::standard_webhooks;

/// As events and subjects name it.
const NAME: &str = "generic";

/// Anything that can sign, or hold a token.
pub const PROVIDER: Provider = Provider {
    name: NAME,
    secret: SecretSetting {
        flag: "generic-webhook-secret",
        variable: "GENERIC_WEBHOOK_SECRET",
        help: "Secrets (whsec_…) or public keys (whpk_…) of senders of Standard Webhooks",
    },
    endpoints: &[Endpoint::only(normalize)],
    schemes: &[
        Scheme::StandardWebhooks,
        Scheme::Hmac(HmacScheme::over_body("x-signature-256", "sha256=")),
        Scheme::Bearer,
        Scheme::Basic,
    ],
    // Only Standard Webhooks signs the id.
    single_headers: &["webhook-id", "svix-id"],
    kept_headers: &[],
    throttled: Throttled::TooManyRequests,
};

/// Facts of `metadata` that are kept; the raw body has all.
const MAX_FACTS: usize = 20;

object! {
    Body {
        "type" => native_type: Text<'a>,
        "timestamp" => timestamp: Text<'a>,
        "source" => source: Text<'a>,
        "title" => title: Text<'a>,
        "message" => message: Text<'a>,
        "description" => description: Text<'a>,
        "severity" => severity: Text<'a>,
        "status" => status: Text<'a>,
        "url" => url: Text<'a>,
        "dedupe_key" => dedupe_key: Text<'a>,
        "identifiers" => identifiers: Strings<'a>,
        "metadata" => metadata: Strings<'a>,
        "data" => data: Data<'a>,
    }
}

object! {
    /// The sender's own object: what has a usual name is read where the body itself is silent.
    Data {
        "title" => title: Text<'a>,
        "message" => message: Text<'a>,
        "description" => description: Text<'a>,
        "severity" => severity: Text<'a>,
        "status" => status: Text<'a>,
        "url" => url: Text<'a>,
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
    let data = &body.data;
    let picked = delivery.picks.map(|picks| picks.pick(delivery.body));
    let picked = picked.unwrap_or_default();
    let or = |field, fixed| picked.get(field).unwrap_or(fixed);
    let native_type = or(PickField::Type, body.native_type.text());
    let title = or(PickField::Title, first(&[&body.title, &data.title]));
    let state = or(PickField::Status, first(&[&body.status, &data.status]));
    let severity = first(&[&body.severity, &data.severity]);
    let native_severity = or(PickField::Severity, severity);
    let severity = words::severity(native_severity);
    let (kind, status) = words::judge(words::Said {
        native_type,
        title,
        state,
        severity,
    });
    kind.clone_into(&mut draft.event.kind);
    native_type.clone_into(&mut draft.event.native_type);

    for known in PRIORITY {
        let value = picked.get(PickField::Identifier(known.name));
        if let Some(value) = value.or_else(|| body.identifiers.get(known.name)) {
            draft.identifier(known.name, value);
        }
    }

    draft.actor(ActorKind::App, "", body.source.text());
    draft.title(if title.is_empty() { native_type } else { title });
    let text = first(&[
        &body.message,
        &body.description,
        &data.message,
        &data.description,
    ]);
    draft.text(or(PickField::Text, text), TextFormat::Plain);
    or(PickField::Url, first(&[&body.url, &data.url])).clone_into(&mut draft.event.url);
    let timestamp = or(PickField::OccurredAt, body.timestamp.text());
    draft.occurred(times::number_or_date(timestamp));
    draft.state(state, status);
    draft.severity(severity, native_severity);
    draft.attribute("source", body.source.text());
    for (name, value) in body.metadata.iter().take(MAX_FACTS) {
        draft.attribute(&format!("metadata.{name}"), value);
    }

    draft.attribute(NOT_PICKED, &picked.failures());

    let id = standard_webhooks::delivery_id(delivery.headers);
    let id = or(PickField::DeliveryId, id).to_owned();
    let dedupe_key = picked.get(PickField::DedupeKey);
    let dedupe_key = dedupe_key.or_else(|| body.dedupe_key.get());
    let dedupe_key = dedupe_key.map(|key| draft::hash(key.as_bytes()));
    draft.correlation(&[dedupe_key.as_deref().unwrap_or_default()]);
    let semantic = match (&dedupe_key, draft.has_time()) {
        // A body that names its time can be told from another: its hash.
        (None, true) => None,
        (None, false) => Some(id.clone()).filter(|id| !id.is_empty()),
        // The end of an alert is not its begin told twice, nor is tomorrow's begin.
        (Some(key), has_time) => {
            let occasion = match (has_time, id.as_str()) {
                (true, _) => draft::hash(timestamp.as_bytes()),
                (false, "") => draft.period(),
                (false, id) => draft::hash(id.as_bytes()),
            };
            Some(format!("{kind}:{key}:{occasion}"))
        }
    };
    draft.finish(&id, semantic.as_deref())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;
    use serde_json::{Value, json};
    use tocsin_wire::proto::{EventStatus, Severity};
    use tocsin_wire::source::SourcePick;
    use tocsin_wire::time;

    use super::super::pick::Picks;
    use super::*;

    fn read(pick: &Value, headers: &[(&'static str, &'static str)], body: &Value) -> Event {
        let pick: SourcePick = serde_json::from_value(pick.clone()).expect("a pick");
        let picks = Picks::compile(&pick).expect("it compiles");
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a value"));
        }
        let body = Bytes::from(body.to_string());
        let delivery = Delivery {
            source: "src_a",
            headers: &map,
            body: &body,
            received_at: "2026-01-02T03:04:05Z".parse().expect("a time"),
            secret_index: 0,
            kept_headers: &[],
            picks: picks.as_ref(),
        };
        match normalize(delivery).expect("it is read") {
            Normalized::Event(event) => *event,
            other => panic!("{other:?}"),
        }
    }

    /// Everything that can be picked.
    fn whole() -> Value {
        json!({"title": "body.check.name ~ ' on ' ~ body.host", "text": "body.check.output",
            "severity": "'sev' ~ body.level", "status": "'ok' if body.passed else 'down'",
            "url": "body.links[0]", "type": "'check.' ~ body.check.kind", "dedupe_key": "body.check.id",
            "occurred_at": "body.at", "delivery_id": "body.run",
            "identifiers": {"service": "body.tags.app", "receiver": "body.tags.team"}})
    }

    #[test]
    fn what_is_picked_takes_the_place_of_the_fixed_form() {
        // Its own names for all of it; what has a usual name means something else here.
        let body = json!({"check": {"name": "Lag", "output": "9 s", "id": 7, "kind": "lag"}, "host": "db-1",
            "level": 2, "passed": false, "links": ["https://x.example/7"], "at": 1_767_000_000, "run": "r-1",
            "tags": {"app": "billing", "team": "sre"}, "title": "no", "severity": "low", "status": "up",
            "type": "no", "dedupe_key": "no", "identifiers": {"service": "no", "github_repo": "acme/web"}});
        let event = read(&whole(), &[("webhook-id", "msg_1")], &body);
        let identifiers: Vec<_> = event
            .identifiers
            .iter()
            .map(|one| (one.r#type.as_str(), one.value.as_str()))
            .collect();
        // In the order of routing; what is not picked is read as ever.
        let expected = [
            ("github_repo", "acme/web"),
            ("receiver", "sre"),
            ("service", "billing"),
        ];
        assert_eq!(identifiers, expected);
        assert_eq!(
            (event.title.as_str(), event.text.as_str()),
            ("Lag on db-1", "9 s")
        );
        assert_eq!(
            (event.severity(), event.severity_native.as_str()),
            (Severity::High, "sev2")
        );
        assert_eq!(
            (event.status(), event.kind.as_str()),
            (EventStatus::Firing, "alert_firing")
        );
        assert_eq!(
            (event.native_type.as_str(), event.url.as_str()),
            ("check.lag", "https://x.example/7")
        );
        let at = event.occurred_at.as_ref().and_then(time::from_proto);
        assert_eq!(at.map(|at| at.as_second()), Some(1_767_000_000));
        assert_eq!(event.delivery_key, "generic:src_a:r-1");
        assert_eq!(event.delivery_id, "r-1");
        let key = draft::hash(b"7");
        assert_eq!(event.correlation_key, format!("generic:src_a:{key}"));
        let occasion = format!("generic:src_a:alert_firing:{key}:");
        assert!(
            event.semantic_key.starts_with(&occasion),
            "{}",
            event.semantic_key
        );
        assert!(
            !event.attributes.contains_key(NOT_PICKED),
            "{:?}",
            event.attributes
        );
    }

    #[test]
    fn what_fails_is_read_in_the_fixed_form_and_told_of() {
        let body = json!({"title": "Disk full", "severity": "critical", "dedupe_key": "d-1", "url": "https://x.example",
            "passed": true, "identifiers": {"service": "db"}, "tags": {"team": "t".repeat(300)}});
        let picking = read(&whole(), &[("webhook-id", "msg_1")], &body);
        let status = json!({"status": "'ok' if body.passed else 'down'"});
        let plain = read(&status, &[("webhook-id", "msg_1")], &body);
        let note = picking.attributes.get(NOT_PICKED).expect("a note");
        for part in [
            "severity: body.level has no value",
            "identifiers.receiver: it has 300 bytes",
        ] {
            assert!(note.contains(part), "{part}: {note}");
        }
        let mut without_note = picking;
        without_note.attributes.remove(NOT_PICKED);
        assert_eq!(without_note, plain);
        assert_eq!(plain.kind, "alert_resolved");
    }

    #[test]
    fn without_expressions_all_is_as_ever() {
        let body = json!({"title": "Disk full", "check": {"name": "x"}});
        let event = read(&json!({}), &[], &body);
        assert_eq!(event.title, "Disk full");
        assert_eq!(event.attributes, <_>::default());
    }
}
