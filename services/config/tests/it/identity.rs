//! Each kind of identity, and what the original let through.

use http::Method;
use serde_json::{Value, json};

use crate::stage::{ADMIN, Answer, INTERNAL, Request, Servers, Service};

pub(crate) const WHO: &str = "/api/v1/auth/me";
const ME: &str = "/api/v1/config/me";
const IMPERSONATE: &str = "/api/v1/admin/orgs/acme/teams/sre/impersonation-token";

pub(crate) async fn as_bearer(
    service: &Service,
    method: Method,
    path: &str,
    token: &str,
) -> Answer {
    service.call(Request::new(method, path).bearer(token)).await
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().expect("a text").to_owned()
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn auth_me_tells_every_kind_what_it_is() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let team = service.token("acme", "sre", None).await;
    let path = "/api/v1/admin/orgs/acme/admin-tokens";
    let org_admin = service.admin(Method::POST, path, None).await;
    let impersonation = service.admin(Method::POST, IMPERSONATE, None).await;
    assert_eq!(impersonation["expires_at"], "2026-03-01T12:15:00Z");
    let org_token = text(&org_admin, "token");
    assert!(org_token.starts_with("acme.") && !org_token.starts_with("acme.sre."));
    let (team_subject, org_subject) = (
        format!("team_token:{}", team.id),
        format!("org_admin:acme:{}", text(&org_admin, "token_id")),
    );
    let all = json!(["admin:*"]);
    let reads = json!(["team:read"]);
    let both = json!(["team:read", "team:write"]);
    let rows = [
        (
            ADMIN,
            "admin",
            "admin_token",
            Value::Null,
            Value::Null,
            "admin_token",
            true,
            &all,
        ),
        (
            &org_token,
            "admin",
            "admin_token",
            json!("acme"),
            Value::Null,
            &org_subject,
            true,
            &all,
        ),
        (
            &team.token,
            "team",
            "team_token",
            json!("acme"),
            json!("sre"),
            &team_subject,
            true,
            &both,
        ),
        (
            &text(&impersonation, "token"),
            "team",
            "impersonation",
            json!("acme"),
            json!("sre"),
            "super_admin",
            false,
            &reads,
        ),
    ];
    for (token, role, kind, org, team, subject, can_write, permissions) in rows {
        let me = as_bearer(&service, Method::GET, WHO, token).await.body;
        let told = [
            &me["role"],
            &me["auth_kind"],
            &me["org_id"],
            &me["team_node_id"],
            &me["subject"],
            &me["can_write"],
            &me["permissions"],
            &me["email"],
            &me["visitor_session_id"],
        ];
        let expected = [
            &json!(role),
            &json!(kind),
            &org,
            &team,
            &json!(subject),
            &json!(can_write),
            permissions,
            &Value::Null,
            &Value::Null,
        ];
        assert_eq!(told, expected, "{me}");
    }
    for path in [WHO, ME] {
        let nobody = service.call(Request::new(Method::GET, path)).await;
        assert_eq!(nobody.problem(), (401, "missing_token"));
        assert_eq!(nobody.headers["www-authenticate"], "Bearer");
    }
    service.stop().await;
}

#[tokio::test]
async fn both_formats_of_a_token_are_one_token() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let path = "/api/v1/admin/orgs/acme/admin-tokens";
    let org_admin = service.admin(Method::POST, path, None).await;
    let team = service.token("acme", "sre", None).await;
    for (seed, me) in [(text(&org_admin, "token"), "admin"), (team.token, "team")] {
        let random = seed.rsplit('.').next().expect("random part");
        let bytes = URL_SAFE_NO_PAD.decode(random).expect("base64");
        let (id, secret) = bytes.split_at(16);
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let other = format!("{id}.{}", URL_SAFE_NO_PAD.encode(secret));
        assert_eq!(other.len(), 32 + 1 + 43);
        let forged = format!("{id}.{}", URL_SAFE_NO_PAD.encode([0_u8; 32]));
        let more_dots = format!("x.{seed}");
        for (token, expected) in [
            (&seed, (200, "")),
            (&other, (200, "")),
            (&forged, (401, "invalid_token")),
            (&more_dots, (401, "invalid_token")),
        ] {
            let answer = as_bearer(&service, Method::GET, WHO, token).await;
            assert_eq!(answer.problem(), expected, "{token}");
            if expected.0 == 200 {
                assert_eq!(answer.body["role"], me);
            }
        }
    }
    service.stop().await;
}

#[tokio::test]
async fn bug_impersonation_is_not_minted_for_a_team_that_does_not_exist() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    for (org, node, code) in [
        ("acme", "nobody", "node_not_found"),
        ("nowhere", "sre", "node_not_found"),
        ("acme", "acme", "team_not_found"),
    ] {
        let path = format!("/api/v1/admin/orgs/{org}/teams/{node}/impersonation-token");
        let answer = as_bearer(&service, Method::POST, &path, ADMIN).await;
        assert_eq!(answer.status, 404, "{answer:?}");
        assert_eq!(answer.problem().1, code);
    }
    service.stop().await;
}

#[tokio::test]
async fn bug_impersonation_reads_and_never_writes() {
    let servers = Servers::start().await;
    let mut settings = servers.settings();
    let service = Service::ready(settings.clone()).await;
    service.seed().await;
    let token = text(
        &service.admin(Method::POST, IMPERSONATE, None).await,
        "token",
    );
    let read = as_bearer(&service, Method::GET, ME, &token).await;
    assert_eq!(read.status, 200);
    let write = Request::new(Method::PATCH, ME)
        .bearer(&token)
        .json(json!({"config":{"x_a":1}}));
    assert_eq!(
        service.call(write).await.problem(),
        (403, "impersonation_is_read_only")
    );
    let admin = as_bearer(
        &service,
        Method::GET,
        "/api/v1/admin/orgs/acme/nodes",
        &token,
    )
    .await;
    assert_eq!(admin.problem(), (403, "admin_required"));
    // Its time is short, and another key signs nothing here.
    service.clock.advance(std::time::Duration::from_secs(906));
    let late = as_bearer(&service, Method::GET, ME, &token).await;
    assert_eq!(late.problem(), (401, "invalid_token"));
    service.stop().await;

    settings.identity.impersonation_secret = "new,impersonation-secret".parse().expect("list");
    settings.identity.impersonation_require_log = true;
    let service = Service::ready(settings.clone()).await;
    let unlogged = as_bearer(&service, Method::GET, ME, &token).await;
    assert_eq!(unlogged.problem(), (401, "invalid_token"), "no such jti");
    let logged = text(
        &service.admin(Method::POST, IMPERSONATE, None).await,
        "token",
    );
    let read = as_bearer(&service, Method::GET, ME, &logged).await;
    assert_eq!(read.status, 200);
    service.stop().await;

    settings.identity.impersonation_require_log = false;
    settings.identity.impersonation_secret = "new".parse().expect("list");
    let service = Service::ready(settings.clone()).await;
    for (token, expected) in [(&token, 401), (&logged, 200)] {
        let answer = as_bearer(&service, Method::GET, ME, token).await;
        assert_eq!(answer.status, expected, "{answer:?}");
    }
    service.stop().await;
}

#[tokio::test]
async fn bug_the_header_of_a_service_opens_no_admin_route() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let request = Request::new(Method::GET, "/api/v1/admin/orgs/acme/nodes")
        .header("x-internal-service", "agent")
        .header("x-internal-secret", INTERNAL);
    assert_eq!(
        service.call(request).await.problem(),
        (401, "missing_token")
    );
    service.stop().await;
}

#[tokio::test]
async fn bug_headers_that_name_a_team_are_no_credential() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    for method in [Method::GET, Method::PATCH] {
        let request = Request::new(method, ME)
            .header("x-org-id", "acme")
            .header("x-team-node-id", "sre")
            .json(json!({"config":{"x_a":1}}));
        assert_eq!(
            service.call(request).await.problem(),
            (401, "missing_token")
        );
    }
    service.stop().await;
}

#[tokio::test]
async fn a_service_without_the_secret_passes_only_where_the_operator_says_so() {
    const LOOKUP: &str = "/api/v1/internal/routing/lookup";
    let servers = Servers::start().await;
    let lookup = |name: &'static str, secret: Option<&str>| {
        let request = Request::new(Method::POST, LOOKUP)
            .header("x-internal-service", name)
            .json(json!({"identifiers":{}}));
        match secret {
            Some(secret) => request.header("x-internal-secret", secret),
            None => request,
        }
    };
    let denied = (401, "missing_internal_secret");
    for (names, networks, orchestrator, agent) in [
        ("", "", denied, denied),
        ("orchestrator", "", (200, ""), denied),
        ("", "127.0.0.0/8", (200, ""), (200, "")),
        ("", "10.0.0.0/8", denied, denied),
    ] {
        let mut settings = servers.settings();
        settings.identity.internal_trusted_names = names.parse().expect("names");
        settings.identity.internal_trusted_networks = networks.parse().expect("networks");
        let service = Service::ready(settings).await;
        for (name, expected) in [("orchestrator", orchestrator), ("agent", agent)] {
            let answer = service.call(lookup(name, None)).await;
            assert_eq!(answer.problem(), expected, "{names} {networks} {name}");
        }
        let wrong = service.call(lookup("orchestrator", Some("guess"))).await;
        assert_eq!(wrong.problem(), (403, "invalid_internal_secret"));
        let right = service.call(lookup("any", Some(INTERNAL))).await;
        assert_eq!(right.status, 200, "{right:?}");
        service.stop().await;
    }
}
