//! What the router writes: work, and the decision. Every id is derived, so writing twice is harmless.

use jiff::Timestamp;
use tocsin_bus::{Bus, Outgoing, PublishError};
use tocsin_wire::ids::{EventId, MessageId, RunId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Decision, Envelope, Event, RunRequest};
use tocsin_wire::{InvalidToken, Service, Subject, Token, time};

use crate::decide::Start;
use crate::owner::Owner;

/// What all messages about one event have in common.
#[derive(Clone, Debug)]
pub(crate) struct Cause {
    pub(crate) event: EventId,
    pub(crate) trace: Option<String>,
    pub(crate) at: Timestamp,
}

/// The work message of a run, without what only EVENTS keeps: the raw body and its headers.
/// `open_key`: where in the bucket `open` other events find the run, when they may join it.
pub(crate) fn run_request(
    run: RunId,
    cause: &Cause,
    start: &Start,
    event: &Event,
    open_key: Option<&str>,
) -> Envelope {
    let request = RunRequest {
        run_id: run.to_string(),
        event_id: cause.event.to_string(),
        agent: start.agent.clone(),
        event: Some(without_body(event)),
        destinations: start.destinations.clone(),
        requested_at: Some(time::to_proto(cause.at)),
        notice: start.notice.clone(),
        open_key: open_key.unwrap_or_default().to_owned(),
    };
    let id = MessageId::run_request(run);
    envelope(id, cause, Body::RunRequest(request), &start.owner)
}

/// The router's side of RESULTS; runs are placed by [`crate::place`].
#[derive(Clone)]
pub(crate) struct Publisher {
    bus: Bus,
    decision: Token,
}

impl Publisher {
    pub(crate) fn new(bus: Bus) -> Result<Self, InvalidToken> {
        let decision = Token::new("decision")?;
        Ok(Self { bus, decision })
    }

    /// Records a decision, under its owner or as nobody's.
    pub(crate) async fn decision(
        &self,
        owner: &Owner,
        decision: Decision,
        cause: &Cause,
    ) -> Result<(), PublishError> {
        let subject = Subject::Result {
            service: Service::Router,
            what: self.decision.clone(),
            org: owner.org.clone(),
            team: owner.team.clone(),
        };
        let id = MessageId::decision(cause.event);
        let envelope = envelope(id, cause, Body::Decision(decision), owner);
        let outgoing = Outgoing::new(subject, envelope).traced(cause.trace.clone());
        self.bus.publish(outgoing).await.map(|_stored| ())
    }
}

pub(crate) fn envelope(id: MessageId, cause: &Cause, body: Body, owner: &Owner) -> Envelope {
    let causation = Some(cause.event.into());
    let envelope = Envelope::new(id, Service::Router, cause.at, cause.event, causation, body);
    envelope.owned_by(&owner.org, &owner.team)
}

fn without_body(event: &Event) -> Event {
    Event {
        raw_body: Default::default(),
        headers: Vec::new(),
        ..event.clone()
    }
}
