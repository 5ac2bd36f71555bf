//! `tocsin demo seed`: a first organisation and team, made through config's HTTP API as anybody would.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tocsin_kit::http_client::{HttpClient, Timeouts};
use tocsin_wire::KeyToken;

use crate::cli::DemoSeed;
use crate::error::CommandError;
use crate::run::{operator_bus, print};

/// Identifiers that the stand-ins send, too.
pub(crate) const PAGERDUTY_SERVICE: &str = "PCHECKOUT";
pub(crate) const SLACK_CHANNEL: &str = "C0INCIDENTS";
pub(crate) const SLACK_WORKSPACE: &str = "T0TOCSIN";
pub(crate) const GITHUB_REPOSITORY: &str = "tocsin-demo/checkout";

const ORG: &str = "demo";
const TEAM: &str = "checkout";

/// How long config's changes may take to the bucket; they take milliseconds.
const ROUTABLE_LIMIT: Duration = Duration::from_secs(20);
/// Between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

fn team_config() -> Value {
    json!({
        "routing": {
            "pagerduty_service_ids": [PAGERDUTY_SERVICE],
            "slack_channel_ids": [SLACK_CHANNEL],
            "slack_workspace_ids": [SLACK_WORKSPACE],
            "github_repos": [GITHUB_REPOSITORY],
            "services": ["checkout-api"]
        },
        "notifications": { "default_slack_channel_id": SLACK_CHANNEL }
    })
}

pub(crate) async fn seed(command: DemoSeed) -> Result<(), CommandError> {
    let client = HttpClient::trusted(Timeouts::default())
        .map_err(|error| CommandError::Http(error.into()))?;
    let config = Config {
        client,
        base: command.config_url.clone(),
        token: command.admin_token.expose(),
    };
    config
        .create(
            "orgs",
            json!({ "org_id": ORG, "name": "Demo organisation" }),
        )
        .await?;
    config
        .create(
            &format!("orgs/{ORG}/teams/{TEAM}"),
            json!({ "name": "Checkout" }),
        )
        .await?;
    let path = format!("orgs/{ORG}/nodes/{TEAM}/config");
    config
        .call(Method::PUT, &path, json!({ "patch": team_config() }), &[])
        .await?;

    let bus = operator_bus(&command.bus).await?;
    let routing = bus.bucket("routing");
    let key = format!(
        "pagerduty_service_id.{}",
        KeyToken::encode(PAGERDUTY_SERVICE)
    );
    let deadline = tokio::time::Instant::now() + ROUTABLE_LIMIT;
    while !matches!(routing.get(&key).await, Ok(Some(_))) {
        if tokio::time::Instant::now() > deadline {
            return Err(CommandError::TimedOut(format!(
                "{key} is not in the bucket `routing` after {} s; is config's outbox moving?",
                ROUTABLE_LIMIT.as_secs()
            )));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    print(&format!(
        "org {ORG}, team {TEAM}: PagerDuty service {PAGERDUTY_SERVICE}, Slack channel {SLACK_CHANNEL}, \
         repository {GITHUB_REPOSITORY}\n"
    ))
}

struct Config<'a> {
    client: HttpClient,
    base: String,
    token: &'a str,
}

impl Config<'_> {
    /// What exists already is as good as made.
    async fn create(&self, path: &str, body: Value) -> Result<(), CommandError> {
        self.call(Method::POST, path, body, &[409]).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Value,
        also_fine: &[u16],
    ) -> Result<(), CommandError> {
        let url = format!("{}/api/v1/admin/{path}", self.base.trim_end_matches('/'));
        let request = self
            .client
            .request(method, &url)
            .map_err(|error| CommandError::Url {
                url: url.clone(),
                source: error.into(),
            })?;
        let answer = request.bearer_auth(self.token).json(&body).send().await;
        let answer = answer.map_err(|source| CommandError::Unreachable {
            url: url.clone(),
            source,
        })?;
        let status = answer.status();
        if status.is_success() || also_fine.contains(&status.as_u16()) {
            return Ok(());
        }
        let body = answer.text().await.unwrap_or_default();
        Err(CommandError::Refused {
            url,
            status: status.as_u16(),
            body,
        })
    }
}
