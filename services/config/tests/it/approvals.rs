//! Changes that wait for somebody else.
#![expect(
    clippy::too_many_lines,
    reason = "tables of cases, and one story per test"
)]

use http::Method;
use serde_json::{Value, json};

use crate::stage::{ADMIN, Answer, INTERNAL, Request, Servers, Service, config_path};

const CHANGES: &str = "/api/v1/admin/orgs/acme/pending-changes";
const POLICY: &str = "/api/v1/admin/orgs/acme/security-policies";

async fn ready(policy: Value) -> (Servers, Service) {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    service.admin(Method::PUT, POLICY, Some(policy)).await;
    (servers, service)
}

async fn asked_by(service: &Service, name: &str, patch: Value) -> Answer {
    let path = config_path("acme", "sre");
    let request = Request::new(Method::PUT, &path)
        .bearer(ADMIN)
        .header("x-admin-actor", name);
    service
        .call(request.json(json!({"patch": patch, "reason": "because"})))
        .await
}

fn held(answer: &Answer) -> String {
    assert_eq!(
        (answer.status.as_u16(), &answer.body["status"]),
        (200, &json!("pending_approval")),
        "{answer:?}"
    );
    answer.body["pending_change_id"]
        .as_str()
        .expect("id")
        .to_owned()
}

async fn reviewed(service: &Service, id: &str, name: &str, action: &str) -> Answer {
    let path = format!("{CHANGES}/{id}/review");
    let request = Request::new(Method::POST, &path)
        .bearer(ADMIN)
        .header("x-admin-actor", name);
    service
        .call(request.json(json!({"action": action, "comment": "seen"})))
        .await
}

async fn own(service: &Service) -> Value {
    service
        .admin(Method::GET, &config_path("acme", "sre"), None)
        .await["config"]
        .clone()
}

#[tokio::test]
async fn bug_1_7_the_whole_patch_is_held_and_applied_as_one() {
    let (_servers, service) = ready(json!({"require_approval_for_prompts":true})).await;
    let patch =
        json!({"agents":{"planner":{"prompt":{"system":"Be brief."},"max_turns":9}},"x_note":1});
    let id = held(&asked_by(&service, "ada", patch.clone()).await);
    assert_eq!(own(&service).await, json!({}), "nothing is applied yet");
    let change = service
        .admin(Method::GET, &format!("{CHANGES}/{id}"), None)
        .await;
    assert_eq!(change["change_path"], "agents.planner.prompt.system");
    assert_eq!(
        (&change["change_type"], &change["requested_by"]),
        (&json!("prompt"), &json!("admin_token:ada"))
    );
    assert_eq!(
        (&change["proposed_value"], &change["base_version"]),
        (&json!("Be brief."), &json!(1))
    );
    assert_eq!(
        change["diff"]["added"],
        json!({"agents.planner.prompt.system":"Be brief.","agents.planner.max_turns":9,"x_note":1})
    );

    let approved = reviewed(&service, &id, "bob", "approve").await;
    assert_eq!(
        (&approved.body["status"], &approved.body["applied_version"]),
        (&json!("approved"), &json!(2)),
        "{approved:?}"
    );
    assert_eq!(own(&service).await, patch);
    let audit = service
        .admin(Method::GET, "/api/v1/admin/orgs/acme/nodes/sre/audit", None)
        .await;
    assert_eq!(audit[0]["changed_by"], "admin_token:ada");
    assert_eq!(
        audit[0]["reason"],
        format!("because (approved by admin_token:bob as change {id})")
    );
    let again = reviewed(&service, &id, "bob", "approve").await;
    assert_eq!(again.problem(), (400, "already_reviewed"));
    service.stop().await;
}

#[tokio::test]
async fn bug_1_7_no_path_to_a_prompt_or_tool_goes_around_approval() {
    let policy = json!({"require_approval_for_prompts":true,"require_approval_for_tools":true});
    let (_servers, service) = ready(policy).await;
    let token = service.token("acme", "sre", None).await.token;
    for patch in [
        json!({"custom_prompt":"x"}),
        json!({"system_prompt":"x"}),
        json!({"enabled_tools":["think"]}),
        json!({"agents":{"planner":{"prompt":"x"}}}),
        json!({"agents":{"planner":{"prompt":{"system":"x"}}}}),
        json!({"agents":{"mine":{"prompt":{"suffix":"x"}}}}),
        json!({"agents":{"planner":{"tools":{"enabled":["think"]}}}}),
        json!({"tools":{"http_get":{"allow":["example.org"]}}}),
        json!({"mcp_servers":{"shell":{"command":"sh"}}}),
    ] {
        held(&asked_by(&service, "ada", patch.clone()).await);
        let request = Request::new(Method::PATCH, "/api/v1/config/me").bearer(&token);
        held(&service.call(request.json(json!({"config": patch}))).await);
    }
    let path = "/api/v1/admin/orgs/acme/teams/born";
    let request = Request::new(Method::POST, path).bearer(ADMIN);
    held(
        &service
            .call(request.json(json!({"config":{"custom_prompt":"x"}})))
            .await,
    );
    assert_eq!(
        asked_by(&service, "ada", json!({"x_note":1})).await.body["config"],
        json!({"x_note":1})
    );
    let list = service
        .admin(
            Method::GET,
            &format!("{CHANGES}?status=pending&limit=5"),
            None,
        )
        .await;
    assert_eq!(
        (list["items"].as_array().map(Vec::len), &list["total"]),
        (Some(5), &json!(19))
    );
    service.stop().await;
}

#[tokio::test]
async fn bug_1_7_nobody_approves_what_they_asked_for() {
    let (_servers, service) = ready(json!({"require_approval_for_prompts":true})).await;
    let prompt = |text: &str| json!({"agents":{"planner":{"prompt":{"system":text}}}});
    let id = held(&asked_by(&service, "ada", prompt("x")).await);
    for name in ["ada", ""] {
        let answer = reviewed(&service, &id, name, "approve").await;
        assert_eq!(answer.problem(), (403, "four_eyes"), "{name}");
    }
    assert_eq!(
        reviewed(&service, &id, "bob", "maybe").await.problem(),
        (400, "invalid_action")
    );
    assert_eq!(
        reviewed(&service, "nothing", "bob", "approve")
            .await
            .problem(),
        (404, "pending_change_not_found")
    );
    let rejected = reviewed(&service, &id, "bob", "reject").await;
    assert_eq!(
        (
            &rejected.body["status"],
            &rejected.body["reviewed_by"],
            &rejected.body["review_comment"]
        ),
        (
            &json!("rejected"),
            &json!("admin_token:bob"),
            &json!("seen")
        )
    );
    assert_eq!(own(&service).await, json!({}));
    service.stop().await;
}

#[tokio::test]
async fn bug_1_7_a_team_approves_its_own_changes_with_another_identity() {
    let (_servers, service) = ready(json!({"require_approval_for_tools":true})).await;
    let first = service.token("acme", "sre", None).await.token;
    let second = service.token("acme", "sre", None).await.token;
    let web = service.token("acme", "web", None).await.token;
    let patch = || {
        let request = Request::new(Method::PATCH, "/api/v1/config/me").bearer(&first);
        request.json(json!({"config":{"tools":{"think":true}}}))
    };
    let id = held(&service.call(patch()).await);
    let path = format!("/api/v1/team/pending-changes/{id}/approve");
    let approve = |token: &str| Request::new(Method::POST, &path).bearer(token);
    assert_eq!(
        service.call(approve(&web)).await.problem(),
        (404, "pending_change_not_found")
    );
    assert_eq!(
        service.call(approve(&first)).await.problem(),
        (403, "four_eyes")
    );
    let approved = service.call(approve(&second)).await;
    assert_eq!(approved.body["status"], "approved", "{approved:?}");
    assert_eq!(own(&service).await, json!({"tools":{"think":true}}));

    service
        .admin(Method::PUT, POLICY, Some(json!({"team_may_review":false})))
        .await;
    let request = Request::new(Method::PATCH, "/api/v1/config/me").bearer(&first);
    let id = held(
        &service
            .call(request.json(json!({"config":{"tools":{"think":false}}})))
            .await,
    );
    let path = format!("/api/v1/team/pending-changes/{id}/reject");
    let refused = service
        .call(Request::new(Method::POST, &path).bearer(&second))
        .await;
    assert_eq!(refused.problem(), (403, "review_is_for_admins"));
    let mine =
        Request::new(Method::GET, "/api/v1/team/pending-changes?status=pending").bearer(&web);
    assert_eq!(service.call(mine).await.body, json!({"items":[],"total":0}));
    service.stop().await;
}

#[tokio::test]
async fn a_change_that_was_made_for_another_version_is_stale() {
    let (_servers, service) = ready(json!({"require_approval_for_prompts":true})).await;
    let id = held(&asked_by(&service, "ada", json!({"custom_prompt":"x"})).await);
    service.patch("acme", "sre", json!({"x_note":1})).await;
    let stale = reviewed(&service, &id, "bob", "approve").await;
    assert_eq!(stale.problem(), (409, "stale_version"));
    assert_eq!(
        (
            &stale.body["expected_version"],
            &stale.body["current_version"]
        ),
        (&json!(1), &json!(2))
    );
    assert_eq!(own(&service).await, json!({"x_note":1}));

    // A rule that came in between holds for the approval, too.
    let id = held(&asked_by(&service, "ada", json!({"custom_prompt":"x"})).await);
    service
        .admin(
            Method::PUT,
            POLICY,
            Some(json!({"locked_settings":["custom_prompt"]})),
        )
        .await;
    let locked = reviewed(&service, &id, "bob", "approve").await;
    assert_eq!(locked.problem(), (403, "field_locked"));
    let waiting = service
        .admin(Method::GET, &format!("{CHANGES}/{id}"), None)
        .await;
    assert_eq!(waiting["status"], "pending");
    service.stop().await;
}

#[tokio::test]
async fn two_reviewers_decide_once() {
    let (_servers, service) = ready(json!({"require_approval_for_prompts":true})).await;
    let id = held(&asked_by(&service, "ada", json!({"custom_prompt":"x"})).await);
    let (one, other) = tokio::join!(
        reviewed(&service, &id, "bob", "approve"),
        reviewed(&service, &id, "cay", "approve")
    );
    let mut codes = [one.status.as_u16(), other.status.as_u16()];
    codes.sort_unstable();
    assert_eq!(codes, [200, 400], "{one:?} {other:?}");
    let audit = service
        .admin(Method::GET, "/api/v1/admin/orgs/acme/nodes/sre/audit", None)
        .await;
    assert_eq!(audit.as_array().map(Vec::len), Some(2));
    service.stop().await;
}

#[tokio::test]
async fn an_approval_is_bypassed_only_where_the_policy_allows_it_and_on_the_record() {
    let (_servers, service) = ready(json!({"require_approval_for_prompts":true})).await;
    let path = config_path("acme", "sre");
    let bypass = |header: &'static str| {
        let request = Request::new(Method::PUT, &path)
            .bearer(ADMIN)
            .header(header, "true");
        request.json(json!({"patch":{"custom_prompt":header}}))
    };
    let denied = service.call(bypass("x_bypass_approval")).await;
    assert_eq!(denied.problem(), (403, "approval_bypass_denied"));
    service
        .admin(
            Method::PUT,
            POLICY,
            Some(json!({"allow_approval_bypass":true})),
        )
        .await;
    for header in ["x_bypass_approval", "x-bypass-approval"] {
        let written = service.call(bypass(header)).await;
        assert_eq!(
            written.body["config"]["custom_prompt"], header,
            "{written:?}"
        );
    }
    let audit = service
        .admin(Method::GET, "/api/v1/admin/orgs/acme/nodes/sre/audit", None)
        .await;
    assert_eq!(audit[0]["reason"], "approval bypassed");
    service.stop().await;
}

#[tokio::test]
async fn a_proposal_of_a_service_is_one_however_often_it_is_sent() {
    let (_servers, service) = ready(json!({})).await;
    let propose = |body: Value| {
        Request::new(Method::POST, "/api/v1/internal/pending-changes")
            .header("x-internal-service", "pipeline")
            .header("x-internal-secret", INTERNAL)
            .json(body)
    };
    let knowledge = json!({"id":"k-1","org_id":"acme","team_node_id":"sre","change_type":"knowledge",
        "proposed_value":{"title":"t","confidence":0.9},"requested_by":"ai_pipeline"});
    for _ in 0..2 {
        let answer = service.call(propose(knowledge.clone())).await;
        assert_eq!(answer.body["id"], "k-1", "{answer:?}");
        assert_eq!(answer.body["requested_by"], "internal:pipeline:ai_pipeline");
    }
    let mut other = knowledge;
    other["proposed_value"] = json!("another");
    assert_eq!(
        service.call(propose(other)).await.problem(),
        (409, "change_id_taken")
    );
    assert_eq!(
        reviewed(&service, "k-1", "bob", "approve").await.body["status"],
        "approved"
    );
    assert_eq!(own(&service).await, json!({}), "knowledge is only recorded");

    let prompt = json!({"id":"p-1","org_id":"acme","node_id":"sre","change_type":"prompt",
        "change_path":"agents.planner.prompt.system","proposed_value":"Better."});
    assert_eq!(service.call(propose(prompt)).await.body["base_version"], 1);
    assert_eq!(
        reviewed(&service, "p-1", "", "approve").await.body["applied_version"],
        2
    );
    assert_eq!(
        own(&service).await,
        json!({"agents":{"planner":{"prompt":{"system":"Better."}}}})
    );
    for (body, expected) in [
        (
            json!({"org_id":"acme","node_id":"sre","change_type":"prompt","proposed_value":1}),
            (400, "invalid_change_path"),
        ),
        (
            json!({"org_id":"acme","node_id":"nobody","change_type":"knowledge","proposed_value":1}),
            (404, "node_not_found"),
        ),
        (
            json!({"id":"","org_id":"acme","node_id":"sre","change_type":"knowledge","proposed_value":1}),
            (400, "invalid_field"),
        ),
    ] {
        assert_eq!(
            service.call(propose(body.clone())).await.problem(),
            expected,
            "{body}"
        );
    }
    service.stop().await;
}

#[tokio::test]
async fn bug_1_7_remediations_need_a_credential_and_somebody_else() {
    let (_servers, service) = ready(json!({})).await;
    let first = service.token("acme", "sre", None).await.token;
    let second = service.token("acme", "sre", None).await.token;
    let web = service.token("acme", "web", None).await.token;
    let path = "/api/v1/remediations";
    let body = json!({"action_type":"scale_deployment","target":"api","reason":"load",
        "parameters":{"namespace":"shop","replicas":5},"urgency":"high"});
    let bare = Request::new(Method::POST, path)
        .header("x-org-id", "acme")
        .header("x-team-node-id", "sre")
        .json(body.clone());
    assert_eq!(service.call(bare).await.problem(), (401, "missing_token"));
    let proposed = Request::new(Method::POST, path)
        .bearer(&first)
        .header("x-org-id", "umbrella")
        .header("x-proposed-by", "planner")
        .json(body);
    let proposed = service.call(proposed).await;
    assert_eq!(proposed.status, 201, "{proposed:?}");
    assert_eq!(
        (
            &proposed.body["org_id"],
            &proposed.body["proposed_for"],
            &proposed.body["status"]
        ),
        (&json!("acme"), &json!("planner"), &json!("pending"))
    );
    let id = proposed.body["id"].as_str().expect("id").to_owned();
    assert!(id.starts_with("rem-") && id.len() == 16, "{id}");
    let one = format!("{path}/{id}");
    let review = |token: &str, action: &str| {
        let url = format!("{one}/review");
        let token = token.to_owned();
        let action = action.to_owned();
        (url, token, json!({"action": action}))
    };
    for (token, action, expected) in [
        (&web, "approve", (404, "remediation_not_found")),
        (&first, "approve", (403, "four_eyes")),
        (&second, "maybe", (400, "invalid_action")),
        (&second, "approve", (200, "")),
        (&second, "approve", (400, "wrong_remediation_state")),
    ] {
        let (url, token, body) = review(token, action);
        let request = Request::new(Method::POST, &url).bearer(&token).json(body);
        let answer = service.call(request).await;
        assert_eq!(answer.problem(), expected, "{answer:?}");
    }
    let rollback = format!("{one}/rollback");
    let back = || Request::new(Method::POST, &rollback).bearer(&first);
    assert_eq!(
        service.call(back()).await.problem(),
        (400, "wrong_remediation_state")
    );
    let result = format!("/api/v1/internal/remediations/{id}/result");
    for _ in 0..2 {
        let report = Request::new(Method::POST, &result)
            .header("x-internal-service", "executor")
            .header("x-internal-secret", INTERNAL)
            .json(json!({"org_id":"acme","status":"executed","result":{"previous_replicas":2}}));
        assert_eq!(service.call(report).await.body["status"], "executed");
    }
    let inverse = service.call(back()).await;
    assert_eq!(
        (
            &inverse.body["rolls_back"],
            &inverse.body["parameters"]["replicas"],
            &inverse.body["status"]
        ),
        (&json!(id), &json!(2), &json!("pending")),
        "{inverse:?}"
    );
    assert_eq!(service.call(back()).await.problem(), (400, "no_inverse"));
    let list = Request::new(Method::GET, "/api/v1/remediations?status=executed").bearer(&first);
    assert_eq!(service.call(list).await.body["total"], 1);
    let of_org = "/api/v1/admin/orgs/acme/remediations";
    let all = service.admin(Method::GET, of_org, None).await;
    assert_eq!(all["total"], 2);
    service.stop().await;
}
