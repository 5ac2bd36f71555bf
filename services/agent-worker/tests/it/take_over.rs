//! Workers that die or are thought dead at every point of a run.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use tocsin_agent_worker::decide::RunState;
use tocsin_agent_worker::run::{Ended, Work, execute};
use tocsin_agent_worker::team::AgentConfig;
use tocsin_bus::{Outcome, Outgoing};
use tocsin_testkit::eventually;
use tocsin_wire::proto::RunOutcome;
use tocsin_wire::{Pool, Service, Subject};
use tokio::sync::Notify;

use crate::harness::{Death, LIMIT, Mortal, World, envelope, tenant, work};

/// Runs until the worker dies; false when the run was over before.
async fn run_until_death(world: &World, work: &Work, death: Death) -> bool {
    let died = Arc::new(Notify::new());
    let record = Mortal {
        inner: world.record(work, "worker-1"),
        death,
        appends: AtomicU32::new(0),
        died: Arc::clone(&died),
    };
    let (worker, config) = (world.worker("worker-1"), AgentConfig::built_in());
    let running = Box::pin(execute(&worker, work, &config, record));
    tokio::select! {
        ended = tokio::time::timeout(LIMIT, running) => {
            assert_eq!(ended.expect("in time").expect("bus"), Ended::Finished);
            false
        }
        // The future is dropped where it stands, as a killed process is.
        () = died.notified() => true,
    }
}

/// What was found; figures in the evidence move with the clock.
fn findings(state: &RunState) -> (RunOutcome, &str) {
    let (_, finished) = state.finished.as_ref().expect("finished");
    let found = finished.findings.as_ref().expect("findings");
    (finished.outcome(), &found.root_cause)
}

#[tokio::test]
async fn killed_at_any_append_the_run_ends_the_same_with_one_message() {
    let world = World::start().await;
    let whole = work("whole");
    assert_eq!(
        world.execute(&world.worker("worker-1"), &whole).await,
        Ended::Finished
    );
    let expected = world.state(&whole).await;
    let expected_message = world.only_message("whole");
    assert!(expected_message.shows("Database connection pool of payments exhausted"));

    let mut deaths = 0;
    for number in 1.. {
        let before = deaths;
        for death in [Death::BeforeAppend(number), Death::AfterAppend(number)] {
            let when = if death == Death::BeforeAppend(number) {
                "b"
            } else {
                "a"
            };
            let name = format!("{number}{when}");
            let work = work(&name);
            if !run_until_death(&world, &work, death).await {
                continue;
            }
            deaths += 1;
            let left = world.state(&work).await;
            let ended = world.execute(&world.worker("worker-2"), &work).await;
            assert_eq!(ended, Ended::Finished, "{death:?}");
            let state = world.state(&work).await;
            assert_eq!(findings(&state), findings(&expected), "{death:?}");
            assert_eq!(
                state.usage().tool_calls,
                expected.usage().tool_calls,
                "{death:?}"
            );
            let message = world.only_message(&name);
            assert!(
                message.shows("pool of payments exhausted"),
                "{death:?}: {}",
                message.shown()
            );
            if left.entries > 0 && left.finished.is_none() {
                let step = left.steps_done() + 1;
                assert!(
                    message.shows(&format!("resumed on worker-2 at step {step}, ")),
                    "{death:?}: {}",
                    message.shown()
                );
            }
        }
        if deaths == before {
            break;
        }
    }
    assert!(deaths >= 20, "the run has many steps: {deaths}");
}

#[tokio::test]
async fn a_worker_that_was_thought_dead_stops_at_its_next_step() {
    let world = World::start().await;
    let work = work("stalled");
    // The first worker asks the model and hears nothing for a while.
    world.model.set_delay(std::time::Duration::from_millis(700));
    let first_worker = world.worker("worker-1");
    let first = world.execute(&first_worker, &work);
    let second_worker = world.worker("worker-2");
    let second = async {
        assert!(world.model.wait_for_requests(1, LIMIT).await);
        world.model.set_delay(std::time::Duration::ZERO);
        world.execute(&second_worker, &work).await
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first, second), (Ended::Fenced, Ended::Finished));
    assert_eq!(world.state(&work).await.last_worker, "worker-2");
    let message = world.only_message("stalled");
    assert!(
        message.shows("pool of payments exhausted"),
        "{}",
        message.shown()
    );
}

#[tokio::test]
async fn a_copy_is_dropped_while_its_owner_has_a_message_and_takes_over_without() {
    let world = World::start().await;
    let owner = work("copied");
    let copy = |sequence| Work {
        sequence,
        ..owner.clone()
    };
    let (org, team) = tenant();
    let subject = Subject::WorkRun {
        pool: Pool::shared(),
        org,
        team,
    };
    let router = world.test.connect(Service::Router).await.expect("router");
    let published = router
        .publish(Outgoing::new(subject, envelope(&owner)))
        .await
        .expect("published");
    assert_eq!(published.sequence, owner.sequence);
    assert!(run_until_death(&world, &owner, Death::AfterAppend(3)).await);
    let second = world.worker("worker-2");
    assert_eq!(world.execute(&second, &copy(2)).await, Ended::Copy);

    let gone = world.bus.consume(
        ("WORK", "workers-default"),
        1,
        work_is_empty(&world),
        |_| async { Outcome::Done },
    );
    gone.await.expect("consumes");
    assert_eq!(world.execute(&second, &copy(2)).await, Ended::Finished);
    let requests = world.model.request_count();
    assert_eq!(world.execute(&second, &copy(3)).await, Ended::Finished);
    assert_eq!(
        world.model.request_count(),
        requests,
        "the model is not asked again"
    );
    world.only_message("copied");
}

async fn work_is_empty(world: &World) {
    eventually("the owner's message is gone", LIMIT, || async {
        let exists = world.bus.work_message_exists(1).await;
        exists.is_ok_and(|exists| !exists)
    })
    .await;
}

#[tokio::test]
async fn a_stopping_worker_hands_over() {
    let world = World::start().await;
    let work = work("handed");
    let stopping = world.worker("worker-1");
    world.model.set_delay(std::time::Duration::from_millis(200));
    let stop = async {
        assert!(world.model.wait_for_requests(1, LIMIT).await);
        stopping.stop.trigger_soft();
    };
    let (ended, ()) = tokio::join!(world.execute(&stopping, &work), stop);
    assert_eq!(ended, Ended::HandedOver);
    let left = world.state(&work).await;
    assert!(left.turns[0].answer.is_some(), "what was done is kept");
    assert_eq!(
        world.execute(&world.worker("worker-2"), &work).await,
        Ended::Finished
    );
}
