//! JSON of strangers: reads the fields we know, skips the rest, and never fails on a type it did not
//! expect.
//!
//! A signed delivery whose title is suddenly a number is still a delivery. So a field of another type
//! counts as absent, the last of two equal keys wins, and only broken JSON is an error. Strings borrow
//! from the body unless they hold escapes; what is skipped is neither copied nor limited in depth.

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Deref};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

pub(crate) use prose::Prose;
pub(crate) use strings::Strings;

/// Elements read of one list: more teams, commits or repositories than this say nothing new.
pub(crate) const MAX_LIST: usize = 100;

/// A string, or a number as its digits; absent when it is anything else, or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text<'a>(Option<Cow<'a, str>>);

impl Text<'_> {
    pub(crate) fn get(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }

    /// The text, empty when absent.
    pub(crate) fn text(&self) -> &str {
        self.get().unwrap_or_default()
    }

    pub(crate) fn owned(&self) -> String {
        self.text().to_owned()
    }
}

/// Something with an id, given as the id alone or as an object with `id` and `name`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reference<'a> {
    pub(crate) id: Text<'a>,
    pub(crate) name: Text<'a>,
}

/// True for `true`; false for all else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flag(pub(crate) bool);

/// Whether there is anything but `null`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Present(pub(crate) bool);

/// The first [`MAX_LIST`] elements of a list; empty when it is no list.
#[derive(Clone, Debug)]
pub(crate) struct List<T> {
    read: Vec<T>,
    left_out: usize,
}

impl<T> List<T> {
    /// Elements after the first [`MAX_LIST`].
    pub(crate) fn left_out(&self) -> usize {
        self.left_out
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self {
            read: Vec::new(),
            left_out: 0,
        }
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.read
    }
}

/// The first [`MAX_LIST`] members of an object whose names are not known beforehand: labels,
/// annotations. Empty when it is no object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members<'a>(Vec<(Cow<'a, str>, Text<'a>)>);

impl Members<'_> {
    /// The value of the last member of this name; empty when there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        let mut from_last = self.0.iter().rev();
        let found = from_last.find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.text())
    }

    /// Those that have a value, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let members = self.0.iter();
        members.filter_map(|(name, value)| Some((name.as_ref(), value.get()?)))
    }
}

/// Fields of an object, read by name; written by [`object!`].
pub(crate) trait Fields<'de>: Default {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;
}

/// Declares an object: `object! { Name<'a> { "key" => field: Kind, … } }`.
///
/// Its default, with every field absent, stands for `null` and for values that are no objects.
macro_rules! object {
    ($(#[$meta:meta])* $name:ident { $($key:literal => $field:ident: $kind:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default)]
        pub(crate) struct $name<'a> {
            $(pub(crate) $field: $kind,)*
        }

        impl<'a> $crate::json::Fields<'a> for $name<'a> {
            fn read<A: ::serde::de::MapAccess<'a>>(
                &mut self,
                name: &str,
                map: &mut A,
            ) -> ::core::result::Result<(), A::Error> {
                match name {
                    $($key => self.$field = map.next_value()?,)*
                    _ => {
                        map.next_value::<::serde::de::IgnoredAny>()?;
                    }
                }
                Ok(())
            }
        }

        impl<'a> ::serde::de::Deserialize<'a> for $name<'a> {
            fn deserialize<D: ::serde::de::Deserializer<'a>>(
                deserializer: D,
            ) -> ::core::result::Result<Self, D::Error> {
                $crate::json::deserialize_object(deserializer)
            }
        }
    };
}
pub(crate) use object;

pub(crate) fn deserialize_object<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Fields<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(ObjectVisitor(PhantomData))
}

/// Visits for the scalars that a visitor has no use for: each gives the default.
macro_rules! absent {
    ($($visit:ident: $kind:ty),* $(,)?) => {
        $(fn $visit<E>(self, _value: $kind) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        })*

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
    };
}

// Below the macros that they use.
mod prose;
mod strings;
pub(crate) mod tolerant;

/// Skips the rest of a list, and counts it.
fn skip_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<usize, A::Error> {
    let mut skipped = 0;
    while list.next_element::<IgnoredAny>()?.is_some() {
        skipped += 1;
    }
    Ok(skipped)
}

fn skip_object<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Fields<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut object = T::default();
        while let Some(Name(name)) = map.next_key()? {
            object.read(&name, &mut map)?;
        }
        Ok(object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        skip_list(list)?;
        Ok(T::default())
    }

    absent!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
}

/// A key, borrowed unless it is escaped.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }

        deserializer.deserialize_str(NameVisitor)
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any JSON value")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Owned(number.to_string()))))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Owned(number.to_string()))))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Owned(number.to_string()))))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Text<'de>, A::Error> {
                skip_list(list)?;
                Ok(Text::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Text<'de>, A::Error> {
                skip_object(map)?;
                Ok(Text::default())
            }

            absent!(visit_bool: bool);
        }

        deserializer.deserialize_any(TextVisitor)
    }
}

object! {
    Referred { "id" => id: Text<'a>, "name" => name: Text<'a> }
}

impl<'de> Deserialize<'de> for Reference<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReferenceVisitor;

        impl<'de> Visitor<'de> for ReferenceVisitor {
            type Value = Reference<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any JSON value")
            }

            fn visit_borrowed_str<E>(self, id: &'de str) -> Result<Reference<'de>, E> {
                let id = Text(Some(Cow::Borrowed(id)));
                Ok(Reference {
                    id,
                    ..Reference::default()
                })
            }

            fn visit_str<E>(self, id: &str) -> Result<Reference<'de>, E> {
                let id = Text(Some(Cow::Owned(id.to_owned())));
                Ok(Reference {
                    id,
                    ..Reference::default()
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Reference<'de>, A::Error> {
                let Referred { id, name } = ObjectVisitor(PhantomData).visit_map(map)?;
                Ok(Reference { id, name })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Reference<'de>, A::Error> {
                skip_list(list)?;
                Ok(Reference::default())
            }

            absent!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
        }

        deserializer.deserialize_any(ReferenceVisitor)
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FlagVisitor;

        impl<'de> Visitor<'de> for FlagVisitor {
            type Value = Flag;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any JSON value")
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Flag, E> {
                Ok(Flag(flag))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Flag, A::Error> {
                skip_list(list)?;
                Ok(Flag::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Flag, A::Error> {
                skip_object(map)?;
                Ok(Flag::default())
            }

            absent!(visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
        }

        deserializer.deserialize_any(FlagVisitor)
    }
}

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(
            Option::<IgnoredAny>::deserialize(deserializer)?.is_some(),
        ))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
            type Value = List<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any JSON value")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<T>, A::Error> {
                let mut read = Vec::new();
                while read.len() < MAX_LIST {
                    match list.next_element()? {
                        Some(element) => read.push(element),
                        None => return Ok(List { read, left_out: 0 }),
                    }
                }
                let left_out = skip_list(list)?;
                Ok(List { read, left_out })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<List<T>, A::Error> {
                skip_object(map)?;
                Ok(List::default())
            }

            absent!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
        }

        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any JSON value")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while members.len() < MAX_LIST {
                    match map.next_entry()? {
                        Some((Name(name), value)) => members.push((name, value)),
                        None => return Ok(Members(members)),
                    }
                }
                skip_object(map)?;
                Ok(Members(members))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Members<'de>, A::Error> {
                skip_list(list)?;
                Ok(Members::default())
            }

            absent!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
        }

        deserializer.deserialize_any(MembersVisitor)
    }
}

#[cfg(test)]
mod tests;
