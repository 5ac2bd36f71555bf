use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::Executor as _;
use tocsin_store::{Isolation, StoreError};
use tocsin_testkit::{FaultProxy, Postgres, eventually};
use tokio::sync::Barrier;

use crate::stage::{Error, SOON, connect, migrations, store, value};

const READ: &str = "select value from counters where name = $1";
const WRITE: &str = "update counters set value = $2 where name = $1";

#[tokio::test]
async fn two_that_read_before_either_writes_are_serialized_by_a_repeat() {
    let postgres = Postgres::database().await.unwrap();
    let store = store(&postgres).await;
    store
        .pool()
        .execute("insert into counters values ('a', 0)")
        .await
        .unwrap();
    let (attempts, both_have_read) = (AtomicUsize::new(0), Barrier::new(2));
    let increment = async || {
        let first = AtomicUsize::new(0);
        let (attempts, both_have_read, first) = (&attempts, &both_have_read, &first);
        store
            .run_tx("increment", |tx| {
                Box::pin(async move {
                    attempts.fetch_add(1, Ordering::SeqCst);
                    let seen: i32 = sqlx::query_scalar(READ)
                        .bind("a")
                        .fetch_one(&mut **tx)
                        .await?;
                    if first.fetch_add(1, Ordering::SeqCst) == 0 {
                        both_have_read.wait().await;
                    }
                    sqlx::query(WRITE)
                        .bind("a")
                        .bind(seen + 1)
                        .execute(&mut **tx)
                        .await?;
                    Ok::<_, Error>(())
                })
            })
            .await
            .unwrap();
    };
    tokio::join!(increment(), increment());
    assert_eq!(value(&store, "a").await, 2, "no update is lost");
    assert!(
        attempts.load(Ordering::SeqCst) >= 3,
        "one of the two was repeated"
    );
}

#[tokio::test]
async fn a_deadlock_is_resolved_by_a_repeat() {
    let postgres = Postgres::database().await.unwrap();
    let store = store(&postgres).await;
    store
        .pool()
        .execute("insert into counters values ('a', 0), ('b', 0)")
        .await
        .unwrap();
    let both_hold_one = Barrier::new(2);
    let add_to = async |names: [&'static str; 2]| {
        let first = AtomicUsize::new(0);
        let (both_hold_one, first) = (&both_hold_one, &first);
        store
            .run_tx_with("crossed", Isolation::ReadCommitted, |tx| {
                Box::pin(async move {
                    for (step, name) in names.into_iter().enumerate() {
                        if step == 1 && first.fetch_add(1, Ordering::SeqCst) == 0 {
                            both_hold_one.wait().await;
                        }
                        let add = "update counters set value = value + 1 where name = $1";
                        sqlx::query(add).bind(name).execute(&mut **tx).await?;
                    }
                    Ok::<_, Error>(())
                })
            })
            .await
            .unwrap();
    };
    tokio::join!(add_to(["a", "b"]), add_to(["b", "a"]));
    assert_eq!((value(&store, "a").await, value(&store, "b").await), (2, 2));
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_commit_is_replaced() {
    let postgres = Postgres::database().await.unwrap();
    let store = store(&postgres).await;
    let attempts = AtomicUsize::new(0);
    let attempts = &attempts;
    let written = store.run_tx("broken", |tx| {
        Box::pin(async move {
            sqlx::query("insert into counters values ('a', 1)")
                .execute(&mut **tx)
                .await?;
            if attempts.fetch_add(1, Ordering::SeqCst) == 0 {
                sqlx::query("select pg_terminate_backend(pg_backend_pid())")
                    .execute(&mut **tx)
                    .await?;
            }
            Ok::<_, Error>(())
        })
    });
    written.await.unwrap();
    assert_eq!(
        (attempts.load(Ordering::SeqCst), value(&store, "a").await),
        (2, 1)
    );
}

#[tokio::test]
async fn an_error_of_the_domain_rolls_back_and_is_not_repeated() {
    let postgres = Postgres::database().await.unwrap();
    let store = store(&postgres).await;
    let attempts = AtomicUsize::new(0);
    let attempts = &attempts;
    let refused = store.run_tx("refused", |tx| {
        Box::pin(async move {
            attempts.fetch_add(1, Ordering::SeqCst);
            sqlx::query("insert into counters values ('a', 1)")
                .execute(&mut **tx)
                .await?;
            Err::<(), _>(Error::Domain)
        })
    });
    assert!(matches!(refused.await, Err(Error::Domain)));
    let rows: i64 = sqlx::query_scalar("select count(*) from counters")
        .fetch_one(store.pool())
        .await
        .unwrap();
    assert_eq!((attempts.load(Ordering::SeqCst), rows), (1, 0));
}

#[tokio::test]
async fn endless_conflicts_end_with_the_last_reason() {
    let postgres = Postgres::database().await.unwrap();
    let store = store(&postgres).await;
    let attempts = AtomicUsize::new(0);
    let attempts = &attempts;
    let conflict = "do $$ begin raise exception 'again' using errcode = '40001'; end $$";
    let never = store.run_tx("never", |tx| {
        Box::pin(async move {
            attempts.fetch_add(1, Ordering::SeqCst);
            tx.execute(conflict).await?;
            Ok::<_, Error>(())
        })
    });
    assert!(matches!(
        never.await,
        Err(Error::Query(sqlx::Error::Database(_)))
    ));
    assert_eq!(attempts.load(Ordering::SeqCst), 8);
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_not_repeated() {
    let postgres = Postgres::database().await.unwrap();
    let direct = store(&postgres).await;
    let network = FaultProxy::start(postgres.url()).await.unwrap();
    let behind = connect(&network.url().unwrap(), "owner", migrations(&[]));
    let attempts = AtomicUsize::new(0);
    let (attempts, wire) = (&attempts, &network);
    let committing = behind.run_tx("lost_answer", |tx| {
        Box::pin(async move {
            attempts.fetch_add(1, Ordering::SeqCst);
            sqlx::query("insert into counters values ('a', 1)")
                .execute(&mut **tx)
                .await?;
            wire.stall_replies();
            Ok::<_, Error>(())
        })
    });
    let breaking = async {
        eventually("the server to commit", SOON, || async {
            let count = sqlx::query_scalar::<_, i64>("select count(*) from counters");
            count.fetch_one(direct.pool()).await.unwrap() == 1
        })
        .await;
        network.reset();
    };
    let (committed, ()) = tokio::join!(committing, breaking);
    let error = committed.unwrap_err();
    assert!(
        matches!(&error, Error::Store(StoreError::CommitUnknown { .. })),
        "{error:?}"
    );
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_deferred_constraint_fails_at_the_commit_for_certain() {
    let postgres = Postgres::database().await.unwrap();
    let store = store(&postgres).await;
    let table = "create table twins (id int primary key, twin int references twins deferrable initially deferred)";
    store.pool().execute(table).await.unwrap();
    let orphan = store.run_tx("orphan", |tx| {
        Box::pin(async move {
            sqlx::query("insert into twins values (1, 2)")
                .execute(&mut **tx)
                .await?;
            Ok::<_, Error>(())
        })
    });
    let error = orphan.await.unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Store(StoreError::Commit { name: "orphan", .. })
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_snapshot_does_not_write() {
    let postgres = Postgres::database().await.unwrap();
    let store = store(&postgres).await;
    let write = store.run_tx_with("look", Isolation::Snapshot, |tx| {
        Box::pin(async move {
            sqlx::query("insert into counters values ('a', 1)")
                .execute(&mut **tx)
                .await?;
            Ok::<_, Error>(())
        })
    });
    assert!(matches!(write.await, Err(Error::Query(_))));
}

/// Transactions are used from spawned tasks, so their futures must be able to move between threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_in_a_spawned_task() {
    let postgres = Postgres::database().await.unwrap();
    let store = Arc::new(store(&postgres).await);
    let own = Arc::clone(&store);
    let task = tokio::spawn(async move {
        let name = "spawned".to_owned();
        let name = &name;
        own.run_tx("spawned", |tx| {
            Box::pin(async move {
                let insert = sqlx::query("insert into counters values ($1, 1)").bind(name);
                insert.execute(&mut **tx).await?;
                Ok::<_, Error>(())
            })
        })
        .await
    });
    task.await.unwrap().unwrap();
    assert_eq!(value(&store, "spawned").await, 1);
}
