//! Grafana: groups of alerts in Alertmanager's shape with fields of its own, and the single rules that
//! its alerting before version 9 sent.

use tocsin_wire::proto::{Event, EventStatus, TextFormat};
use tocsin_wire::scheme::{HmacScheme, Scheme};

use super::{Delivery, Malformed, Normalized, alert_group, draft::Draft, read_json, utf8};
use crate::json::{List, Members, Text, object};
use crate::provider::{Endpoint, Provider, SecretSetting, Throttled};

/// As events and subjects name it.
const NAME: &str = "grafana";

/// Grafana's contact points of type webhook. One that signs a timestamp too names both headers itself:
/// that is a scheme for a source.
pub const PROVIDER: Provider = Provider {
    name: NAME,
    secret: SecretSetting {
        flag: "grafana-webhook-secret",
        variable: "GRAFANA_WEBHOOK_SECRET",
        help: "HMAC secrets of Grafana's webhook contact points",
    },
    endpoints: &[Endpoint::only(normalize)],
    schemes: &[
        Scheme::Hmac(HmacScheme::over_body("x-grafana-alerting-signature", "")),
        Scheme::Bearer,
        Scheme::Basic,
    ],
    single_headers: &[],
    kept_headers: &[],
    // Its embedded Alertmanager comes again after a 5xx.
    throttled: Throttled::Unavailable,
};

object! {
    /// What alerting before version 9 sends: one rule, no group.
    Rule {
        "ruleId" => id: Text<'a>,
        "ruleName" => name: Text<'a>,
        "ruleUrl" => url: Text<'a>,
        "state" => state: Text<'a>,
        "title" => title: Text<'a>,
        "message" => message: Text<'a>,
        "imageUrl" => image_url: Text<'a>,
        "orgId" => org: Text<'a>,
        "dashboardId" => dashboard: Text<'a>,
        "panelId" => panel: Text<'a>,
        "tags" => tags: Members<'a>,
        "evalMatches" => matches: List<Match<'a>>,
    }
}

object! {
    Match { "metric" => metric: Text<'a>, "value" => value: Text<'a> }
}

/// Reads a verified delivery.
///
/// # Errors
/// When the body is not JSON.
pub fn normalize(delivery: Delivery<'_>) -> Result<Normalized, Malformed> {
    let body = utf8(delivery.body)?;
    let group: alert_group::Group<'_> = read_json(body)?;
    let rule: Rule<'_> = read_json(body)?;
    let event = if rule.id.get().is_some() {
        single_rule(delivery, &rule)
    } else {
        let mut draft = Draft::new(NAME, delivery);
        alert_group::describe(&mut draft, &group);
        draft.identifier("grafana_org_id", group.org());
        draft.attribute("folder", group.label("grafana_folder"));
        alert_group::finish(draft, &group)
    };
    Ok(Normalized::Event(Box::new(event)))
}

fn single_rule(delivery: Delivery<'_>, rule: &Rule<'_>) -> Event {
    let mut draft = Draft::new(NAME, delivery);
    "rule".clone_into(&mut draft.event.native_type);
    draft.event.action = rule.state.owned();
    let state = rule.state.text();
    let (kind, status) = match state {
        "alerting" | "no_data" => ("alert_firing", EventStatus::Firing),
        "ok" => ("alert_resolved", EventStatus::Resolved),
        "paused" => ("alert_paused", EventStatus::Info),
        "pending" => ("alert_pending", EventStatus::Info),
        _ => (super::OTHER, EventStatus::Info),
    };
    kind.clone_into(&mut draft.event.kind);
    draft.state(state, status);
    draft.identifier("grafana_org_id", rule.org.text());
    draft.title(rule.title.get().unwrap_or(rule.name.text()));
    draft.text(rule.message.text(), TextFormat::Markdown);
    rule.url.text().clone_into(&mut draft.event.url);
    draft.correlation(&[rule.org.get().unwrap_or("1"), "rule", rule.id.text()]);
    draft.attribute("rule_id", rule.id.text());
    draft.attribute("alertname", rule.name.text());
    draft.attribute("image_url", rule.image_url.text());
    draft.attribute("dashboard_id", rule.dashboard.text());
    draft.attribute("panel_id", rule.panel.text());
    let pair = |(name, value): (&str, &str)| format!("{name}={value}");
    let tags: Vec<String> = rule.tags.iter().map(pair).collect();
    draft.attribute("labels", &tags.join(","));
    let values = rule.matches.iter();
    let values = values.map(|found| pair((found.metric.text(), found.value.text())));
    draft.attribute("values", &values.collect::<Vec<_>>().join(","));
    // Neither an id nor a time is told.
    draft.finish("", None)
}
