//! Publishing: limits, fences, repeats; the backlog; declarations.

use tocsin_bus::{Moved, Outgoing, PublishError, declare};
use tocsin_testkit::TestBus;
use tocsin_testkit::bus::clock;
use tocsin_wire::ids::{EventId, MessageId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Envelope, Journal};
use tocsin_wire::{Priority, Service, Subject, limits};

use crate::samples::{event, event_subject, run_request, tenant};

#[tokio::test]
async fn declaring_twice_changes_nothing() {
    let test = TestBus::start().await.expect("bus");
    let again = declare(&test.settings(), clock()).await.expect("declares");
    assert_eq!(again.created, Vec::<String>::new());
    assert!(
        again.present.contains(&"stream EVENTS".to_owned()),
        "{again:?}"
    );
}

#[tokio::test]
async fn a_repeat_is_stored_once() {
    let test = TestBus::start().await.expect("bus");
    let ingress = test.connect(Service::Ingress).await.expect("connects");
    let publish = || ingress.publish(Outgoing::new(event_subject(), event(1)));
    let first = publish().await.expect("published");
    let second = publish().await.expect("published");
    assert_eq!((first.sequence, first.duplicate), (1, false));
    assert_eq!((second.sequence, second.duplicate), (1, true));
}

#[tokio::test]
async fn the_journal_lets_one_writer_through() {
    let test = TestBus::start().await.expect("bus");
    let first = test.connect(Service::AgentWorker).await.expect("connects");
    let second = test.connect(Service::AgentWorker).await.expect("connects");
    let (_, org, team) = tenant();
    let (_, run) = run_request(1);
    let subject = Subject::Journal {
        org: org.clone(),
        team: team.clone(),
        run,
    };
    let entry = |worker: &str| {
        let event = EventId::derive("test:1");
        let body = Body::Journal(Journal {
            run_id: run.to_string(),
            entries: Vec::new(),
        });
        let id = MessageId::journal(run, 1, worker);
        Envelope::new(id, Service::AgentWorker, clock()(), event, None, body).owned_by(&org, &team)
    };
    let write = |bus: &tocsin_bus::Bus, worker: &str, expected| {
        let outgoing = Outgoing::new(subject.clone(), entry(worker)).expecting(Some(expected));
        let bus = bus.clone();
        async move { bus.publish(outgoing).await }
    };
    let (one, other) = tokio::join!(write(&first, "a", 0), write(&second, "b", 0));
    let winner = one.as_ref().or(other.as_ref()).expect("one wins").sequence;
    let loser = [one, other]
        .into_iter()
        .find_map(Result::err)
        .expect("one loses");
    assert!(
        matches!(loser, PublishError::WrongSequence { .. }),
        "{loser}"
    );

    write(&first, "c", winner).await.expect("the next entry");
    let entries = first.replay(&subject).await.expect("replays");
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0].sequence, winner);
    assert_eq!(entries[0].signer, Service::AgentWorker);
}

#[tokio::test]
async fn runs_beyond_the_window_wait_in_the_backlog_and_move_up() {
    let test = TestBus::start().await.expect("bus");
    let router = test.connect(Service::Router).await.expect("connects");
    let worker = test.connect(Service::AgentWorker).await.expect("connects");
    let (pool, org, team) = tenant();
    let work = Subject::WorkRun {
        pool: pool.clone(),
        org: org.clone(),
        team: team.clone(),
    };
    let backlog = Subject::BacklogRun {
        pool: pool.clone(),
        org: org.clone(),
        team: team.clone(),
        priority: Priority::Normal,
    };
    let window = usize::try_from(limits::TEAM_WINDOW).expect("small");
    for number in 0..window {
        let outgoing = Outgoing::new(work.clone(), run_request(number).0);
        router.publish(outgoing).await.expect("admitted");
    }
    let (next, _) = run_request(window);
    let full = router.publish(Outgoing::new(work, next.clone())).await;
    assert!(
        matches!(full, Err(PublishError::SubjectFull { .. })),
        "{full:?}"
    );
    router
        .publish(Outgoing::new(backlog, next))
        .await
        .expect("waits");

    let waiting = worker.waiting_teams(&pool).await.expect("asks");
    assert_eq!(waiting, vec![(org.clone(), team.clone(), 1)]);
    let moved = worker
        .move_backlog(&pool, &org, &team)
        .await
        .expect("tries");
    assert_eq!(moved, Moved::WindowFull);

    let seen = worker
        .consume(
            ("WORK", "workers-default"),
            1,
            one_message(&worker),
            |_| async { tocsin_bus::Outcome::Done },
        )
        .await;
    seen.expect("consumes");
    assert_eq!(
        worker
            .move_backlog(&pool, &org, &team)
            .await
            .expect("moves"),
        Moved::Admitted
    );
    assert_eq!(
        worker
            .move_backlog(&pool, &org, &team)
            .await
            .expect("moves"),
        Moved::Empty
    );
}

/// Completes as soon as WORK has room again.
async fn one_message(worker: &tocsin_bus::Bus) {
    tocsin_testkit::eventually("the first run is gone", crate::samples::LIMIT, || async {
        worker
            .work_message_exists(1)
            .await
            .map(|exists| !exists)
            .unwrap_or(false)
    })
    .await;
}

#[tokio::test]
async fn severe_runs_move_up_first_and_equal_ones_in_their_order() {
    let test = TestBus::start().await.expect("bus");
    let router = test.connect(Service::Router).await.expect("connects");
    let worker = test.connect(Service::AgentWorker).await.expect("connects");
    let (pool, org, team) = tenant();
    let waiting = [
        Priority::Low,
        Priority::Normal,
        Priority::Critical,
        Priority::Info,
        Priority::Normal,
        Priority::High,
    ];
    for (number, priority) in waiting.into_iter().enumerate() {
        let subject = Subject::BacklogRun {
            pool: pool.clone(),
            org: org.clone(),
            team: team.clone(),
            priority,
        };
        let outgoing = Outgoing::new(subject, run_request(number).0);
        router.publish(outgoing).await.expect("waits");
    }
    let queue = router.queue(&pool, &org, &team).await.expect("asks");
    let expected = [
        (Priority::Critical, 1),
        (Priority::High, 1),
        (Priority::Normal, 2),
        (Priority::Low, 1),
        (Priority::Info, 1),
    ];
    assert_eq!(queue, expected);
    for _ in waiting {
        let moved = worker.move_backlog(&pool, &org, &team).await;
        assert_eq!(moved.expect("moves"), Moved::Admitted);
    }
    let moved = worker.move_backlog(&pool, &org, &team).await;
    assert_eq!(moved.expect("moves"), Moved::Empty);
    let work = Subject::WorkRun { pool, org, team };
    let admitted = worker.replay(&work).await.expect("replays");
    let order: Vec<String> = admitted.into_iter().map(|one| one.envelope.id).collect();
    let expected = [2, 5, 1, 4, 0, 3].map(|number| run_request(number).0.id);
    assert_eq!(order, expected);
}
