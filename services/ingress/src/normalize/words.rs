//! Words that senders without a vocabulary of their own use for what is the matter.

use tocsin_wire::proto::{EventStatus, Severity};

use super::OTHER;

/// Kind of what somebody should look at.
pub(super) const ALERT_FIRING: &str = "alert_firing";
/// Kind of what somebody looks at already.
pub(super) const ALERT_ACKNOWLEDGED: &str = "alert_acknowledged";
/// Kind of what is over.
pub(super) const ALERT_RESOLVED: &str = "alert_resolved";
/// Kind of what is no alert.
pub(super) const EVENT: &str = "event";

/// Parts of types that are of alerts.
const ALERTS: [&str; 5] = ["alert", "alerts", "alarm", "incident", "problem"];

/// Severity of a word; unspecified when it is none of the usual ones.
pub(super) fn severity(word: &str) -> Severity {
    match word.trim().to_ascii_lowercase().as_str() {
        "critical" | "crit" | "fatal" | "emergency" | "page" | "p1" | "sev1" => Severity::Critical,
        "high" | "error" | "major" | "urgent" | "p2" | "sev2" => Severity::High,
        "medium" | "moderate" | "warning" | "warn" | "p3" | "sev3" => Severity::Medium,
        "low" | "minor" | "p4" | "sev4" => Severity::Low,
        "info" | "information" | "informational" | "notice" | "debug" | "p5" | "sev5" => {
            Severity::Info
        }
        _ => Severity::Unspecified,
    }
}

/// What a word for a state means; `None` when it says nothing.
pub(super) fn status(word: &str) -> Option<EventStatus> {
    match word.trim().to_ascii_lowercase().as_str() {
        "firing" | "fired" | "trigger" | "triggered" | "alerting" | "alarm" | "open" | "opened"
        | "reopened" | "active" | "activated" | "down" | "failing" | "failed" | "problem" => {
            Some(EventStatus::Firing)
        }
        "acknowledge" | "acknowledged" | "ack" | "acked" => Some(EventStatus::Acknowledged),
        "resolve" | "resolved" | "recovered" | "recovery" | "ok" | "up" | "close" | "closed"
        | "cleared" | "normal" => Some(EventStatus::Resolved),
        _ => None,
    }
}

/// What a sender said of an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a> {
    /// Its type: `alert.firing`, `contact.created`.
    pub(super) native_type: &'a str,
    pub(super) title: &'a str,
    /// Its word for the state.
    pub(super) state: &'a str,
    pub(super) severity: Severity,
}

/// What those words mean that only alerts are: a subscription is `active` too, a pull request `open`.
fn status_of_alert(word: &str) -> Option<EventStatus> {
    let word = word.trim().to_ascii_lowercase();
    let is_of_alert = matches!(
        word.as_str(),
        "firing" | "triggered" | "alerting" | "alarm" | "resolved" | "recovered" | "acknowledged"
    );
    status(&word).filter(|_| is_of_alert)
}

/// Whether a type is of an alert in any of its parts: `incident`, `com.acme.alert.opened`, `alert_opened`.
fn is_of_alert(native_type: &str) -> bool {
    let mut parts = native_type.split(|character: char| !character.is_ascii_alphanumeric());
    parts.any(|part| ALERTS.iter().any(|alert| part.eq_ignore_ascii_case(alert)))
}

/// Kind and status of an event. Its state decides, else the last part of its type where that is of an
/// alert; else it is an alert that fires when it has a severity, or a title and no type. Where the type is
/// of something else and nobody called it serious, a state decides only when it is one that alerts alone have.
pub(super) fn judge(said: Said<'_>) -> (&'static str, EventStatus) {
    let (scope, word) = said
        .native_type
        .rsplit_once('.')
        .unwrap_or(("", said.native_type));
    let is_alert = scope.split('.').any(|part| ALERTS.contains(&part));
    let by_type = is_alert.then(|| match word {
        "created" => Some(EventStatus::Firing),
        word => status(word),
    });
    let is_serious = !matches!(said.severity, Severity::Unspecified | Severity::Info);
    let is_bare = said.native_type.is_empty() && !said.title.is_empty();
    let fires = is_serious || is_bare;
    let is_other = !said.native_type.is_empty() && !is_of_alert(said.native_type) && !is_serious;
    let by_state = if is_other {
        status_of_alert(said.state)
    } else {
        status(said.state)
    };
    let status = by_state
        .or(by_type.flatten())
        .or(fires.then_some(EventStatus::Firing));
    match status {
        Some(EventStatus::Firing) => (ALERT_FIRING, EventStatus::Firing),
        Some(EventStatus::Acknowledged) => (ALERT_ACKNOWLEDGED, EventStatus::Acknowledged),
        Some(EventStatus::Resolved) => (ALERT_RESOLVED, EventStatus::Resolved),
        _ if said.native_type.is_empty() => (OTHER, EventStatus::Info),
        _ => (EVENT, EventStatus::Info),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_told_by_its_state_its_type_or_its_severity() {
        for (native_type, title, state, native_severity, expected) in [
            ("", "Disk full", "", "", ALERT_FIRING),
            ("", "Disk full", "", "critical", ALERT_FIRING),
            ("", "Disk full", "resolved", "critical", ALERT_RESOLVED),
            ("", "Disk full", "ACK", "critical", ALERT_ACKNOWLEDGED),
            ("", "", "", "P1", ALERT_FIRING),
            ("", "", "firing", "", ALERT_FIRING),
            ("", "", "", "", OTHER),
            ("alert.firing", "", "", "", ALERT_FIRING),
            ("com.acme.alert.resolved", "", "", "high", ALERT_RESOLVED),
            ("alert.firing", "", "ok", "", ALERT_RESOLVED),
            ("incident.created", "", "", "", ALERT_FIRING),
            ("contact.created", "Jane", "", "", EVENT),
            ("door.opened", "Front", "", "", EVENT),
            ("deploy.finished", "", "", "info", EVENT),
            ("backup.failed", "", "", "error", ALERT_FIRING),
            // What is of business has states too.
            ("subscription.updated", "", "active", "", EVENT),
            ("subscription.updated", "", "closed", "info", EVENT),
            ("com.github.pull_request.opened", "Fix", "open", "", EVENT),
            ("payment", "", "failed", "", EVENT),
            ("payment", "", "failed", "high", ALERT_FIRING),
            ("payment", "", "closed", "high", ALERT_RESOLVED),
            ("probe.changed", "", " Firing", "", ALERT_FIRING),
            ("probe.changed", "", "alarm", "info", ALERT_FIRING),
            ("probe.changed", "", "acknowledged", "", ALERT_ACKNOWLEDGED),
            ("probe.changed", "", "recovered", "", ALERT_RESOLVED),
            ("com.acme.alert.changed", "", "open", "", ALERT_FIRING),
            ("incident", "", "active", "", ALERT_FIRING),
            ("Alert_Changed", "", "closed", "", ALERT_RESOLVED),
            ("alerting.rule", "", "open", "", EVENT),
            ("", "", "active", "", ALERT_FIRING),
        ] {
            let severity = severity(native_severity);
            let said = Said {
                native_type,
                title,
                state,
                severity,
            };
            let (kind, status) = judge(said);
            assert_eq!(kind, expected, "{said:?}");
            assert_eq!(
                kind == ALERT_FIRING,
                status == EventStatus::Firing,
                "{said:?}"
            );
        }
    }

    #[test]
    fn words_of_any_case_have_a_severity_and_others_none() {
        for (word, expected) in [
            ("CRITICAL", Severity::Critical),
            (" warning ", Severity::Medium),
            ("sev2", Severity::High),
            ("minor", Severity::Low),
            ("debug", Severity::Info),
            ("purple", Severity::Unspecified),
            ("", Severity::Unspecified),
        ] {
            assert_eq!(severity(word), expected, "{word}");
        }
    }
}
