//! Every fixture against its index, and golden events.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tocsin_wire::{
    Token,
    ids::EventId,
    proto::{ActorKind, Event, EventStatus, Severity, TextFormat},
    time,
};

use crate::provider::{self, Provider};
use crate::publish;
use crate::verify::sns::is_confirmation;

use super::{Delivery, Malformed, Normalized};

#[derive(Deserialize)]
struct Index {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
pub(super) struct Entry {
    pub(super) file: String,
    pub(super) provider: String,
    pub(super) endpoint: Option<String>,
    event_type: String,
    content_type: String,
    headers: BTreeMap<String, String>,
    expect: Expect,
}

#[derive(Deserialize)]
struct Expect {
    disposition: String,
    routing: BTreeMap<String, Value>,
    /// Further identifiers, of which any will do.
    #[serde(default)]
    routing_any: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    dedupe: Value,
    #[serde(default)]
    fields: Value,
    #[serde(default)]
    action: Value,
    #[serde(default)]
    thread: Value,
    #[serde(default)]
    response: Value,
    #[serde(default)]
    event: Value,
    event_count: Option<usize>,
    /// Alerts in a group, and of each its fingerprint.
    #[serde(default)]
    alert_count: Value,
    #[serde(default)]
    alerts: Vec<Value>,
    #[serde(default)]
    rule: Value,
    #[serde(default)]
    events: Vec<Value>,
    #[serde(default)]
    github_repos: Vec<String>,
}

pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/webhooks")
}

pub(super) fn entries() -> Vec<Entry> {
    let index = std::fs::read_to_string(folder().join("index.json")).expect("index");
    let Index { entries } = serde_json::from_str(&index).expect("index");
    assert!(entries.len() >= 96);
    entries
}

fn received_at() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().expect("a time")
}

pub(super) fn deliver(
    provider: &str,
    endpoint: Option<&str>,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Normalized, Malformed> {
    deliver_at(received_at(), provider, endpoint, headers, body)
}

pub(super) fn deliver_at(
    received_at: Timestamp,
    provider: &str,
    endpoint: Option<&str>,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Normalized, Malformed> {
    let provider = Provider::named(provider).expect("a provider of the table");
    let kept_headers = provider.kept_headers();
    let delivery = Delivery {
        source: "shared",
        headers,
        body,
        received_at,
        secret_index: 0,
        kept_headers: &kept_headers,
        picks: None,
    };
    let endpoint = provider.endpoint(endpoint.unwrap_or_default());
    (endpoint.unwrap_or(&provider.endpoints[0]).read)(delivery)
}

pub(super) fn headers<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        headers.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    headers
}

impl Entry {
    pub(super) fn body(&self) -> Vec<u8> {
        std::fs::read(folder().join(&self.file)).expect("body")
    }

    /// Reads `body` as if it had come with this entry's headers.
    pub(super) fn deliver(&self, body: &Bytes) -> Result<Normalized, Malformed> {
        let pairs = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let headers = headers(pairs.chain([("content-type", self.content_type.as_str())]));
        deliver(&self.provider, self.endpoint.as_deref(), &headers, body)
    }
}

fn normalized(entry: &Entry) -> Normalized {
    entry
        .deliver(&Bytes::from(entry.body()))
        .expect("well-formed")
}

#[test]
fn every_fixture_is_what_the_index_says() {
    for entry in entries() {
        match (entry.expect.disposition.as_str(), normalized(&entry)) {
            ("event", Normalized::Event(event)) => check(&entry, &event),
            ("event", Normalized::Events(events)) => {
                let file = &entry.file;
                assert_eq!(Some(events.len()), entry.expect.event_count, "{file}");
                // The index describes the first one, and names the others.
                check(&entry, &events[0]);
                for (event, expected) in events.iter().zip(&entry.expect.events) {
                    if let Some(expected) = expected["type"].as_str() {
                        assert_eq!(event.native_type, expected, "{file}");
                    }
                }
            }
            ("ping" | "ignore", Normalized::Ping) => {}
            ("handshake", Normalized::Challenge(challenge)) => {
                assert_eq!(entry.expect.response["body_must_contain"], challenge);
            }
            ("handshake", Normalized::Subscription(url)) => assert!(is_confirmation(&url), "{url}"),
            (expected, got) => panic!("{}: expected {expected}, got {got:?}", entry.file),
        }
    }
}

fn check(entry: &Entry, event: &Event) {
    let file = &entry.file;
    let mut routing = routing(event);
    for (name, any) in &entry.expect.routing_any {
        let found = routing.remove(name).unwrap_or_default();
        assert!(
            any.iter().any(|value| found.contains(value)),
            "{file}: {name}: {found:?}"
        );
    }
    assert_eq!(routing, expected_routing(entry), "{file}: routing");
    dedupe(entry, event);
    types(entry, event);
    fields(entry, event);
    let body = std::fs::read(folder().join(file)).expect("body");
    match entry.expect.event_count {
        // Each event of a batch keeps what is its own.
        Some(2..) => assert!(
            body.windows(event.raw_body.len())
                .any(|part| part == event.raw_body)
        ),
        _ => assert_eq!(event.raw_body, body, "{file}"),
    }
    for action in [&entry.expect.action, &entry.expect.event] {
        if let Some(expected) = action.as_str() {
            assert_eq!(event.action, expected, "{file}: action");
        }
    }
    for (name, value) in entry.expect.action.as_object().into_iter().flatten() {
        assert_eq!(
            event.attributes.get(name).map(String::as_str),
            value.as_str(),
            "{file}: {name}"
        );
    }
    if let Some(action) = entry.expect.action.as_str() {
        assert_eq!(event.action, action, "{file}: action");
    }
    alerts(entry, event);
    if let Some(thread) = entry.expect.thread["ts"].as_str() {
        let conversation = event.conversation.as_ref().expect("a conversation");
        assert_eq!(conversation.thread, thread, "{file}: thread");
    }
    if !entry.expect.github_repos.is_empty() {
        let listed = event
            .attributes
            .get("repositories")
            .or(event.attributes.get("repositories_added"));
        assert_eq!(listed, Some(&entry.expect.github_repos.join(",")), "{file}");
    }
}

fn alerts(entry: &Entry, event: &Event) {
    let fingerprints = entry.expect.alerts.iter();
    let fingerprints: Vec<_> = fingerprints
        .map(|alert| text(&alert["fingerprint"]))
        .collect();
    let joined = Value::String(fingerprints.join(","));
    let expected = [
        ("alert_count", &entry.expect.alert_count),
        ("fingerprints", &joined),
        ("rule", &entry.expect.rule),
    ];
    for (name, value) in expected {
        let value = match value {
            Value::Null => continue,
            value => text(value),
        };
        let got = event.attributes.get(name).cloned().unwrap_or_default();
        assert_eq!(got, value, "{}: {name}", entry.file);
    }
}

fn fold(name: &str, value: &str) -> String {
    if name == "github_repo" {
        value.to_lowercase()
    } else {
        value.to_owned()
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

type Routing = BTreeMap<String, BTreeSet<String>>;

fn routing(event: &Event) -> Routing {
    let mut routing = Routing::new();
    for identifier in &event.identifiers {
        let value = fold(&identifier.r#type, &identifier.value);
        routing
            .entry(identifier.r#type.clone())
            .or_default()
            .insert(value);
    }
    routing
}

fn expected_routing(entry: &Entry) -> Routing {
    let values = |name: &str, value: &Value| match value {
        Value::Array(values) => values
            .iter()
            .map(|value| fold(name, &text(value)))
            .collect(),
        value => BTreeSet::from([fold(name, &text(value))]),
    };
    let routing = entry.expect.routing.iter();
    routing
        .map(|(name, value)| (name.clone(), values(name, value)))
        .collect()
}

fn dedupe(entry: &Entry, event: &Event) {
    let file = &entry.file;
    let prefix = format!("{}:shared:", entry.provider);
    if let Some(id) = entry.expect.dedupe["value"].as_str() {
        assert_eq!(event.delivery_id, id, "{file}");
        assert_eq!(event.delivery_key, format!("{prefix}{id}"), "{file}");
    } else {
        let is_hash = event.delivery_key.starts_with(&format!("{prefix}sha256:"));
        match entry.expect.dedupe["from"].as_str() {
            Some("derived") => derived(entry, event),
            from => assert_eq!(from, Some("body-hash"), "{file}"),
        }
        let is_derived = entry.expect.dedupe["from"] == "derived";
        assert_ne!(is_hash, is_derived, "{file}: {}", event.delivery_key);
    }
    assert!(event.semantic_key.len() > prefix.len(), "{file}");
}

/// A key that follows from what the body says does not change with what the bytes are.
fn derived(entry: &Entry, event: &Event) {
    let mut body = entry.body();
    body.extend_from_slice(b" \n");
    match entry.deliver(&Bytes::from(body)) {
        Ok(Normalized::Event(again)) => {
            assert_eq!(again.delivery_key, event.delivery_key, "{}", entry.file);
            assert_eq!(again.semantic_key, event.semantic_key, "{}", entry.file);
        }
        other => panic!("{}: {other:?}", entry.file),
    }
}

/// The index names types as `event_callback/message.file_share`, `incident.resolved` or
/// `issues.opened`: alone, or with what happened after a dot; `unknown` is for bodies that name none.
fn types(entry: &Entry, event: &Event) {
    let native = &event.native_type;
    let expected = entry.event_type.rsplit('/').next().unwrap_or_default();
    let named = [
        native.clone(),
        format!("{native}.{}", event.action),
        if native.is_empty() { "unknown" } else { "" }.to_owned(),
    ];
    assert!(
        named.iter().any(|name| name == expected),
        "{}: {named:?}",
        entry.file
    );
    assert_ne!(event.kind, super::OTHER, "{}", entry.file);
    Token::new(event.kind.clone()).expect("kinds are subject tokens");
}

fn fields(entry: &Entry, event: &Event) {
    let file = &entry.file;
    let expected = &entry.expect.fields;
    for (name, got) in [
        ("title", event.title.clone()),
        ("text", event.text.clone()),
        ("url", event.url.clone()),
        ("severity", event.severity_native.clone()),
        (
            "status",
            event.attributes.get("state").cloned().unwrap_or_default(),
        ),
    ] {
        if let Some(expected) = expected[name].as_str() {
            assert_eq!(got, expected, "{file}: {name}");
        }
    }
    if let Some(expected) = expected["occurred_at_unix"].as_f64() {
        let at = event
            .occurred_at
            .as_ref()
            .and_then(time::from_proto)
            .expect("a time");
        let difference = at.as_duration().as_secs_f64() - expected;
        assert!(difference.abs() < 0.000_01, "{file}: occurred at {at}");
    }
    let actor = event.actor.clone().unwrap_or_default();
    for (name, got) in [("id", actor.id), ("name", actor.name)] {
        let expected = &expected["actor"][name];
        if !expected.is_null() {
            assert_eq!(got, text(expected), "{file}: actor {name}");
        }
    }
}

#[test]
fn golden_events() {
    for provider in provider::ALL.iter().map(|provider| provider.name) {
        let mut golden = BTreeMap::new();
        for entry in entries()
            .into_iter()
            .filter(|entry| entry.provider == provider)
        {
            match normalized(&entry) {
                Normalized::Event(event) => {
                    golden.insert(entry.file, readable(&event));
                }
                Normalized::Events(events) => {
                    for (index, event) in events.iter().enumerate() {
                        golden.insert(format!("{} {index}", entry.file), readable(event));
                    }
                }
                Normalized::Ping | Normalized::Challenge(_) | Normalized::Subscription(_) => {}
            }
        }
        insta::assert_json_snapshot!(provider, golden);
    }
}

/// All but what is copied from the request.
fn readable(event: &Event) -> Value {
    let name = |names: &str| names.rsplit("Kind").next().unwrap_or_default().to_owned();
    let mut value = json!({
        "subject": publish::subject(event).expect("a subject").to_string(),
        "id": EventId::derive(&event.delivery_key).to_string(),
        "native_type": event.native_type,
        "delivery_key": event.delivery_key,
        "semantic_key": event.semantic_key,
        "identifiers": event.identifiers.iter()
            .map(|known| format!("{}={}", known.r#type, known.value)).collect::<Vec<_>>(),
        "title": event.title,
        "text": event.text.chars().take(120).collect::<String>(),
        "status": format!("{:?}", EventStatus::try_from(event.status).expect("known")),
        "occurred_at": event.occurred_at.as_ref().and_then(time::from_proto).map(|at| at.to_string()),
        "attributes": event.attributes,
        "headers": event.headers.iter().map(|header| &header.name).collect::<Vec<_>>(),
    });
    let severity = Severity::try_from(event.severity).expect("known");
    for (key, text) in [
        ("action", event.action.clone()),
        ("url", event.url.clone()),
        ("correlation_key", event.correlation_key.clone()),
        ("attempt_reason", event.attempt_reason.clone()),
        (
            "severity",
            match severity {
                Severity::Unspecified => String::new(),
                severity => format!("{severity:?} ({})", event.severity_native),
            },
        ),
        (
            "text_format",
            match TextFormat::try_from(event.text_format).expect("known") {
                TextFormat::Unspecified => String::new(),
                format => format!("{format:?}"),
            },
        ),
        (
            "actor",
            event.actor.as_ref().map_or_else(String::new, |actor| {
                let kind = ActorKind::try_from(actor.kind).expect("known");
                format!("{} {} {}", name(&format!("{kind:?}")), actor.id, actor.name)
            }),
        ),
        (
            "conversation",
            event
                .conversation
                .as_ref()
                .map_or_else(String::new, |place| {
                    format!(
                        "{} {} thread={} message={}",
                        place.workspace, place.channel, place.thread, place.message
                    )
                }),
        ),
    ] {
        if !text.is_empty() {
            value[key] = json!(text);
        }
    }
    value
}
