//! While Postgres is away.

use http::Method;

use crate::stage::{ADMIN, LIMIT, Request, Servers, Service};
use tocsin_testkit::eventually;

#[tokio::test]
async fn without_postgres_the_service_stays_up_and_says_so() {
    let mut servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let token = service.token("acme", "sre", None).await.token;
    servers.postgres.kill().await.expect("kills");
    for (method, path, token) in [
        (Method::GET, "/api/v1/admin/orgs/acme/nodes", ADMIN),
        (Method::POST, "/api/v1/admin/orgs/acme/teams/late", ADMIN),
        (Method::GET, "/api/v1/config/me", token.as_str()),
    ] {
        let answer = service.call(Request::new(method, path).bearer(token)).await;
        assert_eq!(
            answer.problem(),
            (503, "database_unavailable"),
            "{path}: {answer:?}"
        );
        assert!(answer.headers.contains_key("retry-after"));
    }
    let health = service.call(Request::new(Method::GET, "/health")).await;
    assert_eq!(health.status, 200);
    eventually("readiness to tell", LIMIT, || async {
        let snapshot = service.context.health.snapshot();
        !snapshot.checks["postgres"].ready && snapshot.checks["nats"].ready
    })
    .await;

    servers.postgres.restart().await.expect("restarts");
    service.until_ready().await;
    let answer = service
        .call(Request::new(Method::GET, "/api/v1/config/me").bearer(&token))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    service.stop().await;
}

#[tokio::test]
async fn it_starts_without_postgres_and_prepares_the_schema_when_it_comes() {
    let mut servers = Servers::start().await;
    servers.postgres.kill().await.expect("kills");
    let service = Service::start(servers.settings()).await;
    let answer = service
        .call(Request::new(Method::GET, "/api/v1/admin/orgs/acme/nodes").bearer(ADMIN))
        .await;
    assert_eq!(answer.problem(), (503, "database_unavailable"));
    servers.postgres.restart().await.expect("restarts");
    service.until_ready().await;
    service.seed().await;
    service.stop().await;
}
