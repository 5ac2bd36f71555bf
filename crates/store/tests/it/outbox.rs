use std::sync::{Arc, Mutex};

use tocsin_store::outbox::{self, Row};
use tocsin_testkit::{Postgres, eventually};
use tokio::sync::{Barrier, Semaphore, oneshot};

use crate::stage::{Error, SOON, append, message, relay, store};

type Seen = Arc<Mutex<Vec<Row>>>;

/// A bus that takes everything and remembers it.
fn take(seen: &Seen) -> impl FnMut(Row) -> std::future::Ready<Result<(), Error>> + use<> {
    let seen = Arc::clone(seen);
    move |row| {
        seen.lock().unwrap().push(row);
        std::future::ready(Ok(()))
    }
}

fn ids(seen: &Seen) -> Vec<i64> {
    seen.lock().unwrap().iter().map(|row| row.id).collect()
}

fn message_ids(seen: &Seen) -> Vec<String> {
    seen.lock()
        .unwrap()
        .iter()
        .map(|row| row.message.message_id.clone())
        .collect()
}

async fn wait_for(seen: &Seen, count: usize) {
    eventually(&format!("{count} messages"), SOON, || async {
        let seen = seen.lock().unwrap().len();
        if seen >= count {
            Ok(())
        } else {
            Err(format!("there are {seen}"))
        }
    })
    .await;
}

async fn left(store: &tocsin_store::Store) -> i64 {
    sqlx::query_scalar("select count(*) from outbox")
        .fetch_one(store.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn what_is_committed_arrives_whole_and_what_is_not_does_not() {
    let postgres = Postgres::database().await.unwrap();
    let store = Arc::new(store(&postgres).await);
    append(&store, &[message("one"), message("two")]).await;
    let rolled_back = store.run_tx("rolled_back", |tx| {
        Box::pin(async move {
            outbox::append(tx, &[message("never")]).await?;
            Err::<(), _>(Error::Domain)
        })
    });
    rolled_back.await.unwrap_err();
    append(&store, &[message("three")]).await;

    let seen = Seen::default();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = {
        let (store, seen) = (Arc::clone(&store), Arc::clone(&seen));
        let stop = async move { stopped.await.unwrap() };
        tokio::spawn(async move { outbox::relay(&store, take(&seen), stop).await })
    };
    wait_for(&seen, 3).await;
    assert_eq!(message_ids(&seen), ["one", "two", "three"]);
    assert_eq!(seen.lock().unwrap()[0].message, message("one"));

    // While it runs a commit wakes it; a poll would take a second.
    let began = tokio::time::Instant::now();
    append(&store, &[message("four")]).await;
    wait_for(&seen, 4).await;
    assert!(
        began.elapsed() < std::time::Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );

    stop.send(()).unwrap();
    tokio::time::timeout(SOON, running).await.unwrap().unwrap();
    assert_eq!(left(&store).await, 0);
}

/// The hole that a sequence alone leaves: the lower id commits later, after the reader has passed it.
#[tokio::test]
async fn a_slow_writer_is_not_overtaken() {
    let postgres = Postgres::database().await.unwrap();
    let store = store(&postgres).await;
    let (appended, first_has_appended) = oneshot::channel();
    let (go, may_commit) = oneshot::channel::<()>();
    let mut once = Some((appended, may_commit));
    let slow = store.run_tx("slow", |tx| {
        let once = once.take();
        Box::pin(async move {
            outbox::append(tx, &[message("slow")]).await?;
            let (appended, may_commit) = once.unwrap();
            appended.send(()).unwrap();
            may_commit.await.unwrap();
            Ok::<_, Error>(())
        })
    });
    let fast = async {
        first_has_appended.await.unwrap();
        append(&store, &[message("fast")]).await;
    };
    let referee = async {
        let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted";
        eventually("the second writer to wait for the first", SOON, || async {
            let waiting: i64 = sqlx::query_scalar(waiting)
                .fetch_one(store.pool())
                .await
                .unwrap();
            waiting == 1
        })
        .await;
        assert_eq!(left(&store).await, 0);
        go.send(()).unwrap();
    };
    let (slow, (), ()) = tokio::join!(slow, fast, referee);
    slow.unwrap();
    let order: Vec<String> = sqlx::query_scalar("select message_id from outbox order by id")
        .fetch_all(store.pool())
        .await
        .unwrap();
    assert_eq!(order, ["slow", "fast"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_and_killed_relays_lose_and_reorder_nothing() {
    const WRITERS: usize = 6;
    const MESSAGES: usize = 40;
    let postgres = Postgres::database().await.unwrap();
    let store = Arc::new(store(&postgres).await);
    let start = Arc::new(Barrier::new(WRITERS));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, start) = (Arc::clone(&store), Arc::clone(&start));
            tokio::spawn(async move {
                start.wait().await;
                for number in 0..MESSAGES {
                    append(&store, &[message(&format!("{writer}-{number}"))]).await;
                }
            })
        })
        .collect();

    // Each relay is killed at some message that the bus has taken and that is not removed yet.
    let seen = Seen::default();
    for killed_at in [1, 30, 31, 100, 150] {
        let (seen, hang) = (Arc::clone(&seen), Arc::new(Semaphore::new(0)));
        let taken = Arc::clone(&seen);
        let relay = relay(&store, move |row| {
            let (taken, hang) = (Arc::clone(&taken), Arc::clone(&hang));
            async move {
                let count = {
                    let mut taken = taken.lock().unwrap();
                    taken.push(row);
                    taken.len()
                };
                if count >= killed_at {
                    let _never = hang.acquire().await;
                }
                Ok(())
            }
        });
        wait_for(&seen, killed_at).await;
        relay.abort();
        assert!(relay.await.unwrap_err().is_cancelled());
    }
    let last = relay(&store, take(&seen));
    for writer in writers {
        writer.await.unwrap();
    }
    eventually("an empty outbox", SOON, || async {
        left(&store).await == 0
    })
    .await;
    last.abort();

    let mut highest = 0;
    let mut firsts = Vec::new();
    for id in ids(&seen) {
        // A repetition goes back to an id that was published; a new one is always higher than all before.
        assert!(id > highest || firsts.contains(&id), "{id} after {highest}");
        if id > highest {
            highest = id;
            firsts.push(id);
        }
    }
    assert_eq!(firsts.len(), WRITERS * MESSAGES);
    for writer in 0..WRITERS {
        let own = |id: &String| id.starts_with(&format!("{writer}-"));
        let mut own: Vec<String> = message_ids(&seen).into_iter().filter(own).collect();
        own.sort_by_key(|id| id.split('-').nth(1).unwrap().parse::<usize>().unwrap());
        own.dedup();
        assert_eq!(own.len(), MESSAGES);
    }
}

#[tokio::test]
async fn one_relay_publishes_and_another_takes_over() {
    let postgres = Postgres::database().await.unwrap();
    let store = Arc::new(store(&postgres).await);
    let (first, second) = (Seen::default(), Seen::default());
    let leader = relay(&store, take(&first));
    append(&store, &[message("one")]).await;
    wait_for(&first, 1).await;
    let standby = relay(&store, take(&second));
    for number in 2..20 {
        append(&store, &[message(&number.to_string())]).await;
    }
    wait_for(&first, 19).await;
    assert!(second.lock().unwrap().is_empty());
    leader.abort();
    append(&store, &[message("last")]).await;
    wait_for(&second, 1).await;
    assert_eq!(message_ids(&second), ["last"]);
    standby.abort();
}

#[tokio::test]
async fn what_the_bus_refuses_is_tried_again_before_what_follows() {
    let postgres = Postgres::database().await.unwrap();
    let store = Arc::new(store(&postgres).await);
    let seen = Seen::default();
    let taken = Arc::clone(&seen);
    let mut refusals = 3;
    append(&store, &[message("one"), message("two"), message("three")]).await;
    let relay = relay(&store, move |row| {
        let refused = row.message.message_id == "two" && refusals > 0;
        if refused {
            refusals -= 1;
        } else {
            taken.lock().unwrap().push(row);
        }
        std::future::ready(if refused { Err(Error::Domain) } else { Ok(()) })
    });
    wait_for(&seen, 3).await;
    assert_eq!(message_ids(&seen), ["one", "two", "three"]);
    eventually("an empty outbox", SOON, || async {
        left(&store).await == 0
    })
    .await;
    relay.abort();
}
