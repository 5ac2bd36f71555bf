//! An index of a few teams, and short ways to write events.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tocsin_wire::identifier::IdentifierType;
use tocsin_wire::proto::{Actor, ActorKind, Conversation, Event, Identifier};

use crate::decide::{Decided, Lookup, decide};
use crate::owner::Owner;
use crate::rules::{BotIdentity, TeamRules};

#[derive(Default)]
pub(super) struct Known {
    owners: HashMap<String, Vec<Owner>>,
    rules: HashMap<Owner, Arc<TeamRules>>,
}

impl Lookup for Known {
    fn owners(&self, kind: &IdentifierType, value: &str) -> Arc<[Owner]> {
        self.owners
            .get(&kind.key(value))
            .cloned()
            .unwrap_or_default()
            .into()
    }

    fn rules(&self, owner: &Owner) -> Option<Arc<TeamRules>> {
        self.rules.get(owner).cloned()
    }
}

pub(super) fn owner(text: &str) -> Owner {
    let (org, team) = text.split_once('/').expect("org/team");
    Owner::new(org, team).expect("tokens")
}

impl Known {
    pub(super) fn claim(&mut self, name: &str, value: &str, who: &str) {
        let kind = IdentifierType::named(name).expect("known");
        self.owners
            .entry(kind.key(value))
            .or_default()
            .push(owner(who));
    }

    pub(super) fn team(&mut self, who: &str, config: &Value) {
        let rules = TeamRules::parse(config.to_string().as_bytes()).expect("JSON");
        self.rules.insert(owner(who), Arc::new(rules));
    }
}

/// `acme/pay` owns a channel, a repository and a service; `acme/shop` is the default of workspace T1;
/// CSHARED is owned by acme and by globex; `acme/gone` is routed to but not published.
pub(super) fn known() -> Known {
    let mut known = Known::default();
    for (kind, value, who) in [
        ("slack_channel_id", "C1", "acme/pay"),
        ("slack_channel_id", "CALERTS", "acme/pay"),
        ("github_repo", "acme/checkout", "acme/pay"),
        ("pagerduty_service_id", "P1", "acme/pay"),
        ("service", "checkout", "acme/pay"),
        ("slack_workspace_id", "T1", "acme/shop"),
        ("slack_channel_id", "CSHARED", "acme/pay"),
        ("slack_channel_id", "CSHARED", "globex/web"),
        ("slack_channel_id", "CGONE", "acme/gone"),
        ("pagerduty_service_id", "PQUIET", "acme/quiet"),
        ("pagerduty_service_id", "PRULED", "acme/ruled"),
        ("slack_channel_id", "CRULED", "acme/ruled"),
        ("github_repo", "acme/ruled", "acme/ruled"),
    ] {
        known.claim(kind, value, who);
    }
    known.team(
        "acme/pay",
        &json!({
            "entrance_agent": "triage",
            "notifications": {"default_slack_channel_id": "CTEAM"},
            "auto_investigate": {"channel_ids": ["CALERTS"]},
            "silences": [{"name": "upgrade", "reason": "new database", "until": "2026-01-01T00:00:00Z"}],
        }),
    );
    known.team("acme/shop", &json!({}));
    known.team("globex/web", &json!({}));
    known.team("acme/quiet", &json!({"triggers": {"pagerduty": ["incident_triggered", "incident_acknowledged.acknowledged"]}}));
    known.team("acme/ruled", &ruled());
    known
}

/// A team with rules: one that fails on every event, and one for each consequence.
fn ruled() -> Value {
    let rule =
        |name: &str, when: &str, then: Value| json!({"name": name, "when": when, "then": then});
    json!({
        "entrance_agent": "triage",
        "notifications": {"default_slack_channel_id": "CTEAM"},
        "rules": [
            rule("broken", "title|int > 3 and provider == 'pagerduty'", json!("ignore")),
            rule("staging", "attributes.environment == 'staging'", json!("ignore")),
            rule("acknowledged", "kind == 'incident_acknowledged'", json!({"agent": "pay"})),
            rule("storm", "severity == 'critical'", json!("join")),
            rule("all of Slack", "provider == 'slack'", json!({"agent": "chat"})),
            rule("all of GitHub", "provider == 'github'", json!({"agent": "code"})),
        ],
    })
}

pub(super) fn bots() -> BotIdentity {
    BotIdentity {
        slack_user: Some("UTOCSIN".to_owned()),
        slack_bot: None,
        slack_app: Some("ATOCSIN".to_owned()),
        github_handle: Some("tocsin".to_owned()),
    }
}

pub(super) fn decide_it(event: &Event) -> Decided {
    decide(event, &known(), &bots())
}

pub(super) fn codes(decided: &Decided) -> Vec<&'static str> {
    decided
        .reasons
        .iter()
        .map(|reason| reason.code.as_str())
        .collect()
}

pub(super) fn event(provider: &str, kind: &str, identifiers: &[(&str, &str)]) -> Event {
    Event {
        provider: provider.to_owned(),
        kind: kind.to_owned(),
        identifiers: identifiers
            .iter()
            .map(|(kind, value)| identifier(kind, value))
            .collect(),
        ..Event::default()
    }
}

fn identifier(kind: &str, value: &str) -> Identifier {
    Identifier {
        r#type: kind.to_owned(),
        value: value.to_owned(),
    }
}

/// Shorthand for changing a sample.
pub(super) trait With: Sized {
    fn with(self, name: &str, value: &str) -> Self;
    fn action(self, action: &str) -> Self;
    fn text(self, text: &str) -> Self;
    fn by(self, kind: ActorKind, id: &str) -> Self;
    fn in_thread(self, thread: &str) -> Self;
    fn also(self, kind: &str, value: &str) -> Self;
    fn through(self, org: &str, default_team: &str) -> Self;
}

impl With for Event {
    fn with(mut self, name: &str, value: &str) -> Self {
        self.attributes.insert(name.to_owned(), value.to_owned());
        self
    }

    fn action(mut self, action: &str) -> Self {
        action.clone_into(&mut self.action);
        self
    }

    fn text(mut self, text: &str) -> Self {
        text.clone_into(&mut self.text);
        self
    }

    fn by(mut self, kind: ActorKind, id: &str) -> Self {
        self.actor = Some(Actor {
            kind: kind.into(),
            id: id.to_owned(),
            name: id.to_owned(),
        });
        self
    }

    fn in_thread(mut self, thread: &str) -> Self {
        let place = self.conversation.as_mut().expect("a conversation");
        thread.clone_into(&mut place.thread);
        self
    }

    fn also(mut self, kind: &str, value: &str) -> Self {
        self.identifiers.push(identifier(kind, value));
        self
    }

    fn through(mut self, org: &str, default_team: &str) -> Self {
        org.clone_into(&mut self.org);
        default_team.clone_into(&mut self.default_team);
        self
    }
}

/// A person's message at the top level of a channel.
pub(super) fn slack(kind: &str, channel: &str) -> Event {
    let mut event = event("slack", kind, &[("slack_channel_id", channel)])
        .text("<@UTOCSIN> why is checkout slow?")
        .by(ActorKind::User, "U1");
    event.conversation = Some(Conversation {
        workspace: "T9".to_owned(),
        channel: channel.to_owned(),
        thread: "100.1".to_owned(),
        message: "100.1".to_owned(),
    });
    event
}

pub(super) fn mention(channel: &str) -> Event {
    slack("app_mention", channel)
}

pub(super) fn message(channel: &str) -> Event {
    slack("message", channel).text("is it slow?")
}

/// An alert that another app posted.
pub(super) fn alert(channel: &str) -> Event {
    message(channel)
        .by(ActorKind::Bot, "BGRAFANA")
        .with("bot_id", "BGRAFANA")
        .with("app_id", "AGRAFANA")
}

pub(super) fn github(kind: &str, action: &str) -> Event {
    event("github", kind, &[("github_repo", "Acme/Checkout")])
        .action(action)
        .by(ActorKind::User, "jane")
}

pub(super) fn comment(text: &str) -> Event {
    github("issue_comment", "created")
        .text(text)
        .with("pr_number", "7")
}

pub(super) fn pagerduty(kind: &str, service: &str) -> Event {
    event("pagerduty", kind, &[("pagerduty_service_id", service)]).with("incident_id", "Q1")
}
