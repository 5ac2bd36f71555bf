use super::*;
use crate::proto::{ReplayFilter, StoredEvent};

const ID: &str = "6f0d4d5b-9c0e-4b1a-8000-000000000000";

fn seconds(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn good() -> ReplayRequest {
    ReplayRequest {
        request_id: ID.to_owned(),
        events: Vec::new(),
        filter: Some(ReplayFilter {
            provider: "slack".to_owned(),
            since: seconds(100),
            ..ReplayFilter::default()
        }),
        target: ReplayTarget::Work.into(),
        reason: "the team was missing".to_owned(),
        requested_by: "ann".to_owned(),
    }
}

#[test]
fn a_request_names_events_or_a_time() {
    let found = wanted(&good()).expect("good");
    let subjects = STREAMS.map(|stream| found.filter.subjects(stream));
    assert_eq!(subjects, ["events.slack.*.*.>", "deferred.due.slack.*.*.>"]);
    assert_eq!((found.most, found.until), (MAX_TO_WORK, None));
    let event = |stream_sequence| StoredEvent {
        event_id: ID.to_owned(),
        stream_sequence,
        stream: String::new(),
    };
    let mut named = good();
    named.filter = None;
    named.events = vec![event(7), event(7)];
    assert_eq!(wanted(&named).expect("named").events.len(), 1, "once");
    type Spoil = fn(&mut ReplayRequest);
    let cases: [(&str, Spoil); 10] = [
        ("no UUID", |request| request.request_id.clear()),
        ("work or sandbox", |request| request.target = 0),
        ("who asks", |request| request.requested_by = " ".to_owned()),
        ("500 are allowed", |request| {
            request.reason = "x".repeat(501);
        }),
        ("a time from which", |request| request.filter = None),
        ("no token", |request| {
            request.filter.get_or_insert_default().kind = "a.>".to_owned();
        }),
        ("keeps no events", |request| {
            let id = ID.to_owned();
            request.events = vec![StoredEvent {
                event_id: id,
                stream_sequence: 7,
                stream: "WORK".to_owned(),
            }];
        }),
        ("ends before", |request| {
            request.filter.get_or_insert_default().until = seconds(99);
        }),
        ("at most 500 may be replayed to work", |request| {
            request.filter.get_or_insert_default().max_events = 501;
        }),
        ("at most 50 may be replayed to sandbox", |request| {
            request.set_target(ReplayTarget::Sandbox);
            request.filter.get_or_insert_default().max_events = 51;
        }),
    ];
    for (says, spoil) in cases {
        let mut request = good();
        spoil(&mut request);
        let error = wanted(&request).expect_err(says).to_string();
        assert!(error.contains(says), "{error}");
    }
    let mut lost = good();
    lost.filter = None;
    lost.events = vec![event(0)];
    let error = wanted(&lost).expect_err("nowhere to look");
    assert!(matches!(error, InvalidReplay::Nowhere(_)), "{error}");
}

#[test]
fn a_scope_holds_its_own_and_no_more() {
    let id = |text: &str| OrgId::new(text).expect("token");
    let team = |text: &str| TeamId::new(text).expect("token");
    for (scope, owner, expected) in [
        (("acme", "pay"), ("acme", "pay"), true),
        (("acme", "pay"), ("acme", "shop"), false),
        (("acme", "pay"), ("globex", "pay"), false),
        (("acme", "all"), ("acme", "shop"), true),
        (("acme", "all"), ("globex", "shop"), false),
        (("acme", "all"), ("unrouted", "unrouted"), false),
        (("all", "all"), ("globex", "shop"), true),
        (("all", "all"), ("unrouted", "unrouted"), true),
        (("all", "pay"), ("acme", "pay"), false),
    ] {
        let is_in = is_in_scope((&id(scope.0), &team(scope.1)), &id(owner.0), &team(owner.1));
        assert_eq!(is_in, expected, "{scope:?} {owner:?}");
    }
}
