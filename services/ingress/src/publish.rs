//! From an event to its place in the stream EVENTS.

use std::{sync::OnceLock, time::Duration};

use jiff::Timestamp;
use tocsin_bus::{Bus, Kept, Outgoing, PublishError, Published};
use tocsin_wire::{
    InvalidToken, KeyToken, Service, Subject, Token, identifier,
    ids::EventId,
    proto::{Envelope, Event, envelope::Body},
    stored_body::BODIES,
};

use crate::error::Rejection;

/// How long the bus may take to admit a delivery and to store its event, both together. The sender hears 503
/// within a second, which is all that Sentry waits; an event that was stored all the same has the same id when
/// it comes again.
pub(crate) const BUS_TIMEOUT: Duration = Duration::from_millis(700);

/// How long the pieces of a large body may take together, each within [`BUS_TIMEOUT`]: a fraction of a
/// second for 25 MiB on a line of 1 Gbit/s, and GitHub and GitLab give up after 10 s.
const KEEP_TIMEOUT: Duration = Duration::from_secs(5);

/// The way to the bus, also before there is one.
#[derive(Default)]
pub(crate) struct Publisher(OnceLock<Bus>);

impl Publisher {
    /// Gives it the connection; only the first call counts.
    pub(crate) fn connected(&self, bus: Bus) {
        let _only_the_first = self.0.set(bus);
    }

    /// Moves a body that has an object to it, when it is not there yet. Its name follows from what is in
    /// it, so a repeat finds it; one that no event names in the end expires.
    pub(crate) async fn keep_body(&self, event: &mut Event) -> Result<(), Rejection> {
        let Some(stored) = &event.stored_body else {
            return Ok(());
        };
        let body = std::mem::take(&mut event.raw_body);
        let store = self.bus()?.object_store(BODIES);
        let keeping = store.keep(stored, &body, BUS_TIMEOUT);
        let limit = KEEP_TIMEOUT;
        let kept = tokio::time::timeout(limit, keeping)
            .await
            .map_err(|_elapsed| Rejection::Unacknowledged { limit })?
            .map_err(Rejection::Publish)?;
        let outcome = match kept {
            Kept::Written => "written",
            Kept::Present => "present",
        };
        metrics::counter!("tocsin_ingress_stored_bodies_total", "outcome" => outcome).increment(1);
        Ok(())
    }

    /// Stores an event, within `patience`. Its id follows from its delivery key, so a repeat is a duplicate.
    pub(crate) async fn publish(
        &self,
        event: Event,
        now: Timestamp,
        patience: Duration,
    ) -> Result<Published, Rejection> {
        let bus = self.bus()?;
        let subject = subject(&event).map_err(Rejection::Subject)?;
        let outgoing = Outgoing::new(subject, envelope(event, now)).within(patience);
        bus.publish(outgoing).await.map_err(unpublished)
    }

    /// Stores an event that comes out at `until`, within `patience`.
    pub(crate) async fn defer(
        &self,
        event: Event,
        now: Timestamp,
        until: Timestamp,
        patience: Duration,
    ) -> Result<Published, Rejection> {
        let bus = self.bus()?;
        let subject = deferred_subject(&event).map_err(Rejection::Subject)?;
        let outgoing = Outgoing::new(subject, envelope(event, now)).within(patience);
        let publishing = bus.publish_at(outgoing, until);
        publishing.await.map_err(unpublished)
    }

    /// The connection, when there is one.
    pub(crate) fn bus(&self) -> Result<&Bus, Rejection> {
        let bus = self.0.get().filter(|bus| bus.is_connected());
        bus.ok_or(Rejection::Disconnected)
    }
}

fn unpublished(error: PublishError) -> Rejection {
    match error {
        PublishError::TimedOut { .. } => Rejection::Unacknowledged { limit: BUS_TIMEOUT },
        other => Rejection::Publish(other),
    }
}

fn deferred_subject(event: &Event) -> Result<Subject, InvalidToken> {
    match subject(event)? {
        Subject::Event {
            provider,
            source,
            kind,
            key,
        } => Ok(Subject::DeferredEvent {
            provider,
            source,
            kind,
            key,
            id: EventId::derive(&event.delivery_key),
        }),
        other => Ok(other),
    }
}

fn envelope(event: Event, now: Timestamp) -> Envelope {
    let id = EventId::derive(&event.delivery_key);
    Envelope::new(
        id.into(),
        Service::Ingress,
        now,
        id,
        None,
        Body::from(event),
    )
}

/// `events.<provider>.<source>.<kind>.<key>`; the key is what routes it first, as routing compares
/// it, so that one repository has one subject.
pub(crate) fn subject(event: &Event) -> Result<Subject, InvalidToken> {
    let first = event.identifiers.first();
    let key = first.map(|first| identifier::normalise(&first.r#type, &first.value));
    Ok(Subject::Event {
        provider: Token::new(event.provider.as_str())?,
        source: Token::new(event.source_id.as_str())?,
        kind: Token::new(event.kind.as_str())?,
        key: KeyToken::encode(&key.unwrap_or_default()),
    })
}
