//! An ingress, a bus, and senders that sign.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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
        secrets: provider::ALL
            .iter()
            .fold(ProviderSecrets::default(), with_secrets),
        sealing_key_file: None,
        trusted_proxies: Vec::new(),
        tolerance: Seconds::new(Duration::from_secs(300)),
        max_body_bytes: Bytes::new(1 << 20),
        header_timeout: Seconds::new(Duration::from_millis(500)),
        request_timeout: Seconds::new(Duration::from_secs(10)),
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
        let headers = message(secret, id, body).into_iter();
        headers.fold(request, |request, (name, value)| {
            request.header(name, value)
        })
    }

    /// Signed as the path's provider usually signs, with `secret`.
    pub(crate) fn signed(&self, path: &str, secret: &str, body: &[u8]) -> RequestBuilder {
        let mut request = self.post(path).body(body.to_vec());
        let name = path.split('/').nth(2).expect("/webhooks/<provider>");
        let provider = Provider::named(name).expect("a provider of the table");
        for (name, value) in proof(&provider.schemes[0], secret, body) {
            request = request.header(name, value);
        }
        request
    }
}

/// The headers by which a scheme proves a body at [`NOW`].
pub(crate) fn proof(scheme: &Scheme, secret: &str, body: &[u8]) -> Vec<(String, String)> {
    let one = |name: &str, value: String| vec![(name.to_owned(), value)];
    let now = NOW.to_string();
    match scheme {
        Scheme::Hmac(hmac) => {
            let time = hmac.timestamp.as_ref();
            let before = time.map_or(String::new(), |time| {
                format!("{}{now}{}", time.before, time.after)
            });
            let text = [before.as_bytes(), body].concat();
            let signed = signature::github(secret, &text).expect("signed");
            let digits = signed.trim_start_matches("sha256=");
            let mut headers = one(&hmac.header, format!("{}{digits}", hmac.prefix));
            headers.extend(time.map(|time| (time.header.to_string(), now)));
            headers
        }
        Scheme::StandardWebhooks => message(secret, MESSAGE, body),
        Scheme::Stripe { header } => {
            let text = [format!("{now}.").as_bytes(), body].concat();
            let signed = signature::github(secret, &text).expect("signed");
            let digits = signed.trim_start_matches("sha256=");
            one(header, format!("t={now},v1={digits}"))
        }
        Scheme::Token { header } => one(header, secret.to_owned()),
        Scheme::Bearer => one("authorization", format!("Bearer {secret}")),
        Scheme::Basic => one(
            "authorization",
            format!("Basic {}", STANDARD.encode(secret)),
        ),
    }
}

/// The headers of a Standard Webhooks message with that id.
fn message(secret: &str, id: &str, body: &[u8]) -> Vec<(String, String)> {
    let signed = signature::standard_webhooks(secret, id, NOW, body).expect("signed");
    let headers = [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", NOW.to_string()),
        ("webhook-signature", signed),
    ];
    headers
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
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
