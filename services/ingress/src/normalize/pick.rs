//! What a source's own expressions take out of a body whose shape is its sender's choice. Pure.
//!
//! No expression costs a delivery: what fails is told of in the event, and read as without expressions.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use tocsin_expr::{Expression, Fault, Program, Scope, Values};
use tocsin_wire::source::{MAX_PICKED_BODY_BYTES, PICK_NAMES, PickField, SourcePick};

use super::draft::{MAX_ID_BYTES, cut};

/// Attribute of an event that says what was not picked, and why.
pub const NOT_PICKED: &str = "not_picked";

/// Longest URL: servers take no longer one.
const MAX_URL_BYTES: usize = 4 * 1024;

/// Longest text that is shown to those who try expressions.
const MAX_SHOWN_CHARS: usize = 1_000;

/// Expressions of one source, ready to be evaluated over any number of bodies.
#[derive(Debug)]
pub struct Picks {
    /// By their number in the program.
    fields: Vec<PickField>,
    program: Program,
}

/// What was picked from one body.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Picked {
    /// None of them is empty.
    #[serde(rename = "picked")]
    texts: Texts,
    /// `severity: body.level has no value`
    not_picked: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Texts(BTreeMap<PickField, String>);

/// Expressions that nothing can be picked by.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPick {
    /// It cannot be read, or uses a name that there is not.
    #[error("the expression of {field} cannot be used")]
    Expression {
        /// What it is to pick.
        field: PickField,
        /// Where and why.
        #[source]
        source: Fault,
    },
    /// A later version may know it.
    #[error("no identifier of type {name:?} routes in this version; update ingress")]
    Identifier {
        /// The type.
        name: String,
    },
}

impl Picks {
    /// Makes expressions ready; `None` when there are none.
    ///
    /// # Errors
    /// For the first that cannot be used.
    pub fn compile(pick: &SourcePick) -> Result<Option<Self>, InvalidPick> {
        if let Some(name) = pick.unknown_identifier() {
            let name = name.to_owned();
            return Err(InvalidPick::Identifier { name });
        }
        let scope = Scope::of(PICK_NAMES.iter().copied());
        let (mut fields, mut program) = (Vec::new(), Program::default());
        for (field, source) in pick.expressions() {
            let added = Expression::parse(source).and_then(|expression| {
                expression.check(&scope)?;
                program.add(&expression)
            });
            added.map_err(|source| InvalidPick::Expression { field, source })?;
            fields.push(field);
        }
        Ok((!fields.is_empty()).then_some(Self { fields, program }))
    }

    /// Evaluates them over a body.
    #[must_use]
    pub fn pick(&self, body: &[u8]) -> Picked {
        let mut picked = Picked::default();
        let values = match values(body) {
            Ok(values) => values,
            Err(why) => {
                picked.not_picked.push(why);
                return picked;
            }
        };
        for (number, field) in self.fields.iter().enumerate() {
            match self.one(number, *field, &values) {
                Ok(Some(text)) => {
                    picked.texts.0.insert(*field, text);
                }
                Ok(None) => {}
                Err(why) => picked.not_picked.push(format!("{field}: {why}")),
            }
        }
        picked
    }

    fn one(
        &self,
        number: usize,
        field: PickField,
        values: &Values,
    ) -> Result<Option<String>, String> {
        let value = self.program.evaluate(number, values);
        let value = value.map_err(|failure| failure.problem)?;
        let (text, most) = (text(value), longest(field));
        match text {
            Some(text) if text.len() > most => Err(format!(
                "it has {} bytes; at most {most} are taken",
                text.len()
            )),
            text => Ok(text),
        }
    }
}

impl Picked {
    /// What was picked for a field; `None` where it is to be read as without expressions.
    pub(super) fn get(&self, field: PickField) -> Option<&str> {
        self.texts.0.get(&field).map(String::as_str)
    }

    /// What was not picked and why, in a line; empty when all went well.
    pub(super) fn failures(&self) -> String {
        self.not_picked.join("; ")
    }
}

/// As the settings have it: identifiers below a name of their own. Long texts are cut: it is for people.
impl Serialize for Texts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut identifiers = BTreeMap::new();
        let mut all: BTreeMap<String, Value> = BTreeMap::new();
        for (field, text) in &self.0 {
            match field {
                PickField::Identifier(name) => {
                    identifiers.insert(*name, text);
                }
                field => {
                    all.insert(field.to_string(), cut(text, MAX_SHOWN_CHARS).into());
                }
            }
        }
        if !identifiers.is_empty() {
            all.insert("identifiers".to_owned(), json!(identifiers));
        }
        all.serialize(serializer)
    }
}

/// The body under the one name that expressions know, or why it cannot be evaluated over.
fn values(body: &[u8]) -> Result<Values, String> {
    if body.len() > MAX_PICKED_BODY_BYTES {
        return Err(format!(
            "body: it has {} bytes; over {MAX_PICKED_BODY_BYTES} nothing is picked",
            body.len()
        ));
    }
    // The reader refuses what is nested more than 128 deep, so nothing recurses further.
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| format!("body: it cannot be evaluated over ({error})"))?;
    Ok(Values::new(&json!({ "body": body })))
}

/// What a value says as text; `None` for none, lists, objects and the empty text.
fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text).filter(|text| !text.is_empty()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(match number.as_f64() {
            // As the fixed form reads it: 5 for 5.0.
            Some(fraction) if number.is_f64() => fraction.to_string(),
            _ => number.to_string(),
        }),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Bytes that a field takes. A title and a text are cut and a key is hashed, so any will do; the others go
/// into the event as they are, and one part of a body may be picked for several.
const fn longest(field: PickField) -> usize {
    match field {
        PickField::Title | PickField::Text | PickField::DedupeKey => usize::MAX,
        PickField::Url => MAX_URL_BYTES,
        PickField::Identifier(_)
        | PickField::Severity
        | PickField::Status
        | PickField::Type
        | PickField::OccurredAt
        | PickField::DeliveryId => MAX_ID_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(pick: Value) -> Picks {
        let pick: SourcePick = serde_json::from_value(pick).expect("a pick");
        let compiled = Picks::compile(&pick).expect("it compiles");
        compiled.expect("there are expressions")
    }

    #[test]
    fn what_an_expression_gives_is_a_text_or_nothing_or_a_note() {
        let body = json!({"check": {"name": "Disk", "id": 17, "load": 0.5, "big": 9_007_199_254_740_993_i64},
            "ok": false, "tags": ["db", 1], "none": null, "empty": "", "long": "x".repeat(201), "five": 5.0});
        let body = body.to_string();
        for (expression, expected) in [
            ("body.check.name", Ok(Some("Disk"))),
            ("body['check'].id", Ok(Some("17"))),
            ("body.check.load", Ok(Some("0.5"))),
            ("body.five", Ok(Some("5"))),
            ("body.check.big", Ok(Some("9007199254740993"))),
            ("body.ok", Ok(Some("false"))),
            ("body.tags[0] ~ '-' ~ body.tags[1]", Ok(Some("db-1"))),
            ("'resolved' if body.ok else 'firing'", Ok(Some("firing"))),
            ("body.missing|default('p3')", Ok(Some("p3"))),
            ("body.none", Ok(None)),
            ("body.empty", Ok(None)),
            ("body.tags", Ok(None)),
            ("body.check", Ok(None)),
            ("body", Ok(None)),
            ("body.missing", Err("body.missing has no value")),
            (
                "body.missing.further",
                Err("body.missing.further has no value"),
            ),
            ("body.tags[7]", Err("the expression has no value")),
            ("'a' if body.ok", Err("the expression has no value")),
            ("body.check.name|int", Err("the text \"Disk\" is no number")),
            ("body.long", Err("it has 201 bytes; at most 200 are taken")),
        ] {
            let picked = picks(json!({ "severity": expression })).pick(body.as_bytes());
            let got = match picked.not_picked.as_slice() {
                [] => Ok(picked.get(PickField::Severity)),
                [why] => Err(why.strip_prefix("severity: ").expect("the field")),
                more => panic!("{more:?}"),
            };
            assert_eq!(got, expected, "{expression}");
        }
    }

    #[test]
    fn only_what_the_event_cuts_or_hashes_may_have_any_length() {
        let fields = [
            "title",
            "text",
            "severity",
            "status",
            "url",
            "type",
            "dedupe_key",
            "occurred_at",
            "delivery_id",
        ];
        let all: Value = fields
            .iter()
            .map(|field| ((*field).to_owned(), json!("body")))
            .collect();
        let mut all = all;
        all["identifiers"] = json!({"service": "body"});
        for (bytes, taken) in [(200, 10), (201, 4), (4096, 4), (4097, 3), (500_000, 3)] {
            let body = json!("x".repeat(bytes)).to_string();
            let picked = picks(all.clone()).pick(body.as_bytes());
            assert_eq!(picked.texts.0.len(), taken, "{bytes}");
            assert_eq!(picked.not_picked.len(), 10 - taken, "{bytes}");
        }
    }

    #[test]
    fn a_body_that_cannot_be_evaluated_over_is_one_note() {
        let any = picks(json!({"title": "'a title'", "text": "body"}));
        let limit = MAX_PICKED_BODY_BYTES;
        let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
        for (body, expected) in [
            (text(limit), None),
            (text(limit + 1), Some("over 524288 nothing is picked")),
            (format!("{}{}", "[".repeat(100), "]".repeat(100)), None),
            (
                format!("{}{}", "[".repeat(200), "]".repeat(200)),
                Some("recursion limit"),
            ),
            ("\"\\ud800\"".to_owned(), Some("hex escape")),
            ("{".to_owned(), Some("EOF")),
        ] {
            let picked = any.pick(body.as_bytes());
            match (picked.not_picked.as_slice(), expected) {
                ([], None) => assert_eq!(picked.get(PickField::Title), Some("a title")),
                ([why], Some(part)) => {
                    assert!(why.starts_with("body: ") && why.contains(part), "{why}");
                }
                (other, _) => panic!("{other:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn what_was_picked_is_shown_as_the_settings_have_it() {
        let picked = picks(
            json!({"title": "body.a", "severity": "body.b", "type": "body.a",
            "identifiers": {"service": "body.a", "receiver": "body.c"}}),
        );
        let shown = serde_json::to_value(picked.pick(br#"{"a": "x"}"#)).expect("JSON");
        let expected = json!({"picked": {"title": "x", "type": "x", "identifiers": {"service": "x"}},
            "not_picked": ["identifiers.receiver: body.c has no value", "severity: body.b has no value"]});
        assert_eq!(shown, expected);
    }

    #[test]
    fn expressions_are_refused_as_config_refuses_them() {
        for (pick, expected) in [
            (json!({}), None),
            (
                json!({"title": "body."}),
                Some("the expression of title cannot be used"),
            ),
            (
                json!({"url": "bdoy.a"}),
                Some("the expression of url cannot be used"),
            ),
            (
                json!({"url": "title"}),
                Some("the expression of url cannot be used"),
            ),
            (
                json!({"identifiers": {"org_id": "body.a"}}),
                Some("no identifier of type \"org_id\" routes in this version; update ingress"),
            ),
        ] {
            let read: SourcePick = serde_json::from_value(pick.clone()).expect("a pick");
            let refused = Picks::compile(&read).map(|picks| assert!(picks.is_none()));
            let refused = refused.err().map(|error| error.to_string());
            assert_eq!(refused.as_deref(), expected, "{pick}");
        }
    }
}
