//! Many changes at once.

use std::time::Instant;

use http::Method;
use serde_json::{Value, json};

use crate::stage::{ADMIN, Answer, Request, Servers, Service};

async fn bulk(service: &Service, org: &str, query: &str, changes: Value) -> Answer {
    let path = format!("/api/v1/admin/orgs/{org}/bulk{query}");
    let body = json!({"changes": changes, "reason": "bulk"});
    let request = Request::new(Method::POST, &path).bearer(ADMIN).json(body);
    service.call(request).await
}

async fn export(service: &Service, org: &str) -> Value {
    let path = format!("/api/v1/admin/orgs/{org}/export");
    service.admin(Method::GET, &path, None).await["nodes"].clone()
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table, or one story")]
async fn a_bulk_is_made_in_order_and_as_a_whole() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let changes = json!([
        {"op":"create","node_id":"platform","parent_id":"acme","node_type":"unit","config":{"x_p":1}},
        {"op":"create","node_id":"inner","parent_id":"platform","node_type":"unit"},
        {"op":"create","node_id":"db","parent_id":"inner","node_type":"team","config":{"routing":{"services":["api"]}}},
        {"op":"place","node_id":"sre","parent_id":"inner"},
        {"op":"patch","node_id":"sre","config":{"x_a":1},"expected_version":2},
        {"op":"replace","node_id":"web","config":{"x_b":2},"expected_version":1},
        {"op":"delete","node_id":"web"},
        {"op":"create","node_id":"web","parent_id":"acme","node_type":"team","config":{"x_c":3}},
        {"op":"rollback","node_id":"sre","version":1},
    ]);
    let before = export(&service, "acme").await;
    let tried = bulk(&service, "acme", "?dry_run=true", changes.clone()).await;
    assert_eq!(
        tried.body["changes"].as_array().map(Vec::len),
        Some(9),
        "{tried:?}"
    );
    assert_eq!(tried.body["teams_affected"], json!(["db", "sre", "web"]));
    assert_eq!(export(&service, "acme").await, before, "nothing was kept");

    let mut bad = changes.as_array().expect("list").clone();
    bad.push(json!({"op":"create","node_id":"x","parent_id":"inner","node_type":"team","config":{"routing":{"services":["API"]}}}));
    let refused = bulk(&service, "acme", "", Value::Array(bad.clone())).await;
    assert_eq!(refused.problem(), (409, "routing_conflict"), "{refused:?}");
    bad.pop();
    bad.push(json!({"op":"patch","node_id":"gone","config":{}}));
    let refused = bulk(&service, "acme", "", Value::Array(bad)).await;
    assert_eq!(refused.problem(), (404, "node_not_found"));
    assert_eq!(
        (&refused.body["change"], &refused.body["node_id"]),
        (&json!(9), &json!("gone"))
    );
    assert_eq!(export(&service, "acme").await, before, "nothing was kept");

    let done = bulk(&service, "acme", "", changes).await;
    assert_eq!(done.status, 200, "{done:?}");
    let nodes = export(&service, "acme").await;
    let told: Vec<Value> = nodes
        .as_array()
        .expect("list")
        .iter()
        // The org follows a template.
        .skip(1)
        .map(|node| {
            json!([
                node["node_id"],
                node["parent_id"],
                node["version"],
                node["config"]
            ])
        })
        .collect();
    assert_eq!(
        told,
        [
            json!(["platform", "acme", 1, {"x_p":1}]),
            json!(["web", "acme", 4, {"x_c":3}]),
            json!(["inner", "platform", 1, {}]),
            json!(["db", "inner", 1, {"routing":{"services":["api"]}}]),
            json!(["sre", "inner", 4, {}]),
        ]
    );
    let audit = "/api/v1/admin/orgs/acme/audit?limit=9";
    let audit = service.admin(Method::GET, audit, None).await;
    for row in audit.as_array().expect("list") {
        assert_eq!(
            row["revision"], done.body["revision"],
            "one transaction, one revision"
        );
    }
    let configs =
        json!({"configs":[{"node_id":"sre","patch":{"x_x":1}},{"node_id":"db","config":{}}]});
    let path = "/api/v1/admin/orgs/acme/configs/bulk";
    let configs = service.admin(Method::POST, path, Some(configs)).await;
    assert_eq!(configs["changes"][1]["version"], 2);
    service.stop().await;
}

/// A unit moves deeper while a team is moved and another made below it, in both orders.
#[tokio::test]
async fn depths_stay_right_when_one_bulk_moves_several() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let first = json!([
        {"op":"create","node_id":"a","parent_id":"acme","node_type":"unit"},
        {"op":"create","node_id":"b","parent_id":"acme","node_type":"unit"},
        {"op":"create","node_id":"t","parent_id":"a","node_type":"team"},
    ]);
    assert_eq!(bulk(&service, "acme", "", first).await.status, 200);
    let second = json!([
        {"op":"create","node_id":"new","parent_id":"b","node_type":"unit"},
        {"op":"place","node_id":"a","parent_id":"new"},
        {"op":"patch","node_id":"t","config":{"x_x":1}},
        {"op":"create","node_id":"late","parent_id":"a","node_type":"team"},
        {"op":"place","node_id":"sre","parent_id":"a"},
    ]);
    let answer = bulk(&service, "acme", "", second).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut database = servers.database().await;
    let depths: Vec<(String, i32)> = sqlx::query_as(
        "select node_id, depth from nodes where org_id = 'acme' and kind = 'team' order by node_id",
    )
    .fetch_all(&mut database)
    .await
    .expect("reads");
    let told: Vec<(&str, i32)> = depths
        .iter()
        .map(|(id, depth)| (id.as_str(), *depth))
        .collect();
    assert_eq!(told, [("late", 4), ("sre", 4), ("t", 4), ("web", 1)]);
    service.stop().await;
}

/// Orgs with one unit in between; returns how long it took.
async fn load(service: &Service, orgs: usize, teams: usize) -> std::time::Duration {
    let began = Instant::now();
    let one = |org: usize| async move {
        let id = format!("org-{org}");
        let mut changes = vec![
            json!({"op":"create","node_id":id,"node_type":"org"}),
            json!({"op":"create","node_id":"unit","parent_id":id,"node_type":"unit","config":{"x_u":1}}),
        ];
        for team in 0..teams {
            changes.push(json!({"op":"create","node_id":format!("team-{team}"),"parent_id":"unit","node_type":"team",
                "config":{"routing":{"services":[format!("svc-{team}")]},"x_x":{"y":team}}}));
        }
        let answer = bulk(service, &id, "", Value::Array(changes)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    for chunk in (0..orgs).collect::<Vec<_>>().chunks(4) {
        futures::future::join_all(chunk.iter().map(|org| one(*org))).await;
    }
    began.elapsed()
}

#[tokio::test]
async fn a_thousand_teams_are_loaded_in_seconds() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    let took = load(&service, 10, 100).await;
    println!("1,000 teams in {took:?}");
    assert!(took.as_secs() < 20, "{took:?}");
    service.stop().await;
}

#[tokio::test]
#[ignore = "takes a minute: run it by name"]
async fn ten_thousand_teams_over_a_hundred_orgs_are_loaded_within_a_minute() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    let took = load(&service, 100, 100).await;
    println!("10,000 teams in {took:?}");
    assert!(took.as_secs() < 60, "{took:?}");
    let began = Instant::now();
    tocsin_testkit::eventually(
        "the outbox to be empty",
        std::time::Duration::from_secs(120),
        || async {
            let mut database = servers.database().await;
            let waiting: i64 = sqlx::query_scalar("select count(*) from outbox")
                .fetch_one(&mut database)
                .await
                .expect("counts");
            waiting == 0
        },
    )
    .await;
    println!("published {:?} later", began.elapsed());
    service.stop().await;
}
