//! Bodies made to hurt, HTTP/2 without TLS, and a stop in the middle of a storm.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tocsin_testkit::standins::signature;
use tocsin_testkit::{TestBus, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::stage::{Ingress, LIMIT, SECRET, Stored, event, spawn};

/// Deeper than any stack would bear, were it recursed into; 200 KB.
const DEPTH: usize = 100_000;
/// Senders at work when the stop comes.
const SENDERS: usize = 16;
/// Deliveries acknowledged before the stop: enough that all senders are at it.
const BEFORE_THE_STOP: usize = 100;

/// Bodies, and whether they are JSON at all.
type Bodies = Vec<(&'static str, Vec<u8>, bool)>;

fn deep() -> Bodies {
    let opened = "[".repeat(DEPTH);
    let closed = "]".repeat(DEPTH);
    let objects = format!("{}1{}", r#"{"a":"#.repeat(DEPTH), "}".repeat(DEPTH));
    // More of them would be more than a body may have.
    let known = ["event", "type", "event_type", "data"];
    let known = known.map(|name| format!("\"{name}\":{opened}{closed}"));
    let where_read = format!("{{{}}}", known.join(","));
    [
        ("deep lists", format!("{opened}{closed}"), true),
        ("deep objects", objects, true),
        ("deep where something is read", where_read, true),
        ("never closed", opened, false),
    ]
    .map(|(name, text, is_json)| (name, text.into_bytes(), is_json))
    .to_vec()
}

fn odd() -> Bodies {
    let long = "9".repeat(900_000);
    let texts = [
        (
            "a number of 900,000 digits",
            format!("{{\"id\":{long}}}"),
            true,
        ),
        (
            "equal keys",
            r#"{"event":1,"event":{"id":"a"},"event":{"id":"b"}}"#.to_owned(),
            true,
        ),
        (
            "100,000 keys",
            format!("{{{}\"z\":0}}", "\"k\":0,".repeat(100_000)),
            true,
        ),
        (
            "half a surrogate pair in a value",
            r#"{"type":"\ud800"}"#.to_owned(),
            true,
        ),
        (
            "half a surrogate pair in a key",
            r#"{"\udc00":{"a":1}}"#.to_owned(),
            true,
        ),
        (
            "a NUL that is escaped",
            r#"{"type":"\u0000"}"#.to_owned(),
            true,
        ),
        ("a NUL that is not", "{\"type\":\"\0\"}".to_owned(), false),
        ("a byte order mark", "\u{feff}{}".to_owned(), false),
        ("two values", "{}{}".to_owned(), false),
        ("NaN", r#"{"id":NaN}"#.to_owned(), false),
        ("nothing", String::new(), false),
    ];
    let mut all: Vec<_> = texts
        .into_iter()
        .map(|(name, text, is_json)| (name, text.into_bytes(), is_json))
        .collect();
    all.extend([
        ("half a character", b"{\"type\":\"\xc3\"}".to_vec(), false),
        (
            "an overlong character",
            b"{\"type\":\"\xc0\x80\"}".to_vec(),
            false,
        ),
        (
            "a surrogate as UTF-8",
            b"{\"type\":\"\xed\xa0\x80\"}".to_vec(),
            false,
        ),
    ]);
    all
}

/// Paths that take JSON of any content.
const JSON_PATHS: [&str; 4] = [
    "/webhooks/slack/events",
    "/webhooks/github",
    "/webhooks/pagerduty",
    "/webhooks/incidentio",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_json_is_stored_or_refused_and_harms_nobody() {
    let bus = TestBus::start().await.expect("a bus");
    let ingress = Ingress::start(&bus).await;
    for path in JSON_PATHS {
        for (name, body, is_json) in deep().into_iter().chain(odd()) {
            let request = ingress.signed(path, SECRET, &body);
            let response = request.send().await.expect("an answer");
            let expected = if is_json { 200 } else { 400 };
            let status = response.status().as_u16();
            let text = response.text().await.expect("text");
            assert_eq!(status, expected, "{path}, {name}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_come_over_http2_without_tls_too() {
    let bus = TestBus::start().await.expect("a bus");
    let stored = Stored::follow(&bus).await;
    let mut ingress = Ingress::start(&bus).await;
    #[expect(clippy::disallowed_methods, reason = "a client that insists on HTTP/2")]
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .no_proxy();
    ingress.client = client.build().expect("client");
    // At once on one connection, and none of it waits for another.
    let sending = (0..50).map(|number| {
        let body = incident(number);
        spawn(
            ingress
                .signed("/webhooks/pagerduty", SECRET, body.as_bytes())
                .send(),
        )
    });
    for sent in sending.collect::<Vec<_>>() {
        let answer = sent.await.expect("sent").expect("an answer");
        assert_eq!(answer.version(), http::Version::HTTP_2);
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(stored.wait_for(50).await.len(), 50);
}

fn incident(number: usize) -> String {
    format!(r#"{{"event":{{"id":"delivery-{number}","event_type":"incident.triggered"}}}}"#)
}

/// What was acknowledged is stored, and what is stored was acknowledged: nobody whose delivery was in hand is
/// cut off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_a_storm_loses_nothing() {
    let bus = TestBus::start().await.expect("a bus");
    let stored = Stored::follow(&bus).await;
    let ingress = Ingress::start(&bus).await;
    let next = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicUsize::new(0));
    let address = ingress.address;
    let senders = (0..SENDERS).map(|_| {
        let (next, done) = (Arc::clone(&next), Arc::clone(&done));
        spawn(async move {
            let mut acknowledged = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(answer) = deliver(address, number).await else {
                    return acknowledged;
                };
                assert!(answer.starts_with("HTTP/1.1 200"), "{number}: {answer:?}");
                acknowledged.push(format!("delivery-{number}"));
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let senders: Vec<_> = senders.collect();
    eventually("the storm is on", LIMIT, || async {
        let done = done.load(Ordering::Relaxed);
        if done >= BEFORE_THE_STOP {
            Ok(())
        } else {
            Err(done)
        }
    })
    .await;
    ingress.context.stop.trigger_soft();
    ingress.running.await.expect("ended").expect("cleanly");

    let mut acknowledged = BTreeSet::new();
    for sender in senders {
        acknowledged.extend(sender.await.expect("no sender was cut off"));
    }
    let events = stored.wait_for(acknowledged.len()).await;
    let ids = events
        .iter()
        .map(|(_, envelope)| event(envelope).delivery_id.clone());
    assert_eq!(ids.collect::<BTreeSet<_>>(), acknowledged);
}

/// One delivery on a connection of its own; `None` when nobody listens any more, which a connection that was
/// being made in that moment learns by a reset.
async fn deliver(address: SocketAddr, number: usize) -> Option<String> {
    let body = incident(number);
    let signed = signature::pagerduty(SECRET, body.as_bytes()).expect("signed");
    let request = format!(
        "POST /webhooks/pagerduty HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-pagerduty-signature: {signed}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}
