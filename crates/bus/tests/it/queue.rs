//! Counting an org's runs: exact, whoever else starts and moves runs meanwhile.

use futures::future::join_all;
use tocsin_bus::{Bus, Moved, Outgoing, PublishError, QueueBook};
use tocsin_testkit::TestBus;
use tocsin_testkit::bus::clock;
use tocsin_wire::ids::{EventId, MessageId, RunId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Envelope, RunRequest};
use tocsin_wire::{OrgId, Pool, Priority, QueueLimits, Service, Subject, TeamId};

fn org() -> OrgId {
    OrgId::new("acme").expect("token")
}

fn team(name: &str) -> TeamId {
    TeamId::new(name).expect("token")
}

fn work(name: &str) -> Subject {
    let (pool, org, team) = (Pool::shared(), org(), team(name));
    Subject::WorkRun { pool, org, team }
}

fn backlog(name: &str, priority: Priority) -> Subject {
    let (pool, org, team) = (Pool::shared(), org(), team(name));
    Subject::BacklogRun {
        pool,
        org,
        team,
        priority,
    }
}

fn run(team_name: &str, number: usize) -> Envelope {
    let about = format!("{team_name}:{number}");
    let run = RunId::derive(&about, "acme", team_name);
    let body = Body::from(RunRequest {
        run_id: run.to_string(),
        ..RunRequest::default()
    });
    let (id, event) = (MessageId::run_request(run), EventId::derive(&about));
    Envelope::new(id, Service::Router, clock()(), event, None, body)
        .owned_by(&org(), &team(team_name))
}

fn book(org_running: u64) -> QueueBook {
    let book = QueueBook::default();
    for name in ["calm", "flood"] {
        let limits = QueueLimits {
            org_running,
            ..QueueLimits::default()
        };
        book.put(&org(), &team(name), limits);
    }
    book
}

/// As the router does it: `true` when the run was started.
async fn start(bus: &Bus, book: &QueueBook, team_name: &str, number: usize) -> bool {
    loop {
        let counted = bus.count_admitted(&Pool::shared(), &org()).await;
        let counted = counted.expect("counted");
        let wait = book.read(&org(), |limits| {
            counted.load.must_wait(&team(team_name), limits)
        });
        if wait.is_some() {
            return false;
        }
        let outgoing = Outgoing::new(work(team_name), run(team_name, number));
        match bus.publish(outgoing.fenced(counted.fence)).await {
            Ok(_) => return true,
            Err(PublishError::WrongSequence { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn an_orgs_number_holds_while_many_start_runs_at_once() {
    let test = TestBus::start().await.expect("bus");
    let first = test.connect(Service::Router).await.expect("connects");
    let second = test.connect(Service::Router).await.expect("connects");
    let book = book(7);
    let starting = (0..10).flat_map(|number| {
        [(&first, "flood"), (&second, "calm")].map(|(bus, name)| start(bus, &book, name, number))
    });
    let started = join_all(starting).await;
    assert_eq!(started.iter().filter(|started| **started).count(), 7);
    let counted = first.count_admitted(&Pool::shared(), &org()).await;
    assert_eq!(counted.expect("counted").load.running(), 7);
}

#[tokio::test]
async fn teams_of_a_full_org_move_up_in_turn_and_never_too_many() {
    let test = TestBus::start().await.expect("bus");
    let router = test.connect(Service::Router).await.expect("connects");
    let one = test.connect(Service::AgentWorker).await.expect("connects");
    let other = test.connect(Service::AgentWorker).await.expect("connects");
    for number in 0..20 {
        let outgoing = Outgoing::new(backlog("flood", Priority::Normal), run("flood", number));
        router.publish(outgoing).await.expect("waits");
    }
    let outgoing = Outgoing::new(backlog("calm", Priority::Low), run("calm", 0));
    router.publish(outgoing).await.expect("waits");
    let (book, pool, org) = (book(3), Pool::shared(), org());
    let moving = (0..8).map(|number| {
        let bus = if number % 2 == 0 { &one } else { &other };
        let after = team("flood");
        let (book, pool, org) = (&book, &pool, &org);
        async move { bus.move_in_turn(pool, org, book, Some(&after)).await }
    });
    let mut admitted = Vec::new();
    for moved in join_all(moving).await {
        if let (Moved::Admitted, Some(team)) = moved.expect("moves") {
            admitted.push(team);
        }
    }
    // Two movers may take the same run: the broker stores it once.
    assert!(admitted.contains(&team("calm")), "{admitted:?}");
    let counted = one.count_admitted(&pool, &org).await.expect("counted");
    assert_eq!(counted.load.running(), 3);
    let calm = counted.load.teams.get(&team("calm")).expect("admitted");
    assert_eq!((calm.running, calm.first()), (1, None));
    let full = one.move_in_turn(&pool, &org, &book, None).await;
    assert_eq!(full.expect("tries").0, Moved::WindowFull);
}

#[tokio::test]
async fn a_repeat_is_found_without_being_stored() {
    let test = TestBus::start().await.expect("bus");
    let router = test.connect(Service::Router).await.expect("connects");
    let subjects = [work("calm"), backlog("calm", Priority::Normal)];
    for (number, subject) in subjects.into_iter().enumerate() {
        let outgoing = || Outgoing::new(subject.clone(), run("calm", number));
        assert!(!router.was_published(outgoing()).await.expect("asked"));
        assert!(!router.was_published(outgoing()).await.expect("asked"));
        router.publish(outgoing()).await.expect("stored");
        assert!(router.was_published(outgoing()).await.expect("asked"));
    }
}

#[tokio::test]
async fn waiting_runs_are_told_in_their_order() {
    let test = TestBus::start().await.expect("bus");
    let router = test.connect(Service::Router).await.expect("connects");
    let priorities = [Priority::Low, Priority::Critical, Priority::Low];
    for (number, priority) in priorities.into_iter().enumerate() {
        let outgoing = Outgoing::new(backlog("calm", priority), run("calm", number));
        router.publish(outgoing).await.expect("waits");
    }
    let (pool, org, team) = (Pool::shared(), org(), team("calm"));
    for (limit, expected) in [(2, &[1, 0][..]), (9, &[1, 0, 2])] {
        let runs = router.waiting_runs(&pool, &org, &team, limit).await;
        let ids: Vec<String> = runs
            .expect("read")
            .into_iter()
            .map(|run| run.stored.envelope.id)
            .collect();
        let expected: Vec<String> = expected
            .iter()
            .map(|number| run("calm", *number).id)
            .collect();
        assert_eq!(ids, expected);
    }
}
