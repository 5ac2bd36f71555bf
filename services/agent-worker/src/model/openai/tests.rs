use super::*;

fn assemble(events: &[&str]) -> Result<Answer, StreamError> {
    let mut assembly = Assembly::default();
    for event in events {
        assembly.push(event)?;
    }
    assembly.finish(400)
}

fn delta(delta: &Value) -> String {
    json!({"choices": [{"index": 0, "delta": delta}]}).to_string()
}

const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const CALLS: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#;

#[test]
fn fragments_of_calls_are_put_together_by_index() {
    let answer = assemble(&[
        &delta(&json!({"role": "assistant", "content": null, "tool_calls": [
            {"index": 0, "id": "a", "type": "function", "function": {"name": "http_get", "arguments": ""}}]})),
        &delta(&json!({"tool_calls": [{"index": 1, "id": "a", "function": {"name": "read_event"}}]})),
        &delta(&json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"url\":"}}]})),
        &delta(&json!({"tool_calls": [{"index": 0, "function": {"arguments": "\"https://x\"}"}}]})),
        CALLS,
        r#"{"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":7,"total_tokens":19}}"#,
        "[DONE]",
    ])
    .expect("complete");
    let calls: Vec<_> = answer
        .calls
        .iter()
        .map(|call| {
            (
                call.call_id.as_str(),
                call.tool.as_str(),
                call.arguments.as_str(),
            )
        })
        .collect();
    assert_eq!(
        calls,
        [
            ("a", "http_get", r#"{"url":"https://x"}"#),
            ("call_1_a", "read_event", "{}")
        ],
        "ids are made unique, absent arguments are an empty object"
    );
    assert_eq!(
        (answer.usage.input_tokens, answer.usage.output_tokens),
        (12, 7)
    );
    assert!(!answer.usage.estimated);
}

#[test]
fn a_missing_usage_is_estimated_and_says_so() {
    let answer = assemble(&[&delta(&json!({"content": "12345678"})), STOP]).expect("complete");
    assert_eq!(answer.text, "12345678");
    let usage = answer.usage;
    assert_eq!(
        (usage.input_tokens, usage.output_tokens, usage.estimated),
        (100, 2, true)
    );
}

#[test]
fn what_is_no_answer_is_an_error() {
    let text = delta(&json!({"content": "half"}));
    assert_eq!(assemble(&[&text]), Err(StreamError::Incomplete));
    assert_eq!(assemble(&[&text, "[DONE]"]), Err(StreamError::Incomplete));
    assert_eq!(
        assemble(&[r#"{"error":{"message":"overloaded"}}"#]),
        Err(StreamError::Reported("overloaded".to_owned()))
    );
    assert!(matches!(assemble(&["<html>"]), Err(StreamError::Chunk(_))));
}

#[test]
fn requests_fit_the_kind_of_model() {
    let call = |arguments: &str| ToolCall {
        call_id: "1".to_owned(),
        tool: "read_event".to_owned(),
        arguments: arguments.to_owned(),
    };
    let mut request = Request {
        model: "gpt-4o".to_owned(),
        messages: vec![
            Message::System("be brief".to_owned()),
            Message::User("look".to_owned()),
            Message::Assistant {
                text: String::new(),
                calls: vec![call("{broken")],
            },
            Message::Tool {
                call_id: "1".to_owned(),
                output: "{}".to_owned(),
            },
        ],
        tools: vec![ToolSpec {
            name: "read_event",
            description: "Reads.",
            schema: json!({"type": "object"}),
        }],
        max_tokens: 500,
        temperature: Some(0.5),
        reasoning: None,
        verbosity: None,
    };
    insta::assert_json_snapshot!(body(&request));
    request.model = "openai/gpt-5-mini".to_owned();
    let reasoning = body(&request);
    assert_eq!(reasoning["max_completion_tokens"], 500);
    assert_eq!(reasoning["reasoning_effort"], "medium");
    assert!(reasoning.get("temperature").is_none() && reasoning.get("max_tokens").is_none());
}
