//! Bad input, each with its own clear answer and nothing lost.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tocsin_testkit::eventually;
use tocsin_testkit::standins::github::{self, Delivery};
use tocsin_testkit::standins::signature;
use tocsin_tests::record::{Results, read_stream};
use tocsin_tests::{Options, Stack};
use tocsin_wire::ids::EventId;
use tocsin_wire::proto::DecisionAction;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::{accepted, any_alert, final_message, pagerduty_request, problem, stack_with};

/// A limit of ingress that the test need not wait long for.
const HEADER_TIMEOUT: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_request_has_its_own_answer_and_costs_nothing() {
    let options = Options {
        name: "bad-input".to_owned(),
        environment: vec![
            (
                "INGRESS_HEADER_TIMEOUT".to_owned(),
                format!("{}ms", HEADER_TIMEOUT.as_millis()),
            ),
            // Removes the secret that the stack gives it.
            ("GITHUB_WEBHOOK_SECRET".to_owned(), String::new()),
        ],
        ..Options::default()
    };
    let (stack, teams) = stack_with(options, 1).await;
    bad_signatures(&stack).await;
    bad_bodies(&stack).await;
    unknown_kind_is_kept(&stack).await;
    unknown_team_is_a_decision(&stack).await;

    let mut nats = stack.raw_nats().await.expect("nats");
    let events = read_stream(&mut nats, "EVENTS", "events.>", 1)
        .await
        .expect("EVENTS");
    assert_eq!(events.len(), 2, "nothing that was refused is on the stream");
    accepted(&stack, &any_alert(&teams[0], "still at work")).await;
    final_message(&stack, &teams[0].channel, "still at work").await;
    // The last: the client's own connection idles meanwhile, and is closed when the client would use it again.
    slow_headers(&stack).await;
}

async fn bad_signatures(stack: &Stack) {
    let body = || json!({"event": {"id": "01X"}}).to_string().into_bytes();
    let pagerduty = |signature: Option<&str>| {
        let request = stack
            .http
            .post(format!("{}/webhooks/pagerduty", stack.ingress_url()));
        let request = request
            .header("content-type", "application/json")
            .body(body());
        match signature {
            Some(signature) => request.header("x-pagerduty-signature", signature),
            None => request,
        }
    };
    let wrong = signature::pagerduty("another secret", &body()).expect("signed");
    let slack = |seconds_ago: i64| {
        let timestamp = tocsin_testkit::bus::clock()().as_second() - seconds_ago;
        let signature = signature::slack(&stack.secrets.slack, timestamp, &body());
        stack
            .http
            .post(format!("{}/webhooks/slack/events", stack.ingress_url()))
            .header("content-type", "application/json")
            .header("x-slack-request-timestamp", timestamp.to_string())
            .header("x-slack-signature", signature.expect("signed"))
            .body(body())
    };
    for (what, request) in [
        ("wrong", pagerduty(Some(&wrong))),
        ("malformed", pagerduty(Some("v1=zz"))),
        ("missing", pagerduty(None)),
        ("stale", slack(3_600)),
        ("from the future", slack(-3_600)),
    ] {
        let (status, code) = problem(request.send().await.expect("an answer")).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{what}: {code}");
        assert!(code.starts_with("signature_"), "{what}: {code}");
    }
    // A provider without a secret is off.
    let delivery = Delivery::workflow_failed("acme/service-1", "deploy");
    let status = github::deliver(&stack.ingress_url(), "any secret", &delivery).await;
    let status = status.expect("an answer");
    assert!(
        status == StatusCode::UNAUTHORIZED || status == StatusCode::NOT_FOUND,
        "{status}"
    );
}

async fn bad_bodies(stack: &Stack) {
    let large = vec![b' '; (1 << 20) + 1];
    let answer = pagerduty_request(stack, large)
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        problem(answer).await,
        (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large".to_owned())
    );
    let broken = b"{\"event\": ".to_vec();
    let answer = pagerduty_request(stack, broken)
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        problem(answer).await,
        (StatusCode::BAD_REQUEST, "invalid_json".to_owned())
    );
    let nowhere = stack
        .http
        .post(format!("{}/webhooks/nobody", stack.ingress_url()));
    let (status, _) = problem(nowhere.send().await.expect("an answer")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

/// A sender that never ends its headers loses its connection, others are served meanwhile.
async fn slow_headers(stack: &Stack) {
    let mut slow = TcpStream::connect(stack.ingress_address())
        .await
        .expect("connects");
    slow.write_all(b"POST /webhooks/pagerduty HTTP/1.1\r\nhost: x\r\nx-slow: ")
        .await
        .expect("sent");
    let began = Instant::now();
    let mut answer = Vec::new();
    let closed = slow.read_to_end(&mut answer);
    let closed = tokio::time::timeout(HEADER_TIMEOUT * 4, closed).await;
    assert!(
        closed.is_ok(),
        "the connection is still open after {:?}",
        began.elapsed()
    );
    let text = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || text.starts_with("HTTP/1.1 408"),
        "{text}"
    );
}

async fn unknown_kind_is_kept(stack: &Stack) {
    let body = json!({"event": {
        "id": "01UNKNOWNKIND", "event_type": "galaxy.exploded", "resource_type": "galaxy",
        "occurred_at": "2026-01-01T00:00:00Z", "agent": null, "client": null, "data": {"id": "G1"},
    }});
    let request = pagerduty_request(stack, body.to_string().into_bytes());
    let answer = request.send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.status());
    let mut nats = stack.raw_nats().await.expect("nats");
    let events = read_stream(&mut nats, "EVENTS", "events.pagerduty.shared.other.>", 1).await;
    let events = events.expect("EVENTS");
    assert_eq!(events.len(), 1);
    let envelope = events[0].envelope().expect("an envelope");
    assert_eq!(
        envelope.event().expect("an event").native_type,
        "galaxy.exploded"
    );
}

async fn unknown_team_is_a_decision(stack: &Stack) {
    let mut nobody = crate::support::checkout_alert(&tocsin_tests::Team {
        org: "acme".to_owned(),
        name: "nobody".to_owned(),
        channel: String::new(),
        pagerduty_service: "PNOBODY".to_owned(),
        repository: String::new(),
    });
    nobody.title = "whose is this?".to_owned();
    let event: EventId = accepted(stack, &nobody).await;
    let decision = eventually("the decision", Duration::from_secs(10), || async {
        let mut nats = stack.raw_nats().await?;
        let mut results = Results::default();
        results.update(&mut nats).await?;
        let found = results
            .decisions
            .get(&event.to_string())
            .and_then(|all| all.first().cloned());
        found.ok_or_else(|| anyhow::anyhow!("no decision yet"))
    })
    .await;
    assert_eq!(decision.action(), DecisionAction::NoRoute, "{decision:?}");
    assert!(
        decision.tried.contains(&"pagerduty_service_id".to_owned()),
        "{decision:?}"
    );
    assert!(!decision.reasons.is_empty());
    let shown: Value = crate::support::life(stack, &event.to_string()).await;
    assert_eq!(shown["decision"]["action"], "no_route", "{shown:#}");
}
