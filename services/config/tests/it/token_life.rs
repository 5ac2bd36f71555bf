//! What happens to tokens with time, who may issue them, and what stands in the record.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tocsin_testkit::eventually;

use crate::identity::{WHO, as_bearer};
use crate::stage::{ADMIN, LIMIT, Request, Servers, Service};

const ORG: &str = "/api/v1/admin/orgs/acme";
const TOKENS: &str = "/api/v1/admin/orgs/acme/teams/sre/tokens";
const OWN: &str = "/api/v1/config/me/tokens";

async fn events(service: &Service, filter: &str) -> Vec<Value> {
    let path = format!("{ORG}/token-audit?{filter}");
    let page = service.admin(Method::GET, &path, None).await;
    page["events"].as_array().expect("events").clone()
}

async fn days_pass(service: &Service, days: u64) {
    service
        .clock
        .advance(Duration::from_secs(days * 24 * 60 * 60));
}

#[tokio::test]
async fn bug_a_token_for_an_unknown_team_is_404_and_none_is_issued() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    for (path, code) in [
        (
            "/api/v1/admin/orgs/acme/teams/nobody/tokens",
            "node_not_found",
        ),
        (
            "/api/v1/admin/orgs/nowhere/teams/sre/tokens",
            "node_not_found",
        ),
        (
            "/api/v1/admin/orgs/acme/teams/acme/tokens",
            "team_not_found",
        ),
        ("/api/v1/admin/orgs/nowhere/admin-tokens", "org_not_found"),
    ] {
        // As clients of the original ask for it: no body, no content type.
        let answer = as_bearer(&service, Method::POST, path, ADMIN).await;
        assert_eq!(answer.problem(), (404, code), "{path}");
    }
    let issued = as_bearer(&service, Method::POST, TOKENS, ADMIN).await;
    assert_eq!(issued.status, 200);
    assert_eq!(
        (&issued.body["issued_at"], &issued.body["expires_at"]),
        (&json!("2026-03-01T12:00:00Z"), &Value::Null)
    );
    let all = service
        .admin(Method::GET, &format!("{ORG}/tokens"), None)
        .await;
    assert_eq!(
        (&all["total"], &all["tokens"][0]["team_node_id"]),
        (&json!(1), &json!("sre"))
    );
    assert_eq!(all["tokens"][0]["status"], "active");
    let nowhere = Request::new(Method::GET, "/api/v1/admin/orgs/nowhere/tokens").bearer(ADMIN);
    assert_eq!(
        service.call(nowhere).await.problem(),
        (404, "org_not_found")
    );
    service.stop().await;
}

#[tokio::test]
async fn bug_permissions_are_enforced_and_denials_are_on_record() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let reader = service
        .token("acme", "sre", Some(json!({"permissions":["config:read"]})))
        .await;
    let write = || {
        Request::new(Method::PATCH, "/api/v1/config/me")
            .bearer(&reader.token)
            .json(json!({"config":{"x_a":1}}))
    };
    for _ in 0..3 {
        assert_eq!(
            service.call(write()).await.problem(),
            (403, "permission_denied")
        );
    }
    eventually("the denial to be on record", LIMIT, || async {
        !events(&service, "event_type=permission_denied")
            .await
            .is_empty()
    })
    .await;
    let denied = events(&service, "event_type=permission_denied").await;
    assert_eq!(denied.len(), 1, "once in five minutes");
    assert_eq!(
        (
            &denied[0]["token_id"],
            &denied[0]["details"]["wanted"],
            &denied[0]["ip_address"]
        ),
        (
            &json!(reader.id),
            &json!("config:write"),
            &json!("127.0.0.1")
        )
    );
    service.stop().await;
}

#[tokio::test]
async fn a_team_issues_no_more_than_it_has() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let may = ["config:read", "tokens:issue", "tokens:revoke"];
    let body = json!({"permissions": may, "expires_at":"2026-04-01T00:00:00Z"});
    let issuer = service.token("acme", "sre", Some(body)).await;
    let other = service.token("acme", "web", None).await;
    let issue = |body: Value| {
        Request::new(Method::POST, OWN)
            .bearer(&issuer.token)
            .json(body)
    };
    for (body, expected) in [
        (
            json!({"permissions":["config:write"]}),
            (403, "permissions_exceed_issuer"),
        ),
        (
            json!({"expires_at":"2026-05-01T00:00:00Z"}),
            (403, "expiry_exceeds_issuer"),
        ),
        (
            json!({"expires_at":"2026-02-01T00:00:00Z"}),
            (400, "invalid_field"),
        ),
        (json!({"permissions":["root"]}), (422, "invalid_body")),
        (json!({"permissions":["tokens:issue"]}), (200, "")),
    ] {
        let answer = service.call(issue(body.clone())).await;
        assert_eq!(answer.problem(), expected, "{body}");
    }
    let child = as_bearer(&service, Method::POST, OWN, &issuer.token)
        .await
        .body;
    assert_eq!(
        (&child["permissions"], &child["expires_at"]),
        (&json!(["config:read"]), &json!("2026-04-01T00:00:00Z"))
    );
    let child_token = child["token"].as_str().expect("token");
    let refused = as_bearer(&service, Method::POST, OWN, child_token).await;
    assert_eq!(refused.problem(), (403, "permission_denied"));
    let listed = as_bearer(&service, Method::GET, OWN, &issuer.token)
        .await
        .body;
    assert_eq!(listed.as_array().expect("list").len(), 3);
    for (id, expected) in [
        (child["token_id"].as_str().expect("id"), (200, "")),
        (other.id.as_str(), (404, "token_not_found")),
    ] {
        let path = format!("{OWN}/{id}");
        let answer = as_bearer(&service, Method::DELETE, &path, &issuer.token).await;
        assert_eq!(answer.problem(), expected);
    }
    let dead = as_bearer(&service, Method::GET, WHO, child_token).await;
    assert_eq!(dead.problem(), (401, "token_revoked"));
    service.stop().await;
}

#[tokio::test]
async fn only_a_global_admin_issues_tokens_of_admins() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let path = format!("{ORG}/admin-tokens");
    let narrow = json!({"label":"ci","permissions":["admin:config:read"],"expires_at":"2026-04-01T00:00:00Z"});
    let issued = service.admin(Method::POST, &path, Some(narrow)).await;
    let narrow = issued["token"].as_str().expect("token").to_owned();
    let admin = service.admin(Method::POST, &path, None).await;
    let token = admin["token"].as_str().expect("token").to_owned();
    let odd = Request::new(Method::POST, &path)
        .bearer(ADMIN)
        .json(json!({"permissions":["admin:everything"]}));
    assert_eq!(service.call(odd).await.problem(), (400, "invalid_field"));
    for (method, path, token, expected) in [
        (
            Method::POST,
            path.as_str(),
            &token,
            (403, "global_admin_required"),
        ),
        (Method::GET, &path, &token, (200, "")),
        (Method::POST, TOKENS, &token, (200, "")),
        (
            Method::GET,
            "/api/v1/admin/orgs/umbrella/tokens",
            &token,
            (403, "org_denied"),
        ),
        (
            Method::POST,
            "/api/v1/admin/orgs/umbrella/teams/ops/tokens",
            &token,
            (403, "org_denied"),
        ),
        (Method::GET, &path, &narrow, (403, "admin_star_required")),
    ] {
        let answer = as_bearer(&service, method, path, token).await;
        assert_eq!(answer.problem(), expected, "{path}");
    }
    let denied = as_bearer(
        &service,
        Method::GET,
        "/api/v1/admin/orgs/umbrella/tokens",
        &token,
    )
    .await;
    let detail = denied.body["detail"].as_str().expect("detail");
    assert_eq!(detail, "Access denied: you can only access org 'acme'");
    let mine = format!("{path}/{}/revoke", admin["token_id"].as_str().expect("id"));
    assert_eq!(
        as_bearer(&service, Method::POST, &mine, &token)
            .await
            .status,
        200
    );
    assert_eq!(
        as_bearer(&service, Method::GET, &path, &token)
            .await
            .problem(),
        (401, "token_revoked")
    );
    service.stop().await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn tokens_are_extended_and_everything_is_on_record() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    let other = Service::ready(servers.settings()).await;
    service.seed().await;
    let body = json!({"label":"ci","expires_at":"2026-03-03T12:00:00Z"});
    let token = service.token("acme", "sre", Some(body)).await;
    assert_eq!(
        as_bearer(&other, Method::GET, WHO, &token.token)
            .await
            .status,
        200
    );
    let one = format!("{TOKENS}/{}", token.id);
    let read = service.admin(Method::GET, &one, None).await;
    assert_eq!(
        (&read["label"], &read["status"]),
        (&json!("ci"), &json!("active"))
    );
    let extend = async |days: Value| {
        let path = format!("{one}/extend");
        let request = Request::new(Method::POST, &path).bearer(ADMIN).json(days);
        service.call(request).await
    };
    for bad in [
        json!({"days":0}),
        json!({"days":-1}),
        json!({"days":40_000}),
    ] {
        assert_eq!(extend(bad).await.problem(), (400, "invalid_field"));
    }
    let extended = extend(json!({"days":10})).await.body;
    assert_eq!(
        extended["expires_at"], "2026-03-13T12:00:00Z",
        "from its end"
    );
    days_pass(&service, 3).await;
    days_pass(&other, 3).await;
    assert_eq!(
        as_bearer(&other, Method::GET, WHO, &token.token)
            .await
            .status,
        200,
        "what another replica has in memory is asked again before it is refused"
    );
    days_pass(&service, 20).await;
    let late = as_bearer(&service, Method::GET, WHO, &token.token).await;
    assert_eq!(late.problem(), (401, "token_expired"));
    let extended = extend(json!({})).await.body;
    assert_eq!(
        extended["expires_at"], "2026-06-22T12:00:00Z",
        "90 days from now"
    );
    assert_eq!(
        as_bearer(&service, Method::GET, WHO, &token.token)
            .await
            .status,
        200
    );
    service.admin(Method::DELETE, &one, None).await;
    assert_eq!(extend(json!({})).await.problem(), (400, "token_revoked"));

    let filter = format!("token_id={}", token.id);
    eventually("the late use to be on record", LIMIT, || async {
        events(&service, &filter).await.len() == 5
    })
    .await;
    let kinds: Vec<Value> = events(&service, &filter)
        .await
        .iter()
        .map(|event| event["event_type"].clone())
        .collect();
    let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
    assert_eq!(kinds.first(), Some(&"revoked"));
    assert_eq!(kinds.last(), Some(&"issued"));
    assert_eq!(kinds.iter().filter(|kind| **kind == "extended").count(), 2);
    assert!(kinds.contains(&"expired"));
    assert_eq!(
        events(&service, &format!("{filter}&limit=2&offset=4"))
            .await
            .len(),
        1
    );
    assert!(events(&service, "team_node_id=web").await.is_empty());
    for bad in [
        "limit=0",
        "limit=1001",
        "offset=-1",
        "event_type=x",
        "token_id=x",
    ] {
        let path = format!("{ORG}/token-audit?{bad}");
        let answer = as_bearer(&service, Method::GET, &path, ADMIN).await;
        assert_eq!(answer.problem(), (400, "invalid_query"), "{bad}");
    }
    let mut database = servers.database().await;
    for statement in [
        "update token_events set actor = 'x'",
        "delete from token_events",
        "truncate token_events",
    ] {
        let changed = sqlx::query(statement).execute(&mut database).await;
        assert!(changed.is_err(), "{statement}");
    }
    service.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn last_use_is_noted_every_five_minutes() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let token = service.token("acme", "sre", None).await;
    let one = format!("{TOKENS}/{}", token.id);
    let last_use = async || service.admin(Method::GET, &one, None).await["last_used_at"].clone();
    assert_eq!(last_use().await, Value::Null);
    as_bearer(&service, Method::GET, WHO, &token.token).await;
    eventually("the use to be noted", LIMIT, || async {
        last_use().await == json!("2026-03-01T12:00:00Z")
    })
    .await;
    for (seconds, expected) in [(299, "2026-03-01T12:00:00Z"), (2, "2026-03-01T12:05:01Z")] {
        service.clock.advance(Duration::from_secs(seconds));
        as_bearer(&service, Method::GET, WHO, &token.token).await;
        eventually("the use to be noted or not", LIMIT, || async {
            last_use().await == json!(expected)
        })
        .await;
    }
    service.stop().await;
}

#[tokio::test]
async fn who_ends_soon_is_warned_once_a_day_and_the_daily_sweep_does_it_alone() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let soon = service
        .token(
            "acme",
            "sre",
            Some(json!({"expires_at":"2026-03-06T12:00:00Z"})),
        )
        .await;
    service
        .token(
            "acme",
            "sre",
            Some(json!({"expires_at":"2026-03-20T12:00:00Z"})),
        )
        .await;
    let run = async || {
        service
            .admin(Method::POST, &format!("{ORG}/token-lifecycle/run"), None)
            .await
    };
    for (hours, warned) in [(0, 1), (1, 0), (24, 1)] {
        service.clock.advance(Duration::from_secs(hours * 3600));
        let report = run().await;
        assert_eq!(report["warnings_sent"], warned, "after {hours} h: {report}");
        let expiring = report["tokens_expiring_soon"].as_array().expect("list");
        assert_eq!(expiring.len(), 1);
        assert_eq!(expiring[0]["token_id"], json!(soon.id));
        assert_eq!(report["tokens_revoked"], json!([]));
    }
    assert_eq!(events(&service, "event_type=expiry_warning").await.len(), 2);
    service.stop().await;

    // A day without a sweep: the next process to look does it, by itself.
    let mut database = servers.database().await;
    sqlx::query("update token_sweeps set swept_at = swept_at - interval '1 day'")
        .execute(&mut database)
        .await
        .expect("ages");
    sqlx::query("update tokens set warned_at = null")
        .execute(&mut database)
        .await
        .expect("forgets");
    let (one, other) = (
        Service::ready(servers.settings()).await,
        Service::ready(servers.settings()).await,
    );
    eventually("the sweep", LIMIT, || async {
        events(&one, "event_type=expiry_warning").await.len() == 3
    })
    .await;
    let warning = events(&one, "event_type=expiry_warning").await;
    assert!(
        warning
            .iter()
            .any(|event| event["actor"] == "system:token_lifecycle")
    );
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn the_orgs_policy_ends_tokens_and_unused_ones_are_revoked() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let policy =
        json!({"token_expiry_days":30,"token_warn_before_days":2,"token_revoke_inactive_days":10});
    let path = format!("{ORG}/security-policies");
    service.admin(Method::PUT, &path, Some(policy)).await;
    let issued = service.admin(Method::POST, TOKENS, None).await;
    assert_eq!(issued["expires_at"], "2026-03-31T12:00:00Z");
    let unused = issued["token"].as_str().expect("token").to_owned();
    let used = service.token("acme", "sre", None).await;
    let foreign = service.token("umbrella", "ops", None).await;
    days_pass(&service, 9).await;
    assert_eq!(
        as_bearer(&service, Method::GET, WHO, &used.token)
            .await
            .status,
        200
    );
    eventually("the use to be noted", LIMIT, || async {
        let one = format!("{TOKENS}/{}", used.id);
        !service.admin(Method::GET, &one, None).await["last_used_at"].is_null()
    })
    .await;
    days_pass(&service, 2).await;
    let run = format!("{ORG}/token-lifecycle/run");
    let report = service.admin(Method::POST, &run, None).await;
    assert_eq!(
        report["tokens_revoked"][0]["token_id"], issued["token_id"],
        "{report}"
    );
    assert_eq!(report["tokens_revoked"].as_array().map(Vec::len), Some(1));
    for (token, expected) in [
        (&unused, (401, "token_revoked")),
        (&used.token, (200, "")),
        (&foreign.token, (200, "")),
    ] {
        let answer = as_bearer(&service, Method::GET, WHO, token).await;
        assert_eq!(answer.problem(), expected);
    }
    let events = events(&service, "event_type=auto_revoked_inactive").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["details"], json!({"inactive_days": 10}));
    // By default there is neither.
    let lasting = service.token("umbrella", "ops", None).await;
    days_pass(&service, 400).await;
    assert_eq!(
        as_bearer(&service, Method::GET, WHO, &lasting.token)
            .await
            .status,
        200
    );
    service.stop().await;
}
