//! Templates: following one, seeing it before, taking it back.

use http::Method;
use serde_json::{Value, json};

use crate::stage::{Request, Servers, Service, config_path};

async fn call(
    service: &Service,
    method: Method,
    path: &str,
    token: &str,
    body: Option<Value>,
) -> Value {
    let mut request = Request::new(method, path).bearer(token);
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = service.call(request).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.body
}

async fn own(service: &Service, node: &str) -> Value {
    let answer = service
        .admin(Method::GET, &config_path("acme", node), None)
        .await;
    answer["config"].clone()
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table, or one story")]
async fn a_template_is_seen_before_applied_whole_and_taken_back() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let before = json!({"routing": {"services": ["api"]}, "notifications": {"default_slack_channel_id": "C1"},
        "agents": {"mine": {"enabled": true, "prompt": {"system": "own"}}}});
    service.patch("acme", "sre", before.clone()).await;
    let token = service.token("acme", "sre", None).await.token;
    let me = |method: Method, path: &'static str| call(&service, method, path, &token, None);

    let preview = me(Method::GET, "/api/v1/team/templates/aws-cost/preview").await;
    assert_eq!(
        preview["effective_diff"]["changed"]["entrance_agent"]["new"],
        "cost_analyst"
    );
    assert_eq!(
        preview["effective_diff"]["changed"]["agents.planner.enabled"],
        json!({"old": true, "new": false})
    );
    assert!(preview["own_diff"]["added"]["agents.cost_analyst.prompt.system"].is_string());
    assert_eq!(
        preview["next_steps"],
        json!(["Connect AWS: set region under integrations.aws"])
    );
    assert_eq!(own(&service, "sre").await, before);
    assert_eq!(
        me(Method::GET, "/api/v1/team/template").await["application"],
        Value::Null
    );

    let applied = me(Method::POST, "/api/v1/team/templates/aws-cost/apply").await;
    assert_eq!(
        (&applied["success"], &applied["version"]),
        (&json!(true), &json!(3))
    );
    assert!(applied["application_id"].is_string() && applied["message"].is_string());
    let with = own(&service, "sre").await;
    assert_eq!(
        (&with["routing"], &with["agents"]["mine"]),
        (&before["routing"], &before["agents"]["mine"])
    );
    assert_eq!(with["agents"]["planner"]["enabled"], false);
    assert_eq!(with["agents"]["cost_analyst"]["enabled"], true);
    let active = me(Method::GET, "/api/v1/team/template").await;
    assert_eq!(
        (&active["template"]["slug"], &active["update_available"]),
        (&json!("aws-cost"), &json!(false))
    );

    // Another one takes its place; one is active at a time.
    me(Method::POST, "/api/v1/team/templates/postmortem/apply").await;
    let with = own(&service, "sre").await;
    assert_eq!(
        (&with["agents"]["cost_analyst"], &with["entrance_agent"]),
        (&Value::Null, &json!("postmortem_writer"))
    );
    // What was changed since stays when it is taken back.
    service
        .patch(
            "acme",
            "sre",
            json!({"agents": {"timeline": {"max_turns": 5}}, "runtime": {"max_retries": 1}}),
        )
        .await;
    let reverted = me(Method::DELETE, "/api/v1/team/template").await;
    assert_eq!(
        (&reverted["success"], &reverted["kept"]),
        (&json!(true), &json!(["agents.timeline.max_turns"]))
    );
    let mut expected = before;
    expected["agents"]["timeline"] = json!({"max_turns": 5});
    expected["runtime"] = json!({"max_retries": 1});
    assert_eq!(own(&service, "sre").await, expected);
    let again = Request::new(Method::DELETE, "/api/v1/team/template").bearer(&token);
    assert_eq!(
        service.call(again).await.problem(),
        (404, "no_active_template")
    );

    let uses = service
        .admin(
            Method::GET,
            "/api/v1/admin/templates/postmortem/analytics",
            None,
        )
        .await;
    assert_eq!(
        (
            &uses["usage_count"],
            &uses["active_count"],
            &uses["ended_count"]
        ),
        (&json!(1), &json!(0), &json!(1))
    );
    assert_eq!(uses["applications"][0]["ended_as"], "reverted");
    service.stop().await;
}

/// Section 1.5: applying a template left no history row.
#[tokio::test]
async fn bug_1_5_applying_a_template_is_in_the_history() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let path = "/api/v1/admin/orgs/acme/nodes/sre/templates/alert-fatigue/apply";
    service.admin(Method::POST, path, None).await;
    let history = service
        .admin(Method::GET, "/api/v1/admin/orgs/acme/nodes/sre/audit", None)
        .await;
    let versions: Vec<&Value> = history
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| &row["version"])
        .collect();
    assert_eq!(versions, [2, 1]);
    assert_eq!(
        history[0]["reason"],
        "Template alert-fatigue version 1 applied"
    );
    assert_eq!(
        history[0]["diff"]["added"]["entrance_agent"],
        "alert_reviewer"
    );
    service
        .admin(
            Method::DELETE,
            "/api/v1/admin/orgs/acme/nodes/sre/template",
            None,
        )
        .await;
    let history = service
        .admin(Method::GET, "/api/v1/admin/orgs/acme/nodes/sre/audit", None)
        .await;
    assert_eq!(
        (&history[0]["version"], &history[0]["full_config"]),
        (&json!(3), &json!({}))
    );
    service.stop().await;
}

#[tokio::test]
async fn a_new_org_follows_the_template_for_incidents() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    let body = json!({"org_id": "acme", "name": "Acme"});
    let org = service
        .admin(Method::POST, "/api/v1/admin/orgs", Some(body))
        .await;
    assert_eq!(
        (&org["template_applied"], &org["version"]),
        (&json!(true), &json!(1))
    );
    let body = json!({"node_id": "umbrella", "node_type": "org"});
    let org = service
        .admin(
            Method::POST,
            "/api/v1/admin/orgs/umbrella/nodes",
            Some(body),
        )
        .await;
    assert_eq!(
        (&org["template_applied"], &org["version"]),
        (&json!(true), &json!(1))
    );
    let root = own(&service, "acme").await;
    assert_eq!(root["entrance_agent"], "planner");
    assert!(
        root["agents"]["planner"]["prompt"]["system"]
            .as_str()
            .is_some_and(|text| text.contains("first responder"))
    );
    let active = service
        .admin(
            Method::GET,
            "/api/v1/admin/orgs/acme/nodes/acme/template",
            None,
        )
        .await;
    assert_eq!(active["application"]["slug"], "slack-incident-triage");
    service
        .admin(
            Method::DELETE,
            "/api/v1/admin/orgs/acme/nodes/acme/template",
            None,
        )
        .await;
    assert_eq!(own(&service, "acme").await, json!({}));
    service.stop().await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table, or one story")]
async fn admins_add_templates_of_their_own() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let path = "/api/v1/admin/templates";
    let template = json!({"slug": "ours", "name": "Ours", "category": "own", "required_mcps": ["github"],
        "template_json": {"agents": {"a": {"enabled": true, "prompt": {"system": "x"}}}, "entrance_agent": "a"}});
    let created = service
        .admin(Method::POST, path, Some(template.clone()))
        .await;
    assert_eq!(
        (&created["version"], &created["shipped"]),
        (&json!(1), &json!(false))
    );
    let refuse = |method: Method, path: &'static str, body: Value| {
        let request = Request::new(method, path)
            .bearer(crate::stage::ADMIN)
            .json(body);
        service.call(request)
    };
    for (body, expected) in [
        (template.clone(), (409, "template_exists")),
        (
            json!({"slug": "aws-cost", "name": "x", "template_json": {"agents": {}}}),
            (409, "template_exists"),
        ),
        (
            json!({"slug": "x", "name": "x", "template_json": {"routing": {"services": ["a"]}}}),
            (422, "invalid_template"),
        ),
        (
            json!({"slug": "X", "name": "x", "template_json": {"agents": {}}}),
            (422, "invalid_template"),
        ),
        (
            json!({"slug": "x", "name": "", "template_json": {"agents": {}}}),
            (422, "invalid_template"),
        ),
        (json!({"slug": "x"}), (422, "invalid_body")),
    ] {
        assert_eq!(
            refuse(Method::POST, path, body.clone()).await.problem(),
            expected,
            "{body}"
        );
    }
    for method in [Method::PUT, Method::DELETE] {
        let refused = refuse(
            method,
            "/api/v1/admin/templates/aws-cost",
            json!({"name": "x"}),
        )
        .await;
        assert_eq!(refused.problem(), (409, "template_shipped"));
    }
    let apply = json!({"org_id": "umbrella", "team_node_id": "ops"});
    let applied = service
        .admin(
            Method::POST,
            "/api/v1/admin/templates/ours/apply",
            Some(apply),
        )
        .await;
    assert_eq!(
        applied["next_steps"],
        json!(["Add the MCP server github under mcp_servers.github"])
    );
    let id = created["id"].as_str().expect("id");
    let by_id = service
        .admin(
            Method::PUT,
            &format!("{path}/{id}"),
            Some(json!({"name": "Ours, better"})),
        )
        .await;
    assert_eq!(
        (&by_id["version"], &by_id["slug"], &by_id["active_count"]),
        (&json!(2), &json!("ours"), &json!(1))
    );
    let active = service
        .admin(
            Method::GET,
            "/api/v1/admin/orgs/umbrella/nodes/ops/template",
            None,
        )
        .await;
    assert_eq!(active["update_available"], true);
    let token = service.token("umbrella", "ops", None).await.token;
    let list = call(
        &service,
        Method::GET,
        "/api/v1/templates?search=OURS",
        &token,
        None,
    )
    .await;
    assert_eq!(
        (&list["total"], &list["templates"][0]["slug"]),
        (&json!(1), &json!("ours"))
    );
    assert_eq!(
        call(&service, Method::GET, "/api/v1/templates", &token, None).await["total"],
        11
    );
    service
        .admin(Method::DELETE, "/api/v1/admin/templates/ours", None)
        .await;
    // What it set can still be taken back.
    let reverted = call(
        &service,
        Method::DELETE,
        "/api/v1/team/template",
        &token,
        None,
    )
    .await;
    assert_eq!(reverted["success"], true);
    let gone = refuse(Method::DELETE, "/api/v1/admin/templates/ours", json!({})).await;
    assert_eq!(gone.problem(), (404, "template_not_found"));
    service.stop().await;
}
