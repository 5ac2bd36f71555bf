//! Field definitions: what the installation says about single paths of every config. Pure.

use jiff::Timestamp;
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::path::{InvalidPattern, Path, Pattern};
use super::violation::{Rule, Violation};
use crate::node::Kind;

/// Longest texts of a definition.
const MAX_NAME_CHARS: usize = 256;
const MAX_TEXT_CHARS: usize = 4_000;
/// Longest regex; compiled ones are limited by their size, too.
const MAX_REGEX_CHARS: usize = 1_000;
const MAX_REGEX_BYTES: usize = 256 * 1024;
/// Longest definition: a table of names, no document.
const MAX_BYTES: usize = 64 * 1024;
/// Most values of one enumeration.
const MAX_ALLOWED: usize = 1_000;

/// How far down a node is. A lock at a level binds every level below it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    Org,
    #[serde(alias = "group")]
    Unit,
    Team,
}

impl Level {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Org => "org",
            Self::Unit => "unit",
            Self::Team => "team",
        }
    }
}

impl From<Kind> for Level {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Org => Self::Org,
            Kind::Unit => Self::Unit,
            Kind::Team => Self::Team,
        }
    }
}

/// JSON types that a field may be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FieldType {
    String,
    Number,
    Boolean,
    Array,
    Object,
}

impl FieldType {
    fn is(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::Array => value.is_array(),
            Self::Object => value.is_object(),
        }
    }

    const fn phrase(self) -> &'static str {
        match self {
            Self::String => "a text",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::Array => "a list",
            Self::Object => "an object",
        }
    }
}

/// As the API reads and shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FieldDefinition {
    /// Dotted; `*` stands for any one key. Unique.
    pub(crate) path: String,
    pub(crate) field_type: FieldType,
    /// A team is not ready without it.
    #[serde(default)]
    pub(crate) required: bool,
    /// What people may start from; it is not merged into anything.
    #[serde(default)]
    #[schema(value_type = Value, required = false)]
    pub(crate) default_value: Option<Value>,
    /// Nodes below this level cannot change it.
    #[serde(default)]
    pub(crate) locked_at_level: Option<Level>,
    /// A change waits until somebody else approves it.
    #[serde(default)]
    pub(crate) requires_approval: bool,
    #[serde(default)]
    pub(crate) display_name: String,
    #[serde(default)]
    pub(crate) description: String,
    /// The whole text must match it.
    #[serde(default)]
    pub(crate) validation_regex: Option<String>,
    #[serde(default)]
    pub(crate) min_value: Option<f64>,
    #[serde(default)]
    pub(crate) max_value: Option<f64>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<Value>>)]
    pub(crate) allowed_values: Option<Vec<Value>>,
    #[serde(default)]
    pub(crate) category: String,
    #[serde(default)]
    pub(crate) sort_order: i32,
}

/// Why a definition cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidField {
    #[error(transparent)]
    Path(#[from] InvalidPattern),
    #[error("validation_regex is no regular expression: {0}")]
    Regex(String),
    #[error("{0}")]
    Limits(String),
}

/// A definition that is ready to be applied.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) definition: FieldDefinition,
    pub(crate) pattern: Pattern,
    regex: Option<Regex>,
    /// Who wrote it, and when: locks name them.
    pub(crate) set_by: String,
    pub(crate) set_at: Timestamp,
}

impl Field {
    /// Checks and compiles a definition.
    pub(crate) fn new(
        definition: FieldDefinition,
        set_by: String,
        set_at: Timestamp,
    ) -> Result<Self, InvalidField> {
        let pattern = Pattern::parse(&definition.path)?;
        check_sizes(&definition)?;
        if definition.required && pattern.literal().is_none() {
            return Err(InvalidField::Limits(
                "a required field has one path, without *".to_owned(),
            ));
        }
        let regex = definition
            .validation_regex
            .as_deref()
            .map(anchored)
            .transpose()?;
        Ok(Self {
            definition,
            pattern,
            regex,
            set_by,
            set_at,
        })
    }

    /// What is wrong with a value that stands at its path; `null` counts as not set.
    pub(crate) fn check(&self, path: &Path, value: &Value) -> Option<Violation> {
        if value.is_null() {
            return None;
        }
        let definition = &self.definition;
        let broken = |rule, expected: String| Some(Violation::new(rule, path, expected, value));
        if !definition.field_type.is(value) {
            return broken(Rule::WrongType, definition.field_type.phrase().to_owned());
        }
        if let (Some(regex), Some(text)) = (&self.regex, value.as_str())
            && !regex.is_match(text)
        {
            let pattern = definition.validation_regex.as_deref().unwrap_or_default();
            return broken(
                Rule::InvalidFormat,
                format!("a text that matches {pattern} as a whole"),
            );
        }
        if let Some(number) = value.as_f64() {
            if definition.min_value.is_some_and(|least| number < least) {
                let least = definition.min_value.unwrap_or_default();
                return broken(Rule::OutOfRange, format!("at least {least}"));
            }
            if definition.max_value.is_some_and(|most| number > most) {
                let most = definition.max_value.unwrap_or_default();
                return broken(Rule::OutOfRange, format!("at most {most}"));
            }
        }
        let allowed = definition.allowed_values.as_ref()?;
        if allowed.iter().any(|one| is_equal(one, value)) {
            return None;
        }
        broken(Rule::NotAllowed, format!("one of {}", listed(allowed)))
    }
}

/// `1` and `1.0` are the same number.
pub(super) fn is_equal(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one.total_cmp(&other).is_eq(),
        _ => one == other,
    }
}

/// Values for a sentence.
pub(super) fn listed(values: &[Value]) -> String {
    const MAX_LISTED: usize = 20;
    let texts: Vec<String> = values
        .iter()
        .take(MAX_LISTED)
        .map(ToString::to_string)
        .collect();
    let more = if values.len() > MAX_LISTED {
        ", …"
    } else {
        ""
    };
    format!("{}{more}", texts.join(", "))
}

/// Anchored at both ends: a regex that matches somewhere inside a text would let anything pass around it.
fn anchored(text: &str) -> Result<Regex, InvalidField> {
    if text.chars().count() > MAX_REGEX_CHARS {
        return Err(InvalidField::Regex(format!(
            "it has more than {MAX_REGEX_CHARS} characters"
        )));
    }
    // Alone first: `a)|(b` is one only between our parentheses.
    let compile = |text: &str| {
        regex::RegexBuilder::new(text)
            .size_limit(MAX_REGEX_BYTES)
            .build()
            .map_err(|error| InvalidField::Regex(error.to_string()))
    };
    compile(text)?;
    compile(&format!(r"\A(?:{text})\z"))
}

fn check_sizes(definition: &FieldDefinition) -> Result<(), InvalidField> {
    let texts = [
        ("display_name", &definition.display_name, MAX_NAME_CHARS),
        ("category", &definition.category, MAX_NAME_CHARS),
        ("description", &definition.description, MAX_TEXT_CHARS),
    ];
    for (name, text, most) in texts {
        if text.chars().count() > most || text.contains('\0') {
            return Err(InvalidField::Limits(format!(
                "{name} must be at most {most} characters, without U+0000"
            )));
        }
    }
    let values = serde_json::to_string(definition).unwrap_or_default();
    if values.contains("\\u0000") {
        return Err(InvalidField::Limits("no text may hold U+0000".to_owned()));
    }
    if values.len() > MAX_BYTES {
        return Err(InvalidField::Limits(format!(
            "it has more than {MAX_BYTES} bytes"
        )));
    }
    if let (Some(least), Some(most)) = (definition.min_value, definition.max_value)
        && least > most
    {
        return Err(InvalidField::Limits(format!(
            "min_value {least} is above max_value {most}"
        )));
    }
    if definition
        .allowed_values
        .as_ref()
        .is_some_and(|values| values.len() > MAX_ALLOWED)
    {
        return Err(InvalidField::Limits(format!(
            "allowed_values holds more than {MAX_ALLOWED} values"
        )));
    }
    Ok(())
}
