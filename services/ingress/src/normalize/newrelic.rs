//! New Relic: issues, as a workflow's template tells them, and incidents of the notification channels
//! that came before workflows. Users rename the template's keys freely, so everything may be absent.

use tocsin_wire::proto::{Event, EventStatus, TextFormat};
use tocsin_wire::scheme::Scheme;

use super::template::filled;
use super::{
    Delivery, Malformed, Normalized, OTHER, draft::Draft, read_json, severity, times, utf8,
};
use crate::json::{List, Text, object};
use crate::provider::{Endpoint, Provider, SecretSetting, Throttled};

/// As events and subjects name it.
const NAME: &str = "newrelic";

/// New Relic signs nothing: its destination sends credentials.
pub const PROVIDER: Provider = Provider {
    name: NAME,
    secret: SecretSetting {
        flag: "newrelic-webhook-secret",
        variable: "NEWRELIC_WEBHOOK_SECRET",
        help: "Bearer tokens of New Relic's webhook destination",
    },
    endpoints: &[Endpoint::only(normalize)],
    schemes: &[Scheme::Bearer, Scheme::Basic, Scheme::token("api-key")],
    single_headers: &[],
    kept_headers: &[],
    // It tries again after a 5xx only.
    throttled: Throttled::Unavailable,
};

object! {
    Issue {
        "id" => id: Text<'a>,
        "issueUrl" => url: Text<'a>,
        "title" => title: Text<'a>,
        "priority" => priority: Text<'a>,
        "state" => state: Text<'a>,
        "trigger" => trigger: Text<'a>,
        "createdAt" => created_at: Text<'a>,
        "updatedAt" => updated_at: Text<'a>,
        "totalIncidents" => incidents: Text<'a>,
        "workflowName" => workflow: Text<'a>,
        "accountId" => account: Text<'a>,
        "impactedEntities" => entities: List<Text<'a>>,
        "sources" => sources: List<Text<'a>>,
        "alertPolicyNames" => policies: List<Text<'a>>,
        "alertConditionNames" => conditions: List<Text<'a>>,
    }
}

object! {
    /// What notification channels sent.
    Incident {
        "incident_id" => id: Text<'a>,
        "incident_url" => url: Text<'a>,
        "current_state" => state: Text<'a>,
        "severity" => severity: Text<'a>,
        "account_id" => account: Text<'a>,
        "policy_name" => policy: Text<'a>,
        "condition_name" => condition: Text<'a>,
        "details" => details: Text<'a>,
        "event_type" => event_type: Text<'a>,
        "timestamp" => timestamp: Text<'a>,
    }
}

/// A person's doing, not that of a condition.
const USER_ACTION: &str = "USER_ACTION";

/// Reads a verified delivery.
///
/// # Errors
/// When the body is not JSON.
pub fn normalize(delivery: Delivery<'_>) -> Result<Normalized, Malformed> {
    let body = utf8(delivery.body)?;
    let issue: Issue<'_> = read_json(body)?;
    let incident: Incident<'_> = read_json(body)?;
    let is_incident = incident.state.get().is_some() || incident.id.get().is_some();
    let event = if is_incident {
        of_incident(delivery, &incident)
    } else {
        of_issue(delivery, &issue)
    };
    Ok(Normalized::Event(Box::new(event)))
}

fn of_issue(delivery: Delivery<'_>, issue: &Issue<'_>) -> Event {
    let given = |text| filled(text).unwrap_or_default();
    let mut draft = Draft::new(NAME, delivery);
    let (state, trigger) = (given(&issue.state), given(&issue.trigger));
    described(&mut draft, "issue", state, kind(state, trigger));

    let url = given(&issue.url);
    let account = filled(&issue.account).or_else(|| account(url));
    draft.identifier("newrelic_workflow", given(&issue.workflow));
    draft.identifier("newrelic_account_id", account.unwrap_or_default());
    draft.identifier("newrelic_issue_id", given(&issue.id));
    draft.title(given(&issue.title));
    url.clone_into(&mut draft.event.url);
    let updated = given(&issue.updated_at);
    draft.occurred(
        times::number_or_date(updated).or_else(|| times::number_or_date(given(&issue.created_at))),
    );
    let native = given(&issue.priority);
    draft.severity(severity::worded(native), native);
    draft.correlation(&[given(&issue.id)]);
    draft.attribute("trigger", trigger);
    draft.attribute("incident_count", given(&issue.incidents));
    for (name, list) in [
        ("entities", &issue.entities),
        ("sources", &issue.sources),
        ("policies", &issue.policies),
        ("conditions", &issue.conditions),
    ] {
        draft.attribute_list(name, list.iter().map(Text::text));
    }
    draft.finish_derived(&[given(&issue.id), state, trigger, updated])
}

fn of_incident(delivery: Delivery<'_>, incident: &Incident<'_>) -> Event {
    let given = |text| filled(text).unwrap_or_default();
    let mut draft = Draft::new(NAME, delivery);
    let state = given(&incident.state);
    described(&mut draft, "incident", state, kind(state, ""));

    let url = given(&incident.url);
    let account = filled(&incident.account).or_else(|| account(url));
    draft.identifier("newrelic_account_id", account.unwrap_or_default());
    let condition = given(&incident.condition);
    let details = given(&incident.details);
    draft.title(if condition.is_empty() {
        details
    } else {
        condition
    });
    draft.text(details, TextFormat::Plain);
    url.clone_into(&mut draft.event.url);
    let at = given(&incident.timestamp);
    draft.occurred(times::number_or_date(at));
    let native = given(&incident.severity);
    draft.severity(severity::worded(native), native);
    draft.correlation(&["incident", given(&incident.id)]);
    draft.attribute("incident_id", given(&incident.id));
    draft.attribute("event_type", given(&incident.event_type));
    draft.attribute("policies", given(&incident.policy));
    draft.attribute("conditions", condition);
    draft.finish_derived(&["incident", given(&incident.id), state, at])
}

fn described(
    draft: &mut Draft<'_>,
    native_type: &str,
    state: &str,
    (kind, status): (&str, EventStatus),
) {
    native_type.clone_into(&mut draft.event.native_type);
    state.clone_into(&mut draft.event.action);
    kind.clone_into(&mut draft.event.kind);
    draft.state(state, status);
}

/// An active issue that a person has touched was acknowledged: no state says so.
fn kind(state: &str, trigger: &str) -> (&'static str, EventStatus) {
    match state.to_ascii_uppercase().as_str() {
        "CREATED" => ("issue_created", EventStatus::Firing),
        "ACTIVATED" if trigger == USER_ACTION => ("issue_acknowledged", EventStatus::Acknowledged),
        "ACTIVATED" | "OPEN" => ("issue_activated", EventStatus::Firing),
        "ACKNOWLEDGED" => ("issue_acknowledged", EventStatus::Acknowledged),
        "CLOSED" => ("issue_closed", EventStatus::Resolved),
        "DEACTIVATED" => ("issue_deactivated", EventStatus::Resolved),
        _ => (OTHER, EventStatus::Info),
    }
}

/// `4420147` of `https://…/accounts/4420147/issues/…`: no other field has it.
fn account(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("/accounts/")?;
    let account = rest.split(['/', '?', '#']).next()?;
    let is_number = !account.is_empty() && account.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(account)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::fixtures::{deliver, headers};
    use super::*;

    fn read(body: &str) -> Event {
        match deliver(NAME, None, &headers([]), &Bytes::from(body.to_owned())) {
            Ok(Normalized::Event(event)) => *event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_a_number_after_accounts_is_an_account() {
        for (url, expected) in [
            ("https://one.newrelic.com/accounts/44/issues/1", Some("44")),
            ("https://one.newrelic.com/accounts/44?x=1", Some("44")),
            ("https://one.newrelic.com/accounts/", None),
            ("https://one.newrelic.com/accounts/4x/1", None),
            ("", None),
        ] {
            assert_eq!(account(url), expected, "{url}");
        }
    }

    #[test]
    fn incidents_of_notification_channels_are_read_too() {
        let open = r#"{"account_id":44,"incident_id":7,"current_state":"open","severity":"WARNING",
            "condition_name":"CPU","details":"CPU > 90","policy_name":"Golden","timestamp":1713769708699}"#;
        let closed = open.replace("open", "closed");
        let (open, closed) = (read(open), read(&closed));
        assert_eq!(
            (open.kind.as_str(), open.title.as_str()),
            ("issue_activated", "CPU")
        );
        assert_eq!(open.identifiers[0].value, "44");
        assert_eq!(closed.status(), EventStatus::Resolved);
        assert_eq!(open.correlation_key, closed.correlation_key);
        assert_ne!(open.delivery_key, closed.delivery_key);
    }

    #[test]
    fn a_template_without_a_time_goes_by_its_body() {
        let event = read(
            r#"{"id":"i","state":"ACTIVATED","trigger":"STATE_CHANGE","isCorrelated":"true"}"#,
        );
        assert!(event.delivery_key.starts_with("newrelic:shared:sha256:"));
        assert_eq!(event.correlation_key, "newrelic:shared:i");
        let touched =
            read(r#"{"id":"i","state":"ACTIVATED","trigger":"USER_ACTION","updatedAt":"5"}"#);
        assert_eq!(touched.kind, "issue_acknowledged");
    }
}
