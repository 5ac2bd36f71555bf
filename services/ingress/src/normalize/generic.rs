//! What people send themselves: a cron job, a script, a service without a format of its own.
//!
//! Either `{"title", "message", "severity", "status", "identifiers": {"service": "checkout"}, "dedupe_key",
//! "source", "url", "timestamp", "metadata"}` or `{"type", "timestamp", "data"}` of Standard Webhooks, or
//! both mixed; nothing must be there. `identifiers` may hold what config can route by, as strings; nothing
//! else in the body picks a tenant.

use tocsin_wire::identifier::PRIORITY;
use tocsin_wire::proto::{ActorKind, Event, TextFormat};
use tocsin_wire::scheme::{HmacScheme, Scheme};

use super::draft::{self, Draft};
use super::{Delivery, Malformed, Normalized, first, read_json, times, utf8, words};
use crate::json::{Strings, Text, object};
use crate::provider::{Endpoint, MAX_BODY, Provider, SecretSetting, Throttled};
use crate::verify::standard_webhooks;

/// As events and subjects name it.
const NAME: &str = "generic";

/// Anything that can sign, or hold a token.
pub const PROVIDER: Provider = Provider {
    name: NAME,
    title: "Generic webhooks",
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
    max_body: MAX_BODY,
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
    let native_type = body.native_type.text();
    let title = first(&[&body.title, &data.title]);
    let state = first(&[&body.status, &data.status]);
    let native_severity = first(&[&body.severity, &data.severity]);
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
        if let Some(value) = body.identifiers.get(known.name) {
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
    draft.text(text, TextFormat::Plain);
    first(&[&body.url, &data.url]).clone_into(&mut draft.event.url);
    draft.occurred(times::number_or_date(body.timestamp.text()));
    draft.state(state, status);
    draft.severity(severity, native_severity);
    draft.attribute("source", body.source.text());
    for (name, value) in body.metadata.iter().take(MAX_FACTS) {
        draft.attribute(&format!("metadata.{name}"), value);
    }

    let id = standard_webhooks::delivery_id(delivery.headers).to_owned();
    let dedupe_key = body.dedupe_key.get();
    let dedupe_key = dedupe_key.map(|key| draft::hash(key.as_bytes()));
    draft.correlation(&[dedupe_key.as_deref().unwrap_or_default()]);
    let semantic = match (&dedupe_key, draft.has_time()) {
        // A body that names its time can be told from another: its hash.
        (None, true) => None,
        (None, false) => Some(id.clone()).filter(|id| !id.is_empty()),
        // The end of an alert is not its begin told twice, nor is tomorrow's begin.
        (Some(key), has_time) => {
            let occasion = match (has_time, id.as_str()) {
                (true, _) => draft::hash(body.timestamp.text().as_bytes()),
                (false, "") => draft.period(),
                (false, id) => draft::hash(id.as_bytes()),
            };
            Some(format!("{kind}:{key}:{occasion}"))
        }
    };
    draft.finish(&id, semantic.as_deref())
}
