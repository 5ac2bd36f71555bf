//! Rows against a real PostgreSQL.

use bytes::Bytes;
use serde_json::json;
use tocsin_store::StoreSettings;
use tocsin_testkit::Postgres;

use super::*;

fn row(sequence: i64, stored_at: &str) -> Record {
    Record {
        stored_at: stored_at.parse().expect("a time"),
        stream: "EVENTS",
        sequence,
        message_id: Uuid::from_u128(1),
        subject: "events.slack.shared.message.C1".to_owned(),
        kind: "tocsin.slack.message.v1".to_owned(),
        signer: "ingress",
        key_id: "k1".to_owned(),
        written_at: None,
        correlation_id: Uuid::from_u128(2),
        causation_id: None,
        org: None,
        team: None,
        run_id: None,
        delivery_id: Some("Ev1".to_owned()),
        payload_sha256: [7; 32],
        payload_bytes: 4,
        summary: json!({ "title": "t" }),
        headers: r#"[["ce-id","1"]]"#.to_owned(),
        payload: Bytes::from_static(&[0, 255, 1, 2]),
    }
}

async fn records(postgres: &Postgres) -> Records {
    let settings = StoreSettings {
        database_url: postgres.url().to_owned().into(),
        database_max_connections: 3,
    };
    let store =
        Store::connect(&settings, "audit", sqlx::migrate!("./migrations")).expect("connects");
    store.migrate().await.expect("migrates");
    Records::new(store)
}

#[tokio::test]
async fn what_is_delivered_twice_is_recorded_once_and_an_erased_body_stays_erased() {
    let postgres = Postgres::database().await.expect("postgres");
    let records = records(&postgres).await;
    // Microseconds around the end of a month, in UTC: two partitions in one batch.
    let batch = [
        row(1, "2026-01-31T23:59:59.999999Z"),
        row(2, "2026-02-01T00:00:00Z"),
    ];
    assert_eq!(records.insert(&batch).await.expect("inserts"), 2);
    sqlx::query("delete from bodies where stream_sequence = 1")
        .execute(records.store().pool())
        .await
        .expect("erased");
    let more = [batch.as_slice(), &[row(3, "2026-02-01T00:00:01Z")]].concat();
    assert_eq!(records.insert(&more).await.expect("inserts"), 1);
    let rows = records
        .rows_of_event(Uuid::from_u128(2))
        .await
        .expect("reads");
    let seen: Vec<_> = rows
        .iter()
        .map(|row| (row.sequence, row.stored_at.to_string()))
        .collect();
    let expected = [
        (1, "2026-01-31T23:59:59.999999Z".to_owned()),
        (2, "2026-02-01T00:00:00Z".to_owned()),
        (3, "2026-02-01T00:00:01Z".to_owned()),
    ];
    assert_eq!(seen, expected);
    let bodies: Vec<i64> =
        sqlx::query_scalar("select stream_sequence from bodies order by stream_sequence")
            .fetch_all(records.store().pool())
            .await
            .expect("reads");
    assert_eq!(bodies, [2, 3]);
}

#[tokio::test]
async fn the_first_messages_of_a_month_may_come_at_once() {
    let postgres = Postgres::database().await.expect("postgres");
    let records = records(&postgres).await;
    for month in 1..=9 {
        let at = format!("2026-{month:02}-01T00:00:00Z");
        let (one, two, three) = ([row(1, &at)], [row(2, &at)], [row(3, &at)]);
        let inserted = tokio::join!(
            records.insert(&one),
            records.insert(&two),
            records.insert(&three)
        );
        let inserted = [inserted.0, inserted.1, inserted.2].map(|new| new.expect("inserts"));
        assert_eq!(inserted, [1, 1, 1], "{at}");
    }
}

#[tokio::test]
async fn a_value_that_the_database_refuses_is_told_from_an_outage() {
    let postgres = Postgres::start_private().await.expect("postgres");
    let records = records(&postgres).await;
    let poison = Record {
        summary: json!({ "title": "a\0b" }),
        ..row(1, "2026-01-01T00:00:00Z")
    };
    let refused = records.insert(std::slice::from_ref(&poison)).await;
    assert!(refused.expect_err("refused").is_about_a_row());
    let bare = records.insert(&[poison.bare()]).await;
    assert_eq!(bare.expect("inserts"), 1, "bare, it is recorded");
    postgres.kill().await.expect("killed");
    let lost = records.insert(&[row(2, "2026-01-01T00:00:00Z")]).await;
    assert!(!lost.expect_err("lost").is_about_a_row());
}
