//! What several tests do.

use std::time::Duration;

use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tocsin_testkit::eventually;
use tocsin_testkit::standins::pagerduty::{self, Incident};
use tocsin_testkit::standins::slack::Message;
use tocsin_tests::chaos::is_final;
use tocsin_tests::{Options, Stack, Team};
use tocsin_wire::ids::EventId;

/// A run of the scripted model takes well under a second; a loaded machine needs patience.
pub(crate) const RUN_LIMIT: Duration = Duration::from_secs(20);

/// Work continues within this time, whatever was killed.
pub(crate) const RECOVERY: Duration = Duration::from_secs(5);

pub(crate) async fn stack(name: &str, teams: usize) -> (Stack, Vec<Team>) {
    stack_with(
        Options {
            name: name.to_owned(),
            ..Options::default()
        },
        teams,
    )
    .await
}

pub(crate) async fn stack_with(options: Options, teams: usize) -> (Stack, Vec<Team>) {
    let stack = Stack::start(options).await.expect("everything starts");
    let teams = stack.seed_teams(teams).await.expect("teams");
    (stack, teams)
}

/// An incident of the demonstration's scenario, for this team.
pub(crate) fn checkout_alert(team: &Team) -> Incident {
    let title = "checkout-api: 5xx error rate above 5 %";
    Incident::new(&team.pagerduty_service, "checkout-api", title)
}

/// An incident that the model has nothing to look up for.
pub(crate) fn any_alert(team: &Team, title: &str) -> Incident {
    Incident::new(&team.pagerduty_service, &team.name, title)
}

/// Sends once; ingress must take it. Returns the event's id.
pub(crate) async fn accepted(stack: &Stack, incident: &Incident) -> EventId {
    let secret = &stack.secrets.pagerduty;
    let status = pagerduty::deliver(&stack.ingress_url(), secret, incident).await;
    let status = status.expect("ingress answers");
    assert!(
        status.is_success(),
        "{status}; logs are in {}",
        stack.logs().display()
    );
    event_id(incident)
}

pub(crate) fn event_id(incident: &Incident) -> EventId {
    EventId::derive(&format!("pagerduty:shared:{}", incident.event_id))
}

/// The team's message whose run has ended.
pub(crate) async fn final_message(stack: &Stack, channel: &str, text: &str) -> Message {
    let wanted = |message: &Message| message.is_bot && is_final(message) && message.shows(text);
    let found = stack
        .slack
        .wait_for_message(channel, wanted, RUN_LIMIT)
        .await;
    found.unwrap_or_else(|error| panic!("{error}; logs are in {}", stack.logs().display()))
}

/// What the bot has written in a channel.
pub(crate) fn bot_messages(stack: &Stack, channel: &str) -> Vec<Message> {
    let messages = stack.slack.messages(channel).into_iter();
    messages.filter(|message| message.is_bot).collect()
}

/// `tocsin events show <id> --json --wait`.
pub(crate) async fn life(stack: &Stack, id: &str) -> Value {
    let arguments = ["events", "show", id, "--json", "--wait", "--timeout", "30s"];
    stack
        .tocsin_json(&arguments)
        .await
        .expect("the life of the event")
}

/// Waits until nothing is left in WORK and BACKLOG.
pub(crate) async fn no_work_left(stack: &Stack) {
    eventually("WORK and BACKLOG are empty", RUN_LIMIT, || async {
        let mut nats = stack.raw_nats().await?;
        for stream in ["WORK", "BACKLOG"] {
            let info = nats
                .ask(&format!("$JS.API.STREAM.INFO.{stream}"), &Value::Null)
                .await?;
            let left = info.pointer("/state/messages").and_then(Value::as_u64);
            anyhow::ensure!(left == Some(0), "{stream} has {left:?} messages");
        }
        anyhow::Ok(())
    })
    .await;
}

/// A signed PagerDuty request.
pub(crate) fn pagerduty_request(stack: &Stack, body: Vec<u8>) -> RequestBuilder {
    let signature = tocsin_testkit::standins::signature::pagerduty(&stack.secrets.pagerduty, &body);
    stack
        .http
        .post(format!("{}/webhooks/pagerduty", stack.ingress_url()))
        .header("content-type", "application/json")
        .header("x-pagerduty-signature", signature.expect("a secret"))
        .body(body)
}

/// Status and `code` of a problem.
pub(crate) async fn problem(answer: Response) -> (StatusCode, String) {
    let status = answer.status();
    let kind = answer.headers().get("content-type").cloned();
    let text = answer.text().await.expect("a body");
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let is_problem =
        kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/problem+json"));
    assert!(is_problem, "{status} is no problem document: {text}");
    assert!(body["request_id"].is_string(), "{text}");
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}
