//! A database with one owner's tables.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use tocsin_store::outbox::{self, Message};
use tocsin_store::{Store, StoreError, StoreSettings};
use tocsin_testkit::Postgres;

pub(crate) const SOON: Duration = Duration::from_secs(20);
pub(crate) const COUNTERS: &str =
    "create table counters (name text primary key, value int not null)";

/// What a service's error type looks like to the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the query failed")]
    Query(#[from] sqlx::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the domain says no")]
    Domain,
}

pub(crate) fn migrations(texts: &[(i64, &'static str)]) -> Migrator {
    let migration = |&(version, text): &(i64, &'static str)| {
        let sql = text.into_sql_str();
        Migration::new(
            version,
            Cow::Borrowed("test"),
            MigrationType::Simple,
            sql,
            false,
        )
    };
    Migrator::with_migrations(texts.iter().map(migration).collect())
}

pub(crate) fn connect(url: &str, schema: &'static str, migrations: Migrator) -> Store {
    let settings = StoreSettings {
        database_url: url.to_owned().into(),
        database_max_connections: 8,
    };
    Store::connect(&settings, schema, migrations).unwrap()
}

/// A migrated store with a table of counters and an outbox.
pub(crate) async fn store(postgres: &Postgres) -> Store {
    let store = connect(
        postgres.url(),
        "owner",
        migrations(&[(1, COUNTERS), (2, outbox::TABLE)]),
    );
    store.migrate().await.unwrap();
    store
}

pub(crate) async fn value(store: &Store, name: &str) -> i32 {
    let query = sqlx::query_scalar("select value from counters where name = $1").bind(name);
    query.fetch_one(store.pool()).await.unwrap()
}

pub(crate) fn message(id: &str) -> Message {
    Message {
        message_id: id.to_owned(),
        subject: "config.changed.acme".to_owned(),
        headers: vec![
            ("b".to_owned(), "1".to_owned()),
            ("a".to_owned(), "2".to_owned()),
        ],
        payload: vec![0, 159, 146, 150],
    }
}

pub(crate) async fn append(store: &Store, messages: &[Message]) {
    let appended = store.run_tx("append", |tx| {
        Box::pin(async move { Ok::<_, Error>(outbox::append(tx, messages).await?) })
    });
    appended.await.unwrap();
}

/// Runs a relay in the background; aborting the task is what a crash does to it.
pub(crate) fn relay<F>(
    store: &Arc<Store>,
    publish: impl FnMut(outbox::Row) -> F + Send + 'static,
) -> tokio::task::JoinHandle<()>
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let store = Arc::clone(store);
    tokio::spawn(async move { outbox::relay(&store, publish, std::future::pending()).await })
}
