//! Bodies over 512 KiB: through the object store, once, and byte for byte.

use std::time::Duration;

use tocsin_testkit::{FaultProxy, TestBus, eventually};
use tocsin_wire::Service;
use tocsin_wire::proto::StoredBody;
use tocsin_wire::stored_body::BODIES;

use crate::stage::{Ingress, LIMIT, SECRET, Stored, event, settings, spawn};

const GITHUB: &str = "/webhooks/github";
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A push of this many bytes, in many commits of which no two are alike.
fn push(bytes: usize) -> Vec<u8> {
    let head = r#"{"ref":"refs/heads/main","repository":{"full_name":"acme/api"},"commits":["#;
    let tail = r#"{"id":"last"}],"padding":""#;
    let commits = (0..).map(|number: usize| {
        let message = "x".repeat(900);
        format!(r#"{{"id":"{number:040x}","message":"{message}"}},"#).into_bytes()
    });
    let mut body = head.as_bytes().to_vec();
    for commit in commits {
        if body.len() + commit.len() + tail.len() + 2 > bytes {
            break;
        }
        body.extend(commit);
    }
    body.extend(tail.as_bytes());
    body.resize(bytes - 2, b' ');
    body.extend(b"\"}");
    body
}

fn request(ingress: &Ingress, body: &[u8], delivery: &str) -> reqwest::RequestBuilder {
    ingress
        .signed(GITHUB, SECRET, body)
        .header("x-github-event", "push")
        .header("x-github-delivery", delivery)
}

async fn send(ingress: &Ingress, body: &[u8], delivery: &str) -> reqwest::Response {
    let sending = request(ingress, body, delivery).send();
    sending.await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_push_travels_by_reference_and_comes_back_byte_for_byte() {
    let bus = TestBus::start().await.expect("a bus");
    let ingress = Ingress::start(&bus).await;
    let stored = Stored::follow(&bus).await;
    let operator = bus.connect(Service::Operator).await.expect("connects");
    let cases = [
        (511 * KIB, false),
        (512 * KIB, false),
        (513 * KIB, true),
        (20 * MIB, true),
        (25 * MIB, true),
    ];
    for (number, (bytes, is_outside)) in cases.into_iter().enumerate() {
        let body = push(bytes);
        assert_eq!(body.len(), bytes);
        // Twice is one event and one object: the router's stream has no second one in what follows.
        for _ in 0..2 {
            let response = send(&ingress, &body, &format!("d{number}")).await;
            assert_eq!(response.status(), 200, "{bytes}");
        }
        let events = stored.wait_for(number + 1).await;
        assert_eq!(events.len(), number + 1, "{bytes}");
        let event = event(&events[number].1);
        assert_eq!(event.kind, "push");
        assert_eq!(event.delivery_id, format!("d{number}"));
        assert_eq!(event.stored_body.is_some(), is_outside, "{bytes}");
        let Some(named) = &event.stored_body else {
            assert!(event.raw_body == body, "{bytes}");
            continue;
        };
        assert!(event.raw_body.is_empty());
        assert_eq!(named.size, bytes as u64);
        let read = operator.object_store(BODIES).fetch(named).await;
        assert!(read.expect("the body") == body, "{bytes}");
    }
    // The same body as another delivery is another event, and the same object.
    let again = push(513 * KIB);
    assert_eq!(send(&ingress, &again, "another").await.status(), 200);
    let events = stored.wait_for(6).await;
    let named = |position: usize| event(&events[position].1).stored_body.clone();
    assert_eq!(named(2), named(5));
    assert_eq!(objects(&bus).await, 3);
}

/// Objects in the store: each has one subject for its description and one for its pieces.
async fn objects(bus: &TestBus) -> usize {
    messages(bus, "OBJ_bodies", "num_subjects").await / 2
}

/// A number of a stream's state, as the server tells it.
async fn messages(bus: &TestBus, stream: &str, number: &str) -> usize {
    let monitoring = bus.server.monitoring_url();
    let url = format!("{monitoring}/jsz?streams=true&accounts=true");
    let client = tocsin_testkit::standins::http_client().expect("client");
    let answer = client.get(url).send().await.expect("an answer");
    let text = answer.text().await.expect("text");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let accounts = json["account_details"].as_array().expect("accounts");
    let mut streams = accounts
        .iter()
        .flat_map(|account| account["stream_detail"].as_array().into_iter().flatten());
    let found = streams.find(|found| found["name"] == stream);
    let number = found.expect(stream)["state"][number].as_u64();
    usize::try_from(number.unwrap_or(0)).expect("few")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_sender_has_its_own_limit_and_nothing_of_a_forgery_is_kept() {
    let bus = TestBus::start().await.expect("a bus");
    let ingress = Ingress::start(&bus).await;
    let (over, large) = (push(26 * MIB), push(2 * MIB));
    assert_eq!(send(&ingress, &over, "over").await.status(), 413);
    let pagerduty = ingress.signed("/webhooks/pagerduty", SECRET, &large);
    assert_eq!(pagerduty.send().await.expect("an answer").status(), 413);
    let forged = ingress.signed(GITHUB, "another secret", &large);
    assert_eq!(forged.send().await.expect("an answer").status(), 401);
    let broken = &large[..large.len() - 1];
    assert_eq!(send(&ingress, broken, "broken").await.status(), 400);
    assert_eq!(objects(&bus).await, 0);
}

/// More at once than there is room for: those that wait get their turn, and all are stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_bodies_at_once_take_turns() {
    let bus = TestBus::start().await.expect("a bus");
    let ingress = Ingress::start(&bus).await;
    let stored = Stored::follow(&bus).await;
    let requests: Vec<_> = (0..12)
        .map(|number| {
            let body = push(600 * KIB + number);
            spawn(request(&ingress, &body, &number.to_string()).send())
        })
        .collect();
    for request in requests {
        let response = request.await.expect("no panic").expect("an answer");
        assert_eq!(response.status(), 200);
    }
    assert_eq!(stored.wait_for(12).await.len(), 12);
    assert_eq!(objects(&bus).await, 12);
}

/// The server is killed after the object and before the event: 503, and the repeat is taken with the same
/// object.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_lost_between_object_and_event_is_503_and_the_repeat_is_taken() {
    let mut bus = TestBus::start().await.expect("a bus");
    let proxy = FaultProxy::start(&bus.server.url()).await.expect("a proxy");
    let through = bus.settings_through(&proxy.url().expect("a URL"));
    let ingress = Ingress::start_with(settings(through)).await;
    // What was stored by the kills that came too late: their events were faster.
    let mut late = 0;
    let body = loop {
        eventually("ingress is ready", LIMIT, || async { ingress.is_ready() }).await;
        let body = push(600 * KIB + late);
        // Long enough to be seen from outside, short enough for each acknowledgement to come in time.
        proxy.delay(Duration::from_millis(100));
        let answer = spawn(request(&ingress, &body, "d").send());
        let is_stored = || async { objects(&bus).await == late + 1 };
        eventually("the object is stored", LIMIT, is_stored).await;
        bus.server.kill().await.expect("killed");
        let response = answer.await.expect("no panic").expect("an answer");
        proxy.heal();
        bus.server.restart().await.expect("restarted");
        let events = messages(&bus, "EVENTS", "messages").await;
        if events == late {
            assert_eq!(response.status(), 503);
            assert_eq!(response.headers()["retry-after"], "1");
            break body;
        }
        late += 1;
        assert!(late < 10, "the event was always faster");
    };
    eventually("the delivery is taken", LIMIT, || async {
        send(&ingress, &body, "d").await.status() == 200
    })
    .await;
    let stored = Stored::follow(&bus).await;
    let events = stored.wait_for(late + 1).await;
    let named = event(&events[late].1).stored_body.clone();
    assert_eq!(named.as_ref(), Some(&StoredBody::of(&body)));
    assert_eq!(objects(&bus).await, late + 1);
}
