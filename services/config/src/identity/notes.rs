//! What happens when tokens are used, written down behind the request: uses, and what was refused.
//!
//! Uses may get lost (a process dies, Postgres is away for long); who may call does not depend on
//! them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use moka::future::Cache;
use tocsin_kit::{ErrorChain, Stop};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::pg::{Database, TokenEvent};

/// Notes that wait while Postgres does not answer. Beyond it they are dropped, with a log line.
const MAX_WAITING: usize = 4_096;
/// Written with one statement.
const MAX_BATCH: usize = 256;
/// How exact `last_used_at` is, and how often a refusal of the same kind is noted per token: a
/// client that does not stop must not fill the record.
const STEP: Duration = Duration::from_secs(300);
/// Tokens whose last note is remembered.
const MAX_RECENT: u64 = 50_000;
/// Before a failed batch is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug)]
enum Note {
    Used(Uuid, Timestamp),
    Event(Box<TokenEvent>),
}

/// Takes notes. Never waits.
#[derive(Debug)]
pub(crate) struct Notes {
    sender: mpsc::Sender<Note>,
    /// When a note of this kind was last taken.
    recent: Cache<(Uuid, String), Arc<Timestamp>>,
}

/// What [`keep`] reads.
#[derive(Debug)]
pub(crate) struct Inbox(mpsc::Receiver<Note>);

pub(crate) fn channel() -> (Notes, Inbox) {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    let recent = Cache::builder()
        .max_capacity(MAX_RECENT)
        .time_to_live(2 * STEP)
        .build();
    (Notes { sender, recent }, Inbox(receiver))
}

impl Notes {
    /// A token was good, unless that was noted (or stored) within the last five minutes.
    pub(crate) async fn used(&self, token: Uuid, stored: Option<Timestamp>, now: Timestamp) {
        if stored.is_some_and(|last| is_recent(last, now)) {
            return;
        }
        if self.is_news(token, String::new(), now).await {
            self.take(Note::Used(token, now));
        }
    }

    /// A token was refused; the same refusal only once in five minutes.
    pub(crate) async fn refused(&self, token: Uuid, event: TokenEvent, now: Timestamp) {
        let kind = format!("{} {}", event.kind.as_str(), event.details);
        if self.is_news(token, kind, now).await {
            self.take(Note::Event(Box::new(event)));
        }
    }

    async fn is_news(&self, token: Uuid, kind: String, now: Timestamp) -> bool {
        let key = (token, kind);
        let last = self.recent.get(&key).await;
        if last.is_some_and(|last| is_recent(*last, now)) {
            return false;
        }
        self.recent.insert(key, Arc::new(now)).await;
        true
    }

    fn take(&self, note: Note) {
        if self.sender.try_send(note).is_err() {
            warn_dropped();
        }
    }
}

fn is_recent(last: Timestamp, now: Timestamp) -> bool {
    now.duration_since(last).unsigned_abs() < STEP
}

fn warn_dropped() {
    tracing::warn!("a note about the use of a token was dropped: too many wait for the database");
}

/// Writes notes until the service stops, then those that wait.
pub(crate) async fn keep(database: Database, mut inbox: Inbox, stop: Stop) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    loop {
        let received = stop
            .until_soft(inbox.0.recv_many(&mut batch, MAX_BATCH))
            .await;
        if received == Some(0) {
            return;
        }
        let is_last = received.is_none();
        if is_last {
            while batch.len() < MAX_BATCH {
                let Ok(note) = inbox.0.try_recv() else { break };
                batch.push(note);
            }
        }
        while let Err(error) = write(&database, &batch).await {
            tracing::warn!(error = %ErrorChain(&error), notes = batch.len(), "cannot note the use of tokens");
            let pause = stop.until_soft(tokio::time::sleep(RETRY_PAUSE));
            if is_last || !error.is_unavailable() || pause.await.is_none() {
                break;
            }
        }
        batch.clear();
        if is_last {
            return;
        }
    }
}

async fn write(database: &Database, batch: &[Note]) -> Result<(), crate::error::OperationError> {
    let mut uses: HashMap<Uuid, Timestamp> = HashMap::new();
    let mut events = Vec::new();
    for note in batch {
        match note {
            Note::Used(token, at) => drop(uses.insert(*token, *at)),
            Note::Event(event) => events.push(TokenEvent::clone(event)),
        }
    }
    if !uses.is_empty() {
        database.note_uses(&uses).await?;
    }
    if !events.is_empty() {
        database.note_token_events(&events).await?;
    }
    Ok(())
}
