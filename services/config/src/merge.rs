//! How configuration combines: the rules of inheritance and of patches. Pure.
//!
//! * Two objects merge key by key, recursively. In every other case the lower value replaces the
//!   upper one: scalars, arrays (whole), and values of different types.
//! * `null` is a value like any other. A missing key inherits.
//! * [`INHERIT`] as a value removes the key from the node's own config, so that the value from above
//!   shows through again; objects that this empties are removed with it.

use serde_json::{Map, Value};

/// A config: always a JSON object.
pub(crate) type Config = Map<String, Value>;

/// In a patch: drop the key from this node.
pub(crate) const INHERIT: &str = "__INHERIT__";

/// The config that holds at the end of `layers`, which go from the system's defaults down.
///
/// Repeating the last layer, or adding an empty one, changes nothing. Grouping layers differently
/// changes nothing either, as long as no key is an object in one layer and something else in
/// another: `{k:{x}}, {k:5}, {k:{y}}` depends on the order, which is from the top down.
pub(crate) fn effective<'a>(layers: impl IntoIterator<Item = &'a Config>) -> Config {
    layers.into_iter().fold(Config::new(), |mut upper, lower| {
        overlay(&mut upper, lower);
        upper
    })
}

/// A node's own config after `patch`. Never holds [`INHERIT`] where a patch can put it.
pub(crate) fn patched(own: &Config, patch: &Config) -> Config {
    let mut result = own.clone();
    for (key, change) in patch {
        apply(&mut result, key, change);
    }
    result
}

fn apply(target: &mut Config, key: &str, change: &Value) {
    if is_marker(change) {
        target.remove(key);
        return;
    }
    match (target.get(key), change) {
        (Some(Value::Object(own)), Value::Object(change)) => {
            let merged = patched(own, change);
            if merged.is_empty() && !own.is_empty() {
                target.remove(key);
            } else {
                target.insert(key.to_owned(), Value::Object(merged));
            }
        }
        _ => {
            // Nothing is left of a change that only removes: then there was nothing to remove.
            if let Some(value) = cleaned(change) {
                target.insert(key.to_owned(), value);
            }
        }
    }
}

fn overlay(upper: &mut Config, lower: &Config) {
    for (key, value) in lower {
        match (upper.get_mut(key), value) {
            (Some(Value::Object(upper)), Value::Object(lower)) => overlay(upper, lower),
            _ => {
                if let Some(value) = cleaned(value) {
                    upper.insert(key.clone(), value);
                }
            }
        }
    }
}

fn is_marker(value: &Value) -> bool {
    value.as_str() == Some(INHERIT)
}

fn without_markers(config: &Config) -> Config {
    config
        .iter()
        .filter_map(|(key, value)| Some((key.clone(), cleaned(value)?)))
        .collect()
}

/// The value without markers; `None` for a marker and for an object that held nothing else.
/// Arrays are values as a whole: a marker inside one is an ordinary string.
fn cleaned(value: &Value) -> Option<Value> {
    match value {
        Value::Object(object) => {
            let rest = without_markers(object);
            (object.is_empty() || !rest.is_empty()).then_some(Value::Object(rest))
        }
        other if is_marker(other) => None,
        other => Some(other.clone()),
    }
}

#[cfg(test)]
mod tests;
