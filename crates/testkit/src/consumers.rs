//! How far the consumers of a server are, as its monitoring tells it.

use serde::Deserialize;

use crate::NatsServer;
use crate::standins::http_client;

/// How far a consumer is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ConsumerState {
    /// Its stream.
    #[serde(rename = "stream_name")]
    pub stream: String,
    /// Its name.
    pub name: String,
    /// Messages that nobody was sent yet.
    #[serde(rename = "num_pending")]
    pub unsent: u64,
    /// Messages that somebody was sent and has not answered for.
    #[serde(rename = "num_ack_pending")]
    pub unanswered: u64,
}

#[derive(Deserialize)]
struct State {
    #[serde(default)]
    account_details: Vec<Account>,
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    stream_detail: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    #[serde(default)]
    consumer_detail: Vec<ConsumerState>,
}

impl NatsServer {
    /// Every consumer of every stream.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn consumers(&self) -> anyhow::Result<Vec<ConsumerState>> {
        let url = format!("{}/jsz?accounts=true&consumers=true", self.monitoring_url());
        let answer = http_client()?.get(url).send().await?.error_for_status()?;
        let state: State = serde_json::from_slice(&answer.bytes().await?)?;
        let accounts = state.account_details.into_iter();
        let streams = accounts.flat_map(|account| account.stream_detail);
        Ok(streams.flat_map(|stream| stream.consumer_detail).collect())
    }
}
