//! What a message says. People write texts; alerting bots leave the text empty and put everything into
//! blocks or attachments.

use crate::json::{List, Prose, Text, object};

object! {
    /// A message inside an event or an interaction.
    Message {
        "text" => text: Text<'a>,
        "user" => user: Text<'a>,
        "ts" => ts: Text<'a>,
        "thread_ts" => thread_ts: Text<'a>,
        "bot_id" => bot_id: Text<'a>,
        "attachments" => attachments: List<Attachment<'a>>,
        "blocks" => blocks: List<Block<'a>>,
    }
}

object! {
    Attachment {
        "pretext" => pretext: Text<'a>,
        "title" => title: Text<'a>,
        "text" => text: Text<'a>,
        "fields" => fields: List<Field<'a>>,
        "blocks" => blocks: List<Block<'a>>,
        "fallback" => fallback: Text<'a>,
    }
}

object! {
    Field { "title" => title: Text<'a>, "value" => value: Text<'a> }
}

object! {
    Block {
        "type" => kind: Text<'a>,
        "text" => text: Prose<'a>,
        "fields" => fields: Prose<'a>,
        "elements" => elements: Prose<'a>,
    }
}

impl Message<'_> {
    pub(super) fn said(&self) -> String {
        said(&self.text, &self.blocks, &self.attachments)
    }
}

/// The text; without one a line for each part of the blocks and attachments that has words.
pub(super) fn said(
    text: &Text<'_>,
    blocks: &[Block<'_>],
    attachments: &[Attachment<'_>],
) -> String {
    if let Some(text) = text.get() {
        return text.to_owned();
    }
    let mut lines: Vec<String> = blocks.iter().flat_map(Block::lines).collect();
    lines.extend(attachments.iter().flat_map(Attachment::lines));
    lines.join("\n")
}

impl Block<'_> {
    fn lines(&self) -> impl Iterator<Item = String> {
        // The elements of other blocks are what one may click on.
        let is_said = matches!(self.kind.text(), "rich_text" | "context");
        let elements = self.elements.get().filter(|_| is_said);
        let parts = [self.text.get(), self.fields.get(), elements];
        parts.into_iter().flatten().map(str::to_owned)
    }
}

impl Attachment<'_> {
    fn lines(&self) -> Vec<String> {
        let texts = [&self.pretext, &self.title, &self.text];
        let mut lines: Vec<_> = texts.into_iter().map(Text::owned).collect();
        lines.extend(self.fields.iter().map(Field::line));
        lines.extend(self.blocks.iter().flat_map(Block::lines));
        lines.retain(|line| !line.is_empty());
        if lines.is_empty() {
            lines.extend(self.fallback.get().map(str::to_owned));
        }
        lines
    }
}

impl Field<'_> {
    fn line(&self) -> String {
        match (self.title.text(), self.value.text()) {
            ("", value) => value.to_owned(),
            (title, "") => title.to_owned(),
            (title, value) => format!("{title}: {value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_its_text_or_what_its_parts_hold() {
        for (message, expected) in [
            (
                r#"{"text":"CPU","blocks":[{"type":"section","text":{"text":"more"}}]}"#,
                "CPU",
            ),
            (
                r#"{"attachments":[{"title":"CPU","fields":[
                    {"title":"host","value":"db-1"},{"value":"95 %"},{"title":"since"},{}]}]}"#,
                "CPU\nhost: db-1\n95 %\nsince",
            ),
            (
                r#"{"text":"","attachments":[{"fallback":"CPU high","blocks":[
                    {"type":"header","text":{"type":"plain_text","text":"CPU"}},
                    {"type":"section","fields":[{"type":"mrkdwn","text":"*host*"},{"type":"mrkdwn","text":"db-1"}]}]}]}"#,
                "CPU\n*host*\ndb-1",
            ),
            (
                r#"{"blocks":[
                    {"type":"rich_text","elements":[{"type":"rich_text_section","elements":[
                        {"type":"text","text":"Disk "},{"type":"user","user_id":"U1"}]}]},
                    {"type":"context","elements":[{"type":"mrkdwn","text":"prod"},{"type":"image","alt_text":"x"}]},
                    {"type":"markdown","text":"**now**"},
                    {"type":"actions","elements":[{"type":"button","text":{"type":"plain_text","text":"Ack"},"url":"https://a.example/"}]}]}"#,
                "Disk <@U1>\nprod\n**now**",
            ),
            (r#"{"attachments":[{"fallback":"only this"}]}"#, "only this"),
            (r#"{"blocks":"x","attachments":[7]}"#, ""),
            ("{}", ""),
        ] {
            let message: Message<'_> = serde_json::from_str(message).expect("JSON");
            assert_eq!(message.said(), expected);
        }
    }
}
