//! Everything is recorded once, whatever happens to the database, and nothing is changed.

use std::time::Duration;

use sqlx::Row as _;
use tocsin_bus::Outcome;
use tocsin_testkit::{Postgres, eventually};
use tokio_util::sync::CancellationToken;

use crate::samples::{EVENT_SUBJECT, Story, config_changed};
use crate::stage::{LIMIT, Stage};

/// Publishes one message of each type: 11 of them.
async fn publish_all(stage: &Stage, story: &Story) {
    stage
        .publish(&stage.ingress, EVENT_SUBJECT, &story.event())
        .await;
    let decision = "results.router.decision.acme.pay";
    stage
        .publish(&stage.router, decision, &story.decision())
        .await;
    for journal in story.journals() {
        stage
            .publish(&stage.worker, &story.journal_subject(), &journal)
            .await;
    }
    for (what, result) in story.results() {
        let subject = format!("results.agent-worker.{what}.acme.pay");
        stage.publish(&stage.worker, &subject, &result).await;
    }
    stage
        .publish(&stage.router, &story.signal_subject(), &story.signal())
        .await;
    stage
        .publish(&stage.config, "config.changed.acme.pay", &config_changed())
        .await;
    // The router gives the event up: a dead letter, which follows from the event.
    let stop = CancellationToken::new();
    let rejecting = stage
        .router
        .consume(("EVENTS", "router"), 1, stop.cancelled(), |_| async {
            Outcome::Reject("no rule".to_owned())
        });
    let waiting = async {
        stage.recorded(11).await;
        stop.cancel();
    };
    let (rejected, ()) = tokio::join!(rejecting, waiting);
    rejected.expect("consumes");
}

#[tokio::test]
async fn each_message_is_recorded_once_with_its_digest_and_its_bytes() {
    let stage = Stage::start(Postgres::database().await.expect("postgres")).await;
    let story = Story::new(1);
    publish_all(&stage, &story).await;
    let mut sql = stage.sql().await;
    let rows = sqlx::query(
        "select stream, type, signer, run_id is not null as has_run, coalesce(org, '') as org, \
         payload_sha256 = sha256(payload) and payload_bytes = length(payload) as is_whole, \
         jsonb_array_length(headers) >= 10 as has_headers \
         from audit.records join audit.bodies using (stored_at, stream, stream_sequence) \
         order by stream, stream_sequence",
    );
    let rows = rows.fetch_all(&mut sql).await.expect("reads");
    let seen: Vec<(String, String, String, bool, String)> = rows
        .iter()
        .map(|row| {
            assert!(row.get::<bool, _>("is_whole") && row.get::<bool, _>("has_headers"));
            (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))
        })
        .collect();
    let expected = [
        ("CONFIG", "config_changed", "config", false, ""),
        ("DEAD", "dead_letter", "router", false, ""),
        (
            "EVENTS",
            "pagerduty.incident_triggered",
            "ingress",
            false,
            "",
        ),
        ("JOURNAL", "journal", "agent-worker", true, "acme"),
        ("JOURNAL", "journal", "agent-worker", true, "acme"),
        ("JOURNAL", "journal", "agent-worker", true, "acme"),
        ("RESULTS", "decision", "router", true, "acme"),
        ("RESULTS", "run_started", "agent-worker", true, "acme"),
        ("RESULTS", "run_post", "agent-worker", true, "acme"),
        ("RESULTS", "run_result", "agent-worker", true, "acme"),
        ("SIGNALS", "signal", "router", true, "acme"),
    ]
    .map(|(stream, kind, signer, run, org)| {
        (
            stream.to_owned(),
            format!("tocsin.{kind}.v1"),
            signer.to_owned(),
            run,
            org.to_owned(),
        )
    });
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn the_database_itself_refuses_to_change_the_record() {
    let stage = Stage::start(Postgres::database().await.expect("postgres")).await;
    let story = Story::new(1);
    stage
        .publish(&stage.ingress, EVENT_SUBJECT, &story.event())
        .await;
    stage.recorded(1).await;
    let mut sql = stage.sql().await;
    let partition: String =
        sqlx::query_scalar("select tableoid::regclass::text from audit.records")
            .fetch_one(&mut sql)
            .await
            .expect("reads");
    assert_ne!(partition, "audit.records");
    let refused = [
        "update audit.records set summary = '{}'".to_owned(),
        "delete from audit.records".to_owned(),
        "truncate audit.records".to_owned(),
        format!("update {partition} set signer = 'router'"),
        format!("delete from {partition}"),
        format!("truncate {partition}"),
        "update audit.bodies set payload = ''".to_owned(),
    ];
    for statement in refused {
        let done = sqlx::query(sqlx::AssertSqlSafe(statement.clone()))
            .execute(&mut sql)
            .await;
        let error = done.err().and_then(|error| {
            let database = error.into_database_error()?;
            Some(database.message().to_owned())
        });
        let error = error.unwrap_or_else(|| panic!("{statement} was not refused by the database"));
        assert!(error.contains("append-only"), "{statement}: {error}");
    }
    // Erasing a payload is no change of the record.
    sqlx::query("delete from audit.bodies")
        .execute(&mut sql)
        .await
        .expect("erased");
    stage.recorded(1).await;
}

#[tokio::test]
async fn a_month_of_its_own_has_partitions_of_its_own() {
    let stage = Stage::start(Postgres::database().await.expect("postgres")).await;
    stage.recorded(0).await;
    let mut sql = stage.sql().await;
    for _twice in 0..2 {
        sqlx::query("select audit.ensure_partition('2031-12-31')")
            .execute(&mut sql)
            .await
            .expect("made");
    }
    let bounds = bounds_in_utc(&mut sql).await;
    let expected = "FOR VALUES FROM ('2031-12-01 00:00:00+00') TO ('2032-01-01 00:00:00+00')";
    assert_eq!(bounds, [expected, expected]);
}

async fn bounds_in_utc(sql: &mut sqlx::PgConnection) -> Vec<String> {
    sqlx::query("set timezone to 'UTC'")
        .execute(&mut *sql)
        .await
        .expect("set");
    sqlx::query_scalar(
        "select pg_get_expr(relpartbound, oid) from pg_class where relname in ('records_2031_12', 'bodies_2031_12')",
    )
    .fetch_all(sql)
    .await
    .expect("reads")
}

#[tokio::test]
async fn nothing_is_lost_while_postgres_is_away() {
    let mut stage = Stage::start(Postgres::start_private().await.expect("postgres")).await;
    let stories: Vec<Story> = (0..30).map(Story::new).collect();
    for story in &stories[..10] {
        stage
            .publish(&stage.ingress, EVENT_SUBJECT, &story.event())
            .await;
    }
    stage.recorded(10).await;
    stage.postgres.kill().await.expect("killed");
    for story in &stories[10..20] {
        stage
            .publish(&stage.ingress, EVENT_SUBJECT, &story.event())
            .await;
    }
    eventually("the health check says so", LIMIT, || async {
        !stage.context.health.snapshot().ready
    })
    .await;
    // A stop does not wait for the database, and the next instance waits for it.
    stage.restart_audit().await;
    for story in &stories[20..] {
        stage
            .publish(&stage.ingress, EVENT_SUBJECT, &story.event())
            .await;
    }
    stage.postgres.restart().await.expect("restarted");
    stage.recorded(30).await;
    eventually("ready again", Duration::from_secs(20), || async {
        stage.context.health.snapshot().ready
    })
    .await;
}
