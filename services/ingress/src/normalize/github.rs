//! GitHub: the event's name is in a header, its fields are spread over the payload by type.

mod checks;
mod describe;
mod kinds;
mod mentions;
mod payload;

use std::borrow::Cow;

use form_urlencoded as form;
use tocsin_wire::proto::{ActorKind, Event, EventStatus, Severity};
use tocsin_wire::scheme::{HmacScheme, Scheme};

use super::{Delivery, Malformed, Normalized, OTHER, draft::Draft, first, read_json, utf8};
use crate::provider::{Endpoint, Provider, SecretSetting, Throttled};
use payload::Payload;

/// As events and subjects name it.
const NAME: &str = "github";

/// GitHub Apps and hooks. It never sends a delivery again by itself.
pub const PROVIDER: Provider = Provider {
    name: NAME,
    secret: SecretSetting {
        flag: "github-webhook-secret",
        variable: "GITHUB_WEBHOOK_SECRET",
        help: "Secrets of the GitHub App or its hooks",
    },
    endpoints: &[Endpoint::only(normalize)],
    // The SHA-1 header beside it is ignored.
    schemes: &[Scheme::Hmac(HmacScheme::over_body(SIGNATURE, "sha256="))],
    // Both tell deliveries apart, and both are outside the MAC.
    single_headers: &[DELIVERY, EVENT],
    kept_headers: &[
        EVENT,
        DELIVERY,
        "x-github-hook-id",
        "x-github-hook-installation-target-type",
        "x-github-hook-installation-target-id",
    ],
    throttled: Throttled::Deferred,
};

/// The signature.
const SIGNATURE: &str = "x-hub-signature-256";
/// Id of the delivery, a GUID; the same when somebody redelivers it.
const DELIVERY: &str = "x-github-delivery";
/// Name of the event.
const EVENT: &str = "x-github-event";

/// Sent when a hook is made.
const PING: &str = "ping";

/// Reads a verified delivery, whose hook may send JSON or a form with JSON in `payload`.
///
/// # Errors
/// When the body is neither.
pub fn normalize(delivery: Delivery<'_>) -> Result<Normalized, Malformed> {
    let json = if delivery.is_form() && delivery.body.first() != Some(&b'{') {
        form::parse(delivery.body)
            .find(|(name, _)| name == "payload")
            .map(|(_, payload)| payload)
            .ok_or(Malformed::Form {
                expected: "payload",
            })?
    } else {
        Cow::Borrowed(utf8(delivery.body)?)
    };
    let payload: Payload<'_> = read_json(&json)?;
    if delivery.header(EVENT) == PING {
        return Ok(Normalized::Ping);
    }
    Ok(Normalized::Event(Box::new(event(delivery, &payload))))
}

fn event(delivery: Delivery<'_>, payload: &Payload<'_>) -> Event {
    let mut draft = Draft::new(NAME, delivery);
    let native = delivery.header(EVENT);
    kinds::known(native)
        .unwrap_or(OTHER)
        .clone_into(&mut draft.event.kind);
    native.clone_into(&mut draft.event.native_type);
    draft.event.action = payload.action.owned();

    draft.identifier("github_repo", payload.repository.full_name.text());
    draft.identifier("github_installation_id", payload.installation.id.text());
    draft.identifier("github_org", payload.organization.login.text());

    actor(&mut draft, payload);
    draft.event.status = EventStatus::Info.into();
    describe::describe(&mut draft, native, payload);
    draft.attribute("default_branch", payload.repository.default_branch.text());
    draft.attribute("repository_id", payload.repository.id.text());
    // The delivery's id is outside the signature: only the body tells a replay under a new one. The
    // MAC that held tells bodies apart as well as their hash would; hex digits are of either case.
    let mac = delivery.header(SIGNATURE).to_ascii_lowercase();
    draft.finish(
        delivery.header(DELIVERY),
        Some(mac.as_str()).filter(|mac| !mac.is_empty()),
    )
}

fn actor(draft: &mut Draft<'_>, payload: &Payload<'_>) {
    let sender = &payload.sender;
    let login = sender.login.get().unwrap_or(payload.pusher.name.text());
    let kind = match sender.kind.text() {
        _ if login.ends_with("[bot]") => ActorKind::Bot,
        "Bot" => ActorKind::Bot,
        "Organization" => ActorKind::System,
        _ => ActorKind::User,
    };
    draft.actor(kind, sender.id.text(), login);
}

/// GitHub's severities, of alerts and advisories.
fn severity(native: &str) -> Severity {
    match native.to_ascii_lowercase().as_str() {
        "critical" => Severity::Critical,
        "high" | "error" => Severity::High,
        "medium" | "moderate" | "warning" => Severity::Medium,
        "low" | "note" => Severity::Low,
        _ => Severity::Unspecified,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::fixtures::{deliver, headers};
    use super::*;

    /// The event of a type that happened in `Acme/Web`, with further fields of its payload.
    pub(super) fn read(native: &str, fields: &str) -> Event {
        let body = format!(r#"{{"repository":{{"full_name":"Acme/Web"}},{fields}}}"#);
        let headers = headers([(EVENT, native)]);
        match deliver(NAME, None, &headers, &Bytes::from(body)) {
            Ok(Normalized::Event(event)) => *event,
            other => panic!("{other:?}"),
        }
    }
}
