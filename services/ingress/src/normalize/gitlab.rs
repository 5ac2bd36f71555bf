//! GitLab: hooks of projects, groups and the whole instance. `object_kind` says what it is, or `event_name`
//! where there is no object; most of it stands in `object_attributes`.

mod payload;

use tocsin_wire::proto::{ActorKind, Event, EventStatus, Severity, TextFormat};
use tocsin_wire::scheme::Scheme;

use super::{Delivery, Malformed, Normalized, draft::Draft, first, read_json, times, utf8};
use crate::provider::{Endpoint, Provider, SecretSetting, Throttled};
use payload::Body;

/// As events and subjects name it.
const NAME: &str = "gitlab";

/// GitLab. A signing token (`whsec_…`) decides alone where one is set: a right secret token beside a wrong
/// signature helps nobody.
pub const PROVIDER: Provider = Provider {
    name: NAME,
    secret: SecretSetting {
        flag: "gitlab-webhook-secret",
        variable: "GITLAB_WEBHOOK_SECRET",
        help: "Secret tokens or signing tokens (whsec_…) of GitLab's hooks",
    },
    endpoints: &[Endpoint::only(normalize)],
    schemes: &[Scheme::token("x-gitlab-token"), Scheme::StandardWebhooks],
    single_headers: &[IDEMPOTENCY_KEY, EVENT_ID, EVENT],
    kept_headers: &[
        EVENT,
        EVENT_ID,
        IDEMPOTENCY_KEY,
        "x-gitlab-instance",
        "x-gitlab-webhook-uuid",
    ],
    // It sends nothing twice, and every answer but 2xx brings the hook nearer to being switched off.
    throttled: Throttled::Deferred,
};

/// Name of the kind of hook: `Confidential Issue Hook`.
const EVENT: &str = "x-gitlab-event";
/// The same for all tries of one delivery; the signed id, where there is one, is equal to it.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Id of the event, in versions without the above.
const EVENT_ID: &str = "x-gitlab-event-uuid";
/// The id that a signature covers.
const SIGNED_ID: &str = "webhook-id";

/// What we have a name for: GitLab's own.
const KNOWN: &[&str] = &[
    "access_token",
    "build",
    "deployment",
    "emoji",
    "feature_flag",
    "group_create",
    "group_destroy",
    "group_rename",
    "issue",
    "key_create",
    "key_destroy",
    "merge_request",
    "milestone",
    "note",
    "pipeline",
    "project_create",
    "project_destroy",
    "project_rename",
    "project_transfer",
    "project_update",
    "push",
    "release",
    "repository_update",
    "resource_access_token",
    "subgroup_create",
    "subgroup_destroy",
    "tag_push",
    "user_access_request_to_group",
    "user_access_request_to_project",
    "user_add_to_group",
    "user_add_to_team",
    "user_create",
    "user_destroy",
    "user_failed_login",
    "user_remove_from_group",
    "user_remove_from_team",
    "user_rename",
    "user_update_for_group",
    "user_update_for_team",
    "vulnerability",
    "wiki_page",
    "work_item",
];

/// An issue of GitLab's type for outages.
const INCIDENT: &str = "incident";

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
    let native = first(&[&body.object_kind, &body.event_name]);
    if is_incident(body) {
        INCIDENT.clone_into(&mut draft.event.kind);
    } else if KNOWN.contains(&native) {
        native.clone_into(&mut draft.event.kind);
    }
    native.clone_into(&mut draft.event.native_type);
    let state = first(&[
        &body.attributes.status,
        &body.attributes.state,
        &body.build_status,
        &body.status,
    ]);
    // What runs has a status where other objects have an action.
    let runs = matches!(native, "pipeline" | "build" | "deployment");
    let action = if runs {
        state
    } else {
        first(&[&body.attributes.action, &body.action])
    };
    action.clone_into(&mut draft.event.action);

    let path = first(&[&body.project.path_with_namespace, &body.path_with_namespace]);
    draft.identifier("gitlab_project", path);
    draft.identifier(
        "gitlab_project_id",
        first(&[&body.project.id, &body.project_id]),
    );

    actor(&mut draft, body);
    texts(&mut draft, body);
    let at = first(&[
        &body.attributes.finished_at,
        &body.attributes.updated_at,
        &body.attributes.created_at,
        &body.build_finished_at,
        &body.build_started_at,
        &body.build_created_at,
        &body.status_changed_at,
        &body.released_at,
        &body.updated_at,
        &body.created_at,
    ]);
    draft.occurred(times::date(at));
    draft.state(state, status(native, &draft.event.kind, state));
    let native_severity = body.attributes.severity.text();
    draft.severity(severity(native_severity), native_severity);
    correlation(&mut draft, native, body, path);
    attributes(&mut draft, body, delivery.header(EVENT));
    let ids = [SIGNED_ID, IDEMPOTENCY_KEY, EVENT_ID].map(|name| delivery.header(name));
    let id = ids.into_iter().find(|id| !id.is_empty());
    // A body that names a time is the same through two hooks. One that does not may say another day what it
    // said before: a flag is on again.
    let semantic = id.filter(|_| at.is_empty());
    draft.finish(id.unwrap_or_default(), semantic)
}

fn is_incident(body: &Body<'_>) -> bool {
    let kind = body.object_kind.text();
    matches!(kind, "issue" | "work_item")
        && body.attributes.kind.text().eq_ignore_ascii_case(INCIDENT)
}

fn actor(draft: &mut Draft<'_>, body: &Body<'_>) {
    let id = first(&[&body.user.id, &body.user_id]);
    let name = first(&[
        &body.user.username,
        &body.user_username,
        &body.user.name,
        &body.user_name,
    ]);
    // The users of access tokens: `project_7_bot_4f3c`, `group_12_bot`.
    let is_bot = (name.starts_with("project_") || name.starts_with("group_"))
        && name.split('_').nth(2) == Some("bot");
    let kind = if is_bot {
        ActorKind::Bot
    } else {
        ActorKind::User
    };
    draft.actor(kind, id, name);
}

fn texts(draft: &mut Draft<'_>, body: &Body<'_>) {
    draft.title(first(&[
        &body.attributes.title,
        &body.merge_request.title,
        &body.issue.title,
        &body.snippet.title,
        &body.attributes.name,
        &body.build_name,
        &body.name,
        &body.commit.title,
        &body.commit.message,
        &body.git_ref,
        &body.attributes.git_ref,
        &body.project.name,
    ]));
    let said = first(&[
        &body.attributes.note,
        &body.attributes.description,
        &body.attributes.content,
        &body.description,
    ]);
    match body.commits.last() {
        Some(head) if said.is_empty() => draft.text(head.message.text(), TextFormat::Plain),
        _ => draft.text(said, TextFormat::Markdown),
    }
    draft.event.url = first(&[
        &body.attributes.url,
        &body.url,
        &body.deployable_url,
        &body.project.web_url,
        &body.repository.homepage,
    ])
    .to_owned();
}

fn status(native: &str, kind: &str, state: &str) -> EventStatus {
    match (native, state) {
        ("pipeline" | "build" | "deployment", "failed") => EventStatus::Firing,
        ("pipeline" | "build" | "deployment", "success") => EventStatus::Resolved,
        (_, "opened" | "reopened") if kind == INCIDENT => EventStatus::Firing,
        (_, "closed") if kind == INCIDENT => EventStatus::Resolved,
        _ => EventStatus::Info,
    }
}

/// Of incidents and vulnerabilities.
fn severity(native: &str) -> Severity {
    match native.to_ascii_lowercase().as_str() {
        "critical" => Severity::Critical,
        "high" => Severity::High,
        "medium" => Severity::Medium,
        "low" => Severity::Low,
        "info" => Severity::Info,
        _ => Severity::Unspecified,
    }
}

/// What is said of one merge request or issue is one thread; so are the runs of one pipeline on one branch.
fn correlation(draft: &mut Draft<'_>, native: &str, body: &Body<'_>, path: &str) {
    let project = match path {
        "" => first(&[&body.project.id, &body.project_id]).to_owned(),
        path => path.to_lowercase(),
    };
    let git_ref = first(&[&body.attributes.git_ref, &body.git_ref]);
    let own = body.attributes.iid.text();
    let parts: &[&str] = match native {
        "pipeline" => &[&project, "pipeline", git_ref],
        "build" => &[&project, "job", body.build_name.text(), git_ref],
        "deployment" => &[&project, "deployment", body.environment.text()],
        "merge_request" => &[&project, "merge_request", own],
        "issue" | "work_item" => &[&project, "issue", own],
        "vulnerability" => &[&project, "vulnerability", body.attributes.id.text()],
        "note" if body.issue.iid.get().is_some() => &[&project, "issue", body.issue.iid.text()],
        "note" => &[&project, "merge_request", body.merge_request.iid.text()],
        _ => return,
    };
    draft.correlation(parts);
}

fn attributes(draft: &mut Draft<'_>, body: &Body<'_>, header: &str) {
    let git_ref = first(&[&body.attributes.git_ref, &body.git_ref]);
    draft.attribute("ref", git_ref);
    let branch = git_ref.strip_prefix("refs/heads/");
    draft.attribute("branch", branch.unwrap_or_default());
    draft.attribute(
        "sha",
        first(&[&body.attributes.sha, &body.sha, &body.after]),
    );
    // The list of commits is cut at 20.
    draft.attribute("commits", body.total_commits_count.text());
    draft.attribute("environment", body.environment.text());
    draft.attribute("source_branch", body.attributes.source_branch.text());
    draft.attribute("target_branch", body.attributes.target_branch.text());
    draft.attribute("noteable_type", body.attributes.noteable_type.text());
    let own = body.attributes.iid.text();
    let (request, issue) = match body.object_kind.text() {
        "merge_request" => (own, ""),
        "issue" | "work_item" => ("", own),
        _ => (body.merge_request.iid.text(), body.issue.iid.text()),
    };
    draft.attribute("mr_number", request);
    draft.attribute("issue_number", issue);
    let pipeline = match body.object_kind.text() {
        "pipeline" => body.attributes.id.text(),
        _ => body.pipeline_id.text(),
    };
    draft.attribute("pipeline_id", pipeline);
    draft.attribute("job_id", body.build_id.text());
    draft.attribute("stage", body.build_stage.text());
    draft.attribute("failure_reason", body.build_failure_reason.text());
    let failed = body.builds.iter();
    let failed = failed.filter(|build| build.status.text() == "failed");
    draft.attribute_list("failed_jobs", failed.map(|build| build.name.text()));
    draft.attribute("group", first(&[&body.group_path, &body.full_path]));
    let is_confidential = body.attributes.confidential.0
        || body.event_type.text().starts_with("confidential_")
        || header.starts_with("Confidential ");
    draft.flag("confidential", is_confidential);
}
