//! Plans for people. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::plan::{Plan, Step};

/// Longest value that is shown whole.
const SHOWN_CHARS: usize = 120;

const GREEN: &str = "\u{1b}[32m";
const RED: &str = "\u{1b}[31m";
const YELLOW: &str = "\u{1b}[33m";
const PLAIN: &str = "\u{1b}[0m";

/// One line per thing to do, with the values that differ below it.
pub(super) fn plan(plan: &Plan, coloured: bool) -> String {
    if plan.is_empty() {
        return format!("{} is as the file says\n", plan.org);
    }
    let mut text = String::new();
    let mut line = |sign: char, indent: usize, words: &str| {
        let colour = match sign {
            '+' => GREEN,
            '-' => RED,
            _ => YELLOW,
        };
        let (on, off) = if coloured { (colour, PLAIN) } else { ("", "") };
        // Writing to a string does not fail.
        let _written = writeln!(text, "{:indent$}{on}{sign} {words}{off}", "");
    };
    for step in &plan.steps {
        match step {
            Step::Create(node) => {
                let below = node.parent.as_ref();
                let below = below.map(|parent| format!(" below {parent}"));
                let words = format!("{} {}{}", node.r#type, node.id, below.unwrap_or_default());
                line('+', 0, &words);
                differences(&Map::new(), &node.config, &mut |sign, words| {
                    line(sign, 4, words);
                });
            }
            Step::Place {
                id, parent, name, ..
            } => {
                if let Some((old, new)) = parent {
                    line('~', 0, &format!("{id} moves from {old} to {new}"));
                }
                if let Some((old, new)) = name {
                    line('~', 0, &format!("{id} is renamed from {old:?} to {new:?}"));
                }
            }
            Step::Configure {
                id, before, after, ..
            } => {
                line('~', 0, id);
                differences(before, after, &mut |sign, words| line(sign, 4, words));
            }
            Step::Delete { id, .. } => {
                line('-', 0, &format!("{id}, with its tokens and identifiers"));
            }
        }
    }
    text
}

/// What config says when it is done.
pub(super) fn applied(answer: &Value) -> String {
    if let Some(pending) = answer.get("pending_change_id").and_then(Value::as_str) {
        return format!("nothing was changed yet: somebody else has to approve {pending}\n");
    }
    let count = answer.get("changes").and_then(Value::as_array);
    let revision = answer.get("revision").and_then(Value::as_u64);
    format!(
        "applied: {} changes, revision {} of the org\n",
        count.map_or(0, Vec::len),
        revision.unwrap_or_default()
    )
}

fn differences(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    line: &mut impl FnMut(char, &str),
) {
    let (mut old, mut new) = (BTreeMap::new(), BTreeMap::new());
    flatten("", before, &mut old);
    flatten("", after, &mut new);
    let mut paths: Vec<&String> = old.keys().chain(new.keys()).collect();
    paths.sort();
    paths.dedup();
    for path in paths {
        match (old.get(path), new.get(path)) {
            (Some(old), Some(new)) if old != new => {
                line('~', &format!("{path}: {} → {}", shown(old), shown(new)));
            }
            (Some(old), None) => line('-', &format!("{path}: {}", shown(old))),
            (None, Some(new)) => line('+', &format!("{path}: {}", shown(new))),
            _ => {}
        }
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= SHOWN_CHARS {
        return text;
    }
    let start: String = text.chars().take(SHOWN_CHARS).collect();
    format!("{start}… ({} characters)", text.chars().count())
}

fn flatten<'a>(
    prefix: &str,
    config: &'a Map<String, Value>,
    leaves: &mut BTreeMap<String, &'a Value>,
) {
    for (key, value) in config {
        let key = key.replace('.', "\\.");
        let path = match prefix {
            "" => key,
            prefix => format!("{prefix}.{key}"),
        };
        match value {
            Value::Object(object) if !object.is_empty() => flatten(&path, object, leaves),
            leaf => {
                leaves.insert(path, leaf);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(
        clippy::needless_pass_by_value,
        reason = "literals read best as they are"
    )]
    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().expect("object")
    }

    #[test]
    fn a_plan_reads_well() {
        let whole = Plan {
            org: "acme".to_owned(),
            steps: vec![
                Step::Create(
                    serde_json::from_value(
                        json!({"id":"db","parent":"acme","type":"team","config":{"a":1}}),
                    )
                    .expect("fits"),
                ),
                Step::Place {
                    id: "sre".to_owned(),
                    version: 1,
                    parent: Some(("acme".to_owned(), "platform".to_owned())),
                    name: None,
                },
                Step::Configure {
                    id: "sre".to_owned(),
                    version: 1,
                    before: object(json!({"x":{"a":1,"b":[1]},"y":"z".repeat(300)})),
                    after: object(json!({"x":{"a":2,"b":[1]},"k.l":null})),
                    placed: true,
                },
                Step::Delete {
                    id: "web".to_owned(),
                    version: 4,
                },
            ],
        };
        let text = plan(&whole, false);
        let start = "z".repeat(SHOWN_CHARS - 1);
        assert_eq!(
            text,
            format!(
                "+ team db below acme\n    + a: 1\n~ sre moves from acme to platform\n~ sre\n    + k\\.l: null\n    \
                 ~ x.a: 1 → 2\n    - y: \"{start}… (302 characters)\n- web, with its tokens and identifiers\n"
            )
        );
        assert!(plan(&whole, true).contains("\u{1b}[31m- web"));
        let empty = Plan {
            org: "acme".to_owned(),
            steps: Vec::new(),
        };
        assert_eq!(plan(&empty, true), "acme is as the file says\n");
    }
}
