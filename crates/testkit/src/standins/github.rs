//! Sends GitHub webhooks, signed as GitHub signs them.

use serde_json::{Value, json};

use super::{Error, runtime, signature};

/// Where deliveries go below the ingress URL.
pub const PATH: &str = "/webhooks/github";

/// One delivery: GitHub never retries by itself, so a repeat is a redelivery under the same id.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// `X-GitHub-Event`: `push`, `workflow_run` …
    pub event: String,
    /// `X-GitHub-Delivery`, a GUID; a manual redelivery keeps it.
    pub delivery_id: String,
    /// The raw body: what is signed is what is sent.
    pub body: Vec<u8>,
}

impl Delivery {
    /// Any event with a fresh delivery id.
    pub fn new(event: &str, payload: &Value) -> Delivery {
        Delivery {
            event: event.to_owned(),
            delivery_id: runtime::uuid(),
            body: payload.to_string().into_bytes(),
        }
    }

    /// A failed `workflow_run` of `repository` (`owner/name`): the one that starts an investigation.
    pub fn workflow_failed(repository: &str, workflow: &str) -> Delivery {
        let owner = repository.split('/').next().unwrap_or_default();
        let url = format!("https://github.com/{repository}");
        let payload = json!({
            "action": "completed",
            "workflow_run": {
                "id": 30_433_642, "name": workflow, "head_branch": "main",
                "head_sha": "acb5820ced9479c074f688cc328bf03f341a511d", "event": "push",
                "status": "completed", "conclusion": "failure",
                "html_url": format!("{url}/actions/runs/30433642"),
                "updated_at": runtime::now_rfc3339(), "pull_requests": [],
            },
            "workflow": {"id": 159_038, "name": workflow, "state": "active"},
            "repository": {
                "id": 217_723_378, "name": repository.rsplit('/').next().unwrap_or_default(),
                "full_name": repository, "private": false, "html_url": url,
                "owner": {"login": owner, "type": "Organization"},
            },
            "organization": {"login": owner},
            "sender": {"login": "octocat", "id": 583_231, "type": "User"},
        });
        Delivery::new("workflow_run", &payload)
    }
}

/// Posts to `<ingress_url>/webhooks/github` once and returns the HTTP status.
///
/// # Errors
/// [`Error::Deliver`] when there was no answer, [`Error::EmptySecret`].
pub async fn deliver(
    ingress_url: &str,
    secret: &str,
    delivery: &Delivery,
) -> Result<http::StatusCode, Error> {
    deliver_with(&runtime::http_client()?, ingress_url, secret, delivery).await
}

/// As [`deliver`], over a client of the caller's: for load generators.
///
/// # Errors
/// As [`deliver`].
pub async fn deliver_with(
    client: &reqwest::Client,
    ingress_url: &str,
    secret: &str,
    delivery: &Delivery,
) -> Result<http::StatusCode, Error> {
    let url = format!("{}{PATH}", ingress_url.trim_end_matches('/'));
    let signed = signature::github(secret, &delivery.body)?;
    let sending = client
        .post(&url)
        .header("content-type", "application/json")
        .header("user-agent", "GitHub-Hookshot/044aadd")
        .header("x-github-event", &delivery.event)
        .header("x-github-delivery", &delivery.delivery_id)
        .header("x-github-hook-id", "292430182")
        .header("x-hub-signature-256", signed)
        .body(delivery.body.clone())
        .send();
    let answer = sending
        .await
        .map_err(|source| Error::Deliver { url, source })?;
    Ok(answer.status())
}
