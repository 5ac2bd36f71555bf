use serde_json::json;
use tocsin_wire::ids::{EventId, MessageId, RunId};
use tocsin_wire::proto::journal_entry::{Entry, Finished, ToolFinished};
use tocsin_wire::proto::{
    ConfigChanged, DeadLetter, Decision, DecisionAction, Event, Journal, JournalEntry, Reason,
    RunOutcome, RunPost, RunResult, RunStarted, Severity, Signal, SignalKind,
};
use tocsin_wire::{OrgId, Service, TeamId};

use super::*;

fn delivery(envelope: Envelope) -> Delivery {
    let raw = Raw::new(
        "events.slack.shared.message.C1",
        [
            ("Tocsin-Signature", "v1;k=abc;s=AA=="),
            ("ce-id", &envelope.id),
        ],
        Bytes::from_static(b"payload"),
    );
    Delivery {
        subject: raw.subject.parse().expect("subject"),
        envelope,
        signer: Service::Ingress,
        sequence: 7,
        attempt: 1,
        stored_at: "2026-01-02T03:04:05.123456789Z".parse().expect("a time"),
        trace: None,
        payload_sha256: [7; 32],
        raw,
    }
}

fn envelope(body: Body) -> Envelope {
    let event = EventId::derive("slack:shared:Ev1");
    let at = "2026-01-02T03:04:05Z".parse().expect("a time");
    Envelope::new(event.into(), Service::Ingress, at, event, None, body)
}

#[test]
fn a_row_has_the_brokers_microseconds_and_who_signed_with_what() {
    let (org, team) = (
        OrgId::new("acme").expect("token"),
        TeamId::new("pay").expect("token"),
    );
    let run = RunId::derive("key", "acme", "pay");
    let decision = Decision {
        run_id: run.to_string(),
        ..Decision::default()
    };
    let row = record(
        "RESULTS",
        delivery(envelope(Body::Decision(decision)).owned_by(&org, &team)),
    );
    assert_eq!(row.stored_at.to_string(), "2026-01-02T03:04:05.123456Z");
    assert_eq!((row.signer, row.key_id.as_str()), ("ingress", "abc"));
    assert_eq!(
        (row.org.as_deref(), row.team.as_deref()),
        (Some("acme"), Some("pay"))
    );
    assert_eq!(row.run_id, Some(run.as_uuid()));
    assert_eq!(row.payload_sha256, [7; 32]);

    let nobody = envelope(Body::Decision(Decision::default()))
        .owned_by(&OrgId::unrouted(), &TeamId::unrouted());
    let row = record("RESULTS", delivery(nobody));
    assert_eq!((row.org, row.team, row.run_id), (None, None, None));
}

#[test]
fn ids_that_are_none_do_not_stop_the_record() {
    let mut odd = envelope(Body::from(Event {
        delivery_id: "x".repeat(5_000),
        ..Event::default()
    }));
    odd.id = "not a uuid".to_owned();
    odd.correlation_id = String::new();
    let row = record("EVENTS", delivery(odd));
    assert_eq!(
        (row.message_id, row.correlation_id),
        (Uuid::nil(), Uuid::nil())
    );
    // An index entry has a longest length.
    assert_eq!(
        row.delivery_id.map(|id| id.chars().count()),
        Some(MAX_INDEXED_CHARACTERS)
    );
}

#[test]
fn events_and_decisions_keep_the_facts_that_outlive_their_body() {
    let event = Event {
        provider: "slack".to_owned(),
        kind: "app_mention".to_owned(),
        title: "a\0b".to_owned(),
        text: "not kept".to_owned(),
        severity: Severity::High.into(),
        ..Event::default()
    };
    let expected =
        json!({ "provider": "slack", "kind": "app_mention", "title": "ab", "severity": "high" });
    assert_eq!(summary::summary(&Body::from(event)), expected);
    let reason = Reason {
        code: "no_identifier_matched".to_owned(),
        detail: "d".to_owned(),
    };
    let decision = Decision {
        action: DecisionAction::NoRoute.into(),
        reasons: vec![reason],
        ..Decision::default()
    };
    let expected = json!({ "action": "no_route", "reasons": [{ "code": "no_identifier_matched", "detail": "d" }] });
    assert_eq!(summary::summary(&Body::Decision(decision)), expected);
    let dead = DeadLetter {
        stream: "WORK".to_owned(),
        code: "rejected".to_owned(),
        payload: vec![1].into(),
        ..DeadLetter::default()
    };
    assert_eq!(
        summary::summary(&Body::DeadLetter(dead)),
        json!({ "stream": "WORK", "code": "rejected" })
    );
}

#[test]
fn a_journal_keeps_what_each_step_was() {
    let entry = |number, entry| JournalEntry {
        number,
        at: None,
        worker: "w".to_owned(),
        entry: Some(entry),
    };
    let tool = ToolFinished {
        tool: "get".to_owned(),
        failed: true,
        output: "not kept".to_owned(),
        ..ToolFinished::default()
    };
    let finished = Finished {
        outcome: RunOutcome::TimedOut.into(),
        ..Finished::default()
    };
    let journal = Journal {
        run_id: String::new(),
        entries: vec![
            entry(1, Entry::ToolFinished(tool)),
            entry(2, Entry::Finished(finished)),
        ],
    };
    let expected = json!({ "entries": [
        { "number": 1, "worker": "w", "what": "tool_failed", "tool": "get" },
        { "number": 2, "worker": "w", "what": "finished", "outcome": "timed_out" },
    ] });
    assert_eq!(summary::summary(&Body::Journal(journal)), expected);
}

#[test]
fn results_signals_and_changes_keep_their_facts() {
    let started = RunStarted {
        waited_millis: 3,
        ..RunStarted::default()
    };
    let post = RunPost {
        phase: "final".to_owned(),
        ..RunPost::default()
    };
    let result = RunResult {
        outcome: RunOutcome::Partial.into(),
        ..RunResult::default()
    };
    let signal = Signal {
        kind: SignalKind::Approve.into(),
        ..Signal::default()
    };
    let change = ConfigChanged {
        version: 2,
        ..ConfigChanged::default()
    };
    for (body, expected) in [
        (Body::RunStarted(started), json!({ "waited_ms": 3 })),
        (Body::RunPost(post), json!({ "phase": "final" })),
        (Body::RunResult(result), json!({ "outcome": "partial" })),
        (Body::Signal(signal), json!({ "signal": "approve" })),
        (Body::ConfigChanged(change), json!({ "version": 2 })),
    ] {
        assert_eq!(summary::summary(&body), expected);
    }
}

#[test]
fn texts_are_cut_to_what_can_be_stored() {
    for (text, limit, expected) in [
        ("plain", 10, "plain"),
        ("", 3, ""),
        ("a\0\0b", 10, "ab"),
        ("äöüß", 4, "äöüß"),
        ("äöüß!", 4, "äöü…"),
        ("abc", 0, "…"),
    ] {
        assert_eq!(storable(text, limit), expected, "{text:?} {limit}");
    }
}

#[test]
fn a_bare_row_holds_nothing_that_could_be_refused() {
    let id = MessageId::decision(EventId::derive("x"));
    let mut row = record("EVENTS", delivery(envelope(Body::from(Event::default()))));
    row.subject = "events.ä\0.b".to_owned();
    row.message_id = id.as_uuid();
    let bare = row.bare();
    assert_eq!(
        (bare.subject.as_str(), bare.message_id),
        ("events..b", row.message_id)
    );
    assert_eq!(
        (bare.payload, bare.payload_sha256),
        (row.payload, row.payload_sha256)
    );
}
