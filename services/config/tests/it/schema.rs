//! The schema itself keeps the tree whole, whatever a program asks of it.

use sqlx::AssertSqlSafe;

use crate::stage::{Servers, Service};

#[tokio::test]
async fn what_may_not_be_is_refused_by_the_database() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let mut database = servers.database().await;
    let node = |values: &str| {
        format!(
            "insert into nodes (org_id, node_id, kind, parent_id, parent_kind, name, version, config, \
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
            node("'acme','x','team','umbrella','org'"),
        ),
        ("no parent", node("'acme','x','team',null,null")),
        (
            "a parent that is not there",
            node("'acme','x','team','gone','unit'"),
        ),
        (
            "a team as the parent",
            node("'acme','x','team','sre','team'"),
        ),
        (
            "a team called a unit as the parent",
            node("'acme','x','team','sre','unit'"),
        ),
        ("itself as the parent", node("'acme','x','unit','x','unit'")),
        (
            "an org inside an org",
            node("'acme','x','org','acme','org'"),
        ),
        (
            "a reserved id",
            node("'acme','unrouted','team','acme','org'"),
        ),
        ("an id with a dot", node("'acme','a.b','team','acme','org'")),
        (
            "an id with a line feed",
            node("'acme',E'a\\n','team','acme','org'"),
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
    let fine = node("'acme','x','unit','acme','org'");
    sqlx::query(AssertSqlSafe(fine))
        .execute(&mut database)
        .await
        .expect("allowed");
    service.stop().await;
}
