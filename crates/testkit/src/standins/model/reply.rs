//! An answer in Chat Completions' two forms: one object, or chunks. Pure.

use serde_json::{Value, json};

use super::Failure;
use super::script::Next;

/// Characters per chunk: small, so that a client must put arguments together.
const ARGUMENT_CHUNK: usize = 9;
const TEXT_CHUNK: usize = 24;

pub(super) struct Reply {
    pub(super) id: String,
    pub(super) model: String,
    /// Seconds since 1970.
    pub(super) created: i64,
    pub(super) text: String,
    /// Id, name and arguments.
    pub(super) calls: Vec<(String, String, String)>,
    pub(super) finish_reason: &'static str,
    pub(super) prompt_tokens: usize,
}

impl Reply {
    /// `unique` makes ids; the same failure that the caller will play bends the content.
    pub(super) fn new(
        next: &Next,
        failure: Option<&Failure>,
        body: &Value,
        unique: &str,
        created: i64,
    ) -> Reply {
        let mut calls = Vec::new();
        for (index, (name, arguments)) in next.calls.iter().enumerate() {
            let name = match failure {
                Some(Failure::UnknownTool) => "delete_everything".to_owned(),
                _ => name.clone(),
            };
            let arguments = match failure {
                Some(Failure::MalformedArguments) => {
                    format!(
                        "{{\"query\": {}",
                        arguments.chars().take(12).collect::<String>()
                    )
                }
                _ => arguments.clone(),
            };
            calls.push((format!("call_{unique}{index}"), name, arguments));
        }
        let mut text = next.text.clone();
        let mut finish_reason = if calls.is_empty() {
            "stop"
        } else {
            "tool_calls"
        };
        if failure == Some(&Failure::Truncate) {
            finish_reason = "length";
            calls.clear();
            text = text.chars().take(text.chars().count() / 2).collect();
        }
        let model = body
            .get("model")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let prompt_tokens = tokens(&body.to_string());
        let id = format!("chatcmpl-{unique}");
        Reply {
            id,
            model,
            created,
            text,
            calls,
            finish_reason,
            prompt_tokens,
        }
    }

    fn usage(&self) -> Value {
        let said =
            |(_, name, arguments): &(String, String, String)| tokens(name) + tokens(arguments);
        let completion = tokens(&self.text) + self.calls.iter().map(said).sum::<usize>();
        json!({
            "prompt_tokens": self.prompt_tokens, "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        })
    }

    pub(super) fn whole(&self) -> Value {
        let content = if self.text.is_empty() {
            Value::Null
        } else {
            json!(self.text)
        };
        let mut message = json!({"role": "assistant", "content": content, "refusal": null});
        if let (false, Some(message)) = (self.calls.is_empty(), message.as_object_mut()) {
            let call = |(id, name, arguments): &(String, String, String)| {
                json!({"id": id, "type": "function",
                    "function": {"name": name, "arguments": arguments}})
            };
            message.insert(
                "tool_calls".to_owned(),
                self.calls.iter().map(call).collect(),
            );
        }
        json!({
            "id": self.id, "object": "chat.completion", "created": self.created,
            "model": self.model, "system_fingerprint": "fp_standin", "usage": self.usage(),
            "choices": [{"index": 0, "message": message, "logprobs": null,
                "finish_reason": self.finish_reason}],
        })
    }

    /// The `data:` payloads of the stream, `[DONE]` left out.
    pub(super) fn chunks(&self, include_usage: bool) -> Vec<Value> {
        let mut deltas = vec![json!({"role": "assistant", "content": "", "refusal": null})];
        deltas.extend(pieces(&self.text, TEXT_CHUNK).map(|piece| json!({"content": piece})));
        for (index, (id, name, arguments)) in self.calls.iter().enumerate() {
            deltas.push(
                json!({"tool_calls": [{"index": index, "id": id, "type": "function",
                "function": {"name": name, "arguments": ""}}]}),
            );
            let fragment = |piece: String| json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]});
            deltas.extend(pieces(arguments, ARGUMENT_CHUNK).map(fragment));
        }
        let mut chunks: Vec<Value> = deltas
            .into_iter()
            .map(|delta| {
                self.chunk(
                    &json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]),
                )
            })
            .collect();
        chunks.push(
            self.chunk(&json!([{"index": 0, "delta": {}, "logprobs": null,
            "finish_reason": self.finish_reason}])),
        );
        if include_usage {
            for chunk in &mut chunks {
                add_usage(chunk, Value::Null);
            }
            let mut last = self.chunk(&json!([]));
            add_usage(&mut last, self.usage());
            chunks.push(last);
        }
        chunks
    }

    fn chunk(&self, choices: &Value) -> Value {
        json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created,
            "model": self.model, "system_fingerprint": "fp_standin", "choices": choices,
        })
    }
}

fn add_usage(chunk: &mut Value, usage: Value) {
    if let Some(chunk) = chunk.as_object_mut() {
        chunk.insert("usage".to_owned(), usage);
    }
}

fn pieces(text: &str, length: usize) -> impl Iterator<Item = String> {
    let letters: Vec<char> = text.chars().collect();
    let pieces: Vec<String> = letters
        .chunks(length)
        .map(|piece| piece.iter().collect())
        .collect();
    pieces.into_iter()
}

/// About four characters a token.
fn tokens(text: &str) -> usize {
    text.len().div_ceil(4)
}
