//! From a write to what the other rooms read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tocsin_bus::{BatchLimits, Bus, Outcome};
use tocsin_testkit::eventually;
use tocsin_wire::Service as Room;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{RoutingRecord, TeamRecord};
use tokio_util::sync::CancellationToken;

use crate::stage::{LIMIT, Servers, Service};

/// Owners as `org/team`; empty when the key has no value.
async fn owners(router: &Bus, key: &str) -> Vec<String> {
    let entry = router.bucket("routing").get(key).await.expect("reads");
    let Some(Body::RoutingRecord(RoutingRecord { owners, .. })) =
        entry.and_then(|entry| entry.envelope.body)
    else {
        return Vec::new();
    };
    owners
        .into_iter()
        .map(|owner| format!("{}/{}", owner.org, owner.team))
        .collect()
}

async fn team(router: &Bus, key: &str) -> Option<TeamRecord> {
    let entry = router.bucket("teams").get(key).await.expect("reads");
    match entry?.envelope.body {
        Some(Body::TeamRecord(record)) => Some(record),
        other => panic!("not a team: {other:?}"),
    }
}

async fn effective(router: &Bus, key: &str) -> Value {
    let record = team(router, key).await;
    record.map_or(Value::Null, |record| {
        serde_json::from_slice(&record.effective_config).expect("JSON")
    })
}

/// Versions told per node, in the order of the stream.
pub(crate) async fn news(servers: &Servers, until: usize) -> BTreeMap<String, Vec<String>> {
    let audit = servers.bus.connect(Room::Audit).await.expect("connects");
    let told: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let (stop, sink) = (CancellationToken::new(), Arc::clone(&told));
    let limits = BatchLimits {
        max: 100,
        wait: Duration::from_millis(50),
    };
    let consuming = audit.consume_batches(("CONFIG", "audit"), limits, stop.cancelled(), |batch| {
        for delivery in batch {
            if let Some(Body::ConfigChanged(change)) = delivery.envelope.body {
                let node = format!("{}/{}", change.org, change.node);
                let what = format!("{} {}", change.version, change.what);
                sink.lock().expect("not poisoned").push((node, what));
            }
        }
        std::future::ready(Outcome::Done)
    });
    let waiting = async {
        eventually("all changes to be told", LIMIT, || async {
            let count = told.lock().expect("not poisoned").len();
            (count >= until).then_some(()).ok_or(count)
        })
        .await;
        stop.cancel();
    };
    let (consumed, ()) = tokio::join!(consuming, waiting);
    consumed.expect("consumes");
    let mut nodes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (node, what) in told.lock().expect("not poisoned").drain(..) {
        nodes.entry(node).or_default().push(what);
    }
    nodes
}

#[tokio::test]
async fn a_write_shows_in_the_buckets_and_is_told() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    let router = servers.bus.connect(Room::Router).await.expect("connects");
    service.seed().await;
    let channel = json!({"routing":{"slack_channel_ids":["C1"]},"x_a":{"own":1}});
    service.patch("acme", "sre", channel.clone()).await;
    service.patch("umbrella", "ops", channel).await;
    eventually("both owners", LIMIT, || async {
        let owners = owners(&router, "slack_channel_id.C1").await;
        (owners == ["acme/sre", "umbrella/ops"])
            .then_some(())
            .ok_or(format!("{owners:?}"))
    })
    .await;
    // A change at the top reaches every team below, and no other org.
    service
        .patch("acme", "acme", json!({"x_a":{"above":2}}))
        .await;
    eventually("the teams below", LIMIT, || async {
        effective(&router, "acme.web").await["x_a"] == json!({"above":2})
            && effective(&router, "acme.sre").await["x_a"] == json!({"own":1,"above":2})
    })
    .await;
    assert_eq!(
        effective(&router, "umbrella.ops").await["x_a"],
        json!({"own":1})
    );
    let record = team(&router, "acme.sre").await.expect("there");
    assert_eq!(
        (record.version.as_str(), record.name.as_str()),
        ("acme@2/sre@2", "sre")
    );

    service
        .admin(Method::DELETE, "/api/v1/admin/orgs/acme/teams/sre", None)
        .await;
    eventually("the team to be gone", LIMIT, || async {
        team(&router, "acme.sre").await.is_none()
            && owners(&router, "slack_channel_id.C1").await == ["umbrella/ops"]
    })
    .await;
    service.token("acme", "web", None).await;
    let told = news(&servers, 10).await;
    assert_eq!(told["acme/sre"], ["1 created", "2 updated", "0 deleted"]);
    assert_eq!(told["acme/web"], ["1 created", "1 token_issued"]);
    assert_eq!(told["acme/acme"], ["1 created", "2 updated"]);
    service.stop().await;
}

#[tokio::test]
async fn a_relay_killed_between_publishing_and_marking_loses_and_doubles_nothing() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let mut database = servers.database().await;
    eventually("the outbox to be empty", LIMIT, || async {
        waiting(&servers).await == 0
    })
    .await;
    // From here on, what is published cannot be marked.
    for statement in [
        "create function refuse() returns trigger language plpgsql as $$ begin raise 'not now'; end $$",
        "create trigger refuse before delete on outbox execute function refuse()",
    ] {
        sqlx::query(statement)
            .execute(&mut database)
            .await
            .expect("creates");
    }
    service
        .patch("acme", "sre", json!({"routing":{"services":["api"]}}))
        .await;
    service
        .patch("acme", "sre", json!({"routing":{"services":["api","web"]}}))
        .await;
    let router = servers.bus.connect(Room::Router).await.expect("connects");
    eventually("it to be published", LIMIT, || async {
        owners(&router, "service.web").await == ["acme/sre"]
    })
    .await;
    service.kill().await;
    assert_eq!(waiting(&servers).await, 2, "published, not marked");
    sqlx::query("drop trigger refuse on outbox")
        .execute(&mut database)
        .await
        .expect("drops");

    let service = Service::ready(servers.settings()).await;
    eventually("the outbox to be empty", LIMIT, || async {
        waiting(&servers).await == 0
    })
    .await;
    service.patch("acme", "sre", json!({"x_last":true})).await;
    let told = news(&servers, 8).await;
    assert_eq!(
        told["acme/sre"],
        ["1 created", "2 updated", "3 updated", "4 updated"]
    );
    service.stop().await;
}

async fn waiting(servers: &Servers) -> i64 {
    let mut database = servers.database().await;
    let count = sqlx::query_scalar("select count(*) from outbox");
    count.fetch_one(&mut database).await.expect("counts")
}

#[tokio::test]
async fn writes_go_on_without_nats_and_are_published_when_it_is_back() {
    let mut servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    servers.bus.server.kill().await.expect("kills");
    for number in 0..3 {
        let answer = service
            .patch("acme", "sre", json!({"x_number":number}))
            .await;
        assert_eq!(answer.status, 200);
    }
    servers.bus.server.restart().await.expect("restarts");
    let router = servers.bus.connect(Room::Router).await.expect("connects");
    eventually("the last write", LIMIT, || async {
        effective(&router, "acme.sre").await["x_number"] == json!(2)
    })
    .await;
    service.stop().await;
}

#[tokio::test]
async fn a_start_mends_buckets_that_say_something_else() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    service
        .patch(
            "acme",
            "sre",
            json!({"routing":{"services":["api", "web"]}}),
        )
        .await;
    let router = servers.bus.connect(Room::Router).await.expect("connects");
    eventually("the snapshot", LIMIT, || async {
        owners(&router, "service.web").await == ["acme/sre"]
    })
    .await;
    eventually("the outbox to be empty", LIMIT, || async {
        waiting(&servers).await == 0
    })
    .await;
    service.stop().await;

    let leftover = damage(&servers).await;
    let service = Service::ready(servers.settings()).await;
    for key in ["service.api", "service.web"] {
        assert_eq!(owners(&router, key).await, ["acme/sre"], "{key}");
    }
    assert!(
        router
            .bucket("routing")
            .get(&leftover)
            .await
            .expect("reads")
            .is_none()
    );
    assert!(team(&router, "acme.sre").await.is_some());
    service.stop().await;
}

/// Loses two keys, forges one and leaves one over; returns the last.
async fn damage(servers: &Servers) -> String {
    let long = "x".repeat(400);
    let operator = servers.bus.connect(Room::Operator).await.expect("connects");
    let config = servers.bus.connect(Room::Config).await.expect("connects");
    config
        .bucket("routing")
        .delete("service.web")
        .await
        .expect("deletes");
    config
        .bucket("teams")
        .delete("acme.sre")
        .await
        .expect("deletes");
    let api = config
        .bucket("routing")
        .get("service.api")
        .await
        .expect("reads")
        .expect("there");
    operator
        .bucket("routing")
        .put("service.api", &api.envelope)
        .await
        .expect("puts");
    let mut gone = api.envelope.clone();
    gone.body = Some(Body::RoutingRecord(RoutingRecord {
        r#type: "service".to_owned(),
        value: long.clone(),
        owners: Vec::new(),
    }));
    let known = tocsin_wire::identifier::IdentifierType::named("service").expect("known");
    let leftover = known.key(&long);
    config
        .bucket("routing")
        .put(&leftover, &gone)
        .await
        .expect("puts");
    leftover
}

#[tokio::test]
async fn the_operator_asks_over_nats() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    service
        .patch(
            "acme",
            "sre",
            json!({"x_a":1,"routing":{"services":["api"]}}),
        )
        .await;
    let operator = servers.bus.connect(Room::Operator).await.expect("connects");
    let ask = async |verb: &'static str, question: Value| {
        let answer = eventually("an answer", LIMIT, || async {
            match operator.ask(Room::Config, verb, &question).await {
                Err(tocsin_bus::AskError::Unreachable { .. }) => None,
                answered => Some(answered),
            }
        });
        answer.await
    };
    let effective = ask("effective", json!({"org":"acme","team":"sre"}))
        .await
        .expect("answers");
    assert_eq!(
        (&effective["x_a"], &effective["entrance_agent"]),
        (&json!(1), &json!("planner"))
    );
    let found = ask("lookup", json!({"identifiers":{"service":"API"}}))
        .await
        .expect("answers");
    assert_eq!(
        (&found["found"], &found["team_node_id"]),
        (&json!(true), &json!("sre"))
    );
    for (verb, question, code) in [
        ("effective", json!({"org":"acme","team":"nobody"}), 404),
        ("effective", json!({"org":"acme"}), 400),
        ("lookup", json!(null), 400),
    ] {
        let refused = ask(verb, question).await.expect_err("refused");
        assert!(
            matches!(refused, tocsin_bus::AskError::Refused { code: said, .. } if said == code),
            "{refused:?}"
        );
    }
    service.stop().await;
}
