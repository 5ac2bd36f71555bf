//! What Slack and the model do to a run on bad days.

use tocsin_agent_worker::decide::{Post, RunState};
use tocsin_agent_worker::run::Ended;
use tocsin_testkit::standins::model::Failure;
use tocsin_testkit::standins::slack::Fault;
use tocsin_wire::proto::RunOutcome;

use crate::harness::{World, work};

async fn finish(world: &World, name: &str) -> RunState {
    let work = work(name);
    let ended = world.execute(&world.worker("worker-1"), &work).await;
    assert_eq!(ended, Ended::Finished, "{name}");
    world.state(&work).await
}

fn outcome(state: &RunState) -> (RunOutcome, &str) {
    let (_, finished) = state.finished.as_ref().expect("finished");
    (finished.outcome(), &finished.detail)
}

#[tokio::test]
async fn slack_may_drop_answers_and_refuse_floods() {
    let world = World::start().await;
    for (name, method, calls, fault) in [
        ("dropped", "chat.postMessage", 1, Fault::DropResponse),
        (
            "error",
            "chat.postMessage",
            2,
            Fault::Error("internal_error".to_owned()),
        ),
        ("storm", "chat.postMessage", 20, Fault::RateLimited(0)),
        ("update", "chat.update", 3, Fault::Status(503)),
        ("updrop", "chat.update", 2, Fault::DropResponse),
        (
            "gone",
            "chat.update",
            1,
            Fault::Error("internal_error".to_owned()),
        ),
    ] {
        world.slack.fail_next(method, calls, &fault);
        let state = finish(&world, name).await;
        assert_eq!(outcome(&state), (RunOutcome::Completed, ""), "{name}");
        let message = world.only_message(name);
        assert!(
            message.shows("pool of payments exhausted"),
            "{name}: {}",
            message.shown()
        );
        assert_eq!(
            message.metadata_value("run_id"),
            Some(work(name).request.run_id)
        );
        let last = message.versions.back().expect("a version");
        assert_eq!(
            last.shown,
            message.shown(),
            "{name}: nothing after the final text"
        );
    }
}

#[tokio::test]
async fn a_refusal_fails_the_run_and_costs_no_tokens() {
    let world = World::start().await;
    let fault = Fault::Error("not_in_channel".to_owned());
    world.slack.fail_next("chat.postMessage", 1, &fault);
    let state = finish(&world, "refused").await;
    let (outcome, detail) = outcome(&state);
    assert_eq!(outcome, RunOutcome::Failed);
    assert!(
        detail.contains("not_in_channel; invite the bot"),
        "{detail}"
    );
    assert_eq!(world.model.request_count(), 0);
}

#[tokio::test]
async fn the_model_may_fail_in_passing() {
    let world = World::start().await;
    let busy = Failure::Status {
        status: 429,
        retry_after: Some(0),
    };
    for (name, failure) in [
        ("busy", busy),
        ("cut", Failure::CutMidStream),
        ("silent", Failure::StallMidStream),
    ] {
        world.model.fail_next(1, &failure);
        let state = finish(&world, name).await;
        assert_eq!(outcome(&state), (RunOutcome::Completed, ""), "{name}");
        assert!(
            state
                .calls()
                .all(|call| !call.result.as_ref().expect("done").failed),
            "{name}"
        );
    }
}

#[tokio::test]
async fn what_a_model_gets_wrong_it_is_told() {
    let world = World::start().await;
    for (name, failure, told) in [
        ("malformed", Failure::MalformedArguments, "schema"),
        ("unknown", Failure::UnknownTool, "no tool"),
    ] {
        world.model.fail_next(1, &failure);
        let state = finish(&world, name).await;
        let first = state.calls().next().and_then(|call| call.result.clone());
        let first = first.expect("a result");
        assert!(
            first.failed && first.output.contains(told),
            "{name}: {}",
            first.output
        );
        world.only_message(name);
    }
}

#[tokio::test]
async fn a_model_that_is_down_is_said_in_slack() {
    let world = World::start().await;
    let failure = Failure::Status {
        status: 401,
        retry_after: None,
    };
    world.model.fail_next(1, &failure);
    let state = finish(&world, "down").await;
    let (outcome, detail) = outcome(&state);
    assert_eq!(outcome, RunOutcome::Failed);
    assert!(detail.contains("OPENAI_API_KEY"), "{detail}");
    let message = world.only_message("down");
    assert!(message.shows("Something went wrong") && message.shows("OPENAI_API_KEY"));
    assert!(
        state
            .posts
            .values()
            .all(|post| matches!(post, Post::Delivered { .. }))
    );
}
