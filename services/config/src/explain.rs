//! Where each value of an effective config comes from. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::diff;
use crate::merge::{self, Config};
use crate::node::{Kind, Lineage, NodeId};

/// The last change of one leaf of one node, as its history tells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LastChange {
    pub(crate) version: u64,
    pub(crate) by: String,
    pub(crate) at: Timestamp,
    pub(crate) reason: String,
}

/// By node and dotted path.
pub(crate) type LastChanges = BTreeMap<(NodeId, String), LastChange>;

/// One value of the effective config.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = ExplainedLeaf)]
pub(crate) struct Leaf {
    /// Dotted; a dot inside a key is written `\.`.
    pub(crate) path: String,
    pub(crate) value: Value,
    /// Who says so.
    pub(crate) set_by: Setting,
    /// What holds no more because of it, the nearest first.
    pub(crate) overrides: Vec<Overridden>,
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = ExplainedSetting)]
pub(crate) struct Setting {
    /// `null`: the system's defaults.
    #[schema(value_type = Option<String>)]
    pub(crate) node_id: Option<NodeId>,
    pub(crate) node_type: Option<Kind>,
    /// Of the node, when it last changed this value.
    pub(crate) version: Option<u64>,
    pub(crate) changed_by: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) changed_at: Option<Timestamp>,
    pub(crate) reason: Option<String>,
}

/// A value that another node sets further down.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = OverriddenSetting)]
pub(crate) struct Overridden {
    pub(crate) value: Value,
    #[serde(flatten)]
    pub(crate) set_by: Setting,
}

/// Each leaf of what holds at the end of `line`; only those at or below `prefix`, if it is given.
pub(crate) fn explain(
    defaults: &Config,
    line: &Lineage,
    last: &LastChanges,
    prefix: Option<&str>,
) -> Vec<Leaf> {
    let effective = line.effective(defaults);
    let mut leaves = Vec::new();
    let mut found = Vec::new();
    collect(&effective, &mut Vec::new(), &mut found);
    for (keys, value) in found {
        let path = keys
            .iter()
            .fold(String::new(), |path, key| diff::joined(&path, key));
        if prefix.is_some_and(|prefix| !is_at_or_below(&path, prefix)) {
            continue;
        }
        let layers = Layers {
            defaults,
            line,
            last,
        };
        leaves.push(layers.leaf(path, &keys, value));
    }
    leaves
}

fn is_at_or_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Values that are no objects, and objects without anything in them.
fn collect<'a>(
    config: &'a Config,
    keys: &mut Vec<&'a str>,
    found: &mut Vec<(Vec<&'a str>, &'a Value)>,
) {
    for (key, value) in config {
        keys.push(key);
        match value {
            Value::Object(object) if !object.is_empty() => collect(object, keys, found),
            leaf => found.push((keys.clone(), leaf)),
        }
        keys.pop();
    }
}

struct Layers<'a> {
    defaults: &'a Config,
    line: &'a Lineage,
    last: &'a LastChanges,
}

impl Layers<'_> {
    fn leaf(&self, path: String, keys: &[&str], value: &Value) -> Leaf {
        let mut setter = None;
        let mut overrides = Vec::new();
        for index in (0..self.line.0.len()).rev() {
            let own = self.line.0.get(index).map(|node| &node.config);
            let Some((own, depth)) = own.and_then(|config| value_at(config, keys)) else {
                continue;
            };
            let setting = self.setting(index, keys.get(..depth).unwrap_or(keys));
            if setter.is_none() && depth == keys.len() && own == value {
                setter = Some(setting);
            } else {
                let value = own.clone();
                overrides.push(Overridden {
                    value,
                    set_by: setting,
                });
            }
        }
        match value_at(self.defaults, keys) {
            Some((default, _)) if setter.is_some() => overrides.push(Overridden {
                value: default.clone(),
                set_by: Setting::defaults(),
            }),
            _ => {}
        }
        Leaf {
            path,
            value: value.clone(),
            set_by: setter.unwrap_or_else(Setting::defaults),
            overrides,
        }
    }

    fn setting(&self, index: usize, keys: &[&str]) -> Setting {
        let Some(node) = self.line.0.get(index) else {
            return Setting::defaults();
        };
        let path = keys
            .iter()
            .fold(String::new(), |path, key| diff::joined(&path, key));
        let last = self.last.get(&(node.id.clone(), path));
        Setting {
            node_id: Some(node.id.clone()),
            node_type: Some(node.kind),
            version: Some(last.map_or(node.version, |last| last.version)),
            changed_by: Some(last.map_or(&node.updated_by, |last| &last.by).clone()),
            changed_at: Some(last.map_or(node.updated_at, |last| last.at)),
            reason: last
                .map(|last| last.reason.clone())
                .filter(|reason| !reason.is_empty()),
        }
    }
}

impl Setting {
    const fn defaults() -> Self {
        Self {
            node_id: None,
            node_type: None,
            version: None,
            changed_by: None,
            changed_at: None,
            reason: None,
        }
    }
}

/// What a layer says there, or the value in whose place the object on the way stands; with how many
/// of the keys lead to it. Markers say nothing.
fn value_at<'a>(config: &'a Config, keys: &[&str]) -> Option<(&'a Value, usize)> {
    let mut object = config;
    for (index, key) in keys.iter().enumerate() {
        let value = object.get(*key)?;
        if value.as_str() == Some(merge::INHERIT) {
            return None;
        }
        match value {
            Value::Object(inner) if index + 1 < keys.len() => object = inner,
            found => return Some((found, index + 1)),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::tests::node;

    fn line() -> Lineage {
        Lineage(vec![
            node(
                "acme",
                None,
                Kind::Org,
                json!({"k":{"x":1},"l":[1],"only":{"org":true}}),
            ),
            node(
                "unit",
                Some("acme"),
                Kind::Unit,
                json!({"k":5,"n":"__INHERIT__"}),
            ),
            node(
                "sre",
                Some("unit"),
                Kind::Team,
                json!({"k":{"x":2},"l":[],"a.b":null}),
            ),
        ])
    }

    #[test]
    fn each_leaf_names_its_setter_and_what_it_overrides() {
        let defaults = json!({"k":{"x":0},"n":7,"tools":{}});
        let defaults = defaults.as_object().expect("object");
        let at = LastChange {
            version: 3,
            by: "ada".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            reason: String::new(),
        };
        let sre = NodeId::new("sre").expect("id");
        let last = LastChanges::from([((sre, "k.x".to_owned()), at)]);
        let told: Vec<Value> = explain(defaults, &line(), &last, None)
            .into_iter()
            .map(|leaf| {
                let from = |setting: &Setting| match &setting.node_id {
                    Some(node) => json!(format!("{node}@{}", setting.version.unwrap_or_default())),
                    None => json!("defaults"),
                };
                let over: Vec<Value> = leaf
                    .overrides
                    .iter()
                    .map(|over| json!([over.value, from(&over.set_by)]))
                    .collect();
                json!([leaf.path, leaf.value, from(&leaf.set_by), over])
            })
            .collect();
        assert_eq!(
            Value::Array(told),
            json!([
                ["a\\.b", null, "sre@1", []],
                [
                    "k.x",
                    2,
                    "sre@3",
                    [[5, "unit@1"], [1, "acme@1"], [0, "defaults"]]
                ],
                ["l", [], "sre@1", [[[1], "acme@1"]]],
                ["n", 7, "defaults", []],
                ["only.org", true, "acme@1", []],
                ["tools", {}, "defaults", []],
            ])
        );
        let only = explain(defaults, &line(), &last, Some("k"));
        assert_eq!(only.len(), 1);
        assert!(explain(defaults, &line(), &last, Some("on")).is_empty());
    }
}
