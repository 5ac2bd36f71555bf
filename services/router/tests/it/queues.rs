//! A team's window, its backlog, and what it is told when both are full.

use futures::future::join_all;
use tocsin_bus::Outgoing;
use tocsin_testkit::bus::clock;
use tocsin_wire::ids::{EventId, MessageId, RunId};
use tocsin_wire::limits::{TEAM_BACKLOG, TEAM_WINDOW};
use tocsin_wire::proto::destination::Kind;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{DecisionAction, Envelope, Event, Placement, RunRequest, Severity};
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
        let body = Body::RunRequest(RunRequest {
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
