//! What is not taken, and what the sender hears.

use std::convert::Infallible;

use bytes::Bytes;
use reqwest::RequestBuilder;
use serde_json::Value;
use tocsin_ingress::normalize::github;
use tocsin_testkit::TestBus;
use tocsin_testkit::standins::signature;

use crate::stage::{Ingress, NOW, SECRET, Stored, fixture, settings};

const SLACK: &str = "/webhooks/slack/events";
const GITHUB: &str = "/webhooks/github";
const PAGERDUTY: &str = "/webhooks/pagerduty";

async fn check(name: &str, request: RequestBuilder, status: u16, code: &str) {
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status().as_u16(), status, "{name}");
    let kind = response.headers().get("content-type").expect("a type");
    assert_eq!(kind, "application/problem+json", "{name}");
    let problem: Value = response.json().await.expect("JSON");
    assert_eq!(problem["code"], code, "{name}: {problem}");
    assert!(problem["request_id"].is_string(), "{name}: {problem}");
}

fn slack_at(ingress: &Ingress, timestamp: i64, body: &[u8]) -> RequestBuilder {
    let signed = signature::slack(SECRET, timestamp, body).expect("signed");
    ingress
        .post(SLACK)
        .header("x-slack-request-timestamp", timestamp)
        .header("x-slack-signature", signed)
        .body(body.to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bad_delivery_gets_its_own_answer_and_nothing_is_stored() {
    let bus = TestBus::start().await.expect("a bus");
    let stored = Stored::follow(&bus).await;
    let ingress = Ingress::start(&bus).await;
    for (name, request, reason) in unverified(&ingress) {
        check(name, request, 401, &format!("signature_{reason}")).await;
    }
    for (name, request, status, code) in unreadable(&ingress) {
        check(name, request, status, code).await;
    }

    // Unknown kinds are no bad input: kept as `other`.
    let unknown = br#"{"event":{"id":"1","event_type":"incident.unheard_of"}}"#;
    let sent = ingress.signed(PAGERDUTY, SECRET, unknown).send().await;
    assert_eq!(sent.expect("an answer").status(), 200);
    let events = stored.wait_for(1).await;
    let subjects: Vec<_> = events
        .iter()
        .map(|(subject, _)| subject.to_string())
        .collect();
    assert_eq!(subjects, ["events.pagerduty.shared.other.=E"]);
}

fn unverified(ingress: &Ingress) -> Vec<(&'static str, RequestBuilder, &'static str)> {
    let ok = b"{}".as_slice();
    let wrong = ingress.signed(PAGERDUTY, "wrong", ok);
    let other_body = ingress.signed(GITHUB, SECRET, ok).body("{ }");
    let twice = ingress.signed(GITHUB, SECRET, ok);
    let twice = twice
        .header("x-github-delivery", "a")
        .header("x-github-delivery", "b");
    vec![
        ("wrong secret", wrong, "bad_signature"),
        ("other body", other_body, "bad_signature"),
        (
            "no signature",
            ingress.post(GITHUB).body("{}"),
            "missing_signature",
        ),
        (
            "no timestamp",
            ingress.post(SLACK).body("{}"),
            "missing_timestamp",
        ),
        ("stale", slack_at(ingress, NOW - 301, ok), "stale_timestamp"),
        (
            "future",
            slack_at(ingress, NOW + 301, ok),
            "future_timestamp",
        ),
        ("two delivery ids", twice, "duplicate_header"),
    ]
}

fn unreadable(ingress: &Ingress) -> Vec<(&'static str, RequestBuilder, u16, &'static str)> {
    let signed = |path: &str, body: &[u8]| ingress.signed(path, SECRET, body);
    let large = vec![b' '; (1 << 20) + 1];
    let piece = Bytes::from(vec![b' '; 64 * 1024]);
    let pieces = (0..40).map(move |_| Ok::<_, Infallible>(piece.clone()));
    let pieces = futures::stream::iter(pieces);
    let chunked = ingress
        .post(PAGERDUTY)
        .body(reqwest::Body::wrap_stream(pieces));
    let gzip = signed(GITHUB, b"{}").header("content-encoding", "gzip");
    let get = ingress
        .client
        .get(format!("http://{}{SLACK}", ingress.address));
    vec![
        (
            "declared too large",
            signed(PAGERDUTY, &large),
            413,
            "body_too_large",
        ),
        ("chunked too large", chunked, 413, "body_too_large"),
        ("compressed", gzip, 415, "content_encoding_unsupported"),
        (
            "not JSON",
            signed(PAGERDUTY, b"{\"event\":"),
            400,
            "invalid_json",
        ),
        (
            "not UTF-8",
            signed(GITHUB, b"{\"a\":\"\xff\"}"),
            400,
            "invalid_json",
        ),
        (
            "no form",
            signed("/webhooks/slack/commands", b"a=b"),
            400,
            "invalid_form",
        ),
        (
            "per-source path",
            signed("/webhooks/github/team-a", b"{}"),
            404,
            "unknown_webhook",
        ),
        (
            "unknown provider",
            ingress.post("/webhooks/nagios").body("{}"),
            404,
            "unknown_webhook",
        ),
        ("elsewhere", ingress.post("/"), 404, "not_found"),
        ("GET", get, 405, "method_not_allowed"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_without_a_secret_is_refused() {
    let bus = TestBus::start().await.expect("a bus");
    let mut settings = settings(bus.settings());
    settings.secrets = settings
        .secrets
        .with(&github::PROVIDER, "".parse().expect("a list"));
    let ingress = Ingress::start_with(settings).await;
    let request = ingress.signed(GITHUB, SECRET, &fixture("github/push.json"));
    check("no secret", request, 401, "signature_missing_secret").await;
}

/// The handshake of CloudEvents is for those that have a secret here; others do not know the method.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_of_cloud_events_may_ask_before_they_send() {
    let bus = TestBus::start().await.expect("a bus");
    let ingress = Ingress::start(&bus).await;
    let ask = |path: &str| {
        let url = format!("http://{}/webhooks/{path}", ingress.address);
        ingress
            .client
            .request(reqwest::Method::OPTIONS, url)
            .header("webhook-request-origin", "eventemitter.example.com")
            .header("webhook-request-rate", "120")
            .send()
    };
    let granted = ask("cloudevents").await.expect("an answer");
    assert_eq!(granted.status(), 200);
    for (name, expected) in [
        ("webhook-allowed-origin", "eventemitter.example.com"),
        ("webhook-allowed-rate", "*"),
        ("allow", "POST, OPTIONS"),
    ] {
        assert_eq!(granted.headers().get(name).expect(name), expected);
    }
    let refused = ask("github").await.expect("an answer");
    assert_eq!(refused.status(), 405);
    let plain = ingress.signed("/webhooks/cloudevents", SECRET, b"{}");
    let plain = plain.header("content-type", "application/json");
    check("no CloudEvent", plain, 415, "unsupported_media_type").await;
}
