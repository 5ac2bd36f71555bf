//! What a request to replay events may ask for. Whoever asks and whoever answers check by the same
//! rules, so that nobody learns of a mistake only from the record.

use jiff::Timestamp;

use crate::ids::{EventId, RequestId};
use crate::proto::{ReplayRequest, ReplayTarget};
use crate::token::{InvalidToken, OrgId, TeamId, Token};
use crate::{service::Service, subject::Subject, time};

/// The verb of the command, as its subject has it.
pub const VERB: &str = "replay";

/// Events of one request to `work`: half of a team's backlog, so that what happens now finds room.
pub const MAX_TO_WORK: usize = 500;

/// Events of one request to `sandbox`: each run costs a model's time and a place in the team's window.
pub const MAX_TO_SANDBOX: usize = 50;

/// Characters of a reason.
pub const MAX_REASON: usize = 500;

/// The streams that keep events: those that were taken at once, and those that a rate limit held back until they
/// were due.
pub const STREAMS: [&str; 2] = ["EVENTS", "DEFERRED"];

/// Messages of each stream that are read for one request, seconds of work; the answer says that there are more.
pub const MAX_READ: usize = 100_000;

/// Most events that may go to `target`.
pub fn most(target: ReplayTarget) -> usize {
    match target {
        ReplayTarget::Sandbox => MAX_TO_SANDBOX,
        ReplayTarget::Work | ReplayTarget::Unspecified => MAX_TO_WORK,
    }
}

/// Where a request is sent: `cmd.router.replay.<org>.<team>`.
///
/// # Errors
/// Never: the verb is a token.
pub fn subject(org: OrgId, team: TeamId) -> Result<Subject, InvalidToken> {
    let verb = Token::new(VERB)?;
    Ok(Subject::Command {
        service: Service::Router,
        verb,
        org,
        team,
    })
}

/// A request that can be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub request: RequestId,
    pub target: ReplayTarget,
    /// Events that fit.
    pub filter: Filter,
    /// When the broker stored them; `None`: from the beginning.
    pub since: Option<Timestamp>,
    /// `None`: until the request itself was stored.
    pub until: Option<Timestamp>,
    /// These; empty: all that fit.
    pub events: Vec<Named>,
    /// The oldest so many.
    pub most: usize,
    pub requested_by: String,
    pub reason: String,
}

/// One event that is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub id: EventId,
    /// One of [`STREAMS`].
    pub stream: &'static str,
    /// In its stream; 0: unknown.
    pub sequence: u64,
}

/// Tokens of the subjects of events, each with `*` for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    provider: String,
    source: String,
    kind: String,
}

impl Filter {
    /// The subjects that fit, in one of [`STREAMS`].
    pub fn subjects(&self, stream: &str) -> String {
        let Self {
            provider,
            source,
            kind,
        } = self;
        let prefix = match stream {
            "DEFERRED" => "deferred.due",
            _ => "events",
        };
        format!("{prefix}.{provider}.{source}.{kind}.>")
    }
}

/// Why a request cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReplay {
    #[error("request_id {0:?} is no UUID")]
    Request(String),
    #[error("the target is missing: work or sandbox")]
    Target,
    #[error("requested_by is empty: say who asks")]
    Nobody,
    #[error("the reason has {0} characters; {MAX_REASON} are allowed")]
    Reason(usize),
    #[error("event id {0:?} is no UUID")]
    Event(String),
    #[error("{asked} events are asked for; at most {most} may be replayed to {target} at once")]
    TooMany {
        asked: usize,
        most: usize,
        target: &'static str,
    },
    #[error("name events, or a time from which (since)")]
    Unbounded,
    #[error(
        "event {0} comes without its sequence in EVENTS or DEFERRED: add it, or a time from which to look (since)"
    )]
    Nowhere(String),
    #[error("stream {0:?} keeps no events; EVENTS and DEFERRED do")]
    Stream(String),
    #[error("the time range ends before it begins")]
    Backwards,
    #[error("the filter's {field} is no token")]
    Filter {
        field: &'static str,
        #[source]
        source: InvalidToken,
    },
}

/// `work`, `sandbox`.
pub fn target_name(target: ReplayTarget) -> &'static str {
    match target {
        ReplayTarget::Work => "work",
        ReplayTarget::Sandbox => "sandbox",
        ReplayTarget::Unspecified => "",
    }
}

/// Checks a request.
///
/// # Errors
/// What is wrong with it, for whoever asked.
pub fn wanted(request: &ReplayRequest) -> Result<Wanted, InvalidReplay> {
    let id = request.request_id.parse();
    let id: RequestId = id.map_err(|_| InvalidReplay::Request(request.request_id.clone()))?;
    let target = request.target();
    if target == ReplayTarget::Unspecified {
        return Err(InvalidReplay::Target);
    }
    if request.requested_by.trim().is_empty() {
        return Err(InvalidReplay::Nobody);
    }
    let length = request.reason.chars().count();
    if length > MAX_REASON {
        return Err(InvalidReplay::Reason(length));
    }
    let asked = request.filter.clone().unwrap_or_default();
    let bound = |at: &Option<prost_types::Timestamp>| at.as_ref().and_then(time::from_proto);
    let (since, until) = (bound(&asked.since), bound(&asked.until));
    if let (Some(since), Some(until)) = (since, until)
        && until < since
    {
        return Err(InvalidReplay::Backwards);
    }
    let limit = most(target);
    let events = events(request, since.is_some())?;
    let named = usize::try_from(asked.max_events).unwrap_or(usize::MAX);
    let count = named.max(events.len());
    if count > limit {
        let target = target_name(target);
        let (asked, most) = (count, limit);
        return Err(InvalidReplay::TooMany {
            asked,
            most,
            target,
        });
    }
    if events.is_empty() && since.is_none() {
        return Err(InvalidReplay::Unbounded);
    }
    Ok(Wanted {
        request: id,
        target,
        filter: filter(&asked.provider, &asked.source, &asked.kind)?,
        since,
        until,
        events,
        most: if named == 0 { limit } else { named },
        requested_by: request.requested_by.trim().to_owned(),
        reason: request.reason.trim().to_owned(),
    })
}

fn events(request: &ReplayRequest, has_range: bool) -> Result<Vec<Named>, InvalidReplay> {
    let mut events: Vec<Named> = Vec::new();
    for event in &request.events {
        let id = event.event_id.parse();
        let id: EventId = id.map_err(|_| InvalidReplay::Event(event.event_id.clone()))?;
        if event.stream_sequence == 0 && !has_range {
            return Err(InvalidReplay::Nowhere(event.event_id.clone()));
        }
        let named = if event.stream.is_empty() {
            STREAMS[0]
        } else {
            &event.stream
        };
        let stream = STREAMS.into_iter().find(|known| *known == named);
        let stream = stream.ok_or_else(|| InvalidReplay::Stream(event.stream.clone()))?;
        if events.iter().all(|known| known.id != id) {
            events.push(Named {
                id,
                stream,
                sequence: event.stream_sequence,
            });
        }
    }
    Ok(events)
}

fn filter(provider: &str, source: &str, kind: &str) -> Result<Filter, InvalidReplay> {
    let token = |field: &'static str, text: &str| match text {
        "" => Ok("*".to_owned()),
        text => Token::new(text)
            .map(|token| token.to_string())
            .map_err(|source| InvalidReplay::Filter { field, source }),
    };
    Ok(Filter {
        provider: token("provider", provider)?,
        source: token("source", source)?,
        kind: token("kind", kind)?,
    })
}

/// Whether an event of `org` and `team` may be replayed by a command on a subject with `scope`.
pub fn is_in_scope(scope: (&OrgId, &TeamId), org: &OrgId, team: &TeamId) -> bool {
    let (all_orgs, all_teams) = (OrgId::all(), TeamId::all());
    // All orgs and yet one team makes no sense: nothing is in its scope.
    let org_fits = *scope.0 == *org || (*scope.0 == all_orgs && *scope.1 == all_teams);
    org_fits && (*scope.1 == *team || *scope.1 == all_teams)
}

#[cfg(test)]
mod tests;
