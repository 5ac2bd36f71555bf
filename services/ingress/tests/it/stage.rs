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
use tocsin_kit::{
    Clock, Context, SecretList, settings::Bytes, settings::HttpListen, settings::Seconds,
};
use tocsin_testkit::standins::{http_client, signature};
use tocsin_testkit::{TestBus, eventually};
use tocsin_wire::proto::{Envelope, Event};
use tocsin_wire::{Service, Subject, rate};
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
        slack_app_token: SecretList::default(),
        slack_api_url: "http://127.0.0.1:9/api".to_owned(),
        sealing_key_file: None,
        trusted_proxies: Vec::new(),
        org_rate_tier: rate::DEFAULT,
        address_rate_tier: rate::DEFAULT,
        sns_certificates_dir: None,
        tolerance: Seconds::new(Duration::from_secs(300)),
        max_body_bytes: Bytes::new(25 << 20),
        header_timeout: Seconds::new(Duration::from_millis(500)),
        request_timeout: Seconds::new(Duration::from_secs(10)),
        close_delay: Seconds::new(Duration::from_millis(100)),
    }
}

fn with_secrets(all: ProviderSecrets, provider: &&Provider) -> ProviderSecrets {
    let scheme = &provider.schemes[0];
    let secrets = [SECRET, OLD_SECRET].map(|secret| signature::shown(scheme, secret));
    let secrets = secrets.join(",");
    all.with(provider, secrets.parse().expect("secrets"))
}

/// What is on EVENTS, in order, as the router would see it.
#[derive(Clone, Default)]
pub(crate) struct Stored(Arc<Mutex<Vec<(Subject, Envelope)>>>);

impl Stored {
    pub(crate) async fn follow(bus: &TestBus) -> Self {
        Self::follow_stream(bus, "EVENTS").await
    }

    pub(crate) async fn follow_stream(bus: &TestBus, stream: &'static str) -> Self {
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
                .consume((stream, "router"), 1, std::future::pending(), handler)
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
        Self::start_at(NOW, settings).await
    }

    /// Where ingress takes `now` (seconds) for the time.
    pub(crate) async fn start_at(now: i64, settings: Settings) -> Self {
        let clock = Clock::manual(Timestamp::from_second(now).expect("in range"));
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

    /// Signed as the path's provider usually signs, with `secret`.
    pub(crate) fn signed(&self, path: &str, secret: &str, body: &[u8]) -> RequestBuilder {
        self.message(path, secret, MESSAGE, body)
    }

    /// As [`Ingress::signed`], as the message with that id, where the scheme signs ids.
    pub(crate) fn message(
        &self,
        path: &str,
        secret: &str,
        id: &str,
        body: &[u8],
    ) -> RequestBuilder {
        let name = path.split('/').nth(2).expect("a provider's path");
        let provider = Provider::named(name).expect("a provider of the table");
        let signed = signature::headers(&provider.schemes[0], secret, NOW, id, body);
        let signed = signed.expect("signed").into_iter();
        signed.fold(
            self.post(path).body(body.to_vec()),
            |request, (name, value)| request.header(name, value),
        )
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
