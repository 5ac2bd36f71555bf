//! Rows of senders of alerts, and of sources that belong to an org.

use super::*;

/// What fires is looked at; what is over, and what people do about it, is not.
pub(super) fn alert_rows() -> Vec<Row> {
    const FIRES: &[(&str, &str)] = &[
        ("alertmanager", "alert_firing"),
        ("coralogix", "alert_triggered"),
        ("datadog", "alert_triggered"),
        ("datadog", "alert_warned"),
        ("datadog", "alert_no_data"),
        ("grafana", "alert_firing"),
        ("newrelic", "issue_activated"),
        ("opsgenie", "alert_created"),
        ("sentry", "event_alert_triggered"),
        ("sentry", "metric_alert_critical"),
    ];
    const DOES_NOT: &[(&str, &str)] = &[
        ("alertmanager", "alert_resolved"),
        ("coralogix", "alert_resolved"),
        ("datadog", "alert_recovered"),
        ("datadog", "alert_renotified"),
        ("grafana", "alert_resolved"),
        ("newrelic", "issue_closed"),
        ("newrelic", "issue_acknowledged"),
        ("opsgenie", "alert_closed"),
        ("sentry", "metric_alert_resolved"),
        ("sentry", "comment_created"),
    ];
    let run = "RUN matched_identifier trigger";
    let ignore = "IGNORE matched_identifier kind_not_a_trigger";
    let rows = |kinds: &'static [(&str, &str)], expected: &'static str| {
        let owned = [("service", "checkout")];
        let rows = kinds.iter();
        rows.map(move |(provider, kind)| row(kind, event(provider, kind, &owned), expected))
            .collect::<Vec<_>>()
    };
    [rows(FIRES, run), rows(DOES_NOT, ignore)].concat()
}

/// Through the source of one organisation.
pub(super) fn source_rows() -> Vec<Row> {
    let globex = |event: Event| event.through("globex", "");
    let falls_to = |event: Event| event.through("globex", "web");
    vec![
        row(
            "its own of several",
            globex(mention("CSHARED")),
            "RUN other_org_ignored matched_identifier trigger",
        ),
        row(
            "another's",
            globex(mention("C1")),
            "NO_ROUTE other_org_ignored trigger no_identifier_matched",
        ),
        row(
            "another's, and a default",
            falls_to(mention("C1")),
            "RUN other_org_ignored source_default_team trigger",
        ),
        row(
            "nothing, and a default",
            falls_to(mention("C404")),
            "RUN source_default_team trigger",
        ),
        row(
            "a match beats the default",
            mention("C1").through("acme", "shop"),
            "RUN matched_identifier trigger",
        ),
        row(
            "a default that is gone",
            mention("C404").through("acme", "gone"),
            "NO_ROUTE source_default_team trigger unknown_team",
        ),
        row(
            "a default without an org",
            mention("C404").through("", "web"),
            "NO_ROUTE trigger no_identifier_matched",
        ),
        row(
            "an org that cannot be",
            mention("C404").through("Globex Inc.", "web"),
            "NO_ROUTE trigger no_identifier_matched",
        ),
    ]
}
