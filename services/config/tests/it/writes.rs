//! What a write keeps, and what it refuses.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::stage::{ADMIN, Request, Servers, Service, config_path};

#[tokio::test]
async fn parallel_patches_all_survive_with_versions_without_gaps() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let patches = (0..30).map(|number| {
        let service = &service;
        async move {
            let answer = service
                .patch("acme", "sre", json!({ format!("x_{number}"): number }))
                .await;
            assert_eq!(answer.status, 200, "{answer:?}");
            answer.headers["etag"].to_str().expect("text").to_owned()
        }
    });
    let etags: BTreeSet<String> = futures::future::join_all(patches)
        .await
        .into_iter()
        .collect();
    let expected: BTreeSet<String> = (2..=31).map(|version| format!("\"{version}\"")).collect();
    assert_eq!(etags, expected);
    let own = service
        .admin(Method::GET, &config_path("acme", "sre"), None)
        .await;
    assert_eq!(own["config"].as_object().expect("object").len(), 30);

    let audit = "/api/v1/admin/orgs/acme/nodes/sre/audit?limit=200";
    let history = service.admin(Method::GET, audit, None).await;
    let versions: Vec<i64> = history
        .as_array()
        .expect("list")
        .iter()
        .map(|row| row["version"].as_i64().expect("number"))
        .collect();
    assert_eq!(versions, (1..=31).rev().collect::<Vec<_>>());
    service.stop().await;
}

#[tokio::test]
async fn a_stale_version_is_a_conflict() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    service.patch("acme", "sre", json!({"x_a": 1})).await;
    let path = config_path("acme", "sre");
    let put = || Request::new(Method::PUT, &path).bearer(ADMIN);
    for (request, expected) in [
        (
            put().header("if-match", "\"1\"").json(json!({"patch":{}})),
            (409, "stale_version"),
        ),
        (
            put().json(json!({"patch":{},"expected_version":9})),
            (409, "stale_version"),
        ),
        (
            put().header("if-match", "x").json(json!({"patch":{}})),
            (400, "invalid_if_match"),
        ),
        (
            put().header("if-match", "\"2\"").json(json!({"patch":{}})),
            (200, ""),
        ),
        (
            put().json(json!({"patch":{},"expected_version":3})),
            (200, ""),
        ),
        (put().json(json!({"patch":[]})), (422, "invalid_body")),
        (put(), (400, "invalid_json")),
    ] {
        let answer = service.call(request).await;
        assert_eq!(answer.problem(), expected, "{answer:?}");
        assert!(answer.headers.contains_key("x-request-id"));
    }
    service.stop().await;
}

#[tokio::test]
async fn an_identifier_has_one_owner_per_org() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let claim = |repos: Value| json!({"routing": {"github_repos": repos}});
    let first = service
        .patch("acme", "sre", claim(json!(["Acme/API", "acme/web"])))
        .await;
    assert_eq!(first.status, 200);
    // Another spelling of the same repository, with something new that must not be kept either.
    let second = service
        .patch("acme", "web", claim(json!([" acme/api ", "acme/new"])))
        .await;
    assert_eq!(second.problem(), (409, "routing_conflict"));
    let detail = second.body["detail"].as_str().expect("text");
    assert!(
        detail.contains("github_repo \"acme/api\" belongs to team sre of org acme"),
        "{detail}"
    );
    let own = service
        .admin(Method::GET, &config_path("acme", "web"), None)
        .await;
    assert_eq!(own["config"], json!({}));
    assert_eq!(
        service
            .patch("umbrella", "ops", claim(json!(["acme/api"])))
            .await
            .status,
        200
    );

    // Given up by one, taken by the other; the marker works on lists as on anything.
    service
        .patch("acme", "sre", claim(json!("__INHERIT__")))
        .await;
    assert_eq!(
        service
            .patch("acme", "web", claim(json!(["acme/api"])))
            .await
            .status,
        200
    );
    // Gone with the team.
    service
        .admin(Method::DELETE, "/api/v1/admin/orgs/acme/teams/web", None)
        .await;
    assert_eq!(
        service
            .patch("acme", "sre", claim(json!(["acme/api"])))
            .await
            .status,
        200
    );

    // Both reach for the same ones at the same time, in different order: each has one owner.
    let values: Vec<String> = (0..20).map(|number| format!("svc-{number}")).collect();
    let reversed: Vec<&String> = values.iter().rev().collect();
    service
        .admin(Method::POST, "/api/v1/admin/orgs/acme/teams/api", None)
        .await;
    let (one, other) = tokio::join!(
        service.patch("acme", "sre", json!({"routing": {"services": values}})),
        service.patch("acme", "api", json!({"routing": {"services": reversed}})),
    );
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    service.stop().await;
}

#[tokio::test]
async fn config_is_inherited_from_the_defaults_down() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let nodes = "/api/v1/admin/orgs/acme/nodes";
    let unit =
        json!({"node_id":"platform","parent_id":"acme","node_type":"group","name":"Platform"});
    service.admin(Method::POST, nodes, Some(unit)).await;
    let team = json!({"node_id":"db","parent_id":"platform","node_type":"team","config":{"x_a":{"own":1}}});
    let node = service.admin(Method::POST, nodes, Some(team)).await;
    assert_eq!(
        node,
        json!({"org_id":"acme","node_id":"db","parent_id":"platform","node_type":"team","name":"db","version":1})
    );
    service
        .patch(
            "acme",
            "acme",
            json!({"x_a":{"x":1,"y":[1]},"entrance_agent":"planner"}),
        )
        .await;
    service
        .patch(
            "acme",
            "platform",
            json!({"x_a":{"y":[]},"entrance_agent":"triage","agents":{"triage":{}}}),
        )
        .await;
    service.patch("acme", "db", json!({"x_a":{"x":null}})).await;
    let path = "/api/v1/admin/orgs/acme/nodes/db";
    let effective = service
        .admin(Method::GET, &format!("{path}/effective"), None)
        .await;
    assert_eq!(effective["x_a"], json!({"own":1,"x":null,"y":[]}));
    assert_eq!(effective["entrance_agent"], "triage");
    assert_eq!(effective["agents"]["planner"]["tools"]["read_event"], true);
    let raw = service
        .admin(Method::GET, &format!("{path}/raw"), None)
        .await;
    let line: Vec<&str> = raw["lineage"]
        .as_array()
        .expect("list")
        .iter()
        .filter_map(|node| node["node_id"].as_str())
        .collect();
    assert_eq!(line, ["acme", "platform", "db"]);
    assert_eq!(raw["configs"]["platform"]["entrance_agent"], "triage");

    for (parent, expected) in [
        ("db", (400, "invalid_parent")),
        ("ops", (400, "invalid_parent")),
        ("Bad", (422, "invalid_id")),
    ] {
        let body = json!({"node_id":"x","parent_id":parent,"node_type":"team"});
        let request = Request::new(Method::POST, nodes).bearer(ADMIN).json(body);
        assert_eq!(service.call(request).await.problem(), expected, "{parent}");
    }
    let again = Request::new(Method::POST, "/api/v1/admin/orgs/acme/teams/db").bearer(ADMIN);
    assert_eq!(service.call(again).await.problem(), (409, "node_exists"));
    let nowhere = Request::new(Method::POST, "/api/v1/admin/orgs/nowhere/teams/db").bearer(ADMIN);
    assert_eq!(
        service.call(nowhere).await.problem(),
        (404, "org_not_found")
    );
    let unit = Request::new(Method::DELETE, "/api/v1/admin/orgs/acme/teams/platform").bearer(ADMIN);
    assert_eq!(service.call(unit).await.problem(), (404, "team_not_found"));
    service.stop().await;
}

#[tokio::test]
async fn history_tells_who_changed_what_and_goes_on_after_a_deletion() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let path = config_path("acme", "web");
    let request = Request::new(Method::PUT, &path)
        .bearer(ADMIN)
        .header("x-admin-actor", "alice")
        .json(json!({"patch":{"x_a":{"b":1}},"reason":"try it"}));
    service.call(request).await;
    let team = "/api/v1/admin/orgs/acme/teams/web";
    service.admin(Method::DELETE, team, None).await;
    let gone = service
        .call(Request::new(Method::GET, &path).bearer(ADMIN))
        .await;
    assert_eq!(gone.problem(), (404, "node_not_found"));
    service.admin(Method::POST, team, None).await;
    let audit = "/api/v1/admin/orgs/acme/nodes/web/audit";
    let history = service.admin(Method::GET, audit, None).await;
    let told: Vec<Value> = history
        .as_array()
        .expect("list")
        .iter()
        .map(|row| {
            json!([
                row["version"],
                row["what"],
                row["changed_by"],
                row["reason"],
                row["diff"],
                row["full_config"]
            ])
        })
        .collect();
    let none = json!({"added":{},"removed":{},"changed":{}});
    assert_eq!(
        told,
        [
            json!([4, "created", "admin_token", "", none, {}]),
            json!([3, "deleted", "admin_token", "", {"added":{},"removed":{"x_a.b":1},"changed":{}}, null]),
            json!([2, "updated", "admin_token:alice", "try it", {"added":{"x_a.b":1},"removed":{},"changed":{}}, {"x_a":{"b":1}}]),
            json!([1, "created", "admin_token", "", none, {}]),
        ]
    );
    service.stop().await;
}
