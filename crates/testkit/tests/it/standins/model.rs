use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tocsin_testkit::standins::model::{Failure, Model, Settings};
use tocsin_testkit::standins::{Prometheus, http_client};

/// The smallest agent: calls the tools that the model asks for until it answers.
struct Agent {
    client: reqwest::Client,
    model: Model,
    prometheus: Prometheus,
    title: &'static str,
    messages: Vec<Value>,
}

#[derive(Debug, Default)]
struct Said {
    text: String,
    /// By index: id, name, arguments.
    calls: BTreeMap<u64, (String, String, String)>,
    finish_reason: String,
    usage: Value,
}

impl Agent {
    async fn start(title: &'static str) -> Agent {
        Agent {
            client: http_client().unwrap(),
            model: Model::start().await.unwrap(),
            prometheus: Prometheus::start().await.unwrap(),
            title,
            messages: vec![
                json!({"role": "system", "content": "You investigate. Answer with one JSON object."}),
                json!({"role": "user", "content": "Investigate the event."}),
            ],
        }
    }

    fn request(&self, stream: bool, tools: bool) -> reqwest::RequestBuilder {
        let tool =
            |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {}}});
        let mut body = json!({"model": "scripted", "messages": self.messages, "stream": stream,
            "max_tokens": 4096, "stream_options": {"include_usage": true}});
        if tools {
            body["tools"] = json!([tool("read_event"), tool("prometheus_query")]);
        }
        let url = format!("{}/chat/completions", self.model.base_url());
        self.client.post(url).bearer_auth("sk-test").json(&body)
    }

    async fn say(&self) -> Said {
        let answer = self.request(true, true).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        put_together(&answer.text().await.unwrap())
    }

    /// Answers each call, a broken one with an error.
    async fn answer(&mut self, said: &Said) {
        let calls: Vec<Value> = said.calls.values().map(|(id, name, arguments)| {
            json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
        }).collect();
        self.messages
            .push(json!({"role": "assistant", "content": said.text, "tool_calls": calls}));
        for (id, name, arguments) in said.calls.values() {
            let content = match (name.as_str(), serde_json::from_str::<Value>(arguments)) {
                ("read_event", Ok(_)) => {
                    json!({"provider": "pagerduty", "title": self.title, "severity": "high"})
                        .to_string()
                }
                ("prometheus_query", Ok(arguments)) => self.query(&arguments["query"]).await,
                _ => json!({"error": "arguments are not JSON, or no such tool"}).to_string(),
            };
            self.messages
                .push(json!({"role": "tool", "tool_call_id": id, "content": content}));
        }
    }

    async fn query(&self, query: &Value) -> String {
        let url = format!("{}/api/v1/query", self.prometheus.url());
        let form = [("query", query.as_str().unwrap())];
        self.client
            .post(url)
            .form(&form)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    async fn investigate(&mut self) -> Value {
        for _ in 0..10 {
            let said = self.say().await;
            if said.calls.is_empty() {
                assert_eq!(said.finish_reason, "stop");
                return serde_json::from_str(&said.text).unwrap();
            }
            assert_eq!(said.finish_reason, "tool_calls");
            self.answer(&said).await;
        }
        panic!("no answer within ten turns: {:?}", self.messages);
    }
}

fn put_together(stream: &str) -> Said {
    let mut said = Said::default();
    assert!(stream.ends_with("data: [DONE]\n\n"));
    let lines = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    for line in lines.filter(|line| *line != "[DONE]") {
        let chunk: Value = serde_json::from_str(line).unwrap();
        let Some(choice) = chunk["choices"].get(0) else {
            said.usage = chunk["usage"].clone();
            continue;
        };
        said.text
            .push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        for call in choice["delta"]["tool_calls"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let known = said
                .calls
                .entry(call["index"].as_u64().unwrap())
                .or_default();
            known.0.push_str(call["id"].as_str().unwrap_or_default());
            known
                .1
                .push_str(call["function"]["name"].as_str().unwrap_or_default());
            known
                .2
                .push_str(call["function"]["arguments"].as_str().unwrap_or_default());
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            reason.clone_into(&mut said.finish_reason);
        }
    }
    said
}

#[tokio::test]
async fn the_root_cause_follows_from_the_data() {
    let cases = [
        (
            "connection-pool",
            "Database connection pool of payments exhausted: 100 of 100 connections in use.",
        ),
        (
            "bad-deploy",
            "Bad deploy v2.41.0 of payments: error rate 37 % against 0.4 % of v2.40.3.",
        ),
        (
            "out-of-memory",
            "payments runs out of memory: 12 containers killed in 10 minutes.",
        ),
    ];
    for (cause, expected) in cases {
        let mut agent = Agent::start("checkout-api: 5xx error rate above 5 %").await;
        agent.prometheus.set_cause(cause).unwrap();
        let found = agent.investigate().await;
        assert_eq!(found["root_cause"], expected);
        let outcomes: Vec<String> = agent
            .model
            .requests()
            .into_iter()
            .map(|request| request.outcome)
            .collect();
        let turns = "tool_calls";
        assert_eq!(outcomes, [turns, turns, turns, turns, turns, "stop"]);
    }
    let mut agent = Agent::start("checkout-api: 5xx error rate above 5 %").await;
    agent
        .prometheus
        .set("db_pool_in_use", &[("service", "payments")], 97.0);
    let found = agent.investigate().await;
    assert!(
        found["root_cause"].as_str().unwrap().contains("97 of 100"),
        "{found}"
    );
}

#[tokio::test]
async fn another_alert_is_answered_by_the_general_script() {
    let mut agent = Agent::start("Disk of db-3 is full").await;
    let found = agent.investigate().await;
    assert_eq!(found["summary"], "Disk of db-3 is full");
    assert_eq!(agent.model.request_count(), 2);

    agent.messages.truncate(2);
    let answer = agent
        .request(false, false)
        .send()
        .await
        .unwrap()
        .json::<Value>()
        .await
        .unwrap();
    let choice = &answer["choices"][0];
    assert_eq!(
        choice["finish_reason"], "stop",
        "without tools it must answer at once"
    );
    assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn broken_calls_do_not_count_as_done() {
    let mut agent = Agent::start("checkout").await;
    agent.model.fail_next(1, &Failure::MalformedArguments);
    agent.model.fail_next(1, &Failure::UnknownTool);
    let broken = agent.say().await;
    assert!(serde_json::from_str::<Value>(&broken.calls[&0].2).is_err());
    agent.answer(&broken).await;
    let unknown = agent.say().await;
    assert_eq!(unknown.calls[&0].1, "delete_everything");
    agent.answer(&unknown).await;
    let sound = agent.say().await;
    assert_eq!(sound.calls[&0].1, "read_event");
    assert!(sound.usage["total_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn refusals_and_failures_are_the_apis_own() {
    let agent = Agent::start("checkout").await;
    let url = format!("{}/chat/completions", agent.model.base_url());
    let refused = agent
        .client
        .post(&url)
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 401);

    let call = json!({"id": "call_1", "type": "function",
        "function": {"name": "read_event", "arguments": "{}"}});
    let user = json!({"role": "user", "content": "x"});
    let called = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let cases = [
        json!([]),
        json!([user, called]),
        json!([user, called, user]),
        json!([user, {"role": "tool", "tool_call_id": "call_9", "content": "x"}]),
    ];
    for messages in cases {
        let body = json!({"model": "m", "messages": messages});
        let answer = agent
            .client
            .post(&url)
            .bearer_auth("sk")
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 400, "{body}");
        assert_eq!(
            answer.json::<Value>().await.unwrap()["error"]["type"],
            "invalid_request_error"
        );
    }

    agent.model.fail_next(
        1,
        &Failure::Status {
            status: 429,
            retry_after: Some(3),
        },
    );
    let limited = agent.request(true, true).send().await.unwrap();
    assert_eq!(
        (limited.status().as_u16(), &limited.headers()["retry-after"]),
        (429, &"3".parse().unwrap())
    );

    agent.model.fail_next(1, &Failure::CutMidStream);
    let cut = agent.request(true, true).send().await.unwrap();
    assert_eq!(cut.status(), 200);
    assert!(cut.text().await.is_err(), "the stream ends without its end");

    agent.model.fail_next(1, &Failure::Truncate);
    assert_eq!(agent.say().await.finish_reason, "length");

    agent.model.fail_next(1, &Failure::StallMidStream);
    let mut stalled = agent.request(true, true).send().await.unwrap();
    assert!(stalled.chunk().await.unwrap().is_some());
    let rest = async { while stalled.chunk().await.is_ok_and(|chunk| chunk.is_some()) {} };
    assert!(
        tokio::time::timeout(Duration::from_millis(300), rest)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn the_model_takes_its_time_and_one_key_only() {
    let delay = Duration::from_millis(200);
    let api_key = Some("sk-right".to_owned());
    let model = Model::start_with(Settings {
        api_key,
        delay,
        ..Settings::new().unwrap()
    })
    .await
    .unwrap();
    let url = format!("{}/chat/completions", model.base_url());
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    let ask = |key| {
        http_client()
            .unwrap()
            .post(&url)
            .bearer_auth(key)
            .json(&body)
            .send()
    };
    assert_eq!(ask("sk-wrong").await.unwrap().status(), 401);
    let asked = tokio::time::Instant::now();
    assert_eq!(ask("sk-right").await.unwrap().status(), 200);
    assert!(asked.elapsed() >= delay);
}
