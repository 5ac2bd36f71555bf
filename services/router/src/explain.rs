//! `svc.router.explain`: what would happen to an event, without making it happen.
//!
//! Only operators may ask, who see every tenant; the broker's permissions refuse everybody else. The
//! question says which event:
//!
//! * `{"identifiers": {"slack_channel_id": "C1"}}` only asks whose that is;
//! * an event as [`EventForm`] has it, with `provider` and `kind`, at the top level or under `event`;
//! * `{"event_id": "…"}`: a stored event, by its id, its run's or its delivery's.
//!
//! With an event it may try rules out: `"rules": [{"name", "when", "then"}, …]` are asked instead of the
//! team's own, as config would keep them under `rules`; `"team": "acme/payments"` says whose rules are
//! meant where that is not whom the event is routed to.
//!
//! The answer to an event has `action`, `owner`, `tried`, `matched_by`, `matched_value`, `reasons`,
//! `run`, and how its rules were evaluated: `rules_of` (`proposed`, the team, or null where nobody's
//! rules were asked), `rule` (the name of the one that decided, or null) and `rules`, for each in order
//! `{"name", "when", "then", "enabled", "values": {"severity": "high"}, "result": true, "error": null,
//! "decides": true}`. `result` is null where `error` says why; rules behind the deciding one are
//! evaluated as well; `reasons` say when the rules were not asked at all, as for a message of Tocsin's own.
//! An ambiguous event has `claimed_by` with all owners, whom no decision names. What is asked of a stored event is only recorded facts: nothing is written.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tocsin_bus::{Answer, AskError, Bus};
use tocsin_wire::Service;
use tocsin_wire::event_form::EventForm;
use tocsin_wire::identifier::IdentifierType;
use tocsin_wire::proto::destination::Kind;
use tocsin_wire::proto::{Destination, Event};
use tocsin_wire::rule::{MAX_RULES, Then};
use tocsin_wire::time;

use crate::decide::{Decided, Lookup, ReasonCode, RouteOutcome, decide, route};
use crate::event_rules::Step;
use crate::index::Index;
use crate::owner::Owner;
use crate::rules::{BotIdentity, TeamRules};

/// What a question may hold beside an event that is written out at its top level.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    event_id: Option<String>,
    event: Option<EventForm>,
    team: Option<String>,
    rules: Option<Vec<Value>>,
}

/// The names of [`Asked`].
const ASKED: [&str; 4] = ["event_id", "event", "team", "rules"];

/// A question whose event is in hand.
struct Question {
    event: Event,
    /// Of a stored event.
    event_id: Option<String>,
    team: Option<Owner>,
    rules: Option<Value>,
}

/// Answers questions.
#[derive(Clone)]
pub(crate) struct Explainer {
    pub(crate) bus: Bus,
    pub(crate) index: Arc<Index>,
    pub(crate) bots: Arc<BotIdentity>,
}

impl Explainer {
    /// Answers one.
    ///
    /// # Errors
    /// 400 with what is wrong with the question; what audit answers when it does not know a stored event.
    pub(crate) async fn answer(self, question: Value) -> Result<Value, Answer> {
        let question = self.read(question).await?;
        Ok(explain(&question, &self.index, &self.bots))
    }

    async fn read(&self, question: Value) -> Result<Question, Answer> {
        let (asked, inline) = split(question)?;
        let form = match (&asked.event_id, asked.event, inline) {
            (Some(id), None, None) => self.stored(id).await?,
            (None, Some(form), None) | (None, None, Some(form)) => form,
            (None, None, None) => return Err(refused("name an event: event_id or event")),
            _ => return Err(refused("name one event: event_id, event, or its fields")),
        };
        let mut event = Event::try_from(form).map_err(|error| refused(error.to_string()))?;
        // Silences hold for a while: a question about no stored event is about one that comes now.
        event
            .received_at
            .get_or_insert_with(|| time::to_proto(self.bus.now()));
        let has_rules = asked.rules.is_some() || asked.team.is_some();
        if has_rules && event.kind.is_empty() {
            return Err(refused("rules need an event with its provider and kind"));
        }
        let team = asked.team.as_deref().map(team).transpose()?;
        let rules = asked.rules.map(proposed).transpose()?;
        Ok(Question {
            event,
            event_id: asked.event_id,
            team,
            rules,
        })
    }

    /// The record has every event, also those that EVENTS has let go.
    async fn stored(&self, id: &str) -> Result<EventForm, Answer> {
        let question = json!({ "event_id": id });
        let answer = self.bus.ask(Service::Audit, "event", &question).await;
        let answer = answer.map_err(|error| match error {
            AskError::Refused { code, detail, .. } => Answer { code, detail },
            AskError::Unreachable { .. } => Answer {
                code: 503,
                detail: "audit keeps the events and does not answer; is it running?".to_owned(),
            },
        })?;
        let event = answer.get("event").cloned().unwrap_or_default();
        serde_json::from_value(event).map_err(|error| Answer {
            code: 502,
            detail: format!("audit told of the event in another form: {error}"),
        })
    }
}

/// What is asked, and the event that stands beside it.
fn split(question: Value) -> Result<(Asked, Option<EventForm>), Answer> {
    let wrong = |error: serde_json::Error| {
        refused(format!(
            "{error}; ask for {{\"identifiers\": {{\"slack_channel_id\": \"C1\"}}}}, or about an event_id"
        ))
    };
    let Value::Object(fields) = question else {
        return Err(refused(
            "the question is an object, such as {\"event_id\": \"…\"}",
        ));
    };
    let is_asked = |name: &String| ASKED.contains(&name.as_str());
    let (asked, inline): (Map<_, _>, Map<_, _>) =
        fields.into_iter().partition(|(name, _)| is_asked(name));
    let is_inline = !inline.is_empty();
    let asked = serde_json::from_value(Value::Object(asked)).map_err(wrong)?;
    let inline = is_inline.then(|| serde_json::from_value(Value::Object(inline)));
    Ok((asked, inline.transpose().map_err(wrong)?))
}

fn team(text: &str) -> Result<Owner, Answer> {
    let parts = text.split_once('/');
    let owner = parts.and_then(|(org, team)| Owner::new(org, team).ok());
    owner.ok_or_else(|| refused(format!("team {text:?} is not <org>/<team>")))
}

fn proposed(rules: Vec<Value>) -> Result<Value, Answer> {
    if rules.len() > MAX_RULES {
        return Err(refused(format!("at most {MAX_RULES} rules are allowed")));
    }
    Ok(Value::Array(rules))
}

fn refused(detail: impl Into<String>) -> Answer {
    Answer {
        code: 400,
        detail: detail.into(),
    }
}

fn explain(question: &Question, index: &Index, bots: &BotIdentity) -> Value {
    let mut answer = if question.event.kind.is_empty() {
        ownership(&question.event, index)
    } else {
        decision(question, index, bots)
    };
    if let Some(fields) = answer.as_object_mut() {
        if let Some(id) = &question.event_id {
            fields.insert("event_id".to_owned(), json!(id));
        }
        let several = claimants(&question.event, index);
        if !several.is_empty() {
            fields.insert("claimed_by".to_owned(), several.into());
        }
        fields.insert(
            "index".to_owned(),
            json!({"identifiers": index.identifiers(), "teams": index.teams()}),
        );
    }
    answer
}

/// Those among whom nothing tells whose the event is. Only here are they named: whoever reads a decision
/// or a notice may belong to any of them.
fn claimants(event: &Event, index: &Index) -> Vec<Value> {
    let route = route(event, index);
    let (RouteOutcome::Ambiguous, Some(matched)) = (route.outcome, route.matched) else {
        return Vec::new();
    };
    let kind = IdentifierType::named(matched.by);
    let owners = kind.map(|kind| index.owners(kind, &matched.value));
    owners
        .iter()
        .flat_map(|owners| owners.iter().map(owner_json))
        .collect()
}

/// The index, where one team has other rules.
struct TryingOut<'a> {
    index: &'a Index,
    team: Option<Owner>,
    rules: Arc<TeamRules>,
}

impl Lookup for TryingOut<'_> {
    fn owners(&self, kind: &IdentifierType, value: &str) -> Arc<[Owner]> {
        self.index.owners(kind, value)
    }

    fn rules(&self, owner: &Owner) -> Option<Arc<TeamRules>> {
        let known = self.index.rules(owner)?;
        let is_meant = self.team.as_ref() == Some(owner);
        Some(if is_meant {
            Arc::clone(&self.rules)
        } else {
            known
        })
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

fn decision(question: &Question, index: &Index, bots: &BotIdentity) -> Value {
    let event = &question.event;
    let routed = || match route(event, index).outcome {
        RouteOutcome::Owned(owner) => Some(owner),
        RouteOutcome::Ambiguous | RouteOutcome::Nobody => None,
    };
    let team = question.team.clone().or_else(routed);
    let own = team.as_ref().and_then(|team| index.rules(team));
    let (rules, rules_of) = match (&question.rules, own) {
        (Some(proposed), own) => {
            let own = own.unwrap_or_default();
            let rules = Arc::new(own.with_events(proposed));
            (rules, Some("proposed".to_owned()))
        }
        (None, Some(own)) => (own, team.as_ref().map(ToString::to_string)),
        (None, None) => (Arc::default(), None),
    };
    let steps = rules.events.trace(event);
    let lookup = TryingOut { index, team, rules };
    let mut answer = decided(decide(event, &lookup, bots));
    if let Some(fields) = answer.as_object_mut() {
        let winner = steps.iter().find(|step| step.is_winner);
        fields.insert("rule".to_owned(), json!(winner.map(|step| &step.name)));
        fields.insert("rules_of".to_owned(), json!(rules_of));
        let steps: Vec<Value> = steps.iter().map(step_json).collect();
        fields.insert("rules".to_owned(), steps.into());
    }
    answer
}

fn step_json(step: &Step) -> Value {
    let values = step.values.iter().cloned();
    json!({
        "name": step.name,
        "when": step.when,
        "then": step.then.as_ref().map(Then::to_json),
        "enabled": step.is_enabled,
        "values": values.collect::<Map<String, Value>>(),
        "result": step.result.as_ref().ok(),
        "error": step.result.as_ref().err(),
        "decides": step.is_winner,
    })
}

fn decided(decided: Decided) -> Value {
    let Decided {
        action,
        reasons,
        tried,
        matched,
        owner,
        start,
        ..
    } = decided;
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
