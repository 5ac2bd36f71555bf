//! What is read of a node: now, then, and where it comes from.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::stage::{ADMIN, Request, Servers, Service, config_path};

const SRE: &str = "/api/v1/admin/orgs/acme/nodes/sre";

async fn get(service: &Service, path: &str) -> Value {
    service.admin(Method::GET, path, None).await
}

#[tokio::test]
async fn explain_names_node_version_author_and_what_is_overridden() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    service
        .patch("acme", "acme", json!({"runtime":{"max_retries":7}}))
        .await;
    let path = config_path("acme", "sre");
    let put = |actor, body| {
        Request::new(Method::PUT, &path)
            .bearer(ADMIN)
            .header("x-admin-actor", actor)
            .json(body)
    };
    service
        .call(put(
            "ada",
            json!({"patch":{"runtime":{"max_retries":1}},"reason":"calm"}),
        ))
        .await;
    service
        .call(put("bob", json!({"patch":{"x_other":true}})))
        .await;
    let told = get(&service, &format!("{SRE}/explain?path=runtime.max_retries")).await;
    assert_eq!(told["hierarchy"], json!(["acme", "sre"]));
    let [leaf] = told["leaves"].as_array().expect("list").as_slice() else {
        panic!("{told}")
    };
    assert_eq!(leaf["value"], 1);
    let by = &leaf["set_by"];
    assert_eq!(
        (
            &by["node_id"],
            &by["version"],
            &by["changed_by"],
            &by["reason"]
        ),
        (
            &json!("sre"),
            &json!(2),
            &json!("admin_token:ada"),
            &json!("calm")
        )
    );
    let over: Vec<Value> = leaf["overrides"]
        .as_array()
        .expect("list")
        .iter()
        .map(|over| json!([over["value"], over["node_id"], over["version"]]))
        .collect();
    assert_eq!(over, [json!([7, "acme", 2]), json!([2, null, null])]);

    let token = service.token("acme", "sre", None).await.token;
    let mine = Request::new(Method::GET, "/api/v1/config/me/explain?path=x_other").bearer(&token);
    let mine = service.call(mine).await.body;
    assert_eq!(mine["leaves"][0]["set_by"]["changed_by"], "admin_token:bob");
    service.stop().await;
}

#[tokio::test]
async fn what_changed_since_yesterday_and_between_versions_and_nodes() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    service.patch("acme", "sre", json!({"x_a":1,"x_b":1})).await;
    service.clock.advance(Duration::from_secs(2 * 24 * 60 * 60));
    service.patch("acme", "acme", json!({"x_above":true})).await;
    service
        .patch("acme", "sre", json!({"x_a":2,"x_b":"__INHERIT__"}))
        .await;
    service.clock.advance(Duration::from_secs(60 * 60));

    let since = get(&service, &format!("{SRE}/diff?from=yesterday")).await;
    assert_eq!(
        since["diff"],
        json!({"added":{"x_above":true},"removed":{"x_b":1},"changed":{"x_a":{"old":1,"new":2}}})
    );
    let told: Vec<Value> = since["changes"]
        .as_array()
        .expect("list")
        .iter()
        .map(|row| json!([row["node_id"], row["version"]]))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    let hour = get(&service, &format!("{SRE}/diff?from=30m")).await;
    assert_eq!(hour["diff"], json!({"added":{},"removed":{},"changed":{}}));
    let born = get(&service, &format!("{SRE}/diff?from=100d")).await;
    assert_eq!(born["from"]["exists"], false);

    let versions = get(&service, &format!("{SRE}/diff?from=2&to=3")).await;
    assert_eq!(
        (&versions["scope"], &versions["diff"]["removed"]),
        (&json!("own"), &json!({"x_b":1}))
    );
    let web = get(&service, &format!("{SRE}/diff?with=web")).await;
    assert_eq!(web["diff"]["removed"], json!({"x_a":2}));
    for (query, code) in [
        ("", (400, "invalid_field")),
        ("?from=never", (400, "invalid_field")),
        ("?from=1&to=1h", (400, "invalid_field")),
        ("?from=99", (404, "version_not_found")),
        ("?with=gone", (404, "node_not_found")),
    ] {
        let path = format!("{SRE}/diff{query}");
        let answer = service
            .call(Request::new(Method::GET, &path).bearer(ADMIN))
            .await;
        assert_eq!(answer.problem(), code, "{query}");
    }
    service.stop().await;
}

#[tokio::test]
async fn bug_1_3_rollback_works_for_every_version_the_first_included() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    service.patch("acme", "sre", json!({"x_a":1})).await;
    service
        .patch("acme", "sre", json!({"x_a":2,"x_b":{"c":3}}))
        .await;
    let rollback = format!("{SRE}/config/rollback");
    let post = async |path: &str, body: Value| {
        let request = Request::new(Method::POST, path).bearer(ADMIN).json(body);
        service.call(request).await
    };
    let tried = post(&format!("{rollback}?dry_run=true"), json!({"version":2})).await;
    assert_eq!(
        tried.body["changes"][0]["diff"]["removed"],
        json!({"x_b.c":3})
    );
    let back = post(&rollback, json!({"version":2})).await;
    assert_eq!(
        (back.status.as_u16(), &back.body["config"]),
        (200, &json!({"x_a":1}))
    );
    let v2 = post("/api/v1/config/orgs/acme/nodes/sre/rollback/3", Value::Null).await;
    assert_eq!(v2.body["config"], json!({"x_a":2,"x_b":{"c":3}}));
    let first = post(&rollback, json!({"version":1})).await;
    assert_eq!(first.body["config"], json!({}));
    let missing = post(&rollback, json!({"version":99})).await;
    assert_eq!(missing.problem(), (404, "version_not_found"));
    let history = get(&service, "/api/v1/config/orgs/acme/nodes/sre/history").await;
    let reasons: Vec<&str> = history
        .as_array()
        .expect("list")
        .iter()
        .filter_map(|row| row["change_reason"].as_str())
        .collect();
    assert_eq!(
        reasons,
        [
            "Rollback to version 1",
            "Rollback to version 3",
            "Rollback to version 2",
            "",
            "",
            ""
        ]
    );
    let token = service.token("acme", "sre", None).await.token;
    let mine = Request::new(Method::POST, "/api/v1/config/me/rollback")
        .bearer(&token)
        .json(json!({"version":2}));
    assert_eq!(service.call(mine).await.body["config"], json!({"x_a":1}));
    service.stop().await;
}

#[tokio::test]
async fn bug_1_3_inherit_removes_the_key_and_null_is_kept() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    service.patch("acme", "acme", json!({"x_x":{"a":1}})).await;
    service
        .patch("acme", "sre", json!({"x_x":{"a":2},"x_n":null}))
        .await;
    let before = get(&service, &format!("{SRE}/effective")).await;
    assert_eq!(
        (&before["x_x"], &before["x_n"]),
        (&json!({"a":2}), &Value::Null)
    );
    service
        .patch("acme", "sre", json!({"x_x":{"a":"__INHERIT__"}}))
        .await;
    let own = get(&service, &config_path("acme", "sre")).await;
    assert_eq!(own["config"], json!({"x_n":null}));
    let after = get(&service, &format!("{SRE}/effective")).await;
    assert_eq!(after["x_x"], json!({"a":1}));
    service.stop().await;
}

#[tokio::test]
async fn bug_1_3_x_admin_actor_names_the_author_however_it_is_spelled() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let path = config_path("acme", "sre");
    for header in ["X-Admin-Actor", "x_admin_actor"] {
        let request = Request::new(Method::PUT, &path)
            .bearer(ADMIN)
            .header(header, "ada")
            .json(json!({"patch":{}}));
        service.call(request).await;
        let audit = get(
            &service,
            "/api/v1/admin/orgs/acme/audit?node_id=sre&limit=1",
        )
        .await;
        assert_eq!(audit[0]["changed_by"], "admin_token:ada", "{header}");
    }
    service.stop().await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table, or one story")]
async fn replace_put_and_patch_come_as_the_clients_send_them() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let token = service.token("acme", "sre", None).await.token;
    let admin = config_path("acme", "sre");
    let v2 = "/api/v1/config/orgs/acme/nodes/sre";
    let me = "/api/v1/config/me";
    let replace = format!("{admin}?mode=replace");
    for (method, path, bearer, body, own) in [
        (
            Method::PUT,
            admin.as_str(),
            ADMIN,
            json!({"patch":{"x_a":1}}),
            json!({"x_a":1}),
        ),
        (
            Method::PUT,
            admin.as_str(),
            ADMIN,
            json!({"config":{"x_b":1}}),
            json!({"x_b":1}),
        ),
        (
            Method::PUT,
            replace.as_str(),
            ADMIN,
            json!({"patch":{"x_c":1}}),
            json!({"x_c":1}),
        ),
        (
            Method::PATCH,
            v2,
            ADMIN,
            json!({"config":{"x_d":1},"reason":"r","merge":true}),
            json!({"x_c":1,"x_d":1}),
        ),
        (
            Method::PATCH,
            v2,
            ADMIN,
            json!({"config":{"x_e":1},"merge":false}),
            json!({"x_e":1}),
        ),
        (
            Method::PATCH,
            me,
            token.as_str(),
            json!({"config":{"x_f":1},"merge":true,"x":0}),
            json!({"x_e":1,"x_f":1}),
        ),
        (
            Method::PUT,
            me,
            token.as_str(),
            json!({"x_g":1}),
            json!({"x_e":1,"x_f":1,"x_g":1}),
        ),
    ] {
        let request = Request::new(method.clone(), path).bearer(bearer).json(body);
        let answer = service.call(request).await;
        assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
        assert_eq!(answer.body["config"], own, "{method} {path}");
    }
    let raw = get(&service, &format!("{v2}/raw")).await;
    assert_eq!(
        (&raw["version"], &raw["node_type"]),
        (&json!(8), &json!("team"))
    );
    let mine = Request::new(Method::GET, "/api/v1/config/me/raw").bearer(&token);
    let mine = service.call(mine).await.body;
    assert_eq!(mine["lineage"], json!(["acme", "sre"]));
    let both = Request::new(Method::PUT, &admin)
        .bearer(ADMIN)
        .json(json!({"patch":{},"config":{}}));
    assert_eq!(service.call(both).await.problem(), (422, "invalid_field"));
    let defaults = service
        .call(Request::new(Method::GET, "/api/v1/config/defaults"))
        .await;
    assert_eq!(defaults.body["entrance_agent"], "planner");
    service.stop().await;
}

#[tokio::test]
async fn bad_input_has_codes_of_its_own_and_names_the_path() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    service.patch("acme", "sre", json!({"x_a":1})).await;
    let path = config_path("acme", "sre");
    let put = |body: Value| Request::new(Method::PUT, &path).bearer(ADMIN).json(body);
    let mut deep = json!(1);
    for _ in 0..70 {
        deep = json!({ "k": deep });
    }
    let stale = service
        .call(put(json!({"patch":{"x_a":2,"x_b":3},"expected_version":1})))
        .await;
    assert_eq!(stale.problem(), (409, "stale_version"));
    assert_eq!(
        (
            &stale.body["current"],
            &stale.body["yours"],
            &stale.body["current_version"]
        ),
        (&json!({"x_a":1}), &json!({"x_a":2,"x_b":3}), &json!(2))
    );
    let deep = service.call(put(json!({ "patch": deep }))).await;
    assert_eq!(deep.problem(), (422, "too_deep"));
    assert!(
        deep.body["detail"]
            .as_str()
            .expect("text")
            .contains("patch.k.k")
    );
    let large = service
        .call(put(json!({"patch":{"x_a":"x".repeat(300 * 1024)}})))
        .await;
    assert_eq!(large.problem(), (413, "too_large"));
    let over = service
        .call(put(json!({"patch":{"x_a":"x".repeat(1024 * 1024)}})))
        .await;
    assert_eq!(over.problem(), (413, "too_large"));
    service.stop().await;
}

#[tokio::test]
async fn the_audit_of_an_org_is_filtered_and_exported() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    service.clock.advance(Duration::from_secs(60));
    service.patch("acme", "sre", json!({"x_a":"x,\"y\""})).await;
    let org = "/api/v1/admin/orgs/acme/audit";
    let all = get(&service, org).await;
    assert_eq!(all.as_array().map(Vec::len), Some(4));
    assert_eq!(all[0]["full_config"], Value::Null);
    for (query, count) in [
        ("?node_id=sre", 2),
        ("?since=2026-03-01T12:00:30Z", 1),
        ("?until=2026-03-01T12:00:30Z", 3),
        ("?changed_by=nobody", 0),
        ("?limit=2", 2),
    ] {
        let rows = get(&service, &format!("{org}{query}")).await;
        assert_eq!(rows.as_array().map(Vec::len), Some(count), "{query}");
    }
    let full = get(&service, &format!("{org}?include_full=true&limit=1")).await;
    assert_eq!(full[0]["full_config"], json!({"x_a":"x,\"y\""}));
    let csv = get(&service, &format!("{org}/export?format=csv&node_id=sre")).await;
    let csv = csv.as_str().expect("text");
    let mut lines = csv.lines();
    assert_eq!(
        lines.next(),
        Some("org_id,node_id,version,changed_at,changed_by,change_diff,new_config")
    );
    let line = lines.next().expect("a line");
    assert!(
        line.starts_with("acme,sre,2,2026-03-01T12:01:00Z,admin_token,"),
        "{line}"
    );
    let json = get(&service, &format!("{org}/export?format=json")).await;
    assert_eq!(json.as_array().map(Vec::len), Some(4));
    let other = format!("{org}/export?format=xml");
    let other = service
        .call(Request::new(Method::GET, &other).bearer(ADMIN))
        .await;
    assert_eq!(other.problem(), (400, "invalid_field"));
    service.stop().await;
}
