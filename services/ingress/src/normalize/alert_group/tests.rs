use bytes::Bytes;
use serde_json::{Value, json};
use tocsin_wire::proto::Event;

use super::super::Normalized;
use super::super::fixtures::{deliver, headers};
use super::*;

fn event(group: &Value) -> Event {
    let body = Bytes::from(group.to_string());
    match deliver("alertmanager", None, &headers([]), &body) {
        Ok(Normalized::Event(event)) => *event,
        other => panic!("{other:?}"),
    }
}

fn alert(fingerprint: &str, status: &str, severity: &str) -> Value {
    json!({
        "status": status, "fingerprint": fingerprint, "startsAt": "2026-01-01T00:00:00Z",
        "labels": {"alertname": "Down", "severity": severity, "instance": fingerprint},
    })
}

fn group(status: &str, alerts: &[Value]) -> Value {
    json!({
        "status": status, "groupKey": "{}:{}", "externalURL": "http://am", "alerts": alerts,
    })
}

fn since(mut alert: Value, starts_at: &str) -> Value {
    alert["startsAt"] = json!(starts_at);
    alert
}

#[test]
fn a_group_correlates_by_its_first_alert_as_it_grows_and_ends() {
    let key = |group: &Value| event(group).correlation_key;
    let first = |status: &str| alert("f9", status, "page");
    let later = |status: &str| since(alert("f1", status, "page"), "2026-01-01T00:05:00+00:00");
    let by_first = "alertmanager:shared:http://am:f9";
    for (status, alerts) in [
        ("firing", vec![first("firing")]),
        ("firing", vec![first("firing"), later("firing")]),
        ("firing", vec![later("firing"), first("firing")]),
        ("firing", vec![first("resolved"), later("firing")]),
        ("resolved", vec![later("resolved"), first("resolved")]),
        ("resolved", vec![first("resolved")]),
        // Times are compared, not their texts; what has none began last.
        (
            "firing",
            vec![
                first("firing"),
                since(later("firing"), "2026-01-01T00:30:00-01:00"),
            ],
        ),
        ("firing", vec![since(later("firing"), "?"), first("firing")]),
        ("firing", vec![json!({}), first("firing")]),
    ] {
        let group = group(status, &alerts);
        assert_eq!(key(&group), by_first, "{group}");
    }
    let same_time = [alert("f9", "firing", ""), alert("f1", "firing", "")];
    let tie = group("firing", &same_time);
    assert_eq!(key(&tie), "alertmanager:shared:http://am:f1");
    let other = group("firing", &[alert("f2", "firing", "page")]);
    assert_ne!(key(&other), by_first);
}

#[test]
fn a_group_that_is_not_told_whole_correlates_by_its_key() {
    let key = |group: &Value| event(group).correlation_key;
    let mut left_out = group("firing", &[alert("f1", "firing", "page")]);
    left_out["truncatedAlerts"] = json!(3);
    assert_eq!(key(&left_out), "alertmanager:shared:http://am:{}:{}");
    assert_eq!(event(&left_out).attributes["alert_count"], "4");
    let many: Vec<_> = (0..150)
        .map(|number| alert(&number.to_string(), "firing", ""))
        .collect();
    assert_eq!(
        key(&group("firing", &many)),
        "alertmanager:shared:http://am:{}:{}"
    );
    let mut nameless = group("firing", &[json!({}), json!({})]);
    assert_eq!(key(&nameless), "alertmanager:shared:http://am:{}:{}");
    nameless["groupKey"] = json!("x".repeat(5000));
    assert!(key(&nameless).starts_with("alertmanager:shared:sha256:"));
}

#[test]
fn a_group_is_the_same_until_an_alert_changes() {
    let first = [alert("f1", "firing", "page"), alert("f2", "firing", "page")];
    let base = group("firing", &first);
    let key = event(&base).delivery_key;
    let turned = group("firing", &[first[1].clone(), first[0].clone()]);
    let mut renewed = base.clone();
    renewed["alerts"][0]["values"] = json!({"B": 9});
    renewed["notification_reason"] = json!("repeat");
    for same in [turned, renewed] {
        assert_eq!(event(&same).delivery_key, key, "{same}");
        assert_eq!(event(&same).semantic_key, event(&base).semantic_key);
    }
    let changes: [fn(&mut Value); 5] = [
        |group| group["status"] = json!("resolved"),
        |group| group["groupKey"] = json!("{}:{a=\"b\"}"),
        |group| group["alerts"][0]["status"] = json!("resolved"),
        |group| group["alerts"][1]["startsAt"] = json!("2026-01-01T00:00:01Z"),
        |group| group["alerts"][1]["fingerprint"] = json!("f3"),
    ];
    for change in changes {
        let mut changed = base.clone();
        change(&mut changed);
        assert_ne!(event(&changed).delivery_key, key, "{changed}");
    }
}

#[test]
fn more_alerts_than_are_read_are_counted_and_told_apart() {
    let alerts = |last: &str| {
        let many = (0..250).map(|index| alert(&index.to_string(), "firing", "page"));
        many.chain([alert(last, "firing", "page")])
            .collect::<Vec<_>>()
    };
    let one = event(&group("firing", &alerts("a")));
    let other = event(&group("firing", &alerts("b")));
    assert_eq!(one.attributes["alert_count"], "251");
    assert_ne!(one.delivery_key, other.delivery_key);
    assert!(one.attributes["fingerprints"].len() <= 512);
}

#[test]
fn the_worst_of_what_fires_is_the_severity() {
    for (alerts, expected, native) in [
        (
            vec![("firing", "warning"), ("firing", "page")],
            Severity::Critical,
            "page",
        ),
        (
            vec![("firing", "warning"), ("resolved", "page")],
            Severity::Medium,
            "warning",
        ),
        (
            vec![("resolved", "info"), ("resolved", "high")],
            Severity::High,
            "high",
        ),
        (
            vec![("firing", "error"), ("firing", "major")],
            Severity::High,
            "error",
        ),
        (
            vec![("firing", ""), ("firing", "tier-1")],
            Severity::Unspecified,
            "tier-1",
        ),
        (vec![], Severity::Unspecified, ""),
    ] {
        let alerts: Vec<_> = alerts
            .into_iter()
            .map(|(status, severity)| alert("f", status, severity))
            .collect();
        let event = event(&group("firing", &alerts));
        assert_eq!(event.severity(), expected, "{native}");
        assert_eq!(event.severity_native, native);
    }
    let mut common = group("firing", &[alert("f", "firing", "page")]);
    common["commonLabels"] = json!({"severity": "low"});
    assert_eq!(event(&common).severity(), Severity::Low);
}
