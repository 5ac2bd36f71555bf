//! Groups of alerts as Alertmanager makes them, and Grafana's embedded one: one notification about the
//! alerts that a route groups together.
//!
//! A notification is one event, not one per alert: grouping is how its owner says what belongs together,
//! a hundred instances that are down at once are one thing to investigate, and both senders tell the
//! same group again with more alerts, fewer, or other values. The event counts them and lists their
//! fingerprints. It correlates by the fingerprint of the alert that began first, so that its firing and its
//! resolution meet whatever group they come in, and however the group has grown in between; once that alert
//! has ended and left the group, the next one speaks for the rest. Where not every alert is told, or none has
//! a fingerprint, it correlates by the group.
//!
//! What all alerts share is said of the group; what they do not share, the first one says for them.

use jiff::Timestamp;
use tocsin_wire::proto::{Event, EventStatus, Severity, TextFormat};

use super::draft::Draft;
use super::{severity, times};
use crate::json::{List, Members, Text, object};

/// Neither sender has a name for it.
const NATIVE_TYPE: &str = "group";

const FIRING: &str = "firing";
const RESOLVED: &str = "resolved";

object! {
    /// Version 4 of Alertmanager, 1 of Grafana; the last fields are Grafana's.
    Group {
        "receiver" => receiver: Text<'a>,
        "status" => status: Text<'a>,
        "alerts" => alerts: List<Alert<'a>>,
        "truncatedAlerts" => truncated: Text<'a>,
        "groupLabels" => group_labels: Members<'a>,
        "commonLabels" => common_labels: Members<'a>,
        "commonAnnotations" => common_annotations: Members<'a>,
        "externalURL" => external_url: Text<'a>,
        "groupKey" => group_key: Text<'a>,
        "notification_reason" => reason: Text<'a>,
        "orgId" => org: Text<'a>,
        "title" => title: Text<'a>,
        "message" => message: Text<'a>,
    }
}

object! {
    /// One alert; a zero end means that it goes on.
    Alert {
        "status" => status: Text<'a>,
        "labels" => labels: Members<'a>,
        "annotations" => annotations: Members<'a>,
        "startsAt" => starts_at: Text<'a>,
        "endsAt" => ends_at: Text<'a>,
        "generatorURL" => generator_url: Text<'a>,
        "fingerprint" => fingerprint: Text<'a>,
        "dashboardURL" => dashboard_url: Text<'a>,
        "panelURL" => panel_url: Text<'a>,
        "silenceURL" => silence_url: Text<'a>,
        "imageURL" => image_url: Text<'a>,
        "values" => values: Members<'a>,
        "valueString" => value_string: Text<'a>,
        "orgId" => org: Text<'a>,
    }
}

/// Writes what a group says. Its keys are set by [`finish`].
pub(super) fn describe(draft: &mut Draft<'_>, group: &Group<'_>) {
    NATIVE_TYPE.clone_into(&mut draft.event.native_type);
    let status = status(group);
    status.clone_into(&mut draft.event.action);
    let (kind, meaning) = match status {
        FIRING => ("alert_firing", EventStatus::Firing),
        RESOLVED => ("alert_resolved", EventStatus::Resolved),
        _ => (super::OTHER, EventStatus::Info),
    };
    kind.clone_into(&mut draft.event.kind);
    draft.state(status, meaning);

    draft.identifier("receiver", group.receiver.text());
    draft.identifier("external_url", group.external_url.text());
    group.external_url.text().clone_into(&mut draft.event.url);
    draft.title(&title(group));
    let summary = group.annotation(&["summary", "description", "message"]);
    if summary.is_empty() {
        draft.text(group.message.text(), TextFormat::Markdown);
    } else {
        draft.text(summary, TextFormat::Plain);
    }
    let starts = group.alerts.iter();
    draft.occurred(
        starts
            .filter_map(|alert| times::number_or_date(alert.starts_at.text()))
            .next(),
    );
    let (severity, native) = severity(group);
    draft.severity(severity, native);
    correlation(draft, group);
    attributes(draft, group);
}

/// Sets the keys: they follow from the group, and of each alert from its state and its start. A group
/// that is told again because time has passed is the same; one with more alerts than are read goes by
/// its body.
pub(super) fn finish(draft: Draft<'_>, group: &Group<'_>) -> Event {
    let alerts = group.alerts.iter();
    let mut states: Vec<String> = alerts
        .filter(|alert| alert.fingerprint.get().is_some())
        .map(|alert| {
            let (status, starts_at) = (alert.status.text(), alert.starts_at.text());
            format!("{}:{status}:{starts_at}", alert.fingerprint.text())
        })
        .collect();
    if group.alerts.left_out() > 0 {
        states.clear();
    }
    states.sort_unstable();
    draft.finish_derived(&[group.group_key.text(), status(group), &states.join("\n")])
}

impl Group<'_> {
    /// Alerts of the group that are named here, and those that the sender says it left out.
    fn count(&self) -> usize {
        let truncated: usize = self.truncated.text().parse().unwrap_or_default();
        let named = self.alerts.len() + self.alerts.left_out();
        named.saturating_add(truncated)
    }

    /// Grafana's organization, of the group or of its alerts.
    pub(super) fn org(&self) -> &str {
        let of_alerts = self.alerts.iter().find_map(|alert| alert.org.get());
        self.org.get().or(of_alerts).unwrap_or_default()
    }

    /// A label of all alerts, else the first one's.
    pub(super) fn label(&self, name: &str) -> &str {
        let common = [&self.common_labels, &self.group_labels].into_iter();
        let first = self.alerts.iter().map(|alert| &alert.labels).take(1);
        first_text(common.chain(first), &[name])
    }

    /// The first of these annotations that all alerts share, else the first that the first alert has.
    fn annotation(&self, names: &[&str]) -> &str {
        let first = self.alerts.iter().map(|alert| &alert.annotations).take(1);
        first_text(
            std::iter::once(&self.common_annotations).chain(first),
            names,
        )
    }
}

fn first_text<'a>(members: impl Iterator<Item = &'a Members<'a>>, names: &[&str]) -> &'a str {
    let mut texts = members.flat_map(|members| names.iter().map(|name| members.text(name)));
    texts.find(|text| !text.is_empty()).unwrap_or_default()
}

/// The group's own word; without one it fires as long as any alert does.
fn status<'a>(group: &'a Group<'_>) -> &'a str {
    if let Some(status) = group.status.get() {
        return status;
    }
    let says = |status: &str| {
        group
            .alerts
            .iter()
            .any(|alert| alert.status.text() == status)
    };
    match (says(FIRING), says(RESOLVED)) {
        (true, _) => FIRING,
        (false, true) => RESOLVED,
        (false, false) => "",
    }
}

fn title(group: &Group<'_>) -> String {
    let named = group.title.get().unwrap_or(group.label("alertname"));
    match named {
        "" => members(group.group_labels.iter()),
        named => named.to_owned(),
    }
}

/// The label that all alerts share, else the worst of those that fire, else of all.
fn severity<'a>(group: &'a Group<'_>) -> (Severity, &'a str) {
    let common = [&group.common_labels, &group.group_labels].into_iter();
    let common = first_text(common, &["severity"]);
    if !common.is_empty() {
        return (severity::worded(common), common);
    }
    let worst = |fires_only: bool| {
        let alerts = group.alerts.iter();
        let alerts = alerts.filter(|alert| !fires_only || alert.status.text() == FIRING);
        let native = alerts.map(|alert| alert.labels.text("severity"));
        // The last of equals is what a maximum gives: the first alert should speak.
        native
            .filter(|native| !native.is_empty())
            .rev()
            .max_by_key(|native| severity::worded(native))
    };
    let native = worst(true).or_else(|| worst(false)).unwrap_or_default();
    (severity::worded(native), native)
}

/// What has no time began last.
fn began(alert: &Alert<'_>) -> Timestamp {
    times::number_or_date(alert.starts_at.text()).unwrap_or(Timestamp::MAX)
}

fn correlation(draft: &mut Draft<'_>, group: &Group<'_>) {
    let alerts = group.alerts.iter();
    // Which one began first is only known when all are told.
    let alerts = alerts.filter(|_| group.count() == group.alerts.len());
    let first = alerts
        .filter_map(|alert| Some((began(alert), alert.fingerprint.get()?)))
        .min();
    let thing = first.map_or(group.group_key.text(), |(_, fingerprint)| fingerprint);
    match group.external_url.get() {
        Some(installation) => draft.correlation(&[installation, thing]),
        None => draft.correlation(&[thing]),
    }
}

fn attributes(draft: &mut Draft<'_>, group: &Group<'_>) {
    let alerts = &group.alerts;
    let with = |status: &str| {
        alerts
            .iter()
            .filter(|alert| alert.status.text() == status)
            .count()
    };
    draft.attribute("alert_count", &group.count().to_string());
    draft.attribute("firing_count", &with(FIRING).to_string());
    draft.attribute("resolved_count", &with(RESOLVED).to_string());
    draft.attribute_list(
        "fingerprints",
        alerts.iter().map(|alert| alert.fingerprint.text()),
    );
    draft.attribute("group_key", group.group_key.text());
    draft.attribute("receiver", group.receiver.text());
    draft.attribute("notification_reason", group.reason.text());
    draft.attribute("alertname", group.label("alertname"));
    draft.attribute("labels", &members(group.common_labels.iter()));
    draft.attribute("description", group.annotation(&["description"]));
    draft.attribute("runbook_url", group.annotation(&["runbook_url", "runbook"]));
    let Some(first) = alerts.first() else {
        return;
    };
    draft.attribute("first_labels", &members(first.labels.iter()));
    draft.attribute("generator_url", first.generator_url.text());
    draft.attribute("dashboard_url", first.dashboard_url.text());
    draft.attribute("panel_url", first.panel_url.text());
    draft.attribute("silence_url", first.silence_url.text());
    draft.attribute("image_url", first.image_url.text());
    let values = members(first.values.iter());
    let values = if values.is_empty() {
        first.value_string.text()
    } else {
        &values
    };
    draft.attribute("values", values);
    let is_over = draft.event.status() == EventStatus::Resolved;
    if let Some(ended) = times::number_or_date(first.ends_at.text()).filter(|_| is_over) {
        draft.attribute("ended_at", &ended.to_string());
    }
}

/// `name=value,name=value`
fn members<'a>(members: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let pairs: Vec<String> = members
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(",")
}

#[cfg(test)]
mod tests;
