//! Routing identifiers: what may name a team, in which order, and how a value is compared.
//!
//! Config stores identifiers under plural list names (`routing.slack_channel_ids`); events, lookups
//! and the bucket `routing` use the singular type (`slack_channel_id`). Whoever writes or looks up
//! goes through [`normalise`] or [`IdentifierType::normalise`], so both sides compare the same text.

use crate::key_token::KeyToken;

/// One kind of identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdentifierType {
    /// In events, lookups and keys: `github_repo`.
    pub name: &'static str,
    /// In a team's `routing` config: `github_repos`.
    pub list: &'static str,
    /// Provider ids keep their case; names that people type do not.
    pub ignores_case: bool,
}

const fn exact(name: &'static str, list: &'static str) -> IdentifierType {
    IdentifierType {
        name,
        list,
        ignores_case: false,
    }
}

const fn folded(name: &'static str, list: &'static str) -> IdentifierType {
    IdentifierType {
        name,
        list,
        ignores_case: true,
    }
}

/// Every type, most specific first: the first that any team owns decides. `slack_workspace_id` is
/// the default team of a workspace, for channels that nobody owns; `github_installation_id` that of an App's
/// installation, for repositories that nobody owns.
pub const PRIORITY: &[IdentifierType] = &[
    exact("incidentio_team_id", "incidentio_team_ids"),
    exact("pagerduty_service_id", "pagerduty_service_ids"),
    exact("slack_channel_id", "slack_channel_ids"),
    exact("slack_workspace_id", "slack_workspace_ids"),
    exact("teams_channel_id", "teams_channel_ids"),
    exact("google_chat_space_id", "google_chat_space_ids"),
    folded("github_repo", "github_repos"),
    exact("github_installation_id", "github_installation_ids"),
    folded("vercel_project_id", "vercel_project_ids"),
    folded("coralogix_team_name", "coralogix_team_names"),
    exact("incidentio_alert_source_id", "incidentio_alert_source_ids"),
    folded("coralogix_subsystem", "coralogix_subsystems"),
    folded("coralogix_application", "coralogix_applications"),
    exact("datadog_monitor_id", "datadog_monitor_ids"),
    exact("datadog_org_id", "datadog_org_ids"),
    folded("newrelic_workflow", "newrelic_workflows"),
    exact("newrelic_account_id", "newrelic_account_ids"),
    exact("opsgenie_integration_id", "opsgenie_integration_ids"),
    folded("receiver", "receivers"),
    folded("external_url", "external_urls"),
    folded("sentry_project", "sentry_projects"),
    exact("sentry_installation_uuid", "sentry_installation_uuids"),
    folded("gitlab_project", "gitlab_projects"),
    exact("jira_project_key", "jira_project_keys"),
    folded("jira_site", "jira_sites"),
    exact("aws_alarm_arn", "aws_alarm_arns"),
    exact("aws_sns_topic_arn", "aws_sns_topic_arns"),
    exact("aws_account_id", "aws_account_ids"),
    exact("stripe_account", "stripe_accounts"),
    exact("ce_source", "ce_sources"),
    exact("firehydrant_team_id", "firehydrant_team_ids"),
    exact("blameless_team_id", "blameless_team_ids"),
    folded("service", "services"),
];

/// Types that say through which installation of the sender an event came. They settle whose it is when
/// several organisations own the identifier that matched: a shared channel comes through one workspace, a
/// receiver, a project or a repository that two claim from one installation, and every second Jira site has a project
/// OPS.
pub const INSTALLATIONS: &[&str] = &[
    "slack_workspace_id",
    "github_installation_id",
    "datadog_org_id",
    "external_url",
    "newrelic_account_id",
    "sentry_installation_uuid",
    "jira_site",
    "aws_account_id",
];

impl IdentifierType {
    /// The type called `name`; `None` for one that routes nothing.
    pub fn named(name: &str) -> Option<&'static Self> {
        PRIORITY.iter().find(|known| known.name == name)
    }

    /// The type whose values stand under `list` in a team's `routing` config.
    pub fn listed_as(list: &str) -> Option<&'static Self> {
        PRIORITY.iter().find(|known| known.list == list)
    }

    /// The value as it is stored and compared: trimmed, and in lower case where case means nothing.
    /// Empty means that there is nothing to look up.
    pub fn normalise(&self, value: &str) -> String {
        let trimmed = value.trim();
        if self.ignores_case {
            trimmed.to_lowercase()
        } else {
            trimmed.to_owned()
        }
    }

    /// Key in the bucket `routing` of a value, given as a provider or a person wrote it.
    pub fn key(&self, value: &str) -> String {
        format!("{}.{}", self.name, KeyToken::encode(&self.normalise(value)))
    }
}

/// `value` as it is compared; values of unknown types are only trimmed.
pub fn normalise(name: &str, value: &str) -> String {
    match IdentifierType::named(name) {
        Some(known) => known.normalise(value),
        None => value.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_fold_and_provider_ids_do_not() {
        for (name, value, expected) in [
            ("github_repo", " Acme/Checkout.API\n", "acme/checkout.api"),
            ("service", "Payments-API", "payments-api"),
            ("coralogix_team_name", "SRE Core", "sre core"),
            ("vercel_project_id", "Prj_1", "prj_1"),
            ("slack_channel_id", " C0A4967KRBM ", "C0A4967KRBM"),
            ("slack_workspace_id", "T01", "T01"),
            ("pagerduty_service_id", "PABC12", "PABC12"),
            ("incidentio_alert_source_id", "01HX", "01HX"),
            ("gitlab_project", "Acme/Web/Shop", "acme/web/shop"),
            ("jira_project_key", "OPS", "OPS"),
            ("jira_site", "Acme.atlassian.net", "acme.atlassian.net"),
            ("unheard_of", " As Sent ", "As Sent"),
            ("service", "  ", ""),
        ] {
            assert_eq!(normalise(name, value), expected, "{name}");
        }
    }

    #[test]
    fn types_are_known_by_one_name_and_one_list() {
        let names: BTreeSet<_> = PRIORITY.iter().map(|known| known.name).collect();
        let lists: BTreeSet<_> = PRIORITY.iter().map(|known| known.list).collect();
        assert_eq!((names.len(), lists.len()), (PRIORITY.len(), PRIORITY.len()));
        for known in PRIORITY {
            assert_eq!(IdentifierType::named(known.name), Some(known));
            assert_eq!(IdentifierType::listed_as(known.list), Some(known));
        }
        for name in INSTALLATIONS {
            assert!(names.contains(name), "{name}");
        }
        assert_eq!(IdentifierType::named("services"), None);
        for name in INSTALLATIONS {
            assert!(IdentifierType::named(name).is_some(), "{name}");
        }
    }

    #[test]
    fn what_is_part_of_something_beats_it() {
        let rank = |name: &&str| PRIORITY.iter().position(|known| known.name == *name);
        let order = [
            "incidentio_team_id",
            "pagerduty_service_id",
            "slack_channel_id",
            "slack_workspace_id",
            "github_repo",
            "coralogix_team_name",
            "datadog_monitor_id",
            "datadog_org_id",
            "newrelic_workflow",
            "newrelic_account_id",
            "receiver",
            "external_url",
            "sentry_project",
            "sentry_installation_uuid",
            "jira_project_key",
            "jira_site",
            "aws_alarm_arn",
            "aws_sns_topic_arn",
            "aws_account_id",
            "service",
        ];
        assert!(order.is_sorted_by_key(rank));
    }

    #[test]
    fn keys_are_the_same_for_what_compares_the_same() {
        let repo = IdentifierType::named("github_repo").expect("known");
        assert_eq!(repo.key(" Acme/API "), "github_repo.acme=2Fapi");
        assert_eq!(repo.key("acme/api"), repo.key("ACME/api"));
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(value in ".{0,40}") {
            for known in PRIORITY {
                let once = known.normalise(&value);
                prop_assert_eq!(known.normalise(&once), once);
            }
        }
    }
}
