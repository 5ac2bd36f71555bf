//! A run that is joined while it goes on: it hears of everything once, and closes before it tells the end.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use tocsin_agent_worker::run::{Ended, Work, execute};
use tocsin_agent_worker::team::AgentConfig;
use tocsin_bus::{Bus, Outgoing, PublishError};
use tocsin_testkit::bus::clock;
use tocsin_wire::ids::{EventId, MessageId, RunId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Envelope, OpenRun, Signal, SignalEvent, SignalKind};
use tocsin_wire::{Service, Subject, time};
use tokio::sync::Notify;

use crate::harness::{Death, LIMIT, Mortal, World, tenant, work};

const KEY: &str = "acme.pay.K";

/// A work message that others may join.
fn joinable(name: &str) -> Work {
    let mut work = work(name);
    KEY.clone_into(&mut work.request.open_key);
    work
}

/// The router's side of one run.
struct Router {
    bus: Bus,
    run: RunId,
}

impl Router {
    async fn of(world: &World, work: &Work) -> Self {
        let bus = world.test.connect(Service::Router).await.expect("router");
        let run = work.request.run_id.parse().expect("id");
        Self { bus, run }
    }

    fn log(&self) -> Subject {
        let (org, team) = tenant();
        let run = self.run;
        Subject::Signal { org, team, run }
    }

    fn envelope(&self, id: MessageId, body: Body) -> Envelope {
        let (org, team) = tenant();
        let event = EventId::derive("first");
        Envelope::new(id, Service::Router, clock()(), event, None, body).owned_by(&org, &team)
    }

    async fn open(&self) {
        let body = Body::OpenRun(OpenRun {
            run_id: self.run.to_string(),
            opened_at: Some(time::to_proto(clock()())),
            queued: true,
            ..OpenRun::default()
        });
        let envelope = self.envelope(MessageId::key_value("open", KEY, "test"), body);
        let open = self.bus.bucket("open");
        open.put(KEY, &envelope).await.expect("opened");
    }

    /// As the router tells; `false` when the run has closed its log.
    async fn tell(&self, kind: SignalKind, title: &str) -> bool {
        let id = MessageId::signal(self.run, title);
        loop {
            let last = self.bus.last_of(&self.log()).await.expect("read");
            let (sequence, joined) = match last {
                None => (0, 0),
                Some(last) => match last.envelope.body {
                    Some(Body::Signal(signal)) if signal.kind() == SignalKind::Closed => {
                        return false;
                    }
                    Some(Body::Signal(signal)) => (last.sequence, signal.joined),
                    other => panic!("{other:?}"),
                },
            };
            let event = SignalEvent {
                title: title.to_owned(),
                received_at: Some(time::to_proto(clock()())),
                ..SignalEvent::default()
            };
            let signal = Signal {
                run_id: self.run.to_string(),
                kind: kind.into(),
                joined: joined + u64::from(kind == SignalKind::Join),
                event: Some(event),
                ..Signal::default()
            };
            let envelope = self.envelope(id, Body::Signal(signal));
            let outgoing = Outgoing::new(self.log(), envelope).expecting(Some(sequence));
            match self.bus.publish(outgoing).await {
                Ok(_) => return true,
                Err(PublishError::WrongSequence { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn closings(&self) -> usize {
        let log = self.bus.replay(&self.log()).await.expect("read");
        let closed = log.iter().filter(|message| {
            matches!(&message.envelope.body, Some(Body::Signal(signal)) if signal.kind() == SignalKind::Closed)
        });
        closed.count()
    }
}

#[tokio::test]
async fn the_model_hears_of_it_in_its_next_turn_and_the_message_tells() {
    let world = World::start().await;
    let work = joinable("joined");
    let router = Router::of(&world, &work).await;
    router.open().await;
    assert!(router.tell(SignalKind::Join, "while it waited").await);
    world.model.set_delay(Duration::from_millis(300));
    let telling = async {
        assert!(world.model.wait_for_requests(1, LIMIT).await);
        assert!(router.tell(SignalKind::Join, "error rate 7 %").await);
        assert!(router.tell(SignalKind::Join, "error rate 9 %").await);
        assert!(router.tell(SignalKind::Resolved, "recovered").await);
        world.model.set_delay(Duration::ZERO);
    };
    let worker = world.worker("worker-1");
    let (ended, ()) = tokio::join!(world.execute(&worker, &work), telling);
    assert_eq!(ended, Ended::Finished);
    let requests = world.model.requests();
    let asked = |place: usize| requests[place].body.to_string();
    assert!(asked(0).contains("fired once more"), "{}", asked(0));
    assert!(asked(1).contains("fired 3 more times"), "{}", asked(1));
    assert!(asked(1).contains("error rate 9 %") && !asked(1).contains("error rate 7 %"));
    assert!(asked(1).contains("reported as resolved") && asked(1).contains("recovered"));
    let message = world.only_message("joined");
    assert!(
        message.shows("fired 3 more times since"),
        "{}",
        message.shown()
    );
    assert!(message.shows("*resolved*"), "{}", message.shown());
    assert!(message.shows("pool of payments exhausted"));

    assert!(
        !router.tell(SignalKind::Join, "too late").await,
        "it is over"
    );
    let left = router.bus.bucket("open").get(KEY).await.expect("read");
    assert!(left.is_none(), "nothing finds the run any more");
}

#[tokio::test]
async fn a_run_leaves_the_bucket_to_its_successor() {
    let world = World::start().await;
    let (work, next) = (joinable("left"), joinable("successor"));
    let successor = Router::of(&world, &next).await;
    successor.open().await;
    world.execute(&world.worker("worker-1"), &work).await;
    let entry = successor.bus.bucket("open").get(KEY).await.expect("read");
    let body = entry.expect("there").envelope.body;
    assert!(matches!(body, Some(Body::OpenRun(open)) if open.run_id == next.request.run_id));
}

#[tokio::test]
async fn killed_at_any_append_the_run_hears_everything_and_closes_once() {
    let world = World::start().await;
    let mut deaths = 0;
    for number in 1.. {
        let before = deaths;
        for death in [Death::BeforeAppend(number), Death::AfterAppend(number)] {
            let side = if death == Death::BeforeAppend(number) {
                "b"
            } else {
                "a"
            };
            let name = format!("s{number}{side}");
            let work = joinable(&name);
            let router = Router::of(&world, &work).await;
            assert!(router.tell(SignalKind::Join, "one").await);
            let died = Arc::new(Notify::new());
            let record = Mortal {
                inner: world.record(&work, "worker-1"),
                death,
                appends: AtomicU32::new(0),
                died: Arc::clone(&died),
            };
            let (worker, config) = (world.worker("worker-1"), AgentConfig::built_in());
            let running = Box::pin(execute(&worker, &work, &config, record));
            tokio::select! {
                _ = tokio::time::timeout(LIMIT, running) => continue,
                () = died.notified() => deaths += 1,
            }
            // Between the two workers it fires again; a run that has closed refuses that.
            let heard = 1 + u64::from(router.tell(SignalKind::Join, "two").await);
            let ended = world.execute(&world.worker("worker-2"), &work).await;
            assert_eq!(ended, Ended::Finished, "{death:?}");
            let state = world.state(&work).await;
            assert_eq!(
                (state.heard.joined, state.heard.closed),
                (heard, true),
                "{death:?}"
            );
            assert_eq!(router.closings().await, 1, "{death:?}");
            let told = if heard == 1 {
                "fired once more since"
            } else {
                "fired 2 more times since"
            };
            let message = world.only_message(&name);
            assert!(message.shows(told), "{death:?}: {}", message.shown());
        }
        if deaths == before {
            break;
        }
    }
    assert!(deaths >= 20, "the run has many steps: {deaths}");
}

/// Whoever is let in is heard, whoever comes too late knows it: however close the two are.
#[tokio::test]
async fn a_storm_at_the_very_end_is_heard_or_refused() {
    let world = World::start().await;
    let work = joinable("stormy");
    let router = Router::of(&world, &work).await;
    let storm = async {
        let mut accepted = 0_u64;
        while router
            .tell(SignalKind::Join, &format!("number {accepted}"))
            .await
        {
            accepted += 1;
        }
        accepted
    };
    let worker = world.worker("worker-1");
    let (ended, accepted) = tokio::join!(world.execute(&worker, &work), storm);
    assert_eq!(ended, Ended::Finished);
    let state = world.state(&work).await;
    assert_eq!(state.heard.joined, accepted);
    let message = world.only_message("stormy");
    assert!(
        message.shows(&format!("fired {accepted} more times since")),
        "{}",
        message.shown()
    );
}
