//! What the original's clients really send, with bodies and headers as they come: one test per point
//! of the list that was recorded from its orchestrator, agent, command line and web page.

use http::Method;
use serde_json::{Value, json};

use crate::stage::{ADMIN, Answer, Request, Servers, Service, config_path};

const LOOKUP: &str = "/api/v1/internal/routing/lookup";
const ME: &str = "/api/v1/config/me";

async fn stage() -> (Servers, Service) {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    (servers, service)
}

/// As the command line and the web page do.
async fn send(service: &Service, method: Method, path: &str, token: &str, body: Value) -> Answer {
    let request = Request::new(method, path)
        .bearer(token)
        .header("content-type", "application/json")
        .header("accept", "application/json");
    service.call(request.json(body)).await
}

/// 1: posts without a body and without a Content-Type.
#[tokio::test]
async fn client_1_tokens_are_issued_by_posts_with_nothing_in_them() {
    let (_servers, service) = stage().await;
    let post = |path: &'static str| service.call(Request::new(Method::POST, path).bearer(ADMIN));
    let issued = post("/api/v1/admin/orgs/acme/teams/sre/tokens").await;
    assert_eq!(issued.status, 200, "{issued:?}");
    assert!(issued.body["token"].is_string() && issued.body["issued_at"].is_string());
    let impersonation = post("/api/v1/admin/orgs/acme/teams/sre/impersonation-token").await;
    assert_eq!(impersonation.status, 200, "{impersonation:?}");
    assert!(
        impersonation.body["token"].is_string() && impersonation.body["expires_at"].is_string()
    );
    for answer in [issued, impersonation] {
        let token = answer.body["token"].as_str().expect("a token").to_owned();
        let me = Request::new(Method::GET, ME).bearer(&token);
        assert_eq!(service.call(me).await.status, 200);
    }
    service.stop().await;
}

fn lookup(name: &str) -> Request<'_> {
    Request::new(Method::POST, LOOKUP)
        .header("x-internal-service", name)
        .header("content-type", "application/json")
        .json(json!({"identifiers": {"slack_channel_id": "C1"}}))
}

/// 2: lookups with the name of the service and no secret, which only a setting lets in.
#[tokio::test]
async fn client_2_lookups_without_a_secret_need_a_setting() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    let refused = service.call(lookup("orchestrator")).await;
    assert_eq!(refused.problem(), (401, "missing_internal_secret"));
    service.stop().await;
    let migrating = ["--internal-trusted-names", "orchestrator"];
    let service = Service::ready(servers.settings_with(&migrating)).await;
    let answered = service.call(lookup("orchestrator")).await;
    assert_eq!(
        (answered.status.as_u16(), &answered.body["found"]),
        (200, &json!(false))
    );
    for name in ["agent", "Orchestrator "] {
        assert_eq!(service.call(lookup(name)).await.status, 401, "{name}");
    }
    // The name opens lookups, and no admin route, as it did in the original.
    let admin = Request::new(Method::GET, "/api/v1/admin/orgs/acme/nodes")
        .header("x-internal-service", "orchestrator");
    assert_eq!(service.call(admin).await.status, 401);
    service.stop().await;
}

/// 3: a patch with `merge` or `reason` beside `config`; the page reads only the envelope.
#[tokio::test]
async fn client_3_patches_carry_other_keys_and_reads_are_enveloped() {
    let (_servers, service) = stage().await;
    let token = service.token("acme", "sre", None).await.token;
    for extra in [
        json!({"merge": true}),
        json!({"reason": "from the page"}),
        json!({"merge": true, "reason": null}),
    ] {
        let mut body = json!({"config": {"notifications": {"default_slack_channel_id": "C1"}}});
        let object = body.as_object_mut().expect("object");
        object.extend(extra.as_object().expect("object").clone());
        let patched = send(&service, Method::PATCH, ME, &token, body).await;
        assert_eq!(patched.status, 200, "{extra}: {patched:?}");
        for key in [
            "node_id",
            "node_type",
            "config",
            "version",
            "updated_at",
            "updated_by",
        ] {
            assert!(!patched.body[key].is_null(), "{key}");
        }
    }
    for path in [ME, "/api/v1/config/me/effective"] {
        let read = service
            .call(Request::new(Method::GET, path).bearer(&token))
            .await
            .body;
        assert_eq!(
            read["effective_config"]["notifications"]["default_slack_channel_id"],
            "C1"
        );
        assert_eq!(read["hierarchy"], json!(["acme", "sre"]));
        assert!(read["node_id"] == "sre" && read["computed_at"].is_string());
    }
    service.stop().await;
}

/// 4: the agent's reader takes only what it expects.
#[tokio::test]
async fn client_4_the_effective_config_holds_the_types_that_the_agent_reads() {
    let (_servers, service) = stage().await;
    let token = service.token("acme", "sre", None).await.token;
    // Legacy shapes and nulls: each is refused or brought into shape, none gets through.
    for config in [
        json!({"tools": {"enabled": ["read_event"], "disabled": ["http_get"]}}),
        json!({"agent": null}),
        json!({"integrations": null}),
        json!({"agents": {"planner": {"model": {"temperature": null, "max_tokens": null}}}}),
        json!({"agents": {"planner": {"model": "gpt-4o", "prompt": "You help."}}}),
    ] {
        send(
            &service,
            Method::PATCH,
            ME,
            &token,
            json!({"config": config}),
        )
        .await;
        let read = service
            .call(Request::new(Method::GET, ME).bearer(&token))
            .await
            .body;
        let effective = &read["effective_config"];
        let tools = effective["tools"].as_object().expect("a map of tools");
        assert!(tools.values().all(Value::is_boolean), "{config}: {tools:?}");
        assert!(effective["integrations"].is_object(), "{config}");
        assert!(
            effective.get("agent").is_none_or(Value::is_object),
            "{config}"
        );
        for agent in effective["agents"].as_object().expect("agents").values() {
            for number in ["temperature", "max_tokens"] {
                let value = agent["model"].get(number);
                assert!(value.is_none_or(Value::is_number), "{config}: {number}");
            }
            assert!(
                agent["model"].is_object() && agent["prompt"].is_object(),
                "{config}: {agent}"
            );
            for map in ["tools", "sub_agents", "mcps"] {
                let switches = agent[map].as_object().expect("a map");
                assert!(switches.values().all(Value::is_boolean), "{config}");
            }
        }
    }
    service.stop().await;
}

/// 5: a miss is an answer, also for kinds of identifiers that are not known.
#[tokio::test]
async fn client_5_a_routing_miss_is_200() {
    let (_servers, service) = stage().await;
    for identifiers in [
        json!({"slack_channel_id": "C404"}),
        json!({"email_domain": "acme.com"}),
        json!({}),
    ] {
        let answer = crate::routing::ask(&service, json!({"identifiers": identifiers})).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["found"]),
            (200, &json!(false))
        );
        assert!(answer.body["tried"].is_array() && answer.body["team_token"].is_null());
    }
    service.stop().await;
}

/// 6: clients compare with 200; a 204 made the page answer 502.
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table, or one story")]
async fn client_6_what_succeeds_is_200_with_a_body() {
    let (_servers, service) = stage().await;
    let token = service.token("acme", "sre", None).await;
    let revoke = format!(
        "/api/v1/admin/orgs/acme/teams/sre/tokens/{}/revoke",
        token.id
    );
    let delete = format!("/api/v1/admin/orgs/acme/teams/sre/tokens/{}", token.id);
    let node = json!({"node_id": "api", "parent_id": "acme", "node_type": "team", "name": "API"});
    let patch = json!({"patch": {"entrance_agent": "planner"}});
    for (method, path, body) in [
        (Method::POST, "/api/v1/admin/orgs/acme/nodes", Some(node)),
        (Method::GET, "/api/v1/admin/orgs/acme/nodes", None),
        (Method::GET, "/api/v1/admin/orgs/acme/nodes/api", None),
        (
            Method::PUT,
            "/api/v1/admin/orgs/acme/nodes/api/config",
            Some(patch),
        ),
        (
            Method::GET,
            "/api/v1/admin/orgs/acme/nodes/api/config",
            None,
        ),
        (Method::GET, "/api/v1/admin/orgs/acme/nodes/api/raw", None),
        (
            Method::GET,
            "/api/v1/admin/orgs/acme/nodes/api/effective",
            None,
        ),
        (Method::GET, "/api/v1/admin/orgs/acme/nodes/api/audit", None),
        (
            Method::POST,
            "/api/v1/admin/orgs/acme/teams/api/tokens",
            None,
        ),
        (
            Method::GET,
            "/api/v1/admin/orgs/acme/teams/api/tokens",
            None,
        ),
        (Method::POST, revoke.as_str(), None),
        (Method::DELETE, delete.as_str(), None),
        (Method::GET, "/api/v1/templates", None),
        (
            Method::POST,
            "/api/v1/admin/templates/postmortem/apply",
            Some(json!({"org_id": "acme", "team_node_id": "api"})),
        ),
        (Method::GET, "/api/v1/integrations/schemas", None),
        (Method::GET, "/api/v1/tools/metadata", None),
        (Method::DELETE, "/api/v1/admin/orgs/acme/teams/api", None),
        (Method::GET, "/health", None),
    ] {
        let mut request = Request::new(method.clone(), path).bearer(ADMIN);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .json(body);
        }
        let answer = service.call(request).await;
        assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
        assert!(
            answer.body.is_object() || answer.body.is_array(),
            "{method} {path}"
        );
        assert!(
            answer.headers.contains_key("x-request-id"),
            "{method} {path}"
        );
    }
    service.stop().await;
}

/// 7: what broke on the server's side.
#[tokio::test]
async fn client_7_defects_that_the_clients_met_are_none_here() {
    let (_servers, service) = stage().await;
    let token = service.token("acme", "sre", None).await.token;
    // `mcp delete` sends null: it was a 500, and the team was left with a config that broke readers.
    let server = json!({"enabled": true, "name": "Files", "command": "npx", "args": [], "env": {}});
    let added = send(
        &service,
        Method::PATCH,
        ME,
        &token,
        json!({"config": {"mcp_servers": {"files": server}}, "merge": true}),
    )
    .await;
    assert_eq!(added.status, 200, "{added:?}");
    let deleted = send(
        &service,
        Method::PATCH,
        ME,
        &token,
        json!({"config": {"mcp_servers": {"files": null}}, "merge": true}),
    )
    .await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    let read = service
        .call(Request::new(Method::GET, ME).bearer(&token))
        .await;
    assert_eq!(
        (
            read.status.as_u16(),
            &read.body["effective_config"]["mcp_servers"]["files"]
        ),
        (200, &Value::Null)
    );
    // Saving the tree with configs answered 200 and dropped them.
    let node = json!({"node_id": "cart", "parent_id": "acme", "node_type": "team", "config": {"knowledge_tree": "cart"}});
    let saved = send(
        &service,
        Method::POST,
        "/api/v1/admin/orgs/acme/nodes",
        ADMIN,
        node,
    )
    .await;
    assert_eq!(saved.status, 200);
    let own = service
        .admin(Method::GET, &config_path("acme", "cart"), None)
        .await;
    assert_eq!(own["config"], json!({"knowledge_tree": "cart"}));
    // The preview of an MCP server ran any command on the host; a remediation needed no credential.
    for (path, body, of_a_team) in [
        (
            "/api/v1/team/mcp-servers/preview",
            json!({"command": "touch", "args": ["/tmp/owned"]}),
            404,
        ),
        (
            "/api/v1/remediations",
            json!({"action_type": "delete_pod", "target": "api", "reason": "x"}),
            201,
        ),
    ] {
        let nobody = Request::new(Method::POST, path)
            .header("x-org-id", "acme")
            .header("x-team-node-id", "sre")
            .json(body.clone());
        assert!(
            matches!(service.call(nobody).await.status.as_u16(), 401 | 404),
            "{path}"
        );
        let team = send(&service, Method::POST, path, &token, body).await;
        assert_eq!(team.status, of_a_team, "{path}");
    }
    service.stop().await;
}

/// 8: helpers that send no credential are refused, and fall back to their own defaults.
#[tokio::test]
async fn client_8_without_a_credential_nothing_is_told() {
    let (_servers, service) = stage().await;
    for (method, path) in [
        (Method::GET, ME),
        (Method::GET, "/api/v1/config/me/effective"),
        (Method::GET, "/api/v1/auth/me"),
        (Method::GET, "/api/v1/config/me/effective-trees"),
        (Method::POST, LOOKUP),
    ] {
        let request = Request::new(method, path)
            .header("x-org-id", "acme")
            .header("x-team-node-id", "sre")
            .header("x-tenant-id", "acme");
        let refused = service.call(request).await;
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.body["detail"].is_string() && refused.body["effective_config"].is_null());
    }
    service.stop().await;
}
