//! The methods that read back: history (newest first, without replies) and replies (a thread in
//! order).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Outcome, channel, object};
use crate::standins::slack::arguments::Arguments;
use crate::standins::slack::message::{Identity, Message};
use crate::standins::slack::workspace::{Channel, Workspace};

const DEFAULT_LIMIT: u64 = 100;
const MAX_LIMIT: u64 = 999;
const CURSOR: &str = "next_ts:";

pub(super) fn history(
    workspace: &mut Workspace,
    identity: &Identity,
    arguments: &Arguments,
) -> Outcome {
    let id = channel(workspace, arguments)?;
    let channel = workspace.channels.get(&id).ok_or("channel_not_found")?;
    let mut window = Window::read(arguments)?;
    if let Some(next) = window.cursor.take() {
        window.latest = Some(next);
        window.inclusive_latest = true;
    }
    let mut wanted = channel.messages.values().rev().filter(|message| {
        visible(message) && message.thread_ts.is_none() && window.contains(&message.ts)
    });
    let page: Vec<&Message> = wanted.by_ref().take(window.limit).collect();
    let next = wanted.next().map(|message| message.ts.clone());
    answer(channel, identity, arguments, &page, next)
}

pub(super) fn replies(
    workspace: &mut Workspace,
    identity: &Identity,
    arguments: &Arguments,
) -> Outcome {
    let id = channel(workspace, arguments)?;
    let channel = workspace.channels.get(&id).ok_or("channel_not_found")?;
    let asked = arguments.text("ts").ok_or("invalid_ts_oldest")?;
    // Any message of a thread names the thread.
    let named = channel
        .messages
        .get(asked)
        .and_then(|message| message.thread_ts.as_deref());
    let root = named.unwrap_or(asked);
    let mut window = Window::read(arguments)?;
    if let Some(next) = window.cursor.take() {
        window.oldest = Some(next);
        window.inclusive_oldest = true;
    }
    let in_thread =
        |message: &&Message| message.ts == root || message.thread_ts.as_deref() == Some(root);
    let thread: Vec<&Message> = channel
        .messages
        .values()
        .filter(|message| visible(message))
        .filter(in_thread)
        .collect();
    // Where channels come to be by being named, so do the threads of events sent from elsewhere.
    if thread.is_empty() && !workspace.create_channels {
        return Err("thread_not_found".into());
    }
    // The parent comes with every first page, whatever the window.
    let parent = |message: &Message| message.ts == root && !window.inclusive_oldest;
    let mut wanted = thread
        .into_iter()
        .filter(|message| parent(message) || window.contains(&message.ts));
    let page: Vec<&Message> = wanted.by_ref().take(window.limit).collect();
    let next = wanted.next().map(|message| message.ts.clone());
    answer(channel, identity, arguments, &page, next)
}

fn visible(message: &Message) -> bool {
    !message.deleted && message.ephemeral_to.is_none()
}

fn answer(
    channel: &Channel,
    identity: &Identity,
    arguments: &Arguments,
    page: &[&Message],
    next: Option<String>,
) -> Outcome {
    let with_metadata = arguments.flag("include_all_metadata");
    let show = |message: &&Message| {
        let mut shown = message.to_slack(identity, with_metadata);
        add_thread(channel, message, &mut shown);
        shown
    };
    let messages: Vec<Value> = page.iter().map(show).collect();
    let has_more = next.is_some();
    let mut body = json!({"messages": messages, "has_more": has_more});
    if let (Some(next), Some(body)) = (next, body.as_object_mut()) {
        let cursor = STANDARD.encode(format!("{CURSOR}{next}"));
        body.insert(
            "response_metadata".to_owned(),
            json!({"next_cursor": cursor}),
        );
    }
    object(body)
}

/// A parent tells about its thread.
fn add_thread(channel: &Channel, message: &Message, shown: &mut Value) {
    let mut replies = channel.messages.values().filter(|reply| {
        visible(reply) && reply.thread_ts.as_deref() == Some(&message.ts) && reply.ts != message.ts
    });
    let (Some(last), Some(shown)) = (replies.next_back(), shown.as_object_mut()) else {
        return;
    };
    shown.insert("thread_ts".to_owned(), json!(message.ts));
    shown.insert("latest_reply".to_owned(), json!(last.ts));
    shown.insert("reply_count".to_owned(), json!(replies.count() + 1));
}

struct Window {
    oldest: Option<String>,
    latest: Option<String>,
    inclusive_oldest: bool,
    inclusive_latest: bool,
    limit: usize,
    cursor: Option<String>,
}

impl Window {
    fn read(arguments: &Arguments) -> Result<Window, &'static str> {
        let inclusive = arguments.flag("inclusive");
        let limit = arguments
            .number("limit")
            .unwrap_or(DEFAULT_LIMIT)
            .clamp(1, MAX_LIMIT);
        let cursor = match arguments.text("cursor") {
            None => None,
            Some(cursor) => Some(decode_cursor(cursor).ok_or("invalid_cursor")?),
        };
        let bound = |name: &str| arguments.text(name).filter(|ts| *ts != "0").map(pad);
        Ok(Window {
            oldest: bound("oldest"),
            latest: bound("latest"),
            inclusive_oldest: inclusive,
            inclusive_latest: inclusive,
            limit: usize::try_from(limit).unwrap_or(1),
            cursor,
        })
    }

    fn contains(&self, ts: &str) -> bool {
        let after = self
            .oldest
            .as_deref()
            .is_none_or(|oldest| ts > oldest || (self.inclusive_oldest && ts == oldest));
        let before = self
            .latest
            .as_deref()
            .is_none_or(|latest| ts < latest || (self.inclusive_latest && ts == latest));
        after && before
    }
}

/// `1700000000` and `1700000000.5` compare as texts only with six decimals.
fn pad(ts: &str) -> String {
    let (seconds, micros) = ts.split_once('.').unwrap_or((ts, ""));
    format!("{seconds}.{micros:0<6}")
}

fn decode_cursor(cursor: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(cursor).ok()?).ok()?;
    text.strip_prefix(CURSOR).map(str::to_owned)
}
