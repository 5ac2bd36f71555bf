//! Deliveries over TLS, for an ingress with nothing in front of it.

use std::path::{Path, PathBuf};

use tocsin_ingress::{Error, Settings};
use tocsin_testkit::{TestBus, eventually};

use crate::stage::{Ingress, LIMIT, SECRET, Stored, event, fixture, settings};

/// Self-signed, for localhost, until 2126.
fn file(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/kit/tests/tls");
    folder.join(name)
}

fn with_tls(bus: &TestBus, certificate: &str, key: &str) -> Settings {
    Settings {
        tls_cert: Some(file(certificate)),
        tls_key: Some(file(key)),
        ..settings(bus.settings())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_come_over_tls_and_no_longer_in_the_clear() {
    let bus = TestBus::start().await.expect("a bus");
    let stored = Stored::follow(&bus).await;
    let mut ingress = Ingress::start_with(with_tls(&bus, "first.crt", "first.key")).await;
    eventually("ingress is ready", LIMIT, || async { ingress.is_ready() }).await;
    let body = fixture("pagerduty/incident.triggered.json");
    let clear = ingress.signed("/webhooks/pagerduty", SECRET, &body);
    clear.send().await.expect_err("HTTP in the clear");

    let certificate = std::fs::read(file("first.crt")).expect("a certificate");
    let certificate = reqwest::Certificate::from_pem(&certificate).expect("PEM");
    #[expect(
        clippy::disallowed_methods,
        reason = "a client that trusts one certificate"
    )]
    let client = reqwest::Client::builder()
        .tls_certs_only([certificate])
        .no_proxy();
    ingress.client = client.build().expect("a client");
    let request = ingress.signed("/webhooks/pagerduty", SECRET, &body);
    let (client, request) = request.build_split();
    let mut request = request.expect("a request");
    request.url_mut().set_scheme("https").expect("a scheme");
    let answer = client.execute(request).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let events = stored.wait_for(1).await;
    assert_eq!(event(&events[0].1).kind, "incident_triggered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_cannot_be_used_is_an_error_at_the_start() {
    let bus = TestBus::start().await.expect("a bus");
    for (certificate, key) in [("first.crt", "second.key"), ("first.crt", "none.key")] {
        let ingress = Ingress::start_with(with_tls(&bus, certificate, key)).await;
        let ended = tokio::time::timeout(LIMIT, ingress.running).await;
        let ended = ended.expect("at once").expect("no panic");
        assert!(matches!(ended, Err(Error::Tls(_))), "{key}: {ended:?}");
    }
}
