use std::sync::{Arc, Mutex};

use tocsin_store::StoreError;
use tocsin_testkit::{FaultProxy, Postgres, eventually};

use crate::stage::{SOON, append, connect, message, migrations, relay, store};

#[tokio::test]
async fn everything_recovers_from_a_killed_server() {
    let mut postgres = Postgres::start_private().await.unwrap();
    let store = Arc::new(store(&postgres).await);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&seen);
    let relay = relay(&store, move |row| {
        taken.lock().unwrap().push(row.message.message_id);
        std::future::ready(Ok(()))
    });
    append(&store, &[message("before")]).await;
    eventually("the first message", SOON, || async {
        seen.lock().unwrap().len() == 1
    })
    .await;
    store.ready().await.unwrap();

    postgres.kill().await.unwrap();
    let error = store.ready().await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    let checked = store.check_schema().await.unwrap_err();
    assert!(
        checked.is_transient() && !matches!(checked, StoreError::Schema { .. }),
        "{checked:?}"
    );

    postgres.restart().await.unwrap();
    eventually("the pool to recover", SOON, || store.ready()).await;
    append(&store, &[message("after")]).await;
    eventually("the relay to recover", SOON, || async {
        seen.lock()
            .unwrap()
            .last()
            .is_some_and(|last| last == "after")
    })
    .await;
    relay.abort();
}

#[tokio::test]
async fn a_service_starts_while_the_database_is_away() {
    let postgres = Postgres::database().await.unwrap();
    let network = FaultProxy::start(postgres.url()).await.unwrap();
    network.cut();
    let store = connect(&network.url().unwrap(), "owner", migrations(&[]));
    let error = store.ready().await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    network.heal();
    eventually("the database", SOON, || store.ready()).await;
    // Packets that vanish: health says no in time instead of hanging.
    network.stall();
    let error = store.ready().await.unwrap_err();
    assert!(matches!(error, StoreError::NoAnswer { .. }), "{error:?}");
    network.resume();
    eventually("the database", SOON, || store.ready()).await;
}
