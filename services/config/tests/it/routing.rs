//! What leads to which team: claims of teams, units and orgs, and the lookup.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::stage::{Answer, INTERNAL, Request, Servers, Service};

const LOOKUP: &str = "/api/v1/internal/routing/lookup";

pub(crate) async fn ask(service: &Service, question: Value) -> Answer {
    let request = Request::new(Method::POST, LOOKUP)
        .header("x-internal-service", "router")
        .header("x-internal-secret", INTERNAL)
        .json(question);
    service.call(request).await
}

async fn looked_up(service: &Service, question: Value) -> Value {
    let answer = ask(service, question).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

async fn unit(service: &Service, id: &str, parent: &str) {
    let body = json!({"node_id": id, "parent_id": parent, "node_type": "unit"});
    service
        .admin(Method::POST, "/api/v1/admin/orgs/acme/nodes", Some(body))
        .await;
}

async fn team(service: &Service, id: &str, parent: &str) {
    let path = format!("/api/v1/admin/orgs/acme/teams/{id}");
    let body = json!({"parent_id": parent});
    service.admin(Method::POST, &path, Some(body)).await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table, or one story")]
async fn what_a_unit_lists_leads_to_the_team_that_it_names() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    unit(&service, "backend", "acme").await;
    team(&service, "pay", "backend").await;
    team(&service, "cart", "backend").await;
    let set = |routing: Value| service.patch("acme", "backend", json!({"routing": routing}));

    for (routing, expected) in [
        (json!({"services": ["api"]}), (422, "invalid_routing")),
        (
            json!({"services": ["api"], "default_team": "Bad Id"}),
            (422, "invalid_routing"),
        ),
        (
            json!({"services": ["api"], "default_team": "gone"}),
            (422, "no_default_team"),
        ),
        // A team, but not below this unit; and a unit, but no team.
        (
            json!({"services": ["api"], "default_team": "sre"}),
            (422, "no_default_team"),
        ),
        (
            json!({"services": ["api"], "default_team": "backend"}),
            (422, "no_default_team"),
        ),
        (
            json!({"services": ["api"], "default_team": "ops"}),
            (422, "no_default_team"),
        ),
    ] {
        let refused = set(routing.clone()).await;
        assert_eq!(refused.problem(), expected, "{routing}");
        assert!(
            refused.body["detail"]
                .as_str()
                .is_some_and(|text| text.contains("routing.default_team")),
            "{refused:?}"
        );
    }
    assert_eq!(
        set(json!({"services": ["api"], "default_team": "pay"}))
            .await
            .status,
        200
    );
    let question = json!({"org_id": "acme", "identifiers": {"service": "API"}});
    assert_eq!(
        looked_up(&service, question.clone()).await["team_node_id"],
        "pay"
    );
    // The unit's claims follow the name, and the lists may stay as they are.
    assert_eq!(set(json!({"default_team": "cart"})).await.status, 200);
    assert_eq!(
        looked_up(&service, question.clone()).await["team_node_id"],
        "cart"
    );

    // One owner across all nodes of the org, also for the team that the unit names.
    for node in ["cart", "sre", "acme"] {
        let own = json!({"routing": {"services": ["Api"], "default_team": "sre"}});
        let refused = service.patch("acme", node, own).await;
        assert_eq!(refused.problem(), (409, "routing_conflict"), "{node}");
        let owner = &refused.body["owner"];
        assert_eq!(
            (&owner["team_node_id"], &owner["set_on"], &owner["set_by"]),
            (&json!("cart"), &json!("backend"), &json!("admin_token"))
        );
        let detail = refused.body["detail"].as_str().expect("text");
        for part in [
            "service \"api\"",
            "team cart",
            "org acme",
            "admin_token",
            "on backend",
        ] {
            assert!(detail.contains(part), "{detail}");
        }
    }
    // The org names a team at any depth below it.
    let org = json!({"routing": {"slack_workspace_ids": ["T1"], "default_team": "pay"}});
    assert_eq!(service.patch("acme", "acme", org).await.status, 200);
    let question_of_workspace = json!({"identifiers": {"slack_workspace_id": "T1"}});
    assert_eq!(
        looked_up(&service, question_of_workspace).await["team_node_id"],
        "pay"
    );

    // A team to which a unit leads is not deleted under it.
    let delete = Request::new(Method::DELETE, "/api/v1/admin/orgs/acme/teams/cart")
        .bearer(crate::stage::ADMIN);
    let refused = service.call(delete).await;
    assert_eq!(refused.problem(), (409, "is_default_team"));
    assert!(
        refused.body["detail"]
            .as_str()
            .is_some_and(|text| text.contains("backend"))
    );
    assert_eq!(set(json!({"services": []})).await.status, 200);
    service
        .admin(Method::DELETE, "/api/v1/admin/orgs/acme/teams/cart", None)
        .await;
    assert_eq!(looked_up(&service, question).await["found"], false);
    service.stop().await;
}

#[tokio::test]
async fn a_miss_names_what_is_near_within_the_org() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let lists = json!({"routing": {
        "slack_channel_ids": ["C0A4967KRBM"],
        "github_repos": ["acme/checkout", "acme/cart"],
        "coralogix_team_names": ["payments"],
    }});
    service.patch("acme", "sre", lists).await;
    let secret = json!({"routing": {"services": ["checkout-api"]}});
    service.patch("umbrella", "ops", secret).await;
    for (identifiers, expected) in [
        (
            json!({"slack_channel_id": "c0a4967krbm"}),
            json!([["C0A4967KRBM", "case", 0]]),
        ),
        (
            json!({"github_repo": "Acme/Chekcout"}),
            json!([["acme/checkout", "spelling", 1]]),
        ),
        (
            json!({"github_repo": "cme/cart"}),
            json!([["acme/cart", "spelling", 1]]),
        ),
        (
            json!({"service": "payments"}),
            json!([["payments", "other_type", 0]]),
        ),
        (
            json!({"coralogix_team_name": "payments-eu"}),
            json!([["payments", "prefix", 3]]),
        ),
        // What another org has is nobody's business.
        (json!({"service": "checkout-apl"}), Value::Null),
        (json!({"service": "something else"}), Value::Null),
    ] {
        let miss = looked_up(
            &service,
            json!({"org_id": "acme", "identifiers": identifiers}),
        )
        .await;
        assert_eq!(miss["found"], false);
        let near = miss["nearest"].as_array().map(|near| {
            let seen = near
                .iter()
                .map(|near| json!([near["value"], near["why"], near["distance"]]));
            Value::Array(seen.collect())
        });
        assert_eq!(near.unwrap_or_default(), expected, "{miss}");
        assert!(miss["suggestion"].is_string());
    }
    let without_org = looked_up(
        &service,
        json!({"identifiers": {"slack_channel_id": "c0a4967krbm"}}),
    )
    .await;
    assert_eq!(without_org["nearest"], Value::Null);
    for org in ["nobody", "Not An Id"] {
        let miss = looked_up(
            &service,
            json!({"org_id": org, "identifiers": {"service": "x"}}),
        )
        .await;
        assert_eq!(
            (&miss["found"], &miss["tried"]),
            (&json!(false), &json!(["service"]))
        );
    }
    service.stop().await;
}

/// Section 2: `Acme/Repo` and `acme/repo` were two.
#[tokio::test]
async fn bug_2_spelling_of_names_decides_nothing_and_spelling_of_ids_does() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let lists = json!({"routing": {
        "github_repos": [" Acme/Repo "], "coralogix_team_names": ["SRE Core"],
        "services": ["Pay"], "vercel_project_ids": ["Prj_1"],
        "slack_channel_ids": ["C0A"], "pagerduty_service_ids": ["PABC"],
    }});
    assert_eq!(service.patch("acme", "sre", lists).await.status, 200);
    for (kind, value, found) in [
        ("github_repo", "acme/repo", true),
        ("github_repo", "\tACME/REPO ", true),
        ("coralogix_team_name", "sre core", true),
        ("service", "PAY", true),
        ("vercel_project_id", "prj_1", true),
        ("slack_channel_id", " C0A ", true),
        ("slack_channel_id", "c0a", false),
        ("pagerduty_service_id", "pabc", false),
    ] {
        let reply = looked_up(&service, json!({"identifiers": {kind: value}})).await;
        assert_eq!(reply["found"], found, "{kind} {value}");
        let as_sent = if found { json!(value) } else { Value::Null };
        assert_eq!(reply["matched_value"], as_sent);
    }
    service.stop().await;
}

/// Section 2: kinds that the lookup does not know are skipped, what is no text is ignored, and
/// neither is an error.
#[tokio::test]
async fn bug_2_unknown_kinds_and_odd_values_are_a_miss_and_no_error() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    for (identifiers, tried) in [
        (json!({"email_domain": "acme.com"}), json!([])),
        (
            json!({"rootly_team_id": "b", "xmatters_group": "f", "service": "s"}),
            json!(["service"]),
        ),
        (
            json!({"service": 7, "github_repo": ["x"], "slack_channel_id": null, "pagerduty_service_id": {"a": 1}}),
            json!([]),
        ),
        (json!({"service": "  ", "github_repo": ""}), json!([])),
        (
            json!({"service": "s", "github_repo": "g", "slack_channel_id": "c"}),
            json!(["slack_channel_id", "github_repo", "service"]),
        ),
        (json!({}), json!([])),
    ] {
        let miss = looked_up(
            &service,
            json!({"org_id": "acme", "identifiers": identifiers}),
        )
        .await;
        assert_eq!(miss["tried"], tried, "{identifiers}");
        for (key, expected) in [
            ("found", json!(false)),
            ("org_id", Value::Null),
            ("team_node_id", Value::Null),
            ("team_token", Value::Null),
            ("matched_by", Value::Null),
            ("matched_value", Value::Null),
            ("ambiguous", json!(false)),
        ] {
            assert_eq!(miss.get(key), Some(&expected), "{key}");
        }
    }
    service.stop().await;
}

/// Section 2: two teams could claim one channel, and the first row won.
#[tokio::test]
async fn bug_2_an_identifier_cannot_have_two_owners_in_an_org() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let channel = json!({"routing": {"slack_channel_ids": ["C1"]}});
    assert_eq!(
        service.patch("acme", "sre", channel.clone()).await.status,
        200
    );
    let second = service.patch("acme", "web", channel.clone()).await;
    assert_eq!(second.problem(), (409, "routing_conflict"));
    // Other orgs may have it; then nobody is guessed.
    assert_eq!(service.patch("umbrella", "ops", channel).await.status, 200);
    let question =
        |org: Option<&str>| json!({"org_id": org, "identifiers": {"slack_channel_id": "C1"}});
    let open = looked_up(&service, question(None)).await;
    assert_eq!(
        (&open["found"], &open["ambiguous"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(
        looked_up(&service, question(Some("acme"))).await["team_node_id"],
        "sre"
    );
    assert_eq!(
        looked_up(&service, question(Some("umbrella"))).await["team_node_id"],
        "ops"
    );
    service.stop().await;
}

/// 10,000 teams and 100,000 identifiers: found through indexes, hits and misses alike.
#[tokio::test]
async fn lookups_stay_fast_with_a_hundred_thousand_identifiers() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let mut database = servers.database().await;
    for statement in [
        "insert into nodes (org_id, node_id, kind, parent_id, parent_kind, parent_depth, name, version, config, created_at, updated_at, updated_by) \
         select 'acme', 'team-' || n, 'team', 'acme', 'org', 0, '', 1, '{}', now(), now(), '' from generate_series(1, 10000) n",
        "insert into routing_identifiers (org_id, type, value, team_id, source_id, set_by, set_at) \
         select 'acme', t.name, t.name || '-' || n, 'team-' || n, 'team-' || n, '', now() \
         from generate_series(1, 10000) n, \
              unnest(array['slack_channel_id','github_repo','service','pagerduty_service_id','coralogix_team_name', \
                           'vercel_project_id','incidentio_team_id','teams_channel_id','google_chat_space_id','slack_workspace_id']) t (name)",
        "analyze nodes",
        "analyze routing_identifiers",
    ] {
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut database)
            .await
            .expect("seeds");
    }
    for (what, org, value) in [
        ("hits", None, "service-"),
        ("hits in an org", Some("acme"), "service-"),
        ("misses", Some("acme"), "servcie-"),
    ] {
        let mut times: Vec<Duration> = Vec::new();
        for number in 1..=300 {
            let identifiers = json!({
                "github_repo": "nobody/has-this", "service": format!("{value}{number}"), "slack_channel_id": "C-none",
            });
            let started = Instant::now();
            let reply =
                looked_up(&service, json!({"org_id": org, "identifiers": identifiers})).await;
            times.push(started.elapsed());
            assert_eq!(reply["found"], value == "service-", "{reply}");
        }
        times.sort();
        println!("{what}: p50 {:?}, p99 {:?}", times[150], times[297]);
        // An unindexed scan takes 30 ms and more; a debug build beside others is allowed some.
        assert!(
            times[150] < Duration::from_millis(20),
            "{what}: {:?}",
            times[150]
        );
    }
    service.stop().await;
}
