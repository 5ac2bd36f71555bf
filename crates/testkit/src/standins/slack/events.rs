//! What Slack sends: Events API envelopes and interactions, signed and retried as Slack does.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::message::{Identity, Message};
use super::workspace::NewMessage;
use super::{Error, Ingress, Shared, Slack};
use crate::standins::{runtime, signature};

/// Slack gives up on an answer after this long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Before each retry. Slack's own are about 0 s, 60 s and 300 s: the same number, shorter, so that
/// a test need not wait six minutes.
const RETRY_DELAYS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(500),
    Duration::from_secs(2),
];

/// Somebody writes `text` with a mention of the bot.
#[derive(Clone, Debug, Default)]
pub struct Mention {
    pub channel: String,
    pub user: String,
    /// `<@BOT>` is put in front when it is missing; `@tocsin` is understood.
    pub text: String,
    /// In this thread.
    pub thread_ts: Option<String>,
    /// Also sends the `message` event that an app subscribed to both gets, under its own event id.
    pub twin: bool,
}

/// A mention on its way.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The message's `ts`.
    pub ts: String,
    /// Of the `app_mention`, then of the twin.
    pub event_ids: Vec<String>,
    /// What each attempt was answered, retries included; `None` when there was no answer in 3 s.
    pub answers: Vec<Option<StatusCode>>,
}

impl Slack {
    /// As [`Slack::send`], for a mention without a thread or twin.
    ///
    /// # Errors
    /// As [`Slack::send`].
    pub async fn send_mention(
        &self,
        ingress_url: &str,
        secret: &str,
        channel: &str,
        user: &str,
        text: &str,
    ) -> Result<Sent, Error> {
        let (channel, user, text) = (channel.to_owned(), user.to_owned(), text.to_owned());
        let mention = Mention {
            channel,
            user,
            text,
            ..Mention::default()
        };
        self.send(ingress_url, secret, mention).await
    }

    /// Puts the message into its channel and sends the signed event to
    /// `<ingress_url>/webhooks/slack/events`, with Slack's retries until a 2xx answer.
    ///
    /// # Errors
    /// [`Error::UnknownChannel`], [`Error::EmptySecret`]. A refused delivery is not an error: look
    /// at [`Sent::answers`].
    pub async fn send(
        &self,
        ingress_url: &str,
        secret: &str,
        mention: Mention,
    ) -> Result<Sent, Error> {
        self.shared.send(ingress_url, secret, mention).await
    }
}

impl Shared {
    pub(super) async fn send(
        &self,
        ingress_url: &str,
        secret: &str,
        mention: Mention,
    ) -> Result<Sent, Error> {
        let identity = &self.settings.identity;
        let twin = mention.twin;
        let message = self.write(mention)?;
        let url = format!(
            "{}/webhooks/slack/events",
            ingress_url.trim_end_matches('/')
        );
        let kinds: &[&str] = if twin {
            &["app_mention", "message"]
        } else {
            &["app_mention"]
        };
        let mut sent = Sent {
            ts: message.ts.clone(),
            event_ids: vec![],
            answers: vec![],
        };
        for kind in kinds {
            let id = format!("Ev{}", runtime::unique(20));
            let body = wire_json(&envelope(identity, &message, kind, &id));
            sent.event_ids.push(id);
            let json = "application/json";
            sent.answers
                .extend(self.deliver(&url, secret, json, body.as_bytes()).await?);
        }
        Ok(sent)
    }

    fn write(&self, mention: Mention) -> Result<Message, Error> {
        let bot = format!("<@{}>", self.settings.identity.bot_user);
        let mut text = mention.text.replace("@tocsin", &bot);
        if !text.contains(&bot) {
            text = format!("{bot} {text}");
        }
        self.write_as(&mention.channel, &mention.user, text, mention.thread_ts)
    }

    /// A person's message.
    pub(super) fn write_as(
        &self,
        channel: &str,
        user: &str,
        text: String,
        thread_ts: Option<String>,
    ) -> Result<Message, Error> {
        let new = NewMessage {
            thread_ts,
            user: user.to_owned(),
            is_bot: false,
            text,
            blocks: Vec::new(),
            metadata: None,
            ephemeral_to: None,
        };
        let mut workspace = self.lock();
        let resolved = workspace.resolve(channel);
        let posted = resolved.and_then(|id| workspace.post(&id, new));
        drop(workspace);
        self.announce();
        posted.ok_or_else(|| Error::UnknownChannel(channel.to_owned()))
    }

    /// Attempts with Slack's retry headers until a 2xx or the last retry.
    async fn deliver(
        &self,
        url: &str,
        secret: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Vec<Option<StatusCode>>, Error> {
        let mut answers = Vec::new();
        let mut reason = "";
        for attempt in 0..=RETRY_DELAYS.len() {
            if let Some(delay) = attempt
                .checked_sub(1)
                .and_then(|retry| RETRY_DELAYS.get(retry))
            {
                tokio::time::sleep(*delay).await;
            }
            let mut request = self.signed(url, secret, content_type, body)?;
            if attempt > 0 {
                request = request
                    .header("x-slack-retry-num", attempt.to_string())
                    .header("x-slack-retry-reason", reason);
            }
            match request.send().await {
                Ok(answer) => {
                    answers.push(Some(answer.status()));
                    let stop = answer.headers().contains_key("x-slack-no-retry");
                    if answer.status().is_success() || stop {
                        break;
                    }
                    reason = "http_error";
                }
                Err(error) => {
                    answers.push(None);
                    reason = if error.is_timeout() {
                        "http_timeout"
                    } else {
                        "connection_failed"
                    };
                }
            }
        }
        Ok(answers)
    }

    fn signed(
        &self,
        url: &str,
        secret: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<reqwest::RequestBuilder, Error> {
        let timestamp = runtime::now_seconds();
        let request = self.http.post(url).timeout(ANSWER_TIMEOUT);
        Ok(request
            .header("content-type", content_type)
            .header("user-agent", "Slackbot 1.0 (+https://api.slack.com/robots)")
            .header("x-slack-request-timestamp", timestamp.to_string())
            .header(
                "x-slack-signature",
                signature::slack(secret, timestamp, body)?,
            )
            .body(body.to_vec()))
    }

    /// Presses a button: a signed `block_actions` to `/webhooks/slack/interactions`, never retried.
    pub(super) async fn press(
        &self,
        ingress: &Ingress,
        message: &Message,
        user: &str,
        action: &Value,
    ) -> Result<StatusCode, Error> {
        let identity = &self.settings.identity;
        let channel_name = self.channel_name(&message.channel);
        let payload = block_actions(identity, message, &channel_name, user, action);
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("payload", &wire_json(&payload))
            .finish();
        let url = format!(
            "{}/webhooks/slack/interactions",
            ingress.url.trim_end_matches('/')
        );
        let kind = "application/x-www-form-urlencoded";
        let request = self.signed(&url, &ingress.slack_signing_secret, kind, form.as_bytes())?;
        let answer = request
            .send()
            .await
            .map_err(|source| Error::Deliver { url, source })?;
        Ok(answer.status())
    }

    fn channel_name(&self, id: &str) -> String {
        self.lock()
            .channels
            .get(id)
            .map(|channel| channel.name.clone())
            .unwrap_or_default()
    }
}

fn envelope(identity: &Identity, message: &Message, kind: &str, event_id: &str) -> Value {
    let mut event = json!({
        "client_msg_id": runtime::uuid(),
        "type": kind, "user": message.user, "text": message.text, "ts": message.ts,
        "team": identity.team_id, "channel": message.channel, "event_ts": message.ts,
        "blocks": [{"type": "rich_text", "block_id": "b1", "elements": [
            {"type": "rich_text_section", "elements": [{"type": "text", "text": message.text}]}]}],
    });
    if let (Some(thread), Some(event)) = (&message.thread_ts, event.as_object_mut()) {
        event.insert("thread_ts".to_owned(), json!(thread));
    }
    if let ("message", Some(event)) = (kind, event.as_object_mut()) {
        event.insert("channel_type".to_owned(), json!("channel"));
    }
    json!({
        "token": "not-a-credential", "team_id": identity.team_id, "api_app_id": identity.app_id,
        "event": event, "type": "event_callback", "event_id": event_id,
        "event_time": message.posted_at.div_euclid(1000),
        "authorizations": [{
            "enterprise_id": null, "team_id": identity.team_id, "user_id": identity.bot_user,
            "is_bot": true, "is_enterprise_install": false,
        }],
        "is_ext_shared_channel": false,
        "event_context": format!("4-{event_id}"),
    })
}

fn block_actions(
    identity: &Identity,
    message: &Message,
    channel_name: &str,
    user: &str,
    action: &Value,
) -> Value {
    let mut action = action.clone();
    if let Some(action) = action.as_object_mut() {
        let micros = runtime::now_micros();
        let ts = format!(
            "{}.{:06}",
            micros.div_euclid(1_000_000),
            micros.rem_euclid(1_000_000)
        );
        action.insert("action_ts".to_owned(), json!(ts));
    }
    let name = user.to_lowercase();
    json!({
        "type": "block_actions",
        "user": {"id": user, "username": name, "name": name, "team_id": identity.team_id},
        "api_app_id": identity.app_id, "token": "not-a-credential",
        "container": {"type": "message", "message_ts": message.ts, "channel_id": message.channel,
            "is_ephemeral": false, "thread_ts": message.thread_ts},
        "trigger_id": format!("{}.{}", runtime::now_micros(), runtime::unique(20).to_lowercase()),
        "team": {"id": identity.team_id, "domain": "tocsin-demo"},
        "enterprise": null, "is_enterprise_install": false,
        "channel": {"id": message.channel, "name": channel_name},
        "message": message.to_slack(identity, true),
        "state": {"values": {}},
        "actions": [action],
    })
}

/// JSON in Slack's wire style: `\/`, and ASCII only. Whoever parses and prints it again before
/// checking the signature gets other bytes.
fn wire_json(value: &Value) -> String {
    let mut wire = String::new();
    for letter in value.to_string().chars() {
        match letter {
            '/' => wire.push_str("\\/"),
            _ if letter.is_ascii() => wire.push(letter),
            _ => {
                let mut units = [0; 2];
                for unit in letter.encode_utf16(&mut units) {
                    wire.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    wire
}
