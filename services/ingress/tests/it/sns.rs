//! Amazon SNS, with messages and the certificate that AWS published for its libraries.

use reqwest::RequestBuilder;
use serde_json::Value;
use tocsin_ingress::normalize::sns::PROVIDER;
use tocsin_testkit::{TestBus, eventually};

use crate::stage::{Ingress, LIMIT, Stored, event, fixture, fixtures, settings};

const TOPIC: &str = "arn:aws:sns:us-west-2:131990247566:dongie-standard-topic";
/// When the messages were young: 2026-03-06T20:30:00Z.
const THEN: i64 = 1_772_829_000;

async fn start(bus: &TestBus, topics: &str) -> Ingress {
    let mut settings = settings(bus.settings());
    settings.secrets = settings
        .secrets
        .with(&PROVIDER, topics.parse().expect("a list"));
    settings.sns_certificates_dir = Some(fixtures().join("sns"));
    let ingress = Ingress::start_at(THEN, settings).await;
    eventually("ingress is ready", LIMIT, || async { ingress.is_ready() }).await;
    ingress
}

fn send(ingress: &Ingress, body: impl Into<reqwest::Body>) -> RequestBuilder {
    let kind = "text/plain; charset=UTF-8";
    let request = ingress.post("/webhooks/sns").header("content-type", kind);
    request.body(body)
}

async fn answer(request: RequestBuilder) -> (u16, String) {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let answer: Value = response.json().await.expect("JSON");
    let code = answer["code"].as_str().unwrap_or_default();
    (status, code.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_aws_signed_is_stored_where_its_topic_is_allowed() {
    let bus = TestBus::start().await.expect("a bus");
    let stored = Stored::follow(&bus).await;
    let ingress = start(&bus, TOPIC).await;
    let names = ["signature_v2", "with_subject", "with_subject"];
    for name in names {
        let body = fixture(&format!("sns/notification.{name}.json"));
        assert_eq!(
            answer(send(&ingress, body)).await,
            (200, String::new()),
            "{name}"
        );
    }
    let forged = String::from_utf8(fixture("sns/notification.signature_v2.json")).expect("text");
    let forged = send(&ingress, forged.replace("version 2", "version 3"));
    let refused = (401, "signature_bad_signature".to_owned());
    assert_eq!(answer(forged).await, refused);

    let events = stored.wait_for(2).await;
    let titles: Vec<_> = events
        .iter()
        .map(|(_, stored)| event(stored).title.as_str())
        .collect();
    let titles_sent = [
        "This message uses signature version 2.",
        "My message subject",
    ];
    assert_eq!(titles, titles_sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_topic_is_refused_before_anything_is_fetched() {
    let bus = TestBus::start().await.expect("a bus");
    let ingress = start(&bus, "arn:aws:sns:us-west-2:131990247566:another").await;
    for name in ["notification.signature_v2", "subscription_confirmation"] {
        let body = fixture(&format!("sns/{name}.json"));
        let refused = (401, "signature_unknown_topic".to_owned());
        assert_eq!(answer(send(&ingress, body)).await, refused, "{name}");
    }
}
