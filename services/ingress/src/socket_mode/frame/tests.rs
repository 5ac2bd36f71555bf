use form_urlencoded as form;
use proptest::prelude::*;

use super::*;

fn envelope_of(text: &str) -> Envelope {
    match Frame::read(text).expect("JSON") {
        Frame::Envelope(envelope) => *envelope,
        other => panic!("{other:?}"),
    }
}

#[test]
fn frames_are_told_apart() {
    let hello = |app: &str, connections| Frame::Hello {
        app: app.to_owned(),
        connections,
    };
    let unknown = |kind: &str| Frame::Unknown {
        kind: kind.to_owned(),
    };
    for (text, expected) in [
        (
            r#"{"type":"hello","num_connections":2,"connection_info":{"app_id":"A1"},"debug_info":{}}"#,
            hello("A1", 2),
        ),
        (r#"{"type":"hello"}"#, hello("", 0)),
        (
            r#"{"type":"disconnect","reason":"warning","debug_info":{"host":"x"}}"#,
            Frame::Disconnect(Farewell::Refresh),
        ),
        (
            r#"{"type":"disconnect","reason":"refresh_requested"}"#,
            Frame::Disconnect(Farewell::Refresh),
        ),
        (
            r#"{"type":"disconnect","reason":"link_disabled"}"#,
            Frame::Disconnect(Farewell::Disabled),
        ),
        (
            r#"{"type":"disconnect","reason":"too_many_websockets"}"#,
            Frame::Disconnect(Farewell::TooMany),
        ),
        (
            r#"{"type":"disconnect"}"#,
            Frame::Disconnect(Farewell::Refresh),
        ),
        (
            r#"{"type":"workflow","envelope_id":"e"}"#,
            unknown("workflow"),
        ),
        (
            r#"{"type":"events_api","payload":{}}"#,
            unknown("events_api"),
        ),
        (r#"{"type":7,"envelope_id":{}}"#, unknown("7")),
        ("[]", unknown("")),
        ("null", unknown("")),
    ] {
        assert_eq!(Frame::read(text).expect("JSON"), expected, "{text}");
    }
    for broken in ["", "hello", r#"{"type":"hello""#] {
        assert!(Frame::read(broken).is_err(), "{broken}");
    }
}

#[test]
fn an_event_keeps_its_bytes_and_tells_of_retries() {
    // Escapes and spaces as they came: the hash of a body that has no id is taken over them.
    let payload = r#"{ "event_id":"Ev1", "text":"a\/b \u00fc" }"#;
    let first = envelope_of(&format!(
        r#"{{"envelope_id":"e1","type":"events_api","payload":{payload},"retry_attempt":0,"retry_reason":"","accepts_response_payload":false}}"#
    ));
    assert_eq!(first.kind.path(), "events");
    assert_eq!(first.body, payload.as_bytes());
    assert_eq!(first.headers.len(), 1);
    assert_eq!(first.headers[header::CONTENT_TYPE], "application/json");
    let again = envelope_of(&format!(
        r#"{{"envelope_id":"e2","type":"events_api","payload":{payload},"retry_attempt":2,"retry_reason":"timeout"}}"#
    ));
    assert_eq!(again.headers[RETRY_NUMBER], "2");
    assert_eq!(again.headers[RETRY_REASON], "timeout");
}

#[test]
fn an_interaction_and_a_command_become_the_forms_that_slack_posts() {
    let pressed = envelope_of(
        r#"{"envelope_id":"e","type":"interactive","payload":{"type":"block_actions","value":"a&b=c"}}"#,
    );
    assert_eq!(pressed.kind.path(), "interactions");
    let fields: Vec<_> = form::parse(&pressed.body).collect();
    let payload = r#"{"type":"block_actions","value":"a&b=c"}"#;
    assert_eq!(fields, [("payload".into(), payload.into())]);

    let asked = envelope_of(
        r#"{"envelope_id":"e","type":"slash_commands","payload":{"command":"/ask","text":"why & how","ok":true,"none":null}}"#,
    );
    assert_eq!(asked.kind.path(), "commands");
    assert_eq!(asked.body, "command=%2Fask&ok=true&text=why+%26+how");
    for odd in ["[]", "null", "7"] {
        let odd = format!(r#"{{"envelope_id":"e","type":"slash_commands","payload":{odd}}}"#);
        assert_eq!(envelope_of(&odd).body, "", "{odd}");
    }
}

#[test]
fn an_answer_names_its_envelope_and_says_no_more_than_slack_takes() {
    let envelope = |accepts: bool| {
        envelope_of(&format!(
            r#"{{"envelope_id":"e-\"1","type":"interactive","payload":{{}},"accepts_response_payload":{accepts}}}"#
        ))
    };
    let plain = r#"{"envelope_id":"e-\"1"}"#;
    for answer in [Answer::Ok, Answer::Empty, Answer::Challenge("x".to_owned())] {
        assert_eq!(envelope(true).answer(&answer), plain, "{answer:?}");
    }
    assert_eq!(envelope(false).answer(&Answer::NoOptions), plain);
    let with_options = r#"{"envelope_id":"e-\"1","payload":{"options":[]}}"#;
    assert_eq!(envelope(true).answer(&Answer::NoOptions), with_options);
}

proptest! {
    #[test]
    fn no_frame_is_too_odd(text in ".{0,200}") {
        let _ = Frame::read(&text);
    }

    #[test]
    fn a_payload_comes_out_of_its_form_as_it_went_in(value in "\\PC{0,100}", id in "[a-f0-9-]{1,40}") {
        let payload = json!({"type": "shortcut", "value": value}).to_string();
        let frame = format!(r#"{{"type":"interactive","envelope_id":"{id}","payload":{payload}}}"#);
        let envelope = envelope_of(&frame);
        let fields: Vec<_> = form::parse(&envelope.body).collect();
        prop_assert_eq!(fields, [("payload".into(), payload.as_str().into())]);
        let answer: Value = serde_json::from_str(&envelope.answer(&Answer::Empty)).expect("JSON");
        prop_assert_eq!(answer, json!({"envelope_id": id}));
    }
}
