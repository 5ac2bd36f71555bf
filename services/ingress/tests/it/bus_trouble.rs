//! The bus away, silent, and back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tocsin_testkit::{FaultProxy, TestBus, eventually};
use tocsin_wire::Subject;
use tocsin_wire::proto::Envelope;
use tokio::time::Instant;

use crate::stage::{Ingress, LIMIT, SECRET, Stored, event, fixture, settings};

const PATH: &str = "/webhooks/pagerduty";
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends one delivery and expects 503 with `Retry-After` within a second.
async fn is_put_off(ingress: &Ingress, body: &[u8], code: &str) {
    let started = Instant::now();
    let response = ingress
        .signed(PATH, SECRET, body)
        .send()
        .await
        .expect("an answer");
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    let problem: serde_json::Value = response.json().await.expect("JSON");
    assert_eq!(problem["code"], code);
}

async fn is_taken(ingress: &Ingress, body: &[u8]) {
    eventually("the delivery is taken", LIMIT, || async {
        let sent = ingress.signed(PATH, SECRET, body).send().await;
        sent.is_ok_and(|response| response.status() == 200)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_bus_is_503_and_the_delivery_is_taken_once_it_is_back() {
    let mut bus = TestBus::start().await.expect("a bus");
    let ingress = Ingress::start(&bus).await;
    let body = fixture("pagerduty/incident.triggered.json");
    bus.server.kill().await.expect("killed");
    eventually("ingress is not ready", LIMIT, || async {
        !ingress.is_ready()
    })
    .await;
    for _ in 0..20 {
        is_put_off(&ingress, &body, "bus_unavailable").await;
    }
    bus.server.restart().await.expect("restarted");
    is_taken(&ingress, &body).await;
    let stored = Stored::follow(&bus).await;
    let events = stored.wait_for(1).await;
    assert_eq!(
        event(&events[0].1).delivery_id,
        "01BZYIL05THJDFF2Y08X9SVMTU"
    );
    assert!(ingress.is_ready());
}

/// The sender must not wait for a bus that says nothing; what was stored unheard is a duplicate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_ack_is_503_and_the_repeat_is_the_same_event() {
    let bus = TestBus::start().await.expect("a bus");
    let proxy = FaultProxy::start(&bus.server.url()).await.expect("a proxy");
    let stored = Stored::follow(&bus).await;
    let through = bus.settings_through(&proxy.url().expect("a URL"));
    let ingress = Ingress::start_with(settings(through)).await;
    eventually("ingress is ready", LIMIT, || async { ingress.is_ready() }).await;
    let body = fixture("pagerduty/incident.resolved.json");
    let tries = AtomicUsize::new(0);
    let is_resolved = |stored: &(Subject, Envelope)| event(&stored.1).kind == "incident_resolved";
    // A delivery leaves a lease on its rate limit for a moment; within it the next one asks the bus for
    // nothing but to store it, and only then is it the ack of the event that is lost.
    eventually("it is stored unheard", LIMIT, || async {
        let number = tries.fetch_add(1, Ordering::Relaxed);
        is_taken(&ingress, &mark(2 * number)).await;
        proxy.stall_replies();
        is_put_off(&ingress, &body, "bus_timeout").await;
        proxy.heal();
        is_taken(&ingress, &mark(2 * number + 1)).await;
        let events = stored.wait_for(2 * (number + 1)).await;
        events.iter().any(is_resolved)
    })
    .await;
    is_taken(&ingress, &body).await;
    let marks = 2 * tries.load(Ordering::Relaxed);
    is_taken(&ingress, &mark(marks)).await;
    let events = stored.wait_for(marks + 2).await;
    assert_eq!(events.len(), marks + 2);
    assert_eq!(
        events.iter().filter(|stored| is_resolved(stored)).count(),
        1
    );
}

/// A delivery of its own per number.
fn mark(number: usize) -> Vec<u8> {
    let event = format!(r#"{{"event":{{"id":"MARK{number}","event_type":"incident.triggered"}}}}"#);
    event.into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_before_the_first_connection_are_put_off() {
    let mut bus = TestBus::start().await.expect("a bus");
    bus.server.kill().await.expect("killed");
    let ingress = Ingress::start_with(settings(bus.settings())).await;
    let body = fixture("pagerduty/incident.triggered.json");
    is_put_off(&ingress, &body, "bus_unavailable").await;
    bus.server.restart().await.expect("restarted");
    is_taken(&ingress, &body).await;
}
