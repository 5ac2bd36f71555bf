//! One running service with its servers.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tocsin_config::Settings;
use tocsin_kit::{Clock, Context, Stop, settings};
use tocsin_testkit::{Postgres, TestBus, eventually};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Longest wait for what should happen within milliseconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) const ADMIN: &str = "admin-secret";
pub(crate) const INTERNAL: &str = "internal-secret";

/// The servers; a service runs on them.
pub(crate) struct Servers {
    pub(crate) postgres: Postgres,
    pub(crate) bus: TestBus,
}

impl Servers {
    pub(crate) async fn start() -> Self {
        let (postgres, bus) = tokio::join!(Postgres::start_private(), TestBus::start());
        Self {
            postgres: postgres.expect("postgres"),
            bus: bus.expect("bus"),
        }
    }

    /// Settings with everything configured.
    pub(crate) fn settings(&self) -> Settings {
        self.settings_with(&[])
    }

    /// The same with more flags.
    pub(crate) fn settings_with(&self, more: &[&str]) -> Settings {
        let flags = [
            "--migrate",
            "--admin-token",
            ADMIN,
            "--token-pepper",
            "pepper",
            "--internal-service-secret",
            INTERNAL,
            "--impersonation-secret",
            "impersonation-secret",
            "--master-keys",
            crate::secrets::OLD_KEY,
            "--signing-key-file",
            "unused",
            "--signing-root-file",
            "unused",
            "--database-url",
            self.postgres.url(),
        ];
        let flags = flags.iter().chain(more).map(Into::into);
        let mut settings: Settings = settings::parse_service("config", flags).expect("settings");
        settings.bus = self.bus.settings();
        settings
    }

    pub(crate) async fn database(&self) -> PgConnection {
        let mut connection = PgConnection::connect(self.postgres.url())
            .await
            .expect("connects");
        sqlx::query("set search_path to config")
            .execute(&mut connection)
            .await
            .expect("sets");
        connection
    }
}

/// A running service.
pub(crate) struct Service {
    base: String,
    pub(crate) context: Context,
    pub(crate) clock: Clock,
    running: JoinHandle<()>,
}

impl Service {
    pub(crate) async fn start(settings: Settings) -> Self {
        let clock = Clock::manual("2026-03-01T12:00:00Z".parse::<Timestamp>().expect("time"));
        let context = Context::for_test("config")
            .expect("context")
            .with_clock(clock.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let base = format!("http://{}", listener.local_addr().expect("address"));
        let running = tokio::spawn({
            let context = context.clone();
            async move {
                Box::pin(tocsin_config::run_on(listener, settings, context))
                    .await
                    .expect("runs");
            }
        });
        Self {
            base,
            context,
            clock,
            running,
        }
    }

    /// Starts and waits until everything is there.
    pub(crate) async fn ready(settings: Settings) -> Self {
        let service = Self::start(settings).await;
        service.until_ready().await;
        service
    }

    pub(crate) async fn until_ready(&self) {
        eventually("the service to be ready", LIMIT, || async {
            let snapshot = self.context.health.snapshot();
            if snapshot.ready && snapshot.checks.len() == 3 {
                Ok(())
            } else {
                Err(format!("{:?}", snapshot.checks))
            }
        })
        .await;
    }

    /// Stops in order.
    pub(crate) async fn stop(self) {
        let Self {
            context, running, ..
        } = self;
        let stop: &Stop = &context.stop;
        stop.trigger_soft();
        running.await.expect("ends");
        context.tasks.wait(LIMIT).await.expect("tasks end");
        assert!(
            context.tasks.failure().is_none(),
            "{:?}",
            context.tasks.failure()
        );
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) async fn kill(self) {
        self.running.abort();
        self.context.stop.trigger_hard();
        let _aborted = self.context.tasks.wait(Duration::ZERO).await;
    }

    /// Where it listens, for clients of another make.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) async fn call(&self, request: Request<'_>) -> Answer {
        self.try_call(request).await.expect("answers")
    }

    /// `None` when the service ends before it has answered.
    pub(crate) async fn try_call(&self, request: Request<'_>) -> Option<Answer> {
        let url = format!("{}{}", self.base, request.path);
        let mut builder = self
            .context
            .http
            .request(request.method, &url)
            .expect("allowed");
        for (name, value) in request.headers {
            builder = builder.header(name, value);
        }
        if let Some(body) = request.body {
            builder = builder.body(body.to_string());
        }
        let response = builder.send().await.ok()?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.ok()?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Some(Answer {
            status,
            headers,
            body,
        })
    }

    /// As the admin, and it must succeed.
    pub(crate) async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let mut request = Request::new(method, path).bearer(ADMIN);
        request.body = body;
        let answer = self.call(request).await;
        assert!(answer.status.is_success(), "{path}: {answer:?}");
        answer.body
    }

    /// Org `acme` with teams `sre` and `web`, and org `umbrella` with team `ops`.
    pub(crate) async fn seed(&self) {
        for (org, teams) in [("acme", vec!["sre", "web"]), ("umbrella", vec!["ops"])] {
            let body = json!({"org_id": org, "name": org.to_uppercase()});
            self.admin(Method::POST, "/api/v1/admin/orgs", Some(body))
                .await;
            for team in teams {
                let path = format!("/api/v1/admin/orgs/{org}/teams/{team}");
                self.admin(Method::POST, &path, None).await;
            }
        }
    }

    pub(crate) async fn patch(&self, org: &str, node: &str, patch: Value) -> Answer {
        let path = config_path(org, node);
        self.call(
            Request::new(Method::PUT, &path)
                .bearer(ADMIN)
                .json(json!({"patch": patch})),
        )
        .await
    }

    pub(crate) async fn token(&self, org: &str, team: &str, body: Option<Value>) -> Issued {
        let path = format!("/api/v1/admin/orgs/{org}/teams/{team}/tokens");
        let issued = self.admin(Method::POST, &path, body).await;
        let text = |name: &str| issued[name].as_str().expect(name).to_owned();
        Issued {
            token: text("token"),
            id: text("token_id"),
        }
    }
}

pub(crate) fn config_path(org: &str, node: &str) -> String {
    format!("/api/v1/admin/orgs/{org}/nodes/{node}/config")
}

pub(crate) struct Issued {
    pub(crate) token: String,
    pub(crate) id: String,
}

pub(crate) struct Request<'a> {
    method: Method,
    path: &'a str,
    headers: Vec<(&'a str, String)>,
    body: Option<Value>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(method: Method, path: &'a str) -> Self {
        Self {
            method,
            path,
            headers: Vec::new(),
            body: None,
        }
    }

    pub(crate) fn header(mut self, name: &'a str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn json(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// Status and code of a problem.
    pub(crate) fn problem(&self) -> (u16, &str) {
        let code = self.body["code"].as_str().unwrap_or_default();
        (self.status.as_u16(), code)
    }
}
