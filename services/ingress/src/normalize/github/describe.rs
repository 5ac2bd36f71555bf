//! Title, text, link, time, state and facts of each type of event.

use tocsin_wire::proto::{EventStatus, Severity, TextFormat};

use super::{
    checks::{check, commit_status, outcome},
    first, mentions,
    payload::{Alert, Comment, Issue, Payload, PullRequest},
    severity,
};
use crate::{
    json::Text,
    normalize::{draft::Draft, times},
};

/// How a branch is written in full.
const BRANCH_PREFIX: &str = "refs/heads/";

pub(super) fn describe(draft: &mut Draft<'_>, native: &str, payload: &Payload<'_>) {
    match native {
        "push" => push(draft, payload),
        "pull_request" | "pull_request_review_thread" => {
            pull_request(draft, payload);
        }
        "pull_request_review" => review(draft, payload),
        "pull_request_review_comment" => review_comment(draft, payload),
        "issues" => issue(draft, &payload.issue, payload),
        "issue_comment" => issue_comment(draft, &payload.issue, payload),
        "discussion" => issue(draft, &payload.discussion, payload),
        "discussion_comment" => issue_comment(draft, &payload.discussion, payload),
        "commit_comment" => commit_comment(draft, payload),
        "workflow_run" | "workflow_job" | "check_run" | "check_suite" => {
            check(draft, native, payload);
        }
        "deployment" | "deployment_status" => deployment(draft, payload),
        "deployment_review" => deployment_review(draft, payload),
        "status" => commit_status(draft, payload),
        "release" => release(draft, payload),
        "installation" | "installation_repositories" | "installation_target" => {
            installation(draft, payload);
        }
        // Where else a secret was found is news of its alert.
        "secret_scanning_alert_location" => alert(draft, "secret_scanning_alert", payload),
        _ if native.ends_with("_alert") => alert(draft, native, payload),
        "security_advisory" | "repository_advisory" => advisory(draft, payload),
        _ => other(draft, payload),
    }
}

fn push(draft: &mut Draft<'_>, payload: &Payload<'_>) {
    let (head, git_ref) = (&payload.head_commit, payload.git_ref.text());
    draft.title(git_ref);
    draft.text(head.message.text(), TextFormat::Plain);
    link(draft, payload.compare.text());
    draft.occurred(times::rfc3339(head.timestamp.text()));
    git_ref_attributes(draft, git_ref);
    draft.attribute("sha", payload.after.text());
    draft.attribute("before", payload.before.text());
    let commits = payload.commits.len() + payload.commits.left_out();
    draft.attribute("commits", &commits.to_string());
    draft.flag("created", payload.created.0);
    draft.flag("deleted", payload.deleted.0);
    draft.flag("forced", payload.forced.0);
}

fn git_ref_attributes(draft: &mut Draft<'_>, git_ref: &str) {
    draft.attribute("ref", git_ref);
    draft.attribute(
        "branch",
        git_ref.strip_prefix(BRANCH_PREFIX).unwrap_or_default(),
    );
}

fn pull_request(draft: &mut Draft<'_>, payload: &Payload<'_>) {
    let request = &payload.pull_request;
    markdown(draft, &request.title, &request.body);
    link(draft, request.html_url.text());
    draft.occurred(times::rfc3339(request.updated_at.text()));
    draft.state(request.state.text(), EventStatus::Info);
    draft.attribute("label", payload.label.name.text());
    pull_request_attributes(draft, payload);
}

fn pull_request_attributes(draft: &mut Draft<'_>, payload: &Payload<'_>) {
    let request: &PullRequest<'_> = &payload.pull_request;
    let number = first(&[&request.number, &payload.number]);
    conversation(draft, payload, "pr_number", number);
    draft.attribute("branch", request.head.git_ref.text());
    draft.attribute("sha", request.head.sha.text());
    draft.attribute("base_branch", request.base.git_ref.text());
    draft.flag("merged", request.merged.0);
    draft.flag("draft", request.draft.0);
}

/// The number of the pull request or issue, and that all around it belongs together.
fn conversation(draft: &mut Draft<'_>, payload: &Payload<'_>, name: &str, number: &str) {
    draft.attribute(name, number);
    if !number.is_empty() {
        let repository = payload.repository.full_name.text().to_lowercase();
        draft.correlation(&[&repository, number]);
    }
}

fn review(draft: &mut Draft<'_>, payload: &Payload<'_>) {
    let review = &payload.review;
    markdown(draft, &payload.pull_request.title, &review.body);
    link(draft, review.html_url.text());
    draft.occurred(times::rfc3339(review.submitted_at.text()));
    draft.state(review.state.text(), EventStatus::Info);
    pull_request_attributes(draft, payload);
}

fn review_comment(draft: &mut Draft<'_>, payload: &Payload<'_>) {
    comment(draft, &payload.pull_request.title, &payload.comment);
    pull_request_attributes(draft, payload);
}

/// An issue or a discussion.
fn issue(draft: &mut Draft<'_>, issue: &Issue<'_>, payload: &Payload<'_>) {
    markdown(draft, &issue.title, &issue.body);
    link(draft, issue.html_url.text());
    draft.occurred(times::rfc3339(issue.updated_at.text()));
    draft.state(issue.state.text(), EventStatus::Info);
    draft.attribute("label", payload.label.name.text());
    conversation(draft, payload, "issue_number", issue.number.text());
}

fn issue_comment(draft: &mut Draft<'_>, issue: &Issue<'_>, payload: &Payload<'_>) {
    comment(draft, &issue.title, &payload.comment);
    draft.state(issue.state.text(), EventStatus::Info);
    // GitHub's pull requests are issues; only this field tells.
    let is_pull_request = issue.pull_request.0;
    let name = if is_pull_request {
        "pr_number"
    } else {
        "issue_number"
    };
    conversation(draft, payload, name, issue.number.text());
}

fn commit_comment(draft: &mut Draft<'_>, payload: &Payload<'_>) {
    comment(draft, &payload.comment.commit_id, &payload.comment);
    draft.attribute("sha", payload.comment.commit_id.text());
}

fn comment(draft: &mut Draft<'_>, title: &Text<'_>, comment: &Comment<'_>) {
    markdown(draft, title, &comment.body);
    link(draft, comment.html_url.text());
    let at = first(&[&comment.updated_at, &comment.created_at]);
    draft.occurred(times::rfc3339(at));
    draft.attribute("comment_id", comment.id.text());
}

fn deployment(draft: &mut Draft<'_>, payload: &Payload<'_>) {
    let (deployment, status) = (&payload.deployment, &payload.deployment_status);
    let environment = first(&[&status.environment, &deployment.environment]);
    let state = status.state.text();
    draft.title(environment);
    draft.text(
        first(&[&status.description, &deployment.description]),
        TextFormat::Plain,
    );
    link(draft, first(&[&status.target_url, &status.log_url]));
    let at = [
        &status.updated_at,
        &status.created_at,
        &deployment.updated_at,
        &deployment.created_at,
    ];
    draft.occurred(times::rfc3339(first(&at)));
    draft.state(state, outcome(state));
    if outcome(state) == EventStatus::Firing {
        draft.severity(Severity::High, state);
    }
    let repository = payload.repository.full_name.text().to_lowercase();
    draft.correlation(&[&repository, "deployment", environment]);
    draft.attribute("environment", environment);
    draft.attribute("sha", deployment.sha.text());
    draft.attribute("ref", deployment.git_ref.text());
}

fn deployment_review(draft: &mut Draft<'_>, payload: &Payload<'_>) {
    let run = &payload.workflow_run;
    draft.title(payload.environment.text());
    link(draft, run.html_url.text());
    draft.occurred(times::rfc3339(first(&[&payload.since, &run.updated_at])));
    draft.attribute("environment", payload.environment.text());
    draft.attribute("branch", run.head_branch.text());
    draft.attribute("sha", run.head_sha.text());
    draft.attribute("workflow", run.name.text());
}

fn release(draft: &mut Draft<'_>, payload: &Payload<'_>) {
    let release = &payload.release;
    let title = if release.name.get().is_some() {
        &release.name
    } else {
        &release.tag_name
    };
    markdown(draft, title, &release.body);
    link(draft, release.html_url.text());
    let at = first(&[&release.published_at, &release.created_at]);
    draft.occurred(times::rfc3339(at));
    draft.attribute("tag", release.tag_name.text());
    draft.flag("draft", release.draft.0);
    draft.flag("prerelease", release.prerelease.0);
}

/// The repositories are facts, not identifiers: which team owns an installation is not for its
/// repositories to say.
fn installation(draft: &mut Draft<'_>, payload: &Payload<'_>) {
    let installation = &payload.installation;
    draft.title(installation.account.login.text());
    link(draft, installation.html_url.text());
    draft.attribute("account", installation.account.login.text());
    for (name, list) in [
        ("repositories", &payload.repositories),
        ("repositories_added", &payload.repositories_added),
        ("repositories_removed", &payload.repositories_removed),
    ] {
        draft.attribute_list(
            name,
            list.iter().map(|repository| repository.full_name.text()),
        );
    }
}

/// Dependabot, code scanning, secret scanning.
fn alert(draft: &mut Draft<'_>, native: &str, payload: &Payload<'_>) {
    let alert: &Alert<'_> = &payload.alert;
    let (rule, advisory) = (&alert.rule, &alert.security_advisory);
    draft.title(first(&[
        &advisory.summary,
        &rule.description,
        &alert.secret_type_display_name,
        &alert.secret_type,
    ]));
    draft.text(
        first(&[&advisory.description, &rule.full_description]),
        TextFormat::Markdown,
    );
    link(draft, alert.html_url.text());
    let at = first(&[&alert.updated_at, &alert.created_at]);
    draft.occurred(times::rfc3339(at));
    let native_severity = first(&[&advisory.severity, &rule.severity, &alert.severity]);
    let graded = rule
        .security_severity_level
        .get()
        .unwrap_or(native_severity);
    draft.severity(severity(graded), native_severity);
    let state = alert_state(alert);
    let status = match state {
        "open" => EventStatus::Firing,
        "fixed" | "dismissed" | "auto_dismissed" | "resolved" | "closed" => EventStatus::Resolved,
        _ => EventStatus::Info,
    };
    draft.state(state, status);
    let repository = payload.repository.full_name.text().to_lowercase();
    draft.correlation(&[&repository, native, alert.number.text()]);
    draft.attribute("alert_number", alert.number.text());
    draft.attribute("rule", rule.id.text());
    draft.attribute("advisory", advisory.ghsa_id.text());
    git_ref_attributes(draft, payload.git_ref.text());
}

/// Alerts of secrets have no state in webhooks, only how they were resolved.
fn alert_state<'a>(alert: &'a Alert<'_>) -> &'a str {
    let is_secret = alert.secret_type.get().is_some();
    match (alert.state.get(), alert.resolution.get()) {
        (Some(state), _) => state,
        (None, Some(_)) if is_secret => "resolved",
        (None, None) if is_secret => "open",
        (None, _) => "",
    }
}

fn advisory(draft: &mut Draft<'_>, payload: &Payload<'_>) {
    let published = &payload.security_advisory;
    let advisory = match published.summary.get() {
        Some(_) => published,
        None => &payload.repository_advisory,
    };
    markdown(draft, &advisory.summary, &advisory.description);
    link(draft, advisory.html_url.text());
    let at = first(&[&advisory.updated_at, &advisory.published_at]);
    draft.occurred(times::rfc3339(at));
    draft.severity(severity(advisory.severity.text()), advisory.severity.text());
    draft.state(advisory.state.text(), EventStatus::Info);
    draft.attribute("advisory", advisory.ghsa_id.text());
}

/// Types without a shape of their own: what their payload says in the usual places.
fn other(draft: &mut Draft<'_>, payload: &Payload<'_>) {
    let named = [&payload.milestone, &payload.label, &payload.team];
    let named = named
        .into_iter()
        .find(|named| named.name.get().is_some() || named.title.get().is_some());
    if let Some(named) = named {
        draft.title(first(&[&named.title, &named.name]));
        link(draft, named.html_url.text());
        draft.occurred(times::rfc3339(named.updated_at.text()));
    }
    if payload.starred_at.get().is_some() {
        draft.occurred(times::rfc3339_or_seconds(payload.starred_at.text()));
    }
    let group = &payload.merge_group;
    git_ref_attributes(draft, first(&[&payload.git_ref, &group.head_ref]));
    draft.attribute("ref_type", payload.ref_type.text());
    draft.attribute("branch", payload.branch.text());
    draft.attribute("sha", group.head_sha.text());
    // Renamed and transferred repositories change what routes them.
    draft.attribute("previous_name", payload.changes.repository.name.from.text());
    let from = &payload.changes.owner.from;
    draft.attribute(
        "previous_owner",
        first(&[&from.organization.login, &from.user.login]),
    );
}

/// A title and a Markdown text, with the people that the text mentions.
fn markdown(draft: &mut Draft<'_>, title: &Text<'_>, text: &Text<'_>) {
    draft.title(title.text());
    draft.text(text.text(), TextFormat::Markdown);
    draft.attribute_list("mentions", mentions::mentioned(text.text()));
}

pub(super) fn link(draft: &mut Draft<'_>, url: &str) {
    url.clone_into(&mut draft.event.url);
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    #[test]
    fn commits_are_counted_beyond_those_that_are_read() {
        for count in [0, 3, 100, 250] {
            let commits = vec!["{}"; count].join(",");
            let event = read("push", &format!(r#""commits":[{commits}]"#));
            assert_eq!(event.attributes["commits"], count.to_string());
        }
    }

    #[test]
    fn a_secret_and_the_places_where_it_is_are_one_alert() {
        for (resolution, state, status) in [
            ("null", "open", EventStatus::Firing),
            (r#""revoked""#, "resolved", EventStatus::Resolved),
        ] {
            for native in ["secret_scanning_alert", "secret_scanning_alert_location"] {
                let alert = format!(
                    r#""alert":{{"number":6,"secret_type":"aws_key","html_url":"https://github.com/a","resolution":{resolution}}}"#
                );
                let event = read(native, &alert);
                assert_eq!(event.kind, native);
                assert_eq!(
                    event.correlation_key,
                    "github:shared:acme/web:secret_scanning_alert:6"
                );
                assert_eq!(
                    (event.title.as_str(), event.url.as_str()),
                    ("aws_key", "https://github.com/a")
                );
                assert_eq!(
                    (event.attributes["state"].as_str(), event.status()),
                    (state, status)
                );
            }
        }
        let untold = read("code_scanning_alert", r#""alert":{"number":1}"#);
        assert_eq!(untold.status(), EventStatus::Info);
    }
}
