//! The cache: never behind the replica's own writes, soon after those of others, and the last resort.

use http::Method;
use serde_json::json;
use tocsin_testkit::eventually;

use crate::stage::{ADMIN, LIMIT, Request, Servers, Service};

const EFFECTIVE: &str = "/api/v1/admin/orgs/acme/nodes/sre/effective";

#[tokio::test]
async fn a_write_shows_at_once_here_and_soon_in_the_other_replica() {
    let servers = Servers::start().await;
    let here = Service::ready(servers.settings()).await;
    here.seed().await;
    let there = Service::ready(servers.settings()).await;
    for round in 0..50 {
        let node = ["acme", "sre"][round % 2];
        here.patch("acme", node, json!({ "x_round": round })).await;
        let read = here.admin(Method::GET, EFFECTIVE, None).await;
        let expected = if round == 0 {
            0
        } else {
            round - (round + 1) % 2
        };
        assert_eq!(read["x_round"], expected, "{round}");
        eventually("the other replica to see it", LIMIT, || async {
            there.admin(Method::GET, EFFECTIVE, None).await["x_round"] == expected
        })
        .await;
    }
    here.stop().await;
    there.stop().await;
}

#[tokio::test]
async fn what_the_caller_has_is_not_sent_again() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let get = || Request::new(Method::GET, EFFECTIVE).bearer(ADMIN);
    let first = service.call(get()).await;
    let etag = first.headers["etag"].to_str().expect("text").to_owned();
    let again = service.call(get().header("if-none-match", &etag)).await;
    assert_eq!((again.status.as_u16(), again.body), (304, json!("")));
    let forced = format!("{EFFECTIVE}?force_refresh=true");
    let forced = Request::new(Method::GET, &forced).bearer(ADMIN);
    assert_eq!(service.call(forced).await.headers["etag"], etag.as_str());
    service.patch("acme", "acme", json!({"x_a":1})).await;
    let changed = service.call(get().header("if-none-match", &etag)).await;
    assert_eq!(
        (changed.status.as_u16(), &changed.body["x_a"]),
        (200, &json!(1))
    );
    service.stop().await;
}

#[tokio::test]
async fn without_postgres_the_last_known_state_is_sent_and_marked() {
    let mut servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    service.patch("acme", "acme", json!({"x_a":1})).await;
    let path = |node: &str| format!("/api/v1/config/orgs/acme/nodes/{node}/effective");
    service.admin(Method::GET, &path("sre"), None).await;
    let bus = servers
        .bus
        .connect(tocsin_wire::Service::Router)
        .await
        .expect("connects");
    eventually("the snapshot of web", LIMIT, || async {
        let entry = bus.bucket("teams").get("acme.web").await.expect("reads");
        entry.is_some_and(|entry| format!("{:?}", entry.envelope.body).contains("acme@2/web@1"))
    })
    .await;
    servers.postgres.kill().await.expect("kills");
    // From the cache, and from the bucket; once it is noticed.
    for node in ["sre", "web"] {
        let path = path(node);
        let ask = || service.call(Request::new(Method::GET, &path).bearer(ADMIN));
        eventually("the loss to be noticed", LIMIT, || async {
            ask().await.headers.contains_key("tocsin-stale")
        })
        .await;
        let answer = ask().await;
        assert_eq!(answer.status, 200, "{node}: {answer:?}");
        assert_eq!(answer.headers["tocsin-stale"], "true");
        assert!(answer.headers.contains_key("age"));
        assert_eq!(answer.body["effective_config"]["x_a"], 1);
        assert_eq!(answer.body["hierarchy"], json!(["acme", node]));
    }
    let unknown = path("nobody");
    let unknown = service
        .call(Request::new(Method::GET, &unknown).bearer(ADMIN))
        .await;
    assert_eq!(unknown.problem(), (503, "database_unavailable"));
    let write = service.patch("acme", "sre", json!({"x_a":2})).await;
    assert_eq!(write.problem(), (503, "database_unavailable"));
    eventually("readiness to tell", LIMIT, || async {
        !service.context.health.snapshot().checks["postgres"].ready
    })
    .await;

    servers.postgres.restart().await.expect("restarts");
    service.until_ready().await;
    service.patch("acme", "acme", json!({"x_a":3})).await;
    let path = path("sre");
    let fresh = service
        .call(Request::new(Method::GET, &path).bearer(ADMIN))
        .await;
    assert!(!fresh.headers.contains_key("tocsin-stale"));
    assert_eq!(fresh.body["effective_config"]["x_a"], 3);
    service.stop().await;
}
