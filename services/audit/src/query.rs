//! What others ask: the life of one event, and the list of events.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use tocsin_bus::Answer;
use tocsin_kit::ErrorChain;
use tocsin_wire::event_form::EventForm;
use tocsin_wire::proto::envelope::Body;

use crate::error::OperationError;
use crate::life::{Life, life, runs_of, text};
use crate::pg::{EventsFilter, ListedEvent, Records};

/// Events listed when nobody says how many.
const DEFAULT_LIMIT: i64 = 20;

/// Most events in one list; each takes some 500 bytes of an answer of at most one megabyte.
const MAX_LIMIT: i64 = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LifeQuestion {
    event_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EventsQuestion {
    limit: Option<i64>,
    since: Option<String>,
    provider: Option<String>,
    org: Option<String>,
    team: Option<String>,
}

/// Answers `svc.audit.life`.
pub(crate) async fn answer_life(records: &Records, question: Value) -> Result<Value, Answer> {
    let LifeQuestion { event_id } = serde_json::from_value(question).map_err(|error| {
        refuse(
            400,
            format!(
                "{error}; ask {{\"event_id\": \"…\"}} with the id of an event, a run or a delivery"
            ),
        )
    })?;
    let found = find_life(records, event_id.trim())
        .await
        .map_err(|error| failed(&error))?;
    let life = found.ok_or_else(|| {
        refuse(
            404,
            format!(
                "no event, run or delivery {event_id:?} is recorded. `tocsin events ls` shows the latest; what was \
                 accepted a moment ago is recorded within a second"
            ),
        )
    })?;
    serde_json::to_value(life)
        .map_err(|error| refuse(500, format!("cannot encode a life: {error}")))
}

/// Answers `svc.audit.event`.
pub(crate) async fn answer_event(records: &Records, question: Value) -> Result<Value, Answer> {
    let LifeQuestion { event_id } = serde_json::from_value(question).map_err(|error| {
        refuse(
            400,
            format!(
                "{error}; ask {{\"event_id\": \"…\"}} with the id of an event, a run or a delivery"
            ),
        )
    })?;
    let text = event_id.trim();
    let not_found = || {
        refuse(
            404,
            format!("no event, run or delivery {event_id:?} is recorded"),
        )
    };
    let found = records
        .find_event(text)
        .await
        .map_err(|error| failed(&error))?;
    let id = found.ok_or_else(not_found)?;
    let rows = records
        .rows_of_event(id)
        .await
        .map_err(|error| failed(&error))?;
    let recorded = rows
        .iter()
        .find(|row| row.is_event())
        .ok_or_else(not_found)?;
    let Some(Body::Event(event)) = &recorded.body else {
        return Err(refuse(
            410,
            format!("the body of event {id} has been erased"),
        ));
    };
    let form = EventForm::from(&**event).bounded();
    Ok(json!({ "event_id": id, "event": form }))
}

async fn find_life(records: &Records, text: &str) -> Result<Option<Life>, OperationError> {
    let Some(event) = records.find_event(text).await? else {
        return Ok(None);
    };
    let mut rows = records.rows_of_event(event).await?;
    let runs = runs_of(&rows);
    if !runs.is_empty() {
        rows.extend(records.rows_of_runs(&runs, event).await?);
    }
    Ok(Some(life(event, rows)))
}

/// Answers `svc.audit.events`.
pub(crate) async fn answer_events(
    records: &Records,
    question: Value,
    now: Timestamp,
) -> Result<Value, Answer> {
    let filter = filter(question, now)?;
    let events = records
        .list_events(&filter)
        .await
        .map_err(|error| failed(&error))?;
    let events: Vec<Value> = events.iter().map(listed).collect();
    Ok(json!({ "events": events }))
}

fn filter(question: Value, now: Timestamp) -> Result<EventsFilter, Answer> {
    let asked = match question {
        Value::Null => EventsQuestion::default(),
        question => serde_json::from_value(question).map_err(|error| {
            refuse(
                400,
                format!("{error}; ask {{\"limit\", \"since\", \"provider\", \"org\", \"team\"}}, each optional"),
            )
        })?,
    };
    if asked.team.is_some() && asked.org.is_none() {
        return Err(refuse(400, "a team needs its org".to_owned()));
    }
    let since = match asked.since.as_deref() {
        None => Timestamp::UNIX_EPOCH,
        Some(text) => since(text, now).ok_or_else(|| {
            refuse(
                400,
                format!(
                    "since {text:?} is neither a time (2026-01-31T12:00:00Z) nor an age (15m, 2h)"
                ),
            )
        })?,
    };
    Ok(EventsFilter {
        limit: asked.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT),
        since,
        provider: asked.provider,
        org: asked.org,
        team: asked.team,
    })
}

fn since(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    let age: SignedDuration = text.parse().ok()?;
    now.checked_sub(age.abs()).ok()
}

fn listed(event: &ListedEvent) -> Value {
    let fact = |facts: Option<&Value>, name: &str| facts.and_then(|facts| facts.get(name)).cloned();
    let decision = event.decision.as_ref().map(|json| &json.0);
    let result = event.result.as_ref().map(|json| &json.0);
    json!({
        "event_id": event.event_id,
        "at": event.stored_at.to_jiff(),
        "provider": text(&event.event.0, "provider"),
        "kind": text(&event.event.0, "kind"),
        "title": text(&event.event.0, "title"),
        "action": fact(decision, "action"),
        "org": event.org,
        "team": event.team,
        "run_id": event.run_id,
        "outcome": fact(result, "outcome"),
    })
}

fn refuse(code: u16, detail: String) -> Answer {
    Answer { code, detail }
}

fn failed(error: &OperationError) -> Answer {
    tracing::debug!(error = %ErrorChain(error), "a question cannot be answered");
    if error.is_about_a_row() {
        return refuse(400, ErrorChain(error).to_string());
    }
    refuse(
        503,
        format!("the record cannot be read now: {}", ErrorChain(error)),
    )
}

#[cfg(test)]
mod tests;
