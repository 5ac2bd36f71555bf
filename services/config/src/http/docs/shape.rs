//! Schemas of the document as text for people, and as examples.

use serde_json::{Map, Value, json};

use super::page::escape;

/// Schemas refer to each other, and some to themselves: an example stops here.
const MAX_DEPTH: usize = 6;

const COMPONENT: &str = "#/components/schemas/";

/// What a schema takes, in a few words: `list of Node`, `text or null`.
pub(super) fn in_words(schema: &Value) -> String {
    if let Some(name) = reference(schema) {
        let name = escape(name);
        return format!(r##"<a href="#shape-{name}">{name}</a>"##);
    }
    if let Some(choices) = choices(schema) {
        let (nothing, something): (Vec<&Value>, Vec<&Value>) =
            choices.iter().partition(|choice| choice["type"] == "null");
        let words = something.into_iter().chain(nothing).map(in_words);
        return words.collect::<Vec<_>>().join(" or ");
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> = values
            .iter()
            .map(|value| format!("<code>{}</code>", escape(&value.to_string())))
            .collect();
        return values.join(" or ");
    }
    match &schema["type"] {
        Value::String(kind) => kind_in_words(kind, schema),
        Value::Array(kinds) => {
            let kinds: Vec<String> = kinds
                .iter()
                .filter_map(Value::as_str)
                .map(|kind| kind_in_words(kind, schema))
                .collect();
            kinds.join(" or ")
        }
        _ => "any JSON".to_owned(),
    }
}

fn kind_in_words(kind: &str, schema: &Value) -> String {
    match (kind, schema["format"].as_str()) {
        ("array", _) => format!("list of {}", in_words(&schema["items"])),
        ("string", Some("date-time")) => "time (RFC 3339)".to_owned(),
        ("string", Some(format)) => escape(format),
        ("string", None) => "text".to_owned(),
        ("integer", _) => "whole number".to_owned(),
        ("boolean", _) => "true or false".to_owned(),
        ("object", _) if schema["additionalProperties"].is_object() => {
            let values = in_words(&schema["additionalProperties"]);
            format!("object with values: {values}")
        }
        (kind, _) => escape(kind),
    }
}

/// The limits that a schema sets, such as `1 to 200`.
pub(super) fn limits(schema: &Value) -> String {
    let mut said = Vec::new();
    let number = |key: &str| schema.get(key).map(Value::to_string);
    match (number("minimum"), number("maximum")) {
        (Some(least), Some(most)) => said.push(format!("{least} to {most}")),
        (Some(least), None) if least != "0" => said.push(format!("at least {least}")),
        (None, Some(most)) => said.push(format!("at most {most}")),
        _ => {}
    }
    if let Some(most) = number("maxLength") {
        said.push(format!("at most {most} characters"));
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        said.push(format!("matches <code>{}</code>", escape(pattern)));
    }
    if let Some(default) = number("default") {
        said.push(format!("else <code>{}</code>", escape(&default)));
    }
    said.join(", ")
}

fn choices(schema: &Value) -> Option<&Vec<Value>> {
    schema["oneOf"]
        .as_array()
        .or_else(|| schema["anyOf"].as_array())
}

/// The component that a schema refers to.
pub(super) fn reference(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix(COMPONENT)
}

/// Follows references, and looks into `allOf`, until there is a schema.
pub(super) fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let mut schema = schema;
    for _ in 0..MAX_DEPTH {
        match reference(schema) {
            Some(name) => schema = &document["components"]["schemas"][name],
            None => break,
        }
    }
    schema
}

/// A value that fits the schema; of an object only what it has to have, unless that is nothing.
pub(super) fn example(document: &Value, schema: &Value) -> Value {
    example_at(document, schema, 0)
}

fn example_at(document: &Value, schema: &Value, depth: usize) -> Value {
    let schema = resolved(document, schema);
    for key in ["example", "default"] {
        if let Some(value) = schema.get(key) {
            return value.clone();
        }
    }
    for key in ["examples", "enum"] {
        if let Some(value) = schema[key].as_array().and_then(|values| values.first()) {
            return value.clone();
        }
    }
    if let Some(choices) = choices(schema) {
        let other_than_null = choices.iter().find(|choice| choice["type"] != "null");
        return other_than_null.map_or(Value::Null, |choice| example_at(document, choice, depth));
    }
    let kind = match &schema["type"] {
        Value::String(kind) => kind.as_str(),
        Value::Array(kinds) => kinds.first().and_then(Value::as_str).unwrap_or_default(),
        _ => "object",
    };
    match kind {
        "string" if schema["format"] == "date-time" => json!("2026-01-31T12:00:00Z"),
        "string" => json!("text"),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(1)),
        "boolean" => json!(true),
        "array" if depth < MAX_DEPTH => json!([example_at(document, &schema["items"], depth + 1)]),
        "array" => json!([]),
        "object" if depth < MAX_DEPTH => object(document, schema, depth),
        "object" => json!({}),
        _ => Value::Null,
    }
}

fn object(document: &Value, schema: &Value, depth: usize) -> Value {
    let required = schema["required"].as_array();
    let is_required = |name: &str| {
        required.is_none_or(|required| required.iter().any(|required| required == name))
    };
    let properties = schema["properties"].as_object();
    let example: Map<String, Value> = properties
        .into_iter()
        .flatten()
        .filter(|(name, _)| is_required(name))
        .map(|(name, schema)| (name.clone(), example_at(document, schema, depth + 1)))
        .collect();
    Value::Object(example)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_read_as_words_and_have_examples() {
        let document = json!({"components": {"schemas": {
            "Node": {"type": "object", "required": ["id"], "properties": {
                "id": {"type": "string"}, "name": {"type": "string"}}},
            "Loop": {"type": "object", "properties": {"again": {"$ref": "#/components/schemas/Loop"}}},
        }}});
        for (schema, words, value) in [
            (json!({"type": "string"}), "text", json!("text")),
            (
                json!({"type": ["integer", "null"], "minimum": 3}),
                "whole number or null",
                json!(3),
            ),
            (
                json!({"enum": ["a", "b"]}),
                "<code>&quot;a&quot;</code> or <code>&quot;b&quot;</code>",
                json!("a"),
            ),
            (
                json!({"type": "array", "items": {"$ref": "#/components/schemas/Node"}}),
                "list of <a href=\"#shape-Node\">Node</a>",
                json!([{"id": "text"}]),
            ),
            (
                json!({"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Node"}]}),
                "<a href=\"#shape-Node\">Node</a> or null",
                json!({"id": "text"}),
            ),
            (json!({}), "any JSON", json!({})),
        ] {
            assert_eq!(in_words(&schema), words, "{schema}");
            assert_eq!(example(&document, &schema), value, "{schema}");
        }
        let endless = example(&document, &json!({"$ref": "#/components/schemas/Loop"}));
        assert!(endless.to_string().len() < 200, "{endless}");
    }
}
