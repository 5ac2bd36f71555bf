//! Every fixture over HTTP, to the stream and back.

use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Deserialize;
use serde_json::Value;
use tocsin_ingress::provider::Provider;
use tocsin_ingress::verify::{LiveSecret, Verifier};
use tocsin_testkit::TestBus;
use tocsin_testkit::standins::signature;
use tocsin_wire::proto::Event;
use tocsin_wire::scheme::Scheme;

use crate::stage::{Ingress, NOW, OLD_SECRET, SECRET, Stored, event, fixture, spawn};

#[derive(Deserialize)]
struct Index {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    file: String,
    provider: String,
    endpoint: Option<String>,
    content_type: String,
    headers: BTreeMap<String, String>,
    expect: Expect,
}

#[derive(Deserialize)]
struct Expect {
    disposition: String,
    #[serde(default)]
    dedupe: Value,
    #[serde(default)]
    response: Value,
    event_count: Option<usize>,
}

impl Entry {
    /// Its id at the sender; what has none is a delivery of its own.
    fn delivery(&self) -> &str {
        let dedupe = &self.expect.dedupe;
        let recipe = dedupe["recipe"].as_str().unwrap_or_default();
        let id = match &dedupe["parts"]["id"] {
            Value::String(id) if recipe.starts_with("id (event id)") => Some(id.as_str()),
            _ => dedupe["value"].as_str(),
        };
        id.unwrap_or(&self.file)
    }

    fn path(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("/webhooks/{}/{endpoint}", self.provider),
            None => format!("/webhooks/{}", self.provider),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fixture_is_answered_and_stored_once() {
    let bus = TestBus::start().await.expect("a bus");
    let stored = Stored::follow(&bus).await;
    let ingress = Ingress::start(&bus).await;
    let index = String::from_utf8(fixture("index.json")).expect("text");
    let Index { entries } = serde_json::from_str(&index).expect("index");
    let mut expected = BTreeMap::new();
    // Of a batch the index names the first event, and tells how many there are.
    let mut others = 0;
    // What only its sender can sign is in the tests of that sender.
    let signable = |entry: &&Entry| {
        let provider = Provider::named(&entry.provider).expect("a provider of the table");
        provider.schemes[0] != Scheme::Sns
    };
    for entry in entries.iter().filter(signable) {
        // Twice: the second time nothing may happen.
        for _ in 0..2 {
            let body = fixture(&entry.file);
            let id = entry.headers.get("webhook-id").map_or("", String::as_str);
            let mut request = ingress.message(&entry.path(), SECRET, id, &body);
            for (name, value) in &entry.headers {
                // What signs it is there already.
                if name != "webhook-id" && !value.contains("${SECRET}") {
                    request = request.header(name, value);
                }
            }
            let request = request.header("content-type", &entry.content_type);
            let response = request.send().await.expect("an answer");
            assert_eq!(response.status(), 200, "{}", entry.file);
            let text = response.text().await.expect("text");
            match (entry.expect.disposition.as_str(), entry.endpoint.as_deref()) {
                ("handshake", _) => {
                    let challenge = entry.expect.response["body_must_contain"].as_str();
                    assert!(text.contains(challenge.expect("a challenge")), "{text}");
                }
                (_, Some("interactions" | "commands")) => assert_eq!(text, "", "{}", entry.file),
                _ => assert_eq!(text, r#"{"ok":true}"#, "{}", entry.file),
            }
        }
        if entry.expect.disposition == "event" {
            // Two samples of one delivery are stored as the first.
            let key = (entry.provider.clone(), entry.delivery().to_owned());
            expected.entry(key).or_insert_with(|| fixture(&entry.file));
            others += entry.expect.event_count.unwrap_or(1) - 1;
        }
    }

    let expected: BTreeSet<_> = expected
        .into_iter()
        .map(|((provider, _), body)| (provider, body))
        .collect();

    let count = expected.len() + others;
    let events = stored.wait_for(count).await;
    let found: BTreeSet<_> = events
        .iter()
        .map(|(_, envelope)| event(envelope))
        .map(|event| (event.provider.clone(), event.raw_body.to_vec()))
        .collect();
    let differing: Vec<_> = found
        .iter()
        .filter(|stored| !expected.iter().any(|sent| is_part(stored, sent)))
        .map(|(provider, body)| (provider, String::from_utf8_lossy(body)))
        .collect();
    assert!(differing.is_empty(), "each as it was sent: {differing:?}");
    assert_eq!(events.len(), count, "each once");
    for (subject, envelope) in &events {
        let event = event(envelope);
        let prefix = format!("events.{}.shared.{}.", event.provider, event.kind);
        assert!(subject.to_string().starts_with(&prefix), "{subject}");
        verifies_again(event);
    }
}

/// Whether a stored body is what one sender sent, or an event of a batch.
fn is_part(stored: &(String, Vec<u8>), sent: &(String, Vec<u8>)) -> bool {
    let is_batch = sent.1.starts_with(b"[");
    let holds = || sent.1.windows(stored.1.len()).any(|part| part == stored.1);
    stored == sent || (is_batch && stored.0 == sent.0 && holds())
}

/// What is stored suffices to check the provider's signature years later.
fn verifies_again(event: &Event) {
    let mut headers = HeaderMap::new();
    for header in &event.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).expect("a name");
        headers.append(name, HeaderValue::from_str(&header.value).expect("a value"));
    }
    let provider = Provider::named(&event.provider).expect("a provider of the table");
    let scheme = &provider.schemes[0];
    let secret = signature::shown(scheme, SECRET);
    let verifier = Verifier::new(scheme, &[LiveSecret::always(&secret)]).expect("a scheme");
    if verifier.kept_headers().is_empty() {
        // A token proves nothing about what came with it, and is not kept.
        return;
    }
    let now = jiff::Timestamp::from_second(NOW).expect("in range");
    let tolerance = std::time::Duration::from_secs(300);
    let verdict = verifier.verify(&headers, &event.raw_body, now, tolerance);
    assert_eq!(verdict, Ok(0), "{}", event.delivery_key);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_equal_deliveries_at_once_are_one_event() {
    let bus = TestBus::start().await.expect("a bus");
    let stored = Stored::follow(&bus).await;
    let ingress = Ingress::start(&bus).await;
    let body = fixture("slack/app_mention.json");
    let sending = (0..50).map(|attempt| {
        let request = ingress.signed("/webhooks/slack/events", OLD_SECRET, &body);
        let request = request
            .header("x-slack-retry-num", attempt % 4)
            .header("x-slack-retry-reason", "http_timeout");
        spawn(request.send())
    });
    for sent in sending.collect::<Vec<_>>() {
        assert_eq!(sent.await.expect("sent").expect("an answer").status(), 200);
    }
    // A later event tells that nothing else is on its way.
    let mark = fixture("pagerduty/incident.triggered.json");
    let sent = ingress
        .signed("/webhooks/pagerduty", SECRET, &mark)
        .send()
        .await;
    assert_eq!(sent.expect("an answer").status(), 200);
    let events = stored.wait_for(2).await;
    let kinds: Vec<_> = events
        .iter()
        .map(|(_, stored)| event(stored).kind.as_str())
        .collect();
    assert_eq!(kinds, ["app_mention", "incident_triggered"]);
    assert_eq!(event(&events[0].1).secret_index, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_is_taken_as_what_is_posted() {
    let bus = TestBus::start().await.expect("a bus");
    let stored = Stored::follow(&bus).await;
    let ingress = Ingress::start(&bus).await;
    let body = fixture("grafana/resolved.json");
    for method in [Method::PUT, Method::POST] {
        let request = ingress.signed("/webhooks/grafana", SECRET, &body);
        let mut request = request.build().expect("a request");
        *request.method_mut() = method;
        let sent = ingress.client.execute(request).await;
        assert_eq!(sent.expect("an answer").status(), 200);
    }
    let events = stored.wait_for(1).await;
    assert_eq!(event(&events[0].1).kind, "alert_resolved");
}
