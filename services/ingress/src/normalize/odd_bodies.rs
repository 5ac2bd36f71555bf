//! Bodies that nobody expected.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;
use serde_json::Value;

use super::Normalized;
use super::fixtures::{Entry, deliver, entries, folder, headers};
use crate::provider::{self, Provider};

const JSON: &str = "application/json";
const CLOUD_EVENT: &str = "application/cloudevents+json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Endpoint, content type, body, and the kind or error code that comes of it.
const ODD_BODIES: &[(&str, &str, &str, &str)] = &[
    ("blameless", JSON, "{", "invalid_json"),
    (
        "blameless",
        JSON,
        r#"{"event_type":"coffee.made","incident":[]}"#,
        "other",
    ),
    ("firehydrant", JSON, "", "invalid_json"),
    (
        "firehydrant",
        JSON,
        r#"{"data":7,"event":{"resource_type":"coffee"}}"#,
        "other",
    ),
    (
        "firehydrant",
        JSON,
        r#"{"event":{"resource_type":"incident","operation":"CREATED"},"data":{"incident":"?"}}"#,
        "incident_opened",
    ),
    ("cloudevents", JSON, "{}", "unsupported_media_type"),
    ("cloudevents", FORM, "a=b", "unsupported_media_type"),
    (
        "cloudevents",
        "application/cloudevents+avro",
        "{}",
        "unsupported_media_type",
    ),
    ("cloudevents", CLOUD_EVENT, "{", "invalid_json"),
    ("cloudevents", CLOUD_EVENT, "7", "other"),
    ("cloudevents", CLOUD_EVENT, "[]", "Events([])"),
    ("cloudevents", CLOUD_EVENT, r#"{"source":"/a"}"#, "other"),
    (
        "cloudevents",
        "Application/CloudEvents+JSON; charset=utf-8",
        r#"{"type":"x","data":[1,2],"time":"soon","subject":7}"#,
        "event",
    ),
    (
        "cloudevents",
        CLOUD_EVENT,
        r#"{"type":"x","data":{"severity":"page","title":["?"]}}"#,
        "alert_firing",
    ),
    ("generic", JSON, "[", "invalid_json"),
    ("generic", JSON, "[7]", "other"),
    (
        "generic",
        JSON,
        r#"{"identifiers":[],"metadata":1}"#,
        "other",
    ),
    (
        "generic",
        JSON,
        r#"{"type":"alert.resolved","data":"?"}"#,
        "alert_resolved",
    ),
    (
        "generic",
        JSON,
        r#"{"title":"Down","identifiers":{"org_id":"acme"}}"#,
        "alert_firing",
    ),
    ("sns", "text/plain", "?", "invalid_json"),
    ("sns", "text/plain", r#"{"Type":"Coffee"}"#, "other"),
    (
        "sns",
        "text/plain",
        r#"{"Type":"Notification","TopicArn":"?","Message":"{\"AlarmName\":"}"#,
        "notification",
    ),
    (
        "sns",
        "text/plain",
        r#"{"Type":"Notification","Message":"{\"AlarmName\":\"a\",\"NewStateValue\":\"MAYBE\"}"}"#,
        "notification",
    ),
    (
        "sns",
        "text/plain",
        r#"{"Type":"UnsubscribeConfirmation","SubscribeURL":"https://sns.eu-west-1.amazonaws.com/"}"#,
        "unsubscribe_confirmation",
    ),
    ("stripe", JSON, "?", "invalid_json"),
    (
        "stripe",
        JSON,
        r#"{"type":"coffee.made","livemode":"yes"}"#,
        "other",
    ),
    (
        "stripe",
        JSON,
        r#"{"type":"charge.failed","created":"now","data":{"object":"?"}}"#,
        "charge",
    ),
    ("github", JSON, r#"{"foo":"bar"}"#, "push"),
    (
        "github",
        FORM,
        "payload=%7B%22repository%22%3A%7B%22id%22%3A1%7D%7D",
        "push",
    ),
    ("github", FORM, "other=1", "invalid_form"),
    ("github", JSON, "[1]", "push"),
    ("github", JSON, "", "invalid_json"),
    ("github", JSON, r#"{"a":}"#, "invalid_json"),
    ("pagerduty", "text/plain", r#"{"messages":[]}"#, "other"),
    (
        "pagerduty",
        JSON,
        r#"{"event":{"event_type":"incident.resolved","data":{"title":"\ud800"}}}"#,
        "incident_resolved",
    ),
    (
        "pagerduty",
        JSON,
        r#"{"event":{"event_type":"incident.brand_new"}}"#,
        "other",
    ),
    (
        "pagerduty",
        JSON,
        r#"{"event":{"event_type":"incident.resolved","data":{"title":5}}}"#,
        "incident_resolved",
    ),
    ("incidentio", JSON, "{", "invalid_json"),
    ("incidentio", JSON, "[]", "other"),
    (
        "incidentio",
        JSON,
        r#"{"event_type":7,"7":{"id":1}}"#,
        "other",
    ),
    (
        "incidentio",
        JSON,
        r#"{"event_type":"public_alert.alert_vanished_v9","public_alert.alert_vanished_v9":{}}"#,
        "other",
    ),
    (
        "incidentio",
        JSON,
        r#"{"event_type":"public_alert.alert_created_v1","public_alert.alert_created_v1":"gone"}"#,
        "alert_created",
    ),
    (
        "incidentio",
        JSON,
        r#"{"event_type":"public_alert.alert_created_v1","public_alert.alert_created_v1":{"title":"\ud800"}}"#,
        "alert_created",
    ),
    ("alertmanager", JSON, "{\n", "invalid_json"),
    ("alertmanager", JSON, "[{}]", "other"),
    (
        "alertmanager",
        JSON,
        r#"{"text":"made by a payload template"}"#,
        "other",
    ),
    (
        "alertmanager",
        JSON,
        r#"{"status":"firing","alerts":"none","groupKey":7}"#,
        "alert_firing",
    ),
    (
        "alertmanager",
        JSON,
        r#"{"alerts":[{"status":"resolved","startsAt":"now"},{"status":"firing"}]}"#,
        "alert_firing",
    ),
    (
        "alertmanager",
        JSON,
        r#"{"alerts":[null,{"status":"resolved","labels":[]}],"status":{}}"#,
        "alert_resolved",
    ),
    (
        "coralogix",
        JSON,
        r#"{"name":"a "quoted" log line"}"#,
        "invalid_json",
    ),
    ("coralogix", JSON, "{}", "other"),
    (
        "coralogix",
        JSON,
        r#"{"alert_id":"$ALERT_ID","name":"$ALERT_NAME","alert_action":"$ALERT_ACTION"}"#,
        "Ping",
    ),
    (
        "coralogix",
        JSON,
        r#"{"alert_id":"$ALERT_ID","alert_action":"trigger","fields":{"team":"a"}}"#,
        "alert_triggered",
    ),
    (
        "coralogix",
        JSON,
        r#"{"alert_action":"snooze","fields":[{"key":"severity","value":["x"]},7]}"#,
        "other",
    ),
    ("datadog", JSON, "", "invalid_json"),
    ("datadog", FORM, "", "other"),
    (
        "datadog",
        FORM,
        "title=%5BTriggered%5D+x",
        "alert_triggered",
    ),
    (
        "datadog",
        FORM,
        r#"{"alert_type":"error"}"#,
        "alert_triggered",
    ),
    (
        "datadog",
        JSON,
        r#"{"title":7,"alert_transition":"Muted","org":"acme","date":{}}"#,
        "other",
    ),
    ("grafana", JSON, "", "invalid_json"),
    (
        "grafana",
        JSON,
        r#"{"status":"firing","alerts":[{"values":null,"generatorURL":"?orgId=1"}]}"#,
        "alert_firing",
    ),
    (
        "grafana",
        JSON,
        r#"{"ruleId":1,"state":"no_data","evalMatches":null,"tags":null}"#,
        "alert_firing",
    ),
    ("grafana", JSON, r#"{"ruleId":1,"state":"new"}"#, "other"),
    ("newrelic", JSON, "{", "invalid_json"),
    ("newrelic", JSON, "[]", "other"),
    (
        "newrelic",
        JSON,
        r#"{"state":"activated","title":["a","b"],"totalIncidents":"1","impactedEntities":"x"}"#,
        "issue_activated",
    ),
    (
        "newrelic",
        JSON,
        r#"{"current_state":"open"}"#,
        "issue_activated",
    ),
    ("newrelic", JSON, r#"{"state":"MERGED"}"#, "other"),
    ("opsgenie", JSON, "", "invalid_json"),
    (
        "opsgenie",
        JSON,
        r#"{"action":"Create","alert":"a"}"#,
        "alert_created",
    ),
    (
        "opsgenie",
        JSON,
        r#"{"action":"MyOwn","alert":{"teams":["t"],"tags":"x"}}"#,
        "other",
    ),
    ("sentry", JSON, "", "invalid_json"),
    ("sentry", JSON, "[]", "other"),
    (
        "sentry",
        JSON,
        r#"{"action":"created","data":{"issue":"x"}}"#,
        "issue_created",
    ),
    (
        "sentry",
        JSON,
        r#"{"action":"vanished","data":{"issue":{"id":[],"project":7}}}"#,
        "other",
    ),
    (
        "sentry",
        JSON,
        r#"{"action":"created","data":{"issue":null,"event":null}}"#,
        "other",
    ),
    ("gitlab", JSON, "{", "invalid_json"),
    ("gitlab", JSON, "[]", "other"),
    ("gitlab", JSON, r#"{"object_kind":"coffee"}"#, "other"),
    (
        "gitlab",
        JSON,
        r#"{"object_kind":"pipeline","object_attributes":[],"project":"x","user":7,"commits":{}}"#,
        "pipeline",
    ),
    (
        "gitlab",
        JSON,
        r#"{"object_kind":"issue","object_attributes":{"type":"Incident","updated_at":"soon"}}"#,
        "incident",
    ),
    ("jira", JSON, "nothing", "invalid_json"),
    (
        "jira",
        JSON,
        r#"{"webhookEvent":"jira:coffee_made"}"#,
        "other",
    ),
    (
        "jira",
        JSON,
        r#"{"webhookEvent":"comment_created","timestamp":true,"issue":null,"comment":{"body":{"type":"doc"}}}"#,
        "comment_created",
    ),
    (
        "jira",
        JSON,
        r#"{"webhookEvent":"jira:issue_updated","issue":{"key":[],"fields":"none"},"changelog":{"items":7}}"#,
        "issue_updated",
    ),
    ("events", JSON, "not json", "invalid_json"),
    ("events", JSON, r#"{"type":"event_callback"}"#, "other"),
    (
        "events",
        JSON,
        r#"{"type":"event_callback","event":{"type":"x_new","channel":7}}"#,
        "other",
    ),
    (
        "interactions",
        FORM,
        r#"payload={"type":"new_thing"}"#,
        "other",
    ),
    ("interactions", FORM, "payload=x", "invalid_json"),
    ("interactions", FORM, "a=b", "invalid_form"),
    ("commands", FORM, "", "invalid_form"),
    ("events", FORM, "command=%2Fx&team_id=T1", "slash_command"),
];

#[test]
fn odd_bodies_are_kept_and_only_broken_ones_refused() {
    for (endpoint, content_type, body, expected) in ODD_BODIES {
        let headers = headers([("content-type", *content_type), ("x-github-event", "push")]);
        let provider = Provider::named(endpoint).map_or("slack", |provider| provider.name);
        let got = match deliver(provider, Some(*endpoint), &headers, &Bytes::from(*body)) {
            Ok(Normalized::Event(event)) => {
                let hashed = format!("{provider}:shared:sha256:");
                assert!(event.delivery_key.starts_with(&hashed), "{body}");
                event.kind
            }
            Ok(other) => format!("{other:?}"),
            Err(malformed) => malformed.code().to_owned(),
        };
        assert_eq!(got, *expected, "{endpoint} {body:?}");
    }
    let not_utf8 = Bytes::from_static(b"{\"title\":\"\xff\"}");
    let refused = deliver("pagerduty", None, &HeaderMap::new(), &not_utf8);
    assert_eq!(refused.expect_err("not UTF-8").code(), "invalid_json");
}

/// A title that was cut within an emoji, and a number that is too large, cost no more than themselves.
#[test]
fn what_rust_cannot_hold_is_lost_alone() {
    let body = r#"{"title":"Disk full \ud83d","message":"now \ude00!","severity":"critical","status":1e999,
        "identifiers":{"service":"pay"},"metadata":{"size":"\ud83d\ude00"}}"#;
    let event = match deliver("generic", None, &HeaderMap::new(), &Bytes::from(body)) {
        Ok(Normalized::Event(event)) => event,
        other => panic!("{other:?}"),
    };
    assert_eq!(event.kind, "alert_firing");
    assert_eq!(
        (&*event.title, &*event.text),
        ("Disk full \u{fffd}", "now \u{fffd}!")
    );
    assert_eq!(event.identifiers[0].value, "pay");
    assert_eq!(event.attributes["state"], "1e999");
    assert_eq!(event.attributes["metadata.size"], "😀");
    assert_eq!(event.raw_body, body);
}

/// Only what config can route by is an identifier, and only as a string; nothing else picks a tenant.
#[test]
fn a_generic_body_names_what_routes_it_and_nothing_else() {
    let body = r#"{"title":"Down","org_id":"globex","team":"web","dedupe_key":"k","identifiers":{
        "service":"pay","github_repo":["a/b"],"slack_channel_id":7,"org_id":"globex","gitlab_project":"a/b"}}"#;
    let event = match deliver("generic", None, &HeaderMap::new(), &Bytes::from(body)) {
        Ok(Normalized::Event(event)) => event,
        other => panic!("{other:?}"),
    };
    let known: Vec<_> = event
        .identifiers
        .iter()
        .map(|known| known.r#type.as_str())
        .collect();
    assert_eq!(known, ["gitlab_project", "service"]);
}

#[test]
fn a_batch_has_a_key_for_each_of_its_events_and_an_end() {
    let read = |count: usize| {
        let long = "x".repeat(300);
        let event = |number| format!(r#"{{"id":"{number}","source":"{long}","type":"t"}}"#);
        let body = (0..count).map(event).collect::<Vec<_>>().join(",");
        let headers = headers([("content-type", "application/cloudevents-batch+json")]);
        deliver(
            "cloudevents",
            None,
            &headers,
            &Bytes::from(format!("[{body}]")),
        )
    };
    let Ok(Normalized::Events(events)) = read(1000) else {
        panic!("a batch");
    };
    let keys: BTreeSet<_> = events
        .iter()
        .map(|event| event.delivery_key.as_str())
        .collect();
    assert_eq!(keys.len(), 1000);
    let bytes: usize = events.iter().map(|event| event.raw_body.len()).sum();
    assert!(bytes < 400 * 1000, "each keeps its own part: {bytes}");
    assert_eq!(read(1001).expect_err("too many").code(), "batch_too_large");
}

#[test]
fn one_slack_message_under_two_event_ids_is_one_thing() {
    let event = |id: &str, kind: &str, more: &str| {
        let body = format!(
            r#"{{"type":"event_callback","team_id":"T1","event_id":"{id}","event":{{"type":"{kind}","channel":"C1","ts":"1.000100","text":"<@U1> why?"{more}}}}}"#
        );
        match deliver(
            "slack",
            Some("events"),
            &HeaderMap::new(),
            &Bytes::from(body),
        ) {
            Ok(Normalized::Event(event)) => event,
            other => panic!("{other:?}"),
        }
    };
    let mention = event("Ev1", "app_mention", "");
    let message = event("Ev2", "message", "");
    assert_eq!(mention.semantic_key, "slack:shared:T1:C1:1.000100");
    assert_eq!(mention.semantic_key, message.semantic_key);
    assert_ne!(mention.delivery_key, message.delivery_key);
    assert_eq!(
        mention.attributes.get("mentions").map(String::as_str),
        Some("U1")
    );
    let changed = event("Ev3", "message", r#","subtype":"message_changed""#);
    assert_eq!(changed.semantic_key, "slack:shared:Ev3");
}

#[test]
fn ids_and_texts_are_bounded_and_credentials_dropped() {
    let long = "x".repeat(100_000);
    let body = format!(
        r#"{{"event":{{"id":"{long}","event_type":"incident.triggered","data":{{"type":"incident","id":"{long}","title":"{long}","incident_key":"{long}"}}}}}}"#
    );
    let headers = headers([
        ("authorization", "Bearer secret"),
        ("cookie", "session=secret"),
        ("x-webhook-id", "w-1"),
    ]);
    let Ok(Normalized::Event(event)) = deliver("pagerduty", None, &headers, &Bytes::from(body))
    else {
        panic!("an event");
    };
    assert_eq!(
        (event.delivery_id.as_str(), event.identifiers.len()),
        ("", 0)
    );
    assert!(event.delivery_key.starts_with("pagerduty:shared:sha256:"));
    assert_eq!(
        (event.title.len(), event.attributes["incident_key"].len()),
        (300, 512)
    );
    let kept: Vec<_> = event
        .headers
        .iter()
        .map(|header| header.name.as_str())
        .collect();
    assert_eq!(kept, ["x-webhook-id"]);
}

proptest! {
    /// A sender that is broken in any way gets an event or an error, never a panic.
    #[test]
    fn damaged_fixtures_never_panic(
        index in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let entries = entries();
        let entry = index.get(&entries);
        let mut body = entry.body();
        let at = at.index(body.len());
        if cut {
            body.truncate(at);
        } else {
            body[at] = byte;
        }
        let body = Bytes::from(body);
        if let Ok(Normalized::Event(event)) = entry.deliver(&body) {
            prop_assert!(crate::publish::subject(&event).is_ok());
            prop_assert!(event.title.chars().count() <= 300);
            prop_assert_eq!(event.raw_body, body);
        }
    }

    #[test]
    fn any_text_is_an_event_or_an_error(body in ".{0,200}", provider in any::<prop::sample::Index>()) {
        let provider = provider.get(provider::ALL);
        let graphic = body.split(|c: char| !c.is_ascii_graphic()).next().unwrap_or("");
        let headers = headers([("x-github-event", graphic), ("sentry-hook-resource", graphic)]);
        for wrapped in [body.clone(), format!("payload={body}"), format!("{{\"event\":{{\"text\":{body:?}}}}}")] {
            for endpoint in provider.endpoints {
                let _either = deliver(provider.name, Some(endpoint.path), &headers, &Bytes::from(wrapped.clone()));
            }
        }
    }
}

/// What is skipped costs no stack, and what is read is no type that holds itself.
#[test]
fn deep_bodies_are_read_on_a_small_stack() {
    let names: BTreeSet<String> = entries().iter().flat_map(keys).collect();
    let nested = |name: &str| format!("{}1{}", format!("{{{name:?}:").repeat(120), "}".repeat(120));
    // Also below incident.io's type, and lists, of which ten thousand fit into a small body.
    let wrapped = |name: &str| format!(r#"{{"event_type":"x","x":{}}}"#, nested(name));
    let lists = |name: &str| {
        let (open, close) = ("[".repeat(10_000), "]".repeat(10_000));
        format!("{{{name:?}:{open}{close}}}")
    };
    let bodies: Vec<_> = names
        .iter()
        .flat_map(|name| [nested(name), wrapped(name), lists(name)])
        .map(Bytes::from)
        .collect();
    let reading = std::thread::Builder::new()
        .stack_size(256 * 1024)
        .spawn(move || {
            let headers = HeaderMap::new();
            for provider in provider::ALL {
                for (endpoint, body) in provider
                    .endpoints
                    .iter()
                    .flat_map(|endpoint| bodies.iter().map(move |body| (endpoint, body)))
                {
                    let _either = deliver(provider.name, Some(endpoint.path), &headers, body);
                }
            }
        });
    reading.expect("a thread").join().expect("no overflow");
}

/// Names of the fields at the top of a fixture, and one below.
fn keys(entry: &Entry) -> Vec<String> {
    let body = std::fs::read(folder().join(&entry.file)).expect("body");
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let top = body.as_object().into_iter().flatten();
    let below = top
        .clone()
        .flat_map(|(_, value)| value.as_object().into_iter().flatten());
    top.chain(below).map(|(name, _)| name.clone()).collect()
}
