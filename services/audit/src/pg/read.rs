//! Reading the record.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use serde_json::Value;
use sqlx::types::Json;
use tocsin_wire::ids::EventId;
use tocsin_wire::proto::Envelope;
use uuid::Uuid;

use super::Records;
use crate::decide::indexed;
use crate::error::OperationError;
use crate::life::Recorded;

/// Most rows of one life: a run writes some dozens, a storm of repeats may write more.
const MAX_ROWS: i64 = 1_000;

/// Which events are listed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EventsFilter {
    /// Most events.
    pub(crate) limit: i64,
    /// Stored then or later.
    pub(crate) since: Timestamp,
    pub(crate) provider: Option<String>,
    /// Decided to be this org's.
    pub(crate) org: Option<String>,
    /// Of that org.
    pub(crate) team: Option<String>,
}

/// One event in the list.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct ListedEvent {
    pub(crate) event_id: Uuid,
    pub(crate) stored_at: jiff_sqlx::Timestamp,
    pub(crate) event: Json<Value>,
    pub(crate) org: Option<String>,
    pub(crate) team: Option<String>,
    pub(crate) run_id: Option<Uuid>,
    pub(crate) decision: Option<Json<Value>>,
    pub(crate) result: Option<Json<Value>>,
}

const LIST_ALL: &str = "
    select e.correlation_id as event_id, e.stored_at, e.summary as event,
        d.org, d.team, d.run_id, d.summary as decision, f.summary as result
    from (
        select correlation_id, stored_at, stream_sequence, summary from records
        where stream in ('EVENTS', 'DEFERRED') and stored_at >= $2 and ($3::text is null or summary->>'provider' = $3)
        order by stored_at desc, stream_sequence desc limit $1
    ) as e
    left join lateral (
        select org, team, run_id, summary from records
        where correlation_id = e.correlation_id and type = 'tocsin.decision.v1'
        order by stored_at limit 1
    ) as d on true
    left join lateral (
        select summary from records
        where run_id = d.run_id and type = 'tocsin.run_result.v1'
        order by stored_at desc limit 1
    ) as f on true
    order by e.stored_at desc, e.stream_sequence desc";

/// From the decisions, because only they know whose an event is.
const LIST_OF_ORG: &str = "
    select d.correlation_id as event_id, e.stored_at, e.summary as event,
        d.org, d.team, d.run_id, d.summary as decision, f.summary as result
    from (
        select correlation_id, stored_at, org, team, run_id, summary from records
        where type = 'tocsin.decision.v1' and org = $4 and ($5::text is null or team = $5)
            and stored_at >= $2 and ($3::text is null or summary->>'provider' = $3)
            -- A replay is a line of its own only where the event was not this org's before.
            and not (summary ? 'replay' and exists (
                select from records as before
                where before.correlation_id = records.correlation_id and before.type = 'tocsin.decision.v1'
                    and before.org = $4 and before.stored_at < records.stored_at))
        order by stored_at desc limit $1
    ) as d
    join lateral (
        select stored_at, summary from records
        where correlation_id = d.correlation_id and stream in ('EVENTS', 'DEFERRED')
        order by stored_at limit 1
    ) as e on true
    left join lateral (
        select summary from records
        where run_id = d.run_id and type = 'tocsin.run_result.v1'
        order by stored_at desc limit 1
    ) as f on true
    order by e.stored_at desc";

const ROWS_OF_EVENT: &str = "
    select stored_at, stream, stream_sequence, message_id, type, signer, key_id, correlation_id, org, team, run_id,
        payload_sha256, summary, payload
    from records left join bodies using (stored_at, stream, stream_sequence)
    where correlation_id = $1
    order by stored_at, stream, stream_sequence limit $2";

/// What other events brought to these runs: repeats that were folded into them, signals.
const ROWS_OF_RUNS: &str = "
    select stored_at, stream, stream_sequence, message_id, type, signer, key_id, correlation_id, org, team, run_id,
        payload_sha256, summary, payload
    from records left join bodies using (stored_at, stream, stream_sequence)
    where run_id = any($1) and correlation_id <> $3
    order by stored_at, stream, stream_sequence limit $2";

/// A repeat's decision names the first event's run, so it comes last.
const EVENT_OF_RUN: &str = "
    select correlation_id from records where run_id = $1
    order by summary->>'action' is not distinct from 'duplicate', stored_at limit 1";

const EVENT_OF_DELIVERY: &str = "
    select correlation_id from records where delivery_id = $1 order by stored_at desc limit 1";

#[derive(sqlx::FromRow)]
struct Row {
    stored_at: jiff_sqlx::Timestamp,
    stream: String,
    stream_sequence: i64,
    message_id: Uuid,
    r#type: String,
    signer: String,
    key_id: String,
    correlation_id: Uuid,
    org: Option<String>,
    team: Option<String>,
    run_id: Option<Uuid>,
    payload_sha256: Vec<u8>,
    summary: Json<Value>,
    payload: Option<Vec<u8>>,
}

impl From<Row> for Recorded {
    fn from(row: Row) -> Self {
        // What was verified when it was recorded decodes; a body that does not counts as erased.
        let envelope = row
            .payload
            .and_then(|payload| Envelope::decode(payload.as_slice()).ok());
        Self {
            stored_at: row.stored_at.to_jiff(),
            stream: row.stream,
            sequence: row.stream_sequence,
            message_id: row.message_id,
            kind: row.r#type,
            signer: row.signer,
            key_id: row.key_id,
            correlation_id: row.correlation_id,
            org: row.org,
            team: row.team,
            run_id: row.run_id,
            payload_sha256: row.payload_sha256,
            summary: row.summary.0,
            body: envelope.and_then(|envelope| envelope.body),
        }
    }
}

impl Records {
    /// Everything that follows from an event, in the order of storing; at most 1,000 rows.
    pub(crate) async fn rows_of_event(&self, event: Uuid) -> Result<Vec<Recorded>, OperationError> {
        let rows: Vec<Row> = sqlx::query_as(ROWS_OF_EVENT)
            .bind(event)
            .bind(MAX_ROWS)
            .fetch_all(self.store.pool())
            .await
            .map_err(OperationError::query("read the rows of an event"))?;
        Ok(rows.into_iter().map(Recorded::from).collect())
    }

    /// Everything about `runs` that follows from other events; at most 1,000 rows.
    pub(crate) async fn rows_of_runs(
        &self,
        runs: &[Uuid],
        except: Uuid,
    ) -> Result<Vec<Recorded>, OperationError> {
        let rows: Vec<Row> = sqlx::query_as(ROWS_OF_RUNS)
            .bind(runs)
            .bind(MAX_ROWS)
            .bind(except)
            .fetch_all(self.store.pool())
            .await
            .map_err(OperationError::query("read the rows of runs"))?;
        Ok(rows.into_iter().map(Recorded::from).collect())
    }

    /// The event that `text` names: its own id, the id of its run, the provider's id of its delivery,
    /// or the key of that delivery (`pagerduty:shared:01ABC`).
    pub(crate) async fn find_event(&self, text: &str) -> Result<Option<Uuid>, OperationError> {
        if let Ok(id) = Uuid::parse_str(text) {
            if self.is_event(id).await? {
                return Ok(Some(id));
            }
            let of_run = sqlx::query_scalar(EVENT_OF_RUN).bind(id);
            let found: Option<Uuid> = of_run
                .fetch_optional(self.store.pool())
                .await
                .map_err(OperationError::query("find the event of a run"))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        let derived = EventId::derive(text).as_uuid();
        if self.is_event(derived).await? {
            return Ok(Some(derived));
        }
        sqlx::query_scalar(EVENT_OF_DELIVERY)
            .bind(indexed(text))
            .fetch_optional(self.store.pool())
            .await
            .map_err(OperationError::query("find the event of a delivery"))
    }

    async fn is_event(&self, id: Uuid) -> Result<bool, OperationError> {
        sqlx::query_scalar("select exists (select from records where correlation_id = $1)")
            .bind(id)
            .fetch_one(self.store.pool())
            .await
            .map_err(OperationError::query("find an event"))
    }

    /// Events, the latest first.
    pub(crate) async fn list_events(
        &self,
        filter: &EventsFilter,
    ) -> Result<Vec<ListedEvent>, OperationError> {
        let since = filter.since.to_sqlx();
        let listing = match &filter.org {
            None => sqlx::query_as(LIST_ALL)
                .bind(filter.limit)
                .bind(since)
                .bind(&filter.provider),
            Some(org) => sqlx::query_as(LIST_OF_ORG)
                .bind(filter.limit)
                .bind(since)
                .bind(&filter.provider)
                .bind(org)
                .bind(&filter.team),
        };
        listing
            .fetch_all(self.store.pool())
            .await
            .map_err(OperationError::query("list events"))
    }
}
