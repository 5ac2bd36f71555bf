//! What the router writes: work, and the decision. Every id is derived, so writing twice is harmless.

use jiff::Timestamp;
use tocsin_bus::{Bus, Outgoing, PublishError};
use tocsin_wire::ids::{EventId, MessageId, RequestId, RunId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{
    Decision, Envelope, Event, OriginalRun, ReplayCause, ReplayResult, ReplayTarget, RunRequest,
};
use tocsin_wire::{InvalidToken, Service, Subject, Token, time};

use crate::decide::Start;
use crate::owner::Owner;

/// What all messages about one event have in common.
#[derive(Clone, Debug)]
pub(crate) struct Cause {
    pub(crate) event: EventId,
    pub(crate) trace: Option<String>,
    pub(crate) at: Timestamp,
    /// Set when somebody asked for the event once more.
    pub(crate) replay: Option<Replay>,
}

/// Why an event is handled once more.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    pub(crate) request: RequestId,
    /// The message that asked.
    pub(crate) command: MessageId,
    pub(crate) cause: ReplayCause,
    /// For the sandbox: whose findings are compared.
    pub(crate) original: Option<OriginalRun>,
}

impl Cause {
    fn is_sandbox(&self) -> bool {
        let target = self.replay.as_ref().map(|replay| replay.cause.target());
        target == Some(ReplayTarget::Sandbox)
    }

    /// The message that led to what is written now.
    fn message(&self) -> MessageId {
        let replay = self.replay.as_ref();
        replay.map_or_else(|| self.event.into(), |replay| replay.command)
    }

    fn decision(&self) -> MessageId {
        match &self.replay {
            None => MessageId::decision(self.event),
            Some(replay) => MessageId::replayed_decision(self.event, replay.request),
        }
    }
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
        sandbox: cause.is_sandbox(),
        replay: cause.replay.as_ref().map(|replay| replay.cause.clone()),
        original: cause
            .replay
            .as_ref()
            .and_then(|replay| replay.original.clone()),
    };
    let id = MessageId::run_request(run);
    envelope(id, cause, Body::from(request), &start.owner)
}

/// The router's side of RESULTS; runs are placed by [`crate::place`].
#[derive(Clone)]
pub(crate) struct Publisher {
    bus: Bus,
    decision: Token,
    replay: Token,
}

impl Publisher {
    pub(crate) fn new(bus: Bus) -> Result<Self, InvalidToken> {
        let decision = Token::new("decision")?;
        let replay = Token::new(tocsin_wire::replay::VERB)?;
        Ok(Self {
            bus,
            decision,
            replay,
        })
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
        let envelope = envelope(cause.decision(), cause, Body::Decision(decision), owner);
        let outgoing = Outgoing::new(subject, envelope).traced(cause.trace.clone());
        self.bus.publish(outgoing).await.map(|_stored| ())
    }

    /// Tells what came of a request for a replay, under the owner that its subject named.
    pub(crate) async fn replay_result(
        &self,
        owner: &Owner,
        replay: &Replay,
        result: ReplayResult,
    ) -> Result<(), PublishError> {
        let subject = Subject::Result {
            service: Service::Router,
            what: self.replay.clone(),
            org: owner.org.clone(),
            team: owner.team.clone(),
        };
        let envelope = Envelope::new(
            MessageId::replay_result(replay.request),
            Service::Router,
            self.bus.now(),
            // It follows from no event, but from the request itself.
            EventId::from(replay.request.as_uuid()),
            Some(replay.command),
            Body::ReplayResult(result),
        );
        let envelope = envelope.owned_by(&owner.org, &owner.team);
        let outgoing = Outgoing::new(subject, envelope);
        self.bus.publish(outgoing).await.map(|_stored| ())
    }
}

pub(crate) fn envelope(id: MessageId, cause: &Cause, body: Body, owner: &Owner) -> Envelope {
    let causation = Some(cause.message());
    let envelope = Envelope::new(id, Service::Router, cause.at, cause.event, causation, body);
    envelope.owned_by(&owner.org, &owner.team)
}

pub(crate) fn without_body(event: &Event) -> Event {
    Event {
        raw_body: Default::default(),
        headers: Vec::new(),
        ..event.clone()
    }
}
