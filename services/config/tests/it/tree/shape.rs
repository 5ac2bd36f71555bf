//! Org, units and teams: made, moved, renamed and deleted.

use http::Method;
use serde_json::{Value, json};

use crate::stage::{ADMIN, Answer, Request, Servers, Service};

const NODES: &str = "/api/v1/admin/orgs/acme/nodes";

async fn call(service: &Service, method: Method, path: &str, body: Value) -> Answer {
    let request = Request::new(method, path).bearer(ADMIN).json(body);
    service.call(request).await
}

async fn unit(service: &Service, id: &str, parent: &str) -> Answer {
    let body = json!({"node_id": id, "parent_id": parent, "node_type": "unit"});
    call(service, Method::POST, NODES, body).await
}

async fn hierarchy(service: &Service, node: &str) -> Value {
    let path = format!("/api/v1/config/orgs/acme/nodes/{node}/effective");
    service.admin(Method::GET, &path, None).await["hierarchy"].clone()
}

#[tokio::test]
async fn bug_1_2_units_nest_up_to_sixty_four_levels() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let mut parent = "acme".to_owned();
    for level in 1..=63 {
        let id = format!("u{level}");
        // The original knew only org and team: a unit was 422.
        assert_eq!(unit(&service, &id, &parent).await.status, 200, "{id}");
        parent = id;
    }
    let team = json!({"node_id":"deep","parent_id":"u63","node_type":"team"});
    let answer = call(&service, Method::POST, NODES, team).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    service.patch("acme", "acme", json!({"x_from":"top"})).await;
    let path = format!("{NODES}/deep/effective");
    let effective = service.admin(Method::GET, &path, None).await;
    assert_eq!(effective["x_from"], "top");
    assert_eq!(
        hierarchy(&service, "deep").await.as_array().map(Vec::len),
        Some(65)
    );
    for (id, parent) in [("u64", "u63"), ("u65", "u64")] {
        let answer = unit(&service, id, parent).await;
        match id {
            "u64" => assert_eq!(answer.status, 200),
            _ => assert_eq!(answer.problem(), (400, "invalid_parent")),
        }
    }
    let group = json!({"node_id":"alias","parent_id":"acme","node_type":"group"});
    let group = call(&service, Method::POST, NODES, group).await;
    assert_eq!(group.body["node_type"], "unit");
    service.stop().await;
}

#[tokio::test]
async fn a_node_moves_with_all_below_it_and_is_renamed() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    for (id, parent) in [("a", "acme"), ("b", "a"), ("c", "acme")] {
        unit(&service, id, parent).await;
    }
    let team = json!({"node_id":"t","parent_id":"b","node_type":"team"});
    call(&service, Method::POST, NODES, team).await;
    service.patch("acme", "c", json!({"x_from":"c"})).await;
    service.patch("acme", "a", json!({"x_from":"a"})).await;
    let path = format!("{NODES}/b");
    let body = json!({"parent_id":"c","name":"Bee"});
    let tried = call(
        &service,
        Method::PATCH,
        &format!("{path}?dry_run=true"),
        body.clone(),
    )
    .await;
    assert_eq!(tried.body["teams_affected"], json!(["t"]));
    assert_eq!(
        tried.body["changes"][0]["effective_diff"]["changed"]["x_from"],
        json!({"old":"a","new":"c"})
    );
    assert_eq!(
        hierarchy(&service, "t").await,
        json!(["acme", "a", "b", "t"])
    );
    let moved = call(&service, Method::PATCH, &path, body).await;
    assert_eq!(
        (
            &moved.body["parent_id"],
            &moved.body["name"],
            &moved.body["version"]
        ),
        (&json!("c"), &json!("Bee"), &json!(2))
    );
    assert_eq!(
        hierarchy(&service, "t").await,
        json!(["acme", "c", "b", "t"])
    );
    let effective = service
        .admin(Method::GET, &format!("{NODES}/t/effective"), None)
        .await;
    assert_eq!(effective["x_from"], "c");
    for (node, body, code) in [
        ("c", json!({"parent_id":"c"}), (400, "invalid_parent")),
        ("c", json!({"parent_id":"b"}), (400, "invalid_parent")),
        ("c", json!({"parent_id":"nowhere"}), (400, "invalid_parent")),
        ("c", json!({"parent_id":"ops"}), (400, "invalid_parent")),
        ("c", json!({"parent_id":"sre"}), (400, "invalid_parent")),
        ("acme", json!({"parent_id":"c"}), (400, "invalid_parent")),
        ("gone", json!({"name":"x"}), (404, "node_not_found")),
        (
            "c",
            json!({"name":"x","expected_version":9}),
            (409, "stale_version"),
        ),
    ] {
        let answer = call(&service, Method::PATCH, &format!("{NODES}/{node}"), body).await;
        assert_eq!(answer.problem(), code, "{answer:?}");
    }
    service.stop().await;
}

#[tokio::test]
async fn bug_1_2_deleting_a_parent_orphans_nobody() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    for (id, parent) in [("a", "acme"), ("b", "a")] {
        unit(&service, id, parent).await;
    }
    let team = json!({"node_id":"t","parent_id":"b","node_type":"team","config":{"routing":{"services":["api"]}}});
    call(&service, Method::POST, NODES, team).await;
    let token = service.token("acme", "t", None).await.token;
    let path = format!("{NODES}/a");
    let delete = async |query: &str| {
        let request = Request::new(Method::DELETE, query).bearer(ADMIN);
        service.call(request).await
    };
    let refused = delete(&path).await;
    assert_eq!(refused.problem(), (409, "node_has_children"));
    assert_eq!(refused.body["children"], json!(["b"]));
    let tried = delete(&format!("{path}?recursive=true&dry_run=true")).await;
    let told: Vec<&str> = tried.body["changes"]
        .as_array()
        .expect("list")
        .iter()
        .filter_map(|change| change["node_id"].as_str())
        .collect();
    assert_eq!(told, ["t", "b", "a"]);
    assert_eq!(
        hierarchy(&service, "t").await,
        json!(["acme", "a", "b", "t"])
    );
    let gone = delete(&format!("{path}?recursive=true")).await;
    assert_eq!(
        gone.body,
        json!({"status":"deleted","deleted":["t","b","a"]})
    );
    for node in ["a", "b", "t"] {
        let path = format!("{NODES}/{node}/effective");
        let answer = service
            .call(Request::new(Method::GET, &path).bearer(ADMIN))
            .await;
        assert_eq!(answer.problem(), (404, "node_not_found"), "{node}");
    }
    let me = Request::new(Method::GET, "/api/v1/config/me").bearer(&token);
    assert_eq!(service.call(me).await.status, 401);
    let claim = service
        .patch("acme", "sre", json!({"routing":{"services":["api"]}}))
        .await;
    assert_eq!(claim.status, 200, "the identifier is free");

    let org = delete("/api/v1/admin/orgs/acme").await;
    assert_eq!(org.problem(), (409, "node_has_children"));
    let org = delete("/api/v1/admin/orgs/acme?recursive=true").await;
    assert_eq!(org.body["deleted"], json!(["web", "sre", "acme"]));
    let orgs = service.admin(Method::GET, "/api/v1/admin/orgs", None).await;
    assert_eq!(orgs.as_array().map(Vec::len), Some(1));
    let again = json!({"org_id":"acme"});
    let again = service
        .admin(Method::POST, "/api/v1/admin/orgs", Some(again))
        .await;
    assert_eq!(again["version"], 3, "goes on where the old one stopped");
    service.stop().await;
}
