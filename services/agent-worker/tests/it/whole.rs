//! The service as it runs: from a message in WORK to the message in Slack.

use std::ffi::OsString;

use tocsin_agent_worker::Settings;
use tocsin_bus::Outgoing;
use tocsin_kit::{Context, settings};
use tocsin_testkit::eventually;
use tocsin_wire::ids::MessageId;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Envelope, Notice, TeamRecord};
use tocsin_wire::{Pool, Priority, Service, Subject, limits};

use crate::harness::{LIMIT, World, channel, envelope, tenant, work};

pub(crate) fn settings_of(world: &World) -> Settings {
    let (slack, model) = (world.slack.api_url(), world.model.base_url());
    let prometheus = world.prometheus.url();
    let flags = [
        "--signing-key-file",
        "x",
        "--signing-root-file",
        "x",
        "--worker-name",
        "worker-1",
        "--openai-api-key",
        "sk-test",
        "--openai-base-url",
        &model,
        "--slack-bot-token",
        "xoxb-test",
        "--slack-api-url",
        &slack,
        "--slack-post-interval",
        "0s",
        "--slack-update-interval",
        "20ms",
        "--prometheus-url",
        &prometheus,
    ];
    let flags = flags.iter().map(OsString::from);
    let mut parsed: Settings = settings::parse_service("agent-worker", flags).expect("settings");
    parsed.bus = world.test.settings();
    parsed
}

fn subject(backlog: bool) -> Subject {
    let ((org, team), pool) = (tenant(), Pool::shared());
    if backlog {
        Subject::BacklogRun {
            pool,
            org,
            team,
            priority: Priority::Normal,
        }
    } else {
        Subject::WorkRun { pool, org, team }
    }
}

#[tokio::test]
async fn runs_flow_from_work_and_backlog_to_slack_and_follow_the_data() {
    let world = World::start().await;
    let router = world.test.connect(Service::Router).await.expect("router");
    let context = Context::for_test("agent-worker").expect("context");
    let stop = context.stop.clone();
    context.start("agent-worker", |context| {
        tocsin_agent_worker::run(settings_of(&world), context)
    });

    // More than one team's window: the rest waits in the backlog and is moved.
    let window = usize::try_from(limits::TEAM_WINDOW).expect("small");
    let names: Vec<String> = (0..window + 5)
        .map(|number| format!("run{number}"))
        .collect();
    for (number, name) in names.iter().enumerate() {
        let subject = subject(number >= window);
        let published = router
            .publish(Outgoing::new(subject, envelope(&work(name))))
            .await;
        published.expect("published");
    }
    for name in &names {
        let channel = channel(name);
        let message = world
            .slack
            .wait_for_message(&channel, |message| message.shows("pool of payments"), LIMIT)
            .await;
        message.expect("a root cause");
        world.only_message(name);
    }

    // Other data, another root cause: an investigation, not a recording.
    world
        .prometheus
        .set_cause("bad-deploy")
        .expect("a cause of the scenario");
    let published = router
        .publish(Outgoing::new(subject(false), envelope(&work("later"))))
        .await;
    published.expect("published");
    let message = world
        .slack
        .wait_for_message("CLATER", |message| message.shows("Bad deploy"), LIMIT)
        .await;
    message.expect("another root cause");

    // A notice is only posted.
    let requests = world.model.request_count();
    let mut notice = work("notice");
    notice.request.notice = Some(Notice {
        code: "queue_full".to_owned(),
        text: "The queue is full, <!here>.".to_owned(),
        ..Notice::default()
    });
    let published = router
        .publish(Outgoing::new(subject(false), envelope(&notice)))
        .await;
    published.expect("published");
    let message = world
        .slack
        .wait_for_message("CNOTICE", |_| true, LIMIT)
        .await
        .expect("notice");
    assert_eq!(message.shown(), "The queue is full, &lt;!here>.");
    assert_eq!(world.model.request_count(), requests);
    eventually("the notice's run finished", LIMIT, || async {
        world.state(&notice).await.finished.is_some()
    })
    .await;

    stop.trigger_soft();
    context.tasks.wait(LIMIT).await.expect("stops");
}

#[tokio::test]
async fn a_teams_config_is_used() {
    let world = World::start().await;
    let config = world.test.connect(Service::Config).await.expect("config");
    let (org, team) = tenant();
    let effective = serde_json::json!({"agents": {"planner": {
        "prompt": {"system": "You are Ada."}, "model": {"name": "special"},
        "tools": {"read_event": true}, "max_turns": 3}}});
    let record = TeamRecord {
        org: org.to_string(),
        team: team.to_string(),
        version: "v7".to_owned(),
        effective_config: effective.to_string().into_bytes().into(),
        ..TeamRecord::default()
    };
    let sample = work("configured");
    let value = Envelope::new(
        MessageId::key_value("teams", "acme.pay", "v7"),
        Service::Config,
        sample.stored_at,
        sample.request.event_id.parse().expect("event id"),
        None,
        Body::TeamRecord(record),
    );
    config
        .bucket("teams")
        .put("acme.pay", &value)
        .await
        .expect("written");

    let router = world.test.connect(Service::Router).await.expect("router");
    let context = Context::for_test("agent-worker").expect("context");
    context.start("agent-worker", |context| {
        tocsin_agent_worker::run(settings_of(&world), context)
    });
    router
        .publish(Outgoing::new(subject(false), envelope(&sample)))
        .await
        .expect("published");
    eventually("the run finished", LIMIT, || async {
        world.state(&sample).await.finished.is_some()
    })
    .await;
    let requests = world.model.requests();
    let first = &requests.first().expect("a request").body;
    assert_eq!(first["model"], "special");
    let system = first["messages"][0]["content"].as_str().expect("text");
    assert!(system.starts_with("You are Ada."), "{system}");
    let tools: Vec<&str> = first["tools"]
        .as_array()
        .expect("tools")
        .iter()
        .filter_map(|tool| tool["function"]["name"].as_str())
        .collect();
    assert_eq!(tools, ["read_event"]);
    context.stop.trigger_soft();
    context.tasks.wait(LIMIT).await.expect("stops");
}
