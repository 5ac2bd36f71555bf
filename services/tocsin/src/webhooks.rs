//! Webhooks as their senders make them: bodies and signatures.

use hmac::{Hmac, KeyInit, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tocsin_wire::signing::hex;

use crate::error::CommandError;

/// A request that is ready to be sent.
pub(crate) struct Webhook {
    /// Below the ingress URL.
    pub(crate) path: &'static str,
    /// Headers, signature included.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Body.
    pub(crate) body: Vec<u8>,
    /// The provider's id of this delivery.
    pub(crate) delivery_id: String,
    /// From which ingress derives the event's id.
    pub(crate) delivery_key: String,
}

fn mac(secret: &str, parts: &[&[u8]]) -> Result<String, CommandError> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes())
        .map_err(|_| CommandError::Sign)?;
    for part in parts {
        mac.update(part);
    }
    Ok(hex(&mac.finalize().into_bytes()))
}

/// What a PagerDuty incident says.
pub(crate) struct Incident<'a> {
    pub(crate) event_id: &'a str,
    pub(crate) incident_id: &'a str,
    pub(crate) title: &'a str,
    pub(crate) service_id: &'a str,
    pub(crate) urgency: &'a str,
    pub(crate) at: jiff::Timestamp,
}

pub(crate) fn pagerduty(secret: &str, incident: &Incident<'_>) -> Result<Webhook, CommandError> {
    let Incident {
        event_id,
        incident_id,
        title,
        service_id,
        urgency,
        at,
    } = incident;
    let site = "https://demo.pagerduty.com";
    let body = json!({ "event": {
        "id": event_id,
        "event_type": "incident.triggered",
        "resource_type": "incident",
        "occurred_at": at.to_string(),
        "agent": null,
        "client": { "name": "tocsin send" },
        "data": {
            "id": incident_id,
            "type": "incident",
            "html_url": format!("{site}/incidents/{incident_id}"),
            "number": 1,
            "status": "triggered",
            "incident_key": format!("{service_id}/{incident_id}"),
            "created_at": at.to_string(),
            "title": title,
            "service": {
                "id": service_id,
                "summary": service_id,
                "html_url": format!("{site}/services/{service_id}"),
                "type": "service_reference"
            },
            "assignees": [],
            "teams": [],
            "priority": null,
            "urgency": urgency,
        }
    }})
    .to_string()
    .into_bytes();
    let signature = format!("v1={}", mac(secret, &[&body])?);
    Ok(Webhook {
        path: "/webhooks/pagerduty",
        headers: vec![
            ("content-type", "application/json".to_owned()),
            ("user-agent", "PagerDuty-Webhook/V3.0".to_owned()),
            ("x-pagerduty-signature", signature),
        ],
        body,
        delivery_id: (*event_id).to_owned(),
        delivery_key: format!("pagerduty:shared:{event_id}"),
    })
}

/// What is said to the bot in Slack.
pub(crate) struct Mention<'a> {
    pub(crate) event_id: &'a str,
    pub(crate) workspace: &'a str,
    pub(crate) channel: &'a str,
    pub(crate) text: &'a str,
    pub(crate) at: jiff::Timestamp,
}

pub(crate) fn slack(secret: &str, mention: &Mention<'_>) -> Result<Webhook, CommandError> {
    let Mention {
        event_id,
        workspace,
        channel,
        text,
        at,
    } = mention;
    let seconds = at.as_second();
    let stamp = format!("{seconds}.{:06}", at.subsec_microsecond());
    let body: Value = json!({
        "type": "event_callback",
        "team_id": workspace,
        "api_app_id": "A0TOCSIN",
        "event": {
            "type": "app_mention",
            "user": "U0OPERATOR",
            "text": format!("<@U0TOCSIN> {text}"),
            "ts": stamp,
            "event_ts": stamp,
            "channel": channel
        },
        "event_id": event_id,
        "event_time": seconds,
        "authorizations": [{ "team_id": workspace, "user_id": "U0TOCSIN", "is_bot": true }]
    });
    let body = body.to_string().into_bytes();
    let timestamp = seconds.to_string();
    let signature = format!(
        "v0={}",
        mac(secret, &[b"v0:", timestamp.as_bytes(), b":", &body])?
    );
    Ok(Webhook {
        path: "/webhooks/slack/events",
        headers: vec![
            ("content-type", "application/json".to_owned()),
            ("x-slack-request-timestamp", timestamp),
            ("x-slack-signature", signature),
        ],
        body,
        delivery_id: (*event_id).to_owned(),
        delivery_key: format!("slack:shared:{event_id}"),
    })
}

/// A workflow that failed.
pub(crate) struct FailedWorkflow<'a> {
    pub(crate) delivery: &'a str,
    pub(crate) repository: &'a str,
    pub(crate) workflow: &'a str,
    pub(crate) run_number: u64,
    pub(crate) at: jiff::Timestamp,
}

pub(crate) fn github(secret: &str, run: &FailedWorkflow<'_>) -> Result<Webhook, CommandError> {
    let FailedWorkflow {
        delivery,
        repository,
        workflow,
        run_number,
        at,
    } = run;
    let owner = repository.split('/').next().unwrap_or_default();
    let body = json!({
        "action": "completed",
        "workflow_run": {
            "id": run_number,
            "name": workflow,
            "head_branch": "main",
            "head_sha": "4f1c2d3e5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d",
            "run_number": run_number,
            "event": "push",
            "status": "completed",
            "conclusion": "failure",
            "html_url": format!("https://github.com/{repository}/actions/runs/{run_number}"),
            "pull_requests": [],
            "created_at": at.to_string(),
            "updated_at": at.to_string()
        },
        "repository": {
            "id": 1,
            "full_name": repository,
            "html_url": format!("https://github.com/{repository}"),
            "owner": { "login": owner }
        },
        "sender": { "login": "octocat", "id": 583_231, "type": "User" }
    })
    .to_string()
    .into_bytes();
    let signature = format!("sha256={}", mac(secret, &[&body])?);
    Ok(Webhook {
        path: "/webhooks/github",
        headers: vec![
            ("content-type", "application/json".to_owned()),
            ("user-agent", "GitHub-Hookshot/tocsin".to_owned()),
            ("x-github-event", "workflow_run".to_owned()),
            ("x-github-delivery", (*delivery).to_owned()),
            ("x-hub-signature-256", signature),
        ],
        body,
        delivery_id: (*delivery).to_owned(),
        delivery_key: format!("github:shared:{delivery}"),
    })
}

/// A UUID of random bytes, as GitHub's delivery ids look.
pub(crate) fn uuid(random: [u8; 32]) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(random.split_at(16).0);
    uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .to_string()
}
