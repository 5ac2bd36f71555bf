//! What is told twice, and what happens twice.

use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;
use tocsin_wire::proto::Event;

use super::Normalized;
use super::fixtures::{deliver_at, headers};

const NIGHT: &str = "2026-01-02T03:00:10Z";
const NEXT_NIGHT: &str = "2026-01-03T03:00:10Z";

/// An event as it came in at this time, under this `webhook-id` if there is one.
fn event(at: &str, provider: &str, id: &str, body: &str) -> Event {
    let headers = headers(Some(("webhook-id", id)).filter(|_| !id.is_empty()));
    let at: Timestamp = at.parse().expect("a time");
    match deliver_at(at, provider, None, &headers, &Bytes::from(body.to_owned())) {
        Ok(Normalized::Event(event)) => *event,
        other => panic!("{other:?}"),
    }
}

/// With a key that joins them, an alert that comes back is told again; the same delivery is not.
#[test]
fn an_alert_that_comes_back_is_another_of_the_same_correlation() {
    let body = |status: &str, time: &str| {
        let time = if time.is_empty() {
            String::new()
        } else {
            format!(r#","timestamp":"{time}""#)
        };
        format!(r#"{{"title":"Disk full","status":"{status}","dedupe_key":"disk-db-1"{time}}}"#)
    };
    let read = |at: &str, id: &str, status: &str, time: &str| {
        event(at, "generic", id, &body(status, time))
    };
    let day = "2026-01-02T03:00:00Z";
    let base = read(NIGHT, "m1", "firing", "");
    let timed = read(NIGHT, "m1", "firing", day);
    let bare = read(NIGHT, "", "firing", "");
    for (first, second, is_same) in [
        // The same delivery again, however late.
        (&base, read(NEXT_NIGHT, "m1", "firing", ""), true),
        (&base, read(NIGHT, "m2", "resolved", ""), false),
        (&base, read(NIGHT, "m2", "firing", ""), false),
        // What names its time is told apart by it, under whatever id.
        (&timed, read(NEXT_NIGHT, "m2", "firing", day), true),
        (&timed, read(NIGHT, "m1", "firing", NEXT_NIGHT), false),
        // What names it in words that nobody knows does not.
        (
            &read(NIGHT, "m1", "firing", "$DATE"),
            read(NIGHT, "m2", "firing", "$DATE"),
            false,
        ),
        // Without either the hour counts.
        (&bare, read("2026-01-02T03:40:00Z", "", "firing", ""), true),
        (&bare, read(NEXT_NIGHT, "", "firing", ""), false),
        (&bare, read(NIGHT, "", "resolved", ""), false),
    ] {
        let keys = (&first.semantic_key, &second.semantic_key);
        assert_eq!(keys.0 == keys.1, is_same, "{keys:?}");
        assert_eq!(first.correlation_key, second.correlation_key);
        assert!(!first.correlation_key.is_empty());
    }
}

#[test]
fn what_names_neither_an_id_nor_a_time_is_the_same_for_an_hour() {
    let nightly = r#"{"title":"Backup failed"}"#;
    let dated = r#"{"title":"Backup failed","timestamp":1767322800}"#;
    let rule = r#"{"ruleId":1,"state":"alerting","title":"Down"}"#;
    for (provider, id, body, second_at, is_same) in [
        // A retry, also of what was sent by a clock that runs a little late.
        ("generic", "", nightly, "2026-01-02T03:45:00Z", true),
        ("generic", "", nightly, "2026-01-02T02:58:30Z", true),
        ("generic", "", nightly, NEXT_NIGHT, false),
        ("generic", "", nightly, "2026-01-02T04:00:10Z", false),
        ("grafana", "", rule, "2026-01-02T03:45:00Z", true),
        ("grafana", "", rule, NEXT_NIGHT, false),
        // An id or a time is enough to tell them apart.
        ("generic", "m1", nightly, NEXT_NIGHT, true),
        ("generic", "", dated, NEXT_NIGHT, true),
    ] {
        let first = event(NIGHT, provider, id, body);
        let second = event(second_at, provider, id, body);
        let case = format!("{provider} {id} {body} {second_at}");
        assert_eq!(first.delivery_key == second.delivery_key, is_same, "{case}");
        assert_eq!(first.semantic_key == second.semantic_key, is_same, "{case}");
    }
}

proptest! {
    /// However a retry falls, it crosses one edge an hour, seven minutes before the full one.
    #[test]
    fn an_edge_is_seven_minutes_before_the_hour(second in 0_i64..1_000_000_000, later in 0_i64..3600) {
        let at = |second: i64| Timestamp::from_second(second).expect("in range").to_string();
        let key = |second: i64| event(&at(second), "generic", "", "{}").semantic_key;
        let past_edge = (second + 7 * 60).rem_euclid(3600);
        prop_assert_eq!(key(second) == key(second + later), past_edge + later < 3600);
    }
}
