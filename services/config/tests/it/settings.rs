//! Settings of teams and orgs, integrations, and the catalogue.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request as Incoming;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::stage::{ADMIN, Request, Servers, Service, config_path};

async fn me(
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

/// Section 1.4: it was kept in a table of its own, and the effective config never had it.
#[tokio::test]
async fn bug_1_4_output_config_is_part_of_the_effective_config() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let token = service.token("acme", "sre", None).await.token;
    let path = "/api/v1/team/output-config";
    let nothing = json!({"default_destinations": [], "trigger_overrides": {}});
    assert_eq!(me(&service, Method::GET, path, &token, None).await, nothing);
    let output = json!({
        "default_destinations": [{"type": "slack", "channel_id": "C1", "channel_name": "#ops"}, {"type": "github_issue_comment", "repo": "acme/api"}],
        "trigger_overrides": {"slack": "reply_in_thread", "github": "comment_on_pr"},
    });
    assert_eq!(
        me(&service, Method::PUT, path, &token, Some(output.clone())).await,
        output
    );
    let effective = me(&service, Method::GET, "/api/v1/config/me", &token, None).await;
    assert_eq!(effective["effective_config"]["output_config"], output);
    // Set as a whole: what is not sent is gone, and what the org says shows through.
    let smaller =
        json!({"default_destinations": [], "trigger_overrides": {"slack": "use_default"}});
    me(&service, Method::PUT, path, &token, Some(smaller.clone())).await;
    assert_eq!(me(&service, Method::GET, path, &token, None).await, smaller);
    let above =
        json!({"default_destinations": [], "trigger_overrides": {"pagerduty": "use_default"}});
    let admin = "/api/v1/admin/orgs/acme/nodes/acme/output-config";
    service.admin(Method::PUT, admin, Some(above)).await;
    let both = me(&service, Method::GET, path, &token, None).await;
    assert_eq!(
        both["trigger_overrides"],
        json!({"slack": "use_default", "pagerduty": "use_default"})
    );
    let odd = json!({"trigger_overrides": {"slack": "shout"}});
    let refused = service
        .call(Request::new(Method::PUT, path).bearer(&token).json(odd))
        .await;
    assert_eq!(refused.problem(), (422, "invalid_body"));
    service.stop().await;
}

#[tokio::test]
async fn notifications_and_org_settings_are_config_like_any_other() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let token = service.token("acme", "sre", None).await.token;
    let set = json!({"default_slack_channel_id": "C1", "pagerduty_output": {"slack_channel_id": "C2", "post_pagerduty_note": true}});
    let path = "/api/v1/team/notifications";
    me(&service, Method::PUT, path, &token, Some(set.clone())).await;
    assert_eq!(me(&service, Method::GET, path, &token, None).await, set);
    let effective = me(&service, Method::GET, "/api/v1/config/me", &token, None).await;
    assert_eq!(effective["effective_config"]["notifications"], set);

    let settings = "/api/v1/config/me/org-settings";
    let before = me(&service, Method::GET, settings, &token, None).await;
    assert_eq!(before["telemetry_enabled"], false);
    let after = me(
        &service,
        Method::PUT,
        settings,
        &token,
        Some(json!({"telemetry_enabled": true})),
    )
    .await;
    assert_eq!(after["telemetry_enabled"], true);
    assert!(
        after["updated_by"]
            .as_str()
            .is_some_and(|by| by.starts_with("team_token:")),
        "{after}"
    );
    // The admin's view of the same; an unrelated write leaves its record alone.
    service
        .patch("acme", "acme", json!({"runtime": {"max_retries": 1}}))
        .await;
    let seen = service
        .admin(Method::GET, "/api/v1/admin/orgs/acme/settings", None)
        .await;
    assert_eq!(seen, after);
    let other = service
        .admin(Method::GET, "/api/v1/admin/orgs/umbrella/settings", None)
        .await;
    assert_eq!(other["telemetry_enabled"], false);
    let gone = Request::new(Method::GET, "/api/v1/admin/orgs/nobody/settings").bearer(ADMIN);
    assert_eq!(service.call(gone).await.problem(), (404, "org_not_found"));

    service
        .patch("acme", "acme", json!({"knowledge_tree": "company"}))
        .await;
    service
        .patch("acme", "sre", json!({"knowledge_tree": "runbooks"}))
        .await;
    let trees = me(
        &service,
        Method::GET,
        "/api/v1/config/me/effective-trees",
        &token,
        None,
    )
    .await;
    assert_eq!(
        trees,
        json!({"team_node_id": "sre", "trees": [
            {"tree_name": "runbooks", "level": "team", "node_name": "sre", "node_id": "sre", "inherited": false},
            {"tree_name": "company", "level": "org", "node_name": "ACME", "node_id": "acme", "inherited": true},
        ]})
    );
    service.stop().await;
}

#[tokio::test]
async fn the_catalogue_says_what_there_is_and_what_a_team_can_use() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let open = |path: &'static str| service.call(Request::new(Method::GET, path));
    let tools = open("/api/v1/tools/metadata?category=metrics").await.body;
    assert!(tools["total"].as_u64().is_some_and(|total| total >= 2));
    assert_eq!(tools["tools"][0]["required_integrations"], json!([]));
    let agents = open("/api/v1/agents/metadata").await.body;
    assert!(
        agents["models"]
            .as_array()
            .is_some_and(|models| models.iter().any(|one| one["id"] == "gpt-4o"))
    );
    let slack = open("/api/v1/integrations/schemas/slack").await.body;
    let token_field = slack["fields"]
        .as_array()
        .expect("fields")
        .iter()
        .find(|one| one["name"] == "bot_token")
        .expect("there");
    assert_eq!(
        (
            &token_field["type"],
            &token_field["required"],
            &token_field["level"]
        ),
        (&json!("secret"), &json!(true), &json!("org"))
    );
    assert_eq!(open("/api/v1/integrations/schemas").await.body["total"], 30);
    let unknown = open("/api/v1/integrations/schemas/nobody").await;
    assert_eq!(unknown.problem(), (404, "integration_not_found"));

    let token = service.token("acme", "sre", None).await.token;
    service.patch("acme", "sre", json!({"agents": {"planner": {"tools": {"describe_node": true}}}, "tools": {"http_get": false}})).await;
    let mine = me(
        &service,
        Method::GET,
        "/api/v1/team/tools/catalog",
        &token,
        None,
    )
    .await;
    let tool = |id: &str| {
        let tools = mine["tools"].as_array().expect("tools");
        tools
            .iter()
            .find(|one| one["id"] == id)
            .expect("there")
            .clone()
    };
    assert_eq!(tool("read_event")["usable"], true);
    assert_eq!(
        (
            &tool("http_get")["usable"],
            &tool("describe_node")["usable"]
        ),
        (&json!(false), &json!(false))
    );
    assert_eq!(
        tool("describe_node")["missing_integrations"],
        json!(["kubernetes"])
    );
    assert!(
        tool("describe_node")["agents"]
            .as_array()
            .is_some_and(|agents| agents.contains(&json!("planner")))
    );
    service.stop().await;
}

/// Requests that a vendor got: method, path, authorization.
type Seen = Arc<Mutex<Vec<String>>>;

/// A vendor that knows one token.
async fn vendor() -> (String, Seen) {
    let seen = Seen::default();
    let record = Arc::clone(&seen);
    let app = Router::new().fallback(move |request: Incoming| {
        let authorization = request.headers().get("authorization");
        let authorization = authorization
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let line = format!("{} {} {authorization}", request.method(), request.uri());
        record.lock().expect("not poisoned").push(line);
        let is_good = authorization == "Bearer good-token";
        let (status, body) = match request.uri().path() {
            "/-/healthy" => (StatusCode::OK, "Prometheus is Healthy.".to_owned()),
            "/slack/auth.test" if is_good => (
                StatusCode::OK,
                json!({"ok": true, "team": "Acme"}).to_string(),
            ),
            "/slack/auth.test" => (
                StatusCode::OK,
                json!({"ok": false, "error": "invalid_auth"}).to_string(),
            ),
            _ => (StatusCode::NOT_FOUND, String::new()),
        };
        async move { (status, body) }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let base = format!("http://{}", listener.local_addr().expect("address"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (base, seen)
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table, or one story")]
async fn an_integration_is_connected_tested_and_its_secret_never_shown() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let (base, seen) = vendor().await;
    let path = "/api/v1/admin/orgs/acme/integrations/slack";
    let put = |body: Value| service.admin(Method::PUT, path, Some(json!({"config": body})));
    let test = || {
        service.admin(
            Method::POST,
            "/api/v1/admin/orgs/acme/integrations/slack/test",
            None,
        )
    };
    assert_eq!(
        test().await["message"],
        "set integrations.slack.bot_token first"
    );
    let connected =
        put(json!({"bot_token": "bad-token", "api_url": format!("{base}/slack"), "app_id": "A0"}))
            .await;
    assert_eq!(
        (&connected["configured"], &connected["missing"]),
        (&json!(true), &json!([]))
    );
    assert_eq!(
        connected["config"]["bot_token"],
        "${secret:slack-bot-token}"
    );
    let tested = test().await;
    assert_eq!(
        (&tested["success"], &tested["message"]),
        (&json!(false), &json!("Slack answered 200: invalid_auth"))
    );
    // `***` leaves what is there, null takes away.
    let changed = put(json!({"bot_token": "good-token", "app_id": null})).await;
    assert_eq!(changed["own"].get("app_id"), None);
    put(json!({"bot_token": "***"})).await;
    let tested = test().await;
    assert_eq!(
        (&tested["success"], &tested["details"]["workspace"]),
        (&json!(true), &json!("Acme"))
    );
    let token = service.token("acme", "sre", None).await.token;
    let health = me(
        &service,
        Method::GET,
        "/api/v1/team/integrations/health",
        &token,
        None,
    )
    .await;
    let slack = health["integrations"]
        .as_array()
        .expect("all")
        .iter()
        .find(|one| one["id"] == "slack")
        .expect("there")
        .clone();
    assert_eq!(slack["status"], "healthy");

    // Nowhere: not in the config, its history, or any view of it.
    for place in [
        config_path("acme", "acme"),
        "/api/v1/admin/orgs/acme/nodes/acme/audit".to_owned(),
        path.to_owned(),
        "/api/v1/admin/orgs/acme/integrations".to_owned(),
    ] {
        let shown = service.admin(Method::GET, &place, None).await.to_string();
        assert!(
            !shown.contains("good-token") && !shown.contains("bad-token"),
            "{place}"
        );
    }
    for (body, expected) in [
        (
            json!({"token": "x"}),
            "integrations.slack.token is not known",
        ),
        (
            json!({"app_id": 7}),
            "integrations.slack.app_id must be a string",
        ),
    ] {
        let request = Request::new(Method::PUT, path)
            .bearer(ADMIN)
            .json(json!({"config": body}));
        let refused = service.call(request).await;
        assert_eq!(refused.problem(), (422, "invalid_integration"));
        assert!(
            refused.body["detail"]
                .as_str()
                .is_some_and(|text| text.starts_with(expected)),
            "{refused:?}"
        );
    }

    // A team that says where to gets nothing of what it inherits.
    service
        .patch(
            "acme",
            "sre",
            json!({"integrations": {"slack": {"api_url": format!("{base}/elsewhere")}}}),
        )
        .await;
    let before = seen.lock().expect("not poisoned").len();
    let at_team = "/api/v1/admin/orgs/acme/integrations/slack/test?node_id=sre";
    assert_eq!(
        service.admin(Method::POST, at_team, None).await["success"],
        false
    );
    assert_eq!(seen.lock().expect("not poisoned").len(), before);
    let prometheus = json!({"integrations": {"prometheus": {"config": {"url": base, "bearer_token": "${secret:slack-bot-token}"}}}});
    service.patch("acme", "sre", prometheus).await;
    let at_team = "/api/v1/admin/orgs/acme/integrations/prometheus/test?node_id=sre";
    let refused = service.admin(Method::POST, at_team, None).await;
    assert_eq!(refused["success"], false, "{refused}");
    assert_eq!(seen.lock().expect("not poisoned").len(), before);
    service
        .patch(
            "acme",
            "sre",
            json!({"integrations": {"prometheus": {"config": {"bearer_token": "__INHERIT__"}}}}),
        )
        .await;
    assert_eq!(
        service.admin(Method::POST, at_team, None).await["success"],
        true
    );
    service.stop().await;
}

/// What must not be reached is refused, and an answer tells.
#[tokio::test]
async fn a_live_test_goes_through_the_guard() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    for url in [
        "http://169.254.169.254",
        "http://10.0.0.1:9090",
        "http://metadata.google.internal",
    ] {
        let body = json!({"config": {"url": url}});
        service
            .admin(
                Method::PUT,
                "/api/v1/admin/orgs/acme/integrations/prometheus",
                Some(body),
            )
            .await;
        let tested = service
            .admin(
                Method::POST,
                "/api/v1/admin/orgs/acme/integrations/prometheus/test",
                None,
            )
            .await;
        assert_eq!(tested["success"], false, "{url}: {tested}");
    }
    service.stop().await;
}
