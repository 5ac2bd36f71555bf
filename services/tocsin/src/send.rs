//! `tocsin send …`: a real, signed webhook over HTTP.

use jiff::Timestamp;
use tocsin_kit::http_client::{HttpClient, Timeouts};
use tocsin_kit::settings::SecretList;
use tocsin_wire::ids::EventId;

use crate::cli::{Send, Target};
use crate::error::CommandError;
use crate::random;
use crate::run::{now, print};
use crate::webhooks::{self, FailedWorkflow, Incident, Mention, Webhook};

pub(crate) async fn run(command: Send) -> Result<(), CommandError> {
    let at = now()();
    let (target, webhook) = match command {
        Send::Pagerduty {
            title,
            service_id,
            urgency,
            event_id,
            target,
            secret,
        } => {
            let secret = first(&secret, "PAGERDUTY_WEBHOOK_SECRET")?;
            let event_id = event_id.map_or_else(
                || Ok(format!("01{}", random::id(24)?)),
                Ok::<_, CommandError>,
            )?;
            let incident_id = format!("Q{}", random::id(13)?);
            let incident = Incident {
                event_id: &event_id,
                incident_id: &incident_id,
                title: &title,
                service_id: &service_id,
                urgency: &urgency,
                at,
            };
            (target, webhooks::pagerduty(secret, &incident)?)
        }
        Send::Slack {
            text,
            channel,
            workspace,
            target,
            secret,
        } => {
            let secret = first(&secret, "SLACK_SIGNING_SECRET")?;
            let event_id = format!("Ev{}", random::id(9)?);
            let mention = Mention {
                event_id: &event_id,
                workspace: &workspace,
                channel: &channel,
                text: &text,
                at,
            };
            (target, webhooks::slack(secret, &mention)?)
        }
        Send::Github {
            repository,
            workflow,
            target,
            secret,
        } => {
            let secret = first(&secret, "GITHUB_WEBHOOK_SECRET")?;
            let delivery = webhooks::uuid(random::bytes()?);
            let run = FailedWorkflow {
                delivery: &delivery,
                repository: &repository,
                workflow: &workflow,
                run_number: run_number(at),
                at,
            };
            (target, webhooks::github(secret, &run)?)
        }
    };
    deliver(&target, webhook).await
}

fn run_number(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or_default()
}

fn first<'a>(secrets: &'a SecretList, name: &'static str) -> Result<&'a str, CommandError> {
    secrets
        .first()
        .map(|secret| secret.expose())
        .ok_or(CommandError::NoSecret(name))
}

async fn deliver(target: &Target, webhook: Webhook) -> Result<(), CommandError> {
    let url = format!(
        "{}{}",
        target.ingress_url.trim_end_matches('/'),
        webhook.path
    );
    let client = HttpClient::trusted(Timeouts::default())
        .map_err(|error| CommandError::Http(error.into()))?;
    let mut request = client.post(&url).map_err(|error| CommandError::Url {
        url: url.clone(),
        source: error.into(),
    })?;
    for (name, value) in webhook.headers {
        request = request.header(name, value);
    }
    let began = tokio::time::Instant::now();
    let answer = request.body(webhook.body).send().await;
    let answer = answer.map_err(|source| CommandError::Unreachable {
        url: url.clone(),
        source,
    })?;
    let took = began.elapsed();
    let status = answer.status().as_u16();
    if !answer.status().is_success() {
        let body = answer.text().await.unwrap_or_default();
        return Err(CommandError::Refused { url, status, body });
    }
    let event = EventId::derive(&webhook.delivery_key);
    print(&format!(
        "accepted in {:.1} ms: delivery {}\nevent {event}\nfollow it: tocsin events show {event} --wait\n",
        took.as_secs_f64() * 1_000.0,
        webhook.delivery_id
    ))
}
