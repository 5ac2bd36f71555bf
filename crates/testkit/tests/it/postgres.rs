use std::time::Duration;

use sqlx::{Connection as _, Executor as _, PgConnection};
use tocsin_testkit::{Postgres, eventually};

const LIMIT: Duration = Duration::from_secs(20);

async fn count(url: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar("select count(*) from kept")
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_killed_server_comes_back_with_what_was_committed() {
    let mut postgres = Postgres::start_private().await.unwrap();
    let mut connection = PgConnection::connect(postgres.url()).await.unwrap();
    connection
        .execute("create table kept (id int); insert into kept values (1), (2)")
        .await
        .unwrap();
    postgres.kill().await.unwrap();
    // What serves a connection outlives its parent by a moment; nothing is connected any more.
    eventually("nobody is connected", LIMIT, || async {
        let asked = PgConnection::connect(postgres.url()).await;
        if asked.is_err() {
            Ok(())
        } else {
            Err("it is still served")
        }
    })
    .await;
    postgres.restart().await.unwrap();
    assert_eq!(count(postgres.url()).await, 2);
}

#[tokio::test]
async fn databases_of_one_server_do_not_see_each_other() {
    let postgres = Postgres::start_private().await.unwrap();
    let other = postgres.another_database().await.unwrap();
    let mut connection = PgConnection::connect(&other).await.unwrap();
    connection
        .execute("create table kept (id int)")
        .await
        .unwrap();
    let mut first = PgConnection::connect(postgres.url()).await.unwrap();
    first
        .execute("create table kept (id int); insert into kept values (1)")
        .await
        .unwrap();
    assert_eq!((count(postgres.url()).await, count(&other).await), (1, 0));
}
