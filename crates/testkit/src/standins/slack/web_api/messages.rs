//! The methods that write: post, update, delete, react.

use serde_json::{Value, json};

use super::{Outcome, Refusal, channel, object};
use crate::standins::runtime;
use crate::standins::slack::arguments::Arguments;
use crate::standins::slack::blocks;
use crate::standins::slack::message::Identity;
use crate::standins::slack::workspace::{NewMessage, Workspace};

/// Slack cuts or refuses longer texts.
const MAX_POSTED_TEXT: usize = 40_000;
/// `chat.update` is stricter.
const MAX_UPDATED_TEXT: usize = 4_000;

pub(super) fn post(
    workspace: &mut Workspace,
    identity: &Identity,
    arguments: &Arguments,
    ephemeral_to: Option<String>,
) -> Outcome {
    let channel = channel(workspace, arguments)?;
    let blocks = read_blocks(arguments)?.unwrap_or_default();
    let text = read_text(arguments, MAX_POSTED_TEXT)?.unwrap_or_default();
    if text.is_empty() && blocks.is_empty() {
        return Err("no_text".into());
    }
    let new = NewMessage {
        thread_ts: arguments.text("thread_ts").map(str::to_owned),
        user: identity.bot_user.clone(),
        is_bot: true,
        text,
        blocks,
        metadata: read_metadata(arguments)?,
        ephemeral_to,
    };
    let ephemeral = new.ephemeral_to.is_some();
    let message = workspace.post(&channel, new).ok_or("channel_not_found")?;
    if ephemeral {
        return object(json!({"message_ts": message.ts}));
    }
    let shown = message.to_slack(identity, true);
    object(json!({"channel": channel, "ts": message.ts, "message": shown}))
}

pub(super) fn update(
    workspace: &mut Workspace,
    identity: &Identity,
    arguments: &Arguments,
) -> Outcome {
    let channel = channel(workspace, arguments)?;
    let ts = arguments.text("ts").ok_or("message_not_found")?;
    let known = workspace.message(&channel, ts).ok_or("message_not_found")?;
    if !known.is_bot {
        return Err("cant_update_message".into());
    }
    let blocks = read_blocks(arguments)?;
    let text = read_text(arguments, MAX_UPDATED_TEXT)?;
    let metadata = read_metadata(arguments)?;
    if text.is_none() && blocks.is_none() && metadata.is_none() {
        return Err("no_text".into());
    }
    let edited = workspace.edit(&channel, ts, |message| {
        // A text without blocks takes the place of earlier blocks; blocks alone keep the text.
        match (text, blocks) {
            (Some(text), None) => {
                message.text = text;
                message.blocks = Vec::new();
                message.edited = true;
            }
            (text, Some(blocks)) => {
                message.text = text.unwrap_or_default();
                message.blocks = blocks;
            }
            (None, None) => {}
        }
        // Without the argument earlier metadata stays; an empty object removes it.
        if let Some(metadata) = metadata {
            let empty = metadata.as_object().is_some_and(|object| object.is_empty());
            message.metadata = (!empty).then_some(metadata);
        }
    });
    let message = edited.ok_or("message_not_found")?;
    let shown = message.to_slack(identity, true);
    object(json!({"channel": channel, "ts": ts, "text": message.text, "message": shown}))
}

pub(super) fn delete(workspace: &mut Workspace, arguments: &Arguments) -> Outcome {
    let channel = channel(workspace, arguments)?;
    let ts = arguments.text("ts").ok_or("message_not_found")?;
    let known = workspace.message(&channel, ts).ok_or("message_not_found")?;
    if !known.is_bot {
        return Err("cant_delete_message".into());
    }
    workspace
        .change(&channel, ts, |message| message.deleted = true)
        .ok_or("message_not_found")?;
    object(json!({"channel": channel, "ts": ts}))
}

pub(super) fn react(
    workspace: &mut Workspace,
    identity: &Identity,
    arguments: &Arguments,
) -> Outcome {
    let channel = channel(workspace, arguments)?;
    let ts = arguments.text("timestamp").ok_or("bad_timestamp")?;
    let name = arguments.text("name").ok_or("invalid_name")?;
    match workspace.react(&channel, ts, name.trim_matches(':'), &identity.bot_user) {
        Some(true) => object(json!({})),
        Some(false) => Err("already_reacted".into()),
        None => Err("message_not_found".into()),
    }
}

/// `None` when the argument is absent, so that an update can tell absent from empty.
fn read_blocks(arguments: &Arguments) -> Result<Option<Vec<Value>>, Refusal> {
    let Some(read) = arguments.structured("blocks") else {
        return Ok(None);
    };
    let Ok(Value::Array(mut blocks)) = read else {
        return Err("invalid_blocks_format".into());
    };
    let faults = blocks::faults(&blocks);
    if !faults.is_empty() {
        return Err(Refusal {
            error: "invalid_blocks".to_owned(),
            messages: faults,
        });
    }
    for block in &mut blocks {
        if let Some(block) = block.as_object_mut()
            && !block.contains_key("block_id")
        {
            block.insert("block_id".to_owned(), json!(runtime::unique(5)));
        }
    }
    Ok(Some(blocks))
}

fn read_text(arguments: &Arguments, most: usize) -> Result<Option<String>, Refusal> {
    let Some(text) = arguments.text("text") else {
        return Ok(None);
    };
    if text.chars().count() > most {
        return Err("msg_too_long".into());
    }
    Ok(Some(text.to_owned()))
}

fn read_metadata(arguments: &Arguments) -> Result<Option<Value>, Refusal> {
    let Some(read) = arguments.structured("metadata") else {
        return Ok(None);
    };
    let Ok(Value::Object(metadata)) = read else {
        return Err("invalid_metadata_format".into());
    };
    let typed = metadata.get("event_type").is_some_and(Value::is_string)
        && metadata.get("event_payload").is_some_and(Value::is_object);
    if !metadata.is_empty() && !typed {
        return Err("invalid_metadata_schema".into());
    }
    Ok(Some(Value::Object(metadata)))
}
