//! A language model that follows a script, behind OpenAI's Chat Completions.
//!
//! A script says which tools to call, and which answer to give depending on what they returned; it
//! quotes their results by JSON pointer. So the answer follows from the data: other data, another
//! answer. See [`Script`] for the format.

mod conversation;
mod http_api;
mod reply;
mod script;
mod template;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

pub use script::{Answer, Condition, Script, ToolCall, Turn};

use super::Error;
use super::runtime::Server;

/// Requests kept for tests to look at: bodies grow with the conversation.
const KEPT_REQUESTS: usize = 1_000;

const CHECKOUT: &str = include_str!("../../assets/scripts/checkout.json");
const ANY_ALERT: &str = include_str!("../../assets/scripts/any-alert.json");

#[derive(Clone, Debug)]
pub struct Settings {
    /// Default: loopback, a free port.
    pub listen: SocketAddr,
    /// The only key accepted; `None` accepts every non-empty bearer token.
    pub api_key: Option<String>,
    /// How long the model thinks before the first byte of every answer.
    pub delay: Duration,
    /// The first that matches the conversation is followed.
    pub scripts: Vec<Script>,
}

impl Settings {
    /// A free loopback port, any key, no delay, the built-in scripts.
    ///
    /// # Errors
    /// [`Error::Parse`] for a built-in script; a test reads them.
    pub fn new() -> Result<Settings, Error> {
        Ok(Settings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            api_key: None,
            delay: Duration::ZERO,
            scripts: Script::built_in()?,
        })
    }
}

impl Script {
    /// The demonstration's script, then the one for any other alert.
    ///
    /// # Errors
    /// [`Error::Parse`].
    pub fn built_in() -> Result<Vec<Script>, Error> {
        let checkout = Script::parse("the built-in script checkout", CHECKOUT)?;
        Ok(vec![
            checkout,
            Script::parse("the built-in script any-alert", ANY_ALERT)?,
        ])
    }
}

/// How the next answer goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// An HTTP status with OpenAI's error body, and `Retry-After` in seconds: 429, 500, 503.
    Status {
        status: u16,
        retry_after: Option<u64>,
    },
    /// No byte, ever.
    Stall,
    /// The stream stops in the middle and stays open; without streaming as [`Failure::Stall`].
    StallMidStream,
    /// The connection closes in the middle of the stream; without streaming before any byte.
    CutMidStream,
    /// The arguments of the tool calls are not whole JSON.
    MalformedArguments,
    /// The calls name a tool that nobody offered.
    UnknownTool,
    /// The answer ends early with `finish_reason: "length"`.
    Truncate,
}

/// One request as it came.
#[derive(Clone, Debug, Serialize)]
pub struct Request {
    /// Milliseconds since 1970.
    pub at: i64,
    pub body: Value,
    /// The key it came with; never shown by the HTTP API of the stand-in.
    #[serde(skip)]
    pub key: String,
    /// The script that was followed, and the turn (from 0; the final answer comes after the last).
    pub script: String,
    pub turn: usize,
    /// `tool_calls`, `stop`, `length`, an HTTP status, or the injected failure.
    pub outcome: String,
}

/// A running model; clones share it, and it stops with the last of them.
#[derive(Clone, Debug)]
pub struct Model {
    shared: Arc<Shared>,
    server: Arc<Server>,
}

#[derive(Debug)]
struct Shared {
    api_key: Option<String>,
    state: Mutex<State>,
    count: watch::Sender<usize>,
}

#[derive(Debug)]
struct State {
    delay: Duration,
    scripts: Vec<Script>,
    failures: VecDeque<Failure>,
    requests: VecDeque<Request>,
}

impl Model {
    /// On a free loopback port with the built-in scripts.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub async fn start() -> Result<Model, Error> {
        Model::start_with(Settings::new()?).await
    }

    /// # Errors
    /// [`Error::Listen`].
    pub async fn start_with(settings: Settings) -> Result<Model, Error> {
        let state = State {
            delay: settings.delay,
            scripts: settings.scripts,
            failures: VecDeque::new(),
            requests: VecDeque::new(),
        };
        let shared = Arc::new(Shared {
            api_key: settings.api_key,
            state: Mutex::new(state),
            count: watch::Sender::new(0),
        });
        let router = http_api::routes().with_state(shared.clone());
        let server = Server::start(settings.listen, router).await?;
        Ok(Model {
            shared,
            server: Arc::new(server),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// For `OPENAI_BASE_URL`: `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address())
    }

    /// The newest 1,000 requests, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.iter().cloned().collect()
    }

    /// How many requests came since the start.
    pub fn request_count(&self) -> usize {
        *self.shared.count.borrow()
    }

    /// Waits until `count` requests have come since the start; false after `limit`.
    pub async fn wait_for_requests(&self, count: usize, limit: Duration) -> bool {
        let mut counts = self.shared.count.subscribe();
        let waiting = counts.wait_for(|seen| *seen >= count);
        tokio::time::timeout(limit, waiting)
            .await
            .is_ok_and(|waited| waited.is_ok())
    }

    /// The next `answers` answers fail so, after failures set earlier.
    pub fn fail_next(&self, answers: usize, failure: &Failure) {
        let failures = std::iter::repeat_n(failure.clone(), answers);
        self.shared.lock().failures.extend(failures);
    }

    pub fn set_delay(&self, delay: Duration) {
        self.shared.lock().delay = delay;
    }

    /// Goes before the scripts that are there.
    pub fn add_script(&self, script: Script) {
        self.shared.lock().scripts.insert(0, script);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, request: Request) {
        let mut state = self.lock();
        if state.requests.len() == KEPT_REQUESTS {
            state.requests.pop_front();
        }
        state.requests.push_back(request);
        drop(state);
        self.count.send_modify(|count| *count += 1);
    }
}
