//! The tree, what is read of it, and many writes at once.

mod bulk;
mod read;
mod replicas;
mod shape;
mod storm;

use serde_json::Value;

/// Applies the dotted diff of a version to flattened leaves.
fn apply_diff(leaves: &mut std::collections::BTreeMap<String, Value>, diff: &Value) {
    let part = |name: &str| diff[name].as_object().expect("object").clone();
    for (path, value) in part("added") {
        assert_eq!(leaves.insert(path, value), None);
    }
    for (path, value) in part("removed") {
        assert_eq!(leaves.remove(&path), Some(value));
    }
    for (path, change) in part("changed") {
        let old = leaves.insert(path, change["new"].clone());
        assert_eq!(old.as_ref(), Some(&change["old"]));
    }
}
