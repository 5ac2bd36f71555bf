//! Secrets: who may set them, who may open them, and that they are in the clear nowhere.

mod at_rest;
mod nowhere;

use std::path::PathBuf;

use http::Method;
use serde_json::{Value, json};
use tocsin_bus::{Bus, SecretError, SecretReader};
use tocsin_config::Settings;
use tocsin_testkit::eventually;
use tocsin_wire::sealed::{Audience, SealingKeyRecord};
use tocsin_wire::{OrgId, Pool, SecretName, Service as Room, TeamId};

use crate::stage::{ADMIN, Answer, LIMIT, Request, Servers, Service};

/// 32 bytes of one value, base64.
pub(crate) const OLD_KEY: &str = "m1:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
pub(crate) const NEW_KEY: &str = "m2:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

pub(crate) struct KeyFile {
    pub(crate) path: PathBuf,
}

impl KeyFile {
    pub(crate) fn new(servers: &Servers, text: &str) -> Self {
        let root = servers.bus.settings().signing_root_file;
        let path = root.with_file_name("master.keys");
        std::fs::write(&path, text).expect("writes");
        Self { path }
    }

    pub(crate) fn write(&self, text: &str) {
        std::fs::write(&self.path, text).expect("writes");
    }
}

pub(crate) fn settings(servers: &Servers, keys: &KeyFile) -> Settings {
    let mut settings = servers.settings();
    settings.secrets.master_key_file = Some(keys.path.clone());
    settings
}

pub(crate) fn path(org: &str, node: &str, name: &str) -> String {
    format!("/api/v1/admin/orgs/{org}/nodes/{node}/secrets/{name}")
}

pub(crate) async fn put(service: &Service, path: &str, body: Value) -> Answer {
    let request = Request::new(Method::PUT, path).bearer(ADMIN).json(body);
    service.call(request).await
}

pub(crate) async fn set(service: &Service, org: &str, node: &str, name: &str, value: &str) {
    let answer = put(service, &path(org, node, name), json!({"value": value})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

pub(crate) async fn reader(servers: &Servers, audience: &Audience) -> SecretReader {
    let bus = servers.bus.connect(audience.service()).await;
    reader_on(servers, &bus.expect("connects"), audience)
}

fn reader_on(servers: &Servers, bus: &Bus, audience: &Audience) -> SecretReader {
    let file = servers.bus.keys().sealing_key_file(audience);
    SecretReader::new(bus, audience.clone(), file).expect("keys")
}

pub(crate) async fn open(
    reader: &SecretReader,
    org: &str,
    line: &[&str],
    name: &str,
) -> Result<String, SecretError> {
    let line: Vec<TeamId> = line
        .iter()
        .map(|node| TeamId::new(*node).expect("id"))
        .collect();
    let (org, name) = (
        OrgId::new(org).expect("org"),
        SecretName::new(name).expect("name"),
    );
    let value = reader.read(&org, &line, &name).await;
    value.map(|value| value.to_string())
}

/// Waits until it opens to this value.
pub(crate) async fn opens(
    reader: &SecretReader,
    org: &str,
    line: &[&str],
    name: &str,
    value: &str,
) {
    eventually("the secret's new value", LIMIT, || async {
        match open(reader, org, line, name).await {
            Ok(found) if found == value => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

pub(crate) async fn is_gone(reader: &SecretReader, org: &str, line: &[&str], name: &str) {
    eventually("the secret to be gone", LIMIT, || async {
        match open(reader, org, line, name).await {
            Err(SecretError::Unknown { .. }) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_secret_is_set_listed_used_and_deleted_and_never_read_back() {
    let servers = Servers::start().await;
    let keys = KeyFile::new(&servers, OLD_KEY);
    let service = Service::ready(settings(&servers, &keys)).await;
    service.seed().await;
    let slack = path("acme", "acme", "slack");
    let answer = put(&service, &slack, json!({"value": "xoxb-org"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["version"], 1);
    assert_eq!(answer.body["audience"], "worker.default");
    assert_eq!(answer.body["reference"], "${secret:slack}");
    assert_eq!(answer.body["updated_by"], "admin_token");
    let team = service
        .token(
            "acme",
            "sre",
            Some(json!({"permissions": ["config:read", "config:write"]})),
        )
        .await;
    let mine = |method: Method, name: &'static str| {
        let path = Box::leak(format!("/api/v1/config/me/secrets{name}").into_boxed_str());
        Request::new(method, path).bearer(&team.token)
    };
    let own = mine(Method::PUT, "/slack").json(json!({"value": "xoxb-sre", "expected_version": 0}));
    assert_eq!(service.call(own).await.status, 200);

    // The team sees its own before the org's; the others see the org's.
    let listed = service.call(mine(Method::GET, "")).await.body;
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(listed[0]["node_id"], "sre");
    let worker = reader(&servers, &Audience::default()).await;
    opens(&worker, "acme", &["acme", "sre"], "slack", "xoxb-sre").await;
    opens(&worker, "acme", &["acme", "web"], "slack", "xoxb-org").await;

    // Used by the team's config: 409 names the path, and force goes through.
    service
        .patch(
            "acme",
            "sre",
            json!({"integrations": {"slack": {"bot_token": "${secret:slack}"}}}),
        )
        .await;
    let shown = service.call(mine(Method::GET, "/slack")).await.body;
    assert_eq!(shown["used_by"][0]["path"], "integrations.slack.bot_token");
    assert_eq!(shown["history"][0]["what"], "set");
    // Deleting the nearer one leaves the org's in its place.
    assert_eq!(
        service.call(mine(Method::DELETE, "/slack")).await.status,
        200
    );
    opens(&worker, "acme", &["acme", "sre"], "slack", "xoxb-org").await;
    let refused = service
        .call(Request::new(Method::DELETE, &slack).bearer(ADMIN))
        .await;
    assert_eq!(refused.problem(), (409, "secret_in_use"));
    assert_eq!(refused.body["used_by"][0]["node_id"], "sre");
    let detail = refused.body["detail"].as_str().expect("detail");
    assert!(
        detail.contains("sre:integrations.slack.bot_token"),
        "{detail}"
    );
    let forced = format!("{slack}?force=true");
    let forced = service
        .call(Request::new(Method::DELETE, &forced).bearer(ADMIN))
        .await;
    assert_eq!(forced.status, 200, "{forced:?}");
    is_gone(&worker, "acme", &["acme", "sre"], "slack").await;
    // Versions go on: what was sealed before never counts as newer.
    let again = put(&service, &slack, json!({"value": "xoxb-3"})).await;
    assert_eq!(again.body["version"], 3, "{again:?}");
    opens(&worker, "acme", &["acme", "sre"], "slack", "xoxb-3").await;
    service.stop().await;
}

#[tokio::test]
async fn bad_requests_say_what_is_wrong_and_never_repeat_a_value() {
    let servers = Servers::start().await;
    let keys = KeyFile::new(&servers, OLD_KEY);
    let service = Service::ready(settings(&servers, &keys)).await;
    service.seed().await;
    let good = path("acme", "sre", "key");
    set(&service, "acme", "sre", "key", "one").await;
    let canary = "canary-7f3a";
    let long = canary.repeat(10_000);
    for (path, body, expected) in [
        (
            path("acme", "sre", "Key"),
            json!({"value": canary}),
            (422, "invalid_id"),
        ),
        (
            path("acme", "nobody", "key"),
            json!({"value": canary}),
            (404, "node_not_found"),
        ),
        (good.clone(), json!({"value": ""}), (422, "invalid_value")),
        (good.clone(), json!({"value": long}), (422, "invalid_value")),
        (
            good.clone(),
            json!({"value": "a\u{0}b"}),
            (422, "invalid_value"),
        ),
        (
            good.clone(),
            json!({"value": [canary]}),
            (422, "invalid_body"),
        ),
        (good.clone(), json!({canary: 1}), (422, "invalid_body")),
        (
            good.clone(),
            json!({"value": "x", "audience": canary}),
            (422, "invalid_body"),
        ),
        (good.clone(), json!(canary), (422, "invalid_body")),
        (good.clone(), json!([canary]), (422, "invalid_body")),
        (
            good.clone(),
            json!({"value": canary, "expected_version": 1.5}),
            (422, "invalid_body"),
        ),
        (
            good.clone(),
            json!({"value": canary, "expected_version": 7}),
            (409, "version_conflict"),
        ),
    ] {
        let answer = put(&service, &path, body.clone()).await;
        assert_eq!(answer.problem(), expected, "{path} {answer:?}");
        assert!(!answer.body.to_string().contains(canary), "{answer:?}");
    }
    misses(&service, &good).await;
    service.stop().await;
}

async fn misses(service: &Service, good: &str) {
    for (method, path, expected) in [
        (
            Method::GET,
            path("acme", "sre", "gone"),
            (404, "secret_not_found"),
        ),
        (
            Method::DELETE,
            path("acme", "sre", "gone"),
            (404, "secret_not_found"),
        ),
        (
            Method::DELETE,
            path("umbrella", "sre", "key"),
            (404, "node_not_found"),
        ),
    ] {
        let answer = service
            .call(Request::new(method, &path).bearer(ADMIN))
            .await;
        assert_eq!(answer.problem(), expected, "{path}");
    }
    let stale = Request::new(Method::DELETE, good)
        .bearer(ADMIN)
        .header("if-match", "\"4\"");
    assert_eq!(
        service.call(stale).await.problem(),
        (409, "version_conflict")
    );
}

#[tokio::test]
async fn without_a_master_key_nothing_is_stored_and_all_else_works() {
    let servers = Servers::start().await;
    let mut none = servers.settings();
    none.secrets.master_keys = tocsin_kit::SecretList::default();
    let service = Service::ready(none).await;
    service.seed().await;
    let answer = put(&service, &path("acme", "sre", "key"), json!({"value": "x"})).await;
    assert_eq!(answer.problem(), (503, "master_key_not_configured"));
    let detail = answer.body["detail"].as_str().expect("detail");
    assert!(detail.contains("MASTER_KEY_FILE"), "{detail}");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(
        service.patch("acme", "sre", json!({"x_a": 1})).await.status,
        200
    );
    service.stop().await;

    let mut broken = servers.settings();
    broken.secrets.master_keys = "m1:short".parse().expect("list");
    let context = tocsin_kit::Context::for_test("config").expect("context");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("binds");
    let ended = Box::pin(tocsin_config::run_on(listener, broken, context)).await;
    assert!(ended.is_err(), "broken keys must stop the service");
}

#[tokio::test]
async fn an_audience_opens_its_own_and_nothing_else() {
    let servers = Servers::start().await;
    let gpu = Audience::Worker(Pool::new("gpu").expect("pool"));
    let directory = servers.bus.keys();
    directory
        .init_sealing(&gpu, &mut tocsin_testkit::bus::random)
        .expect("made");
    let keys = KeyFile::new(&servers, OLD_KEY);
    let service = Service::ready(settings(&servers, &keys)).await;
    service.seed().await;
    let default = reader(&servers, &Audience::default()).await;
    let ingress = reader(&servers, &Audience::Ingress).await;
    let of_gpu = reader(&servers, &gpu).await;
    for (name, audience) in [
        ("hook", "ingress"),
        ("model", "worker.default"),
        ("gpu", "worker.gpu"),
    ] {
        let body = json!({"value": format!("value of {name}"), "audience": audience});
        let answer = put(&service, &path("acme", "sre", name), body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let line = ["acme", "sre"];
    opens(&ingress, "acme", &line, "hook", "value of hook").await;
    opens(&default, "acme", &line, "model", "value of model").await;
    // Nobody has published a key for the pool gpu yet; the others are not held up, and when it
    // comes, what waits is sealed to it.
    is_gone(&of_gpu, "acme", &line, "gpu").await;
    publish(
        &servers,
        &servers
            .bus
            .keys()
            .sealing_records(early())
            .expect("records"),
    )
    .await;
    opens(&of_gpu, "acme", &line, "gpu", "value of gpu").await;
    for (reader, name) in [
        (&ingress, "model"),
        (&default, "hook"),
        (&default, "gpu"),
        (&of_gpu, "model"),
    ] {
        let refused = open(reader, "acme", &line, name).await;
        assert!(
            matches!(refused, Err(SecretError::Unknown { .. })),
            "{name}: {refused:?}"
        );
    }
    // Another team, another org.
    for (org, line) in [("acme", ["acme", "web"]), ("umbrella", ["umbrella", "sre"])] {
        let refused = open(&default, org, &line, "model").await;
        assert!(
            matches!(refused, Err(SecretError::Unknown { .. })),
            "{refused:?}"
        );
    }
    // Given to another audience: gone for the old one.
    let moved = json!({"value": "moved", "audience": "ingress"});
    put(&service, &path("acme", "sre", "model"), moved).await;
    opens(&ingress, "acme", &line, "model", "moved").await;
    is_gone(&default, "acme", &line, "model").await;
    // With its node, it goes.
    service
        .admin(Method::DELETE, "/api/v1/admin/orgs/acme/teams/sre", None)
        .await;
    is_gone(&ingress, "acme", &line, "hook").await;
    is_gone(&of_gpu, "acme", &line, "gpu").await;
    service.stop().await;
}

pub(crate) fn early() -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_000_000_000).expect("in range")
}

pub(crate) async fn publish(servers: &Servers, records: &[SealingKeyRecord]) {
    let clock = tocsin_testkit::bus::clock();
    tocsin_bus::publish_sealing_keys(&servers.bus.settings(), clock, records)
        .await
        .expect("published");
}

#[tokio::test]
async fn secrets_follow_the_keys_of_their_audience() {
    let servers = Servers::start().await;
    let keys = KeyFile::new(&servers, OLD_KEY);
    let service = Service::ready(settings(&servers, &keys)).await;
    service.seed().await;
    let audience = Audience::default();
    let worker = reader(&servers, &audience).await;
    set(&service, "acme", "sre", "key", "one").await;
    opens(&worker, "acme", &["sre"], "key", "one").await;
    let directory = servers.bus.keys();
    let of_worker = |records: Vec<SealingKeyRecord>| {
        let mut mine = records
            .into_iter()
            .filter(|record| record.audience == audience);
        mine.next().expect("a record")
    };
    let old = of_worker(directory.sealing_records(early()).expect("records"));
    let stolen = directory.sealing_key_file(&audience);
    let stolen_copy = stolen.with_extension("stolen");
    std::fs::copy(&stolen, &stolen_copy).expect("copies");

    directory
        .rotate_sealing(&audience, tocsin_testkit::bus::random())
        .expect("rotates");
    publish(
        &servers,
        &directory.sealing_records(early()).expect("records"),
    )
    .await;
    // The bucket soon holds a box for each key; then for the new one alone.
    let config = servers.bus.connect(Room::Config).await.expect("connects");
    let boxes = || boxes(&config, "worker.default.acme.sre.key");
    eventually("a box for each key", LIMIT, || async { boxes().await == 2 }).await;
    opens(&worker, "acme", &["sre"], "key", "one").await;
    let root = directory.root().expect("root");
    publish(&servers, &[old.revoked(&root, early())]).await;
    eventually("one box", LIMIT, || async { boxes().await == 1 }).await;
    opens(&worker, "acme", &["sre"], "key", "one").await;
    // Who has only the old key opens nothing any more.
    let bus = servers
        .bus
        .connect(Room::AgentWorker)
        .await
        .expect("connects");
    let thief = SecretReader::new(&bus, audience.clone(), stolen_copy).expect("keys");
    let refused = open(&thief, "acme", &["sre"], "key").await;
    assert!(
        matches!(refused, Err(SecretError::Sealed { .. })),
        "{refused:?}"
    );
    service.stop().await;
}

/// To how many keys the record of the bucket is sealed.
pub(crate) async fn boxes(config: &Bus, key: &str) -> usize {
    let entry = config.bucket("secrets").get(key).await;
    match entry.expect("reads").expect("there").envelope.body {
        Some(tocsin_wire::proto::envelope::Body::SecretRecord(record)) => record.boxes.len(),
        _ => 0,
    }
}

#[tokio::test]
async fn a_config_may_only_refer_to_secrets_that_are_there() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let key = |text: &str| json!({"integrations": {"openai": {"api_key": text}}});
    for (reference, message) in [
        ("${secret:openai}", "there is no secret openai at this node"),
        ("${secret:Open AI}", "a reference is ${secret:name}"),
        ("${secret:openai", "a reference is ${secret:name}"),
    ] {
        let answer = service.patch("acme", "sre", key(reference)).await;
        assert_eq!(answer.problem(), (422, "invalid_secret_reference"));
        let error = &answer.body["errors"][0];
        assert_eq!(error["path"], "integrations.openai.api_key");
        let said = error["message"].as_str().expect("text");
        assert!(said.starts_with(message), "{said}");
    }
    // A secret of another team does not count; one above does, and a team may bring its own to what
    // the org says for all.
    set(&service, "acme", "web", "openai", "of web").await;
    let answer = service.patch("acme", "sre", key("${secret:openai}")).await;
    assert_eq!(answer.problem(), (422, "invalid_secret_reference"));
    let answer = service.patch("acme", "acme", key("${secret:openai}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    set(&service, "acme", "acme", "slack", "of acme").await;
    let answer = service.patch("acme", "sre", key("x ${secret:slack}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // Other changes are not held up by what has become dangling.
    let path = format!("{}?force=true", path("acme", "acme", "slack"));
    let forced = Request::new(Method::DELETE, &path).bearer(ADMIN);
    assert_eq!(service.call(forced).await.status, 200);
    let answer = service.patch("acme", "sre", json!({"x_a": 1})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    service.stop().await;
}
