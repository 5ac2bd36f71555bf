//! Transactions with a name, repeated in one place.
//!
//! An attempt is repeated when it certainly had no effect and the reason is not in the transaction: a serialization failure,
//! a deadlock, or a connection that broke before COMMIT was sent. A connection that breaks while the server commits leaves
//! the outcome unknown ([`StoreError::CommitUnknown`]); that is never repeated here, because only the caller can tell
//! whether its work is already there (a version that is no longer the expected one, a row with its derived id).

use std::error::Error;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures::future::BoxFuture;
use metrics::{counter, histogram};
use sqlx::{Postgres, Transaction};
use tokio::time::Instant;

use crate::error::{Fault, StoreError};
use crate::metrics as names;
use crate::pool::Store;

/// An open transaction. `&mut **tx` executes queries; the caller neither commits nor rolls back.
pub type Tx<'c> = Transaction<'c, Postgres>;

/// A network that swallows packets keeps a statement waiting for ever; the server's own limits (10 s) come first.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(15);
/// COMMIT waits for the disk and, with synchronous replication, for a standby.
const COMMIT_LIMIT: Duration = Duration::from_secs(15);
/// A failed statement has freed its locks already; a connection on which ROLLBACK hangs is thrown away.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(2);
/// Conflicts of short transactions are over after a few; more repeats than this mean that they will not be.
const REPEATS: usize = 7;
/// With jitter from 5 to 10 ms, doubling up to 1 s: 2 s in all at most.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What a transaction may see of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// As if it ran alone. The default: what was read is still true at the commit, or everything is repeated.
    Serializable,
    /// Each statement sees what is committed then. For single statements and where rows are locked explicitly.
    ReadCommitted,
    /// Several reads of one moment; writes are refused.
    Snapshot,
}

impl Isolation {
    fn begin(self) -> &'static str {
        match self {
            Self::Serializable => "begin isolation level serializable",
            Self::ReadCommitted => "begin isolation level read committed",
            Self::Snapshot => "begin isolation level repeatable read read only",
        }
    }
}

impl Store {
    /// Runs `work` in a SERIALIZABLE transaction and commits when it returns `Ok`, rolls back when it returns `Err`.
    ///
    /// `work` may run several times: it only touches the database, and publishes through the outbox. `name` is a label of
    /// metrics. The caller's errors keep `sqlx::Error` as their source, which is where the reasons for repeating are found:
    ///
    /// ```no_run
    /// # use tocsin_store::{Store, StoreError, outbox::{self, Message}};
    /// #[derive(Debug, thiserror::Error)]
    /// enum Error {
    ///     #[error("the query failed")]
    ///     Query(#[from] sqlx::Error),
    ///     #[error(transparent)]
    ///     Store(#[from] StoreError),
    /// }
    ///
    /// async fn rename(store: &Store, id: i64, name: String, changed: Message) -> Result<(), Error> {
    ///     // The block below takes what it names with it, so references are made first.
    ///     let (name, changed) = (&name, &changed);
    ///     let renaming = store.run_tx("rename_team", |tx| Box::pin(async move {
    ///         let update = sqlx::query("update teams set name = $2 where id = $1").bind(id).bind(name);
    ///         update.execute(&mut **tx).await?;
    ///         outbox::append(tx, std::slice::from_ref(changed)).await?;
    ///         Ok::<_, Error>(())
    ///     }));
    ///     renaming.await
    /// }
    /// ```
    ///
    /// # Errors
    /// What `work` returned last, or [`StoreError`] for beginning and committing, in the caller's type.
    pub async fn run_tx<'c, T, E, W>(&self, name: &'static str, work: W) -> Result<T, E>
    where
        W: for<'t> FnMut(&'t mut Tx<'c>) -> BoxFuture<'t, Result<T, E>> + Send,
        E: Error + From<StoreError> + Send + 'static,
        T: Send,
    {
        self.run_tx_with(name, Isolation::Serializable, work).await
    }

    /// [`Store::run_tx`] with another isolation.
    ///
    /// # Errors
    /// As [`Store::run_tx`].
    pub async fn run_tx_with<'c, T, E, W>(
        &self,
        name: &'static str,
        isolation: Isolation,
        mut work: W,
    ) -> Result<T, E>
    where
        W: for<'t> FnMut(&'t mut Tx<'c>) -> BoxFuture<'t, Result<T, E>> + Send,
        E: Error + From<StoreError> + Send + 'static,
        T: Send,
    {
        let began = Instant::now();
        let mut pauses = repeats();
        let (result, outcome) = loop {
            let (error, fault) = match self.attempt(name, isolation, &mut work).await {
                Ok(value) => break (Ok(value), "committed"),
                Err(Failure {
                    error,
                    fault: None,
                    outcome,
                }) => break (Err(error), outcome),
                Err(Failure {
                    error,
                    fault: Some(fault),
                    ..
                }) => (error, fault),
            };
            let Some(pause) = pauses.next() else {
                break (Err(error), "failed");
            };
            let labels = [
                ("schema", self.schema),
                ("name", name),
                ("reason", fault.label()),
            ];
            counter!(names::RETRIES, &labels).increment(1);
            tracing::debug!(
                name,
                reason = fault.label(),
                ?pause,
                "a transaction is repeated"
            );
            tokio::time::sleep(pause).await;
        };
        let labels = [
            ("schema", self.schema),
            ("name", name),
            ("outcome", outcome),
        ];
        counter!(names::TRANSACTIONS, &labels).increment(1);
        histogram!(names::DURATION, "schema" => self.schema, "name" => name)
            .record(began.elapsed().as_secs_f64());
        result
    }

    async fn attempt<'c, T, E, W>(
        &self,
        name: &'static str,
        isolation: Isolation,
        work: &mut W,
    ) -> Result<T, Failure<E>>
    where
        W: for<'t> FnMut(&'t mut Tx<'c>) -> BoxFuture<'t, Result<T, E>> + Send,
        E: Error + From<StoreError> + Send + 'static,
        T: Send,
    {
        let deadline = Instant::now() + ATTEMPT_LIMIT;
        let timed_out = || StoreError::TransactionTimedOut {
            name,
            limit: ATTEMPT_LIMIT,
        };
        let beginning = self.pool.begin_with(isolation.begin());
        let mut tx: Tx<'c> = match tokio::time::timeout_at(deadline, beginning).await {
            Ok(Ok(tx)) => tx,
            Ok(Err(source)) => return Err(StoreError::Begin { name, source }.into()),
            Err(_elapsed) => return Err(timed_out().into()),
        };
        match tokio::time::timeout_at(deadline, work(&mut tx)).await {
            Ok(Ok(value)) => {
                commit(name, tx).await?;
                Ok(value)
            }
            Ok(Err(error)) => {
                let fault = Fault::in_chain(&error);
                roll_back(name, tx).await;
                Err(Failure {
                    error,
                    fault,
                    outcome: "rolled_back",
                })
            }
            Err(_elapsed) => Err(timed_out().into()),
        }
    }
}

/// Why an attempt had no effect (or nobody knows), and whether another may have one.
struct Failure<E> {
    error: E,
    fault: Option<Fault>,
    outcome: &'static str,
}

impl<E: From<StoreError>> From<StoreError> for Failure<E> {
    fn from(error: StoreError) -> Self {
        let fault = match &error {
            StoreError::Begin { source, .. } | StoreError::Commit { source, .. } => {
                Fault::of(source)
            }
            _ => None,
        };
        Self {
            error: error.into(),
            fault,
            outcome: "failed",
        }
    }
}

async fn commit(name: &'static str, tx: Tx<'_>) -> Result<(), StoreError> {
    match tokio::time::timeout(COMMIT_LIMIT, tx.commit()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(source)) => match Fault::of(&source) {
            // The server itself says that nothing was committed.
            Some(Fault::Serialization | Fault::Deadlock) => {
                Err(StoreError::Commit { name, source })
            }
            None if matches!(source, sqlx::Error::Database(_)) => {
                Err(StoreError::Commit { name, source })
            }
            _ => Err(StoreError::CommitUnknown { name, source }),
        },
        Err(_elapsed) => Err(StoreError::CommitTimedOut {
            name,
            limit: COMMIT_LIMIT,
        }),
    }
}

/// Best effort: a transaction whose connection is gone has been rolled back by the server.
async fn roll_back(name: &'static str, tx: Tx<'_>) {
    match tokio::time::timeout(ROLLBACK_LIMIT, tx.rollback()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(name, %error, "no answer to ROLLBACK"),
        Err(_elapsed) => tracing::debug!(name, "no answer to ROLLBACK in time"),
    }
}

fn repeats() -> ExponentialBackoff {
    backoff(FIRST_PAUSE, LONGEST_PAUSE)
        .with_max_times(REPEATS)
        .build()
}

/// Doubling pauses, each with up to its own length of jitter on top; seeded so that no two processes keep step.
pub(crate) fn backoff(first: Duration, longest: Duration) -> ExponentialBuilder {
    ExponentialBuilder::new()
        .with_factor(2.0)
        .with_min_delay(first)
        .with_max_delay(longest)
        .with_jitter()
        .with_jitter_seed(RandomState::new().build_hasher().finish())
        .without_max_times()
}
