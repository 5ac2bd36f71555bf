//! A sandbox run works as any other, and nobody outside hears of it.

use tocsin_agent_worker::run::{Ended, Work};
use tocsin_wire::Service;
use tocsin_wire::ids::{EventId, RequestId, RunId};
use tocsin_wire::proto::destination::Kind;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{
    Destination, GithubDestination, OriginalRun, PagerdutyDestination, RunOutcome, RunResult,
};

use crate::harness::{World, work};

/// The same event once more, for every kind of place.
fn sandbox(first: &Work, number: u128) -> Work {
    let request = RequestId::from(uuid::Uuid::from_u128(number));
    let event: EventId = first.request.event_id.parse().expect("event id");
    let mut again = first.clone();
    again.request.run_id = RunId::replay(event, request).to_string();
    again.request.sandbox = true;
    again.request.original = Some(OriginalRun {
        run_id: first.request.run_id.clone(),
        org: "acme".to_owned(),
        team: "pay".to_owned(),
    });
    let elsewhere = [
        Kind::Github(GithubDestination {
            repository: "acme/checkout".to_owned(),
            issue_number: 7,
        }),
        Kind::Pagerduty(PagerdutyDestination {
            incident_id: "Q1".to_owned(),
        }),
    ];
    let elsewhere = elsewhere.map(|kind| Destination { kind: Some(kind) });
    again.request.destinations.extend(elsewhere);
    again
}

async fn results(world: &World) -> Vec<RunResult> {
    let operator = world.test.connect(Service::Operator).await;
    let operator = operator.expect("operator");
    let subject = "results.agent-worker.run_finished.acme.pay";
    let told = operator.replay(&subject.parse().expect("subject")).await;
    let bodies = told.expect("results").into_iter();
    bodies
        .filter_map(|stored| match stored.envelope.body {
            Some(Body::RunResult(result)) => Some(result),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_sandbox_run_posts_nowhere_and_is_compared_with_the_first() {
    let world = World::start().await;
    let worker = world.worker("worker-1");
    let first = work("replayed");
    assert_eq!(world.execute(&worker, &first).await, Ended::Finished);
    world.only_message("replayed");
    let calls = world.slack.calls().len();

    let again = sandbox(&first, 1);
    assert_eq!(world.execute(&worker, &again).await, Ended::Finished);
    world
        .prometheus
        .set_cause("bad-deploy")
        .expect("a cause of the scenario");
    assert_eq!(
        world.execute(&worker, &sandbox(&first, 2)).await,
        Ended::Finished
    );
    let mut alone = sandbox(&first, 3);
    alone.request.original = Some(OriginalRun {
        org: "globex".to_owned(),
        ..again.request.original.clone().expect("an original")
    });
    assert_eq!(world.execute(&worker, &alone).await, Ended::Finished);
    assert_eq!(world.slack.calls().len(), calls, "Slack was called");

    let state = world.state(&again).await;
    assert!(state.posts.is_empty(), "{:?}", state.posts);
    let told = results(&world).await;
    let [original, same, other, foreign] = told.as_slice() else {
        panic!("{told:#?}");
    };
    assert!(!original.sandbox && original.comparison.is_none());
    assert_eq!(
        (same.sandbox, same.outcome()),
        (true, RunOutcome::Completed)
    );
    let compared = same.comparison.as_ref().expect("compared");
    assert!(compared.same_root_cause, "{compared:#?}");
    assert_eq!(compared.original, original.findings);
    let compared = other.comparison.as_ref().expect("compared");
    assert!(!compared.same_root_cause, "{compared:#?}");
    assert!(
        compared.difference.contains("- root cause: "),
        "{}",
        compared.difference
    );
    let compared = foreign.comparison.as_ref().expect("compared");
    assert_eq!(
        (&compared.original, compared.original_outcome()),
        (&None, RunOutcome::Unspecified)
    );
}
