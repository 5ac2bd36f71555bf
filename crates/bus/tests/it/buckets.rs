//! Buckets: compare-and-set, trust, watches across a restart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use tocsin_bus::{Change, KeyValueError};
use tocsin_testkit::{TestBus, eventually};
use tocsin_wire::Service;
use tokio_util::sync::CancellationToken;

use crate::samples::{LIMIT, claim, unsigned};

#[tokio::test]
async fn the_first_claim_wins() {
    let test = TestBus::start().await.expect("bus");
    let router = test.connect(Service::Router).await.expect("connects");
    let seen = router.bucket("seen");
    assert!(seen.get("delivery.x").await.expect("reads").is_none());
    let revision = seen
        .create("delivery.x", &claim("first"))
        .await
        .expect("creates");
    let second = seen.create("delivery.x", &claim("second")).await;
    assert!(
        matches!(second, Err(KeyValueError::Exists { .. })),
        "{second:?}"
    );
    let entry = seen.get("delivery.x").await.expect("reads").expect("there");
    assert_eq!((entry.revision, entry.signer), (revision, Service::Router));
    assert_eq!(entry.envelope, claim_at(&entry.envelope, "first"));

    let next = seen
        .update("delivery.x", &claim("third"), revision)
        .await
        .expect("updates");
    let stale = seen.update("delivery.x", &claim("fourth"), revision).await;
    assert!(
        matches!(stale, Err(KeyValueError::Conflict { .. })),
        "{stale:?}"
    );
    assert!(next > revision);
    seen.delete("delivery.x").await.expect("deletes");
    assert!(seen.get("delivery.x").await.expect("reads").is_none());
    seen.create("delivery.x", &claim("fifth"))
        .await
        .expect("creates again");
}

/// The claim as written, whenever that was.
fn claim_at(written: &tocsin_wire::proto::Envelope, key: &str) -> tocsin_wire::proto::Envelope {
    tocsin_wire::proto::Envelope {
        time: written.time,
        ..claim(key)
    }
}

#[tokio::test]
async fn a_value_by_a_stranger_is_not_believed() {
    let test = TestBus::start().await.expect("bus");
    let router = test.connect(Service::Router).await.expect("connects");
    let operator = test.connect(Service::Operator).await.expect("connects");
    operator
        .bucket("seen")
        .put("delivery.y", &claim("forged"))
        .await
        .expect("the server lets it");
    let read = router.bucket("seen").get("delivery.y").await;
    assert!(
        matches!(read, Err(KeyValueError::Untrusted { .. })),
        "{read:?}"
    );
}

#[tokio::test]
async fn a_watch_tells_what_is_there_then_what_changes_also_after_a_restart() {
    let mut test = TestBus::start().await.expect("bus");
    let router = test.connect(Service::Router).await.expect("connects");
    let bucket = router.bucket("seen");
    bucket.put("a", &claim("a1")).await.expect("puts");
    let known: Arc<Mutex<BTreeMap<String, u64>>> = Arc::default();
    let caught_up = Arc::new(Mutex::new(0));
    let stop = CancellationToken::new();
    let watching = {
        let (bucket, stop) = (bucket.clone(), stop.clone());
        let (known, caught_up) = (Arc::clone(&known), Arc::clone(&caught_up));
        tokio::spawn(async move {
            bucket
                .watch(stop.cancelled(), |change| match change {
                    Change::Put { key, entry } => {
                        known
                            .lock()
                            .expect("not poisoned")
                            .insert(key, entry.revision);
                    }
                    Change::Removed { key } => {
                        known.lock().expect("not poisoned").remove(&key);
                    }
                    Change::CaughtUp => *caught_up.lock().expect("not poisoned") += 1,
                })
                .await;
        })
    };
    let keys = || {
        known
            .lock()
            .expect("not poisoned")
            .keys()
            .cloned()
            .collect::<String>()
    };
    eventually("the snapshot", LIMIT, || async {
        *caught_up.lock().expect("not poisoned") > 0
    })
    .await;
    assert_eq!(keys(), "a");
    bucket.put("b", &claim("b1")).await.expect("puts");
    eventually("the change", LIMIT, || async { keys() == "ab" }).await;

    test.server.kill().await.expect("kills");
    test.server.restart().await.expect("restarts");
    eventually("a write", LIMIT, || async {
        bucket.put("c", &claim("c1")).await
    })
    .await;
    // A server that has just started may still refuse one call after it took another.
    eventually("a deletion", LIMIT, || async { bucket.delete("a").await }).await;
    eventually("the changes after the restart", LIMIT, || async {
        keys() == "bc"
    })
    .await;
    stop.cancel();
    watching.await.expect("stops");
}

/// A service has a new key, and whoever follows its bucket hears of the value first.
#[tokio::test]
async fn a_value_is_told_as_soon_as_its_key_is_known() {
    let test = TestBus::start().await.expect("bus");
    let router = test.connect(Service::Router).await.expect("connects");
    let raw = unsigned(&test).await;
    let keys = raw.get_key_value("keys").await.expect("the key ring");
    let (id, record) = record_of(&keys, Service::Router).await;
    keys.delete(&id).await.expect("deletes");
    let follower = test.connect(Service::Operator).await.expect("connects");
    let (told, mut changes) = tokio::sync::mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let watching = {
        let (bucket, stop) = (follower.bucket("seen"), stop.clone());
        tokio::spawn(async move {
            let tell = |change| told.send(change).expect("somebody listens");
            bucket.watch(stop.cancelled(), tell).await;
        })
    };
    let first = changes.recv().await;
    assert!(matches!(first, Some(Change::CaughtUp)), "{first:?}");
    let bucket = router.bucket("seen");
    bucket.put("a", &claim("a1")).await.expect("puts");
    // Changes come in their order, so this one says that the value before was left out.
    bucket.delete("c").await.expect("deletes");
    let next = changes.recv().await;
    assert!(
        matches!(&next, Some(Change::Removed { key }) if key == "c"),
        "{next:?}"
    );
    keys.put(&id, record).await.expect("puts");
    let next = tokio::time::timeout(LIMIT, changes.recv()).await;
    assert!(
        matches!(&next, Ok(Some(Change::Put { key, entry })) if key == "a" && entry.signer == Service::Router),
        "{next:?}"
    );
    stop.cancel();
    watching.await.expect("stops");
}

/// Name and value of a service's record in the key ring.
async fn record_of(
    keys: &async_nats::jetstream::kv::Store,
    service: Service,
) -> (String, bytes::Bytes) {
    let mut names = keys.keys().await.expect("lists");
    while let Some(name) = names.next().await {
        let name = name.expect("a name");
        let value = keys.get(&name).await.expect("reads").expect("a value");
        let record: serde_json::Value = serde_json::from_slice(&value).unwrap_or_default();
        if record["service"] == service.name() {
            return (name, value);
        }
    }
    panic!("{service:?} has no key");
}
