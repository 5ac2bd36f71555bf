//! `${secret:name}` in strings of the configuration.

use serde_json::Value;

use crate::token::SecretName;

/// How a reference begins; it ends with the next `}`.
pub const REFERENCE: &str = "${secret:";

/// A place in a config that names a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Keys and indexes joined by dots: `integrations.slack.bot_token`.
    pub path: String,
    /// Which secret.
    pub name: SecretName,
}

/// A place in a config that looks like a reference and is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a reference is ${{secret:name}}, where name is 1 to 63 characters of a-z, 0-9, '_' and '-', \
     starting with a letter or digit"
)]
pub struct MalformedReference {
    /// As [`Reference::path`].
    pub path: String,
}

/// A part of a string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<'a> {
    /// As it stands.
    Text(&'a str),
    /// To be replaced by the value of a secret.
    Secret(SecretName),
}

/// Splits a string at its references; `None` when one is malformed.
pub fn pieces(text: &str) -> Option<Vec<Piece<'_>>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(REFERENCE) {
        let (name, behind) = after.split_once('}')?;
        if !before.is_empty() {
            found.push(Piece::Text(before));
        }
        found.push(Piece::Secret(SecretName::new(name).ok()?));
        rest = behind;
    }
    if !rest.is_empty() {
        found.push(Piece::Text(rest));
    }
    Some(found)
}

/// Every reference in a config, and every malformed one; keys of objects are not looked at.
pub fn references(config: &Value) -> (Vec<Reference>, Vec<MalformedReference>) {
    let mut found = (Vec::new(), Vec::new());
    // Kept by hand instead of by recursion: a config may be nested as deeply as its parser allows.
    let mut open: Vec<(String, &Value)> = vec![(String::new(), config)];
    while let Some((path, value)) = open.pop() {
        let below = |key: &dyn std::fmt::Display| match path.as_str() {
            "" => key.to_string(),
            _ => format!("{path}.{key}"),
        };
        match value {
            Value::Object(object) => {
                open.extend(object.iter().map(|(key, value)| (below(key), value)));
            }
            Value::Array(items) => {
                let items = items.iter().enumerate();
                open.extend(items.map(|(index, value)| (below(&index), value)));
            }
            Value::String(text) if text.contains(REFERENCE) => match pieces(text) {
                None => found.1.push(MalformedReference { path }),
                Some(pieces) => found.0.extend(pieces.into_iter().filter_map(|piece| {
                    let Piece::Secret(name) = piece else {
                        return None;
                    };
                    let path = path.clone();
                    Some(Reference { path, name })
                })),
            },
            _ => {}
        }
    }
    found.0.sort();
    found.1.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_are_found_wherever_they_stand() {
        let config = json!({
            "integrations": {"slack": {"bot_token": "${secret:slack}"}},
            "mcp": [{"env": {"A": "Bearer ${secret:a_1}, ${secret:b}"}}, {"env": {"A": "$secret"}}],
            "plain": "${other}", "number": 7, "${secret:key}": true,
        });
        let (found, malformed) = references(&config);
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|one| (one.path.as_str(), one.name.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("integrations.slack.bot_token", "slack"),
                ("mcp.0.env.A", "a_1"),
                ("mcp.0.env.A", "b"),
            ]
        );
        assert_eq!(malformed, []);
    }

    #[test]
    fn a_broken_reference_is_named_by_its_path_and_not_repeated() {
        for text in [
            "${secret:}",
            "${secret:A}",
            "${secret:a",
            "${secret:a b}",
            "x ${secret:a.b}",
            "${secret:ok} ${secret:-}",
        ] {
            let (found, malformed) = references(&json!({"a": [text]}));
            assert_eq!(found, [], "{text}");
            let said = malformed.first().expect(text).to_string();
            assert_eq!(malformed[0].path, "a.0", "{text}");
            assert!(said.starts_with("a reference is ${secret:name}"), "{said}");
        }
    }

    #[test]
    fn pieces_together_are_the_text() {
        assert_eq!(
            pieces("a ${secret:x}b${secret:y}"),
            Some(vec![
                Piece::Text("a "),
                Piece::Secret(SecretName::new("x").expect("name")),
                Piece::Text("b"),
                Piece::Secret(SecretName::new("y").expect("name")),
            ])
        );
        assert_eq!(pieces("plain"), Some(vec![Piece::Text("plain")]));
        assert_eq!(pieces(""), Some(Vec::new()));
    }
}
