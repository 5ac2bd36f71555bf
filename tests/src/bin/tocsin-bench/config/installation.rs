//! Config as a process with its servers, and a large installation in it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tocsin_testkit::{Postgres, ReservedPort, TestBus, eventually, standins};
use tokio::time::Instant;

use super::Size;
use crate::process::{self, Service};

pub(super) const ADMIN: &str = "bench-admin";
pub(super) const INTERNAL: &str = "bench-internal";

/// Units in each org.
const UNITS: usize = 10;
/// Identifiers of each team.
const IDENTIFIERS: usize = 10;
/// Agents of each org, and how long their prompts are: together the 26 KB of an effective config.
const AGENTS: usize = 10;
const PROMPT_BYTES: usize = 2_400;
/// Orgs that are loaded at a time.
const LOADING: usize = 4;
/// A bulk of this size is published within seconds; a failing relay never ends.
const PUBLISH_LIMIT: Duration = Duration::from_secs(180);
/// Snapshots of ten thousand teams take half a gigabyte.
const STREAM_SIZE_FACTOR: u32 = 10;

pub(super) struct Installation {
    pub(super) bus: TestBus,
    pub(super) address: SocketAddr,
    _port: ReservedPort,
    pub(super) config: Service,
    client: reqwest::Client,
    postgres: Postgres,
}

/// How long a bulk took.
pub(super) struct Loaded {
    pub(super) answered: Duration,
    /// From the last answer until the outbox was empty.
    pub(super) published: Duration,
}

impl Installation {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let bus = TestBus::start_sized(STREAM_SIZE_FACTOR).await?;
        let postgres = Postgres::start_private().await?;
        let port = ReservedPort::take()?;
        let address = port.address();
        let environment = [
            ("CONFIG_LISTEN", address.to_string()),
            ("DATABASE_URL", postgres.url().to_owned()),
            ("MIGRATE", "true".to_owned()),
            ("ADMIN_TOKEN", ADMIN.to_owned()),
            ("TOKEN_PEPPER", "bench-pepper".to_owned()),
            ("INTERNAL_SERVICE_SECRET", INTERNAL.to_owned()),
        ];
        let config = process::start(&bus, "config", &environment).await?;
        Ok(Self {
            bus,
            address,
            _port: port,
            config,
            client: standins::http_client()?,
            postgres,
        })
    }

    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let url = format!("http://{}/api/v1/admin/{path}", self.address);
        let mut request = self.client.request(method, &url).bearer_auth(ADMIN);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        anyhow::ensure!(status.is_success(), "{path}: {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// Every org with its units and teams, one bulk each.
    pub(super) async fn load(&self, size: Size) -> anyhow::Result<Loaded> {
        let began = Instant::now();
        futures::stream::iter(0..size.orgs)
            .map(|org| self.load_org(org, size.teams))
            .buffer_unordered(LOADING)
            .try_collect::<()>()
            .await?;
        let answered = began.elapsed();
        eventually("the outbox is empty", PUBLISH_LIMIT, || async {
            let mut database = PgConnection::connect(self.postgres.url()).await?;
            let waiting: i64 = sqlx::query_scalar("select count(*) from config.outbox")
                .fetch_one(&mut database)
                .await?;
            anyhow::ensure!(waiting == 0, "{waiting} messages wait");
            anyhow::Ok(())
        })
        .await;
        Ok(Loaded {
            answered,
            published: began.elapsed().saturating_sub(answered),
        })
    }

    async fn load_org(&self, org: usize, teams: usize) -> anyhow::Result<()> {
        let id = format!("org-{org}");
        let mut changes = vec![json!({
            "op": "create", "node_id": id, "node_type": "org", "config": { "agents": agents() }
        })];
        for unit in 0..UNITS {
            changes.push(json!({
                "op": "create", "node_id": format!("unit-{unit}"), "parent_id": id, "node_type": "unit",
                "config": { "x_unit": { "number": unit } }
            }));
        }
        for team in 0..teams {
            let services: Vec<String> = (0..IDENTIFIERS)
                .map(|number| format!("svc-{team}-{number}"))
                .collect();
            changes.push(json!({
                "op": "create", "node_id": format!("team-{team}"), "parent_id": format!("unit-{}", team % UNITS),
                "node_type": "team",
                "config": { "routing": { "services": services }, "x_bench": { "number": 0 } }
            }));
        }
        let body = json!({ "changes": changes });
        let path = format!("orgs/{id}/bulk");
        self.call(Method::POST, &path, Some(body)).await?;
        Ok(())
    }

    /// A token for each of the first `count` teams.
    pub(super) async fn tokens(
        &self,
        size: Size,
        count: usize,
    ) -> anyhow::Result<std::sync::Arc<Vec<String>>> {
        let mut tokens = Vec::with_capacity(count);
        for index in 0..u64::try_from(count)?.min(size.all()) {
            let (org, team) = size.team(index);
            let path = format!("orgs/org-{org}/teams/team-{team}/tokens");
            let issued = self.call(Method::POST, &path, Some(json!({}))).await?;
            let token = issued.get("token").and_then(Value::as_str);
            tokens.push(token.context("no token was issued")?.to_owned());
        }
        Ok(std::sync::Arc::new(tokens))
    }

    /// Of one team, as it is sent.
    pub(super) async fn effective_bytes(&self) -> anyhow::Result<usize> {
        let path = "orgs/org-0/nodes/team-0/effective";
        let effective = self.call(Method::GET, path, None).await?;
        Ok(effective.to_string().len())
    }
}

/// Each looks into one part of a system, with a prompt as long as people write them.
fn agents() -> Value {
    let sentence = "Say what you saw, where you saw it, and how sure you are. ";
    let prompt = sentence.repeat(PROMPT_BYTES / sentence.len());
    let agent = |number: usize| {
        let agent = json!({ "enabled": true, "name": format!("Part {number}"), "prompt": { "system": prompt } });
        (format!("part-{number}"), agent)
    };
    Value::Object((0..AGENTS).map(agent).collect())
}
