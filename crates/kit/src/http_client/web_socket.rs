//! WebSockets (RFC 6455) over a connection of the client: with its TLS, its time limits and its guard.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use reqwest::{Upgraded, Url};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio_websockets::{ClientBuilder, Limits, Message, WebSocketStream};

use super::{GuardError, HttpClient};

/// A peer that takes no bytes for so long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// What the server must hash with our key, by RFC 6455.
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// A WebSocket could not be opened, or is no more. None of them names more of an address than its host:
/// paths and queries hold tickets.
#[derive(Debug, thiserror::Error)]
pub enum WebSocketError {
    #[error("open a WebSocket to {host}: the address is refused")]
    Refused {
        host: String,
        #[source]
        source: GuardError,
    },
    #[error("open a WebSocket to {host}: the system gives no random bytes")]
    Random { host: String },
    #[error("open a WebSocket to {host}")]
    Connect {
        host: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("open a WebSocket to {host}: it answered {status} instead of 101")]
    Status { host: String, status: StatusCode },
    #[error("open a WebSocket to {host}: its answer does not belong to our question")]
    Handshake { host: String },
    #[error("the WebSocket to {host} broke")]
    Broken {
        host: String,
        #[source]
        source: tokio_websockets::Error,
    },
    #[error("the WebSocket to {host} took nothing for {} s", SEND_TIMEOUT.as_secs())]
    Stalled { host: String },
}

/// What came over a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A whole message, UTF-8.
    Text(Bytes),
    /// A ping (which is answered), a pong, or a binary message: the peer lives.
    Alive,
    /// The peer closed it, with its code and words where it gave any.
    Closed(Option<(u16, String)>),
}

/// An open WebSocket. Pings are answered while it is read.
#[derive(Debug)]
pub struct WebSocket {
    host: String,
    stream: WebSocketStream<Upgraded>,
}

impl HttpClient {
    /// Opens a WebSocket to a `ws:` or `wss:` URL, within the client's time limits; a message of more than
    /// `max_message` bytes breaks it. The client must be one [for WebSockets](HttpClient::for_web_sockets):
    /// another may agree on HTTP/2 with the server.
    ///
    /// # Errors
    /// When the address is refused or cannot be reached, or the answer is none to this question.
    pub async fn web_socket(
        &self,
        url: &Url,
        max_message: usize,
    ) -> Result<WebSocket, WebSocketError> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let refused = |source| WebSocketError::Refused {
            host: host.clone(),
            source,
        };
        let url = as_http(url).map_err(refused)?;
        self.check(&url).map_err(refused)?;
        let mut key = [0_u8; 16];
        let filled = SystemRandom::new().fill(&mut key);
        filled.map_err(|_unspecified| WebSocketError::Random { host: host.clone() })?;
        let key = STANDARD.encode(key);
        let failed = |source: reqwest::Error| WebSocketError::Connect {
            host: host.clone(),
            source: source.without_url(),
        };
        let client = self.client().map_err(GuardError::Client).map_err(refused)?;
        let request = client
            .get(url)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, WEBSOCKET)
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, key.as_str());
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            return Err(WebSocketError::Status { host, status });
        }
        if !is_accepted(response.headers(), &key) {
            return Err(WebSocketError::Handshake { host });
        }
        let upgraded = response.upgrade().await.map_err(failed)?;
        let limits = Limits::default().max_payload_len(Some(max_message));
        let stream = ClientBuilder::new().limits(limits).take_over(upgraded);
        Ok(WebSocket { host, stream })
    }
}

impl WebSocket {
    /// Waits for what comes next. May be dropped at any moment without losing anything.
    ///
    /// # Errors
    /// When the connection broke, or the peer does not keep to the protocol.
    pub async fn next(&mut self) -> Result<Received, WebSocketError> {
        match self.stream.next().await {
            None => Ok(Received::Closed(None)),
            Some(Err(source)) => Err(self.broken(source)),
            Some(Ok(message)) if message.is_text() => {
                Ok(Received::Text(message.into_payload().into()))
            }
            Some(Ok(message)) => Ok(match message.as_close() {
                Some((code, why)) => Received::Closed(Some((code.into(), why.to_owned()))),
                None => Received::Alive,
            }),
        }
    }

    /// Sends a text, and waits until the system has taken it.
    ///
    /// # Errors
    /// When the connection broke, or the peer takes nothing.
    pub async fn send(&mut self, text: String) -> Result<(), WebSocketError> {
        self.put(Message::text(text)).await
    }

    /// Asks the peer for a sign of life.
    ///
    /// # Errors
    /// As [`WebSocket::send`].
    pub async fn ping(&mut self) -> Result<(), WebSocketError> {
        self.put(Message::ping(Bytes::new())).await
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// As [`WebSocket::send`]; also when the peer was faster.
    pub async fn close(mut self) -> Result<(), WebSocketError> {
        let closed = tokio::time::timeout(SEND_TIMEOUT, self.stream.close()).await;
        self.sent(closed)
    }

    async fn put(&mut self, message: Message) -> Result<(), WebSocketError> {
        let sent = tokio::time::timeout(SEND_TIMEOUT, self.stream.send(message)).await;
        self.sent(sent)
    }

    fn sent(
        &self,
        sent: Result<Result<(), tokio_websockets::Error>, tokio::time::error::Elapsed>,
    ) -> Result<(), WebSocketError> {
        match sent {
            Ok(sent) => sent.map_err(|source| self.broken(source)),
            Err(_elapsed) => Err(WebSocketError::Stalled {
                host: self.host.clone(),
            }),
        }
    }

    fn broken(&self, source: tokio_websockets::Error) -> WebSocketError {
        WebSocketError::Broken {
            host: self.host.clone(),
            source,
        }
    }
}

/// The address of the request that opens a WebSocket.
fn as_http(url: &Url) -> Result<Url, GuardError> {
    let scheme = match url.scheme() {
        "ws" => "http",
        "wss" => "https",
        other => {
            let scheme = other.to_owned();
            return Err(GuardError::Scheme { scheme });
        }
    };
    let mut url = url.clone();
    // Between schemes of the web this cannot fail; were it to, the guard refuses what is left.
    let _is_set = url.set_scheme(scheme);
    Ok(url)
}

/// Whether the server read our key and speaks the protocol.
fn is_accepted(headers: &HeaderMap, key: &str) -> bool {
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key.as_bytes());
    digest.update(ACCEPT_SUFFIX);
    let expected = STANDARD.encode(digest.finish());
    let upgrade = headers.get(header::UPGRADE);
    let accept = headers.get(header::SEC_WEBSOCKET_ACCEPT);
    upgrade.is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && accept.is_some_and(|accept| accept.as_bytes() == expected.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455, section 1.3.
    #[test]
    fn a_server_proves_that_it_read_the_key() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let mut headers = HeaderMap::new();
        headers.insert(header::UPGRADE, HeaderValue::from_static("WebSocket"));
        assert!(!is_accepted(&headers, key));
        let accept = HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        assert!(is_accepted(&headers, key));
        assert!(!is_accepted(&headers, "another"));
    }

    #[test]
    fn only_addresses_of_web_sockets_are_asked() {
        for (url, asked) in [
            (
                "wss://wss-primary.slack.com/link/?ticket=1",
                Some("https://wss-primary.slack.com/link/?ticket=1"),
            ),
            (
                "ws://127.0.0.1:8090/link",
                Some("http://127.0.0.1:8090/link"),
            ),
            ("https://slack.com/", None),
            ("file:///etc/passwd", None),
        ] {
            let url = Url::parse(url).expect("a URL");
            assert_eq!(as_http(&url).ok().as_ref().map(Url::as_str), asked);
        }
    }
}
