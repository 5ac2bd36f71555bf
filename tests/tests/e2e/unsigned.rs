//! Whoever can write to the broker still cannot make anybody believe.

use std::time::Duration;

use prost::Message as _;
use serde_json::Value;
use tocsin_testkit::eventually;
use tocsin_tests::Stack;
use tocsin_tests::record::{Stored, journals, read_stream};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{DeadLetter, Envelope};

use crate::support::{accepted, any_alert, bot_messages, final_message, no_work_left, stack};

#[tokio::test(flavor = "multi_thread")]
async fn forged_messages_reach_no_handler_and_are_kept_with_the_reason() {
    let (stack, teams) = stack("forged", 2).await;
    let team = &teams[0];
    accepted(&stack, &any_alert(team, "genuine")).await;
    final_message(&stack, &team.channel, "genuine").await;
    no_work_left(&stack).await;
    let mut nats = stack.raw_nats().await.expect("nats");
    let genuine = read_stream(&mut nats, "EVENTS", "events.>", 1)
        .await
        .expect("EVENTS");
    let genuine = genuine.first().expect("the genuine event").clone();

    let event = forge_events(&stack, &genuine).await;
    forge_work(&stack, &event).await;

    let mut dead = Vec::new();
    for (subject, count) in [("dead.EVENTS.router", 3), ("dead.WORK.workers-default", 1)] {
        let letters = dead_letters(&stack, subject, count).await;
        for (_, letter) in &letters {
            assert_eq!(letter.code, "signature_invalid", "{letter:?}");
            assert!(!letter.reason.is_empty());
            assert!(!letter.payload.is_empty(), "the original bytes are kept");
        }
        dead.extend(letters);
    }
    assert_eq!(dead.len(), 4);
    let printed = stack
        .tocsin(&["decode"], &dead[0].0.payload)
        .await
        .expect("decode");
    assert!(
        printed.stdout.contains("signature_invalid"),
        "{}",
        printed.stdout
    );

    // The genuine run alone was ever heard of.
    let mut nats = stack.raw_nats().await.expect("nats");
    assert_eq!(journals(&mut nats).await.expect("journals").len(), 1);
    for team in &teams {
        let messages = bot_messages(&stack, &team.channel);
        assert!(
            messages.iter().all(|message| !message.shows("forged")),
            "{messages:#?}"
        );
    }
    eventually(
        "the dead letter is in the record",
        Duration::from_secs(10),
        || async {
            let life = stack
                .tocsin_json(&["events", "show", &event.id, "--json"])
                .await?;
            anyhow::ensure!(life.to_string().contains("signature_invalid"), "{life:#}");
            anyhow::Ok(())
        },
    )
    .await;
}

/// Three ways: without a signature, with the signature of another message, and with a genuine
/// message on a subject that it was not signed for. Returns the event of the first.
async fn forge_events(stack: &Stack, genuine: &Stored) -> Envelope {
    let mut nats = stack.raw_nats().await.expect("nats");
    let mut forged = genuine.envelope().expect("an envelope");
    forged.id = "00000000-0000-5000-8000-000000000001".to_owned();
    forged.correlation_id = forged.id.clone();
    if let Some(Body::Event(event)) = &mut forged.body {
        event.title = "forged".to_owned();
        event.delivery_key = "pagerduty:shared:FORGED".to_owned();
        event.semantic_key = event.delivery_key.clone();
    }
    let payload = forged.encode_to_vec();
    let own = |name: &str| !name.starts_with("Nats-");
    let headers: Vec<(&str, &str)> = genuine
        .headers
        .iter()
        .filter(|(name, _)| own(name))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let subject = &genuine.subject;
    nats.store(subject, &[("ce-id", &forged.id)], &payload)
        .await
        .expect("stored");
    nats.store(subject, &headers, &payload)
        .await
        .expect("stored");
    let elsewhere = "events.pagerduty.shared.incident_triggered.PTEAM0002";
    nats.store(elsewhere, &headers, &genuine.payload)
        .await
        .expect("stored");
    forged
}

async fn forge_work(stack: &Stack, event: &Envelope) {
    let mut nats = stack.raw_nats().await.expect("nats");
    let payload = event.encode_to_vec();
    nats.store("work.run.default.acme.team-1", &[], &payload)
        .await
        .expect("stored");
}

async fn dead_letters(stack: &Stack, subject: &str, count: usize) -> Vec<(Stored, DeadLetter)> {
    let what = format!("{count} dead letters on {subject}");
    eventually(&what, Duration::from_secs(10), || async {
        let mut nats = stack.raw_nats().await?;
        let mut letters = Vec::new();
        for stored in read_stream(&mut nats, "DEAD", subject, 1).await? {
            let Some(Body::DeadLetter(letter)) = stored.envelope()?.body else {
                anyhow::bail!("{subject} holds something else");
            };
            letters.push((stored, letter));
        }
        let info = nats.ask("$JS.API.STREAM.INFO.DEAD", &Value::Null).await?;
        anyhow::ensure!(
            letters.len() == count,
            "there are {}: {info}",
            letters.len()
        );
        anyhow::Ok(letters)
    })
    .await
}
