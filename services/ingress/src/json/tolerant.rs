//! Sound JSON that Rust cannot hold: half a surrogate pair (`"\ud83d"`, where a sender cut an emoji) and
//! numbers beyond a float (`1e999`).
//!
//! Half a pair becomes U+FFFD, and such a number its text, so that the sender loses a character and not
//! the event. Every level is scanned once more than by serde_json, which is why it is read this way only
//! after the strict way failed.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Error, value::RawValue};

/// A high surrogate comes before a low one.
const HIGH: std::ops::RangeInclusive<u16> = 0xd800..=0xdbff;
const LOW: std::ops::RangeInclusive<u16> = 0xdc00..=0xdfff;
/// Bytes of `\uXXXX`.
const ESCAPE: usize = 6;

/// Reads `T` from JSON that is known to be sound.
///
/// # Errors
/// When `T` does not take a value of some type.
pub(crate) fn read<'a, T: Deserialize<'a>>(json: &'a RawValue) -> Result<T, Error> {
    T::deserialize(Tolerant(json.get()))
}

/// One JSON value, without blanks around it.
struct Tolerant<'de>(&'de str);

impl<'de> Deserializer<'de> for Tolerant<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Self(json) = self;
        let mut strict = serde_json::Deserializer::from_str(json);
        match json.as_bytes().first() {
            Some(b'{' | b'[') => strict.deserialize_any(Within(visitor)),
            Some(b'"') => match mended(json) {
                Some(mended) => visitor.visit_string(serde_json::from_str(&mended)?),
                None => strict.deserialize_any(visitor),
            },
            Some(b'-' | b'0'..=b'9') if serde_json::from_str::<f64>(json).is_err() => {
                visitor.visit_borrowed_str(json)
            }
            _ => strict.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            "null" => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    /// What stays as it stands (`RawValue`) is serde_json's own matter.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        serde_json::Deserializer::from_str(self.0).deserialize_newtype_struct(name, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier
    }
}

/// Hands a visitor the parts of a list or an object to be read with the same tolerance.
struct Within<T>(T);

impl<'de, V: Visitor<'de>> Visitor<'de> for Within<V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(formatter)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Within(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Within(list))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Within<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let key: Option<&'de RawValue> = self.0.next_key()?;
        key.map(|key| part(key, seed)).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        part(self.0.next_value()?, seed)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Within<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let element: Option<&'de RawValue> = self.0.next_element()?;
        element.map(|element| part(element, seed)).transpose()
    }
}

fn part<'de, S: DeserializeSeed<'de>, E: serde::de::Error>(
    json: &'de RawValue,
    seed: S,
) -> Result<S::Value, E> {
    seed.deserialize(Tolerant(json.get())).map_err(E::custom)
}

/// A string literal with `\ufffd` for every half of a surrogate pair; nothing when all are whole.
fn mended(literal: &str) -> Option<String> {
    let mut mended = String::new();
    // How far it is copied, and how far it is read.
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = literal.get(at..).and_then(|rest| rest.find('\\')) {
        let escape = at + found;
        at = match (unit(literal, escape), unit(literal, escape + ESCAPE)) {
            (Some(high), Some(low)) if HIGH.contains(&high) && LOW.contains(&low) => {
                escape + 2 * ESCAPE
            }
            (Some(half), _) if HIGH.contains(&half) || LOW.contains(&half) => {
                mended.push_str(literal.get(copied..escape).unwrap_or_default());
                mended.push_str("\\ufffd");
                copied = escape + ESCAPE;
                copied
            }
            (Some(_), _) => escape + ESCAPE,
            // The backslash, and what it escapes.
            (None, _) => escape + 2,
        };
    }
    (copied > 0).then(|| mended + literal.get(copied..).unwrap_or_default())
}

/// The UTF-16 unit that is escaped here, if one is.
fn unit(literal: &str, at: usize) -> Option<u16> {
    let digits = literal.get(at..at + ESCAPE)?.strip_prefix("\\u")?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Flag, List, Members, Present, Reference, Strings, Text};
    use super::*;

    object! {
        Inner { "id" => id: Text<'a>, "raw" => raw: Option<&'a RawValue> }
    }

    object! {
        Outer {
            "title" => title: Text<'a>,
            "flag" => flag: Flag,
            "link" => link: Present,
            "user" => user: Reference<'a>,
            "inner" => inner: Inner<'a>,
            "list" => list: List<Inner<'a>>,
            "labels" => labels: Members<'a>,
            "names" => names: Strings<'a>,
        }
    }

    fn tolerant(json: &str) -> String {
        let raw: &RawValue = serde_json::from_str(json).expect("sound JSON");
        format!("{:?}", read::<Outer<'_>>(raw).expect("read"))
    }

    fn strict(json: &str) -> String {
        format!(
            "{:?}",
            serde_json::from_str::<Outer<'_>>(json).expect("read")
        )
    }

    /// Sound JSON is read the same both ways.
    #[test]
    fn what_rust_can_hold_is_read_as_ever() {
        for json in [
            r#"{"title":"a\"\u00e9\ud83d\ude00","flag":true,"link":{},"user":{"id":7,"name":"x"},"new":[{}]}"#,
            r#"{"inner":{"id":-1.5,"raw":{"x":[1, 2]}},"list":[{"id":"a"},3,null,{"raw":null}],"title":"a","\u0074itle":"b"}"#,
            r#"{"labels":{"b":"1","a":2,"c":[1]},"names":{"x":"y","z":1},"user":"U1","link":null,"flag":[true]}"#,
            r#"{"title":18446744073709551616,"flag":1,"user":[1],"inner":"x","list":{"a":1},"labels":7,"names":[]}"#,
            "[1,2]",
            "null",
            " 5 ",
        ] {
            assert_eq!(tolerant(json), strict(json), "{json}");
        }
    }

    #[test]
    fn what_it_cannot_hold_costs_one_character_or_one_number() {
        for (odd, plain) in [
            (r#"{"title":"cut \ud83d"}"#, r#"{"title":"cut �"}"#),
            (
                r#"{"title":"\ude00\ud83d\ud83d\ude00\\ud83d\n"}"#,
                r#"{"title":"��😀\\ud83d\n"}"#,
            ),
            (r#"{"title":"\ud83d\u0041"}"#, r#"{"title":"�A"}"#),
            (
                r#"{"\ud800":1,"title":"kept"}"#,
                r#"{"�":1,"title":"kept"}"#,
            ),
            (
                r#"{"labels":{"\ud800":"\udfff"},"names":{"a":"\ud800"},"user":"\ud800"}"#,
                r#"{"labels":{"�":"�"},"names":{"a":"�"},"user":"�"}"#,
            ),
            (
                r#"{"list":[{"id":1e999},{"id":"b"}],"title":-1e999}"#,
                r#"{"list":[{"id":"1e999"},{"id":"b"}],"title":"-1e999"}"#,
            ),
            (r#"{"flag":1e999,"inner":1e999}"#, "{}"),
        ] {
            assert!(serde_json::from_str::<Outer<'_>>(odd).is_err(), "{odd}");
            assert_eq!(tolerant(odd), strict(plain), "{odd}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let lists = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let objects = format!("{}1{}", "{\"list\":".repeat(100_000), "}".repeat(100_000));
        for deep in [lists, objects] {
            for field in ["new", "title", "flag", "link", "user", "inner", "labels"] {
                let json = format!(r#"{{"{field}":{deep},"names":{{"a":"\ud800"}}}}"#);
                let raw: &RawValue = serde_json::from_str(&json).expect("sound JSON");
                let outer: Outer<'_> = read(raw).expect("read");
                assert_eq!(outer.names.get("a"), Some("\u{fffd}"), "{field}");
            }
        }
    }

    proptest! {
        #[test]
        fn halves_are_mended_as_utf_16_has_it(units in prop::collection::vec(
            prop_oneof![Just(0xd83d_u16), Just(0xde00), Just(0x5c), Just(0x22), any::<u16>()], 0..20,
        )) {
            let escapes: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let json = format!("{{\"title\":\"{escapes}\"}}");
            let raw: &RawValue = serde_json::from_str(&json).expect("sound JSON");
            let outer: Outer<'_> = read(raw).expect("read");
            prop_assert_eq!(outer.title.text(), String::from_utf16_lossy(&units));
        }
    }
}
