//! One test per row of the feature table that is config's, named after it. Each shows the row's own
//! text and no more; the depth is in the tests of each area.

use http::Method;
use serde_json::{Value, json};

use crate::stage::{ADMIN, Answer, INTERNAL, Request, Servers, Service, config_path};

const ORG: &str = "/api/v1/admin/orgs/acme";

async fn stage() -> (Servers, Service) {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    (servers, service)
}

async fn as_caller(service: &Service, method: Method, path: &str, token: &str) -> Answer {
    service.call(Request::new(method, path).bearer(token)).await
}

#[tokio::test]
async fn create_and_delete_team() {
    let (_servers, service) = stage().await;
    let path = format!("{ORG}/teams/pay");
    let team = service.admin(Method::POST, &path, None).await;
    assert_eq!(
        (&team["node_type"], &team["parent_id"]),
        (&json!("team"), &json!("acme"))
    );
    let again = as_caller(&service, Method::POST, &path, ADMIN).await;
    assert_eq!(again.status, 409);
    service.admin(Method::DELETE, &path, None).await;
    assert_eq!(
        as_caller(&service, Method::DELETE, &path, ADMIN)
            .await
            .status,
        404
    );
    service.stop().await;
}

#[tokio::test]
async fn update_node_config() {
    let (_servers, service) = stage().await;
    let first = service
        .patch("acme", "sre", json!({"runtime": {"max_retries": 1}}))
        .await;
    let second = service
        .patch(
            "acme",
            "sre",
            json!({"runtime": {"retry_on_failure": false}}),
        )
        .await;
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (200, 200));
    assert_eq!(
        second.body["config"],
        json!({"runtime": {"max_retries": 1, "retry_on_failure": false}})
    );
    let audit = service
        .admin(Method::GET, &format!("{ORG}/nodes/sre/audit"), None)
        .await;
    assert_eq!(
        (&audit[0]["version"], &audit[1]["version"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(
        audit[0]["diff"]["added"],
        json!({"runtime.retry_on_failure": false})
    );
    service.stop().await;
}

#[tokio::test]
async fn issue_and_revoke_team_token() {
    let (_servers, service) = stage().await;
    for delete in [false, true] {
        let issued = service.token("acme", "sre", None).await;
        let me = "/api/v1/auth/me";
        assert_eq!(
            as_caller(&service, Method::GET, me, &issued.token)
                .await
                .status,
            200
        );
        let one = format!("{ORG}/teams/sre/tokens/{}", issued.id);
        let listed = service
            .admin(Method::GET, &format!("{ORG}/teams/sre/tokens"), None)
            .await;
        assert!(!listed.to_string().contains(&issued.token), "shown once");
        if delete {
            service.admin(Method::DELETE, &one, None).await;
        } else {
            service
                .admin(Method::POST, &format!("{one}/revoke"), None)
                .await;
        }
        assert_eq!(
            as_caller(&service, Method::GET, me, &issued.token)
                .await
                .status,
            401
        );
    }
    service.stop().await;
}

#[tokio::test]
async fn token_kinds_and_formats() {
    let (_servers, service) = stage().await;
    let team = service.token("acme", "sre", None).await.token;
    assert!(team.starts_with("acme.sre."), "{{org}}.{{team}}.{{random}}");
    let org = service
        .admin(Method::POST, &format!("{ORG}/admin-tokens"), None)
        .await;
    let org = org["token"].as_str().expect("a token").to_owned();
    assert!(org.starts_with("acme."), "{{org}}.{{random}}");
    for (token, role, org_id, team_id) in [
        (ADMIN, "admin", Value::Null, Value::Null),
        (org.as_str(), "admin", json!("acme"), Value::Null),
        (team.as_str(), "team", json!("acme"), json!("sre")),
    ] {
        let me = as_caller(&service, Method::GET, "/api/v1/auth/me", token)
            .await
            .body;
        assert_eq!(
            (&me["role"], &me["org_id"], &me["team_node_id"]),
            (&json!(role), &org_id, &team_id)
        );
        assert!(me["auth_kind"].is_string());
    }
    service.stop().await;
}

#[tokio::test]
async fn effective_config() {
    let (_servers, service) = stage().await;
    let unit = json!({"node_id": "backend", "parent_id": "acme", "node_type": "unit"});
    service
        .admin(Method::POST, &format!("{ORG}/nodes"), Some(unit))
        .await;
    let team = json!({"parent_id": "backend"});
    service
        .admin(Method::POST, &format!("{ORG}/teams/pay"), Some(team))
        .await;
    for (node, custom) in [
        (
            "acme",
            json!({"map": {"a": 1, "b": [1, 2], "c": "k"}, "list": [1, 2, 3], "org": 1}),
        ),
        ("backend", json!({"map": {"u": 7}, "unit": 2})),
        (
            "pay",
            json!({"map": {"a": null, "b": [9], "d": 5}, "list": []}),
        ),
    ] {
        let set = service.patch("acme", node, json!({"custom": custom})).await;
        assert_eq!(set.status, 200, "{set:?}");
    }
    let effective = service
        .admin(Method::GET, &format!("{ORG}/nodes/pay/effective"), None)
        .await;
    assert_eq!(
        effective["custom"],
        json!({"map": {"a": null, "b": [9], "c": "k", "d": 5, "u": 7}, "list": [], "org": 1, "unit": 2})
    );
    assert_eq!(
        effective["runtime"]["default_timeout_seconds"], 300,
        "the defaults come first"
    );
    service.stop().await;
}

#[tokio::test]
async fn org_unit_team_hierarchy() {
    let (_servers, service) = stage().await;
    for (id, parent, kind) in [
        ("eng", "acme", "unit"),
        ("backend", "eng", "group"),
        ("pay", "backend", "team"),
    ] {
        let body = json!({"node_id": id, "parent_id": parent, "node_type": kind});
        service
            .admin(Method::POST, &format!("{ORG}/nodes"), Some(body))
            .await;
    }
    let token = service.token("acme", "pay", None).await.token;
    let me = as_caller(&service, Method::GET, "/api/v1/config/me", &token)
        .await
        .body;
    assert_eq!(me["hierarchy"], json!(["acme", "eng", "backend", "pay"]));
    let body = json!({"node_id": "lost", "parent_id": "ops", "node_type": "team"});
    let refused = Request::new(Method::POST, "/api/v1/admin/orgs/acme/nodes")
        .bearer(ADMIN)
        .json(body);
    assert!(
        service.call(refused).await.status.is_client_error(),
        "a parent in another org"
    );
    service.stop().await;
}

#[tokio::test]
async fn routing_lookup() {
    let (_servers, service) = stage().await;
    let lists = json!({"routing": {"slack_channel_ids": ["C1"], "services": ["api"]}});
    service.patch("acme", "sre", lists).await;
    let nobody = Request::new(Method::POST, "/api/v1/internal/routing/lookup")
        .json(json!({"identifiers": {}}));
    assert_eq!(
        service.call(nobody).await.status,
        401,
        "the internal header"
    );
    let sent = json!({"identifiers": {"service": "API", "slack_channel_id": " C1 "}});
    let hit = crate::routing::ask(&service, sent).await.body;
    assert_eq!(
        hit,
        json!({"found": true, "org_id": "acme", "team_node_id": "sre", "team_token": null, "ambiguous": false,
            "matched_by": "slack_channel_id", "matched_value": " C1 ", "tried": ["slack_channel_id"]}),
        "the list of priorities decides"
    );
    let miss = crate::routing::ask(
        &service,
        json!({"identifiers": {"slack_channel_id": "C2", "service": "web"}}),
    )
    .await;
    assert_eq!(
        (miss.status.as_u16(), &miss.body["tried"]),
        (200, &json!(["slack_channel_id", "service"]))
    );
    service.stop().await;
}

#[tokio::test]
async fn routing_identifiers() {
    let (_servers, service) = stage().await;
    let lists = [
        "incidentio_team_id",
        "pagerduty_service_id",
        "slack_channel_id",
        "slack_workspace_id",
        "teams_channel_id",
        "google_chat_space_id",
        "github_repo",
        "vercel_project_id",
        "coralogix_team_name",
        "incidentio_alert_source_id",
        "coralogix_subsystem",
        "coralogix_application",
        "datadog_monitor_id",
        "datadog_org_id",
        "newrelic_workflow",
        "newrelic_account_id",
        "opsgenie_integration_id",
        "receiver",
        "external_url",
        "sentry_project",
        "sentry_installation_uuid",
        "service",
    ];
    for kind in lists {
        let list = format!("{kind}s");
        let set = service
            .patch("acme", "sre", json!({"routing": {list.clone(): ["one"]}}))
            .await;
        assert_eq!(set.status, 200, "{list}: {set:?}");
        let taken = service
            .patch("acme", "web", json!({"routing": {list.clone(): ["one"]}}))
            .await;
        assert_eq!(
            taken.problem(),
            (409, "routing_conflict"),
            "unique per org: {list}"
        );
        let elsewhere = service
            .patch("umbrella", "ops", json!({"routing": {list: ["one"]}}))
            .await;
        assert_eq!(elsewhere.status, 200, "and not beyond");
        let question = json!({"org_id": "acme", "identifiers": {kind: "one"}});
        let hit = crate::routing::ask(&service, question).await.body;
        assert_eq!(
            (&hit["team_node_id"], &hit["matched_by"]),
            (&json!("sre"), &json!(kind))
        );
    }
    service.stop().await;
}

#[tokio::test]
async fn impersonation_token() {
    let (_servers, service) = stage().await;
    let path = format!("{ORG}/teams/sre/impersonation-token");
    let issued = service.admin(Method::POST, &path, None).await;
    assert_eq!(issued["expires_at"], "2026-03-01T12:15:00Z", "900 s");
    let token = issued["token"].as_str().expect("a token").to_owned();
    assert_eq!(token.split('.').count(), 3, "a JWT");
    let me = as_caller(&service, Method::GET, "/api/v1/auth/me", &token)
        .await
        .body;
    assert_eq!(
        (&me["permissions"], &me["can_write"]),
        (&json!(["team:read"]), &json!(false))
    );
    let write = Request::new(Method::PATCH, "/api/v1/config/me")
        .bearer(&token)
        .json(json!({"config": {}}));
    assert_eq!(service.call(write).await.status, 403);
    let unknown = as_caller(
        &service,
        Method::POST,
        &format!("{ORG}/teams/nobody/impersonation-token"),
        ADMIN,
    )
    .await;
    assert_eq!(unknown.status, 404);
    service.stop().await;
}

#[tokio::test]
async fn approval_of_risky_changes() {
    let (_servers, service) = stage().await;
    let policy = json!({"require_approval_for_prompts": true});
    service
        .admin(
            Method::PUT,
            &format!("{ORG}/security-policies"),
            Some(policy),
        )
        .await;
    let patch = json!({"agents": {"planner": {"prompt": {"system": "Be brief."}}}, "x_note": 1});
    let held = service.patch("acme", "sre", patch).await;
    assert_eq!(
        (held.status.as_u16(), &held.body["status"]),
        (200, &json!("pending_approval"))
    );
    let own = service
        .admin(Method::GET, &config_path("acme", "sre"), None)
        .await;
    assert_eq!(own["config"], json!({}), "the whole patch waits");
    // A template changes prompts, so it waits, too, and the team does not follow it yet.
    let path = format!("{ORG}/nodes/sre/templates/postmortem/apply");
    let applied = service.admin(Method::POST, &path, None).await;
    assert_eq!(applied["success"], false);
    assert!(applied["pending_change_id"].is_string());
    let active = service
        .admin(Method::GET, &format!("{ORG}/nodes/sre/template"), None)
        .await;
    assert_eq!(active["application"], Value::Null);
    service.stop().await;
}

#[tokio::test]
async fn health_and_metrics() {
    let (_servers, service) = stage().await;
    let health = service.call(Request::new(Method::GET, "/health")).await;
    assert_eq!(
        (health.status.as_u16(), &health.body["status"]),
        (200, &json!("ok"))
    );
    // Metrics and readiness have a listener of their own, which the process serves for all services.
    assert!(service.context.health.snapshot().ready);
    service.stop().await;
}

#[tokio::test]
async fn secrets_split() {
    let (_servers, service) = stage().await;
    let body = json!({"config": {"bot_token": "xoxb-worker", "signing_secret": "for-ingress"}});
    service
        .admin(
            Method::PUT,
            &format!("{ORG}/integrations/slack"),
            Some(body),
        )
        .await;
    let secrets = service
        .admin(Method::GET, &format!("{ORG}/nodes/acme/secrets"), None)
        .await;
    let audience = |name: &str| {
        let rows = secrets.as_array().expect("rows").iter();
        let mut found = rows
            .filter(|row| row["name"] == name)
            .map(|row| row["audience"].clone());
        found.next().expect("there")
    };
    // What checks webhooks opens in ingress only, what talks to vendors in workers only.
    assert_eq!(audience("slack-signing-secret"), "ingress");
    assert_eq!(audience("slack-bot-token"), "worker.default");
    service.stop().await;
}

/// Rates and times at that size are measured by the bench; here, that nothing walks through all teams.
#[tokio::test]
async fn design_scale() {
    let (servers, service) = stage().await;
    let mut database = servers.database().await;
    let plan: Vec<String> = {
        sqlx::query("set enable_seqscan = off")
            .execute(&mut database)
            .await
            .expect("sets");
        sqlx::query_scalar(
            "explain select type, value, org_id, team_id from routing_identifiers \
             join unnest(array['service'], array['api']) as asked (type, value) using (type, value)",
        )
        .fetch_all(&mut database)
        .await
        .expect("explains")
    };
    let plan = plan.join("\n");
    assert!(plan.contains("routing_identifiers_everywhere"), "{plan}");
    service.stop().await;
}

#[tokio::test]
async fn internal_header_opens_nothing_else() {
    let (_servers, service) = stage().await;
    // The original let `X-Internal-Service: agent` in everywhere.
    for path in [
        format!("{ORG}/nodes"),
        config_path("acme", "sre"),
        "/api/v1/config/me".to_owned(),
    ] {
        let request = Request::new(Method::GET, &path)
            .header("x-internal-service", "agent")
            .header("x-internal-secret", INTERNAL);
        assert!(
            matches!(service.call(request).await.status.as_u16(), 401 | 403),
            "{path}"
        );
    }
    service.stop().await;
}
