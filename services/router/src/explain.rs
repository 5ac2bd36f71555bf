//! `svc.router.explain`: what would happen to an event, without making it happen.
//!
//! The question is `{"identifiers": {"slack_channel_id": "C1"}}`, which only asks whose that is, or
//! has `provider` and `kind` as well and what else the decision depends on: `action`, `text`, `actor`
//! (`{"kind": "user" | "bot", "id", "name"}`), `conversation` (`{"channel", "thread", "message"}`) and
//! `attributes`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tocsin_bus::Answer;
use tocsin_wire::proto::destination::Kind;
use tocsin_wire::proto::{Actor, ActorKind, Conversation, Destination, Event, Identifier};
use tocsin_wire::time;

use crate::decide::{Decided, ReasonCode, RouteOutcome, decide, route};
use crate::index::Index;
use crate::owner::Owner;
use crate::rules::BotIdentity;

/// Identifiers in one question; an event has a handful.
const MAX_IDENTIFIERS: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    #[serde(default)]
    identifiers: BTreeMap<String, OneOrMore>,
    #[serde(default)]
    provider: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    action: String,
    #[serde(default)]
    text: String,
    actor: Option<Speaker>,
    conversation: Option<Place>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Speaker {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    #[serde(default)]
    workspace: String,
    #[serde(default)]
    channel: String,
    #[serde(default)]
    thread: String,
    #[serde(default)]
    message: String,
}

/// Answers a question.
///
/// # Errors
/// 400 with what is wrong with the question.
pub fn explain(
    question: Value,
    index: &Index,
    bots: &BotIdentity,
    now: Timestamp,
) -> Result<Value, Answer> {
    let question: Question = serde_json::from_value(question).map_err(|error| Answer {
        code: 400,
        detail: format!("{error}; ask for {{\"identifiers\": {{\"slack_channel_id\": \"C1\"}}}}"),
    })?;
    let asks_for_decision = !question.kind.is_empty();
    let event = Event {
        // Silences hold for a while: the question is about an event that comes now.
        received_at: Some(time::to_proto(now)),
        ..question.event()?
    };
    let mut answer = if asks_for_decision {
        decision(&event, index, bots)
    } else {
        ownership(&event, index)
    };
    if let Some(fields) = answer.as_object_mut() {
        fields.insert(
            "index".to_owned(),
            json!({"identifiers": index.identifiers(), "teams": index.teams()}),
        );
    }
    Ok(answer)
}

impl Question {
    fn event(self) -> Result<Event, Answer> {
        let mut identifiers = Vec::new();
        for (kind, values) in self.identifiers {
            let values = match values {
                OneOrMore::One(value) => vec![value],
                OneOrMore::More(values) => values,
            };
            identifiers.extend(values.into_iter().map(|value| Identifier {
                r#type: kind.clone(),
                value,
            }));
        }
        if identifiers.len() > MAX_IDENTIFIERS {
            let detail = format!("ask about at most {MAX_IDENTIFIERS} identifiers at once");
            return Err(Answer { code: 400, detail });
        }
        Ok(Event {
            provider: self.provider,
            kind: self.kind,
            action: self.action,
            text: self.text,
            identifiers,
            actor: self.actor.map(Speaker::actor).transpose()?,
            conversation: self.conversation.map(Place::conversation),
            attributes: self.attributes.into_iter().collect(),
            ..Event::default()
        })
    }
}

impl Speaker {
    fn actor(self) -> Result<Actor, Answer> {
        let kind = match self.kind.as_str() {
            "" | "user" => ActorKind::User,
            "bot" => ActorKind::Bot,
            "app" => ActorKind::App,
            "system" => ActorKind::System,
            other => {
                let detail = format!("actor.kind {other:?} is none of user, bot, app, system");
                return Err(Answer { code: 400, detail });
            }
        };
        Ok(Actor {
            kind: kind.into(),
            id: self.id,
            name: self.name,
        })
    }
}

impl Place {
    fn conversation(self) -> Conversation {
        Conversation {
            workspace: self.workspace,
            channel: self.channel,
            thread: self.thread,
            message: self.message,
        }
    }
}

fn ownership(event: &Event, index: &Index) -> Value {
    let route = route(event, index);
    let (owner, is_ambiguous) = match &route.outcome {
        RouteOutcome::Owned(owner) => (Some(owner), false),
        RouteOutcome::Ambiguous => (None, true),
        RouteOutcome::Nobody => (None, false),
    };
    let reasons = route
        .reasons
        .iter()
        .map(|reason| (reason.code, &reason.detail));
    json!({
        "found": owner.is_some(),
        "ambiguous": is_ambiguous,
        "owner": owner.map(owner_json),
        "tried": route.tried,
        "matched_by": route.matched.as_ref().map(|matched| matched.by),
        "matched_value": route.matched.as_ref().map(|matched| &matched.value),
        "reasons": reasons_json(reasons),
    })
}

fn decision(event: &Event, index: &Index, bots: &BotIdentity) -> Value {
    let Decided {
        action,
        reasons,
        tried,
        matched,
        owner,
        start,
        ..
    } = decide(event, index, bots);
    let action = action.as_str_name().trim_start_matches("DECISION_ACTION_");
    let start = start.map(|start| {
        let destinations: Vec<Value> = start.destinations.iter().map(destination_json).collect();
        let notice = start
            .notice
            .map(|notice| json!({"code": notice.code, "text": notice.text}));
        json!({
            "agent": start.agent,
            "destinations": destinations,
            "notice": notice,
            "joins_open_run": start.joins_open_run,
        })
    });
    json!({
        "action": action.to_ascii_lowercase(),
        "owner": owner.as_ref().map(owner_json),
        "tried": tried,
        "matched_by": matched.as_ref().map(|matched| matched.by),
        "matched_value": matched.as_ref().map(|matched| &matched.value),
        "reasons": reasons_json(reasons.iter().map(|reason| (reason.code, &reason.detail))),
        "run": start,
    })
}

fn owner_json(owner: &Owner) -> Value {
    json!({"org": owner.org, "team": owner.team})
}

fn reasons_json<'a>(reasons: impl Iterator<Item = (ReasonCode, &'a String)>) -> Vec<Value> {
    reasons
        .map(|(code, detail)| json!({"code": code.as_str(), "detail": detail}))
        .collect()
}

fn destination_json(destination: &Destination) -> Value {
    match &destination.kind {
        Some(Kind::Slack(slack)) => {
            json!({"slack": {"channel": slack.channel, "thread": slack.thread, "user": slack.user}})
        }
        Some(Kind::Github(github)) => {
            json!({"github": {"repository": github.repository, "issue_number": github.issue_number}})
        }
        Some(Kind::Pagerduty(pagerduty)) => {
            json!({"pagerduty": {"incident_id": pagerduty.incident_id}})
        }
        None => Value::Null,
    }
}
