//! `/api/<method>`: authentication, limits and failures around the methods.

mod conversations;
mod messages;

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::Shared;
use super::arguments::Arguments;
use super::limits::Fault;
use super::workspace::{Call, Workspace};
use crate::standins::runtime;

pub(super) fn routes() -> Router<Arc<Shared>> {
    // The second form forgives a client that adds "/method" to a base that ends in a slash.
    Router::new()
        .route("/api/{method}", any(call))
        .route("/api//{method}", any(call))
}

/// What a method answers beside `"ok": true`, or Slack's error.
type Outcome = Result<Map<String, Value>, Refusal>;

#[derive(Debug)]
struct Refusal {
    error: String,
    messages: Vec<String>,
}

impl From<&str> for Refusal {
    fn from(error: &str) -> Refusal {
        Refusal {
            error: error.to_owned(),
            messages: Vec::new(),
        }
    }
}

async fn call(
    State(shared): State<Arc<Shared>>,
    Path(method): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    let latency = shared.lock().latency;
    tokio::time::sleep(latency).await;
    let mut arguments = match Arguments::read(&headers, query.as_deref(), &body) {
        Ok(arguments) => arguments,
        Err(error) => return answer(Err(error.into())),
    };
    let token = arguments.take_token(&headers);
    let fault = shared.lock().limiter.take_fault(&method);
    let (outcome, response) = decide(
        &shared,
        &method,
        token.as_deref(),
        &arguments,
        fault.as_ref(),
    );
    let at = runtime::now_micros().div_euclid(1000);
    let hangs = fault == Some(Fault::Timeout);
    shared.lock().record(Call {
        at,
        method,
        arguments: arguments.0,
        token: token.unwrap_or_default(),
        outcome,
    });
    shared.announce();
    if hangs {
        std::future::pending::<()>().await;
    }
    response
}

/// The outcome for the log, and the answer.
fn decide(
    shared: &Shared,
    method: &str,
    token: Option<&str>,
    arguments: &Arguments,
    fault: Option<&Fault>,
) -> (String, Response) {
    match fault {
        Some(Fault::Status(status)) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            return (status.as_str().to_owned(), status.into_response());
        }
        Some(Fault::RateLimited(seconds)) => return ("429".to_owned(), rate_limited(*seconds)),
        Some(Fault::Error(error)) => {
            return (error.clone(), answer(Err(error.as_str().into())));
        }
        Some(Fault::Timeout) => return ("timeout".to_owned(), ().into_response()),
        Some(Fault::Refuse) => return ("refused".to_owned(), runtime::cut()),
        Some(Fault::DropResponse) | None => {}
    }
    let channel = arguments.text("channel").unwrap_or_default();
    let wait = shared.lock().limiter.admit(method, channel, Instant::now());
    if let Some(wait) = wait {
        let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
        return ("429".to_owned(), rate_limited(seconds));
    }
    let outcome = if method == "apps.connections.open" {
        let opened = shared.open_socket(token);
        opened.map_err(Refusal::from).and_then(object)
    } else {
        authenticate(shared, token).and_then(|()| run(shared, method, arguments))
    };
    let name = match &outcome {
        Ok(_) => "ok".to_owned(),
        Err(refusal) => refusal.error.clone(),
    };
    if fault == Some(&Fault::DropResponse) {
        return (format!("{name}, response dropped"), runtime::cut());
    }
    (name, answer(outcome))
}

fn rate_limited(seconds: u64) -> Response {
    let retry_after = [("retry-after", seconds.to_string())];
    let body = Json(json!({"ok": false, "error": "ratelimited"}));
    (StatusCode::TOO_MANY_REQUESTS, retry_after, body).into_response()
}

fn answer(outcome: Outcome) -> Response {
    let object = match outcome {
        Ok(mut object) => {
            object.insert("ok".to_owned(), json!(true));
            Value::Object(object)
        }
        Err(Refusal { error, messages }) if messages.is_empty() => {
            json!({"ok": false, "error": error})
        }
        Err(Refusal { error, messages }) => json!({
            "ok": false, "error": error, "errors": messages,
            "response_metadata": {"messages": messages},
        }),
    };
    Json(object).into_response()
}

fn authenticate(shared: &Shared, token: Option<&str>) -> Result<(), Refusal> {
    let token = token.ok_or("not_authed")?;
    let known = match &shared.settings.bot_token {
        Some(expected) => token == expected,
        None => token.len() > "xoxb-".len() && token.starts_with("xoxb-"),
    };
    if known {
        Ok(())
    } else {
        Err("invalid_auth".into())
    }
}

fn run(shared: &Shared, method: &str, arguments: &Arguments) -> Outcome {
    let identity = &shared.settings.identity;
    let mut workspace = shared.lock();
    match method {
        "auth.test" => object(json!({
            "url": "https://tocsin-demo.slack.com/", "team": "Tocsin demo", "user": "tocsin",
            "team_id": identity.team_id, "user_id": identity.bot_user, "bot_id": identity.bot_id,
            "is_enterprise_install": false,
        })),
        "chat.postMessage" => messages::post(&mut workspace, identity, arguments, None),
        "chat.postEphemeral" => {
            let user = arguments
                .text("user")
                .ok_or("user_not_in_channel")?
                .to_owned();
            messages::post(&mut workspace, identity, arguments, Some(user))
        }
        "chat.update" => messages::update(&mut workspace, identity, arguments),
        "chat.delete" => messages::delete(&mut workspace, arguments),
        "reactions.add" => messages::react(&mut workspace, identity, arguments),
        "conversations.history" => conversations::history(&mut workspace, identity, arguments),
        "conversations.replies" => conversations::replies(&mut workspace, identity, arguments),
        "users.info" => users_info(identity.team_id.as_str(), arguments),
        "views.open" => views_open(arguments),
        _ => Err("unknown_method".into()),
    }
}

fn users_info(team_id: &str, arguments: &Arguments) -> Outcome {
    let id = arguments.text("user").ok_or("user_not_found")?;
    if !id.starts_with(['U', 'W']) {
        return Err("user_not_found".into());
    }
    let name = id.to_lowercase();
    object(json!({"user": {
        "id": id, "team_id": team_id, "name": name, "real_name": name, "deleted": false,
        "tz": "Etc/UTC", "is_bot": false,
        "profile": {"real_name": name, "display_name": name,
            "email": format!("{name}@example.com")},
    }}))
}

fn views_open(arguments: &Arguments) -> Outcome {
    let trigger = arguments.text("trigger_id").ok_or("invalid_trigger_id")?;
    let view = arguments.structured("view").ok_or("invalid_arguments")?;
    let mut view = view.map_err(|()| Refusal::from("invalid_arguments"))?;
    if let Some(view) = view.as_object_mut() {
        view.insert("id".to_owned(), json!(format!("V{}", trigger.len())));
    }
    object(json!({"view": view}))
}

/// The channel argument's id, or Slack's refusal.
fn channel(workspace: &mut Workspace, arguments: &Arguments) -> Result<String, Refusal> {
    let channel = arguments.text("channel").ok_or("channel_not_found")?;
    workspace
        .resolve(channel)
        .ok_or_else(|| "channel_not_found".into())
}

fn object(value: Value) -> Outcome {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err("fatal_error".into()),
    }
}
