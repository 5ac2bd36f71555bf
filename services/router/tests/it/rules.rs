//! A team's rules, from its settings on the bus to the decision, and tried out over a stored event.

use std::sync::Arc;

use serde_json::{Value, json};
use tocsin_bus::{Answer, AskError};
use tocsin_wire::Service;
use tocsin_wire::event_form::EventForm;
use tocsin_wire::proto::{DecisionAction, Event, Severity};

use crate::stage::{PAY, Stage, UNROUTED, incident, last_code};

fn rules() -> Value {
    json!([
        {"name": "broken", "when": "title|int > 3", "then": "ignore"},
        {"name": "quiet", "when": "severity == 'low'", "then": "ignore"},
        {"name": "resolved", "when": "kind == 'incident_resolved'", "then": {"agent": "closer"}},
    ])
}

async fn stage() -> Arc<Stage> {
    let stage = Stage::with_team().await;
    let config = json!({"notifications": {"default_slack_channel_id": "CTEAM"}, "rules": rules()});
    stage.put_team("acme", "pay", config).await;
    stage
}

fn quiet(number: usize) -> Event {
    let mut event = incident(number, "P1");
    event.set_severity(Severity::Low);
    event.correlation_key = format!("pagerduty:shared:{number}");
    event
}

#[tokio::test]
async fn rules_decide_and_change_with_the_settings() {
    let stage = stage().await;
    let router = stage.router().await;
    let ignored = stage.decision(PAY, stage.publish(&quiet(1)).await).await;
    assert_eq!(ignored.action(), DecisionAction::Ignore);
    let codes: Vec<&str> = ignored
        .reasons
        .iter()
        .map(|one| one.code.as_str())
        .collect();
    assert_eq!(codes, ["matched_identifier", "rule_failed", "rule_ignored"]);
    assert!(
        ignored.reasons[2].detail.contains("\"quiet\""),
        "{ignored:?}"
    );

    let mut resolved = incident(2, "P1");
    "incident_resolved".clone_into(&mut resolved.kind);
    let started = stage.decision(PAY, stage.publish(&resolved).await).await;
    assert_eq!(
        (started.action(), last_code(&started)),
        (DecisionAction::Run, "rule_matched")
    );
    let agents: Vec<String> = stage
        .work(PAY)
        .await
        .into_iter()
        .map(|run| run.agent)
        .collect();
    assert_eq!(agents, ["closer"]);

    let question = json!({
        "provider": "pagerduty", "kind": "incident_triggered", "severity": "low",
        "identifiers": {"pagerduty_service_id": "P1"},
    });
    stage.put_team("acme", "pay", json!({})).await;
    stage.explained(question, "action", json!("run")).await;
    let after = stage.decision(PAY, stage.publish(&quiet(3)).await).await;
    assert_eq!(after.action(), DecisionAction::Run);
    assert!(stage.work(UNROUTED).await.is_empty());
    router.stop().await;
}

/// Stands in for audit, which has its own tests: it knows one event.
#[expect(clippy::disallowed_methods, reason = "ends with the test")]
async fn record(stage: &Stage, id: &'static str, event: &Event) {
    let audit = stage.test.connect(Service::Audit).await.expect("audit");
    let form = serde_json::to_value(EventForm::from(event)).expect("JSON");
    tokio::spawn(async move {
        let answer = move |question: Value| {
            let known =
                (question["event_id"] == id).then(|| json!({"event_id": id, "event": form}));
            std::future::ready(known.ok_or(Answer {
                code: 404,
                detail: "no such event is recorded".to_owned(),
            }))
        };
        audit.serve("event", std::future::pending(), answer).await
    });
}

#[tokio::test]
async fn rules_are_tried_out_over_a_stored_event() {
    let stage = stage().await;
    let router = stage.router().await;
    // Its source says whose it is, which nothing in the event does.
    let event = Event {
        identifiers: Vec::new(),
        org: "acme".to_owned(),
        default_team: "pay".to_owned(),
        ..quiet(1)
    };
    record(&stage, "e1", &event).await;
    let known = stage
        .explained(json!({"event_id": "e1"}), "rule", json!("quiet"))
        .await;
    assert_eq!(
        (&known["action"], &known["rules_of"]),
        (&json!("ignore"), &json!("acme/pay"))
    );
    let expected = json!([
        {"name": "broken", "when": "title|int > 3", "then": "ignore", "enabled": true,
         "values": {"title": "incident 1"}, "result": null,
         "error": "the text \"incident 1\" is no number", "decides": false},
        {"name": "quiet", "when": "severity == 'low'", "then": "ignore", "enabled": true,
         "values": {"severity": "low"}, "result": true, "error": null, "decides": true},
        {"name": "resolved", "when": "kind == 'incident_resolved'", "then": {"agent": "closer"}, "enabled": true,
         "values": {"kind": "incident_triggered"}, "result": false, "error": null, "decides": false},
    ]);
    assert_eq!(known["rules"], expected);

    let ask = async |question| stage.eye.ask(Service::Router, "explain", &question).await;
    let proposed = json!([{"name": "n", "when": "severity == 'low'", "then": "join"}]);
    let tried = ask(json!({"event_id": "e1", "rules": proposed}))
        .await
        .expect("answered");
    assert_eq!(
        (
            &tried["rule"],
            &tried["rules_of"],
            &tried["run"]["joins_open_run"]
        ),
        (&json!("n"), &json!("proposed"), &json!(true))
    );
    let elsewhere = ask(json!({"event_id": "e1", "team": "acme/other"}))
        .await
        .expect("answered");
    assert_eq!(
        (&elsewhere["rule"], &elsewhere["rules"]),
        (&json!(null), &json!([]))
    );

    for (question, code) in [
        (json!({"event_id": "e2"}), 404),
        (json!({"event_id": "e1", "kind": "x"}), 400),
        (json!({"event_id": "e1", "team": "acme"}), 400),
        (
            json!({"event_id": "e1", "rules": vec![json!({}); 101]}),
            400,
        ),
        (json!({"rules": []}), 400),
    ] {
        let refused = ask(question.clone()).await;
        assert!(
            matches!(refused, Err(AskError::Refused { code: found, .. }) if found == code),
            "{question}: {refused:?}"
        );
    }
    assert!(stage.work(PAY).await.is_empty());
    router.stop().await;
}
