//! Consuming in batches.

use std::cell::Cell;
use std::sync::Mutex;
use std::time::Duration;

use tocsin_bus::{BatchLimits, Delivery, Outcome};
use tocsin_testkit::{ConsumerState, TestBus, eventually};
use tocsin_wire::Service;
use tokio::sync::Barrier;
use tokio_util::sync::CancellationToken;

use crate::samples::{LIMIT, publish_events};

/// Well under the four seconds after which what nobody answers for comes again.
const AT_ONCE: Duration = Duration::from_secs(3);

/// Batches end while more is on its way: what arrives then belongs to the next one.
#[tokio::test]
async fn nothing_is_delivered_twice_while_messages_keep_coming() {
    let test = TestBus::start().await.expect("bus");
    let ingress = test.connect(Service::Ingress).await.expect("connects");
    let audit = test.connect(Service::Audit).await.expect("connects");
    let (stop, attempts) = (CancellationToken::new(), Mutex::new(Vec::new()));
    let limits = BatchLimits {
        max: 50,
        wait: Duration::from_millis(2),
    };
    let consuming = audit.consume_batches(("EVENTS", "audit"), limits, stop.cancelled(), |batch| {
        let mut attempts = attempts.lock().expect("not poisoned");
        attempts.extend(batch.iter().map(|delivery| delivery.attempt));
        std::future::ready(Outcome::Done)
    });
    let publishing = async {
        for round in 0..20 {
            publish_events(&ingress, round * 50..(round + 1) * 50).await;
        }
        eventually("all of them, once", LIMIT, || async {
            let attempts = attempts.lock().expect("not poisoned");
            let again = attempts.iter().filter(|attempt| **attempt > 1).count();
            (attempts.len() == 1_000 && again == 0)
                .then_some(())
                .ok_or_else(|| format!("{} deliveries, {again} again", attempts.len()))
        })
        .await;
        stop.cancel();
    };
    let (consumed, ()) = tokio::join!(consuming, publishing);
    consumed.expect("consumes");
}

/// Events that the server sent to audit, which has answered for none.
async fn sent(test: &TestBus) -> Result<u64, String> {
    let consumers = test.server.consumers().await;
    let consumers = consumers.map_err(|error| error.to_string())?;
    let of_audit = |state: &&ConsumerState| state.stream == "EVENTS" && state.name == "audit";
    Ok(consumers
        .iter()
        .find(of_audit)
        .map_or(0, |state| state.unanswered))
}

/// Until `count` is as many as expected.
async fn reached(limit: Duration, expected: usize, count: impl Fn() -> usize) {
    eventually(&format!("{expected} messages"), limit, || async {
        let count = count();
        (count == expected)
            .then_some(())
            .ok_or_else(|| format!("{count} of them"))
    })
    .await;
}

/// Each batch waits until another one is handled beside it, so one at a time would get nowhere.
#[tokio::test]
async fn two_batches_are_handled_at_a_time() {
    let test = TestBus::start().await.expect("bus");
    let ingress = test.connect(Service::Ingress).await.expect("connects");
    let audit = test.connect(Service::Audit).await.expect("connects");
    publish_events(&ingress, 0..200).await;
    let (stop, both) = (CancellationToken::new(), Barrier::new(2));
    let (running, most, done) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let limits = BatchLimits {
        max: 50,
        wait: Duration::from_secs(1),
    };
    let handler = |batch: Vec<Delivery>| {
        running.set(running.get() + 1);
        most.set(most.get().max(running.get()));
        let (running, done, both) = (&running, &done, &both);
        async move {
            both.wait().await;
            running.set(running.get() - 1);
            done.set(done.get() + batch.len());
            Outcome::Done
        }
    };
    let consuming = audit.consume_batches(("EVENTS", "audit"), limits, stop.cancelled(), handler);
    let looking = async {
        reached(LIMIT, 200, || done.get()).await;
        stop.cancel();
    };
    let (consumed, ()) = tokio::join!(consuming, looking);
    consumed.expect("consumes");
    assert_eq!(most.get(), 2);
}

/// What nobody has begun is there for another reader long before its `ack_wait` is over, also what was on its way at
/// the stop.
#[tokio::test]
async fn what_is_gathered_at_a_stop_goes_back() {
    let test = TestBus::start().await.expect("bus");
    let ingress = test.connect(Service::Ingress).await.expect("connects");
    let audit = test.connect(Service::Audit).await.expect("connects");
    publish_events(&ingress, 0..40).await;
    let (stop, begun) = (CancellationToken::new(), Cell::new(0));
    let limits = BatchLimits {
        max: 10,
        wait: Duration::from_secs(1),
    };
    let stopped = |batch: Vec<Delivery>| {
        begun.set(begun.get() + batch.len());
        let stop = &stop;
        async move {
            stop.cancelled().await;
            Outcome::Done
        }
    };
    let first = audit.consume_batches(("EVENTS", "audit"), limits, stop.cancelled(), stopped);
    let stopping = async {
        eventually("two batches in hand and one gathered", LIMIT, || async {
            let (begun, sent) = (begun.get(), sent(&test).await?);
            (begun == 20 && sent == 30)
                .then_some(())
                .ok_or_else(|| format!("{begun} begun of {sent} that were sent"))
        })
        .await;
        stop.cancel();
    };
    let (consumed, ()) = tokio::join!(first, stopping);
    consumed.expect("consumes");
    let (stop, attempts) = (CancellationToken::new(), Mutex::new(Vec::new()));
    let second = audit.consume_batches(("EVENTS", "audit"), limits, stop.cancelled(), |batch| {
        let mut attempts = attempts.lock().expect("not poisoned");
        attempts.extend(batch.iter().map(|delivery| delivery.attempt));
        std::future::ready(Outcome::Done)
    });
    let looking = async {
        reached(AT_ONCE, 20, || attempts.lock().expect("not poisoned").len()).await;
        stop.cancel();
    };
    let (consumed, ()) = tokio::join!(second, looking);
    consumed.expect("consumes");
    let mut attempts = attempts.into_inner().expect("not poisoned");
    attempts.sort_unstable();
    assert_eq!(attempts, [[1; 10], [2; 10]].concat());
}
