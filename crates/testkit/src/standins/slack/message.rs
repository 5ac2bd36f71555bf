//! What the stand-in keeps of one message.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::{Map, Value, json};

/// Versions kept per message: an update a second for the longest run a test watches.
const KEPT_VERSIONS: usize = 200;

/// One message with everything that happened to it. Times are milliseconds since 1970.
#[derive(Clone, Debug, Serialize)]
pub struct Message {
    pub channel: String,
    /// `seconds.micros`; unique and increasing in its channel.
    pub ts: String,
    /// The parent's `ts` when this is a reply.
    pub thread_ts: Option<String>,
    pub user: String,
    pub is_bot: bool,
    pub text: String,
    pub blocks: Vec<Value>,
    /// `{"event_type": …, "event_payload": {…}}` as sent.
    pub metadata: Option<Value>,
    pub reactions: Vec<Reaction>,
    /// Only this user sees it (`chat.postEphemeral`).
    pub ephemeral_to: Option<String>,
    pub posted_at: i64,
    /// When it last changed; none when it never did.
    pub updated_at: Option<i64>,
    /// Slack shows "edited" for updates by text, not for updates by blocks.
    pub edited: bool,
    pub deleted: bool,
    /// Every version in order, the first as posted; the newest 200.
    pub versions: VecDeque<Version>,
    /// Grows with every change in the workspace.
    #[serde(skip)]
    pub(crate) revision: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Reaction {
    pub name: String,
    pub users: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Version {
    pub at: i64,
    /// What a person read then: see [`Message::shown`].
    pub shown: String,
}

impl Message {
    /// All that a person reads: the text of every block in order, one per line; the plain `text`
    /// when there are no blocks.
    pub fn shown(&self) -> String {
        shown(&self.text, &self.blocks)
    }

    /// Whether a person would read `needle` in it now.
    pub fn shows(&self, needle: &str) -> bool {
        self.shown().contains(needle)
    }

    /// Whether any version ever showed `needle`.
    pub fn ever_showed(&self, needle: &str) -> bool {
        self.versions
            .iter()
            .any(|version| version.shown.contains(needle))
    }

    /// A value of the metadata's `event_payload`, as text.
    pub fn metadata_value(&self, key: &str) -> Option<String> {
        let value = self.metadata.as_ref()?.get("event_payload")?.get(key)?;
        Some(
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned),
        )
    }

    pub(crate) fn keep_version(&mut self, at: i64) {
        if self.versions.len() == KEPT_VERSIONS {
            self.versions.pop_front();
        }
        let version = Version {
            at,
            shown: self.shown(),
        };
        self.versions.push_back(version);
    }

    /// The message object of Slack's answers.
    pub(crate) fn to_slack(&self, identity: &Identity, with_metadata: bool) -> Value {
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
        put("type", json!("message"));
        put("user", json!(self.user));
        put("team", json!(identity.team_id));
        put("text", json!(self.text));
        put("ts", json!(self.ts));
        if self.is_bot {
            put("bot_id", json!(identity.bot_id));
            put("app_id", json!(identity.app_id));
        }
        if !self.blocks.is_empty() {
            put("blocks", json!(self.blocks));
        }
        if let Some(thread) = &self.thread_ts {
            put("thread_ts", json!(thread));
        }
        if self.edited {
            put(
                "edited",
                json!({"user": self.user, "ts": self.updated_ts()}),
            );
        }
        if !self.reactions.is_empty() {
            let count = |reaction: &Reaction| {
                json!({"name": reaction.name, "users": reaction.users,
                    "count": reaction.users.len()})
            };
            put("reactions", self.reactions.iter().map(count).collect());
        }
        if let (true, Some(metadata)) = (with_metadata, &self.metadata) {
            put("metadata", metadata.clone());
        }
        Value::Object(object)
    }

    fn updated_ts(&self) -> String {
        format!(
            "{}.000000",
            self.updated_at.unwrap_or(self.posted_at).div_euclid(1000)
        )
    }
}

/// The ids that the stand-in's workspace and app go by.
#[derive(Clone, Debug)]
pub struct Identity {
    pub team_id: String,
    pub app_id: String,
    pub bot_id: String,
    /// The bot's user id, which people mention.
    pub bot_user: String,
}

impl Default for Identity {
    fn default() -> Identity {
        Identity {
            team_id: "T0TOCSIN".to_owned(),
            app_id: "A0TOCSIN".to_owned(),
            bot_id: "B0TOCSIN".to_owned(),
            bot_user: "U0TOCSIN".to_owned(),
        }
    }
}

fn shown(text: &str, blocks: &[Value]) -> String {
    if blocks.is_empty() {
        return text.to_owned();
    }
    let mut lines = Vec::new();
    for block in blocks {
        collect_text(block, &mut lines);
    }
    lines.join("\n")
}

/// Text objects, wherever they are in a block, in reading order.
fn collect_text(value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(text)) = object.get("text") {
                lines.push(text.clone());
            }
            for (_, inner) in object
                .iter()
                .filter(|(_, inner)| inner.is_object() || inner.is_array())
            {
                collect_text(inner, lines);
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| collect_text(inner, lines)),
        _ => {}
    }
}
