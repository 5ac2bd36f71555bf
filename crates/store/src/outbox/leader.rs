//! The one relay that publishes.

use std::error::Error;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff};
use metrics::{counter, gauge};
use sqlx::postgres::PgListener;
use sqlx::types::Json;
use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;

use super::{Message, Row};
use crate::connection::{self, Limits};
use crate::error::StoreError;
use crate::metrics as names;
use crate::pool::Store;
use crate::transaction::backoff;

/// Read and removed together. A crash repeats at most this many messages.
const BATCH: i64 = 64;
/// A notification is lost when its connection breaks; then this is how late a message is.
const POLL: Duration = Duration::from_secs(1);
/// How soon a standby takes over from a relay that died.
const STANDBY_POLL: Duration = Duration::from_secs(1);
/// The bus takes a message in milliseconds and has its own time limits; this one is for a publisher that hangs.
const PUBLISH_LIMIT: Duration = Duration::from_secs(30);
/// Longer than a statement may take on the server.
const DATABASE_LIMIT: Duration = Duration::from_secs(15);
/// After a failure, doubling: quick enough that a restart of the bus or the database costs no more than itself.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Publishes what is appended, in the order of the commits, until `stop` is ready; then finishes the message in hand and
/// lets another process take over. Failures are logged and tried again: nothing is ever skipped, so a message that the bus
/// will never take holds up all that follow, which `store_outbox_oldest_seconds` shows.
///
/// `publish` returns when the message is durable. It sees a message again after a crash. Holds one connection of the
/// pool and one outside it.
pub async fn relay<P, F, E, S>(store: &Store, mut publish: P, stop: S)
where
    P: FnMut(Row) -> F + Send,
    F: Future<Output = Result<(), E>> + Send,
    E: Error + Send + 'static,
    S: Future<Output = ()> + Send,
{
    let stopping = CancellationToken::new();
    let watching = async {
        stop.await;
        stopping.cancel();
    };
    let relaying = async {
        let mut trouble = Trouble::new(store.schema);
        while !stopping.is_cancelled() {
            if let Err(error) = lead(store, &mut publish, &stopping, &mut trouble).await {
                let pause = trouble.again(&error);
                stopping
                    .run_until_cancelled(tokio::time::sleep(pause))
                    .await;
            }
        }
    };
    tokio::join!(watching, relaying);
}

/// From getting the lock to a broken connection or the stop.
async fn lead<P, F, E>(
    store: &Store,
    publish: &mut P,
    stopping: &CancellationToken,
    trouble: &mut Trouble,
) -> Result<(), StoreError>
where
    P: FnMut(Row) -> F + Send,
    F: Future<Output = Result<(), E>> + Send,
    E: Error + Send + 'static,
{
    let schema = store.schema;
    // All of the leader's work goes over the connection that holds the lock: without the lock nothing is removed.
    let mut connection = connection::connect(&store.options, schema, Limits::default()).await?;
    let lead_error = |source| StoreError::LeadOutbox { schema, source };
    while !answered(schema, try_lock(&mut connection))
        .await?
        .map_err(lead_error)?
    {
        if stopping
            .run_until_cancelled(tokio::time::sleep(STANDBY_POLL))
            .await
            .is_none()
        {
            return close(connection).await;
        }
    }
    let mut listener = PgListener::connect_with(&store.pool)
        .await
        .map_err(lead_error)?;
    listener
        .listen(&format!("tocsin_outbox_{schema}"))
        .await
        .map_err(lead_error)?;
    tracing::info!(schema, "this process publishes the outbox");
    while !stopping.is_cancelled() {
        let batch = answered(schema, read(&mut connection))
            .await?
            .map_err(|source| StoreError::ReadOutbox { schema, source })?;
        gauge!(names::OLDEST, "schema" => schema).set(batch.oldest_seconds);
        if batch.rows.is_empty() {
            trouble.is_over();
            let wake = tokio::time::timeout(POLL, listener.recv());
            match stopping.run_until_cancelled(wake).await {
                None | Some(Err(_) | Ok(Ok(_))) => {}
                Some(Ok(Err(source))) => return Err(lead_error(source)),
            }
            continue;
        }
        let (published, failure) = publish_in_order(batch.rows, publish, stopping).await;
        answered(schema, prune(&mut connection, &published))
            .await?
            .map_err(|source| StoreError::PruneOutbox { schema, source })?;
        counter!(names::PUBLISHED, "schema" => schema).increment(published.len() as u64);
        if !published.is_empty() {
            trouble.is_over();
        }
        if let Some(failure) = failure {
            counter!(names::PUBLISH_FAILURES, "schema" => schema).increment(1);
            let pause = trouble.again(&failure);
            stopping
                .run_until_cancelled(tokio::time::sleep(pause))
                .await;
        }
    }
    close(connection).await
}

/// The server's limits come first; this one is for a network that swallows packets.
async fn answered<T>(
    schema: &'static str,
    asking: impl Future<Output = T>,
) -> Result<T, StoreError> {
    let answer = tokio::time::timeout(DATABASE_LIMIT, asking).await;
    answer.map_err(|_elapsed| StoreError::NoAnswer {
        schema,
        limit: DATABASE_LIMIT,
    })
}

/// Freed by the server with the session, however that ends.
async fn try_lock(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select pg_try_advisory_lock(hashtextextended('tocsin outbox relay of ' || current_schema(), 0))",
    )
    .fetch_one(connection)
    .await
}

/// In order, so that a standby has the lock at once.
async fn close(connection: PgConnection) -> Result<(), StoreError> {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "the relay's connection was not closed in order");
    }
    Ok(())
}

struct Batch {
    rows: Vec<Row>,
    oldest_seconds: f64,
}

#[derive(sqlx::FromRow)]
struct Stored {
    id: i64,
    message_id: String,
    subject: String,
    headers: Json<Vec<(String, String)>>,
    payload: Vec<u8>,
    created_at: jiff_sqlx::Timestamp,
    age_seconds: f64,
}

async fn read(connection: &mut PgConnection) -> Result<Batch, sqlx::Error> {
    let stored: Vec<Stored> = sqlx::query_as(
        "select id, message_id, subject, headers, payload, created_at, \
         extract(epoch from clock_timestamp() - created_at)::float8 as age_seconds \
         from outbox order by id limit $1",
    )
    .bind(BATCH)
    .fetch_all(connection)
    .await?;
    let oldest_seconds = stored
        .first()
        .map_or(0.0, |first| first.age_seconds.max(0.0));
    let row = |stored: Stored| Row {
        id: stored.id,
        created_at: stored.created_at.to_jiff(),
        message: Message {
            message_id: stored.message_id,
            subject: stored.subject,
            headers: stored.headers.0,
            payload: stored.payload,
        },
    };
    Ok(Batch {
        rows: stored.into_iter().map(row).collect(),
        oldest_seconds,
    })
}

async fn prune(connection: &mut PgConnection, published: &[i64]) -> Result<(), sqlx::Error> {
    if published.is_empty() {
        return Ok(());
    }
    // By id and not "up to": what has not been published is not removed, whatever goes wrong.
    let removing = sqlx::query("delete from outbox where id = any($1)").bind(published);
    removing.execute(connection).await.map(drop)
}

#[derive(Debug, thiserror::Error)]
enum PublishFailure<E: Error + 'static> {
    #[error("cannot publish message {message_id} of the outbox (id {id}) on {subject}")]
    Refused {
        id: i64,
        message_id: String,
        subject: String,
        source: E,
    },
    #[error(
        "message {message_id} of the outbox (id {id}) was not published within {PUBLISH_LIMIT:?}"
    )]
    TimedOut { id: i64, message_id: String },
}

/// The ids that were published, up to the first failure or the stop.
async fn publish_in_order<P, F, E>(
    rows: Vec<Row>,
    publish: &mut P,
    stopping: &CancellationToken,
) -> (Vec<i64>, Option<PublishFailure<E>>)
where
    P: FnMut(Row) -> F + Send,
    F: Future<Output = Result<(), E>> + Send,
    E: Error + Send + 'static,
{
    let mut published = Vec::with_capacity(rows.len());
    for row in rows {
        if stopping.is_cancelled() {
            break;
        }
        let id = row.id;
        let Message {
            message_id,
            subject,
            ..
        } = &row.message;
        let (message_id, subject) = (message_id.clone(), subject.clone());
        match tokio::time::timeout(PUBLISH_LIMIT, publish(row)).await {
            Ok(Ok(())) => published.push(id),
            Ok(Err(source)) => {
                let refused = PublishFailure::Refused {
                    id,
                    message_id,
                    subject,
                    source,
                };
                return (published, Some(refused));
            }
            Err(_elapsed) => {
                return (published, Some(PublishFailure::TimedOut { id, message_id }));
            }
        }
    }
    (published, None)
}

/// Failures in a row: pauses that grow, and a log line for the first, second, fourth, eighth…
struct Trouble {
    schema: &'static str,
    failures: u64,
    pauses: ExponentialBackoff,
}

impl Trouble {
    fn new(schema: &'static str) -> Self {
        Self {
            schema,
            failures: 0,
            pauses: backoff(FIRST_PAUSE, LONGEST_PAUSE).build(),
        }
    }

    /// Returns how long to wait before the next attempt.
    fn again(&mut self, error: &(dyn Error + 'static)) -> Duration {
        self.failures += 1;
        if self.failures.is_power_of_two() {
            let (schema, failures) = (self.schema, self.failures);
            let error = chain(error);
            tracing::warn!(schema, failures, error, "the outbox waits and tries again");
        }
        self.pauses.next().unwrap_or(LONGEST_PAUSE)
    }

    fn is_over(&mut self) {
        if self.failures > 0 {
            tracing::info!(
                schema = self.schema,
                failures = self.failures,
                "the outbox moves again"
            );
            *self = Self::new(self.schema);
        }
    }
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |&error| error.source());
    chain
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
