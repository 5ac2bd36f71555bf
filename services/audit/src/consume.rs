//! From the bus into the record: one reader per stream, a batch per transaction.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tocsin_bus::{BatchLimits, Bus, BusError, Delivery, Outcome};
use tocsin_kit::{Check, Clock, ErrorChain, Stop};
use tokio::sync::Semaphore;

use crate::decide::{Record, record};
use crate::error::OperationError;
use crate::pg::Records;

/// Every stream that is recorded. WORK and BACKLOG are not: a work queue has one reader, and what
/// happens to work is in its journal and its results.
pub(crate) const STREAMS: [&str; 7] = [
    "EVENTS", "DEFERRED", "SIGNALS", "JOURNAL", "RESULTS", "CONFIG", "DEAD",
];

/// Durable name on each of them.
const CONSUMER: &str = "audit";

/// One transaction costs one wait for the disk, however many rows it has: 250 rows of 7 KB are 2 MB, what a
/// processor keeps near, and a stream that is behind has four batches here: two in hand, one gathered, one on its
/// way. 50 ms is not noticed by somebody who looks at an event's page.
const BATCH: BatchLimits = BatchLimits {
    max: 250,
    wait: Duration::from_millis(50),
};

/// Between two tries while the database is away. A try itself waits for a connection.
const OUTAGE_PAUSE: Duration = Duration::from_millis(250);

/// What a stopping instance gives back is taken by the next one after this.
const HAND_BACK: Duration = Duration::from_millis(250);

/// Connections that are left to whoever asks what is recorded.
const READERS: u32 = 2;

/// How many batches are written at a time, of so many connections.
pub(crate) fn writers(connections: u32) -> usize {
    let writers = connections.saturating_sub(READERS).max(1);
    usize::try_from(writers).unwrap_or(1)
}

/// Writes batches, and waits while the database is away. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) records: Records,
    /// As many as [`writers`] says.
    pub(crate) turns: Arc<Semaphore>,
    pub(crate) outage: Outage,
    pub(crate) clock: Clock,
    pub(crate) stop: Stop,
}

impl Recorder {
    /// Records `stream` until the soft stop.
    pub(crate) async fn follow(self, bus: Bus, stream: &'static str) -> Result<(), BusError> {
        let stop = self.stop.clone();
        let handler = move |batch: Vec<Delivery>| {
            let recorder = self.clone();
            async move { recorder.handle(stream, batch).await }
        };
        bus.consume_batches((stream, CONSUMER), BATCH, stop.soft(), handler)
            .await
    }

    /// Keeps the batch until it is recorded. While the database is away nothing is acknowledged and nothing more
    /// is asked for: an outage of any length is one delivery or two.
    async fn handle(&self, stream: &'static str, batch: Vec<Delivery>) -> Outcome {
        let oldest = batch.iter().map(|delivery| delivery.stored_at).min();
        let records: Vec<Record> = batch
            .into_iter()
            .map(|delivery| record(stream, delivery))
            .collect();
        loop {
            match self.write(&records).await {
                Ok(new) => {
                    self.outage.over(stream);
                    self.measure(stream, new, oldest);
                    return Outcome::Done;
                }
                Err(error) => self.outage.goes_on(stream, &error),
            }
            let pause = tokio::time::sleep(OUTAGE_PAUSE);
            if self.stop.until_soft(pause).await.is_none() {
                return Outcome::Retry(HAND_BACK);
            }
        }
    }

    /// All at once; one by one when the database refuses a value, so that one row cannot hold up the
    /// others.
    async fn write(&self, records: &[Record]) -> Result<u64, OperationError> {
        // Never closed.
        let _turn = self.turns.acquire().await.ok();
        let error = match self.records.insert(records).await {
            Ok(new) => return Ok(new),
            Err(error) if error.is_about_a_row() => error,
            Err(error) => return Err(error),
        };
        tracing::debug!(rows = records.len(), error = %ErrorChain(&error), "a batch has a row that is refused");
        let mut new = 0;
        for record in records {
            new += self.write_one(record).await?;
        }
        Ok(new)
    }

    async fn write_one(&self, record: &Record) -> Result<u64, OperationError> {
        match self.records.insert(std::slice::from_ref(record)).await {
            Err(error) if error.is_about_a_row() => {
                tracing::error!(
                    stream = record.stream, sequence = record.sequence, subject = %record.subject,
                    error = %ErrorChain(&error), "a row is refused; recorded without its summary"
                );
                self.records.insert(&[record.bare()]).await
            }
            done => done,
        }
    }

    fn measure(&self, stream: &'static str, new: u64, oldest: Option<Timestamp>) {
        metrics::counter!("tocsin_audit_rows_total", "stream" => stream).increment(new);
        if let Some(oldest) = oldest {
            let behind = self.clock.now().duration_since(oldest).as_secs_f64();
            metrics::histogram!("tocsin_audit_delay_seconds", "stream" => stream)
                .record(behind.max(0.0));
        }
    }
}

/// The health check `postgres`: not ready while anybody cannot reach the database. The check logs
/// one line when an outage begins and one when it ends.
#[derive(Clone)]
pub(crate) struct Outage {
    check: Check,
    waiting: Arc<Mutex<BTreeSet<&'static str>>>,
}

impl Outage {
    pub(crate) fn new(check: Check) -> Self {
        Self {
            check,
            waiting: Arc::default(),
        }
    }

    /// `who` could not reach the database.
    pub(crate) fn goes_on(&self, who: &'static str, error: &(dyn std::error::Error + 'static)) {
        let mut waiting = self.lock();
        waiting.insert(who);
        self.check.not_ready(ErrorChain(error).to_string());
    }

    /// `who` reached it.
    pub(crate) fn over(&self, who: &'static str) {
        let mut waiting = self.lock();
        waiting.remove(who);
        if waiting.is_empty() {
            self.check.ready();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<&'static str>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
