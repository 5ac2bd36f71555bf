use tocsin_wire::ids::EventId;
use tocsin_wire::proto::RunResult;

use super::*;
use crate::load::Accepted;

fn at(millisecond: i64) -> Timestamp {
    Timestamp::from_millisecond(millisecond).expect("in range")
}

#[test]
fn gaps_are_measured_from_kill_to_kill() {
    let mut results = Results::default();
    for (run, end) in [("a", 900), ("b", 1_500), ("c", 4_000), ("d", 5_100)] {
        results
            .finished
            .insert(run.to_owned(), (at(end), RunResult::default()));
    }
    let kill = |millisecond| Kill {
        component: Component::Router,
        at: at(millisecond),
        back_after: Duration::ZERO,
    };
    let gaps = longest_gaps(&results, &[kill(1_000), kill(5_000)], at(0), at(5_200));
    let longest: Vec<u128> = gaps.iter().map(|gap| gap.longest.as_millis()).collect();
    assert_eq!(longest, [2_500, 100]);
}

fn journal(event: &str, started: usize, finished: usize) -> JournalSummary {
    JournalSummary {
        event: event.to_owned(),
        started,
        finished,
        ..JournalSummary::default()
    }
}

/// One event is accepted; what the journals say of it decides.
#[test]
fn an_accepted_delivery_is_held_to_one_run_that_ended() {
    let event = EventId::derive("pagerduty:shared:1").to_string();
    for (journals, lost, duplicates) in [
        (vec![], 1, 0),
        // Without a message each is lost as well.
        (vec![journal(&event, 1, 1)], 1, 0),
        (vec![journal(&event, 1, 0)], 2, 0),
        (vec![journal(&event, 2, 1)], 1, 1),
        (vec![journal(&event, 1, 1), journal(&event, 1, 1)], 2, 1),
        (vec![journal("another", 1, 1)], 1, 0),
    ] {
        let numbered = journals.iter().cloned().enumerate();
        let journals = numbered
            .map(|(run, journal)| (run.to_string(), journal))
            .collect();
        let counts = Counts::default();
        counts.add(Accepted {
            event: EventId::derive("pagerduty:shared:1"),
            channel: "C1".to_owned(),
            attempts: 1,
            took: Duration::ZERO,
        });
        let verdict = Verdict::judge(&counts, &Results::default(), &journals, &[], &[]);
        assert_eq!(
            (verdict.lost.len(), verdict.duplicates.len()),
            (lost, duplicates),
            "{journals:?}"
        );
    }
}

#[test]
fn nothing_accepted_is_a_violation() {
    let violations = Verdict::default().violations(Duration::from_secs(5));
    assert!(
        violations
            .iter()
            .any(|line| line.contains("nothing was accepted")),
        "{violations:?}"
    );
}

#[test]
fn a_take_over_is_measured_from_the_death_of_the_worker_before() {
    let kill = |component, millisecond| Kill {
        component,
        at: at(millisecond),
        back_after: Duration::ZERO,
    };
    let kills = [
        kill(Component::Worker(0), 1_000),
        kill(Component::NatsServer, 2_000),
        kill(Component::Worker(1), 3_000),
        kill(Component::Audit, 4_000),
    ];
    for (previous, millisecond, rested_millis) in [
        ("worker-1", 1_500, 500),
        ("worker-1", 4_500, 2_500),
        ("worker-2", 4_500, 1_500),
        ("worker-2", 500, 77),
    ] {
        let take_over = TakeOver {
            worker: "worker-3".to_owned(),
            previous: previous.to_owned(),
            at: at(millisecond),
            idle_millis: 77,
        };
        let rested = rested(&take_over, &kills).as_millis();
        assert_eq!(rested, rested_millis, "{previous} at {millisecond}");
    }
}
