//! Consuming in batches.

use std::sync::Mutex;
use std::time::Duration;

use tocsin_bus::{BatchLimits, Outcome};
use tocsin_testkit::{TestBus, eventually};
use tocsin_wire::Service;
use tokio_util::sync::CancellationToken;

use crate::samples::{LIMIT, publish_events};

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
