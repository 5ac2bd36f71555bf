//! What operators ask.

use serde_json::{Value, json};
use tocsin_bus::AskError;
use tocsin_testkit::Postgres;
use tocsin_wire::Service;
use tocsin_wire::event_form::EventForm;

use crate::samples::{EVENT_SUBJECT, Story};
use crate::stage::Stage;

async fn publish_run(stage: &Stage, story: &Story) {
    stage
        .publish(&stage.ingress, EVENT_SUBJECT, &story.event())
        .await;
    let decision = "results.router.decision.acme.pay";
    stage
        .publish(&stage.router, decision, &story.decision())
        .await;
    for journal in story.journals() {
        stage
            .publish(&stage.worker, &story.journal_subject(), &journal)
            .await;
    }
    for (what, result) in story.results() {
        let subject = format!("results.agent-worker.{what}.acme.pay");
        stage.publish(&stage.worker, &subject, &result).await;
    }
}

async fn publish_repeat(stage: &Stage, repeat: &Story, story: &Story) {
    stage
        .publish(&stage.ingress, EVENT_SUBJECT, &repeat.event())
        .await;
    let decision = "results.router.decision.acme.pay";
    stage
        .publish(&stage.router, decision, &repeat.repeat(story))
        .await;
}

fn hops(life: &Value) -> Vec<(String, String)> {
    let hops = life["hops"].as_array().expect("hops");
    let text = |hop: &Value, name: &str| hop[name].as_str().expect("text").to_owned();
    hops.iter()
        .map(|hop| (text(hop, "what"), text(hop, "who")))
        .collect()
}

#[tokio::test]
async fn the_life_of_an_event_has_every_hop_in_order() {
    let stage = Stage::start(Postgres::database().await.expect("postgres")).await;
    let (story, repeat) = (Story::new(1), Story::new(2));
    publish_run(&stage, &story).await;
    publish_repeat(&stage, &repeat, &story).await;
    stage.recorded(10).await;

    let question = json!({ "event_id": story.event.to_string() });
    let life = stage.ask("life", question).await.expect("answered");
    let expected = [
        ("received", "ingress"),
        ("stored", "ingress"),
        ("decided", "router"),
        ("repeat folded in", "router"),
        ("run started", "worker-1"),
        ("post started", "worker-1"),
        ("posted", "worker-1"),
        ("model asked", "worker-1"),
        ("model answered", "worker-1"),
        ("tool started", "worker-1"),
        ("run resumed", "worker-2"),
        ("tool finished", "worker-2"),
        ("run finished", "worker-2"),
    ]
    .map(|(what, who)| (what.to_owned(), who.to_owned()));
    assert_eq!(hops(&life), expected, "{life:#}");
    assert_eq!(life["hops"][8]["since_previous_ms"], 300.0);
    assert_eq!(
        life["hops"][10]["detail"],
        "at step 6, 2100 ms after worker-1 fell silent"
    );
    assert_eq!(life["total_ms"], 12_462.0);

    assert_eq!(
        life["event"]["title"], "checkout is slow",
        "without what JSON in Postgres cannot hold"
    );
    assert_eq!(life["event"]["signature"]["message"]["signer"], "ingress");
    assert_ne!(life["event"]["signature"]["message"]["key_id"], "");
    assert_eq!(life["decision"]["action"], "run");
    assert_eq!(life["decision"]["reasons"][0]["code"], "matched_identifier");
    let run = &life["run"];
    assert_eq!(run["outcome"], "completed");
    assert_eq!(run["waited_ms"], 3);
    assert_eq!(run["duration_ms"], 2_460.0);
    assert_eq!(run["workers"], json!(["worker-1", "worker-2"]));
    assert_eq!(run["findings"]["root_cause"], "connection pool exhausted");
    assert_eq!(run["posts"][0]["phase"], "first");
    assert_eq!(run["posts"][0]["destination"], "slack:C1");
}

#[tokio::test]
async fn a_life_is_found_by_any_of_its_names_and_a_repeat_has_its_own() {
    let stage = Stage::start(Postgres::database().await.expect("postgres")).await;
    let (story, repeat) = (Story::new(1), Story::new(2));
    publish_run(&stage, &story).await;
    publish_repeat(&stage, &repeat, &story).await;
    stage.recorded(10).await;

    for name in [
        story.run.to_string(),
        story.delivery.clone(),
        format!("pagerduty:shared:{}", story.delivery),
    ] {
        let same = stage
            .ask("life", json!({ "event_id": name }))
            .await
            .expect("answered");
        assert_eq!(same["event_id"], story.event.to_string(), "{name}");
    }
    let question = json!({ "event_id": repeat.event.to_string() });
    let life = stage.ask("life", question).await.expect("answered");
    assert_eq!(life["decision"]["duplicate_of"], story.event.to_string());
    assert_eq!(
        (&life["run"], hops(&life).len()),
        (&Value::Null, 3),
        "a repeat has no run of its own"
    );
}

#[tokio::test]
async fn a_life_is_still_told_when_its_bodies_are_erased() {
    let stage = Stage::start(Postgres::database().await.expect("postgres")).await;
    let story = Story::new(1);
    publish_run(&stage, &story).await;
    stage.recorded(8).await;
    let mut sql = stage.sql().await;
    sqlx::query("delete from audit.bodies")
        .execute(&mut sql)
        .await
        .expect("erased");
    let question = json!({ "event_id": story.event.to_string() });
    let life = stage.ask("life", question).await.expect("answered");
    assert_eq!(life["event"]["body_erased"], true);
    assert_eq!(life["run"]["outcome"], "completed");
    assert_eq!(hops(&life).len(), 12);
}

#[tokio::test]
async fn unknown_ids_and_wrong_questions_say_what_to_do() {
    let stage = Stage::start(Postgres::database().await.expect("postgres")).await;
    stage.recorded(0).await;
    let cases = [
        (
            "life",
            json!({ "event_id": "6f0d4d5b-9c0e-5b1a-8000-000000000000" }),
            404,
            "`tocsin events ls`",
        ),
        (
            "life",
            json!({ "event_id": "nothing\0like that" }),
            404,
            "is recorded",
        ),
        ("life", json!({}), 400, "event_id"),
        (
            "events",
            json!({ "since": "yesterday" }),
            400,
            "neither a time",
        ),
        ("events", json!({ "team": "pay" }), 400, "org"),
    ];
    for (verb, question, code, says) in cases {
        match stage.ask(verb, question.clone()).await {
            Err(AskError::Refused {
                code: got, detail, ..
            }) => {
                assert_eq!(got, code, "{question}: {detail}");
                assert!(detail.contains(says), "{question}: {detail}");
            }
            other => panic!("{question}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn events_are_listed_latest_first_with_what_became_of_them() {
    let stage = Stage::start(Postgres::database().await.expect("postgres")).await;
    let (first, second) = (Story::new(1), Story::new(2));
    publish_run(&stage, &first).await;
    stage
        .publish(&stage.ingress, EVENT_SUBJECT, &second.event())
        .await;
    stage.recorded(9).await;
    let ids = |answer: &Value| -> Vec<String> {
        let events = answer["events"].as_array().expect("a list");
        events
            .iter()
            .map(|event| event["event_id"].as_str().expect("id").to_owned())
            .collect()
    };
    let (one, two) = (first.event.to_string(), second.event.to_string());
    let all = stage.ask("events", Value::Null).await.expect("answered");
    assert_eq!(ids(&all), [two.clone(), one.clone()]);
    assert_eq!(all["events"][0]["action"], Value::Null, "not decided yet");
    let told = &all["events"][1];
    assert_eq!(
        (&told["action"], &told["outcome"], &told["team"]),
        (&json!("run"), &json!("completed"), &json!("pay"))
    );
    for (question, expected) in [
        (json!({ "limit": 1 }), vec![two.clone()]),
        (json!({ "org": "acme" }), vec![one.clone()]),
        (
            json!({ "org": "acme", "team": "pay", "provider": "pagerduty", "since": "1h" }),
            vec![one.clone()],
        ),
        (json!({ "org": "acme", "team": "other" }), vec![]),
        (json!({ "org": "beta" }), vec![]),
        (json!({ "provider": "slack" }), vec![]),
        (
            json!({ "provider": null, "since": "2999-01-01T00:00:00Z" }),
            vec![],
        ),
    ] {
        let answer = stage
            .ask("events", question.clone())
            .await
            .expect("answered");
        assert_eq!(ids(&answer), expected, "{question}");
    }
}

#[tokio::test]
async fn an_event_is_told_as_it_was_also_to_the_router() {
    let stage = Stage::start(Postgres::database().await.expect("postgres")).await;
    let story = Story::new(1);
    stage
        .publish(&stage.ingress, EVENT_SUBJECT, &story.event())
        .await;
    stage.recorded(1).await;
    let question = json!({ "event_id": story.event.to_string() });
    let answer = stage
        .ask("event", question.clone())
        .await
        .expect("answered");
    assert_eq!(answer["event_id"], json!(story.event.to_string()));
    let form: EventForm = serde_json::from_value(answer["event"].clone()).expect("a form");
    assert!(!form.provider.is_empty() && !form.kind.is_empty() && !form.identifiers.is_empty());
    let router = stage.router.ask(Service::Audit, "event", &question).await;
    assert_eq!(router.expect("allowed"), answer);
    let unknown = stage.ask("event", json!({"event_id": "nothing"})).await;
    assert!(
        matches!(unknown, Err(AskError::Refused { code: 404, .. })),
        "{unknown:?}"
    );
}
