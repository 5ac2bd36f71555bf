//! What is wrong with a config, as a value. Pure.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::field::Level;
use super::path::Path;

/// Characters of a wrong value that are shown.
const MAX_SHOWN_CHARS: usize = 80;

/// Keys below which values are never shown, and words that make a key one of them.
const HIDDEN_BRANCHES: [&str; 4] = ["env", "headers", "config_values", "integrations"];
const HIDDEN_WORDS: [&str; 7] = [
    "token",
    "secret",
    "password",
    "key",
    "credential",
    "private",
    "auth",
];

/// The rule that is broken; its text is the code of the answer.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rule {
    /// Set for good at a level above.
    FieldLocked,
    /// Never changes once it is set.
    ImmutableField,
    /// Not in the schema.
    UnknownField,
    /// Of another JSON type.
    WrongType,
    /// Too small, too large, too long.
    OutOfRange,
    /// None of the values that may stand there.
    NotAllowed,
    /// Malformed text.
    InvalidFormat,
    /// Above the org's limit.
    ExceedsMaximum,
    /// The org says what it must be.
    RequiredSetting,
    /// No model of this name.
    UnknownModel,
    /// No tool of this name.
    UnknownTool,
    /// No MCP server of this name.
    UnknownMcpServer,
    /// No agent of this name.
    UnknownAgent,
    /// An agent would be its own helper.
    AgentCycle,
    /// Something else needs it.
    DependencyValidationFailed,
    /// A rule for events that could not be evaluated.
    #[serde(rename = "invalid_rule")]
    Unevaluable,
    /// A rule for events that would start a flow, where there are none.
    FlowUnavailable,
}

impl Rule {
    /// As machines read it.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::FieldLocked => "field_locked",
            Self::ImmutableField => "immutable_field",
            Self::UnknownField => "unknown_field",
            Self::WrongType => "wrong_type",
            Self::OutOfRange => "out_of_range",
            Self::NotAllowed => "not_allowed",
            Self::InvalidFormat => "invalid_format",
            Self::ExceedsMaximum => "exceeds_maximum",
            Self::RequiredSetting => "required_setting",
            Self::UnknownModel => "unknown_model",
            Self::UnknownTool => "unknown_tool",
            Self::UnknownMcpServer => "unknown_mcp_server",
            Self::UnknownAgent => "unknown_agent",
            Self::AgentCycle => "agent_cycle",
            Self::DependencyValidationFailed => "dependency_validation_failed",
            Self::Unevaluable => "invalid_rule",
            Self::FlowUnavailable => "flow_unavailable",
        }
    }
}

/// Who locked a field.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
pub(crate) struct Lock {
    /// `field_definition`, `security_policy`, or `built_in` for what is always so.
    pub(crate) source: String,
    /// The path or pattern that it names.
    pub(crate) path: String,
    /// Nodes below this level cannot change it.
    pub(crate) locked_at_level: Level,
    /// Who set it.
    pub(crate) set_by: String,
    /// And when.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) set_at: Timestamp,
}

/// One broken rule at one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct Violation {
    /// Dotted; see [`Path`].
    pub(crate) path: String,
    /// What is broken.
    pub(crate) rule: Rule,
    /// What would be right; continues "<path> must be".
    pub(crate) expected: String,
    /// What is there, shortened; hidden where it may be secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) actual: Option<String>,
    /// The whole sentence.
    pub(crate) message: String,
    /// What was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) suggestion: Option<String>,
    /// Who locked it, for [`Rule::FieldLocked`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lock: Option<Lock>,
    /// What needs it, for [`Rule::DependencyValidationFailed`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) dependents: Vec<String>,
}

impl Violation {
    /// `expected` continues "<path> must be".
    pub(crate) fn new(
        rule: Rule,
        path: &Path,
        expected: impl Into<String>,
        actual: &Value,
    ) -> Self {
        let expected = expected.into();
        let actual = shown(path, actual);
        let message = format!("{path} must be {expected}; found {actual}");
        Self {
            actual: Some(actual),
            ..Self::saying(rule, path, expected, message)
        }
    }

    /// Where there is no value to show: `expected` follows "<path> is not known:".
    pub(crate) fn without_value(rule: Rule, path: &Path, expected: impl Into<String>) -> Self {
        let expected = expected.into();
        let message = format!("{path} is not known: {expected}");
        Self::saying(rule, path, expected, message)
    }

    /// With a sentence of its own.
    pub(crate) fn saying(
        rule: Rule,
        path: &Path,
        expected: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            path: path.to_string(),
            rule,
            expected: expected.into(),
            actual: None,
            message: message.into(),
            suggestion: None,
            lock: None,
            dependents: Vec::new(),
        }
    }

    /// Two of the same fault are one, whatever values they quote.
    pub(crate) fn is_same_fault(&self, other: &Self) -> bool {
        self.rule == other.rule && self.path == other.path && self.dependents == other.dependents
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

/// The value for people: short, and nothing that may be secret.
pub(crate) fn shown(path: &Path, value: &Value) -> String {
    let hidden = path.keys().iter().any(|key| is_hidden(key));
    match value {
        Value::Null => "null".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        _ if hidden => "a value that is not shown".to_owned(),
        other => {
            let text = other.to_string();
            if text.chars().count() <= MAX_SHOWN_CHARS {
                return text;
            }
            let start: String = text.chars().take(MAX_SHOWN_CHARS).collect();
            format!("{start}…")
        }
    }
}

fn is_hidden(key: &str) -> bool {
    // Limits count tokens of a model; they are no secrets.
    if key == "max_tokens" {
        return false;
    }
    let key = key.to_ascii_lowercase();
    HIDDEN_BRANCHES.contains(&key.as_str()) || HIDDEN_WORDS.iter().any(|word| key.contains(word))
}
