//! The script format, and what a script says next. Pure.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::conversation::Conversation;
use super::template;
use crate::standins::Error;

/// A script, as its file has it:
///
/// ```json
/// {"name": "disk",
///  "match": ["disk full"],
///  "turns": [{"say": "Looking.", "tools": [{"name": "read_event", "arguments": {}}]}],
///  "answers": [
///    {"when": [{"value": "{{tool:prometheus_query#1/data/result/0/value/1}}", "is": ">=", "than": 0.9}],
///     "answer": {"summary": "{{tool:read_event#1/title}}: the disk is full"}},
///    {"answer": {"summary": "No finding"}}]}
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    pub name: String,
    /// Followed when a person's message or a tool's result contains any of these, whatever the
    /// case; without any, always.
    #[serde(default, rename = "match")]
    pub matches: Vec<String>,
    /// One answer with tool calls each, in order.
    #[serde(default)]
    pub turns: Vec<Turn>,
    /// After the last turn: the first whose conditions all hold.
    pub answers: Vec<Answer>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Text beside the calls; may quote results.
    #[serde(default)]
    pub say: String,
    pub tools: Vec<ToolCall>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    pub name: String,
    /// Texts in it may quote results.
    #[serde(default)]
    pub arguments: Map<String, Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    #[serde(default)]
    pub when: Vec<Condition>,
    /// A text, or an object that is sent as its JSON text. Texts in it may quote results.
    pub answer: Value,
}

/// `value [/ over] is than`. A value that is missing or not a number holds for nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    pub value: Value,
    /// Divides `value`.
    pub over: Option<Value>,
    /// `>=`, `>`, `<=`, `<`; `=` also compares texts.
    pub is: String,
    pub than: Value,
}

/// What the model says next.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Next {
    pub(super) script: String,
    pub(super) turn: usize,
    pub(super) text: String,
    /// Name and JSON arguments.
    pub(super) calls: Vec<(String, String)>,
}

impl Script {
    /// # Errors
    /// [`Error::Parse`] or [`Error::Invalid`], naming `what`.
    pub fn parse(what: &str, json: &str) -> Result<Script, Error> {
        let parsed = serde_json::from_str(json);
        let script: Script = parsed.map_err(|source| Error::Parse {
            what: what.to_owned(),
            source,
        })?;
        let mut conditions = script.answers.iter().flat_map(|answer| &answer.when);
        let operators = [">=", ">", "<=", "<", "="];
        let problem = if script
            .answers
            .last()
            .is_none_or(|answer| !answer.when.is_empty())
        {
            "the last answer must have no conditions".to_owned()
        } else if let Some(odd) = conditions.find(|known| !operators.contains(&known.is.as_str())) {
            format!("condition {:?} is not one of {operators:?}", odd.is)
        } else {
            return Ok(script);
        };
        Err(Error::Invalid {
            what: what.to_owned(),
            problem,
        })
    }

    fn fits(&self, text: &str) -> bool {
        self.matches.is_empty()
            || self
                .matches
                .iter()
                .any(|part| text.contains(&part.to_lowercase()))
    }

    fn offers(&self, name: &str) -> bool {
        self.turns
            .iter()
            .flat_map(|turn| &turn.tools)
            .any(|tool| tool.name == name)
    }
}

/// The next step of the first script that fits. Turns that the conversation already has are done;
/// without tools on offer, the final answer comes at once.
pub(super) fn next(scripts: &[Script], conversation: &Conversation) -> Option<Next> {
    let text = conversation.text.to_lowercase();
    let script = scripts.iter().find(|script| script.fits(&text))?;
    let done = conversation.turns_done(|name| script.offers(name));
    let results = &conversation.results;
    if let Some(turn) = script.turns.get(done).filter(|turn| {
        turn.tools
            .iter()
            .all(|tool| conversation.offered.contains(&tool.name))
    }) {
        let call = |tool: &ToolCall| {
            let arguments = template::fill(&Value::Object(tool.arguments.clone()), results);
            (tool.name.clone(), arguments.to_string())
        };
        return Some(Next {
            script: script.name.clone(),
            turn: done,
            text: template::fill_text(&turn.say, results),
            calls: turn.tools.iter().map(call).collect(),
        });
    }
    let holds = |answer: &&Answer| answer.when.iter().all(|condition| condition.holds(results));
    let answer = script.answers.iter().find(holds)?;
    let text = match template::fill(&answer.answer, results) {
        Value::String(text) => text,
        object => object.to_string(),
    };
    let (script, turn) = (script.name.clone(), script.turns.len());
    Some(Next {
        script,
        turn,
        text,
        calls: Vec::new(),
    })
}

impl Condition {
    fn holds(&self, results: &[(String, Value)]) -> bool {
        let read = |value: &Value| template::fill(value, results);
        let than = read(&self.than);
        let (Some(left), Some(right)) = (number(&read(&self.value)), number(&than)) else {
            return self.is == "=" && self.over.is_none() && read(&self.value) == than;
        };
        let left = match self.over.as_ref().map(|over| number(&read(over))) {
            None => left,
            Some(Some(over)) => left / over,
            Some(None) => return false,
        };
        match self.is.as_str() {
            ">=" => left >= right,
            ">" => left > right,
            "<=" => left <= right,
            "<" => left < right,
            _ => (left - right).abs() < f64::EPSILON,
        }
    }
}

fn number(value: &Value) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
    number.filter(|number| !number.is_nan())
}
