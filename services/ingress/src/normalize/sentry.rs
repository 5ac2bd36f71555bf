//! Sentry's integration platform: `{action, actor?, data{…}, installation{uuid}}`.
//!
//! Which resource an event is about is a header, outside the signature; the member of `data` that holds
//! the resource is inside, and so it decides where there is one.

mod resources;

use tocsin_wire::proto::{ActorKind, Event, EventStatus, Severity, TextFormat};
use tocsin_wire::scheme::{HmacScheme, Scheme};

use super::{
    Delivery, Malformed, Normalized, OTHER, draft::Draft, read_json, severity, times, utf8,
};
use crate::json::Text;
use crate::provider::{Endpoint, Provider, SecretSetting, Throttled};
use resources::{Issue, MetricAlert, Payload, Resource, Sample};

/// As events and subjects name it.
const NAME: &str = "sentry";

/// Id of the delivery.
const REQUEST: &str = "request-id";
/// Name of the resource.
const RESOURCE: &str = "sentry-hook-resource";

/// Internal and public integrations; the secret is the integration's client secret.
pub const PROVIDER: Provider = Provider {
    name: NAME,
    secret: SecretSetting {
        flag: "sentry-client-secret",
        variable: "SENTRY_CLIENT_SECRET",
        help: "Client secrets of Sentry's integrations",
    },
    endpoints: &[Endpoint::only(normalize)],
    schemes: &[Scheme::Hmac(HmacScheme::over_body(
        "sentry-hook-signature",
        "",
    ))],
    // Both tell deliveries apart, and both are outside the MAC.
    single_headers: &[REQUEST, RESOURCE],
    kept_headers: &[RESOURCE, REQUEST, "sentry-hook-timestamp"],
    // It documents no second try.
    throttled: Throttled::Deferred,
};

/// Resources with their actions; what we call one is both, `issue_created`.
const KNOWN: &[(&str, &[&str])] = &[
    ("comment", &["created", "deleted", "updated"]),
    ("error", &["created"]),
    ("event_alert", &["triggered"]),
    ("installation", &["created", "deleted"]),
    (
        "issue",
        &[
            "archived",
            "assigned",
            "created",
            "ignored",
            "resolved",
            "unresolved",
        ],
    ),
    ("metric_alert", &["critical", "open", "resolved", "warning"]),
];

/// Reads a verified delivery.
///
/// # Errors
/// When the body is not JSON.
pub fn normalize(delivery: Delivery<'_>) -> Result<Normalized, Malformed> {
    let payload: Payload<'_> = read_json(utf8(delivery.body)?)?;
    Ok(Normalized::Event(Box::new(event(delivery, &payload))))
}

fn event(delivery: Delivery<'_>, payload: &Payload<'_>) -> Event {
    let mut draft = Draft::new(NAME, delivery);
    let resource = payload.data.resource();
    let native = match &resource {
        Some(resource) => resource.name(),
        None => delivery.header(RESOURCE),
    };
    let action = payload.action.text();
    native.clone_into(&mut draft.event.native_type);
    action.clone_into(&mut draft.event.action);
    let known = KNOWN.iter().find(|(name, _)| *name == native);
    let is_known = known.is_some_and(|(_, actions)| actions.contains(&action));
    if is_known {
        draft.event.kind = format!("{native}_{action}");
    } else {
        OTHER.clone_into(&mut draft.event.kind);
    }
    draft.event.status = EventStatus::Info.into();
    match resource {
        Some(Resource::Issue(issue)) => of_issue(&mut draft, payload, issue),
        Some(Resource::EventAlert(sample)) => {
            of_sample(&mut draft, payload, sample);
            draft.state(action, EventStatus::Firing);
        }
        Some(Resource::Error(sample)) => of_sample(&mut draft, payload, sample),
        Some(Resource::MetricAlert(alert)) => of_metric(&mut draft, payload, alert),
        Some(Resource::Comment) => of_comment(&mut draft, payload),
        Some(Resource::Installation) | None => of_anything(&mut draft, payload),
    }
    actor(&mut draft, payload);
    // The id is outside the signature: only the body tells a replay under a new one.
    draft.finish(delivery.header(REQUEST), None)
}

/// Where a resource belongs.
#[derive(Default)]
struct Place<'a> {
    project: &'a str,
    issue: &'a str,
    /// It may name the organization, which else only an installation does.
    url: &'a str,
}

fn identifiers(draft: &mut Draft<'_>, payload: &Payload<'_>, place: &Place<'_>) {
    let installations = [
        Some(&payload.installation),
        payload.data.new_installation.as_ref(),
    ];
    let mut uuids = installations.into_iter().flatten();
    let uuid = uuids.find_map(|installation| installation.uuid.get());
    let mut slugs = installations.into_iter().flatten();
    let slug = slugs.find_map(|installation| installation.organization.slug.get());
    let slug = slug.or_else(|| organization(place.url));
    draft.identifier("sentry_project", place.project);
    draft.identifier("sentry_installation_uuid", uuid.unwrap_or_default());
    draft.identifier("sentry_org_slug", slug.unwrap_or_default());
    draft.identifier("sentry_issue_id", place.issue);
    place.url.clone_into(&mut draft.event.url);
    draft.correlation(&["issue", place.issue]);
}

fn of_issue(draft: &mut Draft<'_>, payload: &Payload<'_>, issue: &Issue<'_>) {
    let place = Place {
        project: issue.project.slug.text(),
        issue: issue.id.text(),
        url: issue.permalink.get().unwrap_or(issue.web_url.text()),
    };
    identifiers(draft, payload, &place);
    draft.title(issue.title.text());
    draft.text(issue.culprit.text(), TextFormat::Plain);
    draft.occurred(times::number_or_date(issue.last_seen.text()));
    let native = issue.level.text();
    draft.severity(severity::worded(native), native);
    let state = issue.status.text();
    let status = match state {
        "unresolved" => EventStatus::Firing,
        "ignored" | "archived" => EventStatus::Acknowledged,
        "resolved" => EventStatus::Resolved,
        _ => EventStatus::Info,
    };
    draft.state(state, status);
    for (name, text) in [
        ("short_id", &issue.short_id),
        ("substatus", &issue.substatus),
        ("event_count", &issue.count),
        ("user_count", &issue.users),
        ("first_seen", &issue.first_seen),
        ("platform", &issue.platform),
        ("assigned_to", &issue.assignee.name),
    ] {
        draft.attribute(name, text.text());
    }
}

fn of_sample(draft: &mut Draft<'_>, payload: &Payload<'_>, sample: &Sample<'_>) {
    let place = Place {
        project: sample.project.text(),
        issue: sample.issue.text(),
        url: sample.web_url.text(),
    };
    identifiers(draft, payload, &place);
    draft.title(sample.title.text());
    draft.text(sample.culprit.text(), TextFormat::Plain);
    draft.occurred(times::number_or_date(sample.at.text()));
    let native = sample.level.text();
    draft.severity(severity::worded(native), native);
    let alert = &payload.data.issue_alert;
    let rule = payload.data.rule.get().unwrap_or(alert.title.text());
    for (name, text) in [
        ("rule", rule),
        ("event_id", sample.id.text()),
        ("environment", sample.environment.text()),
        ("release", sample.release.text()),
        ("platform", sample.platform.text()),
    ] {
        draft.attribute(name, text);
    }
    let settings = alert.settings.iter();
    let settings =
        settings.map(|setting| format!("{}={}", setting.name.text(), setting.value.text()));
    draft.attribute("rule_settings", &settings.collect::<Vec<_>>().join(","));
}

fn of_metric(draft: &mut Draft<'_>, payload: &Payload<'_>, alert: &MetricAlert<'_>) {
    let data = &payload.data;
    let place = Place {
        project: alert.projects.first().map_or("", Text::text),
        url: data.web_url.text(),
        ..Place::default()
    };
    identifiers(draft, payload, &place);
    draft.title(data.title.get().unwrap_or(alert.title.text()));
    draft.text(data.text.text(), TextFormat::Plain);
    draft.occurred(times::number_or_date(alert.detected_at.text()));
    let action = payload.action.text();
    let (status, severity) = match action {
        "critical" => (EventStatus::Firing, Severity::Critical),
        "warning" => (EventStatus::Firing, Severity::Medium),
        "open" => (EventStatus::Firing, Severity::Unspecified),
        "resolved" => (EventStatus::Resolved, Severity::Unspecified),
        _ => (EventStatus::Info, Severity::Unspecified),
    };
    draft.state(action, status);
    if severity != Severity::Unspecified {
        draft.severity(severity, action);
    }
    draft.correlation(&["metric_alert", alert.id.text()]);
    draft.attribute("rule", alert.rule.name.text());
    draft.attribute("rule_id", alert.rule.id.text());
    draft.attribute("query", alert.rule.query.text());
    draft.attribute("aggregate", alert.rule.aggregate.text());
    draft.attribute("environment", alert.rule.environment.text());
    draft.attribute_list("projects", alert.projects.iter().map(Text::text));
}

fn of_comment(draft: &mut Draft<'_>, payload: &Payload<'_>) {
    let data = &payload.data;
    let place = Place {
        project: data.project.text(),
        issue: data.issue_id.text(),
        ..Place::default()
    };
    identifiers(draft, payload, &place);
    draft.text(data.comment.text(), TextFormat::Markdown);
    draft.occurred(times::number_or_date(data.timestamp.text()));
    draft.attribute("comment_id", data.comment_id.text());
}

/// Installations, and resources that we have no shape for.
fn of_anything(draft: &mut Draft<'_>, payload: &Payload<'_>) {
    let data = &payload.data;
    let place = Place {
        project: data.project.text(),
        issue: data.issue_id.get().unwrap_or(data.group_id.text()),
        url: data.web_url.text(),
    };
    identifiers(draft, payload, &place);
    draft.occurred(times::number_or_date(data.timestamp.text()));
    draft.attribute("run_id", data.run_id.text());
}

fn actor(draft: &mut Draft<'_>, payload: &Payload<'_>) {
    let actor = &payload.actor;
    let kind = match actor.kind.text() {
        "user" => ActorKind::User,
        "application" => ActorKind::App,
        _ => ActorKind::System,
    };
    draft.actor(kind, actor.id.text(), actor.name.text());
}

/// `acme` of `https://sentry.io/organizations/acme/…` or of `https://acme.sentry.io/…`.
fn organization(url: &str) -> Option<&str> {
    let (host, path) = url.strip_prefix("https://")?.split_once('/')?;
    if let Some((_, rest)) = path.split_once("organizations/") {
        return rest
            .split(['/', '?', '#'])
            .next()
            .filter(|slug| is_slug(slug));
    }
    let slug = host.strip_suffix(".sentry.io")?;
    // Regions and the site itself are no organizations.
    let is_organization = is_slug(slug) && !["us", "de", "eu", "www"].contains(&slug);
    is_organization.then_some(slug)
}

fn is_slug(text: &str) -> bool {
    let of_slug = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !text.is_empty() && text.bytes().all(of_slug)
}

#[cfg(test)]
mod tests;
