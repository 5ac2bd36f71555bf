//! Slack over Socket Mode: stored before it is acknowledged, once, and without a gap.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use tocsin_ingress::{Error, Settings};
use tocsin_testkit::standins::Slack;
use tocsin_testkit::standins::slack::{self, Acknowledgement};
use tocsin_testkit::{TestBus, eventually};
use tocsin_wire::proto::Event;

use crate::stage::{Ingress, LIMIT, SECRET, Stored, event, fixture, settings};

const TOKEN: &str = "xapp-1-A0STANDIN-1-abcdef";
const CHECK: &str = "slack_socket";

async fn slack() -> Slack {
    let settings = slack::Settings {
        app_token: Some(TOKEN.to_owned()),
        ..slack::Settings::default()
    };
    Slack::start_with(settings).await.expect("a Slack")
}

fn settings_for(bus: &TestBus, slack: &Slack, tokens: &str) -> Settings {
    let mut settings = settings(bus.settings());
    settings.slack_app_token = tokens.parse().expect("a list");
    settings.slack_api_url = slack.api_url();
    settings
}

/// Started, and connected to both.
async fn connected(bus: &TestBus, slack: &Slack) -> Ingress {
    let ingress = Ingress::start_with(settings_for(bus, slack, TOKEN)).await;
    eventually("ingress is connected to Slack", LIMIT, || async {
        reason(&ingress).is_none()
    })
    .await;
    ingress
}

/// Why there is no connection to Slack.
fn reason(ingress: &Ingress) -> Option<String> {
    let checks = ingress.context.health.snapshot().checks;
    let Some(check) = checks.get(CHECK) else {
        return Some("not registered yet".to_owned());
    };
    assert!(check.optional, "it must not take the HTTP endpoints down");
    check.reason.clone()
}

/// Waits for the acknowledgement of each of these.
async fn acknowledged(slack: &Slack, deliveries: &[u64]) -> Vec<Acknowledgement> {
    let found = slack.wait_until(LIMIT, |slack| {
        let all = slack.acknowledged();
        let of = |number: &u64| all.iter().find(|one| one.delivery == *number).cloned();
        deliveries.iter().map(of).collect::<Option<Vec<_>>>()
    });
    found.await.expect("acknowledged in time")
}

/// An event that differs from others by its number.
fn numbered(number: usize) -> String {
    let event = json!({
        "type": "event_callback", "event_id": format!("Ev{number}"), "team_id": "T1", "api_app_id": "A1",
        "event": {"type": "app_mention", "channel": "C1", "user": "U1", "text": "hm", "ts": format!("{number}.1")},
    });
    event.to_string()
}

fn text(name: &str) -> String {
    String::from_utf8(fixture(name)).expect("text")
}

/// A command's form as the payload of an envelope.
fn command_payload(form: &[u8]) -> String {
    let fields = form_fields(form).into_iter();
    let fields: Map<String, Value> = fields.map(|(name, value)| (name, value.into())).collect();
    Value::Object(fields).to_string()
}

fn form_fields(form: &[u8]) -> BTreeMap<String, String> {
    let url = format!("http://x/?{}", std::str::from_utf8(form).expect("text"));
    let url = reqwest::Url::parse(&url).expect("a form");
    url.query_pairs().into_owned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_by_both_ways_is_one_event() {
    let bus = TestBus::start().await.expect("a bus");
    let (slack, stored) = (slack().await, Stored::follow(&bus).await);
    let ingress = connected(&bus, &slack).await;
    let mention = text("slack/app_mention.json");
    let pressed = fixture("slack/block_actions_message.form");
    let asked = fixture("slack/slash_command_official_vector.form");
    let payload = form_fields(&pressed)["payload"].clone();
    let deliveries = [
        slack.push("events_api", &mention),
        slack.push("interactive", &payload),
        slack.push("slash_commands", &command_payload(&asked)),
    ];
    for acknowledgement in acknowledged(&slack, &deliveries).await {
        assert_eq!(acknowledgement.attempt, 0);
        assert_eq!(acknowledgement.payload, None);
    }
    for (path, body) in [
        ("events", mention.as_bytes()),
        ("interactions", &pressed),
        ("commands", &asked),
    ] {
        let path = format!("/webhooks/slack/{path}");
        let sent = ingress.signed(&path, SECRET, body).send().await;
        assert_eq!(sent.expect("an answer").status(), 200, "{path}");
    }
    // What comes after them shows that nothing came between.
    let last = numbered(0);
    let sent = ingress.signed("/webhooks/slack/events", SECRET, last.as_bytes());
    assert_eq!(sent.send().await.expect("an answer").status(), 200);
    let events = stored.wait_for(4).await;
    assert_eq!(events.len(), 4);
    for (_, envelope) in &events[..3] {
        let event = event(envelope);
        assert_eq!(event.secret_id, "socket_mode", "{}", event.kind);
        assert_eq!(event.source_id, "shared");
        assert!(event.headers.is_empty(), "nothing in it is signed");
        assert!(!event.identifiers.is_empty(), "{}", event.kind);
    }
    let kinds: BTreeSet<_> = events
        .iter()
        .map(|(_, of)| event(of).kind.clone())
        .collect();
    assert!(
        kinds.contains("slash_command") && kinds.contains("block_actions"),
        "{kinds:?}"
    );
    assert_eq!(event(&events[3].1).secret_id, "", "it was signed");
    let of_kind = |kind: &str| -> Event {
        let found = events
            .iter()
            .find(|(_, envelope)| event(envelope).kind == kind);
        event(&found.expect("stored").1).clone()
    };
    assert_eq!(of_kind("app_mention").raw_body, mention.as_bytes());
    let kept = of_kind("block_actions");
    assert_eq!(form_fields(&kept.raw_body)["payload"], payload);
    assert_eq!(kept.content_type, "application/x-www-form-urlencoded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_while_the_bus_is_away() {
    let mut bus = TestBus::start().await.expect("a bus");
    let slack = slack().await;
    let ingress = connected(&bus, &slack).await;
    bus.server.kill().await.expect("killed");
    eventually("ingress is not ready", LIMIT, || async {
        !ingress.is_ready()
    })
    .await;
    let waiting = slack.push("events_api", &numbered(1));
    // What can never be taken is acknowledged without the bus, and so shows that the first was read.
    let huge = json!({"event_id": "Ev2", "text": "x".repeat(2 << 20)}).to_string();
    let refused = slack.push("events_api", &huge);
    acknowledged(&slack, &[refused]).await;
    assert_eq!(slack.acknowledged().len(), 1);
    assert_eq!(reason(&ingress), None, "Slack is not away");

    bus.server.restart().await.expect("restarted");
    eventually("it is taken when it comes again", LIMIT, || async {
        slack.resend();
        let taken = slack.acknowledged();
        taken
            .iter()
            .any(|one| one.delivery == waiting && one.attempt > 0)
    })
    .await;
    let stored = Stored::follow(&bus).await;
    // Once more over HTTP: still the one event.
    let again = ingress.signed("/webhooks/slack/events", SECRET, numbered(1).as_bytes());
    assert_eq!(again.send().await.expect("an answer").status(), 200);
    let last = slack.push("events_api", &numbered(3));
    acknowledged(&slack, &[last]).await;
    let events = stored.wait_for(2).await;
    let ids: Vec<_> = events
        .iter()
        .map(|(_, of)| event(of).delivery_id.clone())
        .collect();
    assert_eq!(ids, ["Ev1", "Ev3"]);
    let first = event(&events[0].1);
    assert!(first.attempt > 0);
    assert_eq!(first.attempt_reason, "timeout");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_loses_nothing() {
    let bus = TestBus::start().await.expect("a bus");
    let (slack, stored) = (slack().await, Stored::follow(&bus).await);
    let ingress = connected(&bus, &slack).await;
    assert_eq!(slack.connections(), [1]);
    slack.warn_connections("warning");
    let during = slack.push("events_api", &numbered(1));
    let second = slack.wait_until(LIMIT, |slack| (slack.connections() == [1, 2]).then_some(()));
    second
        .await
        .expect("another is opened while the first is read");
    let on_second = slack.push("events_api", &numbered(2));
    let taken = acknowledged(&slack, &[during, on_second]).await;
    assert_eq!((taken[0].attempt, taken[1].attempt), (0, 0));
    assert_eq!(taken[1].connection, 2);
    // What Slack still sends over the first is taken there.
    let late = slack.push_over(1, "events_api", &numbered(3));
    let taken = acknowledged(&slack, &[late]).await;
    assert_eq!((taken[0].connection, taken[0].attempt), (1, 0));
    slack.end_warned();
    let alone = slack.wait_until(LIMIT, |slack| (slack.connections() == [2]).then_some(()));
    alone.await.expect("the first is gone");
    let after = slack.push("events_api", &numbered(4));
    let taken = acknowledged(&slack, &[after]).await;
    assert_eq!((taken[0].connection, taken[0].attempt), (2, 0));
    assert_eq!(stored.wait_for(4).await.len(), 4);

    // One that ends without a word is replaced too, and what it left comes again.
    slack.end_connections();
    let unlucky = slack.push("events_api", &numbered(5));
    acknowledged(&slack, &[unlucky]).await;
    eventually("the check is ready again", LIMIT, || async {
        reason(&ingress).is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_frames_harm_nothing() {
    let bus = TestBus::start().await.expect("a bus");
    let (slack, stored) = (slack().await, Stored::follow(&bus).await);
    let _ingress = connected(&bus, &slack).await;
    for odd in ["", "nonsense", "[]", r#"{"type":"events_api"}"#] {
        slack.push_raw(odd);
    }
    let _unknown = slack.push("some_new_type", "{}");
    let suggestion = json!({"type": "block_suggestion", "value": "che", "trigger_id": "7.7"});
    let menu = slack.push("interactive", &suggestion.to_string());
    let unreadable = slack.push("slash_commands", "[]");
    let good = slack.push("events_api", &numbered(1));
    let all = acknowledged(&slack, &[menu, unreadable, good]).await;
    assert_eq!(all[0].payload, Some(json!({"options": []})));
    assert!(
        all.iter()
            .all(|one| one.connection == 1 && one.attempt == 0)
    );
    let numbers: BTreeSet<_> = slack
        .acknowledged()
        .iter()
        .map(|one| one.delivery)
        .collect();
    assert_eq!(numbers, BTreeSet::from([menu, unreadable, good]));
    let events = stored.wait_for(2).await;
    let kinds: BTreeSet<_> = events
        .iter()
        .map(|(_, of)| event(of).kind.clone())
        .collect();
    assert_eq!(kinds.len(), 2);
}

/// What was read when the stop came is stored and acknowledged; the rest is neither, and Slack has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_acknowledges_what_was_stored_and_leaves_the_rest() {
    const EVENTS: usize = 1000;
    let bus = TestBus::start().await.expect("a bus");
    let (slack, stored) = (slack().await, Stored::follow(&bus).await);
    let ingress = connected(&bus, &slack).await;
    let deliveries: BTreeMap<u64, String> = (0..EVENTS)
        .map(|number| {
            (
                slack.push("events_api", &numbered(number)),
                format!("Ev{number}"),
            )
        })
        .collect();
    let begun = slack.wait_until(LIMIT, |slack| {
        (!slack.acknowledged().is_empty()).then_some(())
    });
    begun.await.expect("it begins");
    ingress.context.stop.trigger_soft();
    ingress.context.tasks.wait(LIMIT).await.expect("in time");
    ingress.running.await.expect("ended").expect("cleanly");
    let gone = slack.wait_until(LIMIT, |slack| slack.connections().is_empty().then_some(()));
    gone.await.expect("the connection is closed");
    let sent: BTreeSet<_> = slack
        .acknowledged()
        .iter()
        .map(|one| one.delivery)
        .collect();
    let sent: BTreeSet<_> = sent
        .iter()
        .map(|number| deliveries[number].clone())
        .collect();
    assert!(sent.len() < EVENTS, "the stop came in the middle");

    // What comes after shows that nothing else was stored.
    let other = Ingress::start(&bus).await;
    let last = numbered(EVENTS);
    let posted = other.signed("/webhooks/slack/events", SECRET, last.as_bytes());
    assert_eq!(posted.send().await.expect("an answer").status(), 200);
    let before = stored.wait_for(sent.len() + 1).await.into_iter();
    let mut before: BTreeSet<_> = before
        .map(|(_, of)| event(&of).delivery_id.clone())
        .collect();
    assert!(
        before.remove(&format!("Ev{EVENTS}")),
        "the last one is there"
    );
    assert_eq!(before, sent);

    // The next one takes what was left, and nothing twice.
    let _next = connected(&bus, &slack).await;
    let numbers: Vec<u64> = deliveries.keys().copied().collect();
    acknowledged(&slack, &numbers).await;
    assert_eq!(stored.wait_for(EVENTS + 1).await.len(), EVENTS + 1);
    let again = slack
        .acknowledged()
        .into_iter()
        .filter(|one| one.attempt > 0);
    assert_eq!(again.count() + sent.len(), EVENTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_is_told_and_the_http_endpoints_go_on() {
    let bus = TestBus::start().await.expect("a bus");
    let slack = slack().await;
    let secret = "xapp-2-revoked";
    let ingress = Ingress::start_with(settings_for(&bus, &slack, secret)).await;
    let told = eventually("the check tells", LIMIT, || async {
        reason(&ingress)
            .filter(|reason| reason.contains("invalid_auth"))
            .ok_or("not yet")
    })
    .await;
    assert!(
        told.contains("SLACK_APP_TOKEN") && told.contains("connections:write"),
        "{told}"
    );
    assert!(!told.contains(secret), "{told}");
    let is_ready = || async { ingress.context.health.snapshot().ready };
    eventually("ingress is ready without Slack", LIMIT, is_ready).await;
    let body = numbered(1);
    let sent = ingress.signed("/webhooks/slack/events", SECRET, body.as_bytes());
    assert_eq!(sent.send().await.expect("an answer").status(), 200);
    let calls = slack.calls();
    assert_eq!(calls.len(), 1, "it does not try again soon");
    assert_eq!(calls[0].method, "apps.connections.open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_another_kind_ends_the_start() {
    let bus = TestBus::start().await.expect("a bus");
    let slack = slack().await;
    let tokens = format!("{TOKEN},xoxb-secret");
    let ingress = Ingress::start_with(settings_for(&bus, &slack, &tokens)).await;
    let ended = ingress.running.await.expect("ended");
    let error = ended.expect_err("refused");
    assert!(
        matches!(error, Error::SlackAppToken { position: 2 }),
        "{error}"
    );
    assert!(!format!("{error} {error:?}").contains("xoxb-secret"));
}
