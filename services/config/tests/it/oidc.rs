//! Tokens of an identity provider.

use std::time::Duration;

use http::Method;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tocsin_config::Settings;

use crate::identity::{WHO, as_bearer};
use crate::issuer::{Issuer, public_key};
use crate::stage::{ADMIN, Request, Servers, Service};

const NODES: &str = "/api/v1/admin/orgs/acme/nodes";
const ME: &str = "/api/v1/config/me";

/// Both kinds by OIDC and by tokens.
pub(crate) fn trusting(servers: &Servers, issuer: &Issuer) -> Settings {
    let mut settings =
        servers.settings_with(&["--admin-auth-mode", "both", "--team-auth-mode", "both"]);
    let oidc = &mut settings.identity.oidc;
    oidc.oidc_enabled = true;
    oidc.oidc_issuer = issuer.url();
    oidc.oidc_audience = "tocsin".parse().expect("names");
    oidc.oidc_admin_group = "admins".to_owned();
    settings
}

fn team() -> Value {
    json!({"org_id":"acme","team_node_id":"sre","email":"ada@acme.example"})
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn people_are_admins_or_teams_as_their_claims_say() {
    let (servers, issuer) = (Servers::start().await, Issuer::start().await);
    let mut settings = trusting(&servers, &issuer);
    let service = Service::ready(settings.clone()).await;
    service.seed().await;
    let now = service.clock.now();
    let token = |claims: &Value| issuer.token(0, now, claims);

    let global = token(&json!({"groups":["admins"]}));
    let of_acme = token(&json!({"groups":["admins"],"org_id":"acme"}));
    let of_umbrella = token(&json!({"groups":["admins"],"org_id":"umbrella"}));
    let odd = token(&json!({"groups":["admins"],"org_id":"No Org"}));
    let of_team = token(&team());
    let nobody = token(&json!({"groups":["others"]}));
    for (token, path, expected) in [
        (&global, NODES, (200, "")),
        (&of_acme, NODES, (200, "")),
        (&of_umbrella, NODES, (403, "org_denied")),
        (&odd, NODES, (403, "org_denied")),
        (&of_team, NODES, (403, "admin_required")),
        (&of_team, ME, (200, "")),
        (&global, ME, (403, "team_token_required")),
        (&nobody, NODES, (403, "no_org_or_team")),
    ] {
        let answer = as_bearer(&service, Method::GET, path, token).await;
        assert_eq!(answer.problem(), expected, "{path} {answer:?}");
    }
    let me = as_bearer(&service, Method::GET, WHO, &of_team).await.body;
    assert_eq!(
        (
            &me["role"],
            &me["auth_kind"],
            &me["email"],
            &me["can_write"],
            &me["permissions"]
        ),
        (
            &json!("team"),
            &json!("oidc"),
            &json!("ada@acme.example"),
            &json!(false),
            &json!(["team:read"])
        )
    );
    let me = as_bearer(&service, Method::GET, WHO, &global).await.body;
    assert_eq!(
        (
            &me["role"],
            &me["auth_kind"],
            &me["org_id"],
            &me["permissions"],
            &me["subject"]
        ),
        (
            &json!("admin"),
            &json!("oidc"),
            &Value::Null,
            &json!(["admin:*"]),
            &json!("oidc:ada")
        )
    );
    let write = |token: &str| {
        Request::new(Method::PATCH, ME)
            .bearer(token)
            .json(json!({"config":{"x_a":1}}))
    };
    assert_eq!(
        service.call(write(&of_team)).await.problem(),
        (403, "permission_denied")
    );
    service.stop().await;

    // Only the admin mode takes them: a person outside the group is told so.
    settings.identity.oidc.team_oidc_write_enabled = true;
    settings.identity.team_auth_mode = servers.settings().identity.team_auth_mode;
    let service = Service::ready(settings.clone()).await;
    let answer = as_bearer(&service, Method::GET, NODES, &nobody).await;
    assert_eq!(answer.problem(), (403, "not_an_admin"));
    assert!(
        answer.body["detail"]
            .as_str()
            .expect("detail")
            .starts_with("Not an admin")
    );
    service.stop().await;

    settings.identity.team_auth_mode = settings.identity.admin_auth_mode;
    let service = Service::ready(settings).await;
    assert_eq!(service.call(write(&of_team)).await.status, 200);
    service.stop().await;
}

#[tokio::test]
async fn scopes_follow_groups_and_narrow_ones_need_the_setting() {
    let (servers, issuer) = (Servers::start().await, Issuer::start().await);
    let mut settings = trusting(&servers, &issuer);
    settings.identity.oidc.admin_permissions_default = "admin:config:read".parse().expect("names");
    let groups = r#"{"ops":["admin:config:write","admin:config:read"]}"#;
    settings.identity.oidc.admin_group_permissions_json = groups.parse().expect("groups");
    for (require_star, read, write) in [
        (
            true,
            (403, "admin_star_required"),
            (403, "admin_star_required"),
        ),
        (false, (200, ""), (403, "scope_denied")),
    ] {
        settings.access.require_admin_star = require_star;
        let service = Service::ready(settings.clone()).await;
        if require_star {
            service.seed().await;
        }
        let now = service.clock.now();
        let reader = issuer.token(0, now, &json!({"groups":["admins"]}));
        let operator = issuer.token(0, now, &json!({"groups":["admins","ops"]}));
        let create = |token: &str| {
            Request::new(Method::POST, "/api/v1/admin/orgs/acme/teams/new").bearer(token)
        };
        assert_eq!(
            as_bearer(&service, Method::GET, NODES, &reader)
                .await
                .problem(),
            read
        );
        assert_eq!(service.call(create(&reader)).await.problem(), write);
        if !require_star {
            assert_eq!(service.call(create(&operator)).await.status, 200);
            let me = as_bearer(&service, Method::GET, WHO, &operator).await.body;
            assert_eq!(
                me["permissions"],
                json!(["admin:config:read", "admin:config:write"])
            );
        }
        service.stop().await;
    }
}

#[tokio::test]
async fn bug_a_token_counts_only_with_the_signature_that_its_key_makes() {
    let (servers, issuer) = (Servers::start().await, Issuer::start().await);
    let service = Service::ready(trusting(&servers, &issuer)).await;
    service.seed().await;
    let now = service.clock.now();
    let admin = json!({"groups":["admins"]});
    let good = issuer.token(0, now, &admin);
    let (head, body) = {
        let mut parts = good.split('.');
        (parts.next().expect("head"), parts.next().expect("body"))
    };
    let claims = json!({"iss": issuer.url(), "aud": "tocsin", "sub": "eve", "exp": now.as_second() + 60, "groups": ["admins"]});
    let confused = {
        // HS256 with the provider's public key as the secret.
        let public = serde_json::to_vec(&public_key(0)).expect("key");
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("key-0".to_owned());
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&public)).expect("signs")
    };
    let at =
        |name: &str, seconds: i64| json!({"groups":["admins"], name: now.as_second() + seconds});
    let with = |change: Value| issuer.token(0, now, &change);
    let cases = [
        (good.clone(), 200),
        (with(at("exp", -29)), 200),
        (with(at("exp", -30)), 401),
        (with(at("nbf", 31)), 401),
        (with(json!({"groups":["admins"],"aud":"others"})), 401),
        (
            with(json!({"groups":["admins"],"iss":"https://evil.example"})),
            401,
        ),
        (with(json!({"groups":["admins"],"sub":null})), 401),
        // {"alg":"none","kid":"key-0"}
        (
            format!("eyJhbGciOiJub25lIiwia2lkIjoia2V5LTAifQ.{body}."),
            401,
        ),
        (format!("{head}.{body}."), 401),
        (confused, 401),
    ];
    for (token, expected) in cases {
        let answer = as_bearer(&service, Method::GET, NODES, &token).await;
        assert_eq!(answer.status, expected, "{answer:?}");
    }
    service.stop().await;
}

#[tokio::test]
async fn keys_rotate_and_unknown_ones_are_asked_for_once() {
    let (servers, issuer) = (Servers::start().await, Issuer::start().await);
    let service = Service::ready(trusting(&servers, &issuer)).await;
    service.seed().await;
    let by = |key: usize| {
        let claims = json!({"groups":["admins"],"exp":4_000_000_000_u64});
        issuer.token(key, service.clock.now(), &claims)
    };
    let (old, new) = (by(0), by(1));
    let read = async |token: &str| {
        as_bearer(&service, Method::GET, NODES, token)
            .await
            .problem()
            .0
    };
    assert_eq!((read(&old).await, read(&old).await), (200, 200));
    assert_eq!(issuer.key_requests(), 1, "keys are kept");

    // Anybody can invent key ids; the provider is not asked for each.
    for _ in 0..20 {
        assert_eq!(read(&new).await, 401);
    }
    assert_eq!(issuer.key_requests(), 1, "asked a moment ago");
    issuer.rotate(&[0, 1]);
    service.clock.advance(Duration::from_secs(31));
    assert_eq!((read(&new).await, read(&old).await), (200, 200));
    assert_eq!(issuer.key_requests(), 2);

    // A key that is withdrawn counts no longer than the keys are kept.
    issuer.rotate(&[1]);
    service.clock.advance(Duration::from_secs(301));
    assert_eq!((read(&new).await, read(&old).await), (200, 401));

    // While the provider is down, what is known counts for an hour.
    issuer.set_down(true);
    service.clock.advance(Duration::from_secs(301));
    assert_eq!(read(&new).await, 200);
    service.clock.advance(Duration::from_secs(3600));
    let answer = as_bearer(&service, Method::GET, NODES, &new).await;
    assert_eq!(answer.problem(), (503, "identity_provider_unavailable"));
    issuer.set_down(false);
    service.clock.advance(Duration::from_secs(6));
    assert_eq!(read(&new).await, 200);
    service.stop().await;
}

#[tokio::test]
async fn modes_shut_out_what_they_do_not_name() {
    let (servers, issuer) = (Servers::start().await, Issuer::start().await);
    let mut settings = trusting(&servers, &issuer);
    // Keys that are set are not fetched.
    let inline = json!({"keys":[public_key(0)]}).to_string();
    settings.identity.oidc.oidc_jwks_json = inline.parse().expect("keys");
    let both = Service::ready(settings.clone()).await;
    both.seed().await;
    let (team_token, now) = (
        both.token("acme", "sre", None).await.token,
        both.clock.now(),
    );
    both.stop().await;
    let oidc_admin = issuer.token(0, now, &json!({"groups":["admins"]}));
    let oidc_team = issuer.token(0, now, &team());
    for (mode, tokens, by_oidc) in [
        ("token", (200, ""), (401, "invalid_token")),
        ("oidc", (401, "token_auth_disabled"), (200, "")),
        ("both", (200, ""), (200, "")),
    ] {
        let parsed = servers.settings_with(&["--admin-auth-mode", mode, "--team-auth-mode", mode]);
        settings.identity.admin_auth_mode = parsed.identity.admin_auth_mode;
        settings.identity.team_auth_mode = parsed.identity.team_auth_mode;
        let service = Service::ready(settings.clone()).await;
        for (path, token, expected) in [
            (NODES, ADMIN, tokens),
            (ME, team_token.as_str(), tokens),
            (NODES, oidc_admin.as_str(), by_oidc),
            (ME, oidc_team.as_str(), by_oidc),
        ] {
            let answer = as_bearer(&service, Method::GET, path, token).await;
            assert_eq!(answer.problem(), expected, "{mode} {path}");
        }
        service.stop().await;
    }
    assert_eq!(issuer.key_requests(), 0);
}
