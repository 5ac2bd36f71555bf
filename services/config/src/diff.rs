//! What a write changed, on dotted paths. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::merge::Config;

/// The difference between two configs: leaves by their dotted path. Arrays are leaves; objects
/// without leaves do not appear.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ConfigDiff)]
pub(crate) struct Diff {
    /// Paths that are new.
    #[schema(value_type = Object)]
    pub(crate) added: BTreeMap<String, Value>,
    /// Paths that are gone, with what they held.
    #[schema(value_type = Object)]
    pub(crate) removed: BTreeMap<String, Value>,
    /// Paths whose value is another.
    #[schema(value_type = Object)]
    pub(crate) changed: BTreeMap<String, Change>,
}

/// One value and its successor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// What it was.
    pub(crate) old: Value,
    /// What it is.
    pub(crate) new: Value,
}

/// What happened between `old` and `new`.
pub(crate) fn between(old: &Config, new: &Config) -> Diff {
    let mut gone = flattened(old);
    let mut diff = Diff::default();
    for (path, value) in flattened(new) {
        match gone.remove(&path) {
            None => {
                diff.added.insert(path, value);
            }
            Some(previous) if previous != value => {
                let change = Change {
                    old: previous,
                    new: value,
                };
                diff.changed.insert(path, change);
            }
            Some(_same) => {}
        }
    }
    diff.removed = gone;
    diff
}

/// A dot inside a key is written `\.`, so that no two leaves have one path.
pub(crate) fn joined(prefix: &str, key: &str) -> String {
    let key = key.replace('.', "\\.");
    if prefix.is_empty() {
        key
    } else {
        format!("{prefix}.{key}")
    }
}

pub(crate) fn flattened(config: &Config) -> BTreeMap<String, Value> {
    let mut leaves = BTreeMap::new();
    flatten("", config, &mut leaves);
    leaves
}

fn flatten(prefix: &str, config: &Config, leaves: &mut BTreeMap<String, Value>) {
    for (key, value) in config {
        let path = joined(prefix, key);
        match value {
            Value::Object(object) => flatten(&path, object, leaves),
            leaf => {
                leaves.insert(path, leaf.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_diff_names_leaves_by_dotted_path() {
        let old = json!({"a":{"b":1,"c":[1],"gone":null},"same":{"x":true},"empty":{}});
        let new = json!({"a":{"b":2,"c":[1,2],"new":{"deep":"v"}},"same":{"x":true}});
        let (old, new) = (
            old.as_object().expect("object"),
            new.as_object().expect("object"),
        );
        assert_eq!(
            serde_json::to_value(between(old, new)).expect("serialises"),
            json!({
                "added": {"a.new.deep": "v"},
                "removed": {"a.gone": null},
                "changed": {"a.b": {"old": 1, "new": 2}, "a.c": {"old": [1], "new": [1, 2]}},
            })
        );
        assert_eq!(between(new, new), Diff::default());
        let dotted = json!({"a.b":1,"a":{"b":2}});
        let paths: Vec<String> = flattened(dotted.as_object().expect("object"))
            .into_keys()
            .collect();
        assert_eq!(paths, ["a.b", "a\\.b"]);
    }
}
