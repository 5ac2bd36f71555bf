//! A team's and an org's windows and backlogs, and what is told when they are full.

use futures::future::join_all;
use serde_json::json;
use tocsin_bus::Outgoing;
use tocsin_testkit::bus::clock;
use tocsin_wire::ids::{EventId, MessageId, RunId};
use tocsin_wire::limits::{TEAM_BACKLOG, TEAM_WINDOW};
use tocsin_wire::proto::destination::Kind;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{
    DecisionAction, Envelope, Event, Placement, QueueCap, RunRequest, Severity,
};
use tocsin_wire::{OrgId, Service, TeamId};

use crate::stage::{PAY, Stage, UNROUTED, count, incident, last_code};

#[tokio::test]
async fn a_full_queue_is_told_once_and_nothing_runs_twice() {
    let window = usize::try_from(TEAM_WINDOW).expect("fits");
    let backlog = usize::try_from(TEAM_BACKLOG).expect("fits");
    let (left, surplus) = (5, 25);
    let stage = Stage::with_team().await;
    fill(
        &stage,
        &format!("backlog.run.default.{PAY}.p3"),
        backlog - left,
    )
    .await;
    let router = stage.router().await;
    let count_of_events = window + left + surplus;
    let events: Vec<Event> = (0..count_of_events)
        .map(|number| incident(number, "P1"))
        .collect();
    join_all(events.iter().map(|event| stage.publish(event))).await;
    let decisions = stage.decisions_reach(PAY, count_of_events).await;
    assert_eq!(count(&decisions, DecisionAction::Run), window + left);
    assert_eq!(count(&decisions, DecisionAction::QueueFull), surplus);
    let placed = |wanted| {
        decisions
            .iter()
            .filter(|one| one.placement() == wanted)
            .count()
    };
    assert_eq!(
        (placed(Placement::Admitted), placed(Placement::Backlog)),
        (window, left)
    );
    for decision in &decisions {
        let expected = match (decision.action(), decision.placement()) {
            (DecisionAction::QueueFull, _) => "queue_full",
            (_, Placement::Backlog) => "queued",
            _ => "trigger",
        };
        assert_eq!(last_code(decision), expected);
    }
    assert_eq!(stage.work(PAY).await.len(), window);
    assert_eq!(stage.waiting(PAY).await, backlog);
    let notices = stage.work(UNROUTED).await;
    assert_eq!(
        notices.len(),
        1,
        "one for all of them, unless the ten minutes ended just now"
    );
    assert_eq!(
        notices[0]
            .notice
            .as_ref()
            .map(|notice| notice.code.as_str()),
        Some("queue_full")
    );
    let place = notices[0].destinations[0].kind.as_ref();
    assert!(matches!(place, Some(Kind::Slack(slack)) if slack.channel == "CTEAM"));
    router.stop().await;
}

#[tokio::test]
async fn an_event_that_found_no_room_is_not_what_a_later_one_repeats() {
    let window = usize::try_from(TEAM_WINDOW).expect("fits");
    let backlog = usize::try_from(TEAM_BACKLOG).expect("fits");
    let stage = Stage::with_team().await;
    fill(&stage, &format!("work.run.default.{PAY}"), window).await;
    fill(&stage, &format!("backlog.run.default.{PAY}.p3"), backlog).await;
    let router = stage.router().await;
    let [first, second, third, fourth] = [1, 2, 3, 4].map(|number| Event {
        semantic_key: "pagerduty:shared:the-same".to_owned(),
        severity: match number {
            // There is room for the worse ones.
            3 => Severity::Critical.into(),
            _ => Severity::Unspecified.into(),
        },
        ..incident(number, "P1")
    });
    for (event, action) in [
        (first, DecisionAction::QueueFull),
        (second, DecisionAction::QueueFull),
        (third, DecisionAction::Run),
        (fourth, DecisionAction::Duplicate),
    ] {
        let id = stage.publish(&event).await;
        let decision = stage.decision(PAY, id).await;
        assert_eq!(decision.action(), action, "{}", event.title);
    }
    router.stop().await;
}

/// Runs that have waited since before the test.
pub(crate) async fn fill(stage: &Stage, subject: &str, runs: usize) {
    let router = stage
        .test
        .connect(Service::Router)
        .await
        .expect("connected");
    let (org, team) = (
        OrgId::new("acme").expect("token"),
        TeamId::new("pay").expect("token"),
    );
    let publishing = (0..runs).map(|number| {
        let event = EventId::derive(&format!("waiting:{number}"));
        let run = RunId::derive(&format!("{subject}:{number}"), "acme", "pay");
        let body = Body::from(RunRequest {
            run_id: run.to_string(),
            ..RunRequest::default()
        });
        let id = MessageId::run_request(run);
        let envelope = Envelope::new(id, Service::Router, clock()(), event, None, body);
        let subject = subject.parse().expect("subject");
        router.publish(Outgoing::new(subject, envelope.owned_by(&org, &team)))
    });
    for published in join_all(publishing).await {
        published.expect("published");
    }
}

#[tokio::test]
async fn a_run_that_waits_knows_its_place() {
    let stage = Stage::with_team().await;
    let window = usize::try_from(TEAM_WINDOW).expect("fits");
    fill(&stage, &format!("work.run.default.{PAY}"), window).await;
    fill(&stage, &format!("backlog.run.default.{PAY}.p3"), 36).await;
    let router = stage.router().await;
    for (number, severity, position, told) in [
        (1, Severity::Unspecified, 37, "37th for team pay"),
        (2, Severity::Low, 38, "38th for team pay"),
        (3, Severity::Critical, 1, "1st for team pay"),
        (4, Severity::High, 2, "2nd for team pay"),
        (5, Severity::Medium, 40, "40th for team pay"),
    ] {
        let event = Event {
            severity: severity.into(),
            ..incident(number, "P1")
        };
        let id = stage.publish(&event).await;
        let decision = stage.decision(PAY, id).await;
        assert_eq!(decision.queue_position, position, "{severity:?}");
        let reason = &decision.reasons.last().expect("one").detail;
        assert!(reason.contains(told), "{severity:?}: {reason}");
    }
    assert_eq!(stage.waiting(PAY).await, 36 + 5);
    router.stop().await;
}

/// Teams `pay` (service P1) and `shop` (service P2) of one org with these limits.
async fn two_teams(limits: serde_json::Value) -> std::sync::Arc<Stage> {
    let stage = Stage::start().await;
    for (team, service) in [("pay", "P1"), ("shop", "P2")] {
        let config = json!({
            "notifications": {"default_slack_channel_id": "CTEAM"},
            "limits": limits.clone(),
        });
        stage.put_team("acme", team, config).await;
        let owner = format!("acme.{team}");
        stage
            .claim("pagerduty_service_id", service, &[owner.as_str()])
            .await;
    }
    stage
}

const SHOP: &str = "acme.shop";

#[tokio::test]
async fn an_orgs_numbers_hold_over_its_teams_and_over_several_routers() {
    let limits = json!({"org": {"running": 5, "queued": 8}});
    let stage = two_teams(limits).await;
    let routers = [stage.router().await, stage.router().await];
    let events: Vec<Event> = (0..10)
        .flat_map(|number| [incident(number, "P1"), incident(number, "P2")])
        .collect();
    join_all(events.iter().map(|event| stage.publish(event))).await;
    let mut decisions = stage.decisions_reach(PAY, 10).await;
    decisions.extend(stage.decisions_reach(SHOP, 10).await);
    let placed = |wanted| {
        let fits = decisions.iter().filter(|one| one.placement() == wanted);
        fits.count()
    };
    assert_eq!(placed(Placement::Admitted), 5);
    assert_eq!(placed(Placement::Backlog), 8);
    assert_eq!(count(&decisions, DecisionAction::QueueFull), 7);
    let admitted = stage.work(PAY).await.len() + stage.work(SHOP).await.len();
    assert_eq!(admitted, 5);
    assert_eq!(stage.waiting(PAY).await + stage.waiting(SHOP).await, 8);
    for decision in &decisions {
        let expected = match decision.placement() {
            Placement::Admitted => QueueCap::Unspecified,
            _ => QueueCap::Org,
        };
        assert_eq!(decision.ran_into(), expected);
        let told = &decision.reasons.last().expect("one").detail;
        if decision.action() == DecisionAction::QueueFull {
            assert!(told.contains("All teams of acme together have 8"), "{told}");
            assert!(told.contains("limits.org.queued"), "{told}");
        }
    }
    for router in routers {
        router.stop().await;
    }
}

#[tokio::test]
async fn a_teams_own_numbers_hold_below_the_brokers() {
    let limits = json!({"team": {"running": 2, "queued": 3}});
    let stage = two_teams(limits).await;
    let router = stage.router().await;
    for number in 0..6 {
        let id = stage.publish(&incident(number, "P1")).await;
        let decision = stage.decision(PAY, id).await;
        let expected = match number {
            0 | 1 => (Placement::Admitted, QueueCap::Unspecified),
            2..=4 => (Placement::Backlog, QueueCap::Team),
            _ => (Placement::Unspecified, QueueCap::Team),
        };
        assert_eq!((decision.placement(), decision.ran_into()), expected);
    }
    // What is worse has a queue of its own, and another team windows of its own.
    let severe = Event {
        severity: Severity::Critical.into(),
        ..incident(9, "P1")
    };
    let id = stage.publish(&severe).await;
    assert_eq!(stage.decision(PAY, id).await.queue_position, 1);
    let id = stage.publish(&incident(0, "P2")).await;
    assert_eq!(
        stage.decision(SHOP, id).await.placement(),
        Placement::Admitted
    );
    router.stop().await;
}

#[tokio::test]
async fn fifty_refused_events_are_one_notice_also_over_a_restart() {
    let limits = json!({"team": {"running": 1, "queued": 1}});
    let stage = two_teams(limits).await;
    let mut first_event = 0;
    for refused in [25, 25] {
        let router = stage.router().await;
        let numbers = first_event..first_event + refused + 2;
        first_event = numbers.end;
        for number in numbers {
            stage.publish(&incident(number, "P1")).await;
        }
        stage.decisions_reach(PAY, first_event).await;
        router.stop().await;
    }
    let decisions = stage.decisions_reach(PAY, first_event).await;
    assert_eq!(count(&decisions, DecisionAction::QueueFull), 52);
    let notices = stage.work(UNROUTED).await;
    assert_eq!(
        notices.len(),
        1,
        "one for all of them, unless the ten minutes ended just now"
    );
}

#[tokio::test]
async fn an_operator_sees_the_queue_in_its_order_and_the_place_of_one_run() {
    let stage = two_teams(json!({"team": {"running": 1}})).await;
    let router = stage.router().await;
    let mut runs = Vec::new();
    for (number, severity) in [
        (0, Severity::High),
        (1, Severity::Low),
        (2, Severity::Critical),
        (3, Severity::Low),
    ] {
        let event = Event {
            severity: severity.into(),
            ..incident(number, "P1")
        };
        let id = stage.publish(&event).await;
        runs.push(stage.decision(PAY, id).await.run_id);
    }
    let eye = &stage.eye;
    let ask = |question| async move { eye.ask(Service::Router, "queue", &question).await };
    let answer = ask(json!({"org": "acme", "team": "pay", "run": runs[3], "limit": 2})).await;
    let answer = answer.expect("answered");
    assert_eq!(
        (&answer["admitted"], &answer["waiting"]),
        (&json!(1), &json!(3))
    );
    assert_eq!(answer["place"], json!("3rd for team pay"));
    let listed = answer["runs"].as_array().expect("a list");
    let listed: Vec<_> = listed
        .iter()
        .map(|run| (&run["position"], &run["run_id"], &run["severity"]))
        .collect();
    let expected = [
        (&json!(1), &json!(runs[2]), &json!("critical")),
        (&json!(2), &json!(runs[1]), &json!("low")),
    ];
    assert_eq!(listed, expected);
    let gone = ask(json!({"org": "acme", "team": "pay", "run": runs[0]})).await;
    assert_eq!(gone.expect("answered")["position"], json!(null));
    let wrong = ask(json!({"org": "Acme!", "team": "pay"})).await;
    assert!(wrong.is_err());
    router.stop().await;
}
