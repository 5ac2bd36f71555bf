//! `tocsin events replay`: shows what would happen, asks, gives the command, and follows what comes of it.

mod follow;
mod text;

use std::io::{BufRead as _, IsTerminal as _};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tocsin_bus::{AskError, Bus, Outgoing};
use tocsin_wire::ids::{EventId, RequestId};
use tocsin_wire::proto::command::What;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Command, Envelope, ReplayRequest, ReplayTarget, StoredEvent};
use tocsin_wire::replay::{MAX_REASON, subject};
use tocsin_wire::{OrgId, Service, TeamId};

use crate::cli::{Replay, ReplayTo};
use crate::error::CommandError;
use crate::random;
use crate::run::{now, operator_bus, print};

pub(crate) async fn run(arguments: Replay) -> Result<(), CommandError> {
    let at = now()();
    let reason = arguments.reason.chars().count();
    if reason > MAX_REASON {
        return Err(CommandError::Input(format!(
            "the reason has {reason} characters; {MAX_REASON} are allowed"
        )));
    }
    let since = arguments.since.as_deref().map(|text| time(text, at));
    let since = since.transpose()?;
    let bus = operator_bus(&arguments.bus).await?;
    let events = find(&bus, &arguments.ids, since.is_some()).await?;
    let question = question(&arguments, &events, since, at)?;
    let plan = bus.ask(Service::Router, "replay_plan", &question).await?;
    print(&text::plan(&plan, target(arguments.to)))?;
    let shown = stored_events(&plan);
    if shown.is_empty() {
        return Err(CommandError::Input("there is nothing to replay".to_owned()));
    }
    if arguments.to == ReplayTo::Work && !arguments.yes && !is_wanted(&plan)? {
        return print("nothing was done\n");
    }
    let request = ReplayRequest {
        request_id: request_id()?.to_string(),
        // What was shown is what is replayed, whatever has come since.
        events: shown,
        filter: None,
        target: target(arguments.to).into(),
        reason: arguments.reason,
        requested_by: arguments.by,
    };
    command(&bus, &request, arguments.org, arguments.team).await?;
    let timeout = arguments.timeout.duration();
    follow::follow(&bus, &request, at, timeout).await
}

fn target(to: ReplayTo) -> ReplayTarget {
    match to {
        ReplayTo::Work => ReplayTarget::Work,
        ReplayTo::Sandbox => ReplayTarget::Sandbox,
    }
}

/// A time, or an age before `now`.
fn time(text: &str, now: Timestamp) -> Result<Timestamp, CommandError> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let age = text.parse::<SignedDuration>().ok();
    let at = age.and_then(|age| now.checked_sub(age.abs()).ok());
    at.ok_or_else(|| {
        CommandError::Input(format!(
            "{text:?} is neither a time (2026-01-31T12:00:00Z) nor an age (15m, 2h)"
        ))
    })
}

/// Ids and places of the named events, from the record. Without the record an event id is enough when
/// there is a time from which to look for it.
async fn find(bus: &Bus, names: &[String], has_range: bool) -> Result<Vec<Value>, CommandError> {
    let mut found = Vec::new();
    for name in names {
        let life = bus
            .ask(Service::Audit, "life", &json!({ "event_id": name }))
            .await;
        let event = match life {
            Ok(life) => located(&life),
            Err(AskError::Refused {
                code: 404, detail, ..
            }) if !has_range => {
                return Err(CommandError::Input(detail));
            }
            Err(error) if !has_range => return Err(error.into()),
            Err(_no_record) => None,
        };
        let by_id = || {
            let id = name.parse::<EventId>().ok().filter(|_| has_range)?;
            Some(json!({ "event_id": id.to_string() }))
        };
        found.push(event.or_else(by_id).ok_or_else(|| {
            CommandError::Input(format!(
                "the record does not know where {name} lies; give the id of the event and --since"
            ))
        })?);
    }
    Ok(found)
}

fn located(life: &Value) -> Option<Value> {
    let id = life.get("event_id")?.as_str()?;
    let sequence = life.pointer("/event/stream_sequence")?.as_u64()?;
    let stream = life.pointer("/event/stream")?.as_str()?;
    Some(json!({ "event_id": id, "stream": stream, "stream_sequence": sequence }))
}

fn question(
    arguments: &Replay,
    events: &[Value],
    since: Option<Timestamp>,
    now: Timestamp,
) -> Result<Value, CommandError> {
    let until = arguments.until.as_deref().map(|text| time(text, now));
    let token = |token: &Option<tocsin_wire::Token>| {
        token.as_ref().map(ToString::to_string).unwrap_or_default()
    };
    let (org, team) = scope(arguments.org.clone(), arguments.team.clone());
    Ok(json!({
        "events": events,
        "provider": token(&arguments.provider),
        "kind": token(&arguments.kind),
        "source": token(&arguments.source),
        "since": since,
        "until": until.transpose()?,
        "max_events": arguments.max.unwrap_or_default(),
        "target": tocsin_wire::replay::target_name(target(arguments.to)),
        "org": org,
        "team": team,
    }))
}

fn scope(org: Option<OrgId>, team: Option<TeamId>) -> (OrgId, TeamId) {
    (
        org.unwrap_or_else(OrgId::all),
        team.unwrap_or_else(TeamId::all),
    )
}

fn stored_events(plan: &Value) -> Vec<StoredEvent> {
    let events = plan.get("events").and_then(Value::as_array);
    let events = events.into_iter().flatten();
    events
        .filter_map(|event| {
            Some(StoredEvent {
                event_id: event.get("event_id")?.as_str()?.to_owned(),
                stream_sequence: event.get("stream_sequence")?.as_u64()?,
                stream: event.get("stream")?.as_str()?.to_owned(),
            })
        })
        .collect()
}

/// Asks on the terminal; nobody there is no.
fn is_wanted(plan: &Value) -> Result<bool, CommandError> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(CommandError::Input(
            "a replay to work asks first, and nobody is there to answer: give --yes".to_owned(),
        ));
    }
    print(&text::question(plan))?;
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    read.map_err(|source| CommandError::Files {
        operation: "read the answer".to_owned(),
        source,
    })?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// A random UUID: asking once more is another request.
fn request_id() -> Result<RequestId, CommandError> {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(random::bytes()?) {
        *to = from;
    }
    let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
    Ok(RequestId::from(id))
}

async fn command(
    bus: &Bus,
    request: &ReplayRequest,
    org: Option<OrgId>,
    team: Option<TeamId>,
) -> Result<(), CommandError> {
    let id: RequestId = request
        .request_id
        .parse()
        .map_err(|_| CommandError::Input("the request has no valid id".to_owned()))?;
    let (org, team) = scope(org, team);
    let subject = subject(org, team).map_err(|error| CommandError::Input(error.to_string()))?;
    let body = Body::Command(Command {
        what: Some(What::Replay(request.clone())),
    });
    let correlation = EventId::from(id.as_uuid());
    let at = now()();
    let envelope = Envelope::new(id.into(), Service::Operator, at, correlation, None, body);
    bus.publish(Outgoing::new(subject, envelope))
        .await
        .map(|_stored| ())
        .map_err(CommandError::Publish)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_points_or_ages() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().expect("a time");
        for (text, expected) in [
            ("2026-01-31T11:00:00Z", Some("2026-01-31T11:00:00Z")),
            ("15m", Some("2026-01-31T11:45:00Z")),
            ("2h", Some("2026-01-31T10:00:00Z")),
            ("yesterday", None),
        ] {
            let found = time(text, now).ok().map(|at| at.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
