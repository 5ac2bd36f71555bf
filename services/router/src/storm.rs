//! The bucket `open`: which run looks into the alerts of one fingerprint.
//!
//! An entry is written before its run is queued, by compare-and-set: of two events at once one opens, the
//! other joins. Whether an entry's run still listens is not for the bucket to say but for the run's log
//! ([`crate::signals`]); an entry whose run has closed its log, or whose window is over, is written over.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::Timestamp;
use tocsin_bus::{Bucket, Bus, KeyValueError};
use tocsin_wire::ids::{MessageId, RunId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Event, OpenRun};
use tocsin_wire::time;
use tokio::sync::{Mutex, MutexGuard};

use crate::decide::Fingerprint;
use crate::owner::Owner;
use crate::publish::{Cause, envelope};
use crate::signals::{News, SignalError, Signals, Telling, Told};

const OPEN: &str = "open";

/// Tries at a key that other routers write too.
const TRIES: usize = 20;

/// Deliveries after which an entry without a queued run counts as left behind: with doubled pauses, eight
/// seconds, in which a killed router's event has come to another one.
const OPENING_TRIES: u64 = 6;

/// Alerts of one fingerprint go one after the other within a process, so that a thousand of them do not
/// race for one key; unrelated ones that share a turn wait some milliseconds.
const TURNS: usize = 256;

/// An alert that may join a run.
#[derive(Clone)]
pub(crate) struct Alert<'a> {
    pub(crate) owner: Owner,
    pub(crate) fingerprint: Fingerprint,
    /// When the event was received: what the window is counted by, so that a router that was away for an
    /// hour takes together what belongs together.
    pub(crate) received: Timestamp,
    pub(crate) event: &'a Event,
    pub(crate) cause: &'a Cause,
    /// Deliveries so far, this one included.
    pub(crate) attempt: u64,
    /// An earlier try may have told a run of it.
    pub(crate) is_repeat: bool,
}

/// A run that is open, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) run: RunId,
    /// The event that started it.
    pub(crate) event: String,
    opened_at: Timestamp,
    queued: bool,
}

/// What became of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entered {
    /// A run hears of it.
    Joined { open: Open, joined: u64 },
    /// Its own run is to be queued. The entry has this revision.
    Opened { revision: u64 },
}

/// The bucket or a log could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StormError {
    #[error("find the open run of an alert")]
    Bucket(#[from] KeyValueError),
    #[error(transparent)]
    Signal(#[from] SignalError),
    #[error("the run of {key} is being opened by another event")]
    Opening { key: String },
    #[error("others write the key {key} of the bucket open all the time; trying again")]
    Contended { key: String },
}

pub(crate) struct Storm {
    bucket: Bucket,
    signals: Signals,
    turns: Vec<Mutex<()>>,
}

struct Found {
    revision: u64,
    /// `None` for a value that no router of this version wrote: it is written over.
    open: Option<Open>,
}

impl Alert<'_> {
    pub(crate) fn key(&self) -> String {
        self.fingerprint.key(&self.owner)
    }

    fn is_within(&self, open: &Open) -> bool {
        // An event that overtook the one that opened is of the same storm.
        self.received.duration_since(open.opened_at) < self.fingerprint.window
    }

    fn telling(&self, run: RunId, news: News) -> Telling<'_> {
        Telling {
            owner: &self.owner,
            run,
            news,
            event: self.event,
            cause: self.cause,
            repeated: self.is_repeat,
        }
    }
}

impl Storm {
    pub(crate) fn new(bus: &Bus) -> Self {
        Self {
            bucket: bus.bucket(OPEN),
            signals: Signals::new(bus),
            turns: (0..TURNS).map(|_| Mutex::new(())).collect(),
        }
    }

    /// Waits until no alert of the same fingerprint is on its way in this process.
    pub(crate) async fn turn(&self, alert: &Alert<'_>) -> Option<MutexGuard<'_, ()>> {
        let mut hasher = DefaultHasher::new();
        alert.key().hash(&mut hasher);
        let count = u64::try_from(self.turns.len()).unwrap_or(1).max(1);
        let place = usize::try_from(hasher.finish() % count).unwrap_or(0);
        match self.turns.get(place) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        }
    }

    /// The run that the alert could join, as far as the bucket knows.
    pub(crate) async fn candidate(&self, alert: &Alert<'_>) -> Result<Option<Open>, StormError> {
        let open = self.open(alert).await?;
        Ok(open.filter(|open| alert.is_within(open)))
    }

    /// The run that the bucket names, however old.
    pub(crate) async fn open(&self, alert: &Alert<'_>) -> Result<Option<Open>, StormError> {
        let found = self.find(&alert.key()).await?;
        Ok(found.and_then(|found| found.open))
    }

    /// Tells `run`, if it still listens.
    pub(crate) async fn tell(
        &self,
        alert: &Alert<'_>,
        run: RunId,
        news: News,
    ) -> Result<Told, StormError> {
        Ok(self.signals.tell(&alert.telling(run, news)).await?)
    }

    /// How many had joined `run` when this event did, if it did.
    pub(crate) async fn heard(
        &self,
        alert: &Alert<'_>,
        run: RunId,
    ) -> Result<Option<u64>, StormError> {
        let telling = alert.telling(run, News::Join);
        Ok(self.signals.heard(&telling).await?)
    }

    /// Joins the run that is open, or opens `own`, which then is to be queued. May run twice.
    pub(crate) async fn enter(&self, alert: &Alert<'_>, own: RunId) -> Result<Entered, StormError> {
        let key = alert.key();
        for _ in 0..TRIES {
            let value = open_run(alert, own, false);
            let written = match self.find(&key).await? {
                None => self.bucket.create(&key, &value).await,
                Some(found) => match found.open {
                    Some(open) if open.run == own => {
                        let revision = found.revision;
                        return Ok(Entered::Opened { revision });
                    }
                    Some(open) if alert.is_within(&open) => match self.join(alert, &open).await? {
                        Some(joined) => return Ok(Entered::Joined { open, joined }),
                        None => self.bucket.update(&key, &value, found.revision).await,
                    },
                    _ => self.bucket.update(&key, &value, found.revision).await,
                },
            };
            match written {
                Ok(revision) => return Ok(Entered::Opened { revision }),
                Err(KeyValueError::Exists { .. } | KeyValueError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StormError::Contended { key })
    }

    /// `None` when the run of the entry hears nothing any more, or never will.
    async fn join(&self, alert: &Alert<'_>, open: &Open) -> Result<Option<u64>, StormError> {
        if !open.queued {
            // There may be no room for it; then nobody must have joined.
            return if alert.attempt < OPENING_TRIES {
                Err(StormError::Opening { key: alert.key() })
            } else {
                Ok(None)
            };
        }
        match self.tell(alert, open.run, News::Join).await? {
            Told::Heard { joined } => Ok(Some(joined)),
            Told::Closed => Ok(None),
        }
    }

    /// The run of the entry is queued: others may join it.
    pub(crate) async fn queued(
        &self,
        alert: &Alert<'_>,
        own: RunId,
        revision: u64,
    ) -> Result<(), StormError> {
        let value = open_run(alert, own, true);
        settled(self.bucket.update(&alert.key(), &value, revision).await)
    }

    /// There was no room for the run: the next event tries for itself.
    pub(crate) async fn release(&self, alert: &Alert<'_>, revision: u64) -> Result<(), StormError> {
        settled(self.bucket.delete_at(&alert.key(), revision).await)
    }

    /// Names the run that hears of the end of the alert. Whoever comes last names it: of two runs for one alert the
    /// later one is looking into it.
    pub(crate) async fn remember(&self, ending: &Alert<'_>, run: RunId) -> Result<(), StormError> {
        let value = open_run(ending, run, true);
        self.bucket.put(&ending.key(), &value).await?;
        Ok(())
    }

    async fn find(&self, key: &str) -> Result<Option<Found>, StormError> {
        let Some(entry) = self.bucket.get(key).await? else {
            return Ok(None);
        };
        let open = match entry.envelope.body {
            Some(Body::OpenRun(open)) => Open::read(open),
            _ => None,
        };
        if open.is_none() {
            tracing::error!(
                key,
                "the bucket open holds something else than an open run; writing over it"
            );
        }
        let revision = entry.revision;
        Ok(Some(Found { revision, open }))
    }
}

/// A conflict means that the entry is another's by now, or that the run has ended and removed it.
fn settled<T>(written: Result<T, KeyValueError>) -> Result<(), StormError> {
    match written {
        Ok(_) | Err(KeyValueError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Open {
    fn read(open: OpenRun) -> Option<Self> {
        Some(Self {
            run: open.run_id.parse().ok()?,
            opened_at: time::from_proto(open.opened_at.as_ref()?)?,
            event: open.event_id,
            queued: open.queued,
        })
    }
}

fn open_run(alert: &Alert<'_>, run: RunId, queued: bool) -> tocsin_wire::proto::Envelope {
    let body = OpenRun {
        fingerprint: alert.fingerprint.text.clone(),
        run_id: run.to_string(),
        event_id: alert.cause.event.to_string(),
        opened_at: Some(time::to_proto(alert.received)),
        queued,
    };
    let state = if queued { "queued" } else { "opening" };
    let id = MessageId::key_value(OPEN, &alert.key(), &format!("{run}:{state}"));
    envelope(id, alert.cause, Body::OpenRun(body), &alert.owner)
}
