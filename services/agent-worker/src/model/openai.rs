//! The dialect of OpenAI's Chat Completions, which most endpoints speak.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tocsin_wire::proto::{ToolCall, Usage};

use super::{Answer, Request, ToolSpec};
use crate::decide::Message;

/// Characters per token when the endpoint tells no usage: the usual rule of thumb for English and JSON.
const CHARACTERS_PER_TOKEN: usize = 4;
/// Longest text and arguments that are kept: a journal message holds one turn and may have 1 MB.
const MAX_TEXT: usize = 200_000;
const MAX_ARGUMENTS: usize = 50_000;
/// More calls in one turn are not made.
const MAX_CALLS: usize = 32;
/// Marks the end of a stream.
const DONE: &str = "[DONE]";

/// The body of a request.
pub(super) fn body(request: &Request) -> Value {
    let mut body = Map::new();
    let mut put = |key: &str, value: Value| body.insert(key.to_owned(), value);
    put("model", json!(request.model));
    put("stream", json!(true));
    put("stream_options", json!({"include_usage": true}));
    put("messages", request.messages.iter().map(message).collect());
    if is_reasoning(&request.model) {
        // These models refuse max_tokens and any temperature but the default.
        put("max_completion_tokens", json!(request.max_tokens));
        put(
            "reasoning_effort",
            json!(request.reasoning.as_deref().unwrap_or("medium")),
        );
        if let Some(verbosity) = &request.verbosity {
            put("verbosity", json!(verbosity));
        }
    } else {
        put("max_tokens", json!(request.max_tokens));
        if let Some(temperature) = request.temperature {
            put("temperature", json!(temperature));
        }
    }
    if !request.tools.is_empty() {
        put("tools", request.tools.iter().map(tool).collect());
    }
    Value::Object(body)
}

fn is_reasoning(model: &str) -> bool {
    // A gateway writes "openai/gpt-5".
    let name = model.rsplit('/').next().unwrap_or(model);
    ["o1", "o3", "o4", "gpt-5"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

fn message(message: &Message) -> Value {
    match message {
        Message::System(text) => json!({"role": "system", "content": text}),
        Message::User(text) => json!({"role": "user", "content": text}),
        Message::Assistant { text, calls } if calls.is_empty() => {
            json!({"role": "assistant", "content": text})
        }
        Message::Assistant { text, calls } => {
            let calls: Vec<Value> = calls
                .iter()
                .map(|call| {
                    json!({"id": call.call_id, "type": "function",
                        "function": {"name": call.tool, "arguments": arguments(call)}})
                })
                .collect();
            let content = if text.is_empty() {
                Value::Null
            } else {
                json!(text)
            };
            json!({"role": "assistant", "content": content, "tool_calls": calls})
        }
        Message::Tool { call_id, output } => {
            json!({"role": "tool", "tool_call_id": call_id, "content": output})
        }
    }
}

/// Endpoints that read the arguments again refuse broken JSON; the model hears of it as a tool error.
fn arguments(call: &ToolCall) -> &str {
    let is_json = serde_json::from_str::<&serde_json::value::RawValue>(&call.arguments).is_ok();
    if is_json { &call.arguments } else { "{}" }
}

fn tool(tool: &ToolSpec) -> Value {
    json!({"type": "function", "function": {
        "name": tool.name, "description": tool.description, "parameters": tool.schema}})
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<ChunkUsage>,
    /// Some endpoints report a failure inside the stream.
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<Fragment>>,
}

#[derive(Deserialize)]
struct Fragment {
    /// Absent at endpoints that send each call in one piece.
    #[serde(default)]
    index: Option<u32>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct ChunkUsage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

/// Why a stream gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    #[error("the endpoint sent something that is no chunk of a chat completion: {0}")]
    Chunk(String),
    #[error("the endpoint reported an error: {0}")]
    Reported(String),
    #[error("the answer broke off before it was complete")]
    Incomplete,
}

/// Puts the pieces of a streamed answer together.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    text: String,
    calls: BTreeMap<u32, ToolCall>,
    finish_reason: Option<String>,
    usage: Option<Usage>,
    done: bool,
}

impl Assembly {
    /// The data of one event.
    pub(super) fn push(&mut self, data: &str) -> Result<(), StreamError> {
        if data.trim() == DONE {
            self.done = true;
            return Ok(());
        }
        let chunk: Chunk = serde_json::from_str(data)
            .map_err(|_| StreamError::Chunk(data.chars().take(200).collect()))?;
        if let Some(error) = chunk.error {
            let message = error.get("message").and_then(Value::as_str);
            let told = message.map_or_else(|| error.to_string(), str::to_owned);
            return Err(StreamError::Reported(told.chars().take(500).collect()));
        }
        if let Some(usage) = chunk.usage {
            self.usage = Some(Usage {
                input_tokens: usage.prompt_tokens,
                output_tokens: usage.completion_tokens,
                ..Usage::default()
            });
        }
        for choice in chunk.choices {
            if choice.index == 0 {
                self.choice(choice);
            }
        }
        Ok(())
    }

    pub(super) const fn is_done(&self) -> bool {
        self.done
    }

    fn choice(&mut self, choice: Choice) {
        if let Some(reason) = choice.finish_reason {
            self.finish_reason = Some(reason);
        }
        let Some(delta) = choice.delta else { return };
        for text in [delta.content, delta.refusal].into_iter().flatten() {
            push_capped(&mut self.text, &text, MAX_TEXT);
        }
        for fragment in delta.tool_calls.unwrap_or_default() {
            self.fragment(fragment);
        }
    }

    fn fragment(&mut self, fragment: Fragment) {
        let next = self.calls.keys().next_back().map_or(0, |last| last + 1);
        let index = fragment.index.unwrap_or(next);
        if self.calls.len() >= MAX_CALLS && !self.calls.contains_key(&index) {
            return;
        }
        let call = self.calls.entry(index).or_default();
        if let Some(id) = fragment.id.filter(|id| !id.is_empty()) {
            call.call_id = id;
        }
        let Some(function) = fragment.function else {
            return;
        };
        if let Some(name) = function.name {
            push_capped(&mut call.tool, &name, 200);
        }
        if let Some(arguments) = function.arguments {
            push_capped(&mut call.arguments, &arguments, MAX_ARGUMENTS);
        }
    }

    /// The whole answer. `prompt` is the request's length in characters, in case no usage was told.
    pub(super) fn finish(self, prompt: usize) -> Result<Answer, StreamError> {
        // A stream may end without [DONE], but not without saying why it ended.
        let Some(finish_reason) = self.finish_reason else {
            return Err(StreamError::Incomplete);
        };
        let written: usize = self.calls.values().map(|call| call.arguments.len()).sum();
        let usage = self
            .usage
            .unwrap_or_else(|| estimate(prompt, self.text.len() + written));
        Ok(Answer {
            text: self.text,
            calls: with_unique_ids(self.calls.into_values()),
            usage,
            finish_reason,
        })
    }
}

fn push_capped(target: &mut String, more: &str, most: usize) {
    let room = most.saturating_sub(target.len());
    let mut end = more.len().min(room);
    while !more.is_char_boundary(end) {
        end -= 1;
    }
    target.push_str(more.get(..end).unwrap_or_default());
}

fn estimate(prompt: usize, answer: usize) -> Usage {
    let tokens = |characters: usize| {
        u64::try_from(characters.div_ceil(CHARACTERS_PER_TOKEN)).unwrap_or(u64::MAX)
    };
    Usage {
        input_tokens: tokens(prompt),
        output_tokens: tokens(answer),
        estimated: true,
        ..Usage::default()
    }
}

/// Results are told by id, so each call needs one of its own.
fn with_unique_ids(calls: impl Iterator<Item = ToolCall>) -> Vec<ToolCall> {
    let mut taken = HashSet::new();
    calls
        .enumerate()
        .map(|(index, mut call)| {
            if call.call_id.is_empty() || !taken.insert(call.call_id.clone()) {
                call.call_id = format!("call_{index}_{}", call.call_id);
                taken.insert(call.call_id.clone());
            }
            if call.arguments.trim().is_empty() {
                // Endpoints send nothing for a tool without arguments.
                "{}".clone_into(&mut call.arguments);
            }
            call
        })
        .collect()
}

#[cfg(test)]
mod tests;
