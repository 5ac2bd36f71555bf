//! Single sign-on of an org's people, against a provider on this machine.

use http::Method;
use serde_json::{Value, json};

use crate::identity::{WHO, as_bearer};
use crate::issuer::Issuer;
use crate::stage::{ADMIN, Answer, Request, Servers, Service};

const CONFIG: &str = "/api/v1/admin/orgs/acme/sso-config";
const EXCHANGE: &str = "/api/v1/auth/sso/exchange";
const SECRET: &str = "client-secret-of-acme";
const REDIRECT: &str = "https://ui.example/callback";

async fn set_up(service: &Service, change: Value) -> Answer {
    let request = Request::new(Method::PUT, CONFIG).bearer(ADMIN).json(change);
    service.call(request).await
}

async fn sign_in(service: &Service, code: &str, redirect: &str) -> Answer {
    let body =
        json!({"org_id":"acme","code":code,"redirect_uri":redirect,"code_verifier":"verifier"});
    let request = Request::new(Method::POST, EXCHANGE).json(body);
    service.call(request).await
}

fn whole(issuer: &Issuer) -> Value {
    json!({"enabled":true,"provider_type":"oidc","provider_name":"Acme ID","issuer":issuer.url(),"client_id":"tocsin-ui",
        "client_secret":SECRET,"admin_group":"admins","allowed_domains":"acme.example","redirect_uris":REDIRECT})
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn bug_the_session_of_a_sign_in_is_a_token_that_works() {
    let (servers, issuer) = (Servers::start().await, Issuer::start().await);
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    assert_eq!(
        sign_in(&service, "good", REDIRECT).await.problem(),
        (400, "sso_not_enabled")
    );
    let set = set_up(&service, whole(&issuer)).await;
    assert_eq!(
        (set.status.as_u16(), &set.body["has_client_secret"]),
        (200, &json!(true)),
        "{set:?}"
    );

    issuer.set_person(json!({"email":"Ada@Acme.example","name":"Ada","groups":["admins"]}));
    let session = sign_in(&service, "good", REDIRECT).await;
    assert_eq!(session.status, 200, "{session:?}");
    let told = &session.body;
    assert_eq!(
        (
            &told["email"],
            &told["name"],
            &told["role"],
            &told["org_id"],
            &told["expires_at"]
        ),
        (
            &json!("ada@acme.example"),
            &json!("Ada"),
            &json!("admin"),
            &json!("acme"),
            &json!("2026-03-08T12:00:00Z")
        )
    );
    let token = told["session_token"].as_str().expect("token");
    let me = as_bearer(&service, Method::GET, WHO, token).await.body;
    assert_eq!(
        (&me["role"], &me["org_id"], &me["email"], &me["subject"]),
        (
            &json!("admin"),
            &json!("acme"),
            &json!("ada@acme.example"),
            &json!("sso:ada@acme.example")
        )
    );
    let nodes = as_bearer(
        &service,
        Method::GET,
        "/api/v1/admin/orgs/acme/nodes",
        token,
    )
    .await;
    assert_eq!(nodes.status, 200);
    let form = &issuer.forms()[0];
    assert_eq!(
        *form,
        json!({"grant_type":"authorization_code","code":"good","redirect_uri":REDIRECT,"client_id":"tocsin-ui",
            "client_secret":SECRET,"code_verifier":"verifier"})
    );
    let listed = service
        .admin(Method::GET, "/api/v1/admin/orgs/acme/admin-tokens", None)
        .await;
    assert_eq!(listed[0]["label"], "sso:ada@acme.example");

    // Whoever is no admin reads as a team that must exist: the original made a token of none.
    issuer.set_person(json!({"email":"bob@acme.example"}));
    assert_eq!(
        sign_in(&service, "good", REDIRECT).await.problem(),
        (403, "sso_no_team")
    );
    let team = "/api/v1/admin/orgs/acme/teams/sso-users";
    service.admin(Method::POST, team, None).await;
    let session = sign_in(&service, "good", REDIRECT).await.body;
    assert_eq!(
        (&session["role"], &session["team_node_id"]),
        (&json!("member"), &json!("sso-users"))
    );
    let token = session["session_token"].as_str().expect("token");
    let me = as_bearer(&service, Method::GET, WHO, token).await.body;
    assert_eq!(
        (&me["role"], &me["can_write"]),
        (&json!("team"), &json!(false))
    );

    for (person, expected) in [
        (
            json!({"email":"eve@evil.example"}),
            (403, "sso_domain_denied"),
        ),
        (
            json!({"email":"a@acme.example","email_verified":false}),
            (403, "sso_no_email"),
        ),
        (json!({}), (403, "sso_no_email")),
        (
            json!({"email":"a@acme.example","aud":"another-client"}),
            (401, "sso_token_refused"),
        ),
        (
            json!({"email":"a@acme.example","exp":1_000}),
            (401, "sso_token_refused"),
        ),
    ] {
        issuer.set_person(person.clone());
        let answer = sign_in(&service, "good", REDIRECT).await;
        assert_eq!(answer.problem(), expected, "{person}");
    }
    issuer.set_person(json!({"email":"a@acme.example","groups":["admins"],"nonce":"n-1"}));
    for (nonce, expected) in [("n-1", (200, "")), ("n-2", (401, "sso_token_refused"))] {
        let body = json!({"org_id":"acme","code":"good","redirect_uri":REDIRECT,"nonce":nonce});
        let request = Request::new(Method::POST, EXCHANGE).json(body);
        assert_eq!(service.call(request).await.problem(), expected, "{nonce}");
    }
    let refused = sign_in(&service, "stolen", REDIRECT).await;
    assert_eq!(refused.problem(), (401, "sso_code_refused"));
    for redirect in ["https://evil.example/", "http://ui.example/callback", ""] {
        let answer = sign_in(&service, "good", redirect).await;
        assert_eq!(
            answer.problem(),
            (400, "invalid_redirect_uri"),
            "{redirect}"
        );
    }
    issuer.set_down(true);
    let answer = sign_in(&service, "good", REDIRECT).await;
    assert_eq!(answer.problem(), (503, "identity_provider_unavailable"));
    service.stop().await;
}

#[tokio::test]
async fn bug_the_client_secret_is_sealed_and_never_shown() {
    let (servers, issuer) = (Servers::start().await, Issuer::start().await);
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let set = set_up(&service, whole(&issuer)).await;
    let read = service.admin(Method::GET, CONFIG, None).await;
    assert_eq!(set.body, read);
    assert_eq!(read["has_client_secret"], true);
    assert!(!read.to_string().contains(SECRET) && read.get("client_secret").is_none());
    let mut database = servers.database().await;
    let row: String = sqlx::query_scalar(
        "select settings::text || encode(client_secret, 'escape') || encode(client_secret, 'base64') from sso_configs",
    )
    .fetch_one(&mut database)
    .await
    .expect("row");
    assert!(
        !row.contains(SECRET) && !row.contains("Y2xpZW50LXNlY3JldC1vZi1hY21l"),
        "{row}"
    );

    // Its master key is rotated with those of other secrets.
    sqlx::query("update sso_configs set master_key_id = 'gone'")
        .execute(&mut database)
        .await
        .expect("changes");
    let rotate = "/api/v1/admin/secrets/rotate-master";
    let rotated = service.admin(Method::POST, rotate, None).await;
    assert_eq!(rotated["remaining"], 1, "{rotated}");
    assert!(rotated["failed"][0].as_str().expect("why").contains("acme"));
    issuer.set_person(json!({"email":"a@acme.example","groups":["admins"]}));
    let answer = sign_in(&service, "good", REDIRECT).await;
    assert_eq!(answer.problem(), (503, "sso_secret_unreadable"));
    set_up(&service, whole(&issuer)).await;
    assert_eq!(sign_in(&service, "good", REDIRECT).await.status, 200);

    // What is left out stays; an empty secret removes it; what a client read it may send back.
    let kept = set_up(&service, json!({"provider_name":"New name"}))
        .await
        .body;
    assert_eq!(
        (&kept["provider_name"], &kept["has_client_secret"]),
        (&json!("New name"), &json!(true))
    );
    let back = set_up(&service, kept.clone()).await;
    assert_eq!(back.body, kept);
    let gone = set_up(&service, json!({"client_secret":""})).await.body;
    assert_eq!(gone["has_client_secret"], false);

    for (change, expected) in [
        (
            json!({"issuer":"http://idp.example"}),
            (400, "invalid_sso_config"),
        ),
        (json!({"client_id":null}), (400, "invalid_sso_config")),
        (json!({"surprise":1}), (422, "unknown_field")),
        (json!({"enabled":"yes"}), (422, "invalid_body")),
        (json!({"client_secret":7}), (400, "invalid_field")),
    ] {
        let answer = set_up(&service, change.clone()).await;
        assert_eq!(answer.problem(), expected, "{change}");
    }
    service.stop().await;
}

#[tokio::test]
async fn the_public_part_shows_what_a_browser_needs_and_a_test_asks_the_provider() {
    let (servers, issuer) = (Servers::start().await, Issuer::start().await);
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let public = async |org: &str| {
        let path = format!("/api/v1/admin/orgs/{org}/sso-config/public");
        service.call(Request::new(Method::GET, &path)).await.body
    };
    assert_eq!(public("acme").await, public("nowhere").await);
    let test = format!("{CONFIG}/test");
    let tested = service.admin(Method::POST, &test, None).await;
    assert_eq!(tested["success"], false);
    set_up(&service, whole(&issuer)).await;
    let shown = public("acme").await;
    assert_eq!(
        (&shown["enabled"], &shown["client_id"], &shown["issuer"]),
        (&json!(true), &json!("tocsin-ui"), &json!(issuer.url()))
    );
    assert!(!shown.to_string().contains("admins") && !shown.to_string().contains("secret"));
    let tested = service.admin(Method::POST, &test, None).await;
    assert_eq!(tested["success"], true, "{tested}");
    issuer.set_down(true);
    let tested = service.admin(Method::POST, &test, None).await;
    assert_eq!(tested["success"], false, "{tested}");
    service.stop().await;
}
