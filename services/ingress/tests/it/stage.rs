//! An ingress, a bus, and senders that sign.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::RequestBuilder;
use tocsin_bus::{BusSettings, Outcome};
use tocsin_ingress::provider::{self, Provider};
use tocsin_ingress::settings::ProviderSecrets;
use tocsin_ingress::{Settings, run_on};
use tocsin_kit::{Clock, Context, settings::Bytes, settings::HttpListen, settings::Seconds};
use tocsin_testkit::standins::{http_client, signature};
use tocsin_testkit::{TestBus, eventually};
use tocsin_wire::proto::{Envelope, Event};
use tocsin_wire::scheme::Scheme;
use tocsin_wire::{Service, Subject};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Long enough for a loaded machine; a passing test never waits for it.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
pub(crate) const SECRET: &str = "a signing secret";
pub(crate) const OLD_SECRET: &str = "the one before";
/// Of messages whose id does not matter.
const MESSAGE: &str = "msg_test";
/// What ingress takes for the time.
pub(crate) const NOW: i64 = 1_767_323_045;

pub(crate) struct Ingress {
    pub(crate) address: SocketAddr,
    pub(crate) context: Context,
    pub(crate) client: reqwest::Client,
    pub(crate) running: JoinHandle<Result<(), tocsin_ingress::Error>>,
}

pub(crate) fn settings(bus: BusSettings) -> Settings {
    Settings {
        bus,
        listen: HttpListen::loopback(),
        tls_cert: None,
        tls_key: None,
        secrets: provider::ALL
            .iter()
            .fold(ProviderSecrets::default(), with_secrets),
        tolerance: Seconds::new(Duration::from_secs(300)),
        max_body_bytes: Bytes::new(1 << 20),
        header_timeout: Seconds::new(Duration::from_millis(500)),
        request_timeout: Seconds::new(Duration::from_secs(10)),
        close_delay: Seconds::new(Duration::from_millis(100)),
    }
}

fn with_secrets(all: ProviderSecrets, provider: &&Provider) -> ProviderSecrets {
    let shown = |secret| match provider.schemes.first() {
        Some(Scheme::StandardWebhooks) => signature::standard_webhooks_secret(secret),
        _ => secret.to_owned(),
    };
    let secrets = [SECRET, OLD_SECRET].map(shown).join(",");
    all.with(provider, secrets.parse().expect("secrets"))
}

/// What is on EVENTS, in order, as the router would see it.
#[derive(Clone, Default)]
pub(crate) struct Stored(Arc<Mutex<Vec<(Subject, Envelope)>>>);

impl Stored {
    pub(crate) async fn follow(bus: &TestBus) -> Self {
        let router = bus.connect(Service::Router).await.expect("connected");
        let stored = Self::default();
        let seen = stored.clone();
        spawn(async move {
            let handler = move |delivery: tocsin_bus::Delivery| {
                let mut all = seen.0.lock().expect("not poisoned");
                all.push((delivery.subject, delivery.envelope));
                async { Outcome::Done }
            };
            router
                .consume(("EVENTS", "router"), 1, std::future::pending(), handler)
                .await
        });
        stored
    }

    pub(crate) fn events(&self) -> Vec<(Subject, Envelope)> {
        self.0.lock().expect("not poisoned").clone()
    }

    /// Waits until this many are there.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<(Subject, Envelope)> {
        eventually("the events are stored", LIMIT, || async {
            let events = self.events();
            if events.len() >= count {
                Ok(events)
            } else {
                Err(format!("{}", events.len()))
            }
        })
        .await
    }
}

pub(crate) fn event(envelope: &Envelope) -> &Event {
    envelope.event().expect("an event")
}

impl Ingress {
    /// Starts it and waits until it has its bus.
    pub(crate) async fn start(bus: &TestBus) -> Self {
        let ingress = Self::start_with(settings(bus.settings())).await;
        eventually("ingress is ready", LIMIT, || async { ingress.is_ready() }).await;
        ingress
    }

    pub(crate) async fn start_with(settings: Settings) -> Self {
        let clock = Clock::manual(Timestamp::from_second(NOW).expect("in range"));
        let context = Context::for_test("ingress")
            .expect("context")
            .with_clock(clock);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let running = spawn(Box::pin(run_on(listener, settings, context.clone())));
        let client = http_client().expect("client");
        Self {
            address,
            context,
            client,
            running,
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        let checks = self.context.health.snapshot().checks;
        checks.get("nats").is_some_and(|check| check.ready)
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("http://{}{path}", self.address))
    }

    /// A Standard Webhooks message with that id; the id is part of what is signed.
    pub(crate) fn message(
        &self,
        request: RequestBuilder,
        secret: &str,
        id: &str,
        body: &[u8],
    ) -> RequestBuilder {
        let signed = signature::standard_webhooks(secret, id, NOW, body).expect("signed");
        request
            .header("webhook-id", id)
            .header("webhook-timestamp", NOW)
            .header("webhook-signature", signed)
    }

    /// Signed as the path's provider signs, with `secret`.
    pub(crate) fn signed(&self, path: &str, secret: &str, body: &[u8]) -> RequestBuilder {
        let request = self.post(path).body(body.to_vec());
        match path.split('/').nth(2) {
            Some("slack") => request.header("x-slack-request-timestamp", NOW).header(
                "x-slack-signature",
                signature::slack(secret, NOW, body).expect("signed"),
            ),
            Some("github") => request.header(
                "x-hub-signature-256",
                signature::github(secret, body).expect("signed"),
            ),
            Some("incidentio") => self.message(request, secret, MESSAGE, body),
            _ => request.header(
                "x-pagerduty-signature",
                signature::pagerduty(secret, body).expect("signed"),
            ),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has no service's tasks")]
pub(crate) fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(future)
}

pub(crate) fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(name)).expect("a fixture")
}

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/webhooks")
}
