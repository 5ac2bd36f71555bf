//! Tenants, made through config's HTTP API as anybody would.

use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use tocsin_testkit::eventually;
use tocsin_wire::Service;

use super::Stack;

const ORG: &str = "acme";
/// Workspace of the stand-in Slack.
const WORKSPACE: &str = "T0TOCSIN";
/// Requests at once.
const PARALLEL: usize = 8;
/// How long changes may take from config to the router; they take milliseconds.
const ROUTABLE_LIMIT: Duration = Duration::from_secs(30);

/// A team with a channel and a PagerDuty service of its own.
#[derive(Debug, Clone)]
pub struct Team {
    /// Its org.
    pub org: String,
    /// Its id.
    pub name: String,
    /// Slack channel, where its alerts are answered.
    pub channel: String,
    /// What routes its alerts.
    pub pagerduty_service: String,
    /// What routes its builds.
    pub repository: String,
}

impl Team {
    fn numbered(number: usize) -> Self {
        Self {
            org: ORG.to_owned(),
            name: format!("team-{number}"),
            channel: format!("C0TEAM{number:04}"),
            pagerduty_service: format!("PTEAM{number:04}"),
            repository: format!("acme/service-{number}"),
        }
    }

    fn config(&self, is_first: bool) -> Value {
        let mut config = json!({
            "routing": {
                "pagerduty_service_ids": [self.pagerduty_service],
                "slack_channel_ids": [self.channel],
                "github_repos": [self.repository],
            },
            "notifications": { "default_slack_channel_id": self.channel },
        });
        if is_first && let Some(routing) = config.pointer_mut("/routing") {
            merge(routing, "slack_workspace_ids", json!([WORKSPACE]));
        }
        config
    }
}

fn merge(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

impl Stack {
    /// Makes an org with `count` teams and waits until the router knows them all.
    ///
    /// # Errors
    /// When config refuses.
    ///
    /// # Panics
    /// When the router does not learn of them in time.
    pub async fn seed_teams(&self, count: usize) -> anyhow::Result<Vec<Team>> {
        let teams: Vec<Team> = (1..=count).map(Team::numbered).collect();
        self.admin("POST", "orgs", &json!({ "org_id": ORG, "name": "Acme" }))
            .await?;
        let numbered = teams.iter().enumerate();
        let made = futures::stream::iter(numbered).map(|(index, team)| async move {
            self.slack.add_channel(&team.channel, &team.name);
            let path = format!("orgs/{ORG}/teams/{}", team.name);
            let body = json!({ "name": team.name });
            self.admin("POST", &path, &body).await?;
            let path = format!("orgs/{ORG}/nodes/{}/config", team.name);
            let body = json!({ "patch": team.config(index == 0) });
            self.admin("PUT", &path, &body).await.map(drop)
        });
        made.buffer_unordered(PARALLEL)
            .try_collect::<Vec<()>>()
            .await?;
        self.wait_until_routed(&teams).await?;
        Ok(teams)
    }

    async fn wait_until_routed(&self, teams: &[Team]) -> anyhow::Result<()> {
        let bus = self.operator().await?;
        eventually("the router knows every team", ROUTABLE_LIMIT, || async {
            for team in teams {
                let question = json!({ "identifiers": {
                    "pagerduty_service_id": team.pagerduty_service,
                }});
                let answer = bus.ask(Service::Router, "explain", &question).await?;
                let owner = answer.pointer("/owner/team").and_then(Value::as_str);
                anyhow::ensure!(owner == Some(team.name.as_str()), "{}: {answer}", team.name);
            }
            anyhow::Ok(())
        })
        .await;
        Ok(())
    }

    /// One request to config's admin API, below `/api/v1/admin/`.
    ///
    /// # Errors
    /// When config does not answer 2xx.
    pub async fn admin(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}/api/v1/admin/{path}", self.config_url());
        let request = self.http.request(method.parse()?, &url);
        let request = request.bearer_auth(&self.secrets.admin).json(body);
        let answer = request
            .send()
            .await
            .with_context(|| format!("{method} {url}"))?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("{method} {url}: {status}: {text}");
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}
