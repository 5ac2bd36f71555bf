use serde_json::{Value, json};

use super::*;

fn whole() -> Value {
    json!({
        "provider": "pagerduty", "source": "src-1", "org": "acme", "default_team": "pay", "kind": "incident_triggered", "action": "triggered",
        "native_type": "incident.triggered", "title": "Checkout", "text": "It is slow.", "severity": "high",
        "severity_native": "P1", "status": "firing", "url": "https://example.com/1",
        "actor": {"kind": "bot", "id": "B1", "name": "grafana"},
        "conversation": {"workspace": "T1", "channel": "C1", "thread": "1.1", "message": "1.2"},
        "identifiers": {"pagerduty_service_id": "P1", "service": ["Checkout", "Pay"], "x": ["1", "2", "3"]},
        "correlation_key": "k", "occurred_at": "2026-01-31T12:00:00Z",
        "received_at": "2026-01-31T12:00:01Z", "attributes": {"urgency": "high"},
    })
}

fn form(value: &Value) -> EventForm {
    serde_json::from_value(value.clone()).expect("a form")
}

#[test]
fn a_form_becomes_an_event_and_a_form_again() {
    for value in [whole(), json!({}), json!({"actor": {"kind": "user"}})] {
        let event = Event::try_from(form(&value)).expect("an event");
        let back = serde_json::to_value(EventForm::from(&event)).expect("JSON");
        assert_eq!(back, value);
    }
    let speaker = form(&json!({"actor": {"id": "U1"}}));
    let event = Event::try_from(speaker).expect("an event");
    assert_eq!(event.actor.map(|actor| actor.kind()), Some(ActorKind::User));
}

#[test]
fn what_is_no_event_is_refused_with_what_may_be() {
    for (value, expected) in [
        (
            json!({"severity": "sev1"}),
            "severity \"sev1\" is none of info, low, medium, high, critical",
        ),
        (
            json!({"status": "x"}),
            "status \"x\" is none of info, firing, acknowledged, resolved",
        ),
        (
            json!({"actor": {"kind": "cat"}}),
            "actor.kind \"cat\" is none of user, bot, app, system",
        ),
        (
            json!({"occurred_at": "noon"}),
            "occurred_at \"noon\" is no time such as 2026-01-31T12:00:00Z",
        ),
        (
            json!({"identifiers": {"service": vec!["x"; 101]}}),
            "101 identifiers; at most 100 are allowed",
        ),
    ] {
        let refused = Event::try_from(form(&value)).expect_err("refused");
        assert_eq!(refused.to_string(), expected);
    }
    assert!(serde_json::from_value::<EventForm>(json!({"colour": 1})).is_err());
}

#[test]
fn every_name_has_a_value_also_of_an_empty_event() {
    let whole = Event::try_from(form(&whole())).expect("an event");
    for event in [Event::default(), whole.clone()] {
        let values = values(&event);
        for name in names() {
            let pointer = format!("/{}", name.trim_end_matches(".*").replace('.', "/"));
            let found = values.pointer(&pointer);
            assert_eq!(
                found.is_some_and(Value::is_string),
                !name.ends_with(".*"),
                "{name}"
            );
            assert!(found.is_some(), "{name}");
        }
    }
    let values = values(&whole);
    assert_eq!(values["identifiers"]["service"], json!("checkout"));
    assert_eq!(
        values["all_identifiers"]["service"],
        json!(["checkout", "pay"])
    );
    assert_eq!(values["all_identifiers"]["x"], json!(["1", "2", "3"]));
    assert_eq!(values["attributes"], json!({"urgency": "high"}));
}

#[test]
fn a_long_text_is_cut_between_letters() {
    let event = Event {
        text: format!("x{}", "ä".repeat(MAX_RULE_TEXT_BYTES)),
        ..Event::default()
    };
    let text = values(&event)["text"].as_str().map(str::len);
    assert_eq!(text, Some(MAX_RULE_TEXT_BYTES - 1));
}
