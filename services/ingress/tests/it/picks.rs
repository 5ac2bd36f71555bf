//! Sources that say by expressions what their bodies mean.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tocsin_testkit::eventually;
use tocsin_wire::Service;
use tocsin_wire::proto::{Severity, SourceRecord};

use crate::sources::{NEW, Stage, record};
use crate::stage::{LIMIT, event};

fn picking(id: &str, pick: &Value) -> SourceRecord {
    let settings = json!({"scheme": {"type": "bearer"}, "pick": pick});
    SourceRecord {
        provider: "generic".to_owned(),
        ..record(id, &settings)
    }
}

async fn deliver(stage: &Stage, id: &str, body: &Value) -> u16 {
    let request = stage.ingress.post(&format!("/webhooks/generic/{id}"));
    let request = request.bearer_auth(NEW).json(body);
    request.send().await.expect("an answer").status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_any_form_becomes_the_event_that_its_source_describes() {
    let stage = Stage::start().await;
    stage.seal("new", NEW).await;
    let pick = json!({
        "title": "body.probe.name ~ ' at ' ~ body.site",
        "severity": "body.probe.grade",
        "status": "'resolved' if body.healthy else 'firing'",
        "dedupe_key": "body.probe.ref",
        "delivery_id": "body.run",
        "identifiers": {"service": "body.owners[0].system"},
    });
    stage.publish(picking("src_p", &pick)).await;
    let firing = json!({"probe": {"name": "Replication lag", "grade": "P2", "ref": "lag-7"}, "site": "fra-2",
        "healthy": false, "run": 501, "owners": [{"system": "Billing-DB"}]});
    eventually("the source is loaded", LIMIT, || async {
        deliver(&stage, "src_p", &firing).await == 200
    })
    .await;
    // Its end says neither where nor whose, and much else.
    let log = "x".repeat(100 * 1024);
    let over = json!({"probe": {"name": "Replication lag", "ref": "lag-7"}, "healthy": true, "run": 502,
        "title": "Lag is over", "log": log});
    assert_eq!(deliver(&stage, "src_p", &over).await, 200);
    let huge = json!({"run": 503, "title": "Huge", "log": "x".repeat(600 * 1024)});
    assert_eq!(deliver(&stage, "src_p", &huge).await, 200);

    let stored = stage.stored.wait_for(3).await;
    let subject = stored[0].0.to_string();
    assert!(
        subject.starts_with("events.generic.src_p.alert_firing."),
        "{subject}"
    );
    let (first, second, third) = (
        event(&stored[0].1),
        event(&stored[1].1),
        event(&stored[2].1),
    );
    assert_eq!(first.title, "Replication lag at fra-2");
    assert_eq!(
        (first.severity(), first.severity_native.as_str()),
        (Severity::High, "P2")
    );
    assert_eq!(first.identifiers.len(), 1);
    assert_eq!(first.identifiers[0].value, "Billing-DB");
    assert_eq!(first.delivery_id, "501");
    assert!(!first.attributes.contains_key("not_picked"));

    assert_eq!(
        (second.kind.as_str(), second.title.as_str()),
        ("alert_resolved", "Lag is over")
    );
    assert_eq!(second.correlation_key, first.correlation_key);
    assert!(second.identifiers.is_empty());
    let note = &second.attributes["not_picked"];
    assert!(note.contains("title: body.site has no value"), "{note}");
    assert_eq!(third.title, "Huge");
    assert!(
        third.attributes["not_picked"].starts_with("body: it has"),
        "{:?}",
        third.attributes
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_owner_sees_what_is_picked_and_how_often_something_is_not() {
    let stage = Stage::start().await;
    stage.seal("new", NEW).await;
    let pick = json!({"title": "body.name", "identifiers": {"service": "body.system"}});
    stage.publish(picking("src_s", &pick)).await;
    eventually("the source is loaded", LIMIT, || async {
        deliver(&stage, "src_s", &json!({"name": "a", "system": "b"})).await == 200
    })
    .await;
    assert_eq!(deliver(&stage, "src_s", &json!({"name": "a"})).await, 200);

    let question = json!({"source": "src_s", "headers": {"authorization": format!("Bearer {NEW}")},
        "body_base64": STANDARD.encode(json!({"system": "db"}).to_string())});
    let answer = stage.config.ask(Service::Ingress, "source_test", &question);
    let answer = answer.await.expect("an answer");
    assert_eq!(
        (&answer["verdict"], &answer["picked"]),
        (&json!("ok"), &json!({"identifiers": {"service": "db"}}))
    );
    assert_eq!(
        answer["not_picked"].as_array().map(Vec::len),
        Some(1),
        "{answer}"
    );

    let question = json!({"sources": ["src_s"]});
    eventually("it is counted", Duration::from_secs(30), || async {
        let health = stage
            .config
            .ask(Service::Ingress, "source_health", &question);
        let health = health.await.map_err(|error| error.to_string())?;
        match &health["src_s"]["not_picked"] {
            Value::Number(count) if count.as_u64() == Some(1) => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_whose_expressions_cannot_be_used_stops_its_source() {
    let stage = Stage::start().await;
    stage.seal("new", NEW).await;
    let until = async |id: &str, status: u16| {
        eventually("the source answers so", LIMIT, || async {
            let got = deliver(&stage, id, &json!({"title": "x"})).await;
            if got == status {
                Ok(())
            } else {
                Err(got.to_string())
            }
        })
        .await;
    };
    let broken = [
        json!({"title": "body."}),
        json!({"title": "title"}),
        json!({"identifiers": {"org_id": "body.org"}}),
    ];
    for (version, broken) in (1..).zip(broken) {
        let sound = SourceRecord {
            version,
            ..picking("src_q", &json!({}))
        };
        stage.publish(sound).await;
        until("src_q", 200).await;
        stage.publish(picking("src_q", &broken)).await;
        until("src_q", 503).await;
    }
    let other = SourceRecord {
        provider: "github".to_owned(),
        ..picking("src_r", &json!({"title": "body.a"}))
    };
    stage.publish(record("src_r", &json!({}))).await;
    stage.until_status("src_r", NEW, 200).await;
    stage.publish(other).await;
    stage.until_status("src_r", NEW, 503).await;
}
