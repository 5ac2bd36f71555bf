//! Windows that the server counts, and events that it holds back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tocsin_bus::{Outcome, Outgoing};
use tocsin_testkit::bus::clock;
use tocsin_testkit::{TestBus, eventually};
use tocsin_wire::ids::EventId;
use tocsin_wire::rate::SMALL;
use tocsin_wire::{KeyToken, Service, Subject, Token};

use crate::samples::{LIMIT, event, event_subject, title};

#[tokio::test]
async fn two_replicas_share_one_window_that_survives_the_server() {
    let mut test = TestBus::start().await.expect("bus");
    let (one, other) = (
        test.connect(Service::Ingress).await.expect("connects"),
        test.connect(Service::Ingress).await.expect("connects"),
    );
    let source = Token::new("src_1").expect("token");
    let window = SMALL.subject(&source, &KeyToken::encode("source"));
    let mut taken = 0;
    for bus in [&one, &other].into_iter().cycle().take(300) {
        taken += u32::from(bus.take(&window).await.expect("an answer"));
    }
    assert_eq!(taken, SMALL.messages());
    let another = SMALL.subject(&source, &KeyToken::encode("another"));
    assert!(one.take(&another).await.expect("an answer"));

    test.server.restart().await.expect("restarted");
    let full = eventually("it answers again", LIMIT, || one.take(&window)).await;
    assert!(!full, "what was taken before still counts");
    // And it moves on by itself.
    eventually("the window has moved", LIMIT, || async {
        one.take(&window).await.is_ok_and(|taken| taken)
    })
    .await;
}

fn subject_of(number: usize) -> Subject {
    let Subject::Event {
        provider,
        source,
        kind,
        key,
    } = event_subject()
    else {
        panic!("an event's subject")
    };
    Subject::DeferredEvent {
        provider,
        source,
        kind,
        key,
        id: EventId::derive(&format!("test:{number}")),
    }
}

#[tokio::test]
async fn a_deferred_event_comes_when_its_time_has_come_and_once() {
    let test = TestBus::start().await.expect("bus");
    let ingress = test.connect(Service::Ingress).await.expect("connects");
    let router = test.connect(Service::Router).await.expect("connects");
    let begin = clock()();
    let due = begin + Duration::from_secs(2);
    for _ in 0..2 {
        let outgoing = Outgoing::new(subject_of(1), event(1));
        ingress.publish_at(outgoing, due).await.expect("stored");
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let handler = move |delivery: tocsin_bus::Delivery| {
        let at = clock()();
        let subject = delivery.subject.clone();
        sink.lock()
            .expect("not poisoned")
            .push((subject, title(&delivery.envelope), at));
        std::future::ready(Outcome::Done)
    };
    let stop = tokio_util::sync::CancellationToken::new();
    let consuming = router.consume(("DEFERRED", "router"), 1, stop.cancelled(), handler);
    let waiting = async {
        eventually("the deferred event", LIMIT, || async {
            !seen.lock().expect("not poisoned").is_empty()
        })
        .await;
        // A later event tells that nothing else was on its way.
        let mark = Outgoing::new(subject_of(2), event(2));
        ingress.publish_at(mark, begin).await.expect("published");
        eventually("the mark", LIMIT, || async {
            seen.lock().expect("not poisoned").len() > 1
        })
        .await;
        stop.cancel();
    };
    let (consumed, ()) = tokio::join!(consuming, waiting);
    consumed.expect("consumes");
    let seen = seen.lock().expect("not poisoned");
    let titles: Vec<_> = seen.iter().map(|(_, title, _)| title.as_str()).collect();
    assert_eq!(titles, ["incident 1", "incident 2"]);
    let due_subject = event_subject()
        .to_string()
        .replacen("events", "deferred.due", 1);
    assert_eq!(seen[0].0.to_string(), due_subject);
    assert!(
        seen[0].2 >= due - Duration::from_millis(1_000),
        "not before its second"
    );
}
