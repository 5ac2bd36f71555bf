use std::process::Stdio;

use serde_json::{Value, json};
use tocsin_testkit::standins::slack::{Alert, Ingress, Settings};
use tocsin_testkit::standins::{Prometheus, Slack, http_client, signature};
use tokio::process::Command;

use super::receiver::{Receiver, SLACK_SECRET};

async fn connected(ingress: &Receiver) -> Slack {
    let alert = Alert {
        service_id: "PCHECKOUT".to_owned(),
        service_name: "checkout-api".to_owned(),
        title: "5xx".to_owned(),
    };
    let to = Ingress {
        url: ingress.url.clone(),
        slack_signing_secret: SLACK_SECRET.to_owned(),
        pagerduty_secret: Some("pd".to_owned()),
        alert: Some(alert),
    };
    let prometheus = Some(Prometheus::start().await.unwrap());
    let settings = Settings {
        ingress: Some(to),
        prometheus,
        ..Settings::default()
    };
    Slack::start_with(settings).await.unwrap()
}

async fn post(slack: &Slack, path: &str, body: Value) -> (u16, String) {
    let url = format!("http://{}{path}", slack.address());
    let sent = http_client()
        .unwrap()
        .post(url)
        .bearer_auth("xoxb-1")
        .json(&body)
        .send()
        .await
        .unwrap();
    (sent.status().as_u16(), sent.text().await.unwrap())
}

#[tokio::test]
async fn buttons_messages_and_alerts_reach_ingress_signed() {
    let ingress = Receiver::start(&[]).await;
    let slack = connected(&ingress).await;
    let button = json!({"type": "button", "action_id": "fb", "value": "{\"run_id\":\"r1\"}",
        "text": {"type": "plain_text", "text": "👍"}});
    let blocks = json!([{"type": "actions", "block_id": "feedback", "elements": [button]}]);
    post(
        &slack,
        "/api/chat.postMessage",
        json!({"channel": "C1", "blocks": blocks}),
    )
    .await;
    let ts = slack.messages("C1")[0].ts.clone();

    let press = json!({"channel": "C1", "ts": ts, "block_id": "feedback", "action_id": "fb"});
    assert_eq!(post(&slack, "/standin/actions", press.clone()).await.0, 200);
    let mut other = press;
    other["action_id"] = json!("made up");
    assert_eq!(post(&slack, "/standin/actions", other).await.0, 502);
    post(
        &slack,
        "/standin/messages",
        json!({"channel": "C1", "text": "@tocsin why?"}),
    )
    .await;
    post(
        &slack,
        "/standin/messages",
        json!({"channel": "C1", "text": "among people"}),
    )
    .await;
    post(&slack, "/standin/alert", json!({"cause": "bad-deploy"})).await;

    let seen = ingress.seen();
    let paths: Vec<&str> = seen.iter().map(|delivery| delivery.path.as_str()).collect();
    let events = "/webhooks/slack/events";
    assert_eq!(
        paths,
        [
            "/webhooks/slack/interactions",
            events,
            events,
            "/webhooks/pagerduty"
        ]
    );
    seen[0].assert_signed_by_slack();
    let form: Vec<_> = form_urlencoded::parse(&seen[0].body).collect();
    let payload: Value = serde_json::from_str(&form[0].1).unwrap();
    assert_eq!(payload["type"], "block_actions");
    assert_eq!(payload["actions"][0]["block_id"], "feedback");
    assert_eq!(payload["actions"][0]["value"], "{\"run_id\":\"r1\"}");
    assert_eq!(payload["container"]["message_ts"], ts);
    let alert = signature::pagerduty("pd", &seen[3].body).unwrap();
    assert_eq!(seen[3].header("x-pagerduty-signature"), alert);
}

#[tokio::test]
async fn the_page_is_self_contained_and_told_of_every_change() {
    let slack = connected(&Receiver::start(&[]).await).await;
    let client = http_client().unwrap();
    for file in ["", "page.css", "page.js", "mrkdwn.js"] {
        let answer = client
            .get(format!("{}{file}", slack.page_url()))
            .send()
            .await
            .unwrap();
        let policy = answer.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"));
        let text = answer.text().await.unwrap();
        assert!(
            !text.contains("innerHTML") && !text.contains("src=\"http"),
            "{file}"
        );
    }
    let url = format!("{}standin/changes", slack.page_url());
    let mut changes = client.get(url).send().await.unwrap();
    let mut seen = String::new();
    let mut posted = false;
    while !seen.contains("event: changes") || !seen.contains("hello there") {
        seen.push_str(&String::from_utf8(changes.chunk().await.unwrap().unwrap().into()).unwrap());
        if !posted && seen.contains("event: everything") {
            post(
                &slack,
                "/api/chat.postMessage",
                json!({"channel": "C1", "text": "hello there"}),
            )
            .await;
            posted = true;
        }
    }
}

#[tokio::test]
async fn kill_the_worker_kills_the_one_that_the_newest_message_names() {
    let folder = std::env::temp_dir().join(format!("standins-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut workers = Vec::new();
    let mut processes = Vec::new();
    for name in ["worker-1", "worker-2"] {
        let process = Command::new("sleep")
            .arg("600")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let process = process.unwrap();
        let path = folder.join(name);
        std::fs::write(&path, process.id().unwrap().to_string()).unwrap();
        workers.push((name.to_owned(), path));
        processes.push(process);
    }
    let slack = Slack::start_with(Settings {
        workers,
        ..Settings::default()
    })
    .await
    .unwrap();
    for text in [
        "running on worker-1",
        "running on worker-1, resumed on worker-2 at step 4",
    ] {
        let context = json!([{"type": "context", "elements": [{"type": "mrkdwn", "text": text}]}]);
        post(
            &slack,
            "/api/chat.postMessage",
            json!({"channel": "C1", "blocks": context}),
        )
        .await;
    }
    let (status, text) = post(&slack, "/standin/kill", json!({})).await;
    assert!(status == 200 && text.contains("worker-2"), "{text}");
    assert!(!processes[1].wait().await.unwrap().success());
    // With that one gone, the first that is alive.
    let (status, text) = post(&slack, "/standin/kill", json!({})).await;
    assert!(status == 200 && text.contains("worker-1"), "{text}");
    std::fs::remove_dir_all(folder).unwrap();
}
