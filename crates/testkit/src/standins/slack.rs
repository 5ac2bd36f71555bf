//! A Slack workspace: the Web API under `/api/<method>`, senders of signed events and
//! interactions, the same over Socket Mode, and a page at `/` that shows the channels as people would see them.

mod arguments;
mod blocks;
mod events;
mod limits;
mod message;
mod page;
mod socket_mode;
mod web_api;
mod workers;
mod workspace;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;

pub use events::{Mention, Sent};
pub use limits::{Bucket, Fault, RateLimits};
pub use message::{Identity, Message, Reaction, Version};
pub use socket_mode::Acknowledgement;
pub use workspace::Call;

use super::prometheus::Prometheus;
use super::runtime::{self, Server};
use super::{Error, pagerduty};
use socket_mode::Sockets;
use workspace::Workspace;

/// How a workspace starts. Everything has a default: see [`Settings::default`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// Default: loopback, a free port.
    pub listen: SocketAddr,
    /// The only bot token accepted; `None` accepts every `xoxb-…`.
    pub bot_token: Option<String>,
    /// The only app-level token accepted, for Socket Mode; `None` accepts every `xapp-…`.
    pub app_token: Option<String>,
    pub identity: Identity,
    /// Id and name of the channels that exist from the start.
    pub channels: Vec<(String, String)>,
    /// Whether naming another channel id creates it (and an unknown thread is an empty one); else
    /// `channel_not_found` and `thread_not_found`.
    pub create_channels: bool,
    pub limits: RateLimits,
    /// Where the page's buttons and messages go; none: the page only shows.
    pub ingress: Option<Ingress>,
    /// Name and pid file of each worker that *Kill the worker* may kill.
    pub workers: Vec<(String, PathBuf)>,
    /// Lets the page choose what the scenario's data says.
    pub prometheus: Option<Prometheus>,
}

/// The ingress that the page talks to.
#[derive(Clone)]
pub struct Ingress {
    /// Base URL; `/webhooks/…` is added.
    pub url: String,
    pub slack_signing_secret: String,
    /// Signs *Fire alert*; none: the button is not shown.
    pub pagerduty_secret: Option<String>,
    /// The incident that *Fire alert* sends, each time with new ids.
    pub alert: Option<Alert>,
}

impl std::fmt::Debug for Ingress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Ingress")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// What *Fire alert* tells; the `alert` of a scenario file.
#[derive(Clone, Debug, serde::Deserialize, PartialEq)]
pub struct Alert {
    pub service_id: String,
    pub service_name: String,
    pub title: String,
}

impl Alert {
    /// A new incident of this alert.
    pub fn incident(&self) -> pagerduty::Incident {
        pagerduty::Incident::new(&self.service_id, &self.service_name, &self.title)
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            bot_token: None,
            app_token: None,
            identity: Identity::default(),
            channels: Vec::new(),
            create_channels: true,
            limits: RateLimits::off(),
            ingress: None,
            workers: Vec::new(),
            prometheus: None,
        }
    }
}

/// A running workspace; clones share it, and it stops with the last of them.
#[derive(Clone, Debug)]
pub struct Slack {
    shared: Arc<Shared>,
    server: Arc<Server>,
}

#[derive(Debug)]
struct Shared {
    workspace: Mutex<Workspace>,
    sockets: Mutex<Sockets>,
    /// Known once it listens.
    address: OnceLock<SocketAddr>,
    /// The workspace's revision, for those who wait for a change.
    changed: watch::Sender<u64>,
    settings: Settings,
    http: reqwest::Client,
}

impl Slack {
    /// On a free loopback port, without rate limits; channels come to be by posting to them.
    ///
    /// # Errors
    /// [`Error::Listen`], [`Error::Client`].
    pub async fn start() -> Result<Slack, Error> {
        Slack::start_with(Settings::default()).await
    }

    /// # Errors
    /// [`Error::Listen`], [`Error::Client`].
    pub async fn start_with(settings: Settings) -> Result<Slack, Error> {
        let mut workspace = Workspace::default();
        workspace.create_channels = settings.create_channels;
        workspace.limiter.set(settings.limits);
        for (id, name) in &settings.channels {
            workspace.add_channel(id, name);
        }
        let listen = settings.listen;
        let shared = Arc::new(Shared {
            workspace: Mutex::new(workspace),
            sockets: Mutex::default(),
            address: OnceLock::new(),
            changed: watch::Sender::new(0),
            settings,
            http: runtime::http_client()?,
        });
        let router = Router::new()
            .merge(web_api::routes())
            .merge(socket_mode::routes())
            .merge(page::routes());
        let server = Server::start(listen, router.with_state(shared.clone())).await?;
        shared.address.get_or_init(|| server.address);
        Ok(Slack {
            shared,
            server: Arc::new(server),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// For `SLACK_API_URL`: `http://127.0.0.1:PORT/api`, to which `/<method>` is added.
    pub fn api_url(&self) -> String {
        format!("http://{}/api", self.address())
    }

    /// The page for people.
    pub fn page_url(&self) -> String {
        format!("http://{}/", self.address())
    }

    /// Adds a channel, if there is none with this id.
    pub fn add_channel(&self, id: &str, name: &str) {
        self.shared.lock().add_channel(id, name);
        self.shared.announce();
    }

    /// Every message of a channel in order of time, deleted ones left out.
    pub fn messages(&self, channel: &str) -> Vec<Message> {
        let workspace = self.shared.lock();
        let Some(channel) = workspace.channels.get(channel) else {
            return Vec::new();
        };
        channel
            .messages
            .values()
            .filter(|message| !message.deleted)
            .cloned()
            .collect()
    }

    /// As [`Slack::messages`], of all channels.
    pub fn all_messages(&self) -> Vec<Message> {
        let workspace = self.shared.lock();
        let messages = workspace
            .channels
            .values()
            .flat_map(|channel| channel.messages.values());
        messages
            .filter(|message| !message.deleted)
            .cloned()
            .collect()
    }

    /// One message with its versions.
    pub fn message(&self, channel: &str, ts: &str) -> Option<Message> {
        self.shared.lock().message(channel, ts).cloned()
    }

    /// The newest 20,000 calls of the Web API, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.lock().calls.iter().cloned().collect()
    }

    pub fn set_rate_limits(&self, limits: RateLimits) {
        self.shared.lock().limiter.set(limits);
    }

    /// Every answer waits this long.
    pub fn set_latency(&self, latency: Duration) {
        self.shared.lock().latency = latency;
    }

    /// The next `calls` calls of `method` (`chat.postMessage`) fail so, after faults set earlier.
    pub fn fail_next(&self, method: &str, calls: usize, fault: &Fault) {
        self.shared.lock().limiter.fail_next(method, calls, fault);
    }

    /// Waits until a message of `channel` satisfies `wanted`, and returns it.
    ///
    /// # Errors
    /// [`Error::NoMessage`] after `limit`, with what the channel shows by then.
    pub async fn wait_for_message(
        &self,
        channel: &str,
        mut wanted: impl FnMut(&Message) -> bool,
        limit: Duration,
    ) -> Result<Message, Error> {
        let looking = self.wait_until(limit, |slack| {
            slack
                .messages(channel)
                .into_iter()
                .find(|message| wanted(message))
        });
        if let Some(message) = looking.await {
            return Ok(message);
        }
        let shown: Vec<String> = self.messages(channel).iter().map(Message::shown).collect();
        let channel = channel.to_owned();
        Err(Error::NoMessage {
            channel,
            limit,
            seen: format!("{shown:?}"),
        })
    }

    /// Waits until `look` finds something, asked again after every change of the workspace.
    pub async fn wait_until<Found>(
        &self,
        limit: Duration,
        mut look: impl FnMut(&Slack) -> Option<Found>,
    ) -> Option<Found> {
        let mut changes = self.shared.changed.subscribe();
        let looking = async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = look(self) {
                    return Some(found);
                }
                if changes.changed().await.is_err() {
                    return None;
                }
            }
        };
        tokio::time::timeout(limit, looking).await.ok().flatten()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Workspace> {
        self.workspace
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self) {
        self.changed.send_modify(|revision| *revision += 1);
    }
}
