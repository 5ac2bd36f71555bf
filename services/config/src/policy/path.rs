//! Dotted paths into a config, and patterns of them. Pure.
//!
//! A path is a list of keys, so that a key with a dot in it (`a.b`) is never taken for two; such a dot
//! is written `\.`. In a pattern `*` stands for any one key: `agents.*.prompt`.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

use crate::merge::Config;

/// Longest path in a rule.
const MAX_PATH_CHARS: usize = 512;

/// Where a value stands; empty for the whole config.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Path(Vec<String>);

impl Path {
    pub(crate) fn of<const N: usize>(keys: [&str; N]) -> Self {
        Self(keys.into_iter().map(str::to_owned).collect())
    }

    /// Undoes a JSON pointer (RFC 6901).
    pub(crate) fn from_pointer(pointer: &str) -> Self {
        let keys = pointer.split('/').skip(1);
        Self(
            keys.map(|key| key.replace("~1", "/").replace("~0", "~"))
                .collect(),
        )
    }

    pub(crate) fn child(&self, key: &str) -> Self {
        let mut keys = self.0.clone();
        keys.push(key.to_owned());
        Self(keys)
    }

    pub(crate) fn keys(&self) -> &[String] {
        &self.0
    }

    /// What stands there.
    pub(crate) fn get<'a>(&self, config: &'a Config) -> Option<&'a Value> {
        let (first, rest) = self.0.split_first()?;
        rest.iter()
            .try_fold(config.get(first)?, |value, key| value.get(key))
    }

    /// A config with nothing but this value.
    pub(crate) fn config_with(&self, value: Value) -> Option<Config> {
        let nested = self.0.iter().rev().fold(value, |inner, key| {
            Value::Object([(key.clone(), inner)].into_iter().collect())
        });
        match nested {
            Value::Object(config) if !self.0.is_empty() => Some(config),
            _ => None,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<String> = self.0.iter().map(|key| escaped(key)).collect();
        formatter.write_str(&keys.join("."))
    }
}

fn escaped(key: &str) -> String {
    key.replace('\\', "\\\\").replace('.', "\\.")
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no dotted path such as agents.planner.prompt or agents.*.model.name: {why}")]
pub(crate) struct InvalidPattern {
    text: String,
    why: &'static str,
}

/// A path in which some keys may be any.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pattern(Vec<Key>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Any,
    Is(String),
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let invalid = |why| InvalidPattern {
            text: text.chars().take(MAX_PATH_CHARS).collect(),
            why,
        };
        if text.chars().count() > MAX_PATH_CHARS {
            return Err(invalid("it has more than 512 characters"));
        }
        if text.contains('\0') {
            return Err(invalid("it holds U+0000"));
        }
        let mut keys = vec![String::new()];
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            match (letter, keys.last_mut()) {
                ('.', _) => keys.push(String::new()),
                ('\\', Some(key)) => {
                    key.push(
                        letters
                            .next()
                            .ok_or_else(|| invalid("nothing follows the backslash"))?,
                    );
                }
                (letter, Some(key)) => key.push(letter),
                (_, None) => {}
            }
        }
        if keys.iter().any(String::is_empty) {
            return Err(invalid("a key is empty"));
        }
        let keys = keys.into_iter().map(|key| match key.as_str() {
            "*" => Key::Any,
            _ => Key::Is(key),
        });
        Ok(Self(keys.collect()))
    }

    /// Whether it names this path, one above it, or one below it: whether a change there touches it.
    pub(crate) fn touches(&self, path: &Path) -> bool {
        self.0.iter().zip(&path.0).all(|(key, name)| key.is(name))
    }

    /// Whether it names exactly this path.
    pub(crate) fn is(&self, path: &Path) -> bool {
        self.0.len() == path.0.len() && self.touches(path)
    }

    /// Everything in the config that it names.
    pub(crate) fn find<'a>(&self, config: &'a Config) -> Vec<(Path, &'a Value)> {
        let mut found: Vec<(Path, &Value)> = Vec::new();
        let Some((first, rest)) = self.0.split_first() else {
            return found;
        };
        for (name, value) in config {
            if first.is(name) {
                found.push((Path(vec![name.clone()]), value));
            }
        }
        for key in rest {
            found = found
                .into_iter()
                .flat_map(|(path, value)| below(&path, value, key))
                .collect();
        }
        found
    }

    /// The path itself, where no key may be any.
    pub(crate) fn literal(&self) -> Option<Path> {
        let keys = self.0.iter().map(|key| match key {
            Key::Any => None,
            Key::Is(name) => Some(name.clone()),
        });
        keys.collect::<Option<Vec<String>>>().map(Path)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<String> = self
            .0
            .iter()
            .map(|key| match key {
                Key::Any => "*".to_owned(),
                Key::Is(name) => escaped(name),
            })
            .collect();
        formatter.write_str(&keys.join("."))
    }
}

impl Key {
    fn is(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Is(key) => key == name,
        }
    }
}

fn below<'a>(path: &Path, value: &'a Value, key: &Key) -> Vec<(Path, &'a Value)> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| key.is(name))
        .map(|(name, value)| (path.child(name), value))
        .collect()
}

/// The leaves that are new, gone or other, and where an object took the place of a value or made room
/// for one.
pub(crate) fn changed(before: &Config, after: &Config) -> BTreeSet<Path> {
    let mut found = BTreeSet::new();
    compare(&Path::default(), before, after, &mut found);
    found
}

fn compare(
    parent: &Path,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    found: &mut BTreeSet<Path>,
) {
    let nothing = Map::new();
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for key in keys {
        let path = parent.child(key);
        match (before.get(key), after.get(key)) {
            (Some(Value::Object(before)), Some(Value::Object(after))) => {
                compare(&path, before, after, found);
            }
            (Some(Value::Object(before)), other) => {
                compare(&path, before, &nothing, found);
                found.extend(other.is_some().then_some(path));
            }
            (other, Some(Value::Object(after))) => {
                compare(&path, &nothing, after, found);
                found.extend(other.is_some().then_some(path));
            }
            (before, after) if before != after => {
                found.insert(path);
            }
            _same => {}
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
    fn config(value: Value) -> Config {
        value.as_object().expect("object").clone()
    }

    #[test]
    fn a_pattern_touches_what_is_above_at_and_below_it() {
        let pattern = Pattern::parse("agents.*.prompt").expect("pattern");
        for (path, touches, is) in [
            (Path::of(["agents"]), true, false),
            (Path::of(["agents", "a.b"]), true, false),
            (Path::of(["agents", "a.b", "prompt"]), true, true),
            (Path::of(["agents", "a", "prompt", "system"]), true, false),
            (Path::of(["agents", "a", "tools"]), false, false),
            (Path::of(["agents.a.prompt"]), false, false),
        ] {
            assert_eq!(
                (pattern.touches(&path), pattern.is(&path)),
                (touches, is),
                "{path}"
            );
        }
        for bad in ["", ".", "a..b", "a.", "a\\", "a\0b"] {
            assert!(Pattern::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_dot_in_a_key_is_escaped() {
        let path = Path::of(["agents", "a.b", "c\\d"]);
        assert_eq!(path.to_string(), r"agents.a\.b.c\\d");
        let pattern = Pattern::parse(&path.to_string()).expect("pattern");
        assert_eq!(pattern.literal(), Some(path.clone()));
        assert_eq!(pattern.to_string(), path.to_string());
        assert_eq!(
            Path::from_pointer("/agents/a~1b~0"),
            Path::of(["agents", "a/b~"])
        );
    }

    #[test]
    fn values_are_found_and_changes_seen() {
        let before = config(json!({"a":{"x":{"v":1},"y":{"v":2},"z":3},"same":[1],"empty":{}}));
        let after = config(json!({"a":{"x":{"v":1},"y":{"v":{}},"z":3},"same":[1]}));
        let found = Pattern::parse("a.*.v")
            .expect("pattern")
            .find(&before)
            .len();
        assert_eq!(found, 2);
        let paths: Vec<String> = changed(&before, &after)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(paths, ["a.y.v"]);
        assert_eq!(
            Path::of(["a", "b"]).config_with(json!(1)),
            Some(config(json!({"a":{"b":1}})))
        );
        assert_eq!(Path::default().config_with(json!({})), None);
    }
}
