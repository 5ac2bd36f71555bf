//! What builds and tests came to: workflows, checks and commit statuses.
//!
//! A run of a workflow of GitHub Actions is told of several times: as the run with its jobs, as a check suite
//! of the app `github-actions`, and as a check run for each job. All of them have repository, branch and
//! commit; but several workflows run for one commit, and the success of one would end the alert of another.
//! The suite is one with the run: each run has a suite of its own, and keeps it when it is run again. So the
//! suite and its check runs correlate by the suite's id. They do not name the workflow, and so cannot have
//! the key of runs and jobs, which is repository, workflow and branch: that one also joins a failure with
//! the success of a later commit. A team that wants one alert of runs, suites and check runs makes
//! `attributes.check_suite_id`, which these three have, its storm fingerprint.

use tocsin_wire::proto::{EventStatus, Severity, TextFormat};

use super::describe::link;
use super::first;
use super::payload::{Check, Payload};
use crate::normalize::{draft::Draft, times};

/// The app under which GitHub Actions writes checks.
const ACTIONS: &str = "github-actions";

pub(super) fn check(draft: &mut Draft<'_>, native: &str, payload: &Payload<'_>) {
    let check: &Check<'_> = match native {
        "workflow_run" => &payload.workflow_run,
        "workflow_job" => &payload.workflow_job,
        "check_run" => &payload.check_run,
        _ => &payload.check_suite,
    };
    let workflow = first(&[
        &check.workflow_name,
        &check.name,
        &payload.workflow.name,
        &check.app.name,
    ]);
    let branch = first(&[&check.head_branch, &check.check_suite.head_branch]);
    draft.title(first(&[
        &check.name,
        &payload.workflow.name,
        &check.output.title,
        &check.app.name,
    ]));
    draft.text(check.output.summary.text(), TextFormat::Markdown);
    link(draft, check.html_url.text());
    let at = match native {
        "workflow_run" | "check_suite" => first(&[&check.updated_at, &check.created_at]),
        _ => first(&[&check.completed_at, &check.started_at, &check.created_at]),
    };
    draft.occurred(times::rfc3339(at));
    let conclusion = check.conclusion.text();
    let status = match outcome(conclusion) {
        EventStatus::Resolved if is_part(native, check) => EventStatus::Info,
        status => status,
    };
    draft.state(first(&[&check.conclusion, &check.status]), status);
    if status == EventStatus::Firing {
        draft.severity(Severity::Medium, conclusion);
    }
    let suite = match native {
        "check_suite" => check.id.text(),
        _ => first(&[&check.suite_id, &check.check_suite.id]),
    };
    let repository = payload.repository.full_name.text().to_lowercase();
    if is_of_actions(check) {
        draft.correlation(&[&repository, "check_suite", suite]);
    } else {
        draft.correlation(&[&repository, workflow, branch]);
    }

    draft.attribute("conclusion", conclusion);
    draft.attribute("workflow", workflow);
    draft.attribute(
        "workflow_path",
        first(&[&check.path, &payload.workflow.path]),
    );
    draft.attribute("branch", branch);
    draft.attribute("sha", check.head_sha.text());
    draft.attribute("run_id", first(&[&check.run_id, &check.id]));
    draft.attribute("check_suite_id", suite);
    draft.attribute("run_attempt", check.run_attempt.text());
    draft.attribute("triggered_by", check.event.text());
    let numbers = || {
        check
            .pull_requests
            .iter()
            .map(|request| request.number.text())
    };
    draft.attribute("pr_number", numbers().next().unwrap_or_default());
    draft.attribute_list("pr_numbers", numbers());
}

/// Whether this check run or check suite stands for a run of GitHub Actions.
fn is_of_actions(check: &Check<'_>) -> bool {
    check.app.slug.text() == ACTIONS
}

/// A job has the key of all of its run: that it went well does not mean that the others did.
fn is_part(native: &str, check: &Check<'_>) -> bool {
    native == "workflow_job" || (native == "check_run" && is_of_actions(check))
}

/// What a conclusion, a commit's or a deployment's state means.
pub(super) fn outcome(state: &str) -> EventStatus {
    match state {
        "failure" | "timed_out" | "startup_failure" | "error" => EventStatus::Firing,
        "success" => EventStatus::Resolved,
        _ => EventStatus::Info,
    }
}

pub(super) fn commit_status(draft: &mut Draft<'_>, payload: &Payload<'_>) {
    let state = payload.state.text();
    draft.title(payload.context.text());
    draft.text(payload.description.text(), TextFormat::Plain);
    link(
        draft,
        first(&[&payload.target_url, &payload.commit.html_url]),
    );
    let at = first(&[&payload.updated_at, &payload.created_at]);
    draft.occurred(times::rfc3339(at));
    draft.state(state, outcome(state));
    if outcome(state) == EventStatus::Firing {
        draft.severity(Severity::Medium, state);
    }
    let context = payload.context.text();
    // Of several branches at this commit the first stands for all.
    let branch = payload.branches.first().map_or("", |one| one.name.text());
    let repository = payload.repository.full_name.text().to_lowercase();
    draft.correlation(&[&repository, context, branch]);
    draft.attribute("sha", payload.sha.text());
    draft.attribute("branch", branch);
    draft.attribute("context", context);
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    #[test]
    fn what_belongs_to_one_run_has_its_workflow_or_its_suite_in_common() {
        let actions = r#""app":{"slug":"github-actions","name":"GitHub Actions"}"#;
        let other = r#""app":{"slug":"linter","name":"Linter"}"#;
        let workflow = "github:shared:acme/web:CI:main";
        for (native, check, expected) in [
            (
                "workflow_run",
                r#""name":"CI","head_branch":"main","check_suite_id":9"#.to_owned(),
                workflow,
            ),
            (
                "workflow_job",
                r#""name":"test","workflow_name":"CI","head_branch":"main""#.to_owned(),
                workflow,
            ),
            (
                "check_suite",
                format!(r#""id":9,"head_branch":"main",{actions}"#),
                "github:shared:acme/web:check_suite:9",
            ),
            (
                "check_run",
                format!(
                    r#""id":1,"name":"test","check_suite":{{"id":9,"head_branch":"main"}},{actions}"#
                ),
                "github:shared:acme/web:check_suite:9",
            ),
            // The branch of a fork is not told.
            (
                "check_run",
                format!(
                    r#""id":2,"name":"lint","check_suite":{{"id":9,"head_branch":null}},{actions}"#
                ),
                "github:shared:acme/web:check_suite:9",
            ),
            (
                "check_run",
                format!(
                    r#""id":3,"name":"lint","check_suite":{{"id":8,"head_branch":"main"}},{other}"#
                ),
                "github:shared:acme/web:lint:main",
            ),
            (
                "check_suite",
                format!(r#""id":8,"head_branch":"main",{other}"#),
                "github:shared:acme/web:Linter:main",
            ),
        ] {
            let event = read(native, &format!(r#""{native}":{{{check}}}"#));
            assert_eq!(event.correlation_key, expected, "{native} {check}");
            let suite = event
                .attributes
                .get("check_suite_id")
                .map_or("", String::as_str);
            let expected = match native {
                "workflow_job" => "",
                _ if check.contains(":8") => "8",
                _ => "9",
            };
            assert_eq!(suite, expected, "{native} {check}");
        }
    }

    #[test]
    fn a_job_that_went_well_ends_nothing_and_a_failed_one_alerts() {
        for (native, slug, conclusion, expected) in [
            ("workflow_run", "", "success", EventStatus::Resolved),
            ("workflow_job", "", "success", EventStatus::Info),
            ("workflow_job", "", "failure", EventStatus::Firing),
            ("check_suite", ACTIONS, "success", EventStatus::Resolved),
            ("check_run", ACTIONS, "success", EventStatus::Info),
            ("check_run", ACTIONS, "timed_out", EventStatus::Firing),
            ("check_run", "linter", "success", EventStatus::Resolved),
        ] {
            let check = format!(r#""conclusion":"{conclusion}","app":{{"slug":"{slug}"}}"#);
            let event = read(native, &format!(r#""{native}":{{{check}}}"#));
            assert_eq!(event.status(), expected, "{native} {slug} {conclusion}");
        }
    }

    #[test]
    fn a_suite_has_the_name_of_its_app() {
        let event = read(
            "check_suite",
            r#""check_suite":{"app":{"name":"GitHub Actions"}}"#,
        );
        assert_eq!(event.title, "GitHub Actions");
        let event = read(
            "check_run",
            r#""check_run":{"name":"test","output":{"title":"x"},"app":{"name":"GitHub Actions"}}"#,
        );
        assert_eq!(event.title, "test");
    }

    #[test]
    fn statuses_of_one_context_and_branch_belong_together() {
        let status = r#""context":"ci/build","state":"failure""#;
        for (branches, expected) in [
            (
                r#"[{"name":"main"},{"name":"next"}]"#,
                "github:shared:acme/web:ci/build:main",
            ),
            ("[]", ""),
            ("null", ""),
        ] {
            let event = read("status", &format!(r#"{status},"branches":{branches}"#));
            assert_eq!(event.correlation_key, expected, "{branches}");
        }
    }
}
