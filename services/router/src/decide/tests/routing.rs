//! Priority, normalisation and destinations.

use serde_json::json;
use tocsin_wire::proto::Destination;
use tocsin_wire::proto::destination::Kind;

use super::samples::*;
use crate::decide::{RouteOutcome, decide, route};

fn shown(destinations: &[Destination]) -> Vec<String> {
    let show = |destination: &Destination| match &destination.kind {
        Some(Kind::Slack(slack)) => {
            format!("slack {} {} {}", slack.channel, slack.thread, slack.user)
        }
        Some(Kind::Github(github)) => {
            format!("github {}#{}", github.repository, github.issue_number)
        }
        Some(Kind::Pagerduty(pagerduty)) => format!("pagerduty {}", pagerduty.incident_id),
        None => "nowhere".to_owned(),
    };
    destinations
        .iter()
        .map(|one| show(one).trim_end().to_owned())
        .collect()
}

/// Identifiers, whose they are, and which types were asked about.
type Row = (
    &'static [(&'static str, &'static str)],
    Option<&'static str>,
    &'static [&'static str],
);

#[test]
fn the_most_specific_identifier_wins_in_any_order() {
    let mut known = known();
    known.claim("incidentio_team_id", "Team A", "acme/inc");
    known.claim("coralogix_team_name", "sre core", "acme/logs");
    let rows: &[Row] = &[
        (
            &[("slack_channel_id", "C1"), ("slack_workspace_id", "T1")],
            Some("acme/pay"),
            &["slack_channel_id"],
        ),
        (
            &[("slack_workspace_id", "T1"), ("slack_channel_id", "C1")],
            Some("acme/pay"),
            &["slack_channel_id"],
        ),
        (
            &[("slack_channel_id", "C404"), ("slack_workspace_id", "T1")],
            Some("acme/shop"),
            &["slack_channel_id", "slack_workspace_id"],
        ),
        (
            &[("slack_channel_id", "D1"), ("slack_workspace_id", "T1")],
            Some("acme/shop"),
            &["slack_channel_id", "slack_workspace_id"],
        ),
        (
            &[("service", "checkout"), ("incidentio_team_id", "Team A")],
            Some("acme/inc"),
            &["incidentio_team_id"],
        ),
        (&[("slack_channel_id", "c1")], None, &["slack_channel_id"]),
        (
            &[("slack_channel_id", " C1 ")],
            Some("acme/pay"),
            &["slack_channel_id"],
        ),
        (
            &[("github_repo", "ACME/Checkout")],
            Some("acme/pay"),
            &["github_repo"],
        ),
        (
            &[("coralogix_team_name", "SRE Core ")],
            Some("acme/logs"),
            &["coralogix_team_name"],
        ),
        (
            &[("service", " "), ("email_domain", "acme.test")],
            None,
            &[],
        ),
        (
            &[("pagerduty_service_id", "P404"), ("service", "Checkout")],
            Some("acme/pay"),
            &["pagerduty_service_id", "service"],
        ),
    ];
    for (identifiers, expected, tried) in rows {
        let found = route(&event("x", "y", identifiers), &known);
        let expected = expected.map_or(RouteOutcome::Nobody, |text| {
            RouteOutcome::Owned(owner(text))
        });
        assert_eq!(
            (&found.outcome, found.tried.as_slice()),
            (&expected, *tried),
            "{identifiers:?}"
        );
    }
}

#[test]
fn a_common_name_is_settled_by_the_installation_it_came_from() {
    let mut known = known();
    for org in ["acme/pay", "globex/web"] {
        known.claim("sentry_project", "api", org);
        known.claim("receiver", "on-call", org);
        known.claim("github_repo", "acme/shared", org);
    }
    known.claim("sentry_installation_uuid", "u-1", "globex/web");
    known.claim("github_installation_id", "4711", "acme/shop");
    known.claim("external_url", "https://alerts.acme.test/", "acme/shop");
    for (name, value, installation, came_through, expected) in [
        (
            "sentry_project",
            "API",
            "sentry_installation_uuid",
            "u-1",
            Some("globex/web"),
        ),
        (
            "receiver",
            "On-Call",
            "external_url",
            "https://alerts.acme.test/",
            Some("acme/pay"),
        ),
        (
            "receiver",
            "on-call",
            "external_url",
            "https://elsewhere.test/",
            None,
        ),
        (
            "github_repo",
            "Acme/Shared",
            "github_installation_id",
            "4711",
            Some("acme/pay"),
        ),
        (
            "github_repo",
            "acme/shared",
            "github_installation_id",
            "4712",
            None,
        ),
    ] {
        let event = event("x", "y", &[(name, value), (installation, came_through)]);
        let expected = expected.map_or(RouteOutcome::Ambiguous, |text| {
            RouteOutcome::Owned(owner(text))
        });
        assert_eq!(
            route(&event, &known).outcome,
            expected,
            "{name} {came_through}"
        );
    }
}

#[test]
fn a_project_key_that_two_sites_have_is_settled_by_the_site() {
    let mut known = known();
    known.claim("jira_project_key", "OPS", "acme/pay");
    known.claim("jira_project_key", "OPS", "globex/web");
    known.claim("jira_site", "globex.atlassian.net", "globex/all");
    let from = |site: &str| {
        let identifiers = [("jira_project_key", "OPS"), ("jira_site", site)];
        route(&event("jira", "issue_created", &identifiers), &known).outcome
    };
    let globex = RouteOutcome::Owned(owner("globex/web"));
    assert_eq!(from("Globex.atlassian.net"), globex);
    assert_eq!(from("elsewhere.atlassian.net"), RouteOutcome::Ambiguous);
}

#[test]
fn a_shared_workspace_settles_nothing() {
    let mut known = known();
    known.claim("slack_workspace_id", "T1", "globex/web");
    let event = mention("CSHARED").also("slack_workspace_id", "T1");
    assert_eq!(route(&event, &known).outcome, RouteOutcome::Ambiguous);
}

#[test]
fn results_go_where_the_team_wants_them() {
    let channel = json!({"default_slack_channel_id": "CTEAM"});
    let ci = github("workflow_run", "completed").with("conclusion", "failure");
    let incident = || pagerduty("incident_triggered", "P1");
    for (name, event, config, expected) in [
        (
            "in the thread",
            mention("C1").in_thread("90.1"),
            json!({}),
            vec!["slack C1 90.1 U1"],
        ),
        (
            "a new thread",
            mention("C1"),
            json!({}),
            vec!["slack C1 100.1 U1"],
        ),
        (
            "the team's channel",
            incident(),
            json!({"notifications": channel}),
            vec!["slack CTEAM"],
        ),
        (
            "PagerDuty's channel and note",
            incident(),
            json!({"notifications": {"default_slack_channel_id": "CTEAM",
                "pagerduty_output": {"slack_channel_id": "CPD", "post_pagerduty_note": true}}}),
            vec!["slack CPD", "pagerduty Q1"],
        ),
        ("nowhere", incident(), json!({}), vec![]),
        (
            "default destinations",
            incident(),
            json!({"output_config": {"default_destinations": [{"type": "slack", "channel_id": "CX"}, {"type": "slack", "channel_id": "CX"}]}}),
            vec!["slack CX"],
        ),
        (
            "comment and channel",
            comment("@tocsin"),
            json!({"notifications": {"github_output": {"slack_channel_id": "CGH"}}}),
            vec!["github Acme/Checkout#7", "slack CGH"],
        ),
        (
            "no number, no comment",
            ci,
            json!({"notifications": channel}),
            vec!["slack CTEAM"],
        ),
        (
            "comment only",
            comment("@tocsin"),
            json!({"notifications": channel, "output_config": {"trigger_overrides": {"github": "comment_on_pr"}}}),
            vec!["github Acme/Checkout#7"],
        ),
        (
            "defaults instead of the thread",
            mention("C1"),
            json!({"output_config": {"trigger_overrides": {"slack": "use_default"},
                "default_destinations": [{"type": "slack", "channel_id": "CX"}]}}),
            vec!["slack CX"],
        ),
    ] {
        let mut known = known();
        known.team("acme/pay", &config);
        let start = decide(&event, &known, &bots()).start.expect(name);
        assert_eq!(shown(&start.destinations), expected, "{name}");
        assert_eq!(start.agent, "planner", "{name}");
    }
}
