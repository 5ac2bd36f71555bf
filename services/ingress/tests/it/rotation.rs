//! A sender uses a new secret before it is here.

use serde_json::json;
use tocsin_wire::proto::SourceRecord;

use crate::sources::{NEW, OLD, Stage, record, secret};
use crate::stage::{NOW, event};

const ID: &str = "src_r";

fn with(secrets: Vec<tocsin_wire::proto::SourceSecret>, version: u64) -> SourceRecord {
    SourceRecord {
        secrets,
        version,
        ..record(ID, &json!({}))
    }
}

/// With the old secret, loaded.
async fn stage() -> Stage {
    let stage = Stage::start().await;
    stage.seal("old", OLD).await;
    stage.publish(with(vec![secret("1", "old", None)], 1)).await;
    stage.until_status(ID, OLD, 200).await;
    stage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_waits_for_the_secret_that_it_is_signed_with() {
    let stage = stage().await;
    // The record first, as the outbox may have it: the secret is opened when it is there.
    let rotation = async {
        let secrets = vec![secret("1", "old", Some(NOW + 2)), secret("2", "new", None)];
        stage.publish(with(secrets, 2)).await;
        stage.seal("new", NEW).await;
    };
    let (status, ()) = tokio::join!(stage.status(ID, NEW, 1), rotation);
    assert_eq!(status, 200);
    let events = stage.stored.wait_for(2).await;
    assert_eq!(event(&events[1].1).secret_id, "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_meanwhile_decides() {
    let stage = stage().await;
    let disabled = SourceRecord {
        disabled: true,
        ..with(vec![secret("1", "old", None)], 2)
    };
    let (status, ()) = tokio::join!(stage.status(ID, NEW, 1), stage.publish(disabled));
    assert_eq!(status, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_signature_is_refused_unless_a_secret_is_known_to_come() {
    let stage = stage().await;
    let (status, problem) = stage.deliver(&stage.ingress, ID, "wrong", 1).await;
    assert_eq!(
        (status, &problem["code"]),
        (401, &json!("signature_bad_signature"))
    );
    let secrets = vec![secret("1", "old", None), secret("2", "late", None)];
    stage.publish(with(secrets, 2)).await;
    stage.until_status(ID, NEW, 503).await;
    assert_eq!(stage.status(ID, OLD, 2).await, 200, "the others go on");
    stage.seal("late", NEW).await;
    stage.until_status(ID, NEW, 200).await;
}
