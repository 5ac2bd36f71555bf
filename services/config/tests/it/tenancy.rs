//! Who may call what: every route with every kind of caller.

mod matrix;
mod table;

use http::Method;
use serde_json::{Value, json};

use crate::stage::{ADMIN, INTERNAL, Request, Servers, Service};

async fn called(
    service: &Service,
    method: &Method,
    path: &str,
    token: Option<&str>,
) -> (u16, String) {
    let mut request = Request::new(method.clone(), path);
    if let Some(token) = token {
        request = request.bearer(token);
    }
    let answer = service.call(request).await;
    let (status, code) = answer.problem();
    (status, code.to_owned())
}

#[tokio::test]
async fn who_is_not_known_learns_how_to_authenticate() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    let me = Request::new(Method::GET, "/api/v1/auth/me");
    assert_eq!(service.call(me).await.headers["www-authenticate"], "Bearer");
    service.stop().await;
}

#[tokio::test]
async fn a_team_token_sees_its_own_team_whatever_the_request_claims() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    for (org, team) in [("acme", "sre"), ("acme", "web"), ("umbrella", "ops")] {
        service
            .patch(org, team, json!({"x_mark": format!("{org}/{team}")}))
            .await;
    }
    let admin = called(&service, &Method::GET, "/api/v1/config/me", Some(ADMIN)).await;
    assert_eq!(admin, (403, "team_token_required".to_owned()));
    for path in ["/api/v1/config/me", "/api/v1/config/me/effective"] {
        let nobody = Request::new(Method::GET, path)
            .header("x-org-id", "acme")
            .header("x-team-node-id", "sre");
        assert_eq!(service.call(nobody).await.problem(), (401, "missing_token"));
    }
    for (org, team) in [("acme", "sre"), ("acme", "web"), ("umbrella", "ops")] {
        let token = service.token(org, team, None).await.token;
        for path in [
            "/api/v1/config/me",
            "/api/v1/config/me/effective?org_id=acme&team_node_id=sre",
        ] {
            let request = Request::new(Method::GET, path)
                .bearer(&token)
                .header("x-org-id", "acme")
                .header("x-team-node-id", "sre");
            let seen = service.call(request).await.body;
            assert_eq!(seen["effective_config"]["x_mark"], format!("{org}/{team}"));
            assert_eq!(seen["hierarchy"], json!([org, team]));
        }
        let body = json!({"config":{"x_written_by": team},"org_id":"acme","team_node_id":"sre","node_id":"acme"});
        let request = Request::new(Method::PATCH, "/api/v1/config/me")
            .bearer(&token)
            .json(body);
        assert_eq!(service.call(request).await.body["node_id"], team);
    }
    for (org, team) in [("acme", "sre"), ("acme", "web"), ("umbrella", "ops")] {
        let path = crate::stage::config_path(org, team);
        let own = service.admin(Method::GET, &path, None).await;
        assert_eq!(
            own["config"],
            json!({"x_mark": format!("{org}/{team}"), "x_written_by": team})
        );
    }
    service.stop().await;
}

const LOOKUP: &str = "/api/v1/internal/routing/lookup";

#[tokio::test]
async fn lookups_are_for_services_with_the_secret() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let team = service.token("acme", "sre", None).await.token;
    for (name, secret, expected) in [
        (None, Some(INTERNAL), (401, "missing_internal_service")),
        (Some("router"), None, (401, "missing_internal_secret")),
        (
            Some("router"),
            Some("guess"),
            (403, "invalid_internal_secret"),
        ),
        (Some("agent"), Some(ADMIN), (403, "invalid_internal_secret")),
        (
            Some("agent"),
            Some(team.as_str()),
            (403, "invalid_internal_secret"),
        ),
    ] {
        let mut request = Request::new(Method::POST, LOOKUP).bearer(ADMIN);
        if let Some(name) = name {
            request = request.header("x-internal-service", name);
        }
        if let Some(secret) = secret {
            request = request.header("x-internal-secret", secret);
        }
        assert_eq!(service.call(request).await.problem(), expected);
    }
    service.stop().await;
}

#[tokio::test]
async fn a_lookup_answers_with_the_team_or_with_what_was_tried() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    for (org, team, routing) in [
        (
            "acme",
            "sre",
            json!({"slack_channel_ids":["C1"],"github_repos":["acme/api"]}),
        ),
        ("acme", "web", json!({"slack_workspace_ids":["T1"]})),
        ("umbrella", "ops", json!({"slack_channel_ids":["C1"]})),
    ] {
        service.patch(org, team, json!({"routing": routing})).await;
    }
    let ids = |identifiers: Value| json!({ "identifiers": identifiers });
    let in_umbrella = json!({"org_id":"umbrella","identifiers":{"slack_channel_id":"C1"}});
    for (question, expected) in [
        (
            ids(json!({"github_repo":"Acme/API"})),
            json!([true, "acme", "sre", "github_repo", "Acme/API", false]),
        ),
        (
            ids(json!({"slack_channel_id":"C1"})),
            json!([false, null, null, null, null, true]),
        ),
        (
            ids(json!({"slack_channel_id":"C1","slack_workspace_id":"T1"})),
            json!([true, "acme", "sre", "slack_channel_id", "C1", false]),
        ),
        (
            in_umbrella,
            json!([true, "umbrella", "ops", "slack_channel_id", "C1", false]),
        ),
        (
            ids(json!({"slack_channel_id":"c1","unheard_of":"x","service":7})),
            json!([false, null, null, null, null, false]),
        ),
    ] {
        let request = Request::new(Method::POST, LOOKUP)
            .header("x-internal-service", "router")
            .header("x-internal-secret", INTERNAL)
            .json(question.clone());
        let answer = service.call(request).await;
        assert_eq!(answer.status, 200);
        let keys = [
            "found",
            "org_id",
            "team_node_id",
            "matched_by",
            "matched_value",
            "ambiguous",
        ];
        let said: Value = keys.map(|key| answer.body[key].clone()).to_vec().into();
        assert_eq!(said, expected, "{question}");
        assert_eq!(answer.body["tried"].as_array().map(Vec::len), Some(1));
        assert_eq!(answer.body["team_token"], json!(null));
    }
    service.stop().await;
}
