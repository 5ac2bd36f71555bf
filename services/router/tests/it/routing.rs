//! The index follows config; repeats collapse; everything has its decision.

use futures::future::join_all;
use serde_json::json;
use tocsin_wire::ids::RunId;
use tocsin_wire::proto::{DecisionAction, Event};

use crate::stage::{LIMIT, PAY, Stage, UNROUTED, count, incident, last_code, said};

#[tokio::test]
async fn the_index_follows_config_and_a_miss_is_told() {
    let stage = Stage::start().await;
    let router = stage.router().await;
    let miss = stage
        .publish(&said("app_mention", "C1", "1.1", "Ev1"))
        .await;
    let decision = stage.decision(UNROUTED, miss).await;
    assert_eq!(decision.action(), DecisionAction::NoRoute);
    let notices = stage.work(UNROUTED).await;
    let notice = notices[0].notice.as_ref().expect("a notice");
    assert_eq!((notices.len(), notice.code.as_str()), (1, "no_route"));
    assert!(notice.text.contains("C1"), "{}", notice.text);
    assert_eq!(decision.run_id, notices[0].run_id);
    let machine = stage.publish(&incident(1, "P404")).await;
    let decision = stage.decision(UNROUTED, machine).await;
    assert_eq!(
        (decision.action(), decision.run_id.as_str()),
        (DecisionAction::NoRoute, "")
    );

    stage
        .put_team("acme", "pay", json!({"entrance_agent": "triage"}))
        .await;
    stage.claim("slack_channel_id", "C1", &[PAY]).await;
    let question = json!({"identifiers": {"slack_channel_id": "C1"}});
    stage
        .explained(question.clone(), "found", json!(true))
        .await;
    let hit = stage
        .publish(&said("app_mention", "C1", "1.2", "Ev2"))
        .await;
    let decision = stage.decision(PAY, hit).await;
    assert_eq!(decision.action(), DecisionAction::Run, "{decision:?}");
    assert_eq!(
        (decision.agent.as_str(), decision.matched_value.as_str()),
        ("triage", "C1")
    );
    assert!(decision.index_entries == 1 && decision.tried == ["slack_channel_id"]);

    stage.release("slack_channel_id", "C1").await;
    stage.explained(question, "found", json!(false)).await;
    let gone = stage
        .publish(&said("app_mention", "C1", "1.3", "Ev3"))
        .await;
    assert_eq!(
        stage.decision(UNROUTED, gone).await.action(),
        DecisionAction::NoRoute
    );
    router.stop().await;
}

#[tokio::test]
async fn what_slack_tells_fifty_times_starts_one_run() {
    let stage = Stage::with_team().await;
    let router = stage.router().await;
    let kinds = ["app_mention", "message"];
    let events: Vec<Event> = (0..50)
        .map(|number| said(kinds[number % 2], "C1", "1.1", &format!("Ev{number}")))
        .collect();
    let same = vec![events[0].clone(); 10];
    join_all(events.iter().chain(&same).map(|event| stage.publish(event))).await;
    let decisions = stage.decisions_reach(PAY, 50).await;
    assert_eq!(count(&decisions, DecisionAction::Run), 1);
    assert_eq!(count(&decisions, DecisionAction::Duplicate), 49);
    let work = stage.work(PAY).await;
    assert_eq!(work.len(), 1);
    let run = RunId::derive("slack:shared:T1:C1:1.1", "acme", "pay").to_string();
    assert_eq!(work[0].run_id, run);
    for decision in decisions {
        assert_eq!(decision.run_id, run);
        let is_duplicate = decision.action() == DecisionAction::Duplicate;
        let (first, code) = if is_duplicate {
            (work[0].event_id.as_str(), "duplicate_event")
        } else {
            ("", "trigger")
        };
        assert_eq!(
            (decision.duplicate_of.as_str(), last_code(&decision)),
            (first, code)
        );
    }
    router.stop().await;
}

#[tokio::test]
async fn a_run_carries_the_event_without_its_raw_body_and_the_ignored_are_recorded() {
    let stage = Stage::with_team().await;
    let router = stage.router().await;
    let run = stage.publish(&incident(1, "P1")).await;
    let mut resolved = incident(2, "P1");
    "incident_resolved".clone_into(&mut resolved.kind);
    let ignored = stage.publish(&resolved).await;
    stage.decision(PAY, run).await;
    let decision = stage.decision(PAY, ignored).await;
    assert_eq!(decision.action(), DecisionAction::Ignore);
    assert_eq!(last_code(&decision), "kind_not_a_trigger");
    let work = stage.work(PAY).await;
    let event = work[0].event.as_ref().expect("the event");
    assert_eq!((work.len(), event.raw_body.len()), (1, 0));
    assert_eq!(
        (event.title.as_str(), work[0].destinations.len()),
        ("incident 1", 1)
    );
    router.stop().await;
}

#[tokio::test]
async fn an_event_waits_for_the_settings_of_its_team() {
    let stage = Stage::start().await;
    stage.claim("pagerduty_service_id", "P1", &[PAY]).await;
    let router = stage.router().await;
    let event = stage.publish(&incident(1, "P1")).await;
    let question = json!({"identifiers": {"pagerduty_service_id": "P1"}, "provider": "pagerduty", "kind": "incident_triggered"});
    stage.explained(question, "action", json!("no_route")).await;
    stage.put_team("acme", "pay", json!({})).await;
    assert_eq!(
        stage.decision(PAY, event).await.action(),
        DecisionAction::Run
    );
    // A team that never comes: the event is settled all the same.
    stage
        .claim("pagerduty_service_id", "P2", &["acme.gone"])
        .await;
    let question = json!({"identifiers": {"pagerduty_service_id": "P2"}});
    stage.explained(question, "found", json!(true)).await;
    let event = stage.publish(&incident(2, "P2")).await;
    let decision = stage.decision(UNROUTED, event).await;
    assert_eq!(last_code(&decision), "unknown_team");
    router.stop().await;
}

#[tokio::test]
async fn the_server_may_restart() {
    let mut stage = Stage::with_team().await;
    let router = stage.router().await;
    let before = stage.publish(&incident(1, "P1")).await;
    stage.decision(PAY, before).await;
    std::sync::Arc::get_mut(&mut stage)
        .expect("alone")
        .test
        .server
        .kill()
        .await
        .expect("killed");
    let health = router.context.health.clone();
    tocsin_testkit::eventually("a router that says so", LIMIT, || {
        let ready = health.snapshot().ready;
        async move { !ready }
    })
    .await;
    let server = std::sync::Arc::get_mut(&mut stage).expect("alone");
    server.test.server.restart().await.expect("restarted");
    tocsin_testkit::eventually("ingress to be back", LIMIT, || async {
        stage.ingress.is_connected()
    })
    .await;
    let after = stage.publish(&incident(2, "P1")).await;
    assert_eq!(
        stage.decision(PAY, after).await.action(),
        DecisionAction::Run
    );
    // The index still follows.
    stage.claim("pagerduty_service_id", "P2", &[PAY]).await;
    let question = json!({"identifiers": {"pagerduty_service_id": "P2"}});
    stage.explained(question, "found", json!(true)).await;
    assert_eq!(stage.work(PAY).await.len(), 2);
    router.stop().await;
}
