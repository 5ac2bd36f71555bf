//! However often a delivery comes, there is one run and one message.

use std::time::Duration;

use serde_json::{Value, json};
use tocsin_testkit::eventually;
use tocsin_testkit::standins::pagerduty::deliver;
use tocsin_testkit::standins::signature;
use tocsin_testkit::standins::slack::Mention;
use tocsin_tests::Stack;
use tocsin_tests::record::{Results, journals};

use crate::support::{any_alert, bot_messages, event_id, final_message, no_work_left, stack};

const COPIES: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn one_delivery_fifty_times_at_once_is_one_run() {
    let (stack, teams) = stack("once-pagerduty", 1).await;
    let incident = any_alert(&teams[0], "said fifty times");
    let (url, secret) = (stack.ingress_url(), &stack.secrets.pagerduty);
    let copies = (0..COPIES).map(|_| deliver(&url, secret, &incident));
    for status in futures::future::join_all(copies).await {
        let status = status.expect("ingress answers");
        assert!(
            status.is_success(),
            "every copy is as welcome as the first: {status}"
        );
    }
    final_message(&stack, &teams[0].channel, "said fifty times").await;
    no_work_left(&stack).await;

    // And once more when it is all over.
    let status = deliver(&url, secret, &incident)
        .await
        .expect("ingress answers");
    assert!(status.is_success(), "{status}");
    let event = event_id(&incident).to_string();
    every_event_is_decided(&stack).await;
    no_work_left(&stack).await;

    let mut nats = stack.raw_nats().await.expect("nats");
    let journals = journals(&mut nats).await.expect("journals");
    let of_event: Vec<_> = journals
        .values()
        .filter(|journal| journal.event == event)
        .collect();
    assert_eq!(of_event.len(), 1, "{journals:#?}");
    assert_eq!((of_event[0].started, of_event[0].finished), (1, 1));
    assert_eq!(journals.len(), 1);
    assert_eq!(bot_messages(&stack, &teams[0].channel).len(), 1);
}

/// Slack tells one message under two event ids, and each again when it did not like the answer.
#[tokio::test(flavor = "multi_thread")]
async fn slacks_retries_and_twins_are_one_run() {
    let (stack, teams) = stack("once-slack", 1).await;
    let channel = &teams[0].channel;
    let mention = Mention {
        channel: channel.clone(),
        user: "U0ALICE".to_owned(),
        text: "why are builds slow?".to_owned(),
        twin: true,
        ..Mention::default()
    };
    let sent = stack
        .slack
        .send(&stack.ingress_url(), &stack.secrets.slack, mention)
        .await;
    let sent = sent.expect("sent");
    assert!(
        sent.answers
            .iter()
            .flatten()
            .all(|status| status.is_success()),
        "{sent:?}"
    );
    let ids = sent.event_ids.iter().zip(["app_mention", "message"]);
    let retries = ids.flat_map(|(id, kind)| (1..=3).map(move |number| (id, kind, number)));
    let retries = retries.map(|(id, kind, number)| {
        let body = envelope(channel, &sent.ts, id, kind);
        slack_retry(&stack, body, number)
    });
    for status in futures::future::join_all(retries).await {
        assert_eq!(status, reqwest::StatusCode::OK);
    }
    final_message(&stack, channel, "").await;
    every_event_is_decided(&stack).await;
    no_work_left(&stack).await;

    let mut nats = stack.raw_nats().await.expect("nats");
    let journals = journals(&mut nats).await.expect("journals");
    assert_eq!(journals.len(), 1, "{journals:#?}");
    let messages = bot_messages(&stack, channel);
    assert_eq!(messages.len(), 1, "{messages:#?}");
    assert_eq!(
        messages[0].thread_ts.as_deref(),
        Some(sent.ts.as_str()),
        "answered in its thread"
    );
}

fn envelope(channel: &str, ts: &str, event_id: &str, kind: &str) -> Value {
    json!({
        "team_id": "T0TOCSIN", "api_app_id": "A0TOCSIN", "type": "event_callback",
        "event_id": event_id, "event_time": 1_700_000_000,
        "event": {"type": kind, "user": "U0ALICE", "text": "<@U0TOCSIN> why are builds slow?",
            "ts": ts, "channel": channel, "event_ts": ts},
        "authorizations": [{"team_id": "T0TOCSIN", "user_id": "U0TOCSIN", "is_bot": true}],
    })
}

async fn slack_retry(stack: &Stack, body: Value, number: u32) -> reqwest::StatusCode {
    let body = body.to_string();
    let timestamp = tocsin_testkit::bus::clock()().as_second();
    let signature = signature::slack(&stack.secrets.slack, timestamp, body.as_bytes());
    let request = stack
        .http
        .post(format!("{}/webhooks/slack/events", stack.ingress_url()))
        .header("content-type", "application/json")
        .header("x-slack-request-timestamp", timestamp.to_string())
        .header("x-slack-signature", signature.expect("a secret"))
        .header("x-slack-retry-num", number.to_string())
        .header("x-slack-retry-reason", "http_timeout");
    request
        .body(body)
        .send()
        .await
        .expect("ingress answers")
        .status()
}

/// Until the router has a decision for whatever EVENTS holds.
async fn every_event_is_decided(stack: &Stack) {
    eventually(
        "every event is decided",
        Duration::from_secs(10),
        || async {
            let mut nats = stack.raw_nats().await?;
            let info = nats
                .ask("$JS.API.CONSUMER.INFO.EVENTS.router", &Value::Null)
                .await?;
            let number = |pointer: &str| info.pointer(pointer).and_then(Value::as_u64);
            let (waiting, in_hand) = (number("/num_pending"), number("/num_ack_pending"));
            anyhow::ensure!(waiting == Some(0) && in_hand == Some(0), "{info}");
            let mut results = Results::default();
            results.update(&mut nats).await?;
            anyhow::ensure!(!results.decisions.is_empty(), "no decision yet");
            anyhow::Ok(())
        },
    )
    .await;
}
