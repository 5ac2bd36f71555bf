//! A team's rules for events, as they stand under `rules` in its config.
//!
//! ```yaml
//! rules:
//!   - name: payments to the specialist
//!     when: severity in ['high', 'critical'] and 'payment' in title|lower
//!     then: {agent: payments}
//!   - name: quiet staging
//!     when: attributes.environment == 'staging'
//!     then: ignore
//! ```
//!
//! The first rule that is enabled and whose `when` holds decides; when none does, the team's triggers
//! do. `then` is `{agent: <id>}` (start a run with this agent, whatever kind of event it is), `ignore`
//! (start nothing), `join` (hand the event to the run that is open for the same alert or conversation,
//! or start one with the team's own agent where none is), or `{flow: <id>}`. A node's list replaces the
//! one from above as a whole. The names that `when` may use are [`crate::event_form::names`].

use serde_json::{Map, Value};

/// Rules of one team; each costs a few microseconds per event.
pub const MAX_RULES: usize = 100;

/// Longest name of a rule, in characters: it stands in every decision.
pub const MAX_NAME_CHARACTERS: usize = 100;

/// Longest id of an agent or a flow, in bytes.
const MAX_ID_BYTES: usize = 128;

const FIELDS: [&str; 4] = ["name", "when", "then", "enabled"];

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// For people; unique in its list.
    pub name: String,
    /// An expression over the event.
    pub when: String,
    /// What happens when it holds.
    pub then: Then,
    /// Switched off rules are only kept.
    pub is_enabled: bool,
}

/// What a rule does with an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// A run of this agent.
    Agent(String),
    /// Nothing.
    Ignore,
    /// The run that is open for the same alert or conversation gets it.
    Join,
    /// An execution of this flow.
    Flow(String),
}

/// Why a value is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct RuleFault {
    /// Below the rule: `then.agent`; empty for the rule itself.
    pub field: &'static str,
    /// What is wrong and what would be right, without a full stop.
    pub problem: String,
}

impl RuleFault {
    fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self {
            field,
            problem: problem.into(),
        }
    }
}

impl Rule {
    /// Reads one entry of the list. The expression is not looked at.
    ///
    /// # Errors
    /// The first field that is not as it must be.
    pub fn read(value: &Value) -> Result<Self, RuleFault> {
        let Some(fields) = value.as_object() else {
            return Err(RuleFault::new(
                "",
                "a rule is an object with name, when and then",
            ));
        };
        let unknown = fields
            .keys()
            .find(|name| !FIELDS.contains(&name.as_str()) && !is_free(name));
        if let Some(unknown) = unknown {
            let problem =
                format!("a rule has no field {unknown:?}; it has name, when, then, enabled");
            return Err(RuleFault::new("", problem));
        }
        let is_enabled = match fields.get("enabled") {
            None => true,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => return Err(RuleFault::new("enabled", "enabled must be true or false")),
        };
        Ok(Self {
            name: name(fields)?,
            when: match fields.get("when") {
                Some(Value::String(when)) => when.clone(),
                _ => {
                    let problem =
                        "when must be an expression in quotes, such as \"severity == 'high'\"";
                    return Err(RuleFault::new("when", problem));
                }
            },
            then: then(fields.get("then"))?,
            is_enabled,
        })
    }
}

impl Then {
    /// As it is written in a config.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Agent(agent) => serde_json::json!({"agent": agent}),
            Self::Ignore => "ignore".into(),
            Self::Join => "join".into(),
            Self::Flow(flow) => serde_json::json!({"flow": flow}),
        }
    }
}

/// Fields for the owner's own notes.
fn is_free(name: &str) -> bool {
    name.starts_with("x_") || name.starts_with("x-")
}

fn name(fields: &Map<String, Value>) -> Result<String, RuleFault> {
    let name = fields.get("name").and_then(Value::as_str).map(str::trim);
    match name {
        Some(name)
            if !name.is_empty()
                && name.chars().count() <= MAX_NAME_CHARACTERS
                && !name.chars().any(char::is_control) =>
        {
            Ok(name.to_owned())
        }
        _ => {
            let problem = format!("name must be one line of 1 to {MAX_NAME_CHARACTERS} characters");
            Err(RuleFault::new("name", problem))
        }
    }
}

fn then(value: Option<&Value>) -> Result<Then, RuleFault> {
    let wrong = || {
        let problem =
            "then must be {\"agent\": \"<id>\"}, \"ignore\", \"join\" or {\"flow\": \"<id>\"}";
        RuleFault::new("then", problem)
    };
    match value {
        Some(Value::String(word)) => match word.as_str() {
            "ignore" => Ok(Then::Ignore),
            "join" => Ok(Then::Join),
            _ => Err(wrong()),
        },
        Some(Value::Object(fields)) => {
            let mut fields = fields.iter();
            match (fields.next(), fields.next()) {
                (Some((key, value)), None) if key == "agent" => {
                    id("then.agent", value).map(Then::Agent)
                }
                (Some((key, value)), None) if key == "flow" => {
                    id("then.flow", value).map(Then::Flow)
                }
                _ => Err(wrong()),
            }
        }
        _ => Err(wrong()),
    }
}

fn id(field: &'static str, value: &Value) -> Result<String, RuleFault> {
    let is_id = |id: &&str| {
        let rest = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_' || letter == b'-';
        (1..=MAX_ID_BYTES).contains(&id.len()) && !id.starts_with('-') && id.bytes().all(rest)
    };
    let id = value.as_str().filter(is_id).map(str::to_owned);
    id.ok_or_else(|| {
        let problem = format!("{field} must be an id of letters, digits, _ and -, not {value}");
        RuleFault::new(field, problem)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_are_read_and_written() {
        for (then, expected) in [
            (json!({"agent": "a-1"}), Then::Agent("a-1".to_owned())),
            (json!("ignore"), Then::Ignore),
            (json!("join"), Then::Join),
            (json!({"flow": "f"}), Then::Flow("f".to_owned())),
        ] {
            let value = json!({"name": " n ", "when": "true", "then": then, "x_note": 1});
            let rule = Rule::read(&value).expect("a rule");
            assert_eq!(rule.then.to_json(), then);
            let name = "n".to_owned();
            let when = "true".to_owned();
            let whole = Rule {
                name,
                when,
                then: expected,
                is_enabled: true,
            };
            assert_eq!(rule, whole);
        }
        let off = json!({"name": "n", "when": "true", "then": "join", "enabled": false});
        assert!(!Rule::read(&off).expect("a rule").is_enabled);
    }

    #[test]
    fn what_is_no_rule_is_refused_by_field() {
        let rule = |field: &str, value: Value| {
            let mut rule = json!({"name": "n", "when": "true", "then": "ignore"});
            rule[field] = value;
            rule
        };
        for (value, field) in [
            (json!("x"), ""),
            (rule("whenn", json!("x")), ""),
            (rule("name", json!("")), "name"),
            (rule("name", json!("a\nb")), "name"),
            (rule("name", json!("n".repeat(101))), "name"),
            (rule("when", json!(true)), "when"),
            (rule("enabled", json!("yes")), "enabled"),
            (rule("then", json!("drop")), "then"),
            (rule("then", json!({})), "then"),
            (rule("then", json!({"agent": "a", "flow": "b"})), "then"),
            (rule("then", json!({"agent": "a b"})), "then.agent"),
            (rule("then", json!({"flow": 5})), "then.flow"),
            (json!({"name": "n", "when": "true"}), "then"),
        ] {
            let fault = Rule::read(&value).expect_err("refused");
            assert_eq!(fault.field, field, "{value}: {fault}");
        }
    }
}
