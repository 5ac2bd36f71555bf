//! Silences from a team's config to the decision: by range, and by cron in a time zone.

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use serde_json::{Value, json};
use tocsin_wire::proto::{DecisionAction, Event, Severity};
use tocsin_wire::time;

use crate::stage::{PAY, Stage, incident, last_code, said};

async fn with_silences(silences: Value) -> std::sync::Arc<Stage> {
    let stage = Stage::with_team().await;
    let config = json!({
        "auto_investigate": {"channel_ids": ["C1"]},
        "silences": silences,
    });
    stage.put_team("acme", "pay", config).await;
    stage
}

fn received(number: usize, at: &str) -> Event {
    let at: Timestamp = at.parse().expect("time");
    Event {
        received_at: Some(time::to_proto(at)),
        ..incident(number, "P1")
    }
}

#[tokio::test]
async fn a_maintenance_window_holds_by_the_clock_of_its_time_zone() {
    let stage = with_silences(json!([
        {"name": "patching", "cron": "0 2 * * *", "duration": "90m", "time_zone": "Europe/Berlin",
         "reason": "the database is patched"},
    ]))
    .await;
    let router = stage.router().await;
    // Two o'clock in Berlin is 01:00 in winter and 00:00 in summer; the window is judged by when the
    // event was received, however late it is decided on.
    for (number, (at, is_silenced)) in [
        ("2026-01-21T00:59:59Z", false),
        ("2026-01-21T01:00:00Z", true),
        ("2026-01-21T02:29:59Z", true),
        ("2026-01-21T02:30:00Z", false),
        ("2026-07-21T00:00:00Z", true),
        ("2026-07-21T01:30:00Z", false),
    ]
    .into_iter()
    .enumerate()
    {
        let id = stage.publish(&received(number, at)).await;
        let decision = stage.decision(PAY, id).await;
        let told = (decision.action(), last_code(&decision) == "silenced");
        let expected = if is_silenced {
            (DecisionAction::Ignore, true)
        } else {
            (DecisionAction::Run, false)
        };
        assert_eq!(told, expected, "{at}");
        if is_silenced {
            let why = &decision.reasons.last().expect("one").detail;
            assert!(why.contains("the database is patched"), "{why}");
        }
    }
    assert_eq!(stage.work(PAY).await.len(), 3);
    router.stop().await;
}

#[tokio::test]
async fn a_silence_holds_for_what_matches_until_it_ends_and_never_for_people() {
    let now = tocsin_testkit::bus::clock()();
    let tomorrow = now.to_zoned(TimeZone::UTC) + 1.day();
    let until = tomorrow.timestamp().to_string();
    let stage = with_silences(json!([
        {"name": "low", "until": until, "match": {"severity": "low"}},
    ]))
    .await;
    let router = stage.router().await;
    let at = now.to_string();
    let of = |number, severity: Severity| Event {
        severity: severity.into(),
        ..received(number, &at)
    };
    for (number, severity, expected) in [
        (1, Severity::Low, DecisionAction::Ignore),
        (2, Severity::High, DecisionAction::Run),
    ] {
        let id = stage.publish(&of(number, severity)).await;
        assert_eq!(stage.decision(PAY, id).await.action(), expected, "{number}");
    }
    let person = Event {
        severity: Severity::Low.into(),
        received_at: Some(time::to_proto(now)),
        ..said("app_mention", "C1", "1700000000.000100", "Ev1")
    };
    let id = stage.publish(&person).await;
    assert_eq!(stage.decision(PAY, id).await.action(), DecisionAction::Run);
    // The silence is lifted: the next alert counts again.
    stage.put_team("acme", "pay", json!({"silences": []})).await;
    let question = json!({
        "provider": "pagerduty", "kind": "incident_triggered", "severity": "low",
        "identifiers": {"pagerduty_service_id": "P1"},
    });
    stage.explained(question, "action", json!("run")).await;
    let id = stage.publish(&of(3, Severity::Low)).await;
    assert_eq!(stage.decision(PAY, id).await.action(), DecisionAction::Run);
    router.stop().await;
}
