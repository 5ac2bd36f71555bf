//! `svc.router.replay_plan`: what a request would do, without doing it.
//!
//! The question is `{"events": [{"event_id": "…", "stream": "EVENTS", "stream_sequence": 7}], "provider": "slack",
//! "kind": "app_mention", "source": "shared", "since": "2026-01-31T12:00:00Z", "until": "…", "max_events": 50, "target": "work",
//! "org": "acme", "team": "pay"}`; events or since, the rest as wanted. 400 says what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tocsin_bus::Answer;
use tocsin_kit::ErrorChain;
use tocsin_wire::proto::{Event, ReplayFilter, ReplayRequest, ReplayTarget, StoredEvent};
use tocsin_wire::replay::{is_in_scope, wanted};
use tocsin_wire::{OrgId, TeamId, time};

use super::{Replayer, Selected, select};
use crate::consume::action_label;
use crate::decide::Decided;
use crate::owner::Owner;

/// Characters of a title in the answer: hundreds of them share a megabyte.
const TITLE: usize = 120;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Question {
    events: Vec<Named>,
    provider: String,
    kind: String,
    source: String,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    max_events: u32,
    target: String,
    org: OrgId,
    team: TeamId,
}

impl Default for Question {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            provider: String::new(),
            kind: String::new(),
            source: String::new(),
            since: None,
            until: None,
            max_events: 0,
            target: "work".to_owned(),
            org: OrgId::all(),
            team: TeamId::all(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    event_id: String,
    #[serde(default)]
    stream_sequence: u64,
    #[serde(default)]
    stream: String,
}

impl Question {
    /// The command that this would be, so that both are checked alike.
    fn request(&self) -> ReplayRequest {
        let target = match self.target.as_str() {
            "work" => ReplayTarget::Work,
            "sandbox" => ReplayTarget::Sandbox,
            _ => ReplayTarget::Unspecified,
        };
        let named = self.events.iter().map(|event| StoredEvent {
            event_id: event.event_id.clone(),
            stream_sequence: event.stream_sequence,
            stream: event.stream.clone(),
        });
        ReplayRequest {
            request_id: uuid_of_nobody(),
            events: named.collect(),
            filter: Some(ReplayFilter {
                provider: self.provider.clone(),
                kind: self.kind.clone(),
                source: self.source.clone(),
                since: self.since.map(time::to_proto),
                until: self.until.map(time::to_proto),
                max_events: self.max_events,
            }),
            target: target.into(),
            reason: String::new(),
            requested_by: "a plan".to_owned(),
        }
    }
}

/// A plan leads to nothing that would need an id of its own.
fn uuid_of_nobody() -> String {
    tocsin_wire::ids::EventId::derive("plan").to_string()
}

impl Replayer {
    /// Answers a question.
    pub(crate) async fn plan(&self, question: Value) -> Result<Value, Answer> {
        let question: Question =
            serde_json::from_value(question).map_err(|error| refuse(400, &error))?;
        let wanted = wanted(&question.request()).map_err(|error| refuse(400, &error))?;
        let scope = (&question.org, &question.team);
        let allows = |event: &Event| self.is_allowed(scope, event);
        let found = select(&self.bus, &wanted, self.bus.now(), allows).await;
        let found = found.map_err(|error| refuse(503, &error))?;
        let mut events = Vec::new();
        let mut runs: BTreeMap<(Owner, String), usize> = BTreeMap::new();
        let mut told = BTreeSet::new();
        let mut out_of_scope = found.out_of_scope;
        for selected in &found.events {
            let decided = self.decide(selected, None);
            let owner = decided.owner.clone().unwrap_or_else(Owner::unrouted);
            if !is_in_scope(scope, &owner.org, &owner.team) {
                out_of_scope += 1;
                continue;
            }
            let is_told = told.contains(&selected.event.semantic_key);
            if let Some(start) = decided.start.as_ref().filter(|_| !is_told) {
                // Two deliveries of one thing start one run.
                told.insert(&selected.event.semantic_key);
                let key = (start.owner.clone(), start.agent.clone());
                *runs.entry(key).or_default() += 1;
            }
            events.push(event(selected, &decided));
        }
        let groups: Vec<Value> = runs
            .iter()
            .map(|((owner, agent), runs)| {
                json!({"org": owner.org, "team": owner.team, "agent": agent, "runs": runs})
            })
            .collect();
        let missing: Vec<String> = found.missing.iter().map(ToString::to_string).collect();
        Ok(json!({
            "events": events,
            "runs": runs.values().sum::<usize>(),
            "teams": groups,
            "missing": missing,
            "untrusted": found.untrusted,
            "out_of_scope": out_of_scope,
            "more": found.more,
        }))
    }
}

fn event(selected: &Selected, decided: &Decided) -> Value {
    let title: String = selected.event.title.chars().take(TITLE).collect();
    let starts = decided.start.as_ref();
    json!({
        "event_id": selected.id.to_string(),
        "stream": selected.stream,
        "stream_sequence": selected.sequence,
        "at": selected.stored_at,
        "provider": selected.event.provider,
        "kind": selected.event.kind,
        "title": title,
        "action": action_label(decided.action),
        "org": decided.owner.as_ref().map(|owner| owner.org.as_str()),
        "team": decided.owner.as_ref().map(|owner| owner.team.as_str()),
        "agent": starts.map(|start| start.agent.as_str()),
        "why": decided.reasons.last().map(|reason| reason.detail.as_str()),
    })
}

fn refuse(code: u16, error: &(dyn std::error::Error + 'static)) -> Answer {
    let detail = ErrorChain(error).to_string();
    Answer { code, detail }
}
