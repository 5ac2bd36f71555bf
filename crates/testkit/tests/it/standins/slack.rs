use std::collections::BTreeSet;

use futures::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};
use tocsin_testkit::standins::slack::{Fault, Mention, RateLimits, Settings};
use tocsin_testkit::standins::{Slack, http_client};

use super::LIMIT;
use super::receiver::{Receiver, SLACK_SECRET};

struct Caller<'s>(&'s Slack, reqwest::Client);

impl Caller<'_> {
    fn new(slack: &Slack) -> Caller<'_> {
        Caller(slack, http_client().unwrap())
    }

    fn request(&self, method: &str, body: &Value) -> reqwest::RequestBuilder {
        let url = format!("{}/{method}", self.0.api_url());
        self.1.post(url).bearer_auth("xoxb-test").json(body)
    }

    async fn call(&self, method: &str, body: Value) -> Value {
        self.request(method, &body)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})
}

fn button(key: &str, value: &str) -> Value {
    let mut button = json!({"type": "button", "text": {"type": "plain_text", "text": "Go"}});
    button[key] = json!(value);
    json!([{"type": "actions", "elements": [button]}])
}

#[tokio::test]
async fn every_refusal_is_slacks_own() {
    let settings = Settings {
        create_channels: false,
        ..Settings::default()
    };
    let slack = Slack::start_with(settings).await.unwrap();
    slack.add_channel("C1", "one");
    let caller = Caller::new(&slack);
    let blocks = |blocks: Value| json!({"channel": "C1", "blocks": blocks});
    let header =
        json!([{"type": "header", "text": {"type": "plain_text", "text": "h".repeat(151)}}]);
    let context =
        json!([{"type": "context", "elements": vec![json!({"type": "mrkdwn", "text": "x"}); 11]}]);
    let cases = [
        (json!({"channel": "C2", "text": "x"}), "channel_not_found"),
        (json!({"channel": "C1"}), "no_text"),
        (
            json!({"channel": "C1", "text": "x".repeat(40_001)}),
            "msg_too_long",
        ),
        (blocks(json!(vec![section("x"); 51])), "invalid_blocks"),
        (
            blocks(json!([section(&"x".repeat(3001))])),
            "invalid_blocks",
        ),
        (blocks(json!([section("")])), "invalid_blocks"),
        (blocks(header), "invalid_blocks"),
        (blocks(context), "invalid_blocks"),
        (blocks(button("value", &"v".repeat(2001))), "invalid_blocks"),
        (
            blocks(button("action_id", &"a".repeat(256))),
            "invalid_blocks",
        ),
        (blocks(button("style", "green")), "invalid_blocks"),
        (blocks(json!([{"type": "dance"}])), "invalid_blocks"),
        (blocks(json!("{}")), "invalid_blocks_format"),
        (
            json!({"channel": "C1", "text": "x", "metadata": {"event_type": 1}}),
            "invalid_metadata_schema",
        ),
    ];
    for (arguments, expected) in cases {
        let answer = caller.call("chat.postMessage", arguments).await;
        assert_eq!(
            (&answer["ok"], &answer["error"]),
            (&json!(false), &json!(expected))
        );
    }
    let answer = caller
        .call(
            "chat.postMessage",
            blocks(json!([section(&"x".repeat(3001))])),
        )
        .await;
    let pointer = "[ERROR] must be less than 3001 characters [json-pointer:/blocks/0/text/text]";
    assert_eq!(answer["response_metadata"]["messages"], json!([pointer]));
    let lost = json!({"channel": "C1", "ts": "1700000000.000001"});
    assert_eq!(
        caller.call("conversations.replies", lost).await["error"],
        "thread_not_found"
    );
    assert_eq!(
        caller.call("chat.unknown", json!({})).await["error"],
        "unknown_method"
    );

    assert!(slack.all_messages().is_empty());
}

#[tokio::test]
async fn only_bot_tokens_are_let_in() {
    let slack = Slack::start().await.unwrap();
    let caller = Caller::new(&slack);
    let url = format!("{}/auth.test", slack.api_url());
    for (token, expected) in [(None, "not_authed"), (Some("xoxp-1"), "invalid_auth")] {
        let request = caller.1.post(&url);
        let request = token
            .iter()
            .fold(request, |request, token| request.bearer_auth(token));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.json::<Value>().await.unwrap()["error"], expected);
    }
}

#[tokio::test]
async fn a_thread_is_found_again_by_its_metadata_and_updates_keep_what_slack_keeps() {
    let slack = Slack::start().await.unwrap();
    let caller = Caller::new(&slack);
    let root = caller
        .call("chat.postMessage", json!({"channel": "C1", "text": "root"}))
        .await;
    let metadata = json!({"event_type": "tocsin_run", "event_payload": {"run_id": "r-1"}});
    let form = [
        ("token", "xoxb-form"),
        ("channel", "C1"),
        ("thread_ts", root["ts"].as_str().unwrap()),
        ("text", "reply"),
        ("blocks", &json!([section("one")]).to_string()),
        ("metadata", &metadata.to_string()),
    ];
    let url = format!("{}/chat.postMessage", slack.api_url());
    let reply: Value = caller
        .1
        .post(url)
        .form(&form)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let ts = reply["ts"].as_str().unwrap();

    let find = json!({"channel": "C1", "ts": root["ts"], "include_all_metadata": true});
    let thread = caller.call("conversations.replies", find).await;
    assert_eq!(thread["messages"][0]["reply_count"], 1);
    assert_eq!(thread["messages"][1]["metadata"], metadata);
    let history = caller
        .call("conversations.history", json!({"channel": "C1"}))
        .await;
    assert_eq!(
        history["messages"].as_array().unwrap().len(),
        1,
        "replies are not in the history"
    );
    assert_eq!(
        history["messages"][0]["metadata"],
        Value::Null,
        "only when asked for"
    );

    let update = |body: Value| caller.call("chat.update", body);
    update(json!({"channel": "C1", "ts": ts, "text": "t", "blocks": [section("two")]})).await;
    let message = slack.message("C1", ts).unwrap();
    assert_eq!((message.shown().as_str(), message.edited), ("two", false));
    update(json!({"channel": "C1", "ts": ts, "text": "three"})).await;
    let message = slack.message("C1", ts).unwrap();
    assert_eq!((message.shown().as_str(), message.edited), ("three", true));
    assert_eq!(message.metadata_value("run_id").as_deref(), Some("r-1"));
    assert!(message.ever_showed("one") && message.versions.len() == 3);
    update(json!({"channel": "C1", "ts": ts, "text": "x", "metadata": {}})).await;
    assert_eq!(slack.message("C1", ts).unwrap().metadata, None);

    let gone = json!({"channel": "C1", "ts": ts});
    assert_eq!(caller.call("chat.delete", gone.clone()).await["ok"], true);
    assert_eq!(
        caller.call("chat.delete", gone).await["error"],
        "message_not_found"
    );
}

#[tokio::test]
async fn history_pages_through_unique_increasing_timestamps() {
    let slack = Slack::start().await.unwrap();
    let caller = Caller::new(&slack);
    let posts =
        (0..25).map(|_| caller.call("chat.postMessage", json!({"channel": "C1", "text": "x"})));
    let posted: BTreeSet<String> = join_all(posts)
        .await
        .iter()
        .map(|post| post["ts"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(posted.len(), 25);

    let mut found = Vec::new();
    let mut cursor = json!("");
    loop {
        let ask = json!({"channel": "C1", "limit": 10, "cursor": cursor});
        let page = caller.call("conversations.history", ask).await;
        let messages = page["messages"].as_array().unwrap();
        found.extend(
            messages
                .iter()
                .map(|message| message["ts"].as_str().unwrap().to_owned()),
        );
        cursor = page["response_metadata"]["next_cursor"].clone();
        if page["has_more"] == false {
            break;
        }
    }
    found.reverse();
    assert!(posted.iter().eq(&found), "newest first, none twice");
    let ask = json!({"channel": "C1", "oldest": found[20]});
    let newest = caller.call("conversations.history", ask).await;
    assert_eq!(newest["messages"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn limits_and_failures_come_as_told() {
    let slack = Slack::start().await.unwrap();
    let caller = Caller::new(&slack);
    slack.set_rate_limits(RateLimits::posts(2));
    let post = json!({"channel": "C1", "text": "x"});
    for expected in [200, 200, 429] {
        let answer = caller
            .request("chat.postMessage", &post)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), expected);
        if expected == 429 {
            assert_eq!(answer.headers()["retry-after"], "1");
        }
    }
    let other = json!({"channel": "C2", "text": "x"});
    assert_eq!(
        caller.call("chat.postMessage", other).await["ok"],
        true,
        "limits are per channel"
    );

    slack.set_rate_limits(RateLimits::off());
    slack.fail_next("chat.postMessage", 1, &Fault::Status(503));
    slack.fail_next(
        "chat.postMessage",
        1,
        &Fault::Error("internal_error".to_owned()),
    );
    slack.fail_next("chat.postMessage", 1, &Fault::RateLimited(7));
    slack.fail_next("chat.postMessage", 1, &Fault::Refuse);
    let send = || caller.request("chat.postMessage", &post).send();
    assert_eq!(send().await.unwrap().status(), 503);
    let answer: Value = send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["error"], "internal_error");
    assert_eq!(send().await.unwrap().headers()["retry-after"], "7");
    assert!(send().await.is_err());
    assert_eq!(
        slack.messages("C1").len(),
        2,
        "none of the failed calls posted"
    );
    let outcomes: Vec<String> = slack.calls().into_iter().map(|call| call.outcome).collect();
    let expected = [
        "ok",
        "ok",
        "429",
        "ok",
        "503",
        "internal_error",
        "429",
        "refused",
    ];
    assert_eq!(outcomes, expected);
}

#[tokio::test]
async fn a_dropped_response_leaves_a_message_that_only_its_metadata_finds() {
    let slack = Slack::start().await.unwrap();
    let caller = Caller::new(&slack);
    slack.fail_next("chat.postMessage", 1, &Fault::DropResponse);
    let metadata = json!({"event_type": "tocsin_run", "event_payload": {"run_id": "r-9"}});
    let post = json!({"channel": "C1", "text": "x", "metadata": metadata});
    assert!(
        caller
            .request("chat.postMessage", &post)
            .send()
            .await
            .is_err()
    );

    let ask = json!({"channel": "C1", "include_all_metadata": true});
    let history = caller.call("conversations.history", ask).await;
    assert_eq!(history["messages"][0]["metadata"], metadata);
    assert_eq!(slack.messages("C1").len(), 1);
}

#[tokio::test]
async fn mentions_are_signed_and_retried_under_one_event_id() {
    let slack = Slack::start().await.unwrap();
    let ingress = Receiver::start(&[StatusCode::SERVICE_UNAVAILABLE]).await;
    let mention = Mention {
        channel: "C1".to_owned(),
        user: "U7".to_owned(),
        text: "what is wrong/here?  ü".to_owned(),
        twin: true,
        ..Mention::default()
    };
    let sent = slack
        .send(&ingress.url, SLACK_SECRET, mention)
        .await
        .unwrap();
    let statuses: Vec<u16> = sent
        .answers
        .iter()
        .map(|answer| answer.unwrap().as_u16())
        .collect();
    assert_eq!(statuses, [503, 200, 200]);

    let seen = ingress.seen();
    let bodies: Vec<Value> = seen
        .iter()
        .map(|delivery| serde_json::from_slice(&delivery.body).unwrap())
        .collect();
    seen.iter()
        .for_each(|delivery| delivery.assert_signed_by_slack());
    assert!(seen[0].body.is_ascii() && seen[0].body.windows(2).any(|pair| pair == b"\\/"));
    assert_eq!(seen[1].header("x-slack-retry-num"), "1");
    assert_eq!(seen[1].header("x-slack-retry-reason"), "http_error");
    assert_eq!(seen[0].body, seen[1].body);
    assert_ne!(bodies[1]["event_id"], bodies[2]["event_id"]);
    assert_eq!(bodies[0]["event"]["type"], "app_mention");
    assert_eq!(bodies[2]["event"]["type"], "message");
    assert_eq!(bodies[0]["event"]["ts"], bodies[2]["event"]["ts"]);
    assert_eq!(
        bodies[0]["event"]["text"],
        "<@U0TOCSIN> what is wrong/here?  ü"
    );
    let message = slack
        .wait_for_message("C1", |message| message.ts == sent.ts, LIMIT)
        .await
        .unwrap();
    assert_eq!(message.user, "U7");
}
