//! The schema itself keeps the tree whole, whatever a program asks of it.

use http::Method;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::stage::{Servers, Service};

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table, or one story")]
async fn what_may_not_be_is_refused_by_the_database() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let mut database = servers.database().await;
    let node = |values: &str| {
        format!(
            "insert into nodes (org_id, node_id, kind, parent_id, parent_kind, parent_depth, name, version, config, \
             created_at, updated_at, updated_by) values ({values}, '', 1, '{{}}', now(), now(), '')"
        )
    };
    let claim = |values: &str| {
        format!(
            "insert into routing_identifiers (org_id, type, value, team_id, source_id, set_by, set_at) \
             values ({values}, '', now())"
        )
    };
    for (what, statement) in [
        (
            "a parent in another org",
            node("'acme','x','team','umbrella','org',0"),
        ),
        ("no parent", node("'acme','x','team',null,null,null")),
        (
            "a parent that is not there",
            node("'acme','x','team','gone','unit',0"),
        ),
        (
            "a team as the parent",
            node("'acme','x','team','sre','team',1"),
        ),
        (
            "a team called a unit as the parent",
            node("'acme','x','team','sre','unit',1"),
        ),
        (
            "itself as the parent",
            node("'acme','x','unit','x','unit',0,1"),
        ),
        (
            "an org inside an org",
            node("'acme','x','org','acme','org',0"),
        ),
        (
            "a reserved id",
            node("'acme','unrouted','team','acme','org',0"),
        ),
        (
            "an id with a dot",
            node("'acme','a.b','team','acme','org',0"),
        ),
        (
            "an id with a line feed",
            node("'acme',E'a\\n','team','acme','org',0"),
        ),
        (
            "an orphan",
            "delete from nodes where node_id = 'acme'".to_owned(),
        ),
        (
            "a claim of an org",
            claim("'acme','service','x','acme','acme'"),
        ),
        (
            "a claim of another org's team",
            claim("'acme','service','x','ops','sre'"),
        ),
        ("an empty claim", claim("'acme','service','','sre','sre'")),
        (
            "a claim from another org's node",
            claim("'acme','service','x','sre','ops'"),
        ),
    ] {
        let refused = sqlx::query(AssertSqlSafe(statement))
            .execute(&mut database)
            .await;
        assert!(refused.is_err(), "{what}");
    }
    let fine = node("'acme','x','unit','acme','org',0");
    sqlx::query(AssertSqlSafe(fine))
        .execute(&mut database)
        .await
        .expect("allowed");
    service.stop().await;
}

/// Direct SQL, also with constraints deferred, makes no ring, no orphan and no wrong depth, and a move
/// carries the depth of all below along.
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table, or one story")]
async fn cycles_are_impossible_in_the_schema() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let nodes = "/api/v1/admin/orgs/acme/nodes";
    for (id, parent) in [("a", "acme"), ("b", "a"), ("c", "b"), ("other", "acme")] {
        let body = json!({"node_id": id, "parent_id": parent, "node_type": "unit"});
        service.admin(Method::POST, nodes, Some(body)).await;
    }
    let mut database = servers.database().await;
    let set = |values: &str, node: &str| {
        format!("update nodes set {values} where org_id = 'acme' and node_id = '{node}'")
    };
    let rings = [
        (
            "two units below each other",
            vec![set(
                "parent_id='b', parent_kind='unit', parent_depth=2",
                "a",
            )],
        ),
        (
            "a ring of three",
            vec![set(
                "parent_id='c', parent_kind='unit', parent_depth=3",
                "a",
            )],
        ),
        (
            "a ring whose depths go round",
            vec![set(
                "parent_id='b', parent_kind='unit', parent_depth=0",
                "a",
            )],
        ),
        (
            "itself",
            vec![set(
                "parent_id='a', parent_kind='unit', parent_depth=1",
                "a",
            )],
        ),
        ("a wrong depth", vec![set("parent_depth=5", "c")]),
        ("no depth", vec![set("parent_depth=null", "c")]),
        (
            "a swap",
            vec![
                set("parent_id='c', parent_kind='unit', parent_depth=3", "b"),
                set("parent_id='b', parent_kind='unit', parent_depth=2", "c"),
            ],
        ),
        (
            "an orphan",
            vec!["delete from nodes where org_id = 'acme' and node_id = 'b'".to_owned()],
        ),
        (
            "a parent of another org",
            vec![set("parent_id='umbrella', parent_kind='org'", "a")],
        ),
    ];
    for (what, statements) in rings {
        for deferred in [false, true] {
            let refused = attempt(&mut database, &statements, deferred).await;
            assert!(refused.is_err(), "{what}, deferred: {deferred}");
        }
    }
    let moved = set("parent_id='other', parent_kind='unit', parent_depth=1", "b");
    attempt(&mut database, &[moved], false)
        .await
        .expect("moves");
    let depth: i32 =
        sqlx::query_scalar("select depth from nodes where org_id = 'acme' and node_id = 'c'")
            .fetch_one(&mut database)
            .await
            .expect("reads");
    assert_eq!(depth, 3);
    service.stop().await;
}

async fn attempt(
    database: &mut PgConnection,
    statements: &[String],
    deferred: bool,
) -> Result<(), sqlx::Error> {
    let mut transaction = database.begin().await?;
    if deferred {
        sqlx::query("set constraints all deferred")
            .execute(&mut *transaction)
            .await?;
    }
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement.clone()))
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}
