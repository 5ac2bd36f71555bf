//! A revoked token is dead everywhere, whatever else is down.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;

use crate::identity::{WHO, as_bearer};
use crate::stage::{ADMIN, LIMIT, Request, Servers, Service};
use tocsin_testkit::eventually;

async fn status(service: &Service, token: &str) -> (u16, String) {
    let answer = as_bearer(service, Method::GET, WHO, token).await;
    let (status, code) = answer.problem();
    (status, code.to_owned())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn what_one_replica_revokes_the_other_refuses_within_a_second() {
    let servers = Servers::start().await;
    let one = Service::ready(servers.settings()).await;
    let other = Service::ready(servers.settings()).await;
    one.seed().await;
    let path = "/api/v1/admin/orgs/acme/admin-tokens";
    let admin = one.admin(Method::POST, path, None).await;
    let team = one.token("acme", "sre", None).await;
    let of_deleted = one.token("acme", "web", None).await;
    let kept = one.token("acme", "sre", None).await;
    let text = |name: &str| admin[name].as_str().expect("text").to_owned();
    for (token, method, end, code) in [
        (
            text("token"),
            Method::POST,
            format!("{path}/{}/revoke", text("token_id")),
            "token_revoked",
        ),
        (
            team.token,
            Method::DELETE,
            format!("/api/v1/admin/orgs/acme/tokens/{}", team.id),
            "token_revoked",
        ),
        (
            of_deleted.token,
            Method::DELETE,
            "/api/v1/admin/orgs/acme/teams/web".to_owned(),
            "invalid_token",
        ),
    ] {
        // Both have it in memory.
        for service in [&one, &other] {
            assert_eq!(status(service, &token).await, is(200, ""));
        }
        one.admin(method, &end, None).await;
        let began = Instant::now();
        assert_eq!(status(&one, &token).await, is(401, code), "{end}");
        eventually(
            "the other replica to refuse it",
            Duration::from_secs(1),
            || async { status(&other, &token).await == is(401, code) },
        )
        .await;
        assert!(began.elapsed() < Duration::from_secs(1));
    }
    assert_eq!(status(&other, &kept.token).await, is(200, ""));
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn without_postgres_good_tokens_work_and_revoked_ones_do_not() {
    let mut servers = Servers::start().await;
    let one = Service::ready(servers.settings()).await;
    let other = Service::ready(servers.settings()).await;
    one.seed().await;
    let good = one.token("acme", "sre", None).await.token;
    let revoked = one.token("acme", "sre", None).await;
    let unseen = one.token("acme", "sre", None).await.token;
    for token in [&good, &revoked.token] {
        assert_eq!(status(&other, token).await, is(200, ""));
    }
    let end = format!(
        "/api/v1/admin/orgs/acme/teams/sre/tokens/{}/revoke",
        revoked.id
    );
    one.admin(Method::POST, &end, None).await;
    eventually("the other replica to refuse it", LIMIT, || async {
        status(&other, &revoked.token).await == is(401, "token_revoked")
    })
    .await;
    // Nobody keeps the revoked one in memory here: the bucket does.
    let fresh = Service::ready(servers.settings()).await;
    servers.postgres.kill().await.expect("kills");
    assert_eq!(status(&other, &good).await, is(200, ""));
    assert_eq!(
        status(&other, &unseen).await,
        is(503, "database_unavailable")
    );
    for service in [&one, &other, &fresh] {
        assert_eq!(
            status(service, &revoked.token).await,
            is(401, "token_revoked")
        );
    }
    assert_eq!(status(&fresh, &good).await, is(503, "database_unavailable"));
    // For a while longer than without a question, and not for ever.
    other.clock.advance(Duration::from_secs(600));
    assert_eq!(status(&other, &good).await, is(200, ""));
    other.clock.advance(Duration::from_secs(600));
    assert_eq!(status(&other, &good).await, is(503, "database_unavailable"));
    assert_eq!(
        status(&other, &revoked.token).await,
        is(401, "token_revoked")
    );

    servers.postgres.restart().await.expect("restarts");
    for service in [one, other, fresh] {
        service.until_ready().await;
        assert_eq!(status(&service, &good).await, is(200, ""));
        assert_eq!(
            status(&service, &revoked.token).await,
            is(401, "token_revoked")
        );
        service.stop().await;
    }
}

#[tokio::test]
async fn many_end_at_once_or_none_and_what_is_revoked_stays_so() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        tokens.push(service.token("acme", "sre", None).await);
    }
    let of_web = service.token("acme", "web", None).await;
    let foreign = service.token("umbrella", "ops", None).await;
    let bulk = |path: &'static str, ids: &[&str]| {
        Request::new(Method::POST, path)
            .bearer(ADMIN)
            .json(json!({"token_ids": ids}))
    };
    let of_org = "/api/v1/admin/orgs/acme/tokens/bulk-revoke";
    let of_team = "/api/v1/admin/orgs/acme/teams/sre/tokens/bulk-revoke";
    for (path, other) in [(of_org, &foreign), (of_team, &of_web)] {
        let answer = service.call(bulk(path, &[&tokens[0].id, &other.id])).await;
        assert_eq!(answer.problem(), (403, "foreign_token"), "{path}");
        assert_eq!(
            status(&service, &tokens[0].token).await,
            is(200, ""),
            "all or none"
        );
    }
    let unknown = "00000000-0000-0000-0000-000000000000";
    let answer = service
        .call(bulk(of_org, &[&tokens[0].id, &tokens[1].id, unknown]))
        .await;
    assert_eq!(
        answer.body,
        json!({"status":"ok","revoked_count":2,"total_requested":3})
    );
    let all = "/api/v1/admin/orgs/acme/teams/sre/tokens";
    let answer = service.admin(Method::DELETE, all, None).await;
    assert_eq!(answer, json!({"status":"ok","revoked_count":2}));
    let again = service
        .admin(Method::POST, &format!("{all}/revoke-all"), None)
        .await;
    assert_eq!(again, json!({"status":"ok","revoked_count":0}));
    for token in &tokens {
        assert_eq!(
            status(&service, &token.token).await,
            is(401, "token_revoked")
        );
    }
    for token in [&of_web, &foreign] {
        assert_eq!(status(&service, &token.token).await, is(200, ""));
    }
    let mut database = servers.database().await;
    let told = "select count(*) from revocations where published";
    eventually("all revocations to be told", LIMIT, || async {
        let mut database = servers.database().await;
        let told: i64 = sqlx::query_scalar(told)
            .fetch_one(&mut database)
            .await
            .expect("count");
        told == 4
    })
    .await;
    let stays: Result<_, sqlx::Error> =
        sqlx::query("update tokens set revoked_at = null where revoked_at is not null")
            .execute(&mut database)
            .await;
    assert!(stays.is_err(), "what is revoked stays revoked");
    service.stop().await;
}

#[tokio::test]
async fn without_the_broker_postgres_is_asked_about_each_token() {
    let servers = Servers::start().await;
    let one = Service::ready(servers.settings()).await;
    let other = Service::ready(servers.settings()).await;
    one.seed().await;
    let token = one.token("acme", "sre", None).await;
    assert_eq!(status(&other, &token.token).await, is(200, ""));
    servers.bus.server.kill().await.expect("kills");
    eventually("both to notice", LIMIT, || async {
        [&one, &other]
            .into_iter()
            .all(|service| !service.context.health.snapshot().checks["nats"].ready)
    })
    .await;
    assert_eq!(status(&other, &token.token).await, is(200, ""));
    let end = format!("/api/v1/admin/orgs/acme/tokens/{}", token.id);
    one.admin(Method::DELETE, &end, None).await;
    assert_eq!(status(&other, &token.token).await, is(401, "token_revoked"));

    // And without both, nobody is let in on memory alone.
    let good = one.token("acme", "sre", None).await.token;
    assert_eq!(status(&other, &good).await, is(200, ""));
    servers.postgres.kill().await.expect("kills");
    assert_eq!(status(&other, &good).await, is(503, "database_unavailable"));
    one.kill().await;
    other.kill().await;
}
