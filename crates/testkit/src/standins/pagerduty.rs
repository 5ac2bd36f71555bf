//! Sends PagerDuty V3 webhooks, signed as PagerDuty signs them.

use serde_json::{Value, json};

use super::{Error, runtime, signature};

/// Where deliveries go below the ingress URL.
pub const PATH: &str = "/webhooks/pagerduty";

/// One incident event. [`Incident::new`] makes a fresh `incident.triggered`; change what you need.
#[derive(Clone, Debug)]
pub struct Incident {
    /// `event.id`, the dedupe key: the same id again is the same delivery.
    pub event_id: String,
    /// `incident.triggered`, `incident.acknowledged`, `incident.resolved` …
    pub event_type: String,
    /// PagerDuty's incident id (`Q…`).
    pub id: String,
    pub number: u64,
    pub title: String,
    pub service_id: String,
    pub service_name: String,
    /// `high` or `low`.
    pub urgency: String,
    /// `triggered`, `acknowledged` or `resolved`.
    pub status: String,
    /// RFC 3339.
    pub occurred_at: String,
}

impl Incident {
    /// A triggered incident of high urgency with a new event id and a new incident id.
    pub fn new(service_id: &str, service_name: &str, title: &str) -> Incident {
        Incident {
            event_id: format!("01{}", runtime::unique(24)),
            event_type: "incident.triggered".to_owned(),
            id: format!("Q{}", runtime::unique(13)),
            number: u64::from_str_radix(&runtime::unique(5), 16).unwrap_or(1),
            title: title.to_owned(),
            service_id: service_id.to_owned(),
            service_name: service_name.to_owned(),
            urgency: "high".to_owned(),
            status: "triggered".to_owned(),
            occurred_at: runtime::now_rfc3339(),
        }
    }

    /// The request body as PagerDuty sends it.
    pub fn body(&self) -> Vec<u8> {
        self.envelope().to_string().into_bytes()
    }

    fn envelope(&self) -> Value {
        let site = "https://tocsin-demo.pagerduty.com";
        let api = "https://api.pagerduty.com";
        let reference = |kind: &str, path: &str, id: &str, summary: &str| {
            json!({
                "html_url": format!("{site}/{path}/{id}"), "id": id,
                "self": format!("{api}/{path}/{id}"), "summary": summary,
                "type": format!("{kind}_reference"),
            })
        };
        let person = reference("user", "users", "PONCALL1", "On-call engineer");
        json!({"event": {
            "id": self.event_id,
            "event_type": self.event_type,
            "resource_type": "incident",
            "occurred_at": self.occurred_at,
            "agent": null,
            "client": {"name": "Prometheus Alertmanager"},
            "data": {
                "id": self.id,
                "type": "incident",
                "self": format!("{api}/incidents/{}", self.id),
                "html_url": format!("{site}/incidents/{}", self.id),
                "number": self.number,
                "status": self.status,
                "incident_key": format!("{}/{}", self.service_id, self.id),
                "created_at": self.occurred_at,
                "title": self.title,
                "service": reference("service", "services", &self.service_id, &self.service_name),
                "assignees": [person],
                "escalation_policy":
                    reference("escalation_policy", "escalation_policies", "PESCAL01", "Default"),
                "teams": [],
                "priority": null,
                "urgency": self.urgency,
                "conference_bridge": null,
                "resolve_reason": null,
            }
        }})
    }
}

/// Posts the incident to `<ingress_url>/webhooks/pagerduty` once and returns the HTTP status.
///
/// # Errors
/// [`Error::Deliver`] when there was no answer, [`Error::EmptySecret`].
pub async fn deliver(
    ingress_url: &str,
    secret: &str,
    incident: &Incident,
) -> Result<http::StatusCode, Error> {
    let body = incident.body();
    deliver_raw(&runtime::http_client()?, ingress_url, secret, body).await
}

/// As [`deliver`], over a client and a body of the caller's: for load generators.
///
/// # Errors
/// As [`deliver`].
pub async fn deliver_raw(
    client: &reqwest::Client,
    ingress_url: &str,
    secret: &str,
    body: Vec<u8>,
) -> Result<http::StatusCode, Error> {
    let url = format!("{}{PATH}", ingress_url.trim_end_matches('/'));
    let signed = signature::pagerduty(secret, &body)?;
    let sending = client
        .post(&url)
        .header("content-type", "application/json")
        .header("user-agent", "PagerDuty-Webhook/V3.0")
        .header("x-pagerduty-signature", signed)
        .header("x-webhook-id", runtime::uuid())
        .header("x-webhook-subscription", "PTOCSIN")
        .body(body)
        .send();
    let answer = sending
        .await
        .map_err(|source| Error::Deliver { url, source })?;
    Ok(answer.status())
}
