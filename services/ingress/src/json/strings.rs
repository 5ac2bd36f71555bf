//! Objects whose names are the sender's choice: labels, tags, identifiers.

use std::{borrow::Cow, fmt};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{MAX_LIST, Name, skip_list, skip_object};

/// The first [`MAX_LIST`] members of an object whose values are strings that are not empty, in their order;
/// none when it is no object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strings<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl Strings<'_> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The last value under this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut named = self.0.iter().rev().filter(|(known, _)| known == name);
        named.next().map(|(_, value)| &**value)
    }
}

/// A string; nothing for any other value.
#[derive(Default)]
struct Value<'a>(Option<Cow<'a, str>>);

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;

        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = Value<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any JSON value")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
                Ok(Value(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
                Ok(Value(Some(Cow::Owned(text.to_owned()))))
            }

            absent!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Value<'de>, A::Error> {
                skip_list(list).map(|_skipped| Value(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value<'de>, A::Error> {
                skip_object(map).map(|()| Value(None))
            }
        }

        deserializer.deserialize_any(ValueVisitor)
    }
}

impl<'de> Deserialize<'de> for Strings<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StringsVisitor;

        impl<'de> Visitor<'de> for StringsVisitor {
            type Value = Strings<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any JSON value")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strings<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    if members.len() < MAX_LIST {
                        let Value(value) = map.next_value()?;
                        let value = value.filter(|value| !value.is_empty());
                        members.extend(value.map(|value| (name, value)));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Strings(members))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Strings<'de>, A::Error> {
                skip_list(list).map(|_skipped| Strings::default())
            }

            absent!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
        }

        deserializer.deserialize_any(StringsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strings_are_kept() {
        let json =
            r#"{"a":"1","b":2,"c":["x"],"d":{"e":"f"},"g":"","h":null,"a":"2","\u0061b":"\u0063"}"#;
        let read: Strings<'_> = serde_json::from_str(json).expect("JSON");
        let members: Vec<_> = read.iter().collect();
        assert_eq!(members, [("a", "1"), ("a", "2"), ("ab", "c")]);
        assert_eq!((read.get("a"), read.get("b")), (Some("2"), None));
        for odd in ["null", "[1]", "7", "\"x\"", "true", "1.5", "-1"] {
            let read: Strings<'_> = serde_json::from_str(odd).expect("JSON");
            assert_eq!(read.iter().count(), 0, "{odd}");
        }
        let many = (0..200).map(|number| format!("\"{number}\":\"x\""));
        let many = format!("{{{}}}", many.collect::<Vec<_>>().join(","));
        let read: Strings<'_> = serde_json::from_str(&many).expect("JSON");
        assert_eq!(read.iter().count(), MAX_LIST);
    }
}
