//! Slow and broken peers, and a shutdown in the middle.

use tocsin_testkit::standins::signature;
use tocsin_testkit::{TestBus, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::stage::{Ingress, LIMIT, SECRET, Stored, event, fixture};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_slow_with_its_headers_is_cut_off() {
    let bus = TestBus::start().await.expect("a bus");
    let ingress = Ingress::start(&bus).await;
    let mut slow = TcpStream::connect(ingress.address)
        .await
        .expect("connected");
    slow.write_all(b"POST /webhooks/github HTTP/1.1\r\nhost: x\r\nx-slow: ")
        .await
        .expect("sent");
    let mut answer = Vec::new();
    let closing = tokio::time::timeout(LIMIT, slow.read_to_end(&mut answer));
    closing.await.expect("closed in time").expect("closed");
    assert!(!answer.starts_with(b"HTTP/1.1 2"));
}

/// A delivery that is being received when the stop comes is stored and acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_hand_at_a_stop_is_finished() {
    let bus = TestBus::start().await.expect("a bus");
    let stored = Stored::follow(&bus).await;
    let ingress = Ingress::start(&bus).await;
    let body = fixture("pagerduty/incident.triggered.json");
    let signed = signature::pagerduty(SECRET, &body).expect("signed");
    let head = format!(
        "POST /webhooks/pagerduty HTTP/1.1\r\nhost: x\r\nx-pagerduty-signature: {signed}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let (first, rest) = body.split_at(body.len() / 2);
    let mut sender = TcpStream::connect(ingress.address)
        .await
        .expect("connected");
    sender.write_all(head.as_bytes()).await.expect("sent");
    sender.write_all(first).await.expect("sent");
    // Another request on the same listener shows that this one has been accepted before.
    let ping = ingress.post("/").send().await.expect("an answer");
    assert_eq!(ping.status(), 404);

    ingress.context.stop.trigger_soft();
    eventually("the listener is closed", LIMIT, || async {
        TcpStream::connect(ingress.address).await.is_err()
    })
    .await;
    assert!(
        !ingress.running.is_finished(),
        "it waits for what is in hand"
    );
    sender.write_all(rest).await.expect("sent");
    let mut answer = String::new();
    sender.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    ingress.running.await.expect("ended").expect("cleanly");
    let events = stored.wait_for(1).await;
    assert_eq!(event(&events[0].1).kind, "incident_triggered");
}
