//! nats-server is away: nothing is accepted, nothing grows, and nothing of ours is restarted.

use std::time::Duration;

use futures::StreamExt as _;
use tocsin_testkit::eventually;
use tocsin_testkit::standins::pagerduty::Incident;
use tocsin_tests::{Component, Stack};
use tokio::time::Instant;

use crate::support::{
    accepted, any_alert, event_id, final_message, life, pagerduty_request, problem, stack,
};

/// Sent while there is no broker.
const DELIVERIES: usize = 2_000;
/// Memory that a process may take for answering them: buffers of connections, not deliveries.
const ALLOWANCE: u64 = 8 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_webhooks_are_refused_at_once_and_accepted_when_it_is_back() {
    let (stack, teams) = stack("broker-away", 1).await;
    let team = &teams[0];
    accepted(&stack, &any_alert(team, "before")).await;
    final_message(&stack, &team.channel, "before").await;

    stack.stop_nats().await.expect("stops");
    let incident = any_alert(team, "meanwhile");
    // The first one may find the connection still open.
    let answer = refused_within_a_second(&stack, &incident).await;
    assert_eq!(answer.1, "bus_unavailable");
    let ingress = stack.process(Component::Ingress).expect("runs");
    let before = ingress.rss_bytes().expect("memory");
    let sending = futures::stream::iter(0..DELIVERIES).map(|_| async {
        let incident = any_alert(team, "never accepted");
        let (status, _) = refused_within_a_second(&stack, &incident).await;
        assert_eq!(status, 503);
    });
    sending.buffer_unordered(16).collect::<Vec<()>>().await;
    let after = ingress.rss_bytes().expect("memory");
    let grown = after.saturating_sub(before);
    assert!(grown < ALLOWANCE, "{before} bytes became {after}");
    assert!(
        !stack.is_ready(Component::Ingress).await,
        "ingress cannot do its work"
    );

    stack.start_nats().await.expect("starts");
    // The provider sends the same delivery again until it is taken.
    eventually("the delivery is taken", Duration::from_secs(5), || async {
        let answer = pagerduty_request(&stack, incident.body()).send().await;
        answer
            .and_then(reqwest::Response::error_for_status)
            .map(drop)
    })
    .await;
    final_message(&stack, &team.channel, "meanwhile").await;
    life(&stack, &event_id(&incident).to_string()).await;
    for component in [
        Component::Ingress,
        Component::Router,
        Component::Config,
        Component::Audit,
        Component::Worker(0),
        Component::Worker(1),
    ] {
        stack.ready(component).await.expect("ready again");
        assert_eq!(
            stack.restarts(component).expect("a service"),
            0,
            "{component}"
        );
    }
    let messages = stack.slack.messages(&team.channel);
    assert_eq!(messages.len(), 2, "{messages:#?}");
}

async fn refused_within_a_second(stack: &Stack, incident: &Incident) -> (u16, String) {
    let began = Instant::now();
    let answer = pagerduty_request(stack, incident.body())
        .send()
        .await
        .expect("ingress answers");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "refused after {took:?}");
    assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
    let (status, code) = problem(answer).await;
    (status.as_u16(), code)
}
