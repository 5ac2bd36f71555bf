//! Prometheus Alertmanager: version 4 of its webhook, or whatever a `payload` template makes instead.

use tocsin_wire::scheme::Scheme;

use super::{Delivery, Malformed, Normalized, alert_group, draft::Draft, read_json, utf8};
use crate::provider::{Endpoint, Provider, SecretSetting, Throttled};

/// As events and subjects name it.
const NAME: &str = "alertmanager";

/// Alertmanager signs nothing: `http_config` sends credentials.
pub const PROVIDER: Provider = Provider {
    name: NAME,
    secret: SecretSetting {
        flag: "alertmanager-webhook-secret",
        variable: "ALERTMANAGER_WEBHOOK_SECRET",
        help: "Bearer tokens that Alertmanager's http_config sends",
    },
    endpoints: &[Endpoint::only(normalize)],
    schemes: &[Scheme::Bearer, Scheme::Basic],
    single_headers: &[],
    kept_headers: &[],
    // Any 4xx, 429 as well, drops the notification.
    throttled: Throttled::Unavailable,
};

/// Reads a verified delivery.
///
/// # Errors
/// When the body is not JSON.
pub fn normalize(delivery: Delivery<'_>) -> Result<Normalized, Malformed> {
    let group: alert_group::Group<'_> = read_json(utf8(delivery.body)?)?;
    let mut draft = Draft::new(NAME, delivery);
    alert_group::describe(&mut draft, &group);
    Ok(Normalized::Event(Box::new(alert_group::finish(
        draft, &group,
    ))))
}
