//! Block Kit's limits, checked the way Slack checks them: every fault is named with a JSON pointer.

use std::collections::HashSet;

use serde_json::Value;

const MAX_BLOCKS: usize = 50;
const MAX_TEXT: usize = 3000;
const MAX_HEADER: usize = 150;
const MAX_FIELDS: usize = 10;
const MAX_FIELD: usize = 2000;
const MAX_CONTEXT_ELEMENTS: usize = 10;
const MAX_ACTIONS: usize = 25;
const MAX_BUTTON_TEXT: usize = 75;
const MAX_BUTTON_VALUE: usize = 2000;
const MAX_ID: usize = 255;
const MAX_URL: usize = 3000;
const MAX_MARKDOWN: usize = 12_000;

/// What Slack would put into `response_metadata.messages`; empty when the blocks are right.
pub(crate) fn faults(blocks: &[Value]) -> Vec<String> {
    let mut check = Check::default();
    if blocks.len() > MAX_BLOCKS {
        check.fault(
            &format!("no more than {MAX_BLOCKS} items allowed"),
            "/blocks",
        );
    }
    let mut ids = HashSet::new();
    for (index, block) in blocks.iter().enumerate() {
        let at = format!("/blocks/{index}");
        check.block(block, &at);
        if let Some(id) = block.get("block_id").and_then(Value::as_str)
            && !ids.insert(id)
        {
            check.fault("block_id already exists", &format!("{at}/block_id"));
        }
    }
    check.faults
}

#[derive(Default)]
struct Check {
    faults: Vec<String>,
}

impl Check {
    fn fault(&mut self, what: &str, at: &str) {
        self.faults
            .push(format!("[ERROR] {what} [json-pointer:{at}]"));
    }

    fn block(&mut self, block: &Value, at: &str) {
        self.id(block, "block_id", at);
        match block.get("type").and_then(Value::as_str) {
            Some("header") => {
                let text = format!("{at}/text");
                self.text(block.get("text"), &text, MAX_HEADER, &["plain_text"]);
            }
            Some("section") => self.section(block, at),
            Some("context") => {
                for (index, element) in self.list(block, "elements", at, MAX_CONTEXT_ELEMENTS) {
                    let at = format!("{at}/elements/{index}");
                    match element.get("type").and_then(Value::as_str) {
                        Some("image") => self.image(&element, &at),
                        _ => self.text(Some(&element), &at, MAX_TEXT, &["plain_text", "mrkdwn"]),
                    }
                }
            }
            Some("actions") => {
                let mut seen = HashSet::new();
                for (index, element) in self.list(block, "elements", at, MAX_ACTIONS) {
                    let at = format!("{at}/elements/{index}");
                    self.element(&element, &at);
                    let id = element
                        .get("action_id")
                        .and_then(Value::as_str)
                        .unwrap_or_default();
                    if !id.is_empty() && !seen.insert(id.to_owned()) {
                        self.fault("action_id already exists", &format!("{at}/action_id"));
                    }
                }
            }
            Some("image") => self.image(block, at),
            Some("markdown") => {
                self.length(block.get("text"), &format!("{at}/text"), 1, MAX_MARKDOWN);
            }
            Some("divider" | "rich_text") => {}
            Some(other) => {
                self.fault(&format!("unsupported type: {other}"), &format!("{at}/type"));
            }
            None => self.fault("missing required field: type", at),
        }
    }

    fn section(&mut self, block: &Value, at: &str) {
        let kinds = ["plain_text", "mrkdwn"];
        let (text, fields) = (block.get("text"), block.get("fields"));
        if text.is_none() && fields.is_none() {
            self.fault("missing required field: text", at);
        }
        if text.is_some() {
            self.text(text, &format!("{at}/text"), MAX_TEXT, &kinds);
        }
        if fields.is_some() {
            for (index, field) in self.list(block, "fields", at, MAX_FIELDS) {
                self.text(
                    Some(&field),
                    &format!("{at}/fields/{index}"),
                    MAX_FIELD,
                    &kinds,
                );
            }
        }
        if let Some(accessory) = block.get("accessory") {
            self.element(accessory, &format!("{at}/accessory"));
        }
    }

    fn element(&mut self, element: &Value, at: &str) {
        self.id(element, "action_id", at);
        match element.get("type").and_then(Value::as_str) {
            Some("button") => {
                let text = format!("{at}/text");
                self.text(element.get("text"), &text, MAX_BUTTON_TEXT, &["plain_text"]);
                if let Some(value) = element.get("value") {
                    self.length(Some(value), &format!("{at}/value"), 0, MAX_BUTTON_VALUE);
                }
                if let Some(url) = element.get("url") {
                    self.length(Some(url), &format!("{at}/url"), 1, MAX_URL);
                }
                let style = element.get("style").and_then(Value::as_str);
                if !matches!(style, None | Some("primary" | "danger")) {
                    self.fault("must be one of: primary, danger", &format!("{at}/style"));
                }
            }
            Some("image") => self.image(element, at),
            Some(kind) if kind.ends_with("_select") || kind == "overflow" => {}
            _ => self.fault("unsupported type of element", &format!("{at}/type")),
        }
    }

    fn image(&mut self, image: &Value, at: &str) {
        self.length(
            image.get("image_url"),
            &format!("{at}/image_url"),
            1,
            MAX_URL,
        );
        self.length(
            image.get("alt_text"),
            &format!("{at}/alt_text"),
            1,
            MAX_FIELD,
        );
    }

    fn text(&mut self, text: Option<&Value>, at: &str, most: usize, kinds: &[&str]) {
        let Some(object) = text.filter(|value| value.is_object()) else {
            self.fault("must provide an object", at);
            return;
        };
        let kind = object
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !kinds.contains(&kind) {
            self.fault(
                &format!("must be one of: {}", kinds.join(", ")),
                &format!("{at}/type"),
            );
        }
        self.length(object.get("text"), &format!("{at}/text"), 1, most);
    }

    fn length(&mut self, value: Option<&Value>, at: &str, least: usize, most: usize) {
        let Some(text) = value.and_then(Value::as_str) else {
            self.fault("must provide a string", at);
            return;
        };
        let length = text.chars().count();
        if length < least {
            self.fault(&format!("must be more than {} characters", least - 1), at);
        }
        if length > most {
            self.fault(&format!("must be less than {} characters", most + 1), at);
        }
    }

    fn id(&mut self, owner: &Value, key: &str, at: &str) {
        if let Some(id) = owner.get(key) {
            self.length(Some(id), &format!("{at}/{key}"), 0, MAX_ID);
        }
    }

    fn list(&mut self, owner: &Value, key: &str, at: &str, most: usize) -> Vec<(usize, Value)> {
        let at = format!("{at}/{key}");
        let items = owner
            .get(key)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        if items.is_empty() {
            self.fault("must provide at least one item", &at);
        }
        if items.len() > most {
            self.fault(&format!("no more than {most} items allowed"), &at);
        }
        items.into_iter().enumerate().collect()
    }
}
