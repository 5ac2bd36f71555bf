//! The stand-in's state: channels, their messages, and the log of calls.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::{Map, Value};

use super::limits::Limiter;
use super::message::{Message, Reaction};
use crate::standins::runtime;

/// Calls kept for tests to look at; a soak test must not fill the memory.
const KEPT_CALLS: usize = 20_000;
/// Messages kept per channel, newest first to stay.
const KEPT_MESSAGES: usize = 10_000;

/// One call of the Web API.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// Milliseconds since 1970.
    pub at: i64,
    /// `chat.postMessage` …
    pub method: String,
    /// What was sent, without the token; of `blocks`, only how many.
    pub arguments: Map<String, Value>,
    /// For tests; never shown over HTTP.
    #[serde(skip)]
    pub token: String,
    /// `ok`, Slack's error, `429`, or the injected failure.
    pub outcome: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) name: String,
    /// By `ts`, whose text order is its time order until the year 2286.
    pub(crate) messages: BTreeMap<String, Message>,
    last_micros: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Workspace {
    pub(crate) channels: IndexMap<String, Channel>,
    pub(crate) calls: VecDeque<Call>,
    pub(crate) limiter: Limiter,
    pub(crate) latency: Duration,
    /// Unknown channel ids are created by the first post.
    pub(crate) create_channels: bool,
    revision: u64,
}

/// A message to add.
pub(crate) struct NewMessage {
    pub(crate) thread_ts: Option<String>,
    pub(crate) user: String,
    pub(crate) is_bot: bool,
    pub(crate) text: String,
    pub(crate) blocks: Vec<Value>,
    pub(crate) metadata: Option<Value>,
    pub(crate) ephemeral_to: Option<String>,
}

impl Workspace {
    pub(crate) fn add_channel(&mut self, id: &str, name: &str) {
        let new = || Channel {
            name: name.to_owned(),
            messages: BTreeMap::new(),
            last_micros: 0,
        };
        self.channels.entry(id.to_owned()).or_insert_with(new);
    }

    /// The id behind a channel argument: an id, or `#name`.
    pub(crate) fn resolve(&mut self, channel: &str) -> Option<String> {
        if self.channels.contains_key(channel) {
            return Some(channel.to_owned());
        }
        let name = channel.trim_start_matches('#');
        if let Some((id, _)) = self.channels.iter().find(|(_, known)| known.name == name) {
            return Some(id.clone());
        }
        if self.create_channels && looks_like_id(channel) {
            self.add_channel(channel, &channel.to_lowercase());
            return Some(channel.to_owned());
        }
        None
    }

    pub(crate) fn post(&mut self, channel_id: &str, new: NewMessage) -> Option<Message> {
        let channel = self.channels.get_mut(channel_id)?;
        self.revision += 1;
        let micros = runtime::now_micros().max(channel.last_micros + 1);
        channel.last_micros = micros;
        let ts = format!(
            "{}.{:06}",
            micros.div_euclid(1_000_000),
            micros.rem_euclid(1_000_000)
        );
        let at = micros.div_euclid(1000);
        let mut message = Message {
            channel: channel_id.to_owned(),
            ts: ts.clone(),
            thread_ts: new.thread_ts,
            user: new.user,
            is_bot: new.is_bot,
            text: new.text,
            blocks: new.blocks,
            metadata: new.metadata,
            reactions: Vec::new(),
            ephemeral_to: new.ephemeral_to,
            posted_at: at,
            updated_at: None,
            edited: false,
            deleted: false,
            versions: VecDeque::new(),
            revision: self.revision,
        };
        message.keep_version(at);
        channel.messages.insert(ts, message.clone());
        if channel.messages.len() > KEPT_MESSAGES {
            channel.messages.pop_first();
        }
        Some(message)
    }

    pub(crate) fn message(&self, channel: &str, ts: &str) -> Option<&Message> {
        let message = self.channels.get(channel)?.messages.get(ts)?;
        (!message.deleted).then_some(message)
    }

    /// Changes a message that exists and is not deleted.
    pub(crate) fn change(
        &mut self,
        channel: &str,
        ts: &str,
        change: impl FnOnce(&mut Message),
    ) -> Option<Message> {
        let message = self.channels.get_mut(channel)?.messages.get_mut(ts)?;
        if message.deleted {
            return None;
        }
        self.revision += 1;
        message.revision = self.revision;
        change(message);
        Some(message.clone())
    }

    pub(crate) fn edit(
        &mut self,
        channel: &str,
        ts: &str,
        edit: impl FnOnce(&mut Message),
    ) -> Option<Message> {
        self.change(channel, ts, |message| {
            edit(message);
            let at = runtime::now_micros().div_euclid(1000);
            message.updated_at = Some(at);
            message.keep_version(at);
        })
    }

    /// False when that user already reacted so.
    pub(crate) fn react(
        &mut self,
        channel: &str,
        ts: &str,
        name: &str,
        user: &str,
    ) -> Option<bool> {
        let mut added = true;
        self.change(channel, ts, |message| {
            let known = message
                .reactions
                .iter_mut()
                .find(|reaction| reaction.name == name);
            match known {
                Some(reaction) if reaction.users.iter().any(|known| known == user) => added = false,
                Some(reaction) => reaction.users.push(user.to_owned()),
                None => message.reactions.push(Reaction {
                    name: name.to_owned(),
                    users: vec![user.to_owned()],
                }),
            }
        })?;
        Some(added)
    }

    pub(crate) fn record(&mut self, mut call: Call) {
        // The blocks are in the message; a soak test must not keep them twice.
        if let Some(blocks) = call.arguments.get_mut("blocks") {
            *blocks = Value::from(blocks.as_array().map_or(0, Vec::len));
        }
        if self.calls.len() == KEPT_CALLS {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }
}

fn looks_like_id(channel: &str) -> bool {
    let mut letters = channel.chars();
    letters
        .next()
        .is_some_and(|first| matches!(first, 'C' | 'D' | 'G'))
        && channel.len() >= 2
        && letters.all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit())
}
