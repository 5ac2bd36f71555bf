//! What ingress reads of sources.

use http::Method;
use serde_json::{Value, json};
use tocsin_bus::Bus;
use tocsin_kit::Clock;
use tocsin_testkit::eventually;
use tocsin_wire::Service as Room;
use tocsin_wire::proto::SourceRecord;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::sealed::Audience;
use tocsin_wire::source::SourceSettings;

use super::{SOURCES, call, create};
use crate::secrets::{is_gone, opens, reader};
use crate::stage::{LIMIT, Servers, Service};

async fn record(ingress: &Bus, id: &str) -> Option<SourceRecord> {
    let entry = ingress.bucket("sources").get(id).await.expect("reads");
    match entry?.envelope.body {
        Some(Body::SourceRecord(record)) => Some(record),
        other => panic!("not a source: {other:?}"),
    }
}

/// Waits until the record is at that version.
async fn at(ingress: &Bus, id: &str, version: u64) -> SourceRecord {
    eventually("the record", LIMIT, || async {
        match record(ingress, id).await {
            Some(record) if record.version == version => Ok(record),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

async fn until_gone(ingress: &Bus, id: &str) {
    eventually("the record to be gone", LIMIT, || async {
        record(ingress, id).await.is_none()
    })
    .await;
}

#[tokio::test]
async fn a_source_and_its_secrets_reach_ingress_and_follow_every_change() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let ingress = servers.bus.connect(Room::Ingress).await.expect("connects");
    let reader = reader(&servers, &Audience::Ingress).await;
    let settings = json!({"tolerance_seconds": 600});
    let body = json!({"provider": "github", "name": "web", "secret": "one", "settings": settings});
    let (id, _) = create(&service, body).await;
    let first = at(&ingress, &id, 1).await;
    assert_eq!(
        (
            first.org.as_str(),
            first.provider.as_str(),
            first.name.as_str(),
            first.disabled
        ),
        ("acme", "github", "web", false)
    );
    let read: SourceSettings = serde_json::from_slice(&first.settings).expect("settings");
    assert_eq!(read.tolerance_seconds, Some(600));
    let secret = &first.secrets[0];
    assert_eq!((secret.id.as_str(), secret.version), ("1", 1));
    assert_eq!((secret.not_before, secret.expires), (None, None));
    // Whoever reads of a secret can open it already.
    opens(&reader, "acme", &["acme"], &secret.name, "one").await;

    let path = format!("{SOURCES}/{id}");
    let rotate = json!({"secret": "two", "old_expires_in_seconds": 60});
    call(
        &service,
        Method::POST,
        &format!("{path}/secrets"),
        Some(rotate),
    )
    .await;
    let rotated = at(&ingress, &id, 2).await;
    let ids: Vec<&str> = rotated.secrets.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(ids, ["1", "2"]);
    let noon = service.clock.now();
    let ends = rotated.secrets[0].expires.as_ref().expect("it ends");
    assert_eq!(ends.seconds, noon.as_second() + 60);
    opens(&reader, "acme", &["acme"], &rotated.secrets[1].name, "two").await;

    let off = json!({"disabled": true});
    call(&service, Method::PATCH, &path, Some(off)).await;
    assert!(at(&ingress, &id, 3).await.disabled);

    call(&service, Method::DELETE, &format!("{path}/secrets/1"), None).await;
    let one_left = at(&ingress, &id, 4).await;
    assert_eq!(one_left.secrets.len(), 1);
    is_gone(&reader, "acme", &["acme"], &first.secrets[0].name).await;

    call(&service, Method::DELETE, &path, None).await;
    until_gone(&ingress, &id).await;
    is_gone(&reader, "acme", &["acme"], &rotated.secrets[1].name).await;

    // With its org, a source goes.
    let (id, _) = create(&service, json!({"provider": "github", "name": "web"})).await;
    at(&ingress, &id, 1).await;
    let org = "/api/v1/admin/orgs/acme?recursive=true";
    service.admin(Method::DELETE, org, None).await;
    until_gone(&ingress, &id).await;
    is_gone(&reader, "acme", &["acme"], &format!("source-{id}-1")).await;
    service.stop().await;
}

#[tokio::test]
async fn a_rebuild_makes_the_bucket_say_what_the_database_says() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let ingress = servers.bus.connect(Room::Ingress).await.expect("connects");
    let mut ids = Vec::new();
    for name in ["lost", "forged", "good"] {
        let (id, _) = create(&service, json!({"provider": "github", "name": name})).await;
        at(&ingress, &id, 1).await;
        ids.push(id);
    }
    service.stop().await;

    let config = servers.bus.connect(Room::Config).await.expect("connects");
    let operator = servers.bus.connect(Room::Operator).await.expect("connects");
    let bucket = config.bucket("sources");
    let good = bucket.get(&ids[2]).await.expect("reads").expect("there");
    bucket.delete(&ids[0]).await.expect("deletes");
    let forger = operator.bucket("sources");
    forger.put(&ids[1], &good.envelope).await.expect("puts");
    let leftover = "src_00000000000000000000ffff";
    bucket.put(leftover, &good.envelope).await.expect("puts");

    let rebuilding = tocsin_config::rebuild(servers.settings(), "test", Clock::system());
    let rebuilt = Box::pin(rebuilding).await.expect("rebuilds");
    assert_eq!(rebuilt.sources, 3, "{rebuilt:?}");
    for (id, name) in ids.iter().zip(["lost", "forged", "good"]) {
        assert_eq!(record(&ingress, id).await.expect("there").name, name);
    }
    assert!(record(&ingress, leftover).await.is_none());
    let untouched = bucket.get(&ids[2]).await.expect("reads").expect("there");
    assert_eq!(untouched.revision, good.revision);
    let again = tocsin_config::rebuild(servers.settings(), "test", Clock::system());
    assert_eq!(Box::pin(again).await.expect("rebuilds").sources, 0);
}

#[tokio::test]
async fn what_changes_is_told_without_any_value() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let body = json!({"provider": "github", "name": "web", "secret": "canary"});
    let (id, _) = create(&service, body).await;
    let path = format!("{SOURCES}/{id}");
    call(
        &service,
        Method::POST,
        &format!("{path}/secrets"),
        Some(Value::Null),
    )
    .await;
    call(&service, Method::DELETE, &path, None).await;
    // Five for the seeds, two and two for creating and rotating, three for deleting.
    let told = crate::publishing::news(&servers, 5 + 2 + 2 + 3).await;
    assert_eq!(
        told["acme/acme"],
        [
            "1 created",
            "1 secret_set",
            "1 source_created",
            "1 secret_set",
            "1 source_updated",
            "1 source_deleted",
            "1 secret_deleted",
            "1 secret_deleted",
        ]
    );
    service.stop().await;
}
