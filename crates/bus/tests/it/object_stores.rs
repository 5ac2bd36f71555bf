//! Raw bodies in the object store: written once, read whole, never taken for another.

use std::time::Duration;

use bytes::Bytes;
use tocsin_bus::{BusState, Kept, ObjectError, PublishError};
use tocsin_testkit::{FaultProxy, TestBus, eventually};
use tocsin_wire::Service;
use tocsin_wire::proto::StoredBody;
use tocsin_wire::stored_body::{BODIES, WrongBody};

use crate::samples::LIMIT;

const PATIENCE: Duration = Duration::from_secs(5);
const PIECE: usize = 128 * 1024;

/// No two pieces of it are alike.
fn body(bytes: usize) -> Bytes {
    let counted = (0_u32..).flat_map(u32::to_be_bytes);
    counted.take(bytes).collect()
}

#[tokio::test]
async fn a_body_of_any_size_is_written_once_and_read_whole() {
    let test = TestBus::start().await.expect("bus");
    let ingress = test.connect(Service::Ingress).await.expect("connects");
    let operator = test.connect(Service::Operator).await.expect("connects");
    let (writing, reading) = (ingress.object_store(BODIES), operator.object_store(BODIES));
    for bytes in [1, PIECE, PIECE + 1, 513 * 1024, 40 * PIECE + 7] {
        let body = body(bytes);
        let stored = StoredBody::of(&body);
        for expected in [Kept::Written, Kept::Present] {
            let kept = writing.keep(&stored, &body, PATIENCE).await.expect("kept");
            assert_eq!(kept, expected, "{bytes}");
        }
        assert!(
            reading.fetch(&stored).await.expect("read") == body,
            "{bytes}"
        );
    }
    let absent = reading.fetch(&StoredBody::of(b"absent")).await;
    assert!(
        matches!(absent, Err(ObjectError::NotFound { .. })),
        "{absent:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_write_one_body_at_once_make_one_object() {
    let test = TestBus::start().await.expect("bus");
    let (one, other) = (
        test.connect(Service::Ingress).await.expect("connects"),
        test.connect(Service::Ingress).await.expect("connects"),
    );
    let operator = test.connect(Service::Operator).await.expect("connects");
    for round in 0..5 {
        let body = body(8 * PIECE + round);
        let stored = StoredBody::of(&body);
        let (first, second) = (one.object_store(BODIES), other.object_store(BODIES));
        let both = tokio::join!(
            first.keep(&stored, &body, PATIENCE),
            second.keep(&stored, &body, PATIENCE)
        );
        let both = [both.0.expect("kept"), both.1.expect("kept")];
        let written = both.iter().filter(|kept| **kept == Kept::Written).count();
        assert_eq!(written, 1, "{both:?}");
        let read = operator.object_store(BODIES).fetch(&stored).await;
        assert!(read.expect("read") == body);
    }
    for bus in [one, other] {
        assert_eq!(*bus.watch_state().borrow(), BusState::Connected);
    }
}

#[tokio::test]
async fn a_body_that_was_changed_is_not_read() {
    let test = TestBus::start().await.expect("bus");
    let operator = test.connect(Service::Operator).await.expect("connects");
    let store = operator.object_store(BODIES);
    for (delivered, other, expected) in [
        ("what was delivered", "what was delivereD", "Hash"),
        ("delivered", "deliver", "Size"),
        ("delivered later", "delivered later, and more", "Size"),
    ] {
        let named = StoredBody::of(delivered.as_bytes());
        // Described as the true one; only the pieces are others.
        let other = Bytes::from(other);
        store.keep(&named, &other, PATIENCE).await.expect("kept");
        let read = store.fetch(&named).await;
        let Err(ObjectError::Untrusted { source, .. }) = read else {
            panic!("{expected}: {read:?}")
        };
        assert!(format!("{source:?}").starts_with(expected), "{source}");
    }
    let renamed = StoredBody {
        object: "../other".to_owned(),
        ..StoredBody::of(b"delivered")
    };
    let read = store.fetch(&renamed).await;
    assert!(
        matches!(
            &read,
            Err(ObjectError::Untrusted {
                source: WrongBody::NoName { .. },
                ..
            })
        ),
        "{read:?}"
    );
}

#[tokio::test]
async fn only_ingress_writes_and_it_cannot_read() {
    let test = TestBus::start().await.expect("bus");
    let router = test.connect(Service::Router).await.expect("connects");
    let body = body(100);
    let stored = StoredBody::of(&body);
    let patience = Duration::from_millis(300);
    let refused = router
        .object_store(BODIES)
        .keep(&stored, &body, patience)
        .await;
    assert!(
        matches!(refused, Err(PublishError::TimedOut { .. })),
        "{refused:?}"
    );
    let state = router.watch_state().borrow().clone();
    assert!(
        matches!(&state, BusState::Denied(why) if why.contains("OBJ_bodies")),
        "{state:?}"
    );
    let ingress = test.connect(Service::Ingress).await.expect("connects");
    let store = ingress.object_store(BODIES);
    store.keep(&stored, &body, PATIENCE).await.expect("kept");
    let mut state = ingress.watch_state();
    let denied = async {
        let denied = |state: &BusState| matches!(state, BusState::Denied(_));
        state.wait_for(denied).await.is_ok()
    };
    tokio::select! {
        read = store.fetch(&stored) => panic!("{read:?}"),
        is_denied = denied => assert!(is_denied),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_silent_or_away_is_told_in_time_and_the_repeat_is_kept() {
    let test = TestBus::start().await.expect("bus");
    let proxy = FaultProxy::start(&test.server.url()).await.expect("proxy");
    let settings = test.settings_through(&proxy.url().expect("URL"));
    let now = tocsin_testkit::bus::clock();
    let bus = tocsin_bus::Bus::connect(&settings, Service::Ingress, "test", now).await;
    let bus = bus.expect("connects");
    let store = bus.object_store(BODIES);
    let body = body(20 * PIECE);
    let stored = StoredBody::of(&body);
    proxy.stall_replies();
    let silent = store.keep(&stored, &body, Duration::from_millis(200)).await;
    assert!(
        matches!(silent, Err(PublishError::TimedOut { .. })),
        "{silent:?}"
    );
    proxy.cut();
    eventually("the cut is seen", LIMIT, || async { !bus.is_connected() }).await;
    let away = store.keep(&stored, &body, PATIENCE).await;
    assert!(
        matches!(away, Err(PublishError::Unavailable { .. })),
        "{away:?}"
    );
    proxy.heal();
    let kept = eventually("it is kept", LIMIT, || store.keep(&stored, &body, PATIENCE)).await;
    assert_eq!(kept, Kept::Written);
    let operator = test.connect(Service::Operator).await.expect("connects");
    let read = operator.object_store(BODIES).fetch(&stored).await;
    assert!(read.expect("read") == body);
}
