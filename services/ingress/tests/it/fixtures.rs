//! Every fixture over HTTP, to the stream and back.

use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tocsin_ingress::provider::Provider;
use tocsin_ingress::verify::{LiveSecret, Verifier};
use tocsin_testkit::TestBus;
use tocsin_testkit::standins::signature;
use tocsin_wire::proto::Event;
use tocsin_wire::scheme::Scheme;
use tocsin_wire::signing::hex;

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
    /// By the sender's id, else by the body.
    fn delivery_key(&self) -> String {
        let id = self.expect.dedupe["value"].as_str().map(str::to_owned);
        let id = id.unwrap_or_else(|| {
            let hash = hex(&Sha256::digest(fixture(&self.file)));
            format!("sha256:{hash}")
        });
        format!("{}:shared:{id}", self.provider)
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
    let mut expected = BTreeSet::new();
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
            expected.insert(entry.delivery_key());
            others += entry.expect.event_count.unwrap_or(1) - 1;
        }
    }

    let count = expected.len() + others;
    let events = stored.wait_for(count).await;
    let found: BTreeSet<_> = events
        .iter()
        .map(|(_, envelope)| event(envelope).delivery_key.clone())
        .collect();
    let missing: Vec<_> = expected.difference(&found).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!((events.len(), found.len()), (count, count), "each once");
    for (subject, envelope) in &events {
        let event = event(envelope);
        let prefix = format!("events.{}.shared.{}.", event.provider, event.kind);
        assert!(subject.to_string().starts_with(&prefix), "{subject}");
        verifies_again(event);
    }
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
