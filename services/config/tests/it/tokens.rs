//! The life of a team token.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tocsin_kit::SecretList;

use crate::stage::{ADMIN, Request, Servers, Service};

const ME: &str = "/api/v1/config/me";
const TOKENS: &str = "/api/v1/admin/orgs/acme/teams/sre/tokens";

async fn read_with(service: &Service, token: &str) -> (u16, String) {
    let answer = service
        .call(Request::new(Method::GET, ME).bearer(token))
        .await;
    let (status, code) = answer.problem();
    (status, code.to_owned())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_token_works_until_it_ends() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let token = service.token("acme", "sre", None).await;
    assert!(token.token.starts_with("acme.sre."));
    assert_eq!(read_with(&service, &token.token).await, is(200, ""));
    let me = service
        .call(Request::new(Method::GET, "/api/v1/auth/me").bearer(&token.token))
        .await;
    assert_eq!(
        me.body,
        json!({"role":"team","auth_kind":"team_token","org_id":"acme","team_node_id":"sre",
            "subject":format!("team_token:{}", token.id),"email":null,"can_write":true,
            "permissions":["team:read","team:write"],
            "allowed":["config:read","config:write","agent:invoke"],"visitor_session_id":null})
    );

    service.clock.advance(Duration::from_secs(1));
    let soon = json!({"expires_at":"2026-03-01T13:00:00Z","label":"short"});
    let short = service.token("acme", "sre", Some(soon)).await;
    assert_eq!(read_with(&service, &short.token).await, is(200, ""));
    service.clock.advance(Duration::from_secs(3600));
    assert_eq!(
        read_with(&service, &short.token).await,
        is(401, "token_expired")
    );

    let revoke = format!("{TOKENS}/{}/revoke", token.id);
    for revoked_count in [1, 0] {
        let answer = service.admin(Method::POST, &revoke, None).await;
        assert_eq!(answer, json!({"status":"ok","revoked_count":revoked_count}));
        assert_eq!(
            read_with(&service, &token.token).await,
            is(401, "token_revoked")
        );
    }
    let unknown =
        Request::new(Method::DELETE, "/api/v1/admin/orgs/acme/teams/sre/tokens/x").bearer(ADMIN);
    assert_eq!(
        service.call(unknown).await.problem(),
        (404, "token_not_found")
    );
    let listed = service.admin(Method::GET, TOKENS, None).await;
    let states: Vec<&str> = listed
        .as_array()
        .expect("list")
        .iter()
        .filter_map(|token| token["status"].as_str())
        .collect();
    assert_eq!(states, ["expired", "revoked"]);
    assert!(!listed.to_string().contains(&token.token));

    let last = service.token("acme", "sre", None).await;
    service
        .admin(Method::DELETE, "/api/v1/admin/orgs/acme/teams/sre", None)
        .await;
    service
        .admin(Method::POST, "/api/v1/admin/orgs/acme/teams/sre", None)
        .await;
    assert_eq!(
        read_with(&service, &last.token).await,
        is(401, "invalid_token"),
        "a namesake is another team"
    );
    service.stop().await;
}

#[tokio::test]
async fn a_token_allows_what_it_lists_and_nothing_else() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let reader = service
        .token("acme", "sre", Some(json!({"permissions":["config:read"]})))
        .await;
    let writer = service
        .token("acme", "sre", Some(json!({"permissions":["config:write"]})))
        .await;
    let write = |token: &str| {
        let body = json!({"config":{"x_a":1},"reason":"test","merge":true});
        Request::new(Method::PATCH, ME).bearer(token).json(body)
    };
    assert_eq!(read_with(&service, &reader.token).await, is(200, ""));
    assert_eq!(
        read_with(&service, &writer.token).await,
        is(403, "permission_denied")
    );
    assert_eq!(
        service.call(write(&reader.token)).await.problem(),
        (403, "permission_denied")
    );
    let written = service.call(write(&writer.token)).await;
    assert_eq!(
        written.body,
        json!({"node_id":"sre","node_type":"team","config":{"x_a":1},"version":2,
            "updated_at":"2026-03-01T12:00:00Z","updated_by":format!("team_token:{}", writer.id)})
    );
    let odd = Request::new(Method::POST, TOKENS)
        .bearer(ADMIN)
        .json(json!({"permissions":["root"]}));
    assert_eq!(service.call(odd).await.problem(), (422, "invalid_body"));
    let late = Request::new(Method::POST, TOKENS)
        .bearer(ADMIN)
        .json(json!({"expires_at":"2020-01-01T00:00:00Z"}));
    assert_eq!(service.call(late).await.problem(), (400, "invalid_field"));
    service.stop().await;
}

#[tokio::test]
async fn a_stolen_database_holds_no_token() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let token = service.token("acme", "sre", None).await;
    let secret = token
        .token
        .rsplit('.')
        .next()
        .expect("random part")
        .to_owned();
    let mut database = servers.database().await;
    let rows: Vec<String> = sqlx::query_scalar(
        "select row_to_json(tokens)::text from tokens union all select convert_from(payload, 'utf8') from outbox",
    )
    .fetch_all(&mut database)
    .await
    .expect("reads");
    assert!(!rows.is_empty() && !rows.iter().any(|row| row.contains(&secret)));
    service.stop().await;

    // Under another pepper the stored hash is worth nothing, and without one nobody is let in.
    for (pepper, expected) in [
        ("other", is(401, "invalid_token")),
        ("other,pepper", is(200, "")),
        ("", is(503, "token_pepper_not_configured")),
    ] {
        let mut settings = servers.settings();
        settings.token_pepper = pepper.parse().expect("list");
        let service = Service::ready(settings).await;
        assert_eq!(
            read_with(&service, &token.token).await,
            expected,
            "{pepper}"
        );
        service.stop().await;
    }
}

#[tokio::test]
async fn without_an_admin_token_nobody_is_admin() {
    let servers = Servers::start().await;
    let mut settings = servers.settings();
    settings.admin_token = SecretList::default();
    settings.internal_service_secret = SecretList::default();
    let service = Service::ready(settings).await;
    for token in ["", ADMIN, "null"] {
        let request = Request::new(Method::GET, "/api/v1/admin/orgs/acme/nodes").bearer(token);
        assert_eq!(
            service.call(request).await.problem(),
            (401, "admin_token_not_configured")
        );
    }
    let lookup = Request::new(Method::POST, "/api/v1/internal/routing/lookup")
        .header("x-internal-service", "router")
        .header("x-internal-secret", "guess");
    assert_eq!(
        service.call(lookup).await.problem(),
        (401, "internal_secret_not_configured")
    );
    service.stop().await;
}
