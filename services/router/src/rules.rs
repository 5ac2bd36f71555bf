//! What the router needs of a team's effective config, read once when the config changes.
//!
//! Config has checked what it can; whatever is of an unexpected type here counts as absent, because
//! a team with one odd setting must still get its incidents investigated.

mod field;
mod silence;
mod storm;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use tocsin_wire::QueueLimits;
use tocsin_wire::proto::destination::Kind;
use tocsin_wire::proto::{Destination, GithubDestination, SlackDestination};

use crate::event_rules::EventRules;
pub use field::Field;
pub use silence::Silence;
pub use storm::Storm;

/// The agent of a team that names none.
const DEFAULT_AGENT: &str = "planner";

/// What teams want to be looked at unless `triggers.<provider>` says otherwise.
const DEFAULT_TRIGGERS: &[(&str, &[&str])] = &[
    ("slack", &["app_mention", "message"]),
    (
        "github",
        &[
            "issue_comment",
            "pull_request_review_comment",
            "workflow_run",
            "check_run",
            "check_suite",
        ],
    ),
    ("pagerduty", &["incident_triggered"]),
    ("incidentio", &["alert_created", "incident_created"]),
    ("alertmanager", &["alert_firing"]),
    ("coralogix", &["alert_triggered"]),
    (
        "datadog",
        &["alert_no_data", "alert_triggered", "alert_warned"],
    ),
    ("grafana", &["alert_firing"]),
    ("newrelic", &["issue_activated"]),
    ("opsgenie", &["alert_created"]),
    (
        "sentry",
        &[
            "event_alert_triggered",
            "metric_alert_critical",
            "metric_alert_warning",
        ],
    ),
    (
        "gitlab",
        &["incident.open", "pipeline.failed", "deployment.failed"],
    ),
    ("cloudevents", &["alert_firing"]),
    ("generic", &["alert_firing"]),
    ("sns", &["alarm_firing"]),
    ("firehydrant", &["incident_opened"]),
    ("blameless", &["incident_created"]),
];

/// A team's rules for events.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct TeamRules {
    agent: Option<String>,
    /// `notifications.default_slack_channel_id`
    pub default_channel: Option<String>,
    /// `notifications.<provider>_output.slack_channel_id`
    output_channels: BTreeMap<String, String>,
    /// `notifications.pagerduty_output.post_pagerduty_note`
    pub pagerduty_note: bool,
    /// `output_config.default_destinations`
    pub default_destinations: Vec<Destination>,
    /// `output_config.trigger_overrides`
    overrides: BTreeMap<String, Override>,
    /// `auto_investigate.channel_ids`
    auto_investigate: BTreeSet<String>,
    /// `triggers`
    triggers: BTreeMap<String, Vec<Trigger>>,
    /// `storm`
    pub storm: Storm,
    /// `silences`
    pub silences: Vec<Silence>,
    pub bot: BotIdentity,
    /// `limits`
    pub limits: QueueLimits,
    /// `rules`
    pub events: Arc<EventRules>,
}

/// How a team wants the results of one provider's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Override {
    /// `reply_in_thread`, `comment_on_pr`: where it was said, and nowhere else.
    InPlace,
    /// `use_default`: the default destinations only.
    Default,
}

/// A kind of event, and perhaps what happened to it: `issue_comment`, `pull_request.opened`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    pub kind: String,
    pub action: Option<String>,
}

/// Names under which Tocsin itself writes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct BotIdentity {
    /// Slack user id of the bot.
    pub slack_user: Option<String>,
    /// Slack bot id.
    pub slack_bot: Option<String>,
    /// Slack app id.
    pub slack_app: Option<String>,
    /// GitHub login, without `@` and `[bot]`.
    pub github_handle: Option<String>,
}

impl TeamRules {
    /// The same team with other rules for events: what somebody tries out.
    #[must_use]
    pub fn with_events(&self, rules: &Value) -> Self {
        Self {
            events: Arc::new(EventRules::read(rules)),
            ..self.clone()
        }
    }

    /// Reads an effective config.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn parse(effective_config: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(effective_config).map(|config| Self::read(&config))
    }

    fn read(config: &Value) -> Self {
        let notifications = at(config, "notifications");
        let output = at(config, "output_config");
        let pagerduty = at(notifications, "pagerduty_output");
        Self {
            agent: text(config, "entrance_agent"),
            default_channel: text(notifications, "default_slack_channel_id"),
            output_channels: output_channels(notifications),
            pagerduty_note: at(pagerduty, "post_pagerduty_note") == &Value::Bool(true),
            default_destinations: list(output, "default_destinations")
                .filter_map(destination)
                .collect(),
            overrides: entries(output, "trigger_overrides")
                .filter_map(|(provider, wanted)| Some((provider.clone(), Override::read(wanted)?)))
                .collect(),
            auto_investigate: auto_investigate(at(config, "auto_investigate")),
            triggers: entries(config, "triggers")
                .filter(|(_, kinds)| kinds.is_array())
                .map(|(provider, _)| {
                    let kinds = texts(at(config, "triggers"), provider);
                    (
                        provider.clone(),
                        kinds.map(|kind| Trigger::read(&kind)).collect(),
                    )
                })
                .collect(),
            storm: Storm::read(config),
            silences: Silence::read_all(config),
            bot: BotIdentity::read(at(config, "integrations")),
            limits: QueueLimits::read(config),
            events: Arc::new(EventRules::read(at(config, "rules"))),
        }
    }

    /// The agent that gets the team's events.
    #[must_use]
    pub fn agent(&self) -> &str {
        self.agent.as_deref().unwrap_or(DEFAULT_AGENT)
    }

    /// The Slack channel for results of a provider's events, where the team named one.
    #[must_use]
    pub fn output_channel(&self, provider: &str) -> Option<&str> {
        let own = self.output_channels.get(provider);
        own.or(self.default_channel.as_ref()).map(String::as_str)
    }

    #[must_use]
    pub fn overridden(&self, provider: &str) -> Option<Override> {
        self.overrides.get(provider).copied()
    }

    /// Whether every top-level message of this Slack channel is to be investigated.
    #[must_use]
    pub fn investigates_channel(&self, channel: &str) -> bool {
        self.auto_investigate.contains(channel)
    }

    /// What starts a run, of this provider's events.
    #[must_use]
    pub fn triggers(&self, provider: &str) -> Vec<Trigger> {
        if let Some(own) = self.triggers.get(provider) {
            return own.clone();
        }
        let defaults = DEFAULT_TRIGGERS.iter().find(|(name, _)| *name == provider);
        let kinds = defaults.map_or(&[][..], |(_, kinds)| kinds);
        kinds.iter().map(|kind| Trigger::read(kind)).collect()
    }
}

impl Override {
    fn read(value: &Value) -> Option<Self> {
        match value.as_str()? {
            "reply_in_thread" | "comment_on_pr" => Some(Self::InPlace),
            "use_default" => Some(Self::Default),
            _ => None,
        }
    }
}

impl Trigger {
    fn read(text: &str) -> Self {
        match text.split_once('.') {
            Some((kind, action)) => Self {
                kind: kind.to_owned(),
                action: Some(action.to_owned()),
            },
            None => Self {
                kind: text.to_owned(),
                action: None,
            },
        }
    }
}

impl BotIdentity {
    fn read(integrations: &Value) -> Self {
        let slack = |name| integration(integrations, "slack", name);
        Self {
            slack_user: slack("bot_user_id"),
            slack_bot: slack("bot_id"),
            slack_app: slack("app_id"),
            github_handle: integration(integrations, "github", "bot_handle"),
        }
    }
}

/// A field of an integration: values stand under its name, or under `config` below it.
fn integration(integrations: &Value, name: &str, field: &str) -> Option<String> {
    let own = at(integrations, name);
    text(own, field).or_else(|| text(at(own, "config"), field))
}

/// The channels, unless they are switched off as a whole.
fn auto_investigate(value: &Value) -> BTreeSet<String> {
    if at(value, "enabled") == &Value::Bool(false) {
        return BTreeSet::new();
    }
    texts(value, "channel_ids").collect()
}

fn output_channels(notifications: &Value) -> BTreeMap<String, String> {
    let outputs = notifications.as_object().into_iter().flatten();
    outputs
        .filter_map(|(name, output)| {
            let provider = name.strip_suffix("_output")?;
            Some((provider.to_owned(), text(output, "slack_channel_id")?))
        })
        .collect()
}

/// A destination as config has it: flat, or with its fields under `config`; flat fields win.
fn destination(value: &Value) -> Option<Destination> {
    let field = |name| text(value, name).or_else(|| text(at(value, "config"), name));
    let number = |name| {
        let nested = at(at(value, "config"), name);
        at(value, name).as_u64().or_else(|| nested.as_u64())
    };
    let kind = match field("type")?.as_str() {
        "slack" => Kind::Slack(SlackDestination {
            channel: field("channel_id")?,
            thread: field("thread_ts").unwrap_or_default(),
            user: String::new(),
        }),
        "github_pr_comment" | "github_issue_comment" => Kind::Github(GithubDestination {
            repository: field("repo")?,
            issue_number: number("pr_number").or_else(|| number("issue_number"))?,
        }),
        _ => return None,
    };
    Some(Destination { kind: Some(kind) })
}

/// A field, or null where there is none.
fn at<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}

/// A text that is not blank, trimmed.
fn text(value: &Value, name: &str) -> Option<String> {
    let text = value.get(name)?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    at(value, name).as_array().into_iter().flatten()
}

fn texts(value: &Value, name: &str) -> impl Iterator<Item = String> {
    list(value, name)
        .filter_map(Value::as_str)
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
}

fn entries<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    at(value, name).as_object().into_iter().flatten()
}

#[cfg(test)]
mod tests;
