//! An error of the validator as a sentence: which path, what was expected, what was found. Pure.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

use super::nearest;
use crate::policy::{Path, Rule, Violation};

/// Known names that a sentence lists; beyond it the nearest one has to do.
const MAX_LISTED: usize = 12;

/// One violation per fault: an object with three unknown fields has three.
pub(super) fn violations(document: &Value, error: &ValidationError<'_>) -> Vec<Violation> {
    let path = Path::from_pointer(error.instance_path().as_str());
    let found = error.instance().as_ref();
    if let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() {
        let known = known_fields(document, error.schema_path().as_str());
        return unexpected
            .iter()
            .map(|field| unknown_field(&path, field, &known))
            .collect();
    }
    let (rule, expected) = told(error.kind());
    vec![Violation::new(rule, &path, expected, found)]
}

fn unknown_field(parent: &Path, field: &str, known: &[&str]) -> Violation {
    let meant = nearest(field, known.iter().copied());
    let expected = match (meant, known.len()) {
        (Some(meant), _) => format!("no such field; did you mean {}?", parent.child(meant)),
        (None, 1..=MAX_LISTED) => format!("one of {}", known.join(", ")),
        (None, _) => {
            "a field of the schema, or one that starts with x_ (GET /api/v1/config/schema)"
                .to_owned()
        }
    };
    let mut violation =
        Violation::without_value(Rule::UnknownField, &parent.child(field), expected);
    violation.suggestion = meant.map(|meant| parent.child(meant).to_string());
    violation
}

/// The fields beside the `additionalProperties` that refused.
fn known_fields<'a>(document: &'a Value, schema_path: &str) -> Vec<&'a str> {
    let parent = schema_path
        .rsplit_once('/')
        .map_or("", |(parent, _)| parent);
    document
        .pointer(&format!("{parent}/properties"))
        .and_then(Value::as_object)
        .map(|fields| fields.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

fn told(kind: &ValidationErrorKind) -> (Rule, String) {
    use ValidationErrorKind as Kind;
    match kind {
        Kind::Type { kind } => (Rule::WrongType, types(kind)),
        Kind::Maximum { limit } => (Rule::OutOfRange, format!("at most {limit}")),
        Kind::Minimum { limit } => (Rule::OutOfRange, format!("at least {limit}")),
        Kind::MinLength { limit: 1 } => (Rule::OutOfRange, "a text that is not empty".to_owned()),
        Kind::MinLength { limit } => (Rule::OutOfRange, format!("at least {limit} characters")),
        Kind::MaxLength { limit } => (Rule::OutOfRange, format!("at most {limit} characters")),
        Kind::MaxItems { limit } => (Rule::OutOfRange, format!("at most {limit} entries")),
        Kind::Enum { options } => (Rule::NotAllowed, format!("one of {}", listed(options))),
        Kind::Format { format } if format == "cron" => (
            Rule::InvalidFormat,
            "a schedule of five cron fields, such as \"0 2 * * *\"".to_owned(),
        ),
        Kind::Format { format } if format == "time-zone" => (
            Rule::InvalidFormat,
            "a time zone of the IANA database, such as \"Europe/Berlin\"".to_owned(),
        ),
        Kind::Format { format } if format == "timestamp" => (
            Rule::InvalidFormat,
            "a time with its offset, such as \"2026-11-21T02:00:00+01:00\"".to_owned(),
        ),
        Kind::Pattern { pattern } => (
            Rule::InvalidFormat,
            format!("a text that matches {pattern}"),
        ),
        Kind::PropertyNames { error } => match error.kind() {
            Kind::Pattern { pattern } => (
                Rule::InvalidFormat,
                format!("names that match {pattern}, not {}", error.instance()),
            ),
            _ => (
                Rule::InvalidFormat,
                format!("good names, not {}", error.instance()),
            ),
        },
        Kind::Required { property } => (
            Rule::InvalidFormat,
            format!("an object with the field {}", property.as_str().unwrap_or_default()),
        ),
        // Only silences have forms.
        Kind::OneOfNotValid { .. } | Kind::OneOfMultipleValid { .. } => (
            Rule::InvalidFormat,
            "a silence with until (and perhaps from), or one with cron and duration (and perhaps time_zone)"
                .to_owned(),
        ),
        other => (
            Rule::InvalidFormat,
            format!("what {} of the schema says", other.keyword()),
        ),
    }
}

fn types(kind: &TypeKind) -> String {
    let article = |name: String| match name.as_str() {
        "null" => "null".to_owned(),
        "array" => "a list".to_owned(),
        "object" | "integer" => format!("an {name}"),
        "boolean" => "true or false".to_owned(),
        "string" => "a text".to_owned(),
        _ => format!("a {name}"),
    };
    match kind {
        TypeKind::Single(one) => article(one.to_string()),
        TypeKind::Multiple(several) => {
            let names: Vec<String> = several.iter().map(|one| article(one.to_string())).collect();
            names.join(" or ")
        }
    }
}

fn listed(options: &Value) -> String {
    let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
    let texts: Vec<String> = options
        .iter()
        .filter(|option| !option.is_null())
        .map(|option| {
            option
                .as_str()
                .map_or_else(|| option.to_string(), str::to_owned)
        })
        .collect();
    texts.join(", ")
}
