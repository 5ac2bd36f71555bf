//! Socket Mode: `apps.connections.open`, WebSockets that carry envelopes, and what was acknowledged.
//!
//! An envelope goes to the newest open connection, or waits for one. What was not acknowledged when its
//! connection ends goes to the next one as a new attempt; what an open connection leaves unanswered is sent
//! again when the test says so ([`Slack::resend`]), where Slack waits for three seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Query, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_websockets::{Message, ServerBuilder, WebSocketStream};

use super::{Shared, Slack};
use crate::standins::runtime::{self, Stopping};

/// What Slack allows.
const MAX_CONNECTIONS: usize = 10;
/// Frames on their way to one connection.
const QUEUE: usize = 1024;
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// An acknowledged envelope.
#[derive(Clone, Debug, PartialEq)]
pub struct Acknowledgement {
    /// As [`Slack::push`] gave it, whichever attempt was acknowledged.
    pub delivery: u64,
    /// From 0.
    pub attempt: u32,
    /// On which connection, from 1 in the order of their hellos.
    pub connection: u64,
    /// What the app answered beside the id.
    pub payload: Option<Value>,
}

#[derive(Debug, Default)]
pub(super) struct Sockets {
    tickets: BTreeSet<String>,
    connections: BTreeMap<u64, Connection>,
    /// Not acknowledged yet, by delivery.
    waiting: BTreeMap<u64, Delivery>,
    acknowledged: Vec<Acknowledgement>,
    last_connection: u64,
    last_delivery: u64,
}

#[derive(Debug)]
struct Connection {
    frames: mpsc::Sender<Order>,
    is_warned: bool,
}

#[derive(Debug)]
enum Order {
    Send(String),
    Close,
}

#[derive(Debug)]
struct Delivery {
    kind: String,
    payload: String,
    attempt: u32,
    /// The connection it is on, and its id there.
    sent: Option<(u64, String)>,
}

impl Sockets {
    fn add(&mut self, kind: &str, payload: &str) -> u64 {
        self.last_delivery += 1;
        let delivery = Delivery {
            kind: kind.to_owned(),
            payload: payload.to_owned(),
            attempt: 0,
            sent: None,
        };
        self.waiting.insert(self.last_delivery, delivery);
        self.last_delivery
    }

    /// Sends what is on no connection over the newest one.
    fn flush(&mut self) {
        let Some(newest) = self.connections.keys().next_back().copied() else {
            return;
        };
        let is_left = |(number, delivery): (&u64, &Delivery)| {
            let is_left = delivery.sent.is_none();
            is_left.then_some(*number)
        };
        let left: Vec<u64> = self.waiting.iter().filter_map(is_left).collect();
        for delivery in left {
            self.send(delivery, newest);
        }
    }

    fn send(&mut self, delivery: u64, number: u64) {
        let connection = self.connections.get(&number);
        let delivery = self.waiting.get_mut(&delivery);
        let (Some(connection), Some(delivery)) = (connection, delivery) else {
            return;
        };
        let id = runtime::uuid();
        let order = Order::Send(delivery.frame(&id));
        if connection.frames.try_send(order).is_ok() {
            delivery.sent = Some((number, id));
        }
    }

    fn ended(&mut self, number: u64) {
        self.connections.remove(&number);
        for delivery in self.waiting.values_mut() {
            if delivery.sent.as_ref().is_some_and(|(on, _)| *on == number) {
                delivery.sent = None;
                delivery.attempt += 1;
            }
        }
        self.flush();
    }

    fn acknowledge(&mut self, number: u64, answer: &Value) {
        let id = answer["envelope_id"].as_str().unwrap_or_default();
        let is_this = |delivery: &Delivery| {
            let sent = delivery.sent.as_ref();
            sent.is_some_and(|(on, known)| *on == number && known == id)
        };
        let found = self.waiting.iter().find(|(_, delivery)| is_this(delivery));
        let Some((delivery, attempt)) = found.map(|(key, found)| (*key, found.attempt)) else {
            return;
        };
        self.waiting.remove(&delivery);
        self.acknowledged.push(Acknowledgement {
            delivery,
            attempt,
            connection: number,
            payload: answer.get("payload").cloned(),
        });
    }
}

impl Delivery {
    fn frame(&self, id: &str) -> String {
        let Self {
            kind,
            payload,
            attempt,
            ..
        } = self;
        let accepts = kind != "events_api";
        let reason = if *attempt == 0 { "" } else { "timeout" };
        format!(
            r#"{{"envelope_id":"{id}","type":"{kind}","payload":{payload},"accepts_response_payload":{accepts},"retry_attempt":{attempt},"retry_reason":"{reason}"}}"#
        )
    }
}

impl Slack {
    /// Sends an envelope of a kind (`events_api`, `interactive`, `slash_commands`) with this JSON as its
    /// payload, as soon as there is a connection. Gives the number of the delivery.
    pub fn push(&self, kind: &str, payload: &str) -> u64 {
        let mut sockets = self.shared.sockets();
        let number = sockets.add(kind, payload);
        sockets.flush();
        number
    }

    /// As [`Slack::push`], over the connection of this number; over the newest when there is no such one.
    pub fn push_over(&self, connection: u64, kind: &str, payload: &str) -> u64 {
        let mut sockets = self.shared.sockets();
        let number = sockets.add(kind, payload);
        sockets.send(number, connection);
        sockets.flush();
        number
    }

    /// Sends what was not acknowledged once more, as Slack does after three seconds.
    pub fn resend(&self) {
        let mut sockets = self.shared.sockets();
        for delivery in sockets.waiting.values_mut() {
            if delivery.sent.take().is_some() {
                delivery.attempt += 1;
            }
        }
        sockets.flush();
    }

    /// Sends a text as it is over the newest connection.
    pub fn push_raw(&self, text: &str) {
        let sockets = self.shared.sockets();
        if let Some((_, newest)) = sockets.connections.iter().next_back() {
            // A connection that takes no more is at its end.
            let _ = newest.frames.try_send(Order::Send(text.to_owned()));
        }
    }

    /// What was acknowledged, in that order.
    pub fn acknowledged(&self) -> Vec<Acknowledgement> {
        self.shared.sockets().acknowledged.clone()
    }

    /// Numbers of the open connections.
    pub fn connections(&self) -> Vec<u64> {
        self.shared.sockets().connections.keys().copied().collect()
    }

    /// Tells every connection that it ends soon, for a `reason` of Slack's: `warning`,
    /// `refresh_requested`, `link_disabled`. They stay open until [`Slack::end_warned`].
    pub fn warn_connections(&self, reason: &str) {
        let frame =
            json!({"type": "disconnect", "reason": reason, "debug_info": {"host": "stand-in"}});
        let mut sockets = self.shared.sockets();
        for connection in sockets.connections.values_mut() {
            connection.is_warned = true;
            let _ = connection.frames.try_send(Order::Send(frame.to_string()));
        }
    }

    /// Closes the connections that were warned.
    pub fn end_warned(&self) {
        self.end(|connection| connection.is_warned);
    }

    /// Closes every connection without a word.
    pub fn end_connections(&self) {
        self.end(|_| true);
    }

    fn end(&self, which: impl Fn(&Connection) -> bool) {
        let sockets = self.shared.sockets();
        for connection in sockets.connections.values().filter(|one| which(one)) {
            let _ = connection.frames.try_send(Order::Close);
        }
    }
}

impl Shared {
    fn sockets(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `apps.connections.open` answers.
    pub(super) fn open_socket(&self, token: Option<&str>) -> Result<Value, &'static str> {
        let token = token.ok_or("not_authed")?;
        let is_known = match &self.settings.app_token {
            Some(expected) => token == expected,
            None => token.starts_with("xapp-"),
        };
        match is_known {
            false if token.starts_with("xoxb-") => return Err("not_allowed_token_type"),
            false => return Err("invalid_auth"),
            true => {}
        }
        let address = self.address.get().ok_or("internal_error")?;
        let ticket = runtime::uuid();
        self.sockets().tickets.insert(ticket.clone());
        Ok(json!({"url": format!("ws://{address}/link/?ticket={ticket}&app_id=A0STANDIN")}))
    }

    fn hello(&self, frames: mpsc::Sender<Order>) -> Result<(u64, String), &'static str> {
        let mut sockets = self.sockets();
        if sockets.connections.len() >= MAX_CONNECTIONS {
            return Err("too_many_websockets");
        }
        sockets.last_connection += 1;
        let number = sockets.last_connection;
        let is_warned = false;
        let connection = Connection { frames, is_warned };
        sockets.connections.insert(number, connection);
        let hello = json!({
            "type": "hello", "num_connections": sockets.connections.len(),
            "debug_info": {"host": "stand-in", "approximate_connection_time": 18060},
            "connection_info": {"app_id": self.settings.identity.app_id},
        });
        Ok((number, hello.to_string()))
    }

    async fn serve_socket(&self, socket: &mut WebSocketStream<TokioIo<Upgraded>>) {
        let (sender, mut orders) = mpsc::channel(QUEUE);
        let (number, hello) = match self.hello(sender) {
            Ok(hello) => hello,
            Err(reason) => {
                let refusal = json!({"type": "disconnect", "reason": reason}).to_string();
                let _ = socket.send(Message::text(refusal)).await;
                return;
            }
        };
        let _ = socket.send(Message::text(hello)).await;
        self.sockets().flush();
        self.announce();
        loop {
            let is_open = tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Send(text)) => socket.send(Message::text(text)).await.is_ok(),
                    Some(Order::Close) | None => false,
                },
                message = socket.next() => match message {
                    Some(Ok(message)) => {
                        let answer = message.as_text().map(serde_json::from_str);
                        if let Some(Ok(answer)) = answer {
                            self.sockets().acknowledge(number, &answer);
                            self.announce();
                        }
                        true
                    }
                    Some(Err(_)) | None => false,
                },
            };
            if !is_open {
                break;
            }
        }
        let _ = socket.close().await;
        self.sockets().ended(number);
        self.announce();
    }
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/link/", get(link))
}

#[derive(Deserialize)]
struct Link {
    ticket: String,
}

/// The handshake; each ticket is good for one connection.
async fn link(
    State(shared): State<Arc<Shared>>,
    Query(Link { ticket }): Query<Link>,
    Extension(Stopping(stop)): Extension<Stopping>,
    mut request: Request,
) -> Response {
    if !shared.sockets().tickets.remove(&ticket) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let Some(accept) = accept(request.headers()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let upgrading: OnUpgrade = hyper::upgrade::on(&mut request);
    runtime::spawn(async move {
        let serving = async {
            match upgrading.await {
                Ok(upgraded) => {
                    let mut socket = ServerBuilder::new().serve(TokioIo::new(upgraded));
                    shared.serve_socket(&mut socket).await;
                }
                Err(error) => tracing::debug!(%error, "stand-in WebSocket was not opened"),
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = serving => {}
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(
        header::CONNECTION,
        http::HeaderValue::from_static("upgrade"),
    );
    headers.insert(header::UPGRADE, http::HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

fn accept(headers: &HeaderMap) -> Option<http::HeaderValue> {
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key.as_bytes());
    digest.update(ACCEPT_SUFFIX);
    http::HeaderValue::from_str(&STANDARD.encode(digest.finish())).ok()
}
