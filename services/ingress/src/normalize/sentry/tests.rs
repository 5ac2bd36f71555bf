use bytes::Bytes;

use super::super::fixtures::{deliver, headers};
use super::*;

fn read(resource: &str, request: &str, body: &str) -> Event {
    let headers = headers([(RESOURCE, resource), (REQUEST, request)]);
    match deliver(NAME, None, &headers, &Bytes::from(body.to_owned())) {
        Ok(Normalized::Event(event)) => *event,
        other => panic!("{other:?}"),
    }
}

#[test]
fn links_name_the_organization() {
    for (url, expected) in [
        (
            "https://sentry.io/organizations/acme/issues/1/",
            Some("acme"),
        ),
        ("https://sentry.acme.io/organizations/sre?x=1", Some("sre")),
        ("https://acme-2.sentry.io/issues/1/", Some("acme-2")),
        ("https://us.sentry.io/issues/1/", None),
        ("https://sentry.io/issues/1/", None),
        ("https://a.b.sentry.io/issues/1/", None),
        ("https://acme.sentry.io.evil.example/issues/1/", None),
        ("https://sentry.io/organizations//", None),
        ("http://acme.sentry.io/issues/1/", None),
        ("", None),
    ] {
        assert_eq!(organization(url), expected, "{url}");
    }
}

#[test]
fn the_signed_body_says_what_it_is_about_and_the_header_only_else() {
    let issue = r#"{"action":"created","data":{"issue":{"id":"1"}}}"#;
    assert_eq!(read("comment", "r", issue).kind, "issue_created");
    let gone = r#"{"action":"deleted","data":{"issue_id":3,"project_slug":"api"}}"#;
    let gone = read("comment", "r", gone);
    assert_eq!(gone.kind, "comment_deleted");
    assert_eq!(gone.correlation_key, "sentry:shared:issue:3");
    let seer = r#"{"action":"root_cause_started","data":{"run_id":1,"group_id":2}}"#;
    let seer = read("seer", "r", seer);
    assert_eq!(
        (seer.kind.as_str(), seer.native_type.as_str()),
        (OTHER, "seer")
    );
    assert_eq!(seer.identifiers[0].value, "2");
}

#[test]
fn a_replay_under_a_new_id_is_the_same_thing() {
    let body = r#"{"action":"created","data":{"issue":{"id":"1"}}}"#;
    let (first, again) = (read("issue", "a", body), read("issue", "b", body));
    assert_ne!(first.delivery_key, again.delivery_key);
    assert_eq!(first.semantic_key, again.semantic_key);
}

#[test]
fn alerts_of_metrics_are_as_bad_as_their_action_says() {
    for (action, severity, status) in [
        ("critical", Severity::Critical, EventStatus::Firing),
        ("warning", Severity::Medium, EventStatus::Firing),
        ("resolved", Severity::Unspecified, EventStatus::Resolved),
    ] {
        let body = format!(
            r#"{{"action":"{action}","data":{{"metric_alert":{{"id":"4"}}}},"installation":{{"uuid":"u"}}}}"#
        );
        let event = read("metric_alert", "r", &body);
        assert_eq!((event.severity(), event.status()), (severity, status));
        assert_eq!(event.kind, format!("metric_alert_{action}"));
        assert_eq!(event.correlation_key, "sentry:shared:metric_alert:4");
    }
}
