//! Where a run's journal and results lie.

use tocsin_bus::{Bus, BusError, KeyValueError, Outgoing, PublishError};
use tocsin_wire::ids::{EventId, MessageId, RunId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Envelope, Journal, JournalEntry, OriginalRun, Signal, SignalKind};
use tocsin_wire::token::Token;
use tocsin_wire::{OrgId, Service, Subject, TeamId, time};

use crate::decide::{ResultMessage, Told};

/// The journal of one run, and the way to tell of it.
pub trait Record: Send + Sync {
    /// Everything journaled so far.
    fn replay(&self) -> impl Future<Output = Result<Replay, RecordError>> + Send;

    /// Appends entries after the message with sequence `expected`; the sequence of the new message.
    /// May be repeated with the same entries when nobody knows whether it happened.
    fn append(
        &self,
        entries: &[JournalEntry],
        expected: u64,
    ) -> impl Future<Output = Result<u64, AppendError>> + Send;

    /// Whether the work message with this sequence still waits in WORK: then its owner will finish
    /// the run, or whoever gets that message next.
    fn is_owned(
        &self,
        work_sequence: u64,
    ) -> impl Future<Output = Result<bool, RecordError>> + Send;

    /// What the run was told behind the sequence `after` of SIGNALS, oldest first.
    fn signals(&self, after: u64) -> impl Future<Output = Result<Vec<Told>, RecordError>> + Send;

    /// Says that nothing joins the run any more, unless something was told behind the sequence `expected`;
    /// then it is `false`, and that is to be heard first.
    fn close(&self, expected: u64) -> impl Future<Output = Result<bool, RecordError>> + Send;

    /// Takes the run, which is closed, out of the bucket `open`; no error when it is not there.
    fn leave(&self, open_key: &str) -> impl Future<Output = Result<(), RecordError>> + Send;

    /// What another run of the same org has journaled; empty when nothing is there (any more).
    fn journal_of(
        &self,
        run: &OriginalRun,
    ) -> impl Future<Output = Result<Vec<JournalEntry>, RecordError>> + Send;

    /// Publishes a result; a repeat is harmless.
    fn tell(&self, result: &ResultMessage) -> impl Future<Output = Result<(), RecordError>> + Send;
}

/// A journal as it is.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    pub entries: Vec<JournalEntry>,
    /// Of the last message; 0 when there is none.
    pub last_sequence: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("read the journal of run {run}")]
    Replay {
        run: RunId,
        #[source]
        source: BusError,
    },
    #[error("append to the journal of run {run}")]
    Append {
        run: RunId,
        #[source]
        source: PublishError,
    },
    #[error("look for the owner of run {run}")]
    Owner {
        run: RunId,
        #[source]
        source: BusError,
    },
    #[error("read what run {run} was told")]
    Signals {
        run: RunId,
        #[source]
        source: BusError,
    },
    #[error("close run {run} for what would join it")]
    Close {
        run: RunId,
        #[source]
        source: PublishError,
    },
    #[error("take run {run} out of the bucket open")]
    Leave {
        run: RunId,
        #[source]
        source: KeyValueError,
    },
    #[error("publish a result of run {run}")]
    Tell {
        run: RunId,
        #[source]
        source: PublishError,
    },
}

impl RecordError {
    /// Whether the same may succeed a moment later.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Replay { .. }
            | Self::Owner { .. }
            | Self::Signals { .. }
            | Self::Leave { .. } => true,
            Self::Append { source, .. }
            | Self::Close { source, .. }
            | Self::Tell { source, .. } => source.is_temporary(),
        }
    }
}

/// Why entries are not in the journal.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The last message is somebody else's: the run is theirs.
    #[error("another worker appended first")]
    Fenced,
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Journal and results on the bus.
#[derive(Clone)]
pub struct BusRecord {
    pub bus: Bus,
    pub org: OrgId,
    pub team: TeamId,
    pub run: RunId,
    pub correlation: EventId,
    /// The work message.
    pub causation: Option<MessageId>,
    /// Tells this try from every other, also of the same worker: ids of journal messages depend on it.
    pub writer: String,
    pub trace: Option<String>,
}

impl BusRecord {
    fn journal(&self) -> Subject {
        Subject::Journal {
            org: self.org.clone(),
            team: self.team.clone(),
            run: self.run,
        }
    }

    fn log(&self) -> Subject {
        Subject::Signal {
            org: self.org.clone(),
            team: self.team.clone(),
            run: self.run,
        }
    }

    fn envelope(&self, id: MessageId, at: jiff::Timestamp, body: Body) -> Envelope {
        Envelope::new(
            id,
            Service::AgentWorker,
            at,
            self.correlation,
            self.causation,
            body,
        )
        .owned_by(&self.org, &self.team)
    }
}

impl Record for BusRecord {
    async fn replay(&self) -> Result<Replay, RecordError> {
        let run = self.run;
        let stored = self.bus.replay(&self.journal()).await;
        let stored = stored.map_err(|source| RecordError::Replay { run, source })?;
        let mut replay = Replay::default();
        for message in stored {
            replay.last_sequence = message.sequence;
            if let Some(Body::Journal(journal)) = message.envelope.body {
                replay.entries.extend(journal.entries);
            }
        }
        Ok(replay)
    }

    async fn append(&self, entries: &[JournalEntry], expected: u64) -> Result<u64, AppendError> {
        let run = self.run;
        let first = entries.first().map_or(0, |entry| entry.number);
        let id = MessageId::journal(run, first, &self.writer);
        let at = entries.last().and_then(|entry| entry.at.as_ref());
        let at = at
            .and_then(time::from_proto)
            .unwrap_or_else(|| self.bus.now());
        let journal = Journal {
            run_id: run.to_string(),
            entries: entries.to_vec(),
        };
        let envelope = self.envelope(id, at, Body::Journal(journal));
        let outgoing = Outgoing::new(self.journal(), envelope)
            .expecting(Some(expected))
            .traced(self.trace.clone());
        match self.bus.publish(outgoing).await {
            Ok(published) if !published.duplicate => Ok(published.sequence),
            Ok(_) | Err(PublishError::WrongSequence { .. }) => {
                // Stored before, with the answer lost, or somebody else was faster. The server looks
                // for repeats before it looks at the expected sequence, so a repeat of ours is no
                // proof that the run is still ours: only the last message tells.
                let stored = self.bus.replay(&self.journal()).await;
                let stored = stored.map_err(|source| RecordError::Replay { run, source })?;
                match stored.last() {
                    Some(last) if last.envelope.id == id.to_string() => Ok(last.sequence),
                    _ => Err(AppendError::Fenced),
                }
            }
            Err(source) => Err(RecordError::Append { run, source }.into()),
        }
    }

    async fn is_owned(&self, work_sequence: u64) -> Result<bool, RecordError> {
        let run = self.run;
        let exists = self.bus.work_message_exists(work_sequence).await;
        exists.map_err(|source| RecordError::Owner { run, source })
    }

    async fn signals(&self, after: u64) -> Result<Vec<Told>, RecordError> {
        let run = self.run;
        let stored = self.bus.replay_after(&self.log(), after).await;
        let stored = stored.map_err(|source| RecordError::Signals { run, source })?;
        let told = stored.into_iter().map(|stored| {
            let signal = match stored.envelope.body {
                Some(Body::Signal(signal)) => signal,
                // Of a newer version: it counts as heard.
                _ => Signal::default(),
            };
            let sequence = stored.sequence;
            Told { sequence, signal }
        });
        Ok(told.collect())
    }

    async fn close(&self, expected: u64) -> Result<bool, RecordError> {
        let run = self.run;
        let signal = Signal {
            run_id: run.to_string(),
            kind: SignalKind::Closed.into(),
            ..Signal::default()
        };
        let id = MessageId::signal(run, "closed");
        let envelope = self.envelope(id, self.bus.now(), Body::Signal(signal));
        let outgoing = Outgoing::new(self.log(), envelope)
            .expecting(Some(expected))
            .traced(self.trace.clone());
        match self.bus.publish(outgoing).await {
            // A repeat is in the log already, where it is heard.
            Ok(published) => Ok(!published.duplicate),
            Err(PublishError::WrongSequence { .. }) => Ok(false),
            Err(source) => Err(RecordError::Close { run, source }),
        }
    }

    async fn leave(&self, open_key: &str) -> Result<(), RecordError> {
        let run = self.run;
        let failed = |source| RecordError::Leave { run, source };
        let bucket = self.bus.bucket("open");
        let Some(entry) = bucket.get(open_key).await.map_err(failed)? else {
            return Ok(());
        };
        let is_ours = matches!(&entry.envelope.body, Some(Body::OpenRun(open)) if open.run_id == run.to_string());
        if !is_ours {
            return Ok(());
        }
        match bucket.delete_at(open_key, entry.revision).await {
            // Another run has opened meanwhile.
            Ok(()) | Err(KeyValueError::Conflict { .. }) => Ok(()),
            Err(source) => Err(failed(source)),
        }
    }

    async fn journal_of(&self, run: &OriginalRun) -> Result<Vec<JournalEntry>, RecordError> {
        let (Ok(org), Ok(team), Ok(id)) = (
            OrgId::new(&run.org),
            TeamId::new(&run.team),
            run.run_id.parse::<RunId>(),
        ) else {
            tracing::warn!(run = %self.run, original = %run.run_id, "the run to compare with has no valid name");
            return Ok(Vec::new());
        };
        if org != self.org {
            tracing::warn!(run = %self.run, original = %id, "the run to compare with is another organisation's; left alone");
            return Ok(Vec::new());
        }
        let other = Self {
            org,
            team,
            run: id,
            ..self.clone()
        };
        other.replay().await.map(|replay| replay.entries)
    }

    async fn tell(&self, result: &ResultMessage) -> Result<(), RecordError> {
        let run = self.run;
        let Ok(what) = Token::new(result.what) else {
            // The names are ours and valid.
            return Ok(());
        };
        let subject = Subject::Result {
            service: Service::AgentWorker,
            what,
            org: self.org.clone(),
            team: self.team.clone(),
        };
        let id = MessageId::run_result(run, &result.key);
        let envelope = self.envelope(id, result.at, result.body.clone());
        let outgoing = Outgoing::new(subject, envelope).traced(self.trace.clone());
        let published = self.bus.publish(outgoing).await;
        published
            .map(|_| ())
            .map_err(|source| RecordError::Tell { run, source })
    }
}
