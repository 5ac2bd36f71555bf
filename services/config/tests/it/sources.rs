//! Sources: made, changed, rotated and deleted by their org's admins; read by ingress.

pub(crate) mod ingress;
mod publishing;

use http::Method;
use serde_json::{Value, json};

use crate::secrets;
use crate::stage::{ADMIN, Answer, Request, Servers, Service};

pub(crate) const SOURCES: &str = "/api/v1/admin/orgs/acme/sources";

pub(crate) async fn call(
    service: &Service,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Answer {
    let request = Request::new(method, path).bearer(ADMIN);
    service
        .call(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
}

/// Id and secret of a new one.
pub(crate) async fn create(service: &Service, body: Value) -> (String, String) {
    let created = call(service, Method::POST, SOURCES, Some(body)).await;
    assert_eq!(created.status, 201, "{created:?}");
    let text = |name: &str| created.body[name].as_str().expect(name).to_owned();
    (text("id"), text("secret"))
}

#[tokio::test]
async fn a_source_is_created_listed_changed_and_deleted() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let wanted = json!({"provider": "pagerduty", "name": "production", "settings": {
        "allowed_addresses": ["192.0.2.0/24"], "rate_tier": "medium", "default_team": "sre"}});
    let created = call(&service, Method::POST, SOURCES, Some(wanted.clone())).await;
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(created.headers["etag"], "\"1\"");
    assert_eq!(created.headers["cache-control"], "no-store");
    let id = created.body["id"].as_str().expect("id");
    assert!(id.len() == 28 && id.starts_with("src_"), "{id}");
    assert_eq!(created.body["path"], format!("/webhooks/pagerduty/{id}"));
    assert_eq!(created.body["settings"], wanted["settings"]);
    let secret = created.body["secret"].as_str().expect("secret");
    assert!(
        secret.len() == 64 && secret.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{secret}"
    );
    let (other, standard) = create(
        &service,
        json!({"provider": "incidentio", "name": "production"}),
    )
    .await;
    assert!(standard.starts_with("whsec_"), "{standard}");
    assert_ne!(id, other);

    // Twice the same name of one provider is one too many.
    let again = call(&service, Method::POST, SOURCES, Some(wanted)).await;
    assert_eq!(again.problem(), (409, "source_exists"));
    assert_eq!(again.body["source_id"], id);

    let listed = call(&service, Method::GET, SOURCES, None).await.body;
    let ids = |listed: &Value| -> Vec<String> {
        let sources = listed.as_array().expect("a list").iter();
        sources
            .map(|source| source["id"].as_str().expect("id").to_owned())
            .collect()
    };
    assert_eq!(ids(&listed), [other.as_str(), id]);
    let only = format!("{SOURCES}?provider=pagerduty");
    let only = call(&service, Method::GET, &only, None).await.body;
    assert_eq!(ids(&only), [id]);
    assert_eq!(only[0]["secrets"][0]["state"], "live");
    assert_eq!(only[0]["usage_known"], false, "no ingress is running");

    let path = format!("{SOURCES}/{id}");
    let stale = Request::new(Method::PATCH, &path)
        .bearer(ADMIN)
        .header("if-match", "\"9\"")
        .json(json!({"disabled": true}));
    assert_eq!(service.call(stale).await.problem(), (409, "stale_version"));
    let change = json!({"name": "staging", "settings": {}, "expected_version": 1});
    let changed = call(&service, Method::PATCH, &path, Some(change.clone())).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(changed.body["name"], "staging");
    assert_eq!(changed.body["settings"], json!({}));
    assert_eq!(changed.headers["etag"], "\"2\"");
    // The same once more changes nothing, and is no version.
    let same = json!({"name": "staging"});
    let same = call(&service, Method::PATCH, &path, Some(same)).await;
    assert_eq!(same.body["version"], 2);
    let shown = call(&service, Method::GET, &path, None).await;
    assert_eq!(shown.body, same.body);

    let gone = call(&service, Method::DELETE, &path, None).await;
    assert_eq!(gone.status, 200, "{gone:?}");
    for method in [Method::GET, Method::DELETE] {
        let gone = call(&service, method, &path, None).await;
        assert_eq!(gone.problem(), (404, "source_not_found"));
    }
    // Its name is free again.
    create(
        &service,
        json!({"provider": "pagerduty", "name": "staging"}),
    )
    .await;
    service.stop().await;
}

#[tokio::test]
async fn what_a_source_picks_is_kept_and_shown() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let settings =
        json!({"pick": {"title": "body.name", "identifiers": {"service": "body.tags[0]"}}});
    let wanted = json!({"provider": "generic", "name": "probes", "settings": settings});
    let (id, _) = create(&service, wanted).await;
    let path = format!("{SOURCES}/{id}");
    let shown = call(&service, Method::GET, &path, None).await;
    assert_eq!(shown.body["settings"], settings);
    let other = json!({"pick": {"severity": "body.level"}});
    let change = json!({ "settings": other });
    let changed = call(&service, Method::PATCH, &path, Some(change)).await;
    assert_eq!(changed.body["settings"], other, "{changed:?}");
    service.stop().await;
}

#[tokio::test]
async fn secrets_of_a_source_are_rotated_and_one_always_counts() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let (id, first) = create(
        &service,
        json!({"provider": "github", "name": "web", "secret": "from-the-sender"}),
    )
    .await;
    assert_eq!(first, "from-the-sender");
    let path = format!("{SOURCES}/{id}");
    let secrets = format!("{path}/secrets");
    let last = call(&service, Method::DELETE, &format!("{secrets}/1"), None).await;
    assert_eq!(last.problem(), (409, "last_live_secret"));

    let rotated = call(&service, Method::POST, &secrets, None).await;
    assert_eq!(rotated.status, 201, "{rotated:?}");
    assert_eq!(rotated.body["secret_id"], "2");
    assert_ne!(rotated.body["secret"], "from-the-sender");
    // The old one lives on for a day; the clock stands at noon.
    let states = |body: &Value| -> Value {
        let secrets = body["secrets"].as_array().expect("a list").iter();
        secrets
            .map(|one| json!([one["id"], one["state"], one["expires"]]))
            .collect()
    };
    assert_eq!(
        states(&rotated.body),
        json!([["1", "live", "2026-03-02T12:00:00Z"], ["2", "live", null]])
    );
    // Another one, from tomorrow on: what counts now counts until then, and the old one no longer than it did.
    let later = json!({"secret": "later", "not_before": "2026-03-02T00:00:00Z", "old_expires_in_seconds": 0});
    let later = call(&service, Method::POST, &secrets, Some(later)).await;
    assert_eq!(
        states(&later.body),
        json!([
            ["1", "live", "2026-03-02T00:00:00Z"],
            ["2", "live", "2026-03-02T00:00:00Z"],
            ["3", "waiting", null]
        ])
    );
    service
        .clock
        .advance(std::time::Duration::from_secs(13 * 60 * 60));
    let shown = call(&service, Method::GET, &path, None).await.body;
    assert_eq!(shown["secrets"][0]["state"], "expired");
    assert_eq!(shown["secrets"][2]["state"], "live");
    // What expired goes with the next rotation; numbers go on.
    let next = call(&service, Method::POST, &secrets, Some(Value::Null)).await;
    let ids = next.body["secrets"].as_array().expect("a list").iter();
    let ids: Vec<_> = ids.map(|one| one["id"].as_str().expect("id")).collect();
    assert_eq!(ids, ["3", "4"]);
    let removed = call(&service, Method::DELETE, &format!("{secrets}/3"), None).await;
    assert_eq!(removed.status, 200, "{removed:?}");
    let last = call(&service, Method::DELETE, &format!("{secrets}/4"), None).await;
    assert_eq!(last.problem(), (409, "last_live_secret"));
    let unknown = call(&service, Method::DELETE, &format!("{secrets}/3"), None).await;
    assert_eq!(unknown.problem(), (404, "source_secret_not_found"));
    call(
        &service,
        Method::PATCH,
        &path,
        Some(json!({"disabled": true})),
    )
    .await;
    let last = call(&service, Method::DELETE, &format!("{secrets}/4"), None).await;
    assert_eq!(last.status, 200, "{last:?}");
    service.stop().await;
}

#[tokio::test]
async fn values_are_kept_as_secrets_that_only_their_source_changes() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let canary = "canary-51c2e0";
    let (id, _) = create(
        &service,
        json!({"provider": "github", "name": "web", "secret": canary}),
    )
    .await;
    let name = format!("source-{id}-1");
    let ordinary = secrets::path("acme", "acme", &name);
    let set = secrets::put(&service, &ordinary, json!({"value": "x"})).await;
    let deleted = call(
        &service,
        Method::DELETE,
        &format!("{ordinary}?force=true"),
        None,
    )
    .await;
    for refused in [set, deleted] {
        assert_eq!(refused.problem(), (409, "secret_of_source"));
        assert_eq!(refused.body["source_id"], id);
    }
    let listed = "/api/v1/admin/orgs/acme/nodes/sre/secrets?inherited=true";
    let listed = call(&service, Method::GET, listed, None).await;
    assert_eq!(listed.body, json!([]));
    // No config can refer to it: it is for ingress alone.
    let reference =
        json!({"integrations": {"slack": {"bot_token": format!("${{secret:{name}}}")}}});
    let refused = service.patch("acme", "sre", reference).await;
    assert_eq!(refused.problem(), (422, "invalid_secret_reference"));

    // In no table of the database does the value stand as it is.
    let path = format!("{SOURCES}/{id}/secrets");
    call(
        &service,
        Method::POST,
        &path,
        Some(json!({"secret": canary})),
    )
    .await;
    let mut database = servers.database().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "select table_name::text from information_schema.tables where table_schema = 'config'",
    )
    .fetch_all(&mut database)
    .await
    .expect("lists");
    assert!(tables.len() > 10, "{tables:?}");
    for table in tables {
        let query = format!("select coalesce(string_agg(row::text, ' '), '') from {table} as row");
        let text: String = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
            .fetch_one(&mut database)
            .await
            .expect("reads");
        assert!(!text.contains(canary), "{table}");
        assert!(!text.contains(&hex(canary)), "{table}");
    }
    service.stop().await;
}

/// As Postgres shows bytes.
fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table, or one story")]
async fn bad_requests_name_the_place_and_never_repeat_a_secret() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let (id, _) = create(&service, json!({"provider": "github", "name": "web"})).await;
    let (one, rotate, test) = (
        format!("{SOURCES}/{id}"),
        format!("{SOURCES}/{id}/secrets"),
        format!("{SOURCES}/{id}/test"),
    );
    let canary = "canary-77aa";
    let with = |settings: Value| json!({"provider": "github", "name": "x", "settings": settings});
    for (path, method, body, expected, place) in [
        (
            SOURCES,
            Method::POST,
            json!({"provider": "gopher", "name": "x", "secret": canary}),
            (422, "unknown_provider"),
            "provider",
        ),
        (
            SOURCES,
            Method::POST,
            json!({"provider": "github", "name": "", "secret": canary}),
            (422, "invalid_name"),
            "name",
        ),
        (
            SOURCES,
            Method::POST,
            json!({"provider": "incidentio", "name": "x", "secret": canary}),
            (422, "invalid_secret"),
            "secret",
        ),
        (
            SOURCES,
            Method::POST,
            with(json!({"rate_tier": "huge"})),
            (422, "unknown_rate_tier"),
            "settings.rate_tier",
        ),
        (
            SOURCES,
            Method::POST,
            with(json!({"default_team": "ops"})),
            (422, "unknown_default_team"),
            "settings.default_team",
        ),
        (
            SOURCES,
            Method::POST,
            with(json!({"default_team": "acme"})),
            (422, "unknown_default_team"),
            "settings.default_team",
        ),
        (
            SOURCES,
            Method::POST,
            with(json!({"pick": {"title": "body.a"}})),
            (422, "pick_not_supported"),
            "settings.pick",
        ),
        (
            SOURCES,
            Method::POST,
            json!({"provider": "generic", "name": "x", "settings": {"pick": {"title": "bdoy.a"}}}),
            (422, "invalid_expression"),
            "settings.pick.title",
        ),
        (
            SOURCES,
            Method::POST,
            with(json!({"max_body_bytes": canary})),
            (422, "invalid_setting"),
            "settings.max_body_bytes",
        ),
        (
            SOURCES,
            Method::POST,
            json!({"provider": "github", "name": "x", canary: 1}),
            (422, "invalid_body"),
            "",
        ),
        (
            SOURCES,
            Method::POST,
            json!({"provider": "github", "name": "x", "secret": [canary]}),
            (422, "invalid_body"),
            "",
        ),
        (
            &one,
            Method::PATCH,
            json!({"settings": {"tolerance_seconds": 9999}}),
            (422, "invalid_tolerance"),
            "settings.tolerance_seconds",
        ),
        (
            &one,
            Method::PATCH,
            json!({"settings": {"default_team": "ops"}}),
            (422, "unknown_default_team"),
            "settings.default_team",
        ),
        (
            &one,
            Method::PATCH,
            json!({"secret": canary}),
            (422, "invalid_body"),
            "",
        ),
        (
            &rotate,
            Method::POST,
            json!({"secret": format!(" {canary}")}),
            (422, "invalid_secret"),
            "secret",
        ),
        (
            &rotate,
            Method::POST,
            json!({"expires": "2020-01-01T00:00:00Z"}),
            (422, "invalid_expiry"),
            "expires",
        ),
        (
            &rotate,
            Method::POST,
            json!({"expected_version": 7}),
            (409, "stale_version"),
            "",
        ),
        (
            &test,
            Method::POST,
            json!({"body_base64": canary}),
            (422, "invalid_body_base64"),
            "body_base64",
        ),
        (
            &test,
            Method::POST,
            json!({"headers": {"not a header": canary}}),
            (422, "invalid_headers"),
            "headers",
        ),
        (
            "/api/v1/admin/orgs/nowhere/sources",
            Method::POST,
            json!({"provider": "github", "name": "x"}),
            (404, "node_not_found"),
            "",
        ),
    ] {
        let answer = call(&service, method, path, Some(body.clone())).await;
        assert_eq!(answer.problem(), expected, "{path} {body} {answer:?}");
        let said = answer.body["path"].as_str().unwrap_or_default();
        assert_eq!(said, place, "{body}");
        assert!(!answer.body.to_string().contains(canary), "{answer:?}");
    }
    let nowhere = call(
        &service,
        Method::GET,
        "/api/v1/admin/orgs/nowhere/sources",
        None,
    )
    .await;
    assert_eq!(nowhere.problem(), (404, "org_not_found"));
    service.stop().await;
}

#[tokio::test]
async fn a_source_is_there_for_its_own_org_only() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let (id, _) = create(&service, json!({"provider": "github", "name": "web"})).await;
    let tokens = "/api/v1/admin/orgs/umbrella/admin-tokens";
    let theirs = service.admin(Method::POST, tokens, None).await;
    let theirs = theirs["token"].as_str().expect("token");
    for (method, below, body) in [
        (Method::GET, "", None),
        (Method::PATCH, "", Some(json!({"disabled": true}))),
        (Method::DELETE, "", None),
        (Method::POST, "/secrets", None),
        (Method::DELETE, "/secrets/1", None),
        (Method::POST, "/test", None),
        (Method::GET, "/health", None),
    ] {
        for (org, expected) in [
            ("umbrella", (404, "source_not_found")),
            ("acme", (403, "org_denied")),
        ] {
            let path = format!("/api/v1/admin/orgs/{org}/sources/{id}{below}");
            let mut request = Request::new(method.clone(), &path).bearer(theirs);
            if let Some(body) = &body {
                request = request.json(body.clone());
            }
            let answer = service.call(request).await;
            assert_eq!(answer.problem(), expected, "{method} {path}");
        }
    }
    let listed = "/api/v1/admin/orgs/umbrella/sources";
    let listed = Request::new(Method::GET, listed).bearer(theirs);
    assert_eq!(service.call(listed).await.body, json!([]));
    // It is as it was, and its own admin may do all of it.
    let tokens = "/api/v1/admin/orgs/acme/admin-tokens";
    let own = service.admin(Method::POST, tokens, None).await;
    let own = own["token"].as_str().expect("token");
    let path = format!("{SOURCES}/{id}");
    let shown = service
        .call(Request::new(Method::GET, &path).bearer(own))
        .await;
    assert_eq!(
        (&shown.body["version"], &shown.body["disabled"]),
        (&json!(1), &json!(false))
    );
    service.stop().await;
}
