//! A router that dies between any two of its steps: the next one ends in the same messages.

use std::collections::BTreeSet;

use tocsin_bus::Outgoing;
use tocsin_testkit::bus::clock;
use tocsin_testkit::{Process, Program};
use tocsin_wire::ids::{EventId, MessageId, RunId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Claim, DecisionAction, Envelope, Event, RunRequest};
use tocsin_wire::{KeyToken, OrgId, Service, TeamId};

use crate::stage::{LIMIT, PAY, Stage, UNROUTED, incident, last_code};

/// What an earlier router has left of `event` when it died, as its own messages.
struct Remains<'a> {
    event: &'a Event,
    run: RunId,
    owner: (OrgId, TeamId),
}

impl<'a> Remains<'a> {
    fn of(event: &'a Event, org: &str, team: &str) -> Self {
        let owner = (
            OrgId::new(org).expect("token"),
            TeamId::new(team).expect("token"),
        );
        let run = RunId::derive(&event.semantic_key, org, team);
        Self { event, run, owner }
    }

    fn envelope(&self, id: MessageId, body: Body) -> Envelope {
        let event = EventId::derive(&self.event.delivery_key);
        let (org, team) = &self.owner;
        Envelope::new(
            id,
            Service::Router,
            clock()(),
            event,
            Some(event.into()),
            body,
        )
        .owned_by(org, team)
    }

    async fn claim(&self, stage: &Stage, what: &str, key: &str) {
        let router = stage
            .test
            .connect(Service::Router)
            .await
            .expect("connected");
        let key_text = format!("{what}.{}", KeyToken::encode(key));
        let body = Body::Claim(Claim {
            key: key.to_owned(),
            event_id: EventId::derive(&self.event.delivery_key).to_string(),
            run_id: self.run.to_string(),
            ..Claim::default()
        });
        let envelope = self.envelope(MessageId::key_value("seen", &key_text, "x"), body);
        router
            .bucket("seen")
            .create(&key_text, &envelope)
            .await
            .expect("created");
    }

    async fn work(&self, stage: &Stage) {
        let router = stage
            .test
            .connect(Service::Router)
            .await
            .expect("connected");
        let body = Body::from(RunRequest {
            run_id: self.run.to_string(),
            event_id: EventId::derive(&self.event.delivery_key).to_string(),
            ..RunRequest::default()
        });
        let envelope = self.envelope(MessageId::run_request(self.run), body);
        let subject = format!("work.run.default.{PAY}").parse().expect("subject");
        router
            .publish(Outgoing::new(subject, envelope))
            .await
            .expect("published");
    }
}

#[tokio::test]
async fn every_place_to_die_leads_to_one_run() {
    let stage = Stage::with_team().await;
    let events: Vec<Event> = (0..3).map(|number| incident(number, "P1")).collect();
    for (steps, event) in events.iter().enumerate() {
        let remains = Remains::of(event, "acme", "pay");
        remains.claim(&stage, "semantic", &event.semantic_key).await;
        if steps > 0 {
            remains.claim(&stage, "delivery", &event.delivery_key).await;
        }
        if steps > 1 {
            remains.work(&stage).await;
        }
    }
    let router = stage.router().await;
    for event in &events {
        let id = stage.publish(event).await;
        assert_eq!(stage.decision(PAY, id).await.action(), DecisionAction::Run);
    }
    let runs: BTreeSet<String> = stage
        .work(PAY)
        .await
        .into_iter()
        .map(|run| run.run_id)
        .collect();
    let expected = events
        .iter()
        .map(|event| Remains::of(event, "acme", "pay").run.to_string());
    assert_eq!(runs, expected.collect());
    assert_eq!(stage.work(PAY).await.len(), events.len());
    router.stop().await;
}

#[tokio::test]
async fn routing_that_changed_after_the_claim_starts_no_second_run() {
    let stage = Stage::with_team().await;
    stage.put_team("acme", "shop", serde_json::json!({})).await;
    let moved = incident(1, "P1");
    let remains = Remains::of(&moved, "acme", "shop");
    remains.claim(&stage, "semantic", &moved.semantic_key).await;
    // A newer version reads another meaning out of a delivery that was claimed before.
    let reread = incident(2, "P1");
    let mut before = reread.clone();
    "pagerduty:shared:as-it-was-read".clone_into(&mut before.semantic_key);
    let earlier = Remains::of(&before, "acme", "pay");
    earlier
        .claim(&stage, "delivery", &reread.delivery_key)
        .await;
    let unowned = incident(3, "P1");
    Remains::of(&unowned, "unrouted", "unrouted")
        .claim(&stage, "semantic", &unowned.semantic_key)
        .await;
    // The delivery belongs to another event: only possible when ids are made by somebody else.
    let foreign = incident(4, "P1");
    let other = incident(5, "P1");
    Remains::of(&other, "acme", "pay")
        .claim(&stage, "delivery", &foreign.delivery_key)
        .await;

    let router = stage.router().await;
    let id = stage.publish(&moved).await;
    let decision = stage.decision("acme.shop", id).await;
    assert_eq!(decision.run_id, remains.run.to_string());
    assert!(
        decision
            .reasons
            .iter()
            .any(|reason| reason.code == "claimed_before")
    );
    assert_eq!(stage.work("acme.shop").await.len(), 1);

    let id = stage.publish(&reread).await;
    assert_eq!(
        stage.decision(PAY, id).await.run_id,
        earlier.run.to_string()
    );

    let id = stage.publish(&unowned).await;
    assert_eq!(
        stage.decision(UNROUTED, id).await.action(),
        DecisionAction::NoRoute
    );

    let id = stage.publish(&foreign).await;
    let decision = stage.decision(PAY, id).await;
    assert_eq!(last_code(&decision), "duplicate_delivery");
    assert_eq!(
        stage.work(PAY).await.len(),
        1,
        "only the one that was read anew"
    );
    router.stop().await;
}

/// The program itself, killed in the middle of its work, twice.
#[tokio::test]
async fn a_killed_router_leaves_nothing_undone_and_nothing_doubled() {
    const EVENTS: usize = 160;
    let stage = Stage::with_team().await;
    let mut process = start(&stage);
    let mut published = 0;
    for until in [EVENTS / 2, EVENTS] {
        for number in published..until {
            stage.publish(&incident(number, "P1")).await;
        }
        published = until;
        stage.decisions_reach(PAY, until - EVENTS / 4).await;
        process.kill_9().await.expect("killed");
        process = start(&stage);
    }
    let decisions = stage.decisions_reach(PAY, EVENTS).await;
    assert_eq!(decisions.len(), EVENTS);
    assert!(
        decisions
            .iter()
            .all(|decision| decision.action() == DecisionAction::Run)
    );
    let unique: BTreeSet<&str> = decisions.iter().map(|one| one.run_id.as_str()).collect();
    assert_eq!(unique.len(), EVENTS);
    let (work, waiting) = (stage.work(PAY).await.len(), stage.waiting(PAY).await);
    assert_eq!(work + waiting, EVENTS, "{work} in the window");
    // The last one may have begun only now: before that it knows no signals.
    process
        .wait_for_line("connected to NATS", LIMIT)
        .await
        .expect("runs");
    process.terminate().expect("signalled");
    let status = process.wait(LIMIT).await.expect("ended");
    assert!(status.success(), "{status}: {:?}", process.last_lines());
}

fn start(stage: &Stage) -> Process {
    let bus = stage.test.settings();
    let nkey = bus.nats_nkey_file.expect("a user key");
    let root = bus.signing_root_file.display().to_string();
    Program::new(env!("CARGO_BIN_EXE_tocsin-router"))
        .args(["--nats-url", &bus.nats_url, "--nats-nkey-file", &nkey])
        .args([
            "--signing-key-file",
            &bus.signing_key_file,
            "--signing-root-file",
            &root,
        ])
        .start()
        .expect("started")
}
