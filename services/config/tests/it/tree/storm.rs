//! Many clients at once, and ends in the middle of a write.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tocsin_testkit::eventually;

use crate::publishing::news;
use crate::stage::{ADMIN, LIMIT, Request, Servers, Service, config_path};

const CLIENTS: u64 = 100;

async fn history(service: &Service) -> Vec<Value> {
    let mut database_rows = Vec::new();
    let path = "/api/v1/admin/orgs/acme/audit?node_id=sre&limit=500&include_full=true";
    let rows = service.admin(Method::GET, path, None).await;
    database_rows.extend(rows.as_array().expect("list").iter().cloned());
    database_rows.sort_by_key(|row| row["version"].as_u64());
    database_rows
}

/// Versions without gaps or doubles, and the diffs add up to the config.
async fn is_whole(service: &Service, expected: u64) {
    let rows = history(service).await;
    let versions: Vec<u64> = rows
        .iter()
        .filter_map(|row| row["version"].as_u64())
        .collect();
    assert_eq!(versions, (1..=expected).collect::<Vec<_>>());
    let mut leaves = BTreeMap::new();
    for row in &rows {
        super::apply_diff(&mut leaves, &row["diff"]);
        let config = row["full_config"].as_object().expect("object");
        let flat: BTreeMap<String, Value> = config
            .iter()
            .flat_map(|(key, value)| match value {
                Value::Object(inner) => inner
                    .iter()
                    .map(|(name, value)| (format!("{key}.{name}"), value.clone()))
                    .collect(),
                leaf => vec![(key.clone(), leaf.clone())],
            })
            .collect();
        assert_eq!(leaves, flat, "version {}", row["version"]);
    }
}

#[tokio::test]
async fn bug_1_3_a_hundred_parallel_patches_keep_a_hundred_keys() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let patches = (0..CLIENTS).map(|number| {
        let service = &service;
        async move {
            let patch = json!({"x_keys": { format!("k{number}"): number }});
            let answer = service.patch("acme", "sre", patch).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    });
    futures::future::join_all(patches).await;
    let own = service
        .admin(Method::GET, &config_path("acme", "sre"), None)
        .await;
    assert_eq!(
        own["config"]["x_keys"]
            .as_object()
            .map(serde_json::Map::len),
        Some(100)
    );
    is_whole(&service, CLIENTS + 1).await;
    service.stop().await;
}

#[tokio::test]
async fn a_hundred_clients_with_if_match_lose_no_update() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    service.patch("acme", "sre", json!({"x_count":0})).await;
    let path = config_path("acme", "sre");
    let increment = || async {
        loop {
            let read = service
                .call(Request::new(Method::GET, &path).bearer(ADMIN))
                .await;
            let etag = read.headers["etag"].to_str().expect("text").to_owned();
            let count = read.body["config"]["x_count"].as_u64().expect("number");
            let request = Request::new(Method::PUT, &path)
                .bearer(ADMIN)
                .header("if-match", &etag)
                .json(json!({"patch":{"x_count": count + 1}}));
            let answer = service.call(request).await;
            match answer.problem() {
                (200, _) => return,
                (409, "stale_version") => {}
                other => panic!("{other:?}"),
            }
        }
    };
    // Ten at a time: each round only one of them wins.
    for _ in 0..10 {
        futures::future::join_all((0..10).map(|_| increment())).await;
    }
    let own = service.admin(Method::GET, &path, None).await;
    assert_eq!(own["config"]["x_count"], 100);
    is_whole(&service, 102).await;
    service.stop().await;
}

/// Two moves, a bulk over the whole org and patches, all at once: none waits for another for ever.
#[tokio::test]
async fn moves_bulks_and_patches_at_once_do_not_deadlock() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    for unit in ["a", "b"] {
        let body = json!({"node_id":unit,"parent_id":"acme","node_type":"unit"});
        service
            .admin(Method::POST, "/api/v1/admin/orgs/acme/nodes", Some(body))
            .await;
    }
    let service = &service;
    let one = |round: usize| async move {
        let (path, method, body) = match round % 4 {
            0 => ("nodes/sre", Method::PATCH, json!({"parent_id":"a"})),
            1 => ("nodes/sre", Method::PATCH, json!({"parent_id":"b"})),
            2 => (
                "configs/bulk",
                Method::POST,
                json!({"configs":[{"node_id":"web","patch":{"x_w":round}},{"node_id":"sre","patch":{"x_s":round}},{"node_id":"acme","patch":{"x_o":round}}]}),
            ),
            _ => (
                "nodes/acme/config",
                Method::PUT,
                json!({"patch":{"x_p":round}}),
            ),
        };
        let path = format!("/api/v1/admin/orgs/acme/{path}");
        let request = Request::new(method, &path).bearer(ADMIN).json(body);
        let answer = service.call(request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    futures::future::join_all((0..80).map(one)).await;
    let waiting: Vec<Value> = history(service).await;
    assert!(waiting.len() > 40);
}

/// Whatever ends in the middle of writes, each version has its event and each event its version.
#[tokio::test]
async fn ends_in_the_middle_of_writes_leave_both_row_and_event_or_neither() {
    let mut servers = Servers::start().await;
    let mut service = Service::ready(servers.settings()).await;
    service.seed().await;
    for round in 0..4 {
        let write = |number: usize| {
            let (service, path) = (&service, config_path("acme", "sre"));
            async move {
                let patch = json!({"patch":{ format!("x_r{round}n{number}"): true }});
                let request = Request::new(Method::PUT, &path).bearer(ADMIN).json(patch);
                // It may be cut off.
                let _answer = tokio::time::timeout(LIMIT, service.try_call(request)).await;
            }
        };
        let writes = futures::future::join_all((0..20).map(write));
        if round % 2 == 0 {
            let _cut = tokio::time::timeout(Duration::from_millis(20 + 15 * round), writes).await;
            service.kill().await;
        } else {
            let (_, killed) = tokio::join!(writes, servers.postgres.kill());
            killed.expect("kills");
            service.kill().await;
            servers.postgres.restart().await.expect("restarts");
        }
        service = Service::ready(servers.settings()).await;
    }
    let mut database = servers.database().await;
    eventually("the outbox to be empty", LIMIT, || async {
        let mut database = servers.database().await;
        let count: i64 = sqlx::query_scalar("select count(*) from outbox")
            .fetch_one(&mut database)
            .await
            .expect("counts");
        count == 0
    })
    .await;
    let versions: Vec<i64> = sqlx::query_scalar(
        "select version from node_history where org_id = 'acme' and node_id = 'sre' order by version",
    )
    .fetch_all(&mut database)
    .await
    .expect("reads");
    let gapless: Vec<i64> = (1..).take(versions.len()).collect();
    assert_eq!(versions, gapless);
    let (current, keys): (i64, i64) = sqlx::query_as(
        "select version, (select count(*) from jsonb_object_keys(config)) from nodes \
         where org_id = 'acme' and node_id = 'sre'",
    )
    .fetch_one(&mut database)
    .await
    .expect("reads");
    assert_eq!(
        (current, keys),
        (gapless.len() as i64, gapless.len() as i64 - 1)
    );
    // With the five other nodes of the seed.
    let told = news(&servers, versions.len() + 4).await.remove("acme/sre");
    let told = told.expect("told");
    let expected: Vec<String> = versions
        .iter()
        .map(|version| match version {
            1 => "1 created".to_owned(),
            version => format!("{version} updated"),
        })
        .collect();
    assert_eq!(told, expected);
    service.stop().await;
}
