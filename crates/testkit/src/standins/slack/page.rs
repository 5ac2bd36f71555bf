//! The page at `/`: shows the workspace as people would see it, live, and acts for them.
//!
//! Everything it shows is put into the document as text by its script, never as markup, and the
//! content security policy allows nothing but this server's own files.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::Stream;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::events::Mention;
use super::message::Message;
use super::{Error, Ingress, Shared, workers};
use crate::standins::pagerduty;

/// The person at the page.
const VIEWER: &str = "U0YOU";
/// Changes that come within this time travel together.
const COALESCE: Duration = Duration::from_millis(40);
/// Messages per channel that the page gets at first.
const SHOWN_MESSAGES: usize = 200;
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'";

pub(super) fn routes() -> Router<Arc<Shared>> {
    let file = |kind: &'static str, text: &'static str| {
        get(async move || {
            let headers = [
                ("content-type", kind),
                ("content-security-policy", POLICY),
                ("x-content-type-options", "nosniff"),
                ("cache-control", "no-cache"),
            ];
            (headers, text)
        })
    };
    let page = include_str!("../../../assets/slack/page.html");
    let style = include_str!("../../../assets/slack/page.css");
    let script = include_str!("../../../assets/slack/page.js");
    let mrkdwn = include_str!("../../../assets/slack/mrkdwn.js");
    Router::new()
        .route("/", file("text/html; charset=utf-8", page))
        .route("/page.css", file("text/css; charset=utf-8", style))
        .route("/page.js", file("text/javascript; charset=utf-8", script))
        .route("/mrkdwn.js", file("text/javascript; charset=utf-8", mrkdwn))
        .route("/standin/health", get(async || "ok\n"))
        .route("/standin/changes", get(changes))
        .route("/standin/messages", get(all_messages).post(write))
        .route("/standin/actions", post(press))
        .route("/standin/alert", post(fire))
        .route("/standin/kill", post(kill))
}

/// What a button did, for the person who pressed it.
enum Reply {
    Done(String),
    Failed(String),
}

impl From<Error> for Reply {
    fn from(error: Error) -> Reply {
        Reply::Failed(error.to_string())
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Reply::Done(text) => Json(json!({"text": text})).into_response(),
            Reply::Failed(text) => {
                (StatusCode::BAD_GATEWAY, Json(json!({"text": text}))).into_response()
            }
        }
    }
}

fn told(what: &str, status: StatusCode) -> Reply {
    let text = format!("{what}: ingress answered {status}");
    if status.is_success() {
        Reply::Done(text)
    } else {
        Reply::Failed(text)
    }
}

/// A stream of changes: first everything, then what changed since the last.
async fn changes(
    State(shared): State<Arc<Shared>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let state = (shared.changed.subscribe(), shared, None::<u64>);
    let stream = futures::stream::unfold(state, |(mut changed, shared, seen)| async move {
        if seen.is_some() {
            changed.changed().await.ok()?;
            tokio::time::sleep(COALESCE).await;
        }
        changed.borrow_and_update();
        let (data, revision) = shared.changes_since(seen);
        let event = Event::default().event(if seen.is_some() {
            "changes"
        } else {
            "everything"
        });
        Some((
            Ok(event.data(data.to_string())),
            (changed, shared, Some(revision)),
        ))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

impl Shared {
    fn changes_since(&self, seen: Option<u64>) -> (Value, u64) {
        let workspace = self.lock();
        let mut channels = Vec::new();
        for (id, channel) in &workspace.channels {
            let newest = channel.messages.values().rev().take(SHOWN_MESSAGES);
            let wanted = newest.filter(|message| seen.is_none_or(|seen| message.revision > seen));
            let mut messages: Vec<Value> = wanted.map(to_page).collect();
            messages.reverse();
            channels.push(json!({"id": id, "name": channel.name, "messages": messages}));
        }
        let mut data = json!({"channels": channels, "bot": self.settings.identity.bot_user});
        let revision = workspace.revision();
        drop(workspace);
        if let Some(data) = data.as_object_mut() {
            data.insert("can".to_owned(), self.abilities());
        }
        (data, revision)
    }

    fn abilities(&self) -> Value {
        let ingress = self.settings.ingress.as_ref();
        let (causes, cause) = match &self.settings.prometheus {
            Some(prometheus) => prometheus.causes(),
            None => (Vec::new(), None),
        };
        json!({
            "write": ingress.is_some(),
            "alert": ingress.is_some_and(|to| to.alert.is_some() && to.pagerduty_secret.is_some()),
            "kill": !self.settings.workers.is_empty(),
            "causes": causes, "cause": cause,
        })
    }

    fn ingress(&self) -> Result<&Ingress, Error> {
        self.settings.ingress.as_ref().ok_or(Error::NoIngress)
    }
}

fn to_page(message: &Message) -> Value {
    json!({
        "channel": message.channel, "ts": message.ts, "thread_ts": message.thread_ts,
        "user": message.user, "is_bot": message.is_bot, "text": message.text,
        "blocks": message.blocks, "reactions": message.reactions, "deleted": message.deleted,
        "ephemeral_to": message.ephemeral_to, "posted_at": message.posted_at,
        "updated_at": message.updated_at, "updates": message.versions.len().saturating_sub(1),
    })
}

/// Every message with its versions, for tests and scripts outside the process.
async fn all_messages(State(shared): State<Arc<Shared>>) -> Json<Vec<Message>> {
    let workspace = shared.lock();
    let messages = workspace
        .channels
        .values()
        .flat_map(|channel| channel.messages.values());
    Json(messages.cloned().collect())
}

#[derive(Deserialize)]
struct Written {
    channel: String,
    text: String,
    thread_ts: Option<String>,
}

async fn write(State(shared): State<Arc<Shared>>, Json(written): Json<Written>) -> Reply {
    let Written {
        channel,
        text,
        thread_ts,
    } = written;
    let bot = format!("<@{}>", shared.settings.identity.bot_user);
    if !text.contains("@tocsin") && !text.contains(&bot) {
        return match shared.write_as(&channel, VIEWER, text, thread_ts) {
            Ok(_) => Reply::Done("Written. Mention @tocsin to ask it.".to_owned()),
            Err(error) => error.into(),
        };
    }
    let mention = Mention {
        channel,
        user: VIEWER.to_owned(),
        text,
        thread_ts,
        twin: true,
    };
    let sent = match shared.ingress() {
        Ok(ingress) => {
            shared
                .send(&ingress.url, &ingress.slack_signing_secret, mention)
                .await
        }
        Err(error) => Err(error),
    };
    match sent.map(|sent| sent.answers.last().copied().flatten()) {
        Ok(Some(status)) => told("Mention sent", status),
        Ok(None) => Reply::Failed("Mention sent, but ingress did not answer".to_owned()),
        Err(error) => error.into(),
    }
}

#[derive(Deserialize)]
struct Pressed {
    channel: String,
    ts: String,
    block_id: String,
    action_id: String,
}

async fn press(State(shared): State<Arc<Shared>>, Json(pressed): Json<Pressed>) -> Reply {
    let message = shared
        .lock()
        .message(&pressed.channel, &pressed.ts)
        .cloned();
    let Some(message) = message else {
        return Reply::Failed("That message is gone".to_owned());
    };
    let Some(action) = find_action(&message.blocks, &pressed) else {
        return Reply::Failed("That button is gone".to_owned());
    };
    let label = action
        .pointer("/text/text")
        .and_then(Value::as_str)
        .unwrap_or("Button")
        .to_owned();
    let pressing = async {
        shared
            .press(shared.ingress()?, &message, VIEWER, &action)
            .await
    };
    match pressing.await {
        Ok(status) => told(&format!("“{label}” sent"), status),
        Err(error) => error.into(),
    }
}

/// The button as the message has it, with its block's id: the page cannot make one up.
fn find_action(blocks: &[Value], pressed: &Pressed) -> Option<Value> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let block = blocks
        .iter()
        .find(|block| text(block, "block_id").as_deref() == Some(&pressed.block_id))?;
    let elements = block
        .get("elements")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let mut elements = elements.chain(block.get("accessory"));
    let mut action = elements
        .find(|element| text(element, "action_id").as_deref() == Some(&pressed.action_id))?
        .clone();
    action
        .as_object_mut()?
        .insert("block_id".to_owned(), json!(pressed.block_id));
    Some(action)
}

#[derive(Deserialize)]
struct Fire {
    cause: Option<String>,
}

async fn fire(State(shared): State<Arc<Shared>>, Json(fire): Json<Fire>) -> Reply {
    if let (Some(cause), Some(prometheus)) = (&fire.cause, &shared.settings.prometheus)
        && let Err(error) = prometheus.set_cause(cause)
    {
        return error.into();
    }
    let Some((ingress, alert, secret)) = shared.settings.ingress.as_ref().and_then(|ingress| {
        Some((
            ingress,
            ingress.alert.as_ref()?,
            ingress.pagerduty_secret.as_ref()?,
        ))
    }) else {
        return Error::NoIngress.into();
    };
    let incident = alert.incident();
    let body = incident.body();
    match pagerduty::deliver_raw(&shared.http, &ingress.url, secret, body).await {
        Ok(status) => told(&format!("PagerDuty incident {} sent", incident.id), status),
        Err(error) => error.into(),
    }
}

#[derive(Deserialize)]
struct Kill {}

async fn kill(State(shared): State<Arc<Shared>>, Json(Kill {}): Json<Kill>) -> Reply {
    let messages: Vec<Message> = {
        let workspace = shared.lock();
        let newest = workspace
            .channels
            .values()
            .flat_map(|channel| channel.messages.values().rev().take(20));
        newest.cloned().collect()
    };
    match workers::kill(&shared.settings.workers, &messages).await {
        Ok((name, pid)) => Reply::Done(format!("{name} (pid {pid}) killed with SIGKILL")),
        Err(error) => error.into(),
    }
}
