use tocsin_store::{SchemaProblem, Store, StoreError, StoreSettings};
use tocsin_testkit::Postgres;

use crate::stage::{connect, migrations};

const A: &str = "create table a (id int)";
const B: &str = "create table b (id int)";

fn problem(checked: Result<(), StoreError>) -> SchemaProblem {
    match checked {
        Err(StoreError::Schema { problem, .. }) => problem,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test]
async fn only_the_schema_it_was_built_for_is_accepted() {
    let postgres = Postgres::database().await.unwrap();
    let program =
        |texts: &[(i64, &'static str)]| connect(postgres.url(), "owner", migrations(texts));
    let first = program(&[(1, A)]);
    assert_eq!(problem(first.check_schema().await), SchemaProblem::Missing);
    first.migrate().await.unwrap();
    first.check_schema().await.unwrap();
    first.migrate().await.unwrap();

    let later = program(&[(1, A), (2, B)]);
    let behind = later.check_schema().await;
    assert!(
        behind
            .as_ref()
            .unwrap_err()
            .to_string()
            .contains("start once with --migrate")
    );
    assert_eq!(
        problem(behind),
        SchemaProblem::Behind {
            pending: 1,
            first: 2
        }
    );
    later.migrate().await.unwrap();
    later.check_schema().await.unwrap();

    assert_eq!(
        problem(first.check_schema().await),
        SchemaProblem::Newer { version: 2 }
    );
    assert_eq!(
        problem(first.migrate().await),
        SchemaProblem::Newer { version: 2 }
    );
    let edited = program(&[(1, A), (2, "create table b (id bigint)")]);
    assert_eq!(
        problem(edited.check_schema().await),
        SchemaProblem::Changed { version: 2 }
    );
    assert_eq!(
        problem(edited.migrate().await),
        SchemaProblem::Changed { version: 2 }
    );
}

#[tokio::test]
async fn owners_share_a_database_without_seeing_each_other() {
    let postgres = Postgres::database().await.unwrap();
    let one = connect(postgres.url(), "one", migrations(&[(1, A)]));
    let two = connect(postgres.url(), "two", migrations(&[(1, A), (2, B)]));
    // Several replicas of both come up at once.
    let done = tokio::join!(one.migrate(), two.migrate(), one.migrate(), two.migrate());
    for migrated in [done.0, done.1, done.2, done.3] {
        migrated.unwrap();
    }
    one.check_schema().await.unwrap();
    two.check_schema().await.unwrap();
    sqlx::query("select * from b")
        .execute(two.pool())
        .await
        .unwrap();
    sqlx::query("select * from b")
        .execute(one.pool())
        .await
        .unwrap_err();
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing_and_no_lock() {
    let postgres = Postgres::database().await.unwrap();
    let broken = "create table half (id int); select no_such_function()";
    let bad = connect(postgres.url(), "owner", migrations(&[(1, A), (2, broken)]));
    let error = bad.migrate().await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Migrate {
                schema: "owner",
                ..
            }
        ),
        "{error:?}"
    );
    assert!(!error.is_transient());
    let repaired = connect(postgres.url(), "owner", migrations(&[(1, A), (2, B)]));
    repaired.migrate().await.unwrap();
    sqlx::query("select * from half")
        .execute(repaired.pool())
        .await
        .unwrap_err();
}

#[tokio::test]
async fn malformed_settings_are_refused_without_showing_the_password() {
    let store = |url: &str, schema| {
        let settings = StoreSettings {
            database_url: url.to_owned().into(),
            database_max_connections: 8,
        };
        assert!(!format!("{settings:?}").contains("hunter2"));
        Store::connect(&settings, schema, migrations(&[]))
    };
    let url = "postgres://me:hunter2@localhost/db";
    for schema in [
        "",
        "Owner",
        "1st",
        "a-b",
        "a b",
        "\"",
        "a234567890123456789012345678901234567890x",
    ] {
        assert!(
            matches!(store(url, schema), Err(StoreError::SchemaName { .. })),
            "{schema}"
        );
    }
    let error = store("postgres://me:hunter2@localhost:port/db", "owner").unwrap_err();
    assert!(matches!(error, StoreError::ParseUrl(_)));
    assert!(!format!("{error:?} {error}").contains("hunter2"));
    store(url, "owner").unwrap();
}
