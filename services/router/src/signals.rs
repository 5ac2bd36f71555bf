//! The log of a run, `signal.<org>.<team>.<run>`: what it is told, in order, until the run itself closes it.
//!
//! Every join expects the message before it, and so does the run's closing word: the broker lets one of the
//! two in first. A join that is in the log stands before the closing word, so the run hears it; one that
//! came too late is refused, and its event starts a run of its own.

use tocsin_bus::{Bus, BusError, Outgoing, PublishError, Stored};
use tocsin_wire::Subject;
use tocsin_wire::ids::{EventId, MessageId, RunId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Event, Signal, SignalEvent, SignalKind};

use crate::owner::Owner;
use crate::publish::{Cause, envelope};

/// Tries at the end of a log at which others write too; each lost one means that another got in.
const TRIES: usize = 20;

/// Longest texts that a run is told, in characters: a storm fills SIGNALS with them.
const TITLE: usize = 300;
const TEXT: usize = 1_000;
/// Facts of an event that a run is told, and the longest of them in characters.
const ATTRIBUTES: usize = 16;
const ATTRIBUTE: usize = 200;

/// What a run is told of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It happened again.
    Join,
    /// It is over.
    Resolved,
}

/// Whether the run hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It will: the log holds it. `joined` events have joined by then.
    Heard { joined: u64 },
    /// It has ended.
    Closed,
}

/// A run could not be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignalError {
    #[error("read what run {run} was told")]
    Read {
        run: RunId,
        #[source]
        source: BusError,
    },
    #[error("tell run {run}")]
    Publish {
        run: RunId,
        #[source]
        source: PublishError,
    },
    #[error("others tell run {run} so much that this one does not get a word in; trying again")]
    Contended { run: RunId },
}

/// The router's side of the logs.
#[derive(Clone)]
pub(crate) struct Signals {
    bus: Bus,
}

/// One thing to tell.
pub(crate) struct Telling<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) run: RunId,
    pub(crate) news: News,
    pub(crate) event: &'a Event,
    pub(crate) cause: &'a Cause,
    /// An earlier try may have told it already.
    pub(crate) repeated: bool,
}

impl Signals {
    pub(crate) fn new(bus: &Bus) -> Self {
        Self { bus: bus.clone() }
    }

    /// Tells a run, once, however often this is tried.
    pub(crate) async fn tell(&self, telling: &Telling<'_>) -> Result<Told, SignalError> {
        let run = telling.run;
        let subject = telling.subject();
        let id = telling.id();
        let mut whole = telling.repeated;
        for _ in 0..TRIES {
            let log = self.log(&subject, id, whole).await;
            let log = log.map_err(|source| SignalError::Read { run, source })?;
            if let Some(told) = log.verdict() {
                return Ok(told);
            }
            let signal = telling.signal(log.joined);
            let joined = signal.joined;
            let envelope = envelope(id, telling.cause, Body::Signal(signal), telling.owner);
            let outgoing = Outgoing::new(subject.clone(), envelope)
                .expecting(Some(log.last_sequence))
                .traced(telling.cause.trace.clone());
            match self.bus.publish(outgoing).await {
                Ok(published) if !published.duplicate => return Ok(Told::Heard { joined }),
                // Stored by an earlier try, or another was faster: only the whole log tells.
                Ok(_) | Err(PublishError::WrongSequence { .. }) => whole = true,
                Err(source) => return Err(SignalError::Publish { run, source }),
            }
        }
        Err(SignalError::Contended { run })
    }

    /// How many had joined when an earlier try told this; `None` when none did.
    pub(crate) async fn heard(&self, telling: &Telling<'_>) -> Result<Option<u64>, SignalError> {
        let run = telling.run;
        let log = self.log(&telling.subject(), telling.id(), true).await;
        let log = log.map_err(|source| SignalError::Read { run, source })?;
        Ok(log.own)
    }

    /// Whether `run` was told that it happened again, by `event`.
    pub(crate) async fn has_joined(
        &self,
        owner: &Owner,
        run: RunId,
        event: EventId,
    ) -> Result<bool, SignalError> {
        let id = message_id(run, News::Join, event);
        let log = self.log(&log_of(owner, run), id, true).await;
        let log = log.map_err(|source| SignalError::Read { run, source })?;
        Ok(log.own.is_some())
    }

    /// The log as far as it matters: mostly its last message tells everything.
    async fn log(&self, subject: &Subject, own: MessageId, whole: bool) -> Result<Log, BusError> {
        if !whole {
            let last = self.bus.last_of(subject).await?;
            if let Some(log) = Log::from_last(last.as_ref()) {
                return Ok(log);
            }
        }
        let stored = self.bus.replay(subject).await?;
        Ok(Log::read(&stored, own))
    }
}

impl Telling<'_> {
    fn subject(&self) -> Subject {
        log_of(self.owner, self.run)
    }

    fn id(&self) -> MessageId {
        message_id(self.run, self.news, self.cause.event)
    }

    fn signal(&self, joined: u64) -> Signal {
        let (kind, joined) = match self.news {
            News::Join => (SignalKind::Join, joined.saturating_add(1)),
            News::Resolved => (SignalKind::Resolved, joined),
        };
        Signal {
            run_id: self.run.to_string(),
            kind: kind.into(),
            actor: self.event.actor.clone(),
            text: String::new(),
            joined,
            event: Some(told_of(self.event, self.cause)),
        }
    }
}

fn log_of(owner: &Owner, run: RunId) -> Subject {
    Subject::Signal {
        org: owner.org.clone(),
        team: owner.team.clone(),
        run,
    }
}

/// The same at every try.
fn message_id(run: RunId, news: News, event: EventId) -> MessageId {
    let what = match news {
        News::Join => "join",
        News::Resolved => "resolved",
    };
    MessageId::signal(run, &format!("{what}:{event}"))
}

fn told_of(event: &Event, cause: &Cause) -> SignalEvent {
    let cut = |text: &str, most: usize| text.chars().take(most).collect::<String>();
    let mut attributes: Vec<_> = event.attributes.iter().collect();
    attributes.sort();
    SignalEvent {
        event_id: cause.event.to_string(),
        title: cut(&event.title, TITLE),
        text: cut(&event.text, TEXT),
        severity: event.severity,
        url: cut(&event.url, TEXT),
        received_at: event.received_at,
        attributes: attributes
            .into_iter()
            .take(ATTRIBUTES)
            .map(|(name, value)| (cut(name, ATTRIBUTE), cut(value, ATTRIBUTE)))
            .collect(),
    }
}

/// What a log says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Log {
    last_sequence: u64,
    joined: u64,
    closed: bool,
    /// Our own message is in it, and so many had joined by then.
    own: Option<u64>,
}

impl Log {
    fn verdict(self) -> Option<Told> {
        match self.own {
            Some(joined) => Some(Told::Heard { joined }),
            None => self.closed.then_some(Told::Closed),
        }
    }

    /// `None` when more of the log must be read: a person's word may stand behind the closing one, and has
    /// no count.
    fn from_last(last: Option<&Stored>) -> Option<Self> {
        let Some(last) = last else {
            return Some(Self::default());
        };
        let Some(Body::Signal(signal)) = &last.envelope.body else {
            return None;
        };
        let closed = match signal.kind() {
            SignalKind::Join | SignalKind::Resolved => false,
            SignalKind::Closed => true,
            _ => return None,
        };
        Some(Self {
            last_sequence: last.sequence,
            joined: signal.joined,
            closed,
            own: None,
        })
    }

    fn read(stored: &[Stored], own: MessageId) -> Self {
        let mut log = Self::default();
        for message in stored {
            log.last_sequence = message.sequence;
            let Some(Body::Signal(signal)) = &message.envelope.body else {
                continue;
            };
            log.joined = log.joined.max(signal.joined);
            log.closed |= signal.kind() == SignalKind::Closed;
            if message.envelope.message_id() == Some(own) {
                log.own = Some(signal.joined);
            }
        }
        log
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use tocsin_wire::Service;
    use tocsin_wire::proto::Envelope;

    use super::*;

    fn stored(sequence: u64, kind: SignalKind, joined: u64) -> Stored {
        let run = RunId::derive("r", "acme", "pay");
        let signal = Signal {
            kind: kind.into(),
            joined,
            ..Signal::default()
        };
        let id = MessageId::signal(run, &sequence.to_string());
        let event = EventId::derive("e");
        let body = Body::Signal(signal);
        Stored {
            envelope: Envelope::new(
                id,
                Service::Router,
                Timestamp::UNIX_EPOCH,
                event,
                None,
                body,
            ),
            signer: Service::Router,
            sequence,
            stored_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_log_is_open_until_the_run_closes_it() {
        use SignalKind::{Cancel, Closed, Join, Resolved};
        let own = |sequence: u64| {
            let run = RunId::derive("r", "acme", "pay");
            MessageId::signal(run, &sequence.to_string())
        };
        for (name, kinds, own_at, verdict, joined) in [
            ("nothing was told", &[][..], 9, None, 0),
            ("others joined", &[(Join, 1), (Join, 2)], 9, None, 2),
            (
                "a person cannot open it again",
                &[(Join, 1), (Closed, 0), (Cancel, 0)],
                9,
                Some(Told::Closed),
                1,
            ),
            (
                "our own join counts, also when it is closed since",
                &[(Join, 1), (Join, 2), (Resolved, 2), (Closed, 0)],
                2,
                Some(Told::Heard { joined: 2 }),
                2,
            ),
        ] {
            let messages: Vec<Stored> = (1..)
                .zip(kinds)
                .map(|(sequence, (kind, joined))| stored(sequence, *kind, *joined))
                .collect();
            let log = Log::read(&messages, own(own_at));
            assert_eq!((log.verdict(), log.joined), (verdict, joined), "{name}");
            assert_eq!(
                log.last_sequence,
                u64::try_from(kinds.len()).expect("few"),
                "{name}"
            );
        }
    }

    #[test]
    fn the_last_message_tells_everything_unless_a_person_wrote_it() {
        for (kind, expected) in [
            (SignalKind::Join, Some((false, 3))),
            (SignalKind::Resolved, Some((false, 3))),
            (SignalKind::Closed, Some((true, 3))),
            (SignalKind::Cancel, None),
        ] {
            let last = stored(7, kind, 3);
            let log = Log::from_last(Some(&last));
            assert_eq!(
                log.map(|log| (log.closed, log.joined)),
                expected,
                "{kind:?}"
            );
        }
        assert_eq!(Log::from_last(None), Some(Log::default()));
    }
}
