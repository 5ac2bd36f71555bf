//! Jira: `webhookEvent` says what happened, to an issue or a comment; who did it, where it stands, and
//! what changed are beside it. Cloud names people by account, servers by name.

use tocsin_wire::proto::{ActorKind, Event, EventStatus, Severity, TextFormat};
use tocsin_wire::scheme::{HmacScheme, Scheme};

use super::{Delivery, Malformed, Normalized, draft::Draft, first, read_json, times, utf8};
use crate::json::{List, Prose, Text, object};
use crate::provider::{Endpoint, Provider, SecretSetting, Throttled};

/// As events and subjects name it.
const NAME: &str = "jira";

/// Jira's webhooks with a secret, of Cloud and of servers.
pub const PROVIDER: Provider = Provider {
    name: NAME,
    secret: SecretSetting {
        flag: "jira-webhook-secret",
        variable: "JIRA_WEBHOOK_SECRET",
        help: "Secrets of Jira's webhooks",
    },
    endpoints: &[Endpoint::only(normalize)],
    schemes: &[Scheme::Hmac(HmacScheme::over_body(
        "x-hub-signature",
        "sha256=",
    ))],
    // Tells deliveries apart, and is outside the MAC.
    single_headers: &[DELIVERY],
    kept_headers: &[DELIVERY, FLOW, RETRY],
    // Of the 4xx it tries only 408, 409, 425 and 429 again.
    throttled: Throttled::TooManyRequests,
};

/// Id of the delivery, unique in its site; the same when it is tried again.
const DELIVERY: &str = "x-atlassian-webhook-identifier";
/// `Primary` within half a minute, `Secondary` within a quarter of an hour.
const FLOW: &str = "x-atlassian-webhook-flow";
/// Which try this is.
const RETRY: &str = "x-atlassian-webhook-retry";

/// Events that we have a name for; the part before a colon is left out.
const KNOWN: &[&str] = &[
    "attachment_created",
    "attachment_deleted",
    "comment_created",
    "comment_deleted",
    "comment_updated",
    "issue_created",
    "issue_deleted",
    "issue_property_deleted",
    "issue_property_set",
    "issue_updated",
    "issuelink_created",
    "issuelink_deleted",
    "project_created",
    "project_deleted",
    "project_updated",
    "sprint_closed",
    "sprint_created",
    "sprint_deleted",
    "sprint_started",
    "sprint_updated",
    "user_created",
    "user_deleted",
    "user_updated",
    "version_created",
    "version_deleted",
    "version_moved",
    "version_released",
    "version_unreleased",
    "version_updated",
    "worklog_created",
    "worklog_deleted",
    "worklog_updated",
];

object! {
    Body {
        "webhookEvent" => event: Text<'a>,
        "issue_event_type_name" => event_type: Text<'a>,
        "timestamp" => timestamp: Text<'a>,
        "user" => user: Person<'a>,
        "issue" => issue: Issue<'a>,
        "comment" => comment: Option<Comment<'a>>,
        "changelog" => changelog: Changelog<'a>,
        "project" => project: Project<'a>,
        "sprint" => sprint: Named<'a>,
        "version" => version: Version<'a>,
        "worklog" => worklog: Worklog<'a>,
    }
}

object! {
    Person {
        "accountId" => account: Text<'a>,
        "accountType" => kind: Text<'a>,
        "key" => key: Text<'a>,
        "name" => name: Text<'a>,
        "displayName" => display_name: Text<'a>,
    }
}

object! {
    Issue {
        "id" => id: Text<'a>,
        "self" => link: Text<'a>,
        "key" => key: Text<'a>,
        "fields" => fields: Fields<'a>,
    }
}

object! {
    Fields {
        "summary" => summary: Text<'a>,
        "description" => description: Prose<'a>,
        "status" => status: Status<'a>,
        "priority" => priority: Named<'a>,
        "project" => project: Project<'a>,
        "issuetype" => kind: Named<'a>,
        "resolution" => resolution: Named<'a>,
        "assignee" => assignee: Person<'a>,
        "labels" => labels: List<Text<'a>>,
        "components" => components: List<Named<'a>>,
    }
}

object! {
    Named { "id" => id: Text<'a>, "name" => name: Text<'a> }
}

object! {
    Status { "name" => name: Text<'a>, "statusCategory" => category: Category<'a> }
}

object! {
    Category { "key" => key: Text<'a> }
}

object! {
    Project { "key" => key: Text<'a>, "name" => name: Text<'a>, "self" => link: Text<'a> }
}

object! {
    Version { "id" => id: Text<'a>, "name" => name: Text<'a>, "self" => link: Text<'a> }
}

object! {
    Worklog { "id" => id: Text<'a>, "issueId" => issue: Text<'a>, "self" => link: Text<'a> }
}

object! {
    Comment {
        "id" => id: Text<'a>,
        "self" => link: Text<'a>,
        // A text, or the document of the new editor.
        "body" => body: Prose<'a>,
        "author" => author: Person<'a>,
        "updateAuthor" => update_author: Person<'a>,
    }
}

object! {
    Changelog { "id" => id: Text<'a>, "items" => items: List<Change<'a>> }
}

object! {
    Change { "field" => field: Text<'a>, "fromString" => from: Text<'a>, "toString" => to: Text<'a> }
}

/// Reads a verified delivery.
///
/// # Errors
/// When the body is not JSON.
pub fn normalize(delivery: Delivery<'_>) -> Result<Normalized, Malformed> {
    let body: Body<'_> = read_json(utf8(delivery.body)?)?;
    Ok(Normalized::Event(Box::new(event(delivery, &body))))
}

fn event(delivery: Delivery<'_>, body: &Body<'_>) -> Event {
    let mut draft = Draft::new(NAME, delivery);
    let native = body.event.text();
    let name = native.rsplit(':').next().unwrap_or_default();
    if KNOWN.contains(&name) {
        name.clone_into(&mut draft.event.kind);
    }
    native.clone_into(&mut draft.event.native_type);
    draft.event.action = body.event_type.owned();
    draft.event.attempt = delivery.header(RETRY).parse().unwrap_or(0);

    let site = site(body).unwrap_or_default();
    let fields = &body.issue.fields;
    let project = first(&[&fields.project.key, &body.project.key]);
    // An issue's key begins with its project's.
    let of_issue = body.issue.key.text().rsplit_once('-');
    let of_issue = of_issue.map_or("", |(project, _number)| project);
    let project = if project.is_empty() {
        of_issue
    } else {
        project
    };
    draft.identifier("jira_project_key", project);
    draft.identifier("jira_issue_key", body.issue.key.text());
    draft.identifier("jira_site", site);

    actor(&mut draft, body);
    texts(&mut draft, body);
    draft.occurred(times::number_or_date(body.timestamp.text()));
    let (state, status) = status(name, &fields.status);
    draft.state(state, status);
    let priority = fields.priority.name.text();
    draft.severity(severity(priority), priority);
    let issue = first(&[&body.issue.id, &body.worklog.issue]);
    draft.correlation(&[site, "issue", issue]);
    attributes(&mut draft, body);
    let semantic = semantic(body, site, issue);
    draft.finish(delivery.header(DELIVERY), semantic.as_deref())
}

/// Where the objects are, whatever links their texts hold.
fn links<'a>(body: &'a Body<'_>) -> impl Iterator<Item = &'a str> {
    let links = [
        Some(&body.issue.link),
        body.comment.as_ref().map(|comment| &comment.link),
        Some(&body.project.link),
        Some(&body.version.link),
        Some(&body.worklog.link),
    ];
    links.into_iter().flatten().filter_map(Text::get)
}

/// Host of the site.
fn site<'a>(body: &'a Body<'_>) -> Option<&'a str> {
    links(body).find_map(host)
}

/// `acme.atlassian.net` of `https://acme.atlassian.net/rest/api/2/issue/1`.
fn host(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://");
    let rest = rest.or_else(|| url.strip_prefix("http://"))?;
    let host = rest.split(['/', '?', '#']).next()?;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':');
    (!host.is_empty() && host.bytes().all(is_part)).then_some(host)
}

/// `https://corp.example/jira` of `https://corp.example/jira/rest/api/2/issue/1`: servers may stand below
/// a path, and pages are beside the API.
fn home(url: &str) -> Option<&str> {
    let host = host(url)?;
    let origin = url.find("://")? + "://".len() + host.len();
    let path = url.get(origin..)?.split(['?', '#']).next()?;
    let context = path.split_once("/rest/").map_or("", |(context, _)| context);
    url.get(..origin + context.len())
}

fn actor(draft: &mut Draft<'_>, body: &Body<'_>) {
    // Events of comments have no user.
    let comment = body.comment.as_ref();
    let people = [
        Some(&body.user),
        comment.map(|comment| &comment.update_author),
        comment.map(|comment| &comment.author),
    ];
    for person in people.into_iter().flatten() {
        let id = first(&[&person.account, &person.key, &person.name]);
        let name = first(&[&person.display_name, &person.name]);
        if id.is_empty() && name.is_empty() {
            continue;
        }
        let kind = match person.kind.text() {
            "app" => ActorKind::App,
            _ => ActorKind::User,
        };
        draft.actor(kind, id, name);
        return;
    }
}

fn texts(draft: &mut Draft<'_>, body: &Body<'_>) {
    let fields = &body.issue.fields;
    draft.title(first(&[
        &fields.summary,
        &body.version.name,
        &body.sprint.name,
        &body.project.name,
        &body.issue.key,
    ]));
    // Nobody said the issue's description again in a comment that has no words.
    let text = match &body.comment {
        Some(comment) => &comment.body,
        None => &fields.description,
    };
    draft.text(text.text(), TextFormat::Plain);
    if let (Some(home), Some(key)) = (links(body).find_map(home), body.issue.key.get()) {
        draft.event.url = format!("{home}/browse/{key}");
    }
}

fn comment_id<'a>(body: &'a Body<'_>) -> &'a str {
    let comment = body.comment.as_ref();
    comment.map_or("", |comment| comment.id.text())
}

/// The name of the status, which every site chooses, and what its category says.
fn status<'a>(name: &str, status: &'a Status<'_>) -> (&'a str, EventStatus) {
    let ours = match status.category.key.text() {
        _ if name == "issue_deleted" => EventStatus::Resolved,
        // A comment below a finished issue finishes nothing.
        "done" if name.starts_with("issue_") => EventStatus::Resolved,
        _ => EventStatus::Info,
    };
    (status.name.text(), ours)
}

/// Jira's own names of priorities, old and new; a site may have others.
fn severity(native: &str) -> Severity {
    match native.to_ascii_lowercase().as_str() {
        "highest" | "blocker" | "critical" | "p1" => Severity::Critical,
        "high" | "major" | "p2" => Severity::High,
        "medium" | "p3" => Severity::Medium,
        "low" | "minor" | "p4" => Severity::Low,
        "lowest" | "trivial" | "p5" => Severity::Info,
        _ => Severity::Unspecified,
    }
}

/// What happened to what, and when: two webhooks of a site tell it under two ids.
fn semantic(body: &Body<'_>, site: &str, issue: &str) -> Option<String> {
    let event = body.event.get()?;
    let at = body.timestamp.get()?;
    if site.is_empty() || issue.is_empty() {
        return None;
    }
    let (comment, change) = (comment_id(body), body.changelog.id.text());
    let worklog = body.worklog.id.text();
    Some(format!(
        "{site}:{event}:{issue}:{at}:{comment}:{change}:{worklog}"
    ))
}

fn attributes(draft: &mut Draft<'_>, body: &Body<'_>) {
    let fields = &body.issue.fields;
    draft.attribute("issue_key", body.issue.key.text());
    draft.attribute("issue_type", fields.kind.name.text());
    draft.attribute("priority", fields.priority.name.text());
    draft.attribute("resolution", fields.resolution.name.text());
    draft.attribute(
        "assignee",
        first(&[&fields.assignee.display_name, &fields.assignee.name]),
    );
    draft.attribute("project_name", fields.project.name.text());
    draft.attribute("comment_id", comment_id(body));
    draft.attribute_list("labels", fields.labels.iter().map(Text::text));
    let components = fields.components.iter();
    draft.attribute_list("components", components.map(|part| part.name.text()));
    let changes = || body.changelog.items.iter();
    draft.attribute_list("changed", changes().map(|change| change.field.text()));
    if let Some(change) = changes().find(|change| change.field.text() == "status") {
        draft.attribute("status_from", change.from.text());
        draft.attribute("status_to", change.to.text());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::super::fixtures::deliver;
    use super::*;

    #[test]
    fn a_site_is_the_host_of_a_link() {
        for (url, expected) in [
            (
                "https://acme.atlassian.net/rest/api/2/issue/1",
                Some("acme.atlassian.net"),
            ),
            ("http://jira.local:8080/x", Some("jira.local:8080")),
            ("https://acme.atlassian.net", Some("acme.atlassian.net")),
            ("https://acme.atlassian.net@evil.example/x", None),
            ("https:///x", None),
            ("acme.atlassian.net/x", None),
            ("", None),
        ] {
            assert_eq!(host(url), expected, "{url}");
        }
    }

    fn read(body: &str) -> Event {
        let body = Bytes::from(body.to_owned());
        match deliver(NAME, None, &HeaderMap::new(), &body) {
            Ok(Normalized::Event(event)) => *event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pages_are_beside_the_api() {
        for (url, expected) in [
            (
                "https://acme.atlassian.net/rest/api/2/issue/1",
                Some("https://acme.atlassian.net"),
            ),
            (
                "https://corp.example/jira/rest/api/2/issue/1",
                Some("https://corp.example/jira"),
            ),
            ("http://rest/rest/api", Some("http://rest")),
            ("http://rest:8080", Some("http://rest:8080")),
            ("https://a.example/x?y=/rest/", Some("https://a.example")),
            ("/rest/api/2/issue/1", None),
            ("", None),
        ] {
            assert_eq!(home(url), expected, "{url}");
        }
        let below =
            read(r#"{"issue":{"key":"OPS-1","self":"https://corp/jira/rest/api/2/issue/1"}}"#);
        assert_eq!(below.url, "https://corp/jira/browse/OPS-1");
        let of_comment = read(
            r#"{"issue":{"key":"OPS-1"},"comment":{"self":"https://corp/rest/api/2/comment/1"}}"#,
        );
        assert_eq!(of_comment.url, "https://corp/browse/OPS-1");
    }

    #[test]
    fn a_comment_speaks_for_itself() {
        let document = r#"{"type":"doc","content":[{"type":"paragraph","content":[
            {"type":"text","text":"Rolled "},{"type":"text","text":"back"}]}]}"#;
        for (comment, expected) in [
            (r#","comment":{"id":"1","body":"Looking"}"#, "Looking"),
            (
                &*format!(r#","comment":{{"id":"1","body":{document}}}"#),
                "Rolled back",
            ),
            (r#","comment":{"id":"1","body":""}"#, ""),
            (r#","comment":{"id":"1","body":{"type":"doc"}}"#, ""),
            (r#","comment":{"id":"1"}"#, ""),
            (r#","comment":null"#, "5xx on checkout"),
            ("", "5xx on checkout"),
        ] {
            let body =
                format!(r#"{{"issue":{{"fields":{{"description":"5xx on checkout"}}}}{comment}}}"#);
            assert_eq!(read(&body).text, expected, "{comment}");
        }
        let described = read(&format!(
            r#"{{"issue":{{"fields":{{"description":{document}}}}}}}"#
        ));
        assert_eq!(described.text, "Rolled back");
    }
}
