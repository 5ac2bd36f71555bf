//! A chat completion request, checked as strictly as the real API checks it. Pure.

use std::collections::HashMap;

use serde_json::Value;

/// What a script needs to know of a request.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// What people and tools said.
    pub(super) text: String,
    /// Name and result of each tool call with sound arguments, in the order of the calls. A result
    /// that is not JSON is a text.
    pub(super) results: Vec<(String, Value)>,
    /// Names of the tools on offer.
    pub(super) offered: Vec<String>,
    /// Per assistant message with sound calls: the tools it called.
    called: Vec<Vec<String>>,
}

impl Conversation {
    /// How many turns with known tools the conversation has.
    pub(super) fn turns_done(&self, known: impl Fn(&str) -> bool) -> usize {
        self.called
            .iter()
            .filter(|names| names.iter().all(|name| known(name)))
            .count()
    }

    /// # Errors
    /// What the real API would say under HTTP 400.
    pub(super) fn read(body: &Value) -> Result<Conversation, String> {
        if body
            .get("model")
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
        {
            return Err("you must provide a model parameter".to_owned());
        }
        let messages = body.get("messages").and_then(Value::as_array);
        let messages = messages.filter(|messages| !messages.is_empty());
        let messages = messages.ok_or("Invalid 'messages': empty array or missing.")?;
        let mut conversation = Conversation {
            offered: offered(body)?,
            ..Default::default()
        };
        let mut open: HashMap<String, usize> = HashMap::new();
        for (index, message) in messages.iter().enumerate() {
            let role = message
                .get("role")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if role != "tool" && !open.is_empty() {
                return Err(unanswered(&open));
            }
            match role {
                "system" | "developer" => {}
                "user" => conversation.add_text(&content(message)),
                "assistant" => conversation.add_calls(message, index, &mut open)?,
                "tool" => conversation.add_result(message, index, &mut open)?,
                _ => {
                    return Err(format!(
                        "Invalid value: {role:?} at 'messages[{index}].role'."
                    ));
                }
            }
        }
        if open.is_empty() {
            Ok(conversation)
        } else {
            Err(unanswered(&open))
        }
    }

    fn add_text(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn add_calls(
        &mut self,
        message: &Value,
        index: usize,
        open: &mut HashMap<String, usize>,
    ) -> Result<(), String> {
        let calls = message
            .get("tool_calls")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let mut names = Vec::new();
        let mut sound = !calls.is_empty();
        for call in &calls {
            let text = |pointer: &str| call.pointer(pointer).and_then(Value::as_str);
            let (Some(id), Some(name), Some(arguments)) = (
                text("/id"),
                text("/function/name"),
                text("/function/arguments"),
            ) else {
                return Err(format!(
                    "Invalid 'messages[{index}].tool_calls': incomplete call."
                ));
            };
            let whole = serde_json::from_str::<Value>(arguments).is_ok();
            sound &= whole;
            // A place for the result; an unsound call's does not count.
            let slot = if whole {
                self.results.len()
            } else {
                usize::MAX
            };
            if whole {
                self.results.push((name.to_owned(), Value::Null));
            }
            open.insert(id.to_owned(), slot);
            names.push(name.to_owned());
        }
        if sound {
            self.called.push(names);
        }
        Ok(())
    }

    fn add_result(
        &mut self,
        message: &Value,
        index: usize,
        open: &mut HashMap<String, usize>,
    ) -> Result<(), String> {
        let id = message
            .get("tool_call_id")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let slot = open.remove(id).ok_or_else(|| {
            format!(
                "Invalid parameter: messages with role 'tool' must be a response to a preceding \
                 message with 'tool_calls' ('messages[{index}].tool_call_id' is {id:?})."
            )
        })?;
        let text = content(message);
        self.add_text(&text);
        if let Some((_, result)) = self.results.get_mut(slot) {
            *result = parse_result(&text);
        }
        Ok(())
    }
}

fn unanswered(open: &HashMap<String, usize>) -> String {
    let mut ids: Vec<&String> = open.keys().collect();
    ids.sort();
    format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to \
         each 'tool_call_id'. The following tool_call_ids did not have response messages: {ids:?}"
    )
}

/// A result may be wrapped in words that mark it as untrusted: the JSON object inside counts.
fn parse_result(text: &str) -> Value {
    let inside = text
        .find('{')
        .zip(text.rfind('}'))
        .and_then(|(from, to)| text.get(from..=to));
    let parsed = serde_json::from_str(text).ok();
    let parsed = parsed.or_else(|| serde_json::from_str(inside?).ok());
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn offered(body: &Value) -> Result<Vec<String>, String> {
    if body.get("tool_choice").and_then(Value::as_str) == Some("none") {
        return Ok(Vec::new());
    }
    let tools = body
        .get("tools")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let name = |(index, tool): (usize, &Value)| {
        let name = tool.pointer("/function/name").and_then(Value::as_str);
        let name = name.filter(|_| tool.get("type").and_then(Value::as_str) == Some("function"));
        name.map(str::to_owned)
            .ok_or_else(|| format!("Missing required parameter: 'tools[{index}].function.name'."))
    };
    tools.iter().enumerate().map(name).collect()
}

/// A text, or text parts.
fn content(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts = parts
                .iter()
                .filter_map(|part| part.get("text").and_then(Value::as_str));
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}
