//! The plaintext of a secret is in no file of the database, no file of the broker, no log line and no answer.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};
use sqlx::Connection as _;
use tocsin_wire::sealed::Audience;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::{KeyFile, NEW_KEY, OLD_KEY, opens, path, put, reader, set, settings};
use crate::stage::{ADMIN, Request, Servers, Service, config_path};

/// Nothing compresses or splits it.
const CANARY: &str = "canary-5c1f0e9d8b7a";

/// Keeps every field of every event and span of this process, whatever its level.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<String>>);

impl Lines {
    fn text(&self) -> String {
        self.0.lock().expect("not poisoned").clone()
    }
}

impl Visit for Lines {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let line = format!("{field}={value:?}\n");
        self.0.lock().expect("not poisoned").push_str(&line);
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The HTTP client of the test itself is no part of what is looked at.
        !["hyper_util", "reqwest"]
            .iter()
            .any(|own| metadata.target().starts_with(own))
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn the_plaintext_is_nowhere() {
    let lines = Lines::default();
    tracing::subscriber::set_global_default(lines.clone()).expect("each test has its process");
    let servers = Servers::start().await;
    let keys = KeyFile::new(&servers, OLD_KEY);
    let service = Service::ready(settings(&servers, &keys)).await;
    service.seed().await;
    let worker = reader(&servers, &Audience::default()).await;
    let answers = use_everything(&service).await;
    let value = format!("{CANARY}-two");
    opens(&worker, "acme", &["acme", "sre"], "key", &value).await;
    // A rotation, and a row that does not open: errors are told, too.
    keys.write(&format!("{NEW_KEY}\n{OLD_KEY}\n"));
    let rotated = service
        .admin(Method::POST, "/api/v1/admin/secrets/rotate-master", None)
        .await;
    let stores = stores(&servers).await;
    service.stop().await;

    assert!(!answers.is_empty());
    for answer in answers.iter().chain([&rotated]) {
        assert!(!answer.to_string().contains(CANARY), "{answer}");
    }
    let log = lines.text();
    assert!(log.contains("secrets"), "the log was kept");
    assert!(!log.contains(CANARY), "the log has it");
    let mut seen = 0;
    for (folder, marker) in stores {
        let mut has_marker = false;
        for (file, bytes) in files(&folder) {
            for form in [
                CANARY.as_bytes().to_vec(),
                hex(CANARY).into_bytes(),
                base64(CANARY),
            ] {
                assert!(!contains(&bytes, &form), "{} has it", file.display());
            }
            has_marker |= contains(&bytes, marker.as_bytes());
            seen += 1;
        }
        // Looking in the right place: what is public is found.
        assert!(has_marker, "{} has no {marker}", folder.display());
    }
    assert!(seen > 20, "only {seen} files were looked at");
}

/// Every route that could tell a value; the answers.
async fn use_everything(service: &Service) -> Vec<Value> {
    let key = path("acme", "sre", "key");
    let mut answers = Vec::new();
    for value in ["one", "two"] {
        let body = json!({"value": format!("{CANARY}-{value}")});
        answers.push(put(service, &key, body).await.body);
    }
    for body in [
        json!({"value": {"inner": CANARY}}),
        json!({"valu": CANARY}),
        json!([CANARY]),
    ] {
        answers.push(put(service, &key, body).await.body);
    }
    set(service, "acme", "acme", "key", &format!("{CANARY}-org")).await;
    set(service, "acme", "sre", "gone", &format!("{CANARY}-gone")).await;
    let reference = json!({"integrations": {"openai": {"api_key": "${secret:key}"}}});
    answers.push(service.patch("acme", "sre", reference).await.body);
    let delete = path("acme", "sre", "gone");
    let own = config_path("acme", "sre");
    let node = own.trim_end_matches("/config");
    let mut asked = vec![
        (Method::DELETE, delete.clone()),
        (Method::GET, key.clone()),
        (Method::DELETE, key),
        (Method::GET, own.clone()),
    ];
    for what in [
        "secrets",
        "secrets?inherited=true",
        "effective",
        "raw",
        "audit",
    ] {
        asked.push((Method::GET, format!("{node}/{what}")));
    }
    for (method, path) in asked {
        let answer = service
            .call(Request::new(method, &path).bearer(ADMIN))
            .await;
        answers.push(answer.body);
    }
    // As the second value: what is deleted by hand above is set again.
    let body = json!({"value": format!("{CANARY}-two")});
    answers.push(put(service, &path("acme", "sre", "key"), body).await.body);
    answers
}

/// The folders of both servers, each with something public that must be in it.
async fn stores(servers: &Servers) -> [(PathBuf, &'static str); 2] {
    let mut database = sqlx::PgConnection::connect(servers.postgres.url())
        .await
        .expect("connects");
    sqlx::query("checkpoint")
        .execute(&mut database)
        .await
        .expect("writes everything to disk");
    let data: String = sqlx::query_scalar("show data_directory")
        .fetch_one(&mut database)
        .await
        .expect("tells");
    let url = format!("{}/jsz?config=true", servers.bus.server.monitoring_url());
    let http = tocsin_kit::Context::for_test("test").expect("context").http;
    let answer = http
        .get(&url)
        .expect("allowed")
        .send()
        .await
        .expect("answers");
    let answer: Value = serde_json::from_str(&answer.text().await.expect("text")).expect("JSON");
    let store = answer["config"]["store_dir"].as_str().expect("a folder");
    [
        (data.into(), "worker.default"),
        (store.into(), "worker.default.acme.sre.key"),
    ]
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("reads") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            // A file may go while we look.
            found.push((path, bytes));
        }
    }
    found
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn hex(text: &str) -> String {
    tocsin_wire::signing::hex(text.as_bytes())
}

/// The part of it that does not depend on what stands before.
fn base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(text);
    encoded.into_bytes()
}
