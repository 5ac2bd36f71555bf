//! The Web API, as far as a run needs it.
//!
//! Every call is classed by what is known afterwards: it happened, it did not, or nobody knows. Only the
//! caller can tell what to do about the last: look before posting again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tocsin_kit::http_client::{GuardError, read_capped};
use tocsin_kit::{HttpClient, Secret};
use tokio::time::Instant;

use super::blocks::Rendered;
use super::pacing::Pacing;
use crate::credential::{Credential, CredentialError};

/// Event type of the metadata by which a post is found again.
pub const METADATA_TYPE: &str = "tocsin_run";

/// Slack answers in well under a second; a call that takes longer is as good as lost.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A page of 200 messages with blocks and metadata.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// Messages per page when looking for a post.
const PAGE: usize = 200;
/// Pages looked at: a thread or channel that got more messages since the post is not searched further.
const MAX_PAGES: usize = 10;
/// When a 429 does not say how long to wait.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);
/// Longest `Retry-After` that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(120);
/// Clocks of Slack and ours may differ when looking for a post by time.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

const POST: &str = "chat.postMessage";
const UPDATE: &str = "chat.update";
const REPLIES: &str = "conversations.replies";
const HISTORY: &str = "conversations.history";

/// How fast this process may call.
#[derive(Debug, Clone, Copy)]
pub struct SlackLimits {
    /// Between two posts in one channel.
    pub post_interval: Duration,
    /// Between two updates of one message.
    pub update_interval: Duration,
}

/// Where a message is or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub channel: String,
    /// Empty for a message of its own.
    pub thread: String,
}

/// A message in Slack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlackMessage {
    /// As Slack names it, which may differ from what was asked (a user id opens a channel).
    pub channel: String,
    pub ts: String,
}

/// A call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum SlackError {
    /// Slack understood and said no; repeating does not help.
    #[error("Slack refused {method} in {channel}: {error}{}", advice(error))]
    Refused {
        method: &'static str,
        channel: String,
        error: String,
    },
    /// Nothing happened; it may be tried again after this time.
    #[error("Slack asked to wait {} s before {method} in {channel}", retry_after.as_secs())]
    RateLimited {
        method: &'static str,
        channel: String,
        retry_after: Duration,
    },
    /// Nothing happened; Slack was not reached.
    #[error("cannot reach Slack for {method}; check SLACK_API_URL and the network")]
    Unreachable {
        method: &'static str,
        #[source]
        source: reqwest::Error,
    },
    /// It may have happened or not: the answer was lost or not an answer.
    #[error("no clear answer from Slack to {method} in {channel}: {what}")]
    Unknown {
        method: &'static str,
        channel: String,
        what: String,
    },
    /// Nothing happened; the team's token cannot be had.
    #[error("no token for {method}")]
    Token {
        method: &'static str,
        #[source]
        source: CredentialError,
    },
    /// The configured address is no address.
    #[error("SLACK_API_URL is not usable")]
    Address(#[source] GuardError),
}

fn advice(error: &str) -> &'static str {
    match error {
        "channel_not_found" | "not_in_channel" => "; invite the bot to the channel",
        "invalid_auth" | "not_authed" | "token_revoked" | "token_expired" | "account_inactive" => {
            "; set a valid SLACK_BOT_TOKEN"
        }
        "missing_scope" => "; the bot needs chat:write, channels:history and groups:history",
        _ => "",
    }
}

/// Errors that Slack documents as passing.
fn is_temporary(error: &str) -> bool {
    matches!(
        error,
        "internal_error"
            | "fatal_error"
            | "service_unavailable"
            | "request_timeout"
            | "team_added_to_org"
    )
}

/// A thin client. Pacing is per channel, so all of a process share it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SlackClient {
    http: HttpClient,
    api_url: String,
    token: Option<Credential>,
    limits: SlackLimits,
    pacing: Arc<Mutex<Pacing>>,
}

impl SlackClient {
    /// `api_url` as in `https://slack.com/api`, which the operator set: `http` is a trusted client.
    pub fn new(http: HttpClient, api_url: &str, token: Secret, limits: SlackLimits) -> Self {
        Self::without_token(http, api_url, limits).with_token(Credential::Operator(token))
    }

    /// For teams that bring their own token: by itself it can post nothing.
    pub fn without_token(http: HttpClient, api_url: &str, limits: SlackLimits) -> Self {
        Self {
            http,
            api_url: api_url.trim_end_matches('/').to_owned(),
            token: None,
            limits,
            pacing: Arc::default(),
        }
    }

    /// The same with another token.
    #[must_use]
    pub fn with_token(&self, token: Credential) -> Self {
        Self {
            token: Some(token),
            ..self.clone()
        }
    }

    /// Whether it can post.
    pub const fn has_token(&self) -> bool {
        self.token.is_some()
    }

    pub const fn limits(&self) -> SlackLimits {
        self.limits
    }

    /// Posts a message that carries the run's id.
    ///
    /// # Errors
    /// [`SlackError`]; after [`SlackError::Unknown`] look with [`SlackClient::find`] before repeating.
    pub async fn post(
        &self,
        target: &Target,
        message: &Rendered,
        run_id: &str,
    ) -> Result<SlackMessage, SlackError> {
        let mut body = json!({
            "channel": target.channel,
            "text": message.text,
            "blocks": message.blocks,
            "metadata": metadata(run_id),
            "unfurl_links": false,
            "unfurl_media": false,
        });
        if let (false, Some(body)) = (target.thread.is_empty(), body.as_object_mut()) {
            body.insert("thread_ts".to_owned(), json!(target.thread));
        }
        self.wait(POST, &target.channel, self.limits.post_interval)
            .await;
        let answer = self.call(POST, &target.channel, Body::Json(&body)).await?;
        let text = |key: &str| answer.get(key).and_then(Value::as_str).map(str::to_owned);
        match (text("channel"), text("ts")) {
            (Some(channel), Some(ts)) => Ok(SlackMessage { channel, ts }),
            _ => Err(unknown(POST, &target.channel, "it names no message")),
        }
    }

    /// Puts new content in the place of a message's. Repeating is harmless.
    ///
    /// # Errors
    /// [`SlackError`].
    pub async fn update(
        &self,
        message: &SlackMessage,
        content: &Rendered,
        run_id: &str,
    ) -> Result<(), SlackError> {
        let body = json!({
            "channel": message.channel,
            "ts": message.ts,
            "text": content.text,
            "blocks": content.blocks,
            "metadata": metadata(run_id),
        });
        self.wait(UPDATE, &message.channel, Duration::ZERO).await;
        self.call(UPDATE, &message.channel, Body::Json(&body))
            .await
            .map(|_| ())
    }

    /// The message of a run that was posted at `since` or later, if there is one.
    ///
    /// # Errors
    /// [`SlackError`].
    pub async fn find(
        &self,
        target: &Target,
        run_id: &str,
        since: Timestamp,
    ) -> Result<Option<SlackMessage>, SlackError> {
        let method = if target.thread.is_empty() {
            HISTORY
        } else {
            REPLIES
        };
        let skew = jiff::SignedDuration::try_from(CLOCK_SKEW).unwrap_or_default();
        let oldest = since.checked_sub(skew).unwrap_or(since).as_second();
        let mut cursor = String::new();
        for _ in 0..MAX_PAGES {
            let mut form = vec![
                ("channel", target.channel.clone()),
                ("limit", PAGE.to_string()),
                ("oldest", format!("{oldest}.000000")),
                ("include_all_metadata", "true".to_owned()),
            ];
            if !target.thread.is_empty() {
                form.push(("ts", target.thread.clone()));
            }
            if !cursor.is_empty() {
                form.push(("cursor", std::mem::take(&mut cursor)));
            }
            self.wait(method, &target.channel, Duration::ZERO).await;
            let page = self
                .call(method, &target.channel, Body::Form(&form))
                .await?;
            if let Some(ts) = message_of(&page, run_id) {
                let channel = target.channel.clone();
                return Ok(Some(SlackMessage { channel, ts }));
            }
            match page.pointer("/response_metadata/next_cursor") {
                Some(Value::String(next)) if !next.is_empty() => cursor.clone_from(next),
                _ => return Ok(None),
            }
        }
        tracing::warn!(run_id, channel = %target.channel, pages = MAX_PAGES, "gave up looking for an earlier post");
        Ok(None)
    }

    async fn wait(&self, method: &'static str, channel: &str, spacing: Duration) {
        let slot = self
            .pacing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .reserve(method, channel, Instant::now(), spacing);
        tokio::time::sleep_until(slot).await;
    }

    async fn call(
        &self,
        method: &'static str,
        channel: &str,
        body: Body<'_>,
    ) -> Result<Value, SlackError> {
        let answer = self.exchange(method, channel, body).await;
        let outcome = match &answer {
            Ok(_) => "ok",
            Err(SlackError::Refused { .. } | SlackError::Address(_)) => "refused",
            Err(SlackError::RateLimited { retry_after, .. }) => {
                self.pacing
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .block(method, channel, Instant::now() + *retry_after);
                "rate_limited"
            }
            Err(SlackError::Unreachable { .. }) => "unreachable",
            Err(SlackError::Token { .. }) => "token",
            Err(SlackError::Unknown { .. }) => "unknown",
        };
        metrics::counter!("tocsin_slack_requests_total", "method" => method, "outcome" => outcome)
            .increment(1);
        answer
    }

    async fn exchange(
        &self,
        method: &'static str,
        channel: &str,
        body: Body<'_>,
    ) -> Result<Value, SlackError> {
        let url = format!("{}/{method}", self.api_url);
        let request = self
            .http
            .post(url)
            .map_err(SlackError::Address)?
            .timeout(CALL_TIMEOUT);
        let request = match &self.token {
            Some(token) => {
                let token = token.reveal().await;
                let token = token.map_err(|source| SlackError::Token { method, source })?;
                request.bearer_auth(token.as_str())
            }
            None => request,
        };
        let request = match body {
            Body::Json(value) => request.json(value),
            Body::Form(form) => request.form(form),
        };
        let response = request.send().await.map_err(|error| {
            if error.is_connect() {
                let source = error.without_url();
                SlackError::Unreachable { method, source }
            } else {
                unknown(method, channel, "the connection broke or timed out")
            }
        })?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            let retry_after = retry_after(&response);
            let channel = channel.to_owned();
            return Err(SlackError::RateLimited {
                method,
                channel,
                retry_after,
            });
        }
        if !status.is_success() {
            return Err(unknown(method, channel, &format!("HTTP {status}")));
        }
        let bytes = read_capped(response, MAX_ANSWER)
            .await
            .map_err(|error| unknown(method, channel, &error.to_string()))?;
        let answer: Value = serde_json::from_slice(&bytes)
            .map_err(|_| unknown(method, channel, "the answer is not JSON"))?;
        if answer.get("ok").and_then(Value::as_bool) == Some(true) {
            return Ok(answer);
        }
        let error = answer.get("error").and_then(Value::as_str);
        Err(refusal(
            method,
            channel,
            error.unwrap_or("no error named"),
            &answer,
        ))
    }
}

enum Body<'a> {
    Json(&'a Value),
    Form(&'a [(&'static str, String)]),
}

fn refusal(method: &'static str, channel: &str, error: &str, answer: &Value) -> SlackError {
    if matches!(error, "ratelimited" | "rate_limited") {
        return SlackError::RateLimited {
            method,
            channel: channel.to_owned(),
            retry_after: DEFAULT_RETRY_AFTER,
        };
    }
    if is_temporary(error) {
        return unknown(method, channel, error);
    }
    // invalid_blocks says which block; without that the error cannot be mended.
    let details = answer.pointer("/response_metadata/messages");
    let error = match details {
        Some(details) => format!("{error} {details}"),
        None => error.to_owned(),
    };
    SlackError::Refused {
        method,
        channel: channel.to_owned(),
        error,
    }
}

fn unknown(method: &'static str, channel: &str, what: &str) -> SlackError {
    SlackError::Unknown {
        method,
        channel: channel.to_owned(),
        what: what.to_owned(),
    }
}

fn retry_after(response: &Response) -> Duration {
    let header = response.headers().get(RETRY_AFTER);
    let seconds = header
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.trim().parse().ok());
    seconds
        .map_or(DEFAULT_RETRY_AFTER, Duration::from_secs)
        .min(MAX_RETRY_AFTER)
}

fn metadata(run_id: &str) -> Value {
    json!({"event_type": METADATA_TYPE, "event_payload": {"run_id": run_id}})
}

/// `ts` of the message that carries the run's id.
fn message_of(page: &Value, run_id: &str) -> Option<String> {
    let messages = page.get("messages")?.as_array()?;
    let mut ours = messages.iter().filter(|message| {
        let metadata = message.get("metadata");
        let text = |pointer: &str| {
            metadata
                .and_then(|metadata| metadata.pointer(pointer))
                .and_then(Value::as_str)
        };
        text("/event_type") == Some(METADATA_TYPE) && text("/event_payload/run_id") == Some(run_id)
    });
    ours.next()?.get("ts")?.as_str().map(str::to_owned)
}
