//! From a signed webhook to a finished message, and every hop on the way.

use serde_json::Value;
use tocsin_tests::record::read_stream;

use crate::support::{accepted, bot_messages, checkout_alert, final_message, life, stack};

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_becomes_a_finished_investigation_whose_every_hop_is_known() {
    let (stack, teams) = stack("happy-path", 2).await;
    let incident = checkout_alert(&teams[0]);
    let event = accepted(&stack, &incident).await;

    let message = final_message(&stack, &teams[0].channel, "connection pool").await;
    let run = message
        .metadata_value("run_id")
        .expect("posts carry the run's id");
    assert!(
        message.ever_showed("Investigating"),
        "progress was shown: {:?}",
        message.versions
    );
    assert_eq!(bot_messages(&stack, &teams[0].channel).len(), 1);
    assert!(
        bot_messages(&stack, &teams[1].channel).is_empty(),
        "another team saw it"
    );

    for id in [event.to_string(), incident.event_id.clone(), run.clone()] {
        let life = life(&stack, &id).await;
        let text = life.to_string();
        assert_eq!(life["decision"]["action"], "run", "{life:#}");
        assert_eq!(life["run"]["outcome"], "completed", "{life:#}");
        for part in [
            event.to_string(),
            run.clone(),
            incident.event_id.clone(),
            teams[0].name.clone(),
            teams[0].channel.clone(),
            message.ts.clone(),
            "pagerduty_service_id".to_owned(),
        ] {
            assert!(
                text.contains(&part),
                "{part} is not in the life of {id}: {life:#}"
            );
        }
    }
    every_stored_message_can_be_read(&stack).await;
}

/// `nats sub --translate 'tocsin decode'` gives `tocsin decode` the payload of a message.
async fn every_stored_message_can_be_read(stack: &tocsin_tests::Stack) {
    let mut nats = stack.raw_nats().await.expect("nats");
    for (stream, filter, field) in [
        ("EVENTS", "events.>", "event"),
        ("JOURNAL", "journal.>", "journal"),
        ("RESULTS", "results.router.>", "decision"),
        (
            "RESULTS",
            "results.agent-worker.run_finished.>",
            "run_result",
        ),
        ("CONFIG", "config.changed.>", "config_changed"),
        ("KV_routing", "$KV.routing.>", "routing_record"),
        ("KV_teams", "$KV.teams.>", "team_record"),
    ] {
        let stored = read_stream(&mut nats, stream, filter, 1)
            .await
            .expect(stream);
        let first = stored
            .first()
            .unwrap_or_else(|| panic!("{stream} has no {filter}"));
        let printed = stack
            .tocsin(&["decode"], &first.payload)
            .await
            .expect("decode runs");
        assert!(printed.success, "{stream}: {}", printed.stderr);
        let json: Value = serde_json::from_str(&printed.stdout).expect("JSON");
        assert!(json[field].is_object(), "{stream} {filter}: {json:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_data_leads_to_another_root_cause() {
    let (stack, teams) = stack("root-cause", 3).await;
    let causes = [
        ("connection-pool", "connection pool of payments exhausted"),
        ("bad-deploy", "Bad deploy"),
        ("out-of-memory", "out of memory"),
    ];
    for ((cause, told), team) in causes.iter().zip(&teams) {
        stack
            .prometheus
            .set_cause(cause)
            .expect("a cause of the scenario");
        accepted(&stack, &checkout_alert(team)).await;
        let message = final_message(&stack, &team.channel, "").await;
        assert!(message.shows(told), "with {cause}: {}", message.shown());
    }
    // Not a cause of the scenario but a figure in it: the message quotes what the metric says.
    stack
        .prometheus
        .set_cause("connection-pool")
        .expect("a cause");
    stack
        .prometheus
        .set("db_pool_in_use", &[("service", "payments")], 137.0);
    stack
        .prometheus
        .set("db_pool_max", &[("service", "payments")], 140.0);
    accepted(&stack, &checkout_alert(&teams[0])).await;
    final_message(&stack, &teams[0].channel, "137 of 140").await;
}
