//! Batches of events: each counts, and all of them or none.

use serde_json::{Value, json};
use tocsin_testkit::eventually;
use tocsin_wire::proto::SourceRecord;

use crate::sources::{NEW, Stage, record};
use crate::stage::{Ingress, LIMIT};

const ID: &str = "src_g";

/// With a source that may send a hundred events in ten seconds.
async fn stage() -> Stage {
    let stage = Stage::start().await;
    stage.seal("new", NEW).await;
    let settings = json!({"rate_tier": "small", "scheme": {"type": "bearer"}});
    let batches = SourceRecord {
        provider: "cloudevents".to_owned(),
        ..record(ID, &settings)
    };
    stage.publish(batches).await;
    stage
}

/// Events from number `first` on.
async fn deliver(to: &Ingress, first: usize, count: usize) -> reqwest::Response {
    let event = |number| json!({"specversion": "1.0", "id": format!("e-{number}"), "source": "/ci", "type": "com.example.built"});
    let batch: Vec<Value> = (first..first + count).map(event).collect();
    let request = to
        .post(&format!("/webhooks/cloudevents/{ID}"))
        .header("content-type", "application/cloudevents-batch+json")
        .bearer_auth(NEW);
    let answer = request.body(json!(batch).to_string()).send().await;
    answer.expect("an answer")
}

/// One event is counted then.
async fn until_loaded(ingress: &Ingress) {
    eventually("the source is loaded", LIMIT, || async {
        let status = deliver(ingress, 0, 1).await.status().as_u16();
        if status == 200 { Ok(()) } else { Err(status) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_counts_as_many_as_it_holds_and_takes_nothing_when_it_is_refused() {
    let stage = stage().await;
    until_loaded(&stage.ingress).await;
    let mut statuses = Vec::new();
    // What is refused is sent again and again, as senders do, and leaves room for what fits.
    for (number, count) in [60, 60, 60, 40, 40, 39].into_iter().enumerate() {
        let answer = deliver(&stage.ingress, number * 100, count).await;
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(statuses, [200, 429, 429, 429, 429, 200]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_could_never_be_taken_hears_how_many_events_could() {
    let stage = stage().await;
    until_loaded(&stage.ingress).await;
    let answer = deliver(&stage.ingress, 100, 101).await;
    assert_eq!(answer.status(), 413);
    let problem: Value = answer.json().await.expect("JSON");
    assert_eq!(problem["code"], "batch_too_large");
    let detail = problem["detail"].as_str().expect("text");
    assert!(detail.contains("more than 100 events"), "{detail}");
    assert_eq!(deliver(&stage.ingress, 100, 99).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_admit_no_more_of_batches_than_the_limit() {
    let stage = stage().await;
    let other = Stage::replica(&stage.bus).await;
    for replica in [&stage.ingress, &other] {
        until_loaded(replica).await;
    }
    let replicas = [&stage.ingress, &other];
    let sending = (1..=12).map(|number| deliver(replicas[number % 2], number * 100, 30));
    let answers = futures::future::join_all(sending).await;
    let statuses: Vec<u16> = answers
        .iter()
        .map(|answer| answer.status().as_u16())
        .collect();
    let taken = statuses.iter().filter(|status| **status == 200).count();
    assert!(taken <= 3, "{statuses:?}");
    assert!(
        statuses.iter().all(|status| [200, 429].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(
        stage.stored.wait_for(1 + taken * 30).await.len(),
        1 + taken * 30
    );
}
