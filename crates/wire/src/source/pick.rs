//! What a source takes out of bodies of any JSON, by expressions.
//!
//! ```json
//! {"title": "body.check.name ~ ' on ' ~ body.host", "severity": "body.prio|string",
//!  "status": "'resolved' if body.ok else 'firing'", "dedupe_key": "body.check.id",
//!  "identifiers": {"service": "body.tags[0]"}}
//! ```
//!
//! Each value is an expression of `tocsin-expr` over the names in [`PICK_NAMES`]. A text, a number or a
//! truth value is picked as text; an empty text, none, a list or an object is nothing. Whatever is not
//! picked is read as the provider reads it without expressions.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::identifier::IdentifierType;
use crate::limits::MAX_INLINE_BODY_BYTES;

/// What the expressions may use: the whole body, whose shape is its sender's.
pub const PICK_NAMES: &[&str] = &["body.*"];

/// Bytes of all expressions of one source together, as many as one may have: a dozen are usual, of fifty
/// each. It bounds the time that a delivery takes.
pub const MAX_PICK_BYTES: usize = 4 * 1024;

/// Largest body that is made into values, which take some ten times its memory. Of a larger one nothing is
/// picked.
pub const MAX_PICKED_BODY_BYTES: usize = MAX_INLINE_BODY_BYTES;

/// Expressions of a source, by what they pick; each may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourcePick {
    /// By type, one of those that route: `service`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub identifiers: BTreeMap<String, String>,
    /// One line for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What is to be said beyond it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The sender's word: `critical`, `P2`, `warning` …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// The sender's word: `firing`, `resolved`, `ok` … It decides the kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Where to read more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The sender's name for what happened: `alert.firing`, `deploy.finished`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub native_type: Option<String>,
    /// What an alert's begin, its repeats and its end have in common.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedupe_key: Option<String>,
    /// A date and time, or a number since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<String>,
    /// The same when the sender tries again, and another for every other delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_id: Option<String>,
}

/// One thing that is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PickField {
    /// The identifier of a type that routes.
    Identifier(&'static str),
    /// [`SourcePick::title`]; the others likewise.
    Title,
    Text,
    Severity,
    Status,
    Url,
    Type,
    DedupeKey,
    OccurredAt,
    DeliveryId,
}

impl SourcePick {
    /// The first type of identifiers that routes nothing; then nothing can be picked by this.
    #[must_use]
    pub fn unknown_identifier(&self) -> Option<&str> {
        let mut names = self.identifiers.keys();
        let unknown = names.find(|name| IdentifierType::named(name).is_none());
        unknown.map(String::as_str)
    }

    /// Every expression with what it picks, in the order of the fields; without those of identifiers that
    /// are unknown.
    pub fn expressions(&self) -> impl Iterator<Item = (PickField, &str)> {
        let identifiers = self.identifiers.iter().filter_map(|(name, expression)| {
            let field = PickField::Identifier(IdentifierType::named(name)?.name);
            Some((field, expression.as_str()))
        });
        let others = [
            (PickField::Title, &self.title),
            (PickField::Text, &self.text),
            (PickField::Severity, &self.severity),
            (PickField::Status, &self.status),
            (PickField::Url, &self.url),
            (PickField::Type, &self.native_type),
            (PickField::DedupeKey, &self.dedupe_key),
            (PickField::OccurredAt, &self.occurred_at),
            (PickField::DeliveryId, &self.delivery_id),
        ];
        let others = others.into_iter();
        identifiers
            .chain(others.filter_map(|(field, expression)| Some((field, expression.as_deref()?))))
    }
}

/// As it stands in the settings: `title`, `identifiers.service`.
impl fmt::Display for PickField {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Identifier(name) => return write!(formatter, "identifiers.{name}"),
            Self::Title => "title",
            Self::Text => "text",
            Self::Severity => "severity",
            Self::Status => "status",
            Self::Url => "url",
            Self::Type => "type",
            Self::DedupeKey => "dedupe_key",
            Self::OccurredAt => "occurred_at",
            Self::DeliveryId => "delivery_id",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_has_its_expression_under_its_own_name() {
        let whole = json!({"identifiers": {"service": "a", "receiver": "b"}, "title": "c", "text": "d",
            "severity": "e", "status": "f", "url": "g", "type": "h", "dedupe_key": "i", "occurred_at": "j",
            "delivery_id": "k"});
        let pick: SourcePick = serde_json::from_value(whole.clone()).expect("a pick");
        assert_eq!(serde_json::to_value(&pick).expect("JSON"), whole);
        let mut found = json!({});
        for (field, expression) in pick.expressions() {
            match field {
                PickField::Identifier(name) => found["identifiers"][name] = expression.into(),
                field => found[field.to_string()] = expression.into(),
            }
        }
        assert_eq!(found, whole);
        assert_eq!(
            PickField::Identifier("service").to_string(),
            "identifiers.service"
        );
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for odd in [
            json!({"titel": "body.a"}),
            json!({"title": 7}),
            json!({"identifiers": ["a"]}),
            json!({"identifiers": {"service": null}}),
        ] {
            assert!(
                serde_json::from_value::<SourcePick>(odd.clone()).is_err(),
                "{odd}"
            );
        }
        let mut pick = SourcePick::default();
        for (name, expected) in [("service", None), ("org_id", Some("org_id"))] {
            pick.identifiers.insert(name.to_owned(), "a".to_owned());
            assert_eq!(pick.unknown_identifier(), expected);
        }
        assert_eq!(pick.expressions().count(), 1);
        let nothing: SourcePick = serde_json::from_value(json!({})).expect("a pick");
        assert_eq!(nothing.expressions().count(), 0);
        assert_eq!(serde_json::to_value(nothing).expect("JSON"), json!({}));
    }
}
