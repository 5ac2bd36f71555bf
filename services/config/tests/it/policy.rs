//! Rules hold on every way in which a config changes.
#![expect(
    clippy::too_many_lines,
    reason = "tables of cases, and one story per test"
)]

use http::Method;
use serde_json::{Value, json};

use crate::stage::{ADMIN, Answer, Request, Servers, Service, config_path};

const FIELDS: &str = "/api/v1/admin/field-definitions";
const POLICY: &str = "/api/v1/admin/orgs/acme/security-policies";

async fn mine(service: &Service, token: &str, config: Value) -> Answer {
    let request = Request::new(Method::PATCH, "/api/v1/config/me").bearer(token);
    service.call(request.json(json!({"config": config}))).await
}

#[tokio::test]
async fn bug_1_3_locks_hold_for_admins_and_teams_at_every_level() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let token = service.token("acme", "sre", None).await.token;
    let lock = json!({"path":"knowledge_tree","field_type":"string","locked_at_level":"org"});
    service.admin(Method::POST, FIELDS, Some(lock)).await;
    let policy =
        json!({"locked_settings":["agents.*.model"],"max_values":{"agents.*.max_turns":30}});
    service.admin(Method::PUT, POLICY, Some(policy)).await;

    let locked = json!({"knowledge_tree":"ours"});
    for answer in [
        service.patch("acme", "sre", locked.clone()).await,
        mine(&service, &token, locked.clone()).await,
        mine(
            &service,
            &token,
            json!({"agents":{"planner":{"model":"gpt-4.1"}}}),
        )
        .await,
    ] {
        assert_eq!(answer.problem(), (403, "field_locked"), "{answer:?}");
        assert_eq!(answer.body["message"], "Cannot modify locked fields");
        let first = &answer.body["errors"][0];
        assert_eq!(first["lock"]["locked_at_level"], "org");
        let detail = answer.body["detail"].as_str().expect("text");
        assert!(
            detail.ends_with("field is locked at org level and cannot be modified at team level"),
            "{detail}"
        );
    }
    // The org itself may, and another org does not know that policy.
    assert_eq!(service.patch("acme", "acme", locked).await.status, 200);
    let model = json!({"agents":{"planner":{"model":"gpt-4.1"}}});
    assert_eq!(service.patch("umbrella", "ops", model).await.status, 200);

    let many = mine(
        &service,
        &token,
        json!({"agents":{"planner":{"max_turns":31}}}),
    )
    .await;
    assert_eq!(many.problem(), (400, "exceeds_maximum"));
    assert_eq!(
        many.body["detail"],
        "Value for agents.planner.max_turns (31) exceeds maximum (30)"
    );
    service.stop().await;
}

#[tokio::test]
async fn bug_1_3_what_is_refused_names_path_expectation_and_dependents() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let base = json!({"mcp_servers":{"github":{"command":"npx"}},"agents":{"planner":{"mcps":{"github":true}}},"team_name":"SRE"});
    assert_eq!(service.patch("acme", "sre", base).await.status, 200);
    for (patch, expected, part) in [
        (
            json!({"agnets":{}}),
            (400, "unknown_field"),
            "did you mean agents?",
        ),
        (
            json!({"agents":{"planner":{"max_turns":"9"}}}),
            (400, "wrong_type"),
            "agents.planner.max_turns must be an integer",
        ),
        (
            json!({"agents":{"planner":{"model":{"temperature":2.5}}}}),
            (400, "out_of_range"),
            "at most 2",
        ),
        (
            json!({"agents":{"planner":{"model":"gpt-4p"}}}),
            (400, "unknown_model"),
            "did you mean gpt-4",
        ),
        (
            json!({"agents":{"planner":{"tools":{"http_gte":true}}}}),
            (400, "unknown_tool"),
            "did you mean http_get?",
        ),
        (
            json!({"agents":{"planner":{"mcps":{"githup":true}}}}),
            (400, "unknown_mcp_server"),
            "did you mean github?",
        ),
        (
            json!({"agents":{"planner":{"sub_agents":["nobody"]}}}),
            (400, "unknown_agent"),
            "agents.planner.sub_agents.nobody",
        ),
        (
            json!({"rules":[{"name":"n","when":"severty == 'high'","then":"ignore"}]}),
            (400, "invalid_rule"),
            "rules.0.when (rule \"n\"): column 1: there is no value severty; did you mean severity?",
        ),
        (
            json!({"rules":[{"name":"n","when":"true","then":{"flow":"escalate"}}]}),
            (400, "flow_unavailable"),
            "rules.0.then.flow",
        ),
        (
            json!({"entrance_agent":"nobody"}),
            (400, "unknown_agent"),
            "entrance_agent",
        ),
        (
            json!({"mcp_servers":{"github":{"enabled":false}}}),
            (400, "dependency_validation_failed"),
            "agents.planner.mcps.github",
        ),
        (
            json!({"ai_pipeline":{"schedule":"tomorrow"}}),
            (400, "invalid_format"),
            "cron",
        ),
        (
            json!({"integrations":{"slack":{"bot_token":"${secret:a b}"}}}),
            (422, "invalid_secret_reference"),
            "secret",
        ),
        (
            json!({"team_name":"Web"}),
            (400, "immutable_field"),
            "immutable",
        ),
        (
            json!({"agent":null}),
            (400, "wrong_type"),
            "agent must be an object",
        ),
    ] {
        let answer = service.patch("acme", "sre", patch.clone()).await;
        assert_eq!(answer.problem(), expected, "{patch}: {answer:?}");
        let detail = answer.body["detail"].as_str().expect("text");
        assert!(detail.contains(part), "{patch}: {detail}");
        assert!(answer.body["errors"][0]["path"].is_string(), "{patch}");
    }
    let used = service
        .patch(
            "acme",
            "sre",
            json!({"mcp_servers":{"github":{"enabled":false}}}),
        )
        .await;
    assert_eq!(used.body["error"], "dependency_validation_failed");
    assert_eq!(
        used.body["dependents"],
        json!(["agents.planner.mcps.github"])
    );
    assert!(
        used.body["message"]
            .as_str()
            .expect("text")
            .starts_with("Dependency validation failed: ")
    );
    service.stop().await;
}

#[tokio::test]
async fn older_shapes_are_stored_in_the_canonical_one() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let older = json!({
        "agents":{"planner":{"model":"gpt-4o","prompt":"Be brief.","sub_agents":["coding"],"tools":{"enabled":["think"],"disabled":["http_get"]}},"coding":{}},
        "integrations":{"slack":{"config":{"app_id":"A1"}}}});
    let answer = service.patch("acme", "sre", older).await;
    assert_eq!(
        answer.body["config"],
        json!({
            "agents":{"planner":{"model":{"name":"gpt-4o"},"prompt":{"system":"Be brief."},"sub_agents":{"coding":true},
                "tools":{"think":true,"http_get":false}},"coding":{}},
            "integrations":{"slack":{"app_id":"A1"}}}),
        "{answer:?}"
    );
    service.stop().await;
}

#[tokio::test]
async fn rules_have_versions_and_a_record() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let unwritten = service.admin(Method::GET, POLICY, None).await;
    assert_eq!(
        (&unwritten["version"], &unwritten["token_warn_before_days"]),
        (&json!(0), &json!(7))
    );
    let put = |body: Value, version: &str| {
        Request::new(Method::PUT, POLICY)
            .bearer(ADMIN)
            .header("if-match", version)
            .json(body)
    };
    let first = service
        .call(put(json!({"locked_settings":["runtime"]}), "\"0\""))
        .await;
    assert_eq!(first.body["version"], 1, "{first:?}");
    let second = service
        .call(put(json!({"token_expiry_days":30}), "\"1\""))
        .await;
    assert_eq!(
        second.body["locked_settings"],
        json!(["runtime"]),
        "what is missing stays"
    );
    let stale = service.call(put(json!({}), "\"1\"")).await;
    assert_eq!(stale.problem(), (409, "stale_version"));
    for (body, part) in [
        (
            json!({"locked_setting":[]}),
            "did you mean locked_settings?",
        ),
        (json!({"locked_settings":[""]}), "locked_settings"),
        (json!({"token_expiry_days":-1}), "-1"),
    ] {
        let answer = service.call(put(body, "*")).await;
        assert_eq!(
            answer.problem(),
            (422, "invalid_security_policy"),
            "{answer:?}"
        );
        assert!(
            answer.body["detail"].as_str().expect("text").contains(part),
            "{answer:?}"
        );
    }
    let history = service
        .admin(Method::GET, &format!("{POLICY}/history"), None)
        .await;
    let versions: Vec<&Value> = history
        .as_array()
        .expect("list")
        .iter()
        .map(|row| &row["version"])
        .collect();
    assert_eq!(versions, [2, 1]);

    let field = json!({"path":"x_tier","field_type":"string","category":"billing"});
    service
        .admin(Method::POST, FIELDS, Some(field.clone()))
        .await;
    let again = Request::new(Method::POST, FIELDS).bearer(ADMIN).json(field);
    assert_eq!(
        service.call(again).await.problem(),
        (409, "field_definition_exists")
    );
    let one = format!("{FIELDS}/x_tier");
    let changed =
        json!({"path":"x_tier","field_type":"string","category":"billing","required":true});
    let written = service.admin(Method::PUT, &one, Some(changed)).await;
    assert_eq!(written["version"], 2);
    let public = "/api/v1/config/field-definitions?category=billing";
    let public = service.call(Request::new(Method::GET, public)).await;
    assert_eq!(public.body.as_array().map(Vec::len), Some(1));
    service.admin(Method::DELETE, &one, None).await;
    let gone = Request::new(Method::GET, &one).bearer(ADMIN);
    assert_eq!(
        service.call(gone).await.problem(),
        (404, "field_definition_not_found")
    );
    let record = service
        .admin(Method::GET, "/api/v1/admin/field-definition-history", None)
        .await;
    let whats: Vec<&Value> = record
        .as_array()
        .expect("list")
        .iter()
        .map(|row| &row["what"])
        .collect();
    assert_eq!(whats, ["deleted", "updated", "created"]);
    service.stop().await;
}

#[tokio::test]
async fn teams_know_what_they_need_and_admins_which_are_ready() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let field =
        json!({"path":"x_owner","field_type":"string","required":true,"display_name":"Owner"});
    service.admin(Method::POST, FIELDS, Some(field)).await;
    service.patch("acme", "web", json!({"x_owner":"ada"})).await;
    let token = service.token("acme", "sre", None).await.token;
    let required = Request::new(Method::GET, "/api/v1/config/me/required-fields").bearer(&token);
    assert_eq!(
        service.call(required).await.body,
        json!({"node_id":"sre","missing":[{"path":"x_owner","display_name":"Owner","description":"","field_type":"string"}],
               "total_required":1,"configured":0})
    );
    let readiness = service
        .admin(Method::GET, "/api/v1/admin/orgs/acme/readiness", None)
        .await;
    let ready: Vec<(&str, bool)> = readiness
        .as_array()
        .expect("list")
        .iter()
        .map(|team| (team["node_id"].as_str().expect("id"), team["ready"] == true))
        .collect();
    assert_eq!(ready, [("sre", false), ("web", true)]);

    // A rule that is newer than a config shows in validation, and refuses nothing else.
    let late = json!({"path":"x_owner","field_type":"string","allowed_values":["bob"]});
    service
        .admin(Method::PUT, &format!("{FIELDS}/x_owner"), Some(late))
        .await;
    assert_eq!(
        service
            .patch("acme", "web", json!({"x_other":1}))
            .await
            .status,
        200
    );
    let validate = "/api/v1/config/orgs/acme/nodes/web/validate";
    let found = service.admin(Method::POST, validate, None).await;
    assert_eq!(
        (&found["valid"], &found["errors"][0]["rule"]),
        (&json!(false), &json!("not_allowed"))
    );
    let statuses = service
        .admin(
            Method::GET,
            "/api/v1/config/orgs/acme/validation-status",
            None,
        )
        .await;
    assert_eq!(statuses.as_array().map(Vec::len), Some(1));
    assert_eq!(statuses[0]["node_id"], "web");
    service.patch("acme", "web", json!({"x_owner":"bob"})).await;
    let found = service.admin(Method::POST, validate, None).await;
    assert_eq!(found["valid"], true);
    let statuses = service
        .admin(
            Method::GET,
            "/api/v1/config/orgs/acme/validation-status",
            None,
        )
        .await;
    assert_eq!(statuses, json!([]));
    let own = service
        .admin(Method::GET, &config_path("acme", "web"), None)
        .await;
    assert_eq!(own["config"]["x_owner"], "bob");
    service.stop().await;
}

#[tokio::test]
async fn the_schema_is_published_for_everybody() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    let schema = service
        .call(Request::new(Method::GET, "/api/v1/config/schema"))
        .await;
    assert_eq!(schema.status, 200);
    assert_eq!(
        schema.body["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    service.stop().await;
}
