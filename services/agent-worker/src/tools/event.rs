//! `read_event`: what triggered the run.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tocsin_wire::proto::{EventStatus, RunRequest, Severity};
use tocsin_wire::time;

use crate::model::ToolSpec;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Arguments {}

pub(super) fn spec() -> ToolSpec {
    ToolSpec {
        name: super::READ_EVENT,
        description: "Reads the event that triggered this investigation: provider, kind, title, text, severity, \
                      status, url, time, identifiers and attributes.",
        schema: json!({"type": "object", "properties": {}, "additionalProperties": false}),
    }
}

/// The event as JSON; also the briefing's data.
pub(crate) fn describe(request: &RunRequest) -> Value {
    let Some(event) = &request.event else {
        return json!({"event_id": request.event_id, "note": "no details were recorded"});
    };
    let identifiers: BTreeMap<&str, &str> = event
        .identifiers
        .iter()
        .map(|identifier| (identifier.r#type.as_str(), identifier.value.as_str()))
        .collect();
    let attributes: BTreeMap<&String, &String> = event.attributes.iter().collect();
    let occurred_at = event.occurred_at.as_ref().and_then(time::from_proto);
    let mut described = Map::new();
    let mut put = |key: &str, value: Value| {
        let is_empty = value.is_null() || value.as_str() == Some("");
        if !is_empty {
            described.insert(key.to_owned(), value);
        }
    };
    put("provider", json!(event.provider));
    put("kind", json!(event.kind));
    put("action", json!(event.action));
    put("title", json!(event.title));
    put("text", json!(event.text));
    put("severity", json!(severity(event.severity())));
    put("status", json!(status(event.status())));
    put("url", json!(event.url));
    put("occurred_at", json!(occurred_at.map(|at| at.to_string())));
    put(
        "actor",
        json!(event.actor.as_ref().map(|actor| actor.name.as_str())),
    );
    put("identifiers", json!(identifiers));
    put("attributes", json!(attributes));
    Value::Object(described)
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Unspecified => "",
        Severity::Info => "info",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

const fn status(status: EventStatus) -> &'static str {
    match status {
        EventStatus::Unspecified => "",
        EventStatus::Info => "info",
        EventStatus::Firing => "firing",
        EventStatus::Acknowledged => "acknowledged",
        EventStatus::Resolved => "resolved",
    }
}
