//! Any process can be killed at any moment.

use std::time::Duration;

use jiff::Timestamp;
use tocsin_testkit::standins::slack::Message;
use tocsin_tests::chaos::{self, Round, is_final};
use tocsin_tests::load::Rate;
use tocsin_tests::record::journals;
use tocsin_tests::{Component, Options, Stack};

use crate::support::{
    RECOVERY, RUN_LIMIT, accepted, bot_messages, checkout_alert, no_work_left, stack_with,
};

/// Long enough to kill the worker while the model thinks, five times over.
const MODEL_DELAY: Duration = Duration::from_millis(700);

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_run_continues_elsewhere_at_its_first_unfinished_step() {
    let options = Options {
        name: "kill-the-worker".to_owned(),
        model_delay: MODEL_DELAY,
        ..Options::default()
    };
    let (stack, teams) = stack_with(options, 1).await;
    let channel = &teams[0].channel;
    let event = accepted(&stack, &checkout_alert(&teams[0]))
        .await
        .to_string();

    // Two answers of the model are in the journal, the third is on its way.
    assert!(
        stack.model.wait_for_requests(3, RUN_LIMIT).await,
        "the model was not asked"
    );
    let running = |message: &Message| message.is_bot && message.shows("running on worker-");
    let message = stack
        .slack
        .wait_for_message(channel, running, RUN_LIMIT)
        .await
        .expect("progress");
    let victim = if message.shows("running on worker-1") {
        0
    } else {
        1
    };
    let (dead, heir) = (
        format!("worker-{}", victim + 1),
        format!("worker-{}", 2 - victim),
    );
    let dying = stack.kill_for_good(Component::Worker(victim));
    let killed_at = dying.await.expect("dies");

    let ended = |message: &Message| message.is_bot && is_final(message);
    let message = stack
        .slack
        .wait_for_message(channel, ended, RUN_LIMIT)
        .await;
    let message = message.unwrap_or_else(|error| panic!("{error}; {}", stack.logs().display()));
    assert!(message.shows("connection pool"), "{}", message.shown());
    assert!(
        message.ever_showed(&format!("resumed on {heir}")),
        "{:#?}",
        message.versions
    );
    assert_eq!(bot_messages(&stack, channel).len(), 1, "one message");

    no_work_left(&stack).await;
    continued_once(&stack, &event, (&dead, &heir), killed_at).await;
}

/// Within the promised time, at the first unfinished step, and without asking anything twice.
async fn continued_once(
    stack: &Stack,
    event: &str,
    (dead, heir): (&str, &str),
    killed_at: Timestamp,
) {
    let mut nats = stack.raw_nats().await.expect("nats");
    let journals = journals(&mut nats).await.expect("journals");
    let journal = journals
        .values()
        .find(|journal| journal.event == event)
        .expect("a journal");
    assert_eq!(
        (journal.started, journal.finished, journal.resumed.len()),
        (1, 1, 1)
    );
    assert_eq!(
        journal.workers.iter().collect::<Vec<_>>().len(),
        2,
        "{dead} and {heir}"
    );
    let resumed = &journal.resumed[0];
    assert_eq!(resumed.worker, heir);
    let idle = Duration::try_from(resumed.at.duration_since(killed_at)).unwrap_or_default();
    assert!(idle < RECOVERY, "continued {idle:?} after the kill");

    // Asked again: at most the question whose answer died with the worker.
    assert!(
        journal.answers.values().all(|count| *count == 1),
        "{journal:#?}"
    );
    assert!(
        journal.tool_results.values().all(|count| *count == 1),
        "{journal:#?}"
    );
    let turns = journal.answers.len();
    let asked = stack.model.request_count();
    assert!(asked <= turns + 1, "{asked} questions for {turns} turns");
}

/// The short form of `tocsin-chaos`.
#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_delivery_ends_once_whatever_is_killed() {
    let options = Options {
        name: "kill-everything".to_owned(),
        worker_slots: 32,
        // Every kill meets runs in hand.
        model_delay: Duration::from_millis(150),
        ..Options::default()
    };
    let (stack, teams) = stack_with(options, 40).await;
    let round = Round {
        rate: Rate {
            per_second: 20,
            duration: Duration::from_secs(22),
            patience: Duration::from_secs(15),
        },
        kills: vec![
            Component::Ingress,
            Component::Router,
            Component::Worker(0),
            Component::Worker(1),
            Component::Audit,
            Component::Config,
            Component::NatsServer,
            Component::Postgres,
        ],
        calm: Duration::from_millis(1_000),
        drain: Duration::from_secs(20),
    };
    let say = |line: String| println!("{line}");
    let verdict = chaos::run(&stack, &teams, &round, &say)
        .await
        .expect("the round");
    println!("{verdict}{}", verdict.histories.join("\n"));
    let violations = verdict.violations(RECOVERY);
    assert!(
        violations.is_empty(),
        "{violations:#?}; logs are in {}",
        stack.logs().display()
    );
    assert_eq!(verdict.gaps.len(), 8);
}
