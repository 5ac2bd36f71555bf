//! Text that is a string, or a document: a tree of nodes whose leaves have the words. Atlassian's document
//! format and Slack's blocks are such trees.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::{Name, Text};

/// Levels that are read, of which a node and its list of nodes are two: a list in a table has sixteen. Each
/// takes frames of the stack.
const MAX_DEPTH: usize = 32;
/// Bytes kept of the words of one tree: as many as an event's text has.
const MAX_BYTES: usize = 256 * 1024;

/// A string as it is, or the words of a node or of a list of nodes, a line for each paragraph. Empty when
/// it is anything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prose<'a>(Cow<'a, str>);

impl Prose<'_> {
    pub(crate) fn get(&self) -> Option<&str> {
        Some(&*self.0).filter(|text| !text.is_empty())
    }

    /// The text, empty when absent.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Prose<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ProseVisitor;

        impl<'de> Visitor<'de> for ProseVisitor {
            type Value = Prose<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any JSON value")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Prose<'de>, E> {
                Ok(Prose(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Prose<'de>, E> {
                Ok(Prose(Cow::Owned(text.to_owned())))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Prose<'de>, A::Error> {
                let mut words = Words::default();
                words.node(map, MAX_DEPTH)?;
                Ok(words.prose())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Prose<'de>, A::Error> {
                let mut words = Words::default();
                words.nodes(list, MAX_DEPTH)?;
                Ok(words.prose())
            }

            absent!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
        }

        deserializer.deserialize_any(ProseVisitor)
    }
}

object! {
    /// What Atlassian's leaves say that have no text of their own: mentions and emoji, cards.
    Attributes { "text" => text: Text<'a>, "url" => url: Text<'a> }
}

/// The words of a tree while it is read.
#[derive(Default)]
struct Words(String);

impl Words {
    /// Reads an object, and `depth` levels below it.
    fn node<'de, A: MapAccess<'de>>(&mut self, mut map: A, depth: usize) -> Result<(), A::Error> {
        let (mut kind, mut text, mut url) = <(Text<'_>, Text<'_>, Text<'_>)>::default();
        let (mut user, mut attributes) = <(Text<'_>, Attributes<'_>)>::default();
        let mut has_nodes = false;
        while let Some(Name(name)) = map.next_key()? {
            match &*name {
                "type" => kind = map.next_value()?,
                "text" => text = map.next_value()?,
                "url" => url = map.next_value()?,
                "user_id" => user = map.next_value()?,
                "attrs" => attributes = map.next_value()?,
                "content" | "elements" => {
                    map.next_value_seed(Below { words: self, depth })?;
                    has_nodes = true;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        match (kind.text(), user.get()) {
            ("hardBreak", _) => self.push("\n"),
            ("user", Some(user)) => {
                self.push("<@");
                self.push(user);
                self.push(">");
            }
            _ => {
                let said = [&text, &attributes.text, &url, &attributes.url];
                self.push(said.into_iter().find_map(Text::get).unwrap_or_default());
            }
        }
        // A paragraph, or one of Slack's texts, which stand beside each other.
        if has_nodes || matches!(kind.text(), "mrkdwn" | "plain_text") {
            self.end_line();
        }
        Ok(())
    }

    fn nodes<'de, A: SeqAccess<'de>>(&mut self, mut list: A, depth: usize) -> Result<(), A::Error> {
        while list
            .next_element_seed(Below { words: self, depth })?
            .is_some()
        {}
        Ok(())
    }

    /// Adds text as far as there is room.
    fn push(&mut self, text: &str) {
        let mut end = text.len().min(MAX_BYTES.saturating_sub(self.0.len()));
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.0.push_str(text.get(..end).unwrap_or_default());
    }

    fn end_line(&mut self) {
        if !self.0.is_empty() && !self.0.ends_with('\n') {
            self.push("\n");
        }
    }

    fn prose(mut self) -> Prose<'static> {
        self.0.truncate(self.0.trim_end().len());
        Prose(Cow::Owned(self.0))
    }
}

/// A node, or the list of a node's nodes; nothing when it is anything else, or too deep.
struct Below<'w> {
    words: &'w mut Words,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Below<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.depth {
            0 => IgnoredAny::deserialize(deserializer).map(|IgnoredAny| ()),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Below<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.words.node(map, self.depth - 1)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        self.words.nodes(list, self.depth - 1)
    }

    absent!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prose(json: &str) -> String {
        let read: Prose<'_> = serde_json::from_str(json).expect("JSON");
        read.text().to_owned()
    }

    #[test]
    fn the_words_of_a_tree_are_read_in_their_order() {
        for (json, expected) in [
            (r#""as it is\n""#, "as it is\n"),
            // Atlassian's format; keys in any order.
            (
                r#"{"version":1,"type":"doc","content":[
                    {"content":[{"type":"text","text":"Disk "},{"type":"text","text":"full","marks":[{"type":"strong"}]}],"type":"paragraph"},
                    {"type":"bulletList","content":[
                        {"type":"listItem","content":[{"type":"paragraph","content":[{"type":"text","text":"one"}]}]},
                        {"type":"listItem","content":[{"type":"paragraph","content":[{"type":"text","text":"two"}]}]}]},
                    {"type":"paragraph","content":[
                        {"type":"mention","attrs":{"id":"5c","text":"@Jane"}},{"type":"hardBreak"},
                        {"type":"inlineCard","attrs":{"url":"https://a.example/"}}]}]}"#,
                "Disk full\none\ntwo\n@Jane\nhttps://a.example/",
            ),
            // Slack's rich text and context.
            (
                r#"[{"type":"rich_text_section","elements":[
                        {"type":"text","text":"ask "},{"type":"user","user_id":"U1"},{"type":"text","text":" or "},
                        {"type":"link","url":"https://b.example/"},{"type":"link","url":"https://c.example/","text":"this"}]},
                    {"type":"rich_text_list","elements":[{"type":"rich_text_section","elements":[{"type":"text","text":"a"}]}]}]"#,
                "ask <@U1> or https://b.example/this\na",
            ),
            (
                r#"[{"type":"mrkdwn","text":"*env*"},{"type":"plain_text","text":"prod"},{"type":"image","alt_text":"x"}]"#,
                "*env*\nprod",
            ),
            (
                r#"{"type":"button","text":{"type":"plain_text","text":"Ack"}}"#,
                "",
            ),
            (r#"{"content":7,"elements":"x","text":["y"]}"#, ""),
            ("[[[\"x\"]], null, 7, true, 1.5, -1]", ""),
            ("7", ""),
            ("null", ""),
        ] {
            assert_eq!(prose(json), expected, "{json}");
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let nested = |depth: usize| {
            let (open, close) = (r#"{"content":["#.repeat(depth), "]}".repeat(depth));
            format!(r#"{open}{{"text":"deep"}}{close}"#)
        };
        let reading = std::thread::Builder::new().stack_size(128 * 1024);
        let reading = reading.spawn(move || {
            assert_eq!(prose(&nested(MAX_DEPTH / 2)), "deep");
            for depth in [MAX_DEPTH / 2 + 1, 60, 10_000] {
                assert_eq!(prose(&nested(depth)), "", "{depth}");
            }
        });
        reading.expect("a thread").join().expect("no overflow");
        let leaf = format!(r#"{{"type":"mrkdwn","text":"{}"}}"#, "ü".repeat(1_000));
        let many = format!("[{}]", vec![leaf; 1_000].join(","));
        let length = prose(&many).len();
        assert!((MAX_BYTES - 1..=MAX_BYTES).contains(&length), "{length}");
    }
}
