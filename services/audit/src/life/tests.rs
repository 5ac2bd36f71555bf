use serde_json::json;
use tocsin_wire::proto::journal_entry::{ModelRequested, ToolStarted};
use tocsin_wire::proto::{Journal, JournalEntry, journal_entry::Entry};
use tocsin_wire::time;

use super::*;

fn row(stream: &str, kind: &str, sequence: i64, at: &str, summary: Value) -> Recorded {
    Recorded {
        stored_at: at.parse().expect("a time"),
        stream: stream.to_owned(),
        sequence,
        message_id: Uuid::from_u128(u128::from(sequence.unsigned_abs()) + 100),
        kind: kind.to_owned(),
        signer: "someone".to_owned(),
        key_id: "k".to_owned(),
        correlation_id: EVENT,
        org: None,
        team: None,
        run_id: None,
        payload_sha256: vec![0xab, 0x01],
        summary,
        body: None,
    }
}

const EVENT: Uuid = Uuid::from_u128(1);
const RUN: Uuid = Uuid::from_u128(2);

fn whats(life: &Life) -> Vec<&str> {
    life.hops.iter().map(|hop| hop.what.as_str()).collect()
}

#[test]
fn distances_are_measured_in_microseconds() {
    let event = row(
        "EVENTS",
        "tocsin.slack.message.v1",
        1,
        "2026-01-01T00:00:00.000412Z",
        json!({ "received_at": "2026-01-01T00:00:00Z" }),
    );
    let decided = row(
        "RESULTS",
        kind::DECISION,
        2,
        "2026-01-01T00:00:01.500412Z",
        json!({ "action": "ignore" }),
    );
    let life = life(EVENT, vec![decided, event]);
    assert_eq!(whats(&life), ["received", "stored", "decided"]);
    let distances: Vec<(f64, f64)> = life
        .hops
        .iter()
        .map(|hop| (hop.since_previous_ms, hop.since_start_ms))
        .collect();
    assert_eq!(
        distances,
        [(0.0, 0.0), (0.412, 0.412), (1_500.0, 1_500.412)]
    );
    assert_eq!((life.total_ms, life.run.is_none()), (1_500.412, true));
    assert_eq!(life.event.expect("event")["payload_sha256"], "ab01");
}

#[test]
fn a_body_in_the_object_store_is_told_with_its_size() {
    let stored = StoredBody::of(&[b' '; 600]);
    let mut event = row(
        "EVENTS",
        "tocsin.github.push.v1",
        1,
        "2026-01-01T00:00:00Z",
        json!({}),
    );
    for (stored_body, bytes, object) in [
        (None, 4, None),
        (Some(stored.clone()), 600, Some(stored.object.as_str())),
    ] {
        let raw_body = if bytes == 4 {
            "body".into()
        } else {
            Default::default()
        };
        event.body = Some(Body::from(tocsin_wire::proto::Event {
            raw_body,
            stored_body,
            ..Default::default()
        }));
        let page = life(EVENT, vec![event.clone()]).event.expect("event");
        assert_eq!(page["raw_bytes"], bytes);
        let told = page.pointer("/stored_body/object").and_then(Value::as_str);
        assert_eq!(told, object);
    }
}

#[test]
fn a_second_delivery_of_the_same_message_is_no_second_decision() {
    let event = row(
        "EVENTS",
        "tocsin.slack.message.v1",
        1,
        "2026-01-01T00:00:00Z",
        json!({}),
    );
    let mut again = event.clone();
    (again.sequence, again.stored_at) = (9, "2026-01-01T01:00:00Z".parse().expect("a time"));
    let decided = row(
        "RESULTS",
        kind::DECISION,
        2,
        "2026-01-01T00:00:01Z",
        json!({ "action": "ignore" }),
    );
    let mut decided_again = decided.clone();
    (decided_again.sequence, decided_again.stored_at) =
        (3, "2026-01-01T01:00:01Z".parse().expect("a time"));
    let life = life(EVENT, vec![again, decided_again, decided, event]);
    assert_eq!(whats(&life), ["stored", "decided", "stored again"]);
    assert_eq!(
        life.decision.expect("decided")["at"],
        "2026-01-01T00:00:01Z"
    );
}

#[test]
fn no_step_of_a_run_is_shown_before_the_one_that_it_follows() {
    let entry = |number, worker: &str, at: &str, entry| JournalEntry {
        number,
        at: Some(time::to_proto(at.parse().expect("a time"))),
        worker: worker.to_owned(),
        entry: Some(entry),
    };
    let asked = Entry::ModelRequested(ModelRequested::default());
    let tool = Entry::ToolStarted(ToolStarted::default());
    let mut rows: Vec<Recorded> = [
        // The second worker's clock is a second behind.
        (4, entry(2, "worker-2", "2026-01-01T00:00:04Z", tool)),
        (3, entry(1, "worker-1", "2026-01-01T00:00:05Z", asked)),
    ]
    .map(|(sequence, entry)| {
        let mut row = row(
            "JOURNAL",
            kind::JOURNAL,
            sequence,
            "2026-01-01T00:00:06Z",
            json!({}),
        );
        row.run_id = Some(RUN);
        row.body = Some(Body::Journal(Journal {
            run_id: RUN.to_string(),
            entries: vec![entry],
        }));
        row
    })
    .into();
    // Told by the journal already.
    let mut started = row(
        "RESULTS",
        kind::RUN_STARTED,
        5,
        "2026-01-01T00:00:05Z",
        json!({ "waited_ms": 8 }),
    );
    started.run_id = Some(RUN);
    rows.push(started);
    let life = life(EVENT, rows);
    assert_eq!(whats(&life), ["model asked", "tool started"]);
    let run = life.run.expect("a run");
    assert_eq!((run.steps, run.waited_ms, run.outcome), (2, Some(8), None));
    assert_eq!(run.workers, ["worker-1", "worker-2"]);
}

#[test]
fn what_other_events_brought_belongs_to_the_run_and_dead_letters_to_the_event() {
    let mut repeat = row(
        "RESULTS",
        kind::DECISION,
        2,
        "2026-01-01T00:00:02Z",
        json!({ "action": "duplicate" }),
    );
    (repeat.correlation_id, repeat.run_id) = (Uuid::from_u128(3), Some(RUN));
    let mut signal = row(
        "SIGNALS",
        kind::SIGNAL,
        3,
        "2026-01-01T00:00:03Z",
        json!({ "signal": "cancel", "actor": "rosa" }),
    );
    signal.run_id = Some(RUN);
    let dead = row(
        "DEAD",
        kind::DEAD_LETTER,
        4,
        "2026-01-01T00:00:04Z",
        json!({ "stream": "WORK", "consumer": "w", "code": "rejected" }),
    );
    assert_eq!(
        runs_of(&[repeat.clone()]),
        Vec::<Uuid>::new(),
        "a repeat starts no run"
    );
    assert_eq!(runs_of(&[signal.clone()]), [RUN]);
    let life = life(EVENT, vec![repeat, signal, dead]);
    let told: Vec<(&str, &str)> = life
        .hops
        .iter()
        .map(|hop| (hop.what.as_str(), hop.who.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("repeat folded in", "someone"),
            ("signal", "rosa"),
            ("dead letter", "WORK/w")
        ]
    );
    assert_eq!((life.decision, life.dead_letters.len()), (None, 1));
}

#[test]
fn a_long_life_fits_into_one_answer() {
    let rows = (0..2_000).map(|number| {
        let long = "x".repeat(5_000);
        row(
            "SIGNALS",
            kind::SIGNAL,
            number,
            "2026-01-01T00:00:00Z",
            json!({ "text": long }),
        )
    });
    let mut rows: Vec<Recorded> = rows.collect();
    rows.push(row(
        "DEAD",
        kind::DEAD_LETTER,
        5_000,
        "2026-01-02T00:00:00Z",
        json!({}),
    ));
    let life = life(EVENT, rows);
    assert_eq!(whats(&life).last(), Some(&"dead letter"), "the end is told");
    assert_eq!((life.hops.len(), life.hops_left_out), (MAX_HOPS, 1_401));
    let answer = serde_json::to_vec(&life).expect("encodes");
    assert!(answer.len() < 500_000, "{} bytes", answer.len());
}

const AGAIN: Uuid = Uuid::from_u128(3);
const REPEAT: Uuid = Uuid::from_u128(4);

/// An event whose run has begun, one that told of the same, and a replay that has come to its end.
fn replayed_life() -> Vec<Recorded> {
    let at = |second: u32| format!("2026-01-01T00:00:{second:02}Z");
    let reasons = json!([{ "code": "duplicate_event", "detail": "told before" }]);
    let cause =
        json!({ "request_id": "r", "requested_by": "ann", "reason": "why", "target": "sandbox" });
    let comparison = json!({ "same_root_cause": true, "likeness_percent": 80 });
    let rows = [
        ("EVENTS", "tocsin.slack.message.v1", EVENT, None, json!({})),
        (
            "RESULTS",
            kind::DECISION,
            EVENT,
            Some(RUN),
            json!({ "action": "run" }),
        ),
        (
            "RESULTS",
            kind::RUN_STARTED,
            EVENT,
            Some(RUN),
            json!({ "worker": "w" }),
        ),
        (
            "RESULTS",
            kind::DECISION,
            REPEAT,
            Some(RUN),
            json!({ "action": "duplicate", "reasons": reasons }),
        ),
        (
            "RESULTS",
            kind::DECISION,
            EVENT,
            Some(AGAIN),
            json!({ "action": "run", "replay": cause }),
        ),
        (
            "RESULTS",
            kind::RUN_STARTED,
            EVENT,
            Some(AGAIN),
            json!({ "worker": "w" }),
        ),
        (
            "RESULTS",
            kind::RUN_RESULT,
            EVENT,
            Some(AGAIN),
            json!({ "outcome": "completed", "root_cause": "pool", "comparison": comparison }),
        ),
    ];
    rows.into_iter()
        .zip(1..)
        .map(|((stream, kind, event, run, summary), sequence)| {
            let second = u32::try_from(sequence).expect("small");
            let mut row = row(stream, kind, sequence, &at(second), summary);
            (row.correlation_id, row.run_id) = (event, run);
            row
        })
        .collect()
}

#[test]
fn replays_and_repeats_stand_beside_a_life_and_not_in_its_course() {
    let life = life(EVENT, replayed_life());
    assert_eq!(
        whats(&life),
        [
            "stored",
            "decided",
            "run started",
            "repeat folded in",
            "replayed"
        ]
    );
    assert_eq!(life.run.as_ref().map(|run| run.run_id), Some(RUN));
    assert_eq!(
        life.decision.as_ref().expect("decided")["run_id"],
        RUN.to_string()
    );
    assert_eq!(life.duplicates.len(), 1);
    assert_eq!(life.duplicates[0]["event_id"], REPEAT.to_string());
    assert_eq!(life.duplicates[0]["code"], "duplicate_event");
    let [replay] = life.replays.as_slice() else {
        panic!("{:?}", life.replays);
    };
    assert_eq!(
        (
            &replay["requested_by"],
            &replay["outcome"],
            &replay["comparison"]["same_root_cause"]
        ),
        (&json!("ann"), &json!("completed"), &json!(true))
    );
}
