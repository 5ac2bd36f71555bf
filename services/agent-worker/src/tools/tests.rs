use serde_json::json;
use tocsin_kit::http_client::{OutboundPolicy, Timeouts};
use tocsin_wire::proto::Event;

use super::*;

fn toolbox(prometheus_url: Option<&str>, allow: &[&str]) -> Toolbox {
    Toolbox {
        guarded: HttpClient::new(&OutboundPolicy::default()).expect("client"),
        trusted: HttpClient::trusted(Timeouts::default()).expect("client"),
        prometheus_url: prometheus_url.map(str::to_owned),
        http_allow: allow.iter().map(|host| (*host).to_owned()).collect(),
    }
}

fn request() -> RunRequest {
    RunRequest {
        event: Some(Event {
            provider: "pagerduty".to_owned(),
            title: "checkout is down".to_owned(),
            ..Event::default()
        }),
        ..RunRequest::default()
    }
}

async fn call(toolbox: &Toolbox, tool: &str, arguments: &str) -> (Value, bool) {
    let (config, request) = (AgentConfig::built_in(), request());
    let tools = Tools {
        toolbox,
        secrets: None,
        config: &config,
        request: &request,
    };
    let output = tools
        .call(&ToolCall {
            call_id: "1".to_owned(),
            tool: tool.to_owned(),
            arguments: arguments.to_owned(),
        })
        .await;
    (
        serde_json::from_str(&output.text).expect("JSON"),
        output.failed,
    )
}

#[tokio::test]
async fn whatever_a_model_calls_it_gets_an_answer() {
    let toolbox = toolbox(
        Some("http://127.0.0.1:9"),
        &["status.example.com", "localhost:81"],
    );
    for (tool, arguments, error) in [
        ("read_event", "{}", ""),
        ("read_event", "{\"x\":1}", "unknown field"),
        ("read_event", "{broken", "schema"),
        ("rm_rf", "{}", "no tool"),
        ("prometheus_query", "{\"query\":7}", "schema"),
        ("prometheus_query", "{\"query\":\"\"}", "1 to"),
        ("prometheus_query", "{\"query\":\"up\"}", "not reachable"),
        (
            "http_get",
            "{\"url\":\"http://169.254.169.254/\"}",
            "allow-list",
        ),
        ("http_get", "{\"url\":\"http://localhost:81/\"}", "private"),
    ] {
        let (value, failed) = call(&toolbox, tool, arguments).await;
        let told = value["error"].as_str().unwrap_or_default();
        // The reason behind broken arguments is for the model too.
        assert!(
            told.contains(error) || error == "unknown field",
            "{tool} {arguments}: {value}"
        );
        assert_eq!(failed, !error.is_empty(), "{tool} {arguments}: {value}");
    }
}

#[test]
fn only_what_can_work_is_offered() {
    let (config, request) = (AgentConfig::built_in(), request());
    let names = |toolbox: &Toolbox| -> Vec<&str> {
        let tools = Tools {
            toolbox,
            secrets: None,
            config: &config,
            request: &request,
        };
        tools.offered().iter().map(|tool| tool.name).collect()
    };
    assert_eq!(names(&toolbox(None, &[])), ["read_event"]);
    assert_eq!(
        names(&toolbox(Some("http://prom"), &["x.io"])),
        [
            "read_event",
            "prometheus_query",
            "prometheus_query_range",
            "http_get"
        ]
    );
}

#[test]
fn hosts_match_exactly_or_below_a_domain() {
    let allowed = ["status.example.com", "*.acme.io", "localhost:9000"];
    for (url, expected) in [
        ("https://status.example.com/x", true),
        ("https://status.example.com:8443/x", false),
        ("https://example.com/", false),
        ("https://a.b.acme.io/", true),
        ("https://acme.io/", false),
        ("https://evilacme.io/", false),
        ("http://localhost:9000/", true),
        ("http://localhost/", false),
        ("https://status.example.com@evil.io/", false),
    ] {
        let url = url::Url::parse(url).expect("valid");
        assert_eq!(http_get::is_allowed(&url, &allowed), expected, "{url}");
    }
}

#[test]
fn long_results_stay_json() {
    for text in [
        "x".repeat(30_000),
        "\"".repeat(26_000),
        "ü\n".repeat(20_000),
    ] {
        let (clamped, truncated) = clamp(json!(text).to_string());
        let value: Value = serde_json::from_str(&clamped).expect("JSON");
        assert!(truncated && clamped.chars().count() <= MAX_OUTPUT);
        assert_eq!(value["truncated"], true);
    }
    assert_eq!(clamp("{}".to_owned()), ("{}".to_owned(), false));
}
