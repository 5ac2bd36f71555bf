//! `/v1/chat/completions` and `/v1/models`.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::StreamExt as _;
use futures::stream;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::conversation::Conversation;
use super::reply::Reply;
use super::script::{self, Next};
use super::{Failure, Request, Shared};
use crate::standins::runtime;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/chat/completions", post(complete))
        .route("/v1/models", get(models))
        .route("/standin/requests", get(requests))
}

async fn complete(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Err(refusal) = authenticate(&shared, &headers) {
        return refusal;
    }
    let body: Value = match serde_json::from_slice(&body) {
        Ok(body) => body,
        Err(_) => {
            let problem = "We could not parse the JSON body of your request.";
            return error(
                StatusCode::BAD_REQUEST,
                problem,
                "invalid_request_error",
                None,
            );
        }
    };
    let (delay, failure) = {
        let mut state = shared.lock();
        (state.delay, state.failures.pop_front())
    };
    let decided = decide(&shared, &body);
    let (script, turn) = match &decided {
        Ok(next) => (next.script.clone(), next.turn),
        Err(_) => (String::new(), 0),
    };
    let (outcome, response) = match (decided, &failure) {
        (Err(problem), _) => {
            let status = StatusCode::BAD_REQUEST;
            (
                "400".to_owned(),
                error(status, &problem, "invalid_request_error", None),
            )
        }
        (
            Ok(_),
            Some(Failure::Status {
                status,
                retry_after,
            }),
        ) => (status.to_string(), failed(*status, *retry_after)),
        (Ok(next), failure) => answer(&next, failure.as_ref(), &body),
    };
    let at = runtime::now_micros().div_euclid(1000);
    shared.record(Request {
        at,
        body,
        key: bearer(&headers).unwrap_or_default().to_owned(),
        script,
        turn,
        outcome,
    });
    tokio::time::sleep(delay).await;
    if failure == Some(Failure::Stall) {
        std::future::pending::<()>().await;
    }
    response
}

fn decide(shared: &Shared, body: &Value) -> Result<Next, String> {
    let conversation = Conversation::read(body)?;
    let state = shared.lock();
    script::next(&state.scripts, &conversation)
        .ok_or_else(|| "no script of this stand-in fits the conversation: add one".to_owned())
}

/// The outcome for the journal, and the response.
fn answer(next: &Next, failure: Option<&Failure>, body: &Value) -> (String, Response) {
    let created = runtime::now_seconds();
    let reply = Reply::new(
        next,
        failure,
        body,
        &runtime::unique(24).to_lowercase(),
        created,
    );
    let outcome = match failure {
        Some(failure) => format!("{failure:?}"),
        None => reply.finish_reason.to_owned(),
    };
    let streaming = body.get("stream").and_then(Value::as_bool).unwrap_or(false);
    if streaming {
        let usage = body
            .pointer("/stream_options/include_usage")
            .and_then(Value::as_bool);
        return (
            outcome,
            stream_of(&reply.chunks(usage.unwrap_or(false)), failure),
        );
    }
    match failure {
        Some(Failure::CutMidStream) => (outcome, runtime::cut()),
        Some(Failure::StallMidStream) => {
            let never = stream::pending::<Result<Bytes, Infallible>>();
            (outcome, Body::from_stream(never).into_response())
        }
        _ => (outcome, Json(reply.whole()).into_response()),
    }
}

fn stream_of(chunks: &[Value], failure: Option<&Failure>) -> Response {
    let mut lines: Vec<Bytes> = chunks
        .iter()
        .map(|chunk| Bytes::from(format!("data: {chunk}\n\n")))
        .collect();
    lines.push(Bytes::from_static(b"data: [DONE]\n\n"));
    let half = lines.len().div_ceil(2);
    let body = match failure {
        Some(Failure::StallMidStream) => {
            lines.truncate(half);
            let said = stream::iter(lines.into_iter().map(Ok::<_, std::io::Error>));
            Body::from_stream(said.chain(stream::pending()))
        }
        Some(Failure::CutMidStream) => {
            lines.truncate(half);
            let cut = std::io::Error::other("the stand-in was told to cut the stream");
            let said = lines.into_iter().map(Ok).chain([Err(cut)]);
            // Each line in its own turn, so that the client gets the first half before the end.
            Body::from_stream(stream::iter(said).then(async |line| {
                tokio::task::yield_now().await;
                line
            }))
        }
        _ => Body::from_stream(stream::iter(lines.into_iter().map(Ok::<_, Infallible>))),
    };
    let headers = [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache"),
    ];
    (headers, body).into_response()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let header = headers.get("authorization")?.to_str().ok()?;
    header.strip_prefix("Bearer ")
}

#[expect(clippy::result_large_err, reason = "a refusal is a response")]
fn authenticate(shared: &Shared, headers: &HeaderMap) -> Result<(), Response> {
    let key = bearer(headers).unwrap_or_default();
    let refuse = |problem: &str| {
        let kind = "invalid_request_error";
        Err(error(
            StatusCode::UNAUTHORIZED,
            problem,
            kind,
            Some("invalid_api_key"),
        ))
    };
    if key.is_empty() {
        return refuse("You didn't provide an API key in an Authorization header (Bearer auth).");
    }
    match &shared.api_key {
        Some(expected) if expected != key => refuse("Incorrect API key provided."),
        _ => Ok(()),
    }
}

fn failed(status: u16, retry_after: Option<u64>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = if status == StatusCode::TOO_MANY_REQUESTS {
        let problem = "Rate limit reached for requests per minute.";
        error(status, problem, "requests", Some("rate_limit_exceeded"))
    } else {
        error(
            status,
            "The server had an error processing your request.",
            "server_error",
            None,
        )
    };
    if let Some(seconds) = retry_after {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}

fn error(status: StatusCode, message: &str, kind: &str, code: Option<&str>) -> Response {
    let body = json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
    (status, Json(body)).into_response()
}

async fn models(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if let Err(refusal) = authenticate(&shared, &headers) {
        return refusal;
    }
    let model = json!({"id": "scripted", "object": "model", "created": 0, "owned_by": "tocsin"});
    Json(json!({"object": "list", "data": [model]})).into_response()
}

async fn requests(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!(shared.lock().requests))
}
