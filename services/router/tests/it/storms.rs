//! Alerts that tell of one thing: one run, however many there are, whoever dies in between.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use serde_json::json;
use tocsin_bus::{Bucket, Bus, Outcome, Outgoing};
use tocsin_testkit::bus::clock;
use tocsin_testkit::eventually;
use tocsin_wire::ids::{EventId, MessageId, RunId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{
    Claim, Decision, DecisionAction, Envelope, Event, EventStatus, OpenRun, Severity, Signal,
    SignalKind,
};
use tocsin_wire::{KeyToken, OrgId, Service, Subject, TeamId, limits, time};

use crate::queues::fill;
use crate::stage::{LIMIT, PAY, Stage, count, incident, last_code};

/// An alert of its own, about the same thing as all others with this `key`.
fn alert(number: usize, key: &str) -> Event {
    Event {
        correlation_key: format!("pagerduty:shared:{key}"),
        received_at: Some(time::to_proto(clock()())),
        ..incident(number, "P1")
    }
}

fn resolved(number: usize, key: &str) -> Event {
    Event {
        kind: "incident_resolved".to_owned(),
        status: EventStatus::Resolved.into(),
        ..alert(number, key)
    }
}

fn run_of(event: &Event) -> RunId {
    RunId::derive(&event.semantic_key, "acme", "pay")
}

fn open_key(key: &str) -> String {
    let text = json!([["correlation_key", format!("pagerduty:shared:{key}")]]).to_string();
    format!("{PAY}.{}", KeyToken::encode(&text))
}

fn log_of(run: RunId) -> Subject {
    format!("signal.{PAY}.{run}").parse().expect("subject")
}

async fn log(stage: &Stage, run: RunId) -> Vec<Signal> {
    let stored = stage.eye.replay(&log_of(run)).await.expect("replayed");
    let bodies = stored.into_iter().filter_map(|stored| stored.envelope.body);
    bodies
        .map(|body| match body {
            Body::Signal(signal) => signal,
            other => panic!("{other:?} is no signal"),
        })
        .collect()
}

fn kinds(log: &[Signal]) -> Vec<SignalKind> {
    log.iter().map(Signal::kind).collect()
}

/// What another process writes.
struct Other {
    bus: Bus,
    open: Bucket,
}

impl Other {
    async fn router(stage: &Stage) -> Self {
        Self::of(stage, Service::Router).await
    }

    async fn of(stage: &Stage, service: Service) -> Self {
        let bus = stage.test.connect(service).await.expect("connected");
        let open = bus.bucket("open");
        Self { bus, open }
    }

    fn envelope(&self, id: MessageId, event: &Event, body: Body) -> Envelope {
        let event = EventId::derive(&event.delivery_key);
        let (org, team) = (OrgId::new("acme"), TeamId::new("pay"));
        Envelope::new(id, self.bus.service(), clock()(), event, None, body)
            .owned_by(&org.expect("token"), &team.expect("token"))
    }

    async fn open(&self, event: &Event, key: &str, queued: bool, at: jiff::Timestamp) {
        let body = Body::OpenRun(OpenRun {
            fingerprint: key.to_owned(),
            run_id: run_of(event).to_string(),
            event_id: EventId::derive(&event.delivery_key).to_string(),
            opened_at: Some(time::to_proto(at)),
            queued,
        });
        let id = MessageId::key_value("open", key, "test");
        let envelope = self.envelope(id, event, body);
        self.open
            .put(&open_key(key), &envelope)
            .await
            .expect("opened");
    }

    async fn claim(&self, event: &Event, joins: Option<RunId>) {
        for (what, raw) in [
            ("semantic", &event.semantic_key),
            ("delivery", &event.delivery_key),
        ] {
            let key = format!("{what}.{}", KeyToken::encode(raw));
            let body = Body::Claim(Claim {
                key: raw.clone(),
                event_id: EventId::derive(&event.delivery_key).to_string(),
                run_id: run_of(event).to_string(),
                joined_run_id: joins.map(|run| run.to_string()).unwrap_or_default(),
            });
            let envelope = self.envelope(MessageId::key_value("seen", &key, "x"), event, body);
            let seen = self.bus.bucket("seen");
            seen.create(&key, &envelope).await.expect("claimed");
        }
    }

    /// `run` says that it has ended.
    async fn close(&self, run: RunId, event: &Event) {
        let signal = Signal {
            run_id: run.to_string(),
            kind: SignalKind::Closed.into(),
            ..Signal::default()
        };
        let id = MessageId::signal(run, "closed");
        let envelope = self.envelope(id, event, Body::Signal(signal));
        let outgoing = Outgoing::new(log_of(run), envelope);
        self.bus.publish(outgoing).await.expect("closed");
    }

    async fn join(&self, run: RunId, event: &Event) {
        self.tell(run, event, SignalKind::Join).await;
    }

    async fn tell(&self, run: RunId, event: &Event, kind: SignalKind) {
        let (what, joined) = match kind {
            SignalKind::Join => ("join", 1),
            SignalKind::Resolved => ("resolved", 0),
            other => panic!("a router does not say {other:?}"),
        };
        let signal = Signal {
            run_id: run.to_string(),
            kind: kind.into(),
            joined,
            ..Signal::default()
        };
        let by = EventId::derive(&event.delivery_key);
        let id = MessageId::signal(run, &format!("{what}:{by}"));
        let envelope = self.envelope(id, event, Body::Signal(signal));
        let outgoing = Outgoing::new(log_of(run), envelope);
        self.bus.publish(outgoing).await.expect("joined");
    }
}

async fn decide(stage: &Stage, event: &Event) -> Decision {
    let id = stage.publish(event).await;
    stage.decision(PAY, id).await
}

#[tokio::test]
async fn a_hundred_alerts_at_two_routers_start_one_run_that_hears_of_all() {
    const ALERTS: usize = 100;
    let stage = Stage::with_team().await;
    let routers = [stage.router().await, stage.router().await];
    let alerts: Vec<Event> = (0..ALERTS).map(|number| alert(number, "one")).collect();
    join_all(alerts.iter().map(|event| stage.publish(event))).await;
    let decisions = stage.decisions_reach(PAY, ALERTS).await;
    assert_eq!(count(&decisions, DecisionAction::Run), 1);
    assert_eq!(count(&decisions, DecisionAction::Join), ALERTS - 1);
    let runs: BTreeSet<&str> = decisions.iter().map(|one| one.run_id.as_str()).collect();
    assert_eq!(runs.len(), 1);
    let work = stage.work(PAY).await;
    assert_eq!(work.len(), 1);
    assert_eq!(work[0].open_key, open_key("one"));

    let run: RunId = work[0].run_id.parse().expect("id");
    let log = log(&stage, run).await;
    let counted: Vec<u64> = log.iter().map(|signal| signal.joined).collect();
    let expected: Vec<u64> = (1..).take(ALERTS - 1).collect();
    assert_eq!(counted, expected, "each once, in order, with its number");
    let mut told: Vec<u64> = decisions.iter().map(|one| one.joined_count).collect();
    told.sort_unstable();
    assert_eq!(told[1..], expected);
    let last = decisions.iter().find(|one| one.joined_count == 12);
    let last = last.expect("the twelfth");
    assert_eq!(last_code(last), "joined_run");
    assert_eq!(last.joined_event_id, work[0].event_id);
    let reason = &last.reasons.last().expect("one").detail;
    assert!(
        reason.contains(&work[0].event_id) && reason.contains("12th"),
        "{reason}"
    );
    for router in routers {
        router.stop().await;
    }
}

#[tokio::test]
async fn a_run_that_has_ended_swallows_nothing_and_a_window_that_is_over_opens_anew() {
    let stage = Stage::with_team().await;
    let router = stage.router().await;
    let worker = Other::of(&stage, Service::AgentWorker).await;
    let first = alert(0, "ended");
    assert_eq!(decide(&stage, &first).await.action(), DecisionAction::Run);
    assert_eq!(
        decide(&stage, &alert(1, "ended")).await.action(),
        DecisionAction::Join
    );
    worker.close(run_of(&first), &first).await;
    let late = alert(2, "ended");
    let decision = decide(&stage, &late).await;
    assert_eq!(decision.action(), DecisionAction::Run);
    assert_eq!(decision.run_id, run_of(&late).to_string());
    let next = decide(&stage, &alert(3, "ended")).await;
    assert_eq!(next.run_id, run_of(&late).to_string());
    assert_eq!(
        kinds(&log(&stage, run_of(&first)).await),
        [SignalKind::Join, SignalKind::Closed]
    );

    let old = alert(4, "old");
    let minutes = |minutes| clock()() - jiff::SignedDuration::from_mins(minutes);
    let other = Other::router(&stage).await;
    other.open(&old, "old", true, minutes(31)).await;
    assert_eq!(
        decide(&stage, &alert(5, "old")).await.action(),
        DecisionAction::Run
    );
    let recent = alert(6, "recent");
    other.open(&recent, "recent", true, minutes(29)).await;
    assert_eq!(
        decide(&stage, &alert(7, "recent")).await.run_id,
        run_of(&recent).to_string()
    );
    router.stop().await;
}

#[tokio::test]
async fn a_router_that_dies_between_two_steps_ends_in_the_same_messages() {
    let stage = Stage::with_team().await;
    let (other, worker) = (
        Other::router(&stage).await,
        Other::of(&stage, Service::AgentWorker).await,
    );
    let now = clock()();
    // Died with the entry written, before its run was queued: nobody may join before it is.
    let opener = alert(0, "opening");
    other.claim(&opener, None).await;
    other.open(&opener, "opening", false, now).await;
    // Died with the join in the log, before the decision; the run has ended since and left the bucket.
    let (gone, heard) = (alert(1, "gone"), alert(2, "gone"));
    other.claim(&heard, Some(run_of(&gone))).await;
    other.join(run_of(&gone), &heard).await;
    worker.close(run_of(&gone), &gone).await;
    // Died before the join: the run has ended without having heard of it.
    let (deaf, unheard) = (alert(3, "deaf"), alert(4, "deaf"));
    other.claim(&unheard, Some(run_of(&deaf))).await;
    worker.close(run_of(&deaf), &deaf).await;

    // A router takes both, and is never heard of again.
    let taken = Arc::new(AtomicUsize::new(0));
    stage.publish(&heard).await;
    stage.publish(&unheard).await;
    let count = Arc::clone(&taken);
    let both = eventually("both are taken", LIMIT, || async {
        taken.load(Ordering::SeqCst) >= 2
    });
    let silent = other.bus.consume(("EVENTS", "router"), 2, both, move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Outcome::Leave)
    });
    silent.await.expect("consumes");

    let router = stage.router().await;
    let waiting = stage.publish(&alert(5, "opening")).await;
    assert_eq!(
        decide(&stage, &opener).await.run_id,
        run_of(&opener).to_string()
    );
    let joined = stage.decision(PAY, waiting).await;
    assert_eq!(
        (joined.action(), joined.run_id),
        (DecisionAction::Join, run_of(&opener).to_string())
    );

    let decision = stage
        .decision(PAY, EventId::derive(&heard.delivery_key))
        .await;
    assert_eq!(
        (decision.action(), decision.run_id),
        (DecisionAction::Join, run_of(&gone).to_string())
    );
    let decision = stage
        .decision(PAY, EventId::derive(&unheard.delivery_key))
        .await;
    assert_eq!(
        (decision.action(), decision.run_id),
        (DecisionAction::Run, run_of(&unheard).to_string())
    );
    router.stop().await;
}

/// Alerts of one fingerprint wait for each other, and nobody else for them.
#[tokio::test]
async fn a_flood_of_one_team_stands_in_nobody_elses_way() {
    const AT_WORK: usize = 16;
    const FLOOD: usize = 60;
    let stage = Stage::with_team().await;
    stage.put_team("acme", "shop", json!({})).await;
    stage
        .claim("pagerduty_service_id", "P2", &["acme.shop"])
        .await;
    for number in 0..FLOOD {
        stage.publish(&alert(number, "flood")).await;
    }
    let last = stage.publish(&incident(FLOOD, "P2")).await;
    let router = stage.router_at(AT_WORK).await;
    stage.decision("acme.shop", last).await;
    stage.decisions_reach(PAY, FLOOD).await;
    let decided = stage.owners_decided();
    let before = decided.iter().take_while(|owner| *owner == PAY).count();
    // If alerts that wait took the places of others, all but the last few would be decided before.
    assert!(before < FLOOD - AT_WORK, "behind {before} alerts");
    router.stop().await;
}

/// The stream has forgotten the id of the first delivery: the second one is new to it, with the same event id.
#[tokio::test]
async fn an_event_that_joined_a_run_joins_it_again_when_it_is_delivered_again() {
    let stage = Stage::with_team().await;
    let (other, worker) = (
        Other::router(&stage).await,
        Other::of(&stage, Service::AgentWorker).await,
    );
    // Both runs heard of their event, ended, and left the bucket.
    let (fired, again) = (alert(0, "fired"), alert(1, "fired"));
    other.claim(&again, Some(run_of(&fired))).await;
    other.join(run_of(&fired), &again).await;
    worker.close(run_of(&fired), &fired).await;
    let (begun, over) = (alert(2, "begun"), resolved(3, "begun"));
    other.claim(&over, Some(run_of(&begun))).await;
    other
        .tell(run_of(&begun), &over, SignalKind::Resolved)
        .await;
    worker.close(run_of(&begun), &begun).await;

    let router = stage.router().await;
    let decision = decide(&stage, &again).await;
    assert_eq!(
        (decision.action(), decision.run_id, decision.joined_count),
        (DecisionAction::Join, run_of(&fired).to_string(), 1)
    );
    let decision = decide(&stage, &over).await;
    assert_eq!(
        (last_code(&decision), decision.run_id.clone()),
        ("resolved_run", run_of(&begun).to_string())
    );
    assert!(
        stage.work(PAY).await.is_empty(),
        "nothing is looked into twice"
    );
    assert_eq!(
        kinds(&log(&stage, run_of(&fired)).await),
        [SignalKind::Join, SignalKind::Closed]
    );
    router.stop().await;
}

#[tokio::test]
async fn the_end_of_an_alert_reaches_its_run_and_nobody_else() {
    let stage = Stage::with_team().await;
    let router = stage.router().await;
    let first = alert(0, "over");
    decide(&stage, &first).await;
    decide(&stage, &alert(1, "over")).await;
    let decision = decide(&stage, &resolved(2, "over")).await;
    assert_eq!(decision.action(), DecisionAction::Join);
    assert_eq!(last_code(&decision), "resolved_run");
    assert_eq!(decision.run_id, run_of(&first).to_string());
    let told = log(&stage, run_of(&first)).await;
    assert_eq!(kinds(&told), [SignalKind::Join, SignalKind::Resolved]);
    assert_eq!(told[1].joined, 1, "a resolution is no further alert");

    let decision = decide(&stage, &resolved(3, "unheard-of")).await;
    assert_eq!(decision.action(), DecisionAction::Ignore);
    assert_eq!(last_code(&decision), "no_open_run");
    router.stop().await;
}

/// An alert and its end need not be alike in what the team takes together, and it may take nothing together.
#[tokio::test]
async fn the_end_of_an_alert_reaches_its_run_whatever_is_taken_together() {
    let stage = Stage::with_team().await;
    for (number, config) in [
        json!({"storm": {"enabled": false}}),
        json!({"storm": {"providers": ["datadog"]}}),
        json!({"storm": {"fingerprint": ["kind", "title"]}}),
    ]
    .into_iter()
    .enumerate()
    {
        stage.put_team("acme", "pay", config.clone()).await;
        let router = stage.router().await;
        let titled = |number: usize, key: &str| Event {
            title: format!("same {config}"),
            ..alert(number, key)
        };
        let takes_together = config["storm"]["fingerprint"].is_array();
        let number = number * 10;
        let (one, other) = (format!("a{number}"), format!("b{number}"));
        let first = titled(number, &one);
        assert_eq!(decide(&stage, &first).await.action(), DecisionAction::Run);
        let second = titled(number + 1, &other);
        let run = decide(&stage, &second).await.run_id;
        let together = run == run_of(&first).to_string();
        assert_eq!(together, takes_together, "{config}");
        let decision = decide(&stage, &resolved(number + 2, &other)).await;
        assert_eq!(
            (last_code(&decision), decision.run_id.clone()),
            ("resolved_run", run),
            "{config}"
        );
        router.stop().await;
    }
}

#[tokio::test]
async fn a_rule_for_alerts_starts_nothing_when_they_are_over_unless_it_asks_for_that() {
    let stage = Stage::with_team().await;
    let rules = json!([
        {"name": "closes", "when": "kind == 'incident_resolved' and severity == 'critical'", "then": {"agent": "closer"}},
        {"name": "all", "when": "provider == 'pagerduty'", "then": {"agent": "looker"}},
    ]);
    stage
        .put_team("acme", "pay", json!({ "rules": rules }))
        .await;
    let router = stage.router().await;
    let first = alert(0, "ruled");
    assert_eq!(decide(&stage, &first).await.action(), DecisionAction::Run);
    let acknowledged = Event {
        kind: "incident_acknowledged".to_owned(),
        status: EventStatus::Acknowledged.into(),
        ..alert(1, "ruled")
    };
    let decision = decide(&stage, &acknowledged).await;
    assert_eq!(
        (decision.action(), last_code(&decision)),
        (DecisionAction::Ignore, "not_firing")
    );
    let decision = decide(&stage, &resolved(2, "ruled")).await;
    assert_eq!(
        (last_code(&decision), decision.run_id.clone()),
        ("resolved_run", run_of(&first).to_string())
    );
    let decision = decide(&stage, &resolved(3, "unheard-of")).await;
    assert_eq!(
        (decision.action(), last_code(&decision)),
        (DecisionAction::Ignore, "no_open_run")
    );
    assert_eq!(stage.work(PAY).await.len(), 1);

    let mut critical = resolved(4, "ruled");
    critical.set_severity(Severity::Critical);
    let decision = decide(&stage, &critical).await;
    assert_eq!(
        (decision.action(), decision.run_id),
        (DecisionAction::Run, run_of(&critical).to_string())
    );
    let agents: BTreeSet<String> = stage
        .work(PAY)
        .await
        .into_iter()
        .map(|run| run.agent)
        .collect();
    assert_eq!(agents, ["closer".to_owned(), "looker".to_owned()].into());
    assert_eq!(
        kinds(&log(&stage, run_of(&first)).await),
        [SignalKind::Resolved, SignalKind::Resolved]
    );
    router.stop().await;
}

#[tokio::test]
async fn the_end_of_an_alert_that_overtakes_it_reaches_its_run_too() {
    let stage = Stage::with_team().await;
    let (first, over) = (alert(0, "overtaken"), resolved(1, "overtaken"));
    let over = stage.publish(&over).await;
    let fired = stage.publish(&first).await;
    let router = stage.router().await;
    let started = stage.decision(PAY, fired).await;
    assert_eq!(started.action(), DecisionAction::Run);
    let decision = stage.decision(PAY, over).await;
    assert_eq!(
        (last_code(&decision), &decision.run_id),
        ("resolved_run", &started.run_id)
    );
    let told = log(&stage, run_of(&first)).await;
    assert_eq!(kinds(&told), [SignalKind::Resolved]);
    router.stop().await;
}

#[tokio::test]
async fn without_room_for_the_run_nobody_joins_it() {
    let stage = Stage::with_team().await;
    for (subject, runs) in [
        (format!("work.run.default.{PAY}"), limits::TEAM_WINDOW),
        (
            format!("backlog.run.default.{PAY}.p3"),
            limits::TEAM_BACKLOG,
        ),
    ] {
        fill(&stage, &subject, usize::try_from(runs).expect("fits")).await;
    }
    let router = stage.router().await;
    let alerts: Vec<Event> = (0..5).map(|number| alert(number, "full")).collect();
    join_all(alerts.iter().map(|event| stage.publish(event))).await;
    let decisions = stage.decisions_reach(PAY, alerts.len()).await;
    assert_eq!(count(&decisions, DecisionAction::QueueFull), alerts.len());
    eventually("an empty bucket", LIMIT, || async {
        let entry = stage.eye.bucket("open").get(&open_key("full")).await;
        entry.is_ok_and(|entry| entry.is_none())
    })
    .await;
    router.stop().await;
}
