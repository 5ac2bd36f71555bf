//! What the router writes: work, and the decision. Every id is derived, so writing twice is harmless.

use jiff::Timestamp;
use tocsin_bus::{Bus, BusError, Outgoing, PublishError};
use tocsin_wire::ids::{EventId, MessageId, RunId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Decision, Envelope, Event, Placement, RunRequest};
use tocsin_wire::{InvalidToken, Pool, Priority, Service, Subject, Token, time};

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

/// The router's side of WORK, BACKLOG and RESULTS.
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

    /// Puts a run into the team's window, or else into its backlog; `None` when both are full.
    pub(crate) async fn work(
        &self,
        owner: &Owner,
        priority: Priority,
        envelope: Envelope,
        cause: &Cause,
    ) -> Result<Option<Placement>, PublishError> {
        let (pool, org, team) = (Pool::shared(), owner.org.clone(), owner.team.clone());
        let window = Subject::WorkRun {
            pool: pool.clone(),
            org: org.clone(),
            team: team.clone(),
        };
        if self.is_stored(window, envelope.clone(), cause).await? {
            return Ok(Some(Placement::Admitted));
        }
        let backlog = Subject::BacklogRun {
            pool,
            org,
            team,
            priority,
        };
        let is_waiting = self.is_stored(backlog, envelope, cause).await?;
        Ok(is_waiting.then_some(Placement::Backlog))
    }

    /// The place of a run that has just been put into the team's backlog: it stands behind all that are as
    /// severe as it is. Others may move meanwhile, so this is the place at about that moment.
    pub(crate) async fn queue_position(
        &self,
        owner: &Owner,
        priority: Priority,
    ) -> Result<u64, BusError> {
        let (org, team) = (&owner.org, &owner.team);
        let queue = self.bus.queue(&Pool::shared(), org, team).await?;
        let before = queue.iter().filter(|(other, _)| *other <= priority);
        Ok(before.map(|(_, count)| count).sum())
    }

    async fn is_stored(
        &self,
        subject: Subject,
        envelope: Envelope,
        cause: &Cause,
    ) -> Result<bool, PublishError> {
        let outgoing = Outgoing::new(subject, envelope).traced(cause.trace.clone());
        match self.bus.publish(outgoing).await {
            Ok(_stored_or_repeated) => Ok(true),
            Err(PublishError::SubjectFull { .. }) => Ok(false),
            Err(error) => Err(error),
        }
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
