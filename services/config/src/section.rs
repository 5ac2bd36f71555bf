//! A part of a config that is set as a whole, such as `notifications`. Pure.

use serde_json::Value;

use crate::merge::{Config, INHERIT};

/// The patch after which a node's own `own` says exactly `wanted`: what is no longer there is taken
/// away, so that what is set above shows through.
pub(crate) fn replacing(own: Option<&Value>, wanted: Config) -> Config {
    let mut patch = wanted;
    let own = own.and_then(Value::as_object);
    for (key, value) in own.into_iter().flatten() {
        match patch.get_mut(key) {
            None => {
                patch.insert(key.clone(), Value::String(INHERIT.to_owned()));
            }
            Some(Value::Object(below)) => {
                let wanted = std::mem::take(below);
                *below = replacing(Some(value), wanted);
            }
            Some(_) => {}
        }
    }
    patch
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::merge;

    #[test]
    fn after_the_patch_the_section_says_what_was_wanted() {
        for (own, wanted) in [
            (json!(null), json!({"a": 1})),
            (
                json!({"a": 1, "b": {"c": 1, "d": 2}, "e": []}),
                json!({"b": {"d": 3, "f": 4}}),
            ),
            (json!({"a": {"b": 1}}), json!({"a": 5})),
            (json!({"a": 5}), json!({"a": {"b": 1}})),
        ] {
            let Value::Object(wanted) = wanted else {
                panic!("an object");
            };
            let patch = replacing(Some(&own), wanted.clone());
            let node: Config = [("s".to_owned(), own.clone())].into_iter().collect();
            let patch: Config = [("s".to_owned(), Value::Object(patch))]
                .into_iter()
                .collect();
            let after = merge::patched(&node, &patch);
            assert_eq!(after["s"], Value::Object(wanted), "{own}");
        }
    }
}
