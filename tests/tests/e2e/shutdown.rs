//! SIGTERM: what is in hand is finished, then the process ends well.

use std::time::Duration;

use tocsin_testkit::eventually;
use tocsin_testkit::standins::signature;
use tocsin_tests::{Component, Options, Stack};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{accepted, any_alert, bot_messages, final_message, stack_with};

/// The grace that the processes are given; each must need less.
const GRACE: Duration = Duration::from_secs(10);
/// How long ingress takes connections after SIGTERM: enough for a test on a busy machine to bring one.
const CLOSE_DELAY: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn every_process_ends_well_and_loses_nothing_in_hand() {
    let options = Options {
        name: "shutdown".to_owned(),
        environment: [
            ("SHUTDOWN_GRACE", GRACE),
            ("INGRESS_CLOSE_DELAY", CLOSE_DELAY),
        ]
        .map(|(name, time)| (name.to_owned(), format!("{}s", time.as_secs())))
        .to_vec(),
        ..Options::default()
    };
    let (stack, teams) = stack_with(options, 1).await;
    let team = &teams[0];

    let incident = any_alert(team, "half sent");
    let body = incident.body();
    let (connection, rest) = half_sent(&stack, &body).await;
    let late = any_alert(team, "sent after SIGTERM");
    let late_body = late.body();
    let ended = stack.terminate(Component::Ingress, GRACE);
    let finish = async {
        eventually("ingress says that it is going", GRACE, || async {
            !stack.is_ready(Component::Ingress).await
        })
        .await;
        // A load balancer that has not asked yet sends it more.
        let (late, late_rest) = half_sent(&stack, &late_body).await;
        for (connection, rest) in [(connection, rest), (late, late_rest)] {
            let answer = finished(connection, rest).await;
            assert!(answer.starts_with("HTTP/1.1 2"), "{answer:?}");
        }
    };
    let (ended, ()) = futures::future::join(ended, finish).await;
    assert!(ended.expect("ends in time").success());
    for title in ["half sent", "sent after SIGTERM"] {
        final_message(&stack, &team.channel, title).await;
    }
    stack
        .restart(Component::Ingress)
        .await
        .expect("starts again");

    for component in [
        Component::Router,
        Component::Config,
        Component::Audit,
        Component::Worker(0),
        Component::Worker(1),
    ] {
        let title = format!("while {component} ends");
        accepted(&stack, &any_alert(team, &title)).await;
        let ended = stack
            .terminate(component, GRACE)
            .await
            .expect("ends in time");
        assert!(
            ended.success(),
            "{component}: {ended}; {}",
            stack.logs().display()
        );
        stack.restart(component).await.expect("starts again");
        final_message(&stack, &team.channel, &title).await;
    }
    assert_eq!(bot_messages(&stack, &team.channel).len(), 7);
}

/// A signed request of which the last bytes are held back.
async fn half_sent<'a>(stack: &Stack, body: &'a [u8]) -> (TcpStream, &'a [u8]) {
    let signature = signature::pagerduty(&stack.secrets.pagerduty, body).expect("signed");
    let head = format!(
        "POST /webhooks/pagerduty HTTP/1.1\r\nhost: tocsin\r\ncontent-type: application/json\r\n\
         x-pagerduty-signature: {signature}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let (first, rest) = body.split_at(body.len() / 2);
    let mut connection = TcpStream::connect(stack.ingress_address())
        .await
        .expect("connects");
    connection.write_all(head.as_bytes()).await.expect("sent");
    connection.write_all(first).await.expect("sent");
    connection.flush().await.expect("sent");
    (connection, rest)
}

/// The answer to a request whose last bytes are sent now.
async fn finished(mut connection: TcpStream, rest: &[u8]) -> String {
    connection
        .write_all(rest)
        .await
        .expect("ingress still reads");
    let mut answer = [0; 512];
    let bytes = connection.read(&mut answer).await.expect("an answer");
    String::from_utf8_lossy(&answer[..bytes]).into_owned()
}
