//! Events once more: what a command may touch, what it starts, and that it starts it once.

use serde_json::{Value, json};
use tocsin_bus::{AskError, Outgoing};
use tocsin_testkit::bus::clock;
use tocsin_testkit::eventually;
use tocsin_wire::ids::{EventId, MessageId, RequestId, RunId};
use tocsin_wire::proto::command::What;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{
    Command, Decision, DecisionAction, Envelope, Event, ReplayFilter, ReplayRequest, ReplayResult,
    ReplayTarget, StoredEvent,
};
use tocsin_wire::{OrgId, Service, Subject, TeamId, replay, time};

use crate::stage::{LIMIT, PAY, Stage, UNROUTED, incident, last_code, said};

const ALL: &str = "all.all";

/// A request of its own for each `name`.
fn request(name: &str, events: &[(EventId, u64)], target: ReplayTarget) -> ReplayRequest {
    ReplayRequest {
        request_id: EventId::derive(name).to_string(),
        events: events
            .iter()
            .map(|(id, stream_sequence)| StoredEvent {
                event_id: id.to_string(),
                stream_sequence: *stream_sequence,
                stream: String::new(),
            })
            .collect(),
        filter: None,
        target: target.into(),
        reason: "the team was missing".to_owned(),
        requested_by: "ann".to_owned(),
    }
}

fn since(seconds: i64) -> Option<ReplayFilter> {
    let at = clock()().as_second() - seconds;
    let at = jiff::Timestamp::from_second(at).expect("a time");
    Some(ReplayFilter {
        since: Some(time::to_proto(at)),
        ..ReplayFilter::default()
    })
}

fn request_id(request: &ReplayRequest) -> RequestId {
    request.request_id.parse().expect("a UUID")
}

/// Sends it, under a message id of its own: the broker sees no repeat.
async fn command(stage: &Stage, scope: &str, number: u32, request: &ReplayRequest) {
    let (org, team) = scope.split_once('.').expect("org.team");
    let (org, team) = (
        OrgId::new(org).expect("org"),
        TeamId::new(team).expect("team"),
    );
    let subject = replay::subject(org, team).expect("subject");
    let body = Body::Command(Command {
        what: Some(What::Replay(request.clone())),
    });
    let id = MessageId::key_value("test", &request.request_id, &number.to_string());
    let correlation = EventId::from(request_id(request).as_uuid());
    let envelope = Envelope::new(id, Service::Operator, clock()(), correlation, None, body);
    let sent = stage.eye.publish(Outgoing::new(subject, envelope)).await;
    sent.expect("published");
}

/// What came of the last of `number` commands of this scope.
async fn result(stage: &Stage, scope: &str, number: usize) -> ReplayResult {
    let subject: Subject = format!("results.router.replay.{scope}")
        .parse()
        .expect("subject");
    eventually("the result of a replay", LIMIT, || async {
        let told = stage
            .eye
            .replay(&subject)
            .await
            .map_err(|error| error.to_string())?;
        let last = told
            .get(number - 1)
            .and_then(|last| last.envelope.body.clone());
        match last {
            Some(Body::ReplayResult(result)) => Ok(result),
            _ => Err(format!("{} of {number}", told.len())),
        }
    })
    .await
}

/// The decision that a request led to.
async fn replayed(stage: &Stage, owner: &str, event: EventId, request: &ReplayRequest) -> Decision {
    let event = event.to_string();
    eventually("a replayed decision", LIMIT, || async {
        let decisions = stage.decisions(owner).into_iter();
        decisions.into_iter().find(|decision| {
            let cause = decision.replay.as_ref();
            let is_ours = cause.is_some_and(|cause| cause.request_id == request.request_id);
            is_ours && decision.event_id == event
        })
    })
    .await
}

#[tokio::test]
async fn what_had_no_team_runs_once_when_it_is_replayed_twice() {
    let stage = Stage::start().await;
    let router = stage.router().await;
    let event = stage
        .publish(&said("app_mention", "C1", "1.1", "Ev1"))
        .await;
    assert_eq!(
        stage.decision(UNROUTED, event).await.action(),
        DecisionAction::NoRoute
    );
    stage
        .put_team("acme", "pay", json!({"entrance_agent": "triage"}))
        .await;
    stage.put_team("acme", "shop", json!({})).await;
    stage.claim("slack_channel_id", "C1", &[PAY]).await;
    let question = json!({"identifiers": {"slack_channel_id": "C1"}});
    stage
        .explained(question.clone(), "found", json!(true))
        .await;

    let asked = request("once", &[(event, 1)], ReplayTarget::Work);
    command(&stage, ALL, 1, &asked).await;
    let decision = replayed(&stage, PAY, event, &asked).await;
    assert_eq!(decision.action(), DecisionAction::Run);
    assert_eq!(decision.agent, "triage");
    assert_eq!(decision.reasons[0].code, "replayed");
    let why = &decision.reasons[0].detail;
    assert_eq!(
        why,
        "ann asked to have it handled once more, to work: the team was missing"
    );
    let expected = RunId::replay(event, request_id(&asked)).to_string();
    assert_eq!(decision.run_id, expected);
    let told = result(&stage, ALL, 1).await;
    assert_eq!((told.decided, told.runs, told.more), (1, 1, false));

    // The command once more, when routing says something else: what was settled stays.
    stage.claim("slack_channel_id", "C1", &["acme.shop"]).await;
    let moved = json!({"org": "acme", "team": "shop"});
    stage.explained(question, "owner", moved).await;
    command(&stage, ALL, 2, &asked).await;
    // The broker drops the repeats of what it has; a command of another name waits behind it.
    let other = request("other", &[(event, 1)], ReplayTarget::Work);
    command(&stage, ALL, 1, &other).await;
    let again = replayed(&stage, "acme.shop", event, &other).await;
    assert_ne!(again.run_id, expected, "another request, another run");
    let runs: Vec<String> = stage
        .work(PAY)
        .await
        .into_iter()
        .map(|run| run.run_id)
        .collect();
    assert_eq!(runs, [expected]);
    eventually("no command left", LIMIT, || async {
        let shop = stage.work("acme.shop").await.len();
        (shop == 1).then_some(()).ok_or(shop)
    })
    .await;
    router.stop().await;
}

#[tokio::test]
async fn a_range_is_replayed_within_its_scope_and_a_thing_told_twice_runs_once() {
    let stage = Stage::with_team().await;
    stage.put_team("globex", "web", json!({})).await;
    stage
        .claim("pagerduty_service_id", "P2", &["globex.web"])
        .await;
    let router = stage.router().await;
    let mut events = Vec::new();
    for kind in ["app_mention", "message"] {
        let told = said(kind, "C1", "1.1", &format!("Ev{kind}"));
        events.push(stage.publish(&told).await);
    }
    events.push(stage.publish(&incident(1, "P1")).await);
    let foreign = stage.publish(&incident(2, "P2")).await;
    stage.decisions_reach(PAY, 3).await;
    stage.decision("globex.web", foreign).await;

    let mut asked = request("range", &[], ReplayTarget::Work);
    asked.filter = since(3_600);
    command(&stage, "acme.all", 1, &asked).await;
    let told = result(&stage, "acme.all", 1).await;
    assert_eq!((told.decided, told.runs, told.out_of_scope), (3, 2, 1));
    let twice = replayed(&stage, PAY, events[1], &asked).await;
    assert_eq!(twice.action(), DecisionAction::Duplicate);
    assert_eq!(twice.duplicate_of, events[0].to_string());
    assert_eq!(stage.work(PAY).await.len(), 4, "two before, two again");
    assert_eq!(stage.work("globex.web").await.len(), 1, "never touched");

    // By kind, the oldest one only.
    let mut few = request("few", &[], ReplayTarget::Work);
    few.filter = since(3_600);
    let filter = few.filter.as_mut().expect("filter");
    filter.provider = "slack".to_owned();
    filter.max_events = 1;
    command(&stage, ALL, 1, &few).await;
    let told = result(&stage, ALL, 1).await;
    assert_eq!((told.decided, told.more), (1, true));
    let first = replayed(&stage, PAY, events[0], &few).await;
    assert_eq!(first.action(), DecisionAction::Run);
    router.stop().await;
}

#[tokio::test]
async fn a_sandbox_run_knows_whom_to_be_compared_with() {
    let stage = Stage::with_team().await;
    let router = stage.router().await;
    let event = stage.publish(&incident(1, "P1")).await;
    let first = stage.decision(PAY, event).await.run_id;
    let asked = request("sandbox", &[(event, 1)], ReplayTarget::Sandbox);
    command(&stage, PAY, 1, &asked).await;
    let decision = replayed(&stage, PAY, event, &asked).await;
    let work = stage.work(PAY).await;
    let run = work
        .iter()
        .find(|run| run.run_id == decision.run_id)
        .expect("in the window");
    assert!(run.sandbox && !work[0].sandbox);
    let original = run.original.as_ref().expect("the first run");
    assert_eq!((&original.run_id, original.team.as_str()), (&first, "pay"));
    assert_eq!(run.replay.as_ref().expect("why").requested_by, "ann");

    // When it has moved to another organisation, that one learns nothing of the first run.
    stage.put_team("globex", "web", json!({})).await;
    stage
        .claim("pagerduty_service_id", "P1", &["globex.web"])
        .await;
    let question = json!({"identifiers": {"pagerduty_service_id": "P1"}});
    let owner = json!({"org": "globex", "team": "web"});
    stage.explained(question, "owner", owner).await;
    let asked = request("moved", &[(event, 1)], ReplayTarget::Sandbox);
    command(&stage, ALL, 1, &asked).await;
    replayed(&stage, "globex.web", event, &asked).await;
    let run = stage.work("globex.web").await.remove(0);
    assert!(run.sandbox && run.original.is_none());
    router.stop().await;
}

#[tokio::test]
async fn an_event_that_joined_a_run_is_compared_with_that_run() {
    let stage = Stage::with_team().await;
    let router = stage.router().await;
    let alerts = [1, 2].map(|number| Event {
        correlation_key: "pagerduty:shared:one".to_owned(),
        ..incident(number, "P1")
    });
    let mut last = None;
    for event in &alerts {
        let id = stage.publish(event).await;
        last = Some((id, stage.decision(PAY, id).await));
    }
    let (event, decision) = last.expect("two");
    assert_eq!(decision.action(), DecisionAction::Join);
    let asked = request("joined", &[(event, 2)], ReplayTarget::Sandbox);
    command(&stage, PAY, 1, &asked).await;
    replayed(&stage, PAY, event, &asked).await;
    let work = stage.work(PAY).await;
    let run = work.iter().find(|run| run.sandbox).expect("in the window");
    let original = run.original.as_ref().expect("the run that it joined");
    assert_eq!(original.run_id, decision.run_id);
    router.stop().await;
}

#[tokio::test]
async fn a_plan_says_what_would_happen_and_does_nothing() {
    let stage = Stage::with_team().await;
    let router = stage.router().await;
    let event = stage.publish(&incident(1, "P1")).await;
    let nobodys = stage.publish(&incident(2, "P404")).await;
    let lost = EventId::derive("lost");
    stage.decision(PAY, event).await;
    stage.decision(UNROUTED, nobodys).await;
    let ask = |question: Value| {
        let stage = &stage;
        async move {
            stage
                .eye
                .ask(Service::Router, "replay_plan", &question)
                .await
        }
    };
    let named = |id: EventId, sequence: u64| json!({"event_id": id.to_string(), "stream_sequence": sequence});
    let question = json!({"events": [named(event, 1), named(nobodys, 2), named(lost, 1)]});
    let plan = ask(question).await.expect("a plan");
    assert_eq!(
        plan["teams"],
        json!([{"org": "acme", "team": "pay", "agent": "planner", "runs": 1}])
    );
    assert_eq!(
        (&plan["runs"], &plan["missing"]),
        (&json!(1), &json!([lost.to_string()]))
    );
    let actions: Vec<&Value> = plan["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| &event["action"])
        .collect();
    assert_eq!(actions, [&json!("run"), &json!("no_route")]);
    // Without its sequence it is found by time.
    let since = clock()().as_second() - 3_600;
    let since = jiff::Timestamp::from_second(since)
        .expect("a time")
        .to_string();
    let question =
        json!({"events": [named(nobodys, 0)], "since": since, "org": "unrouted", "team": "all"});
    let plan = ask(question).await.expect("a plan");
    assert_eq!(plan["events"][0]["event_id"], nobodys.to_string());
    assert_eq!(plan["events"][0]["stream_sequence"], 2);
    match ask(json!({"target": "sandbox"})).await {
        Err(AskError::Refused {
            code: 400, detail, ..
        }) => {
            assert!(detail.contains("a time from which"), "{detail}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(stage.work(PAY).await.len(), 1, "nothing was started");
    router.stop().await;
}

/// Others' events do not use up the limit, and what a rate limit held back is found as well.
#[tokio::test]
async fn a_teams_events_are_found_among_those_of_others_and_those_that_were_held_back() {
    let stage = Stage::with_team().await;
    let router = stage.router().await;
    for number in 0..3 {
        stage.publish(&incident(number, "P404")).await;
    }
    let held_back = stage.publish_due(&incident(3, "P1")).await;
    stage.decision(PAY, held_back).await;
    let event = stage.publish(&incident(4, "P1")).await;
    stage.decision(PAY, event).await;
    let plan = async |question: Value| {
        let answer = stage.eye.ask(Service::Router, "replay_plan", &question);
        answer.await.expect("a plan")
    };
    let since = jiff::Timestamp::from_second(clock()().as_second() - 3_600).expect("a time");
    let all = plan(json!({"since": since, "org": "acme", "team": "pay", "max_events": 2})).await;
    let found: Vec<(&Value, &Value, &Value)> = all["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| {
            (
                &event["event_id"],
                &event["stream"],
                &event["stream_sequence"],
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (&json!(held_back.to_string()), &json!("DEFERRED"), &json!(1)),
            (&json!(event.to_string()), &json!("EVENTS"), &json!(4)),
        ]
    );
    assert_eq!(
        (&all["out_of_scope"], &all["more"], &all["missing"]),
        (&json!(3), &json!(false), &json!([]))
    );
    let one = plan(json!({"since": since, "org": "acme", "team": "pay", "max_events": 1})).await;
    assert_eq!(
        (&one["events"][0]["event_id"], &one["more"]),
        (&json!(held_back.to_string()), &json!(true))
    );
    let named =
        json!({"event_id": held_back.to_string(), "stream": "DEFERRED", "stream_sequence": 1});
    let named = plan(json!({ "events": [named] })).await;
    assert_eq!(named["events"][0]["event_id"], held_back.to_string());
    router.stop().await;
}

#[tokio::test]
async fn what_cannot_be_done_lies_with_the_dead_letters_and_says_why() {
    let stage = Stage::with_team().await;
    let router = stage.router().await;
    let mut nobody = request("bad", &[], ReplayTarget::Work);
    nobody.requested_by.clear();
    command(&stage, ALL, 1, &nobody).await;
    let dead: Subject = "dead.COMMANDS.router".parse().expect("subject");
    let letter = eventually("a dead letter", LIMIT, || async {
        let letters = stage.eye.replay(&dead).await.ok()?;
        letters
            .into_iter()
            .next()
            .and_then(|letter| letter.envelope.body)
    })
    .await;
    let Body::DeadLetter(letter) = letter else {
        panic!("{letter:?}");
    };
    assert!(
        letter.reason.contains("requested_by is empty"),
        "{}",
        letter.reason
    );
    let event = stage.publish(&incident(1, "P1")).await;
    assert_ne!(last_code(&stage.decision(PAY, event).await), "replayed");
    router.stop().await;
}
