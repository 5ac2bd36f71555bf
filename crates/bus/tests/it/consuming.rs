//! Consuming: outcomes, forged messages, lost servers, slow handlers, stops.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tocsin_bus::{BatchLimits, Bus, BusState, Delivery, Outcome, Outgoing};
use tocsin_testkit::{TestBus, eventually};
use tocsin_wire::proto::DeadLetter;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::{Service, limits};
use tokio_util::sync::CancellationToken;

use crate::samples::{LIMIT, event, event_subject, publish_events, title, unsigned};

/// Sequence of the first message in a stream.
const FIRST: u64 = 1;

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<HashMap<String, usize>>>);

impl Seen {
    fn add(&self, title: String) -> usize {
        let mut seen = self.0.lock().expect("not poisoned");
        let count = seen.entry(title).or_default();
        *count += 1;
        *count
    }

    fn len(&self) -> usize {
        self.0.lock().expect("not poisoned").len()
    }
}

fn spawn_router(
    router: &Bus,
    stop: &CancellationToken,
    handler: impl Fn(Delivery) -> Outcome + Send + Sync + 'static,
) -> tokio::task::JoinHandle<()> {
    let (router, stop) = (router.clone(), stop.clone());
    tokio::spawn(async move {
        router
            .consume(("EVENTS", "router"), 8, stop.cancelled(), move |delivery| {
                std::future::ready(handler(delivery))
            })
            .await
            .expect("consumes");
    })
}

/// The dead letters, as soon as there are so many.
async fn dead_letters(test: &TestBus, count: usize) -> Vec<DeadLetter> {
    let audit = test.connect(Service::Audit).await.expect("connects");
    let found = Arc::new(Mutex::new(Vec::new()));
    let (stop, sink) = (CancellationToken::new(), Arc::clone(&found));
    let limits = BatchLimits {
        max: 10,
        wait: Duration::from_millis(50),
    };
    let consuming = audit.consume_batches(("DEAD", "audit"), limits, stop.cancelled(), |batch| {
        for delivery in batch {
            if let Some(Body::DeadLetter(dead)) = delivery.envelope.body {
                sink.lock().expect("not poisoned").push(dead);
            }
        }
        std::future::ready(Outcome::Done)
    });
    let waiting = async {
        eventually("dead letters", LIMIT, || async {
            found.lock().expect("not poisoned").len() >= count
        })
        .await;
        stop.cancel();
    };
    let (consumed, ()) = tokio::join!(consuming, waiting);
    consumed.expect("consumes");
    let mut found = found.lock().expect("not poisoned");
    std::mem::take(&mut *found)
}

#[tokio::test]
async fn retry_comes_again_and_reject_becomes_a_dead_letter() {
    let test = TestBus::start().await.expect("bus");
    let ingress = test.connect(Service::Ingress).await.expect("connects");
    let router = test.connect(Service::Router).await.expect("connects");
    publish_events(&ingress, 0..3).await;
    let (seen, stop) = (Seen::default(), CancellationToken::new());
    let counter = seen.clone();
    let consuming = spawn_router(&router, &stop, move |delivery| {
        let title = title(&delivery.envelope);
        let times = counter.add(title.clone());
        match title.as_str() {
            "incident 1" if times == 1 => Outcome::Retry(Duration::from_millis(10)),
            "incident 2" => Outcome::Reject("no such team".to_owned()),
            _ => Outcome::Done,
        }
    });
    eventually("a second try", LIMIT, || async {
        seen.0.lock().expect("not poisoned").get("incident 1") == Some(&2)
    })
    .await;
    let dead = dead_letters(&test, 1).await;
    stop.cancel();
    consuming.await.expect("stops");
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (dead[0].code.as_str(), dead[0].reason.as_str()),
        ("rejected", "no such team")
    );
    assert!(
        dead[0]
            .headers
            .iter()
            .any(|header| header.name == "Tocsin-Signature")
    );
    assert!(!dead[0].payload.is_empty());
}

#[tokio::test]
async fn forged_and_altered_messages_among_others_reach_no_handler() {
    let test = TestBus::start().await.expect("bus");
    let ingress = test.connect(Service::Ingress).await.expect("connects");
    let router = test.connect(Service::Router).await.expect("connects");
    let operator = test.connect(Service::Operator).await.expect("connects");
    // It comes together with others, which are verified with it.
    publish_events(&ingress, 0..4).await;
    // Signed, but by somebody who does not write events: the operator may publish everywhere.
    operator
        .publish(Outgoing::new(event_subject(), event(4)))
        .await
        .expect("published");
    publish_events(&ingress, 5..9).await;
    // Looks as it should until its signature is computed, which happens for all of a group at once.
    publish_altered(&test, FIRST).await;
    let (seen, stop) = (Seen::default(), CancellationToken::new());
    let counter = seen.clone();
    let consuming = spawn_router(&router, &stop, move |delivery| {
        counter.add(title(&delivery.envelope));
        Outcome::Done
    });
    let mut dead = dead_letters(&test, 2).await;
    eventually("the genuine ones", LIMIT, || async { seen.len() == 8 }).await;
    stop.cancel();
    consuming.await.expect("stops");
    let seen = seen.0.lock().expect("not poisoned");
    assert_eq!(seen.get("incident 4"), None);
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    dead.sort_by_key(|dead| dead.reason.contains("operator"));
    let reasons = dead.iter().map(|dead| (dead.code.as_str(), &dead.reason));
    let expected = [
        "does not fit this message",
        "operator may not write events.",
    ];
    for ((code, reason), expected) in reasons.zip(expected) {
        assert_eq!(code, "signature_invalid");
        assert!(reason.contains(expected), "{reason}");
    }
}

/// The message with this sequence in EVENTS once more, with one signed header changed.
async fn publish_altered(test: &TestBus, sequence: u64) {
    let jetstream = unsigned(test).await;
    let stream = jetstream.get_stream("EVENTS").await.expect("the stream");
    let message = stream.get_raw_message(sequence).await.expect("the message");
    let mut headers = message.headers;
    headers.insert("Nats-Msg-Id", "altered");
    headers.insert("ce-source", "/ingress/another");
    let stored = jetstream.publish_with_headers(message.subject, headers, message.payload);
    stored.await.expect("sent").await.expect("stored");
}

#[tokio::test]
async fn a_handler_that_panics_is_tried_again_and_then_given_up() {
    let test = TestBus::start().await.expect("bus");
    let ingress = test.connect(Service::Ingress).await.expect("connects");
    let router = test.connect(Service::Router).await.expect("connects");
    publish_events(&ingress, 0..1).await;
    let (tries, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
    let counter = Arc::clone(&tries);
    let consuming = spawn_router(&router, &stop, move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        panic!("broken handler");
    });
    let dead = dead_letters(&test, 1).await;
    stop.cancel();
    consuming.await.expect("stops");
    assert_eq!(
        u64::try_from(tries.load(Ordering::SeqCst)),
        Ok(limits::MAX_PANICS)
    );
    assert_eq!(
        (dead[0].code.as_str(), dead[0].reason.as_str()),
        ("handler_panicked", "broken handler")
    );
}

#[tokio::test]
async fn a_slow_handler_keeps_its_message() {
    let test = TestBus::start().await.expect("bus");
    let ingress = test.connect(Service::Ingress).await.expect("connects");
    let router = test.connect(Service::Router).await.expect("connects");
    publish_events(&ingress, 0..1).await;
    let (seen, stop) = (Seen::default(), CancellationToken::new());
    let counter = seen.clone();
    // Longer than the consumer's ack_wait: without heartbeats the message would come twice.
    let longer = Duration::from_millis(5_500);
    let consuming = router.consume(("EVENTS", "router"), 4, stop.cancelled(), move |delivery| {
        let counter = counter.clone();
        async move {
            counter.add(title(&delivery.envelope));
            tokio::time::timeout(longer, std::future::pending::<()>())
                .await
                .ok();
            counter.add("finished".to_owned());
            Outcome::Done
        }
    });
    let waiting = async {
        eventually("the handler ends", LIMIT, || async { seen.len() == 2 }).await;
        stop.cancel();
    };
    let (consumed, ()) = tokio::join!(consuming, waiting);
    consumed.expect("consumes");
    assert_eq!(
        seen.0.lock().expect("not poisoned").get("incident 0"),
        Some(&1)
    );
}

#[tokio::test]
async fn everything_flows_again_after_the_server_was_killed() {
    let mut test = TestBus::start().await.expect("bus");
    let ingress = test.connect(Service::Ingress).await.expect("connects");
    let router = test.connect(Service::Router).await.expect("connects");
    let (seen, stop) = (Seen::default(), CancellationToken::new());
    let counter = seen.clone();
    let consuming = spawn_router(&router, &stop, move |delivery| {
        counter.add(title(&delivery.envelope));
        Outcome::Done
    });
    publish_events(&ingress, 0..10).await;
    eventually("the first ten", LIMIT, || async { seen.len() == 10 }).await;

    test.server.kill().await.expect("kills");
    let mut state = ingress.watch_state();
    state
        .wait_for(|state| matches!(state, BusState::Disconnected(_)))
        .await
        .expect("notices");
    let refused = ingress
        .publish(Outgoing::new(event_subject(), event(99)))
        .await;
    assert!(refused.expect_err("no server").is_temporary());
    test.server.restart().await.expect("restarts");
    eventually("a publish", LIMIT, || async {
        ingress
            .publish(Outgoing::new(event_subject(), event(10)))
            .await
    })
    .await;
    eventually("the eleventh", LIMIT, || async { seen.len() == 11 }).await;
    stop.cancel();
    consuming.await.expect("stops");
}

/// What comes while a reader stops was sent at most once before the next one has it: not at all, if the request that
/// was open has ended by then.
#[tokio::test]
async fn what_comes_during_a_stop_is_given_back_once() {
    let test = TestBus::start().await.expect("bus");
    let ingress = test.connect(Service::Ingress).await.expect("connects");
    let router = test.connect(Service::Router).await.expect("connects");
    publish_events(&ingress, 0..1).await;
    let (seen, stop) = (Seen::default(), CancellationToken::new());
    let counter = seen.clone();
    let stopping = spawn_router(&router, &stop, move |delivery| {
        counter.add(title(&delivery.envelope));
        Outcome::Done
    });
    eventually("the first", LIMIT, || async { seen.len() == 1 }).await;
    stop.cancel();
    publish_events(&ingress, 1..4).await;
    stopping.await.expect("stops");
    let (attempts, stop) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
    let noted = Arc::clone(&attempts);
    let next = spawn_router(&router, &stop, move |delivery| {
        noted.lock().expect("not poisoned").push(delivery.attempt);
        Outcome::Done
    });
    eventually("the others", LIMIT, || async {
        attempts.lock().expect("not poisoned").len() == 3
    })
    .await;
    stop.cancel();
    next.await.expect("stops");
    let attempts = attempts.lock().expect("not poisoned").clone();
    assert!(attempts.iter().all(|attempt| *attempt <= 2), "{attempts:?}");
}
