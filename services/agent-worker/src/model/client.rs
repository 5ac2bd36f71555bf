//! Asks the endpoint, streams the answer, and tries again what may pass.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};
use tocsin_kit::http_client::{GuardError, read_capped};
use tocsin_kit::{HttpClient, Secret};

use super::openai::{Assembly, StreamError, body};
use super::sse::SseReader;
use super::{Answer, Request};
use crate::credential::{Credential, CredentialError};

/// Tries of one turn. With the pauses below they span about half a minute: an endpoint's restart.
const TRIES: usize = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Longest `Retry-After` that is waited for; beyond, the run says that the model is not available.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
/// An error's text for people; the rest is noise.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// How long the endpoint may take.
#[derive(Debug, Clone, Copy)]
pub struct ModelTimeouts {
    /// Between two pieces of an answer.
    pub idle: Duration,
    /// For a whole answer.
    pub total: Duration,
}

/// The turn got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("the model endpoint is not reachable; check OPENAI_BASE_URL and the network")]
    Unreachable(#[source] reqwest::Error),
    #[error("the model endpoint answered {status}: {detail}{}", advice(*status))]
    Status {
        status: StatusCode,
        detail: String,
        retry_after: Option<Duration>,
    },
    #[error("the model's answer could not be read")]
    Stream(#[source] StreamError),
    #[error("the connection to the model broke during the answer")]
    Broken(#[source] reqwest::Error),
    #[error("the model sent nothing for {} s", idle.as_secs())]
    Idle { idle: Duration },
    #[error("the model took longer than {} s", total.as_secs())]
    TooSlow { total: Duration },
    #[error("an answer's event is too long")]
    TooLong,
    #[error("the model's key cannot be had")]
    Key(#[source] CredentialError),
    #[error("OPENAI_BASE_URL is not usable")]
    Address(#[source] GuardError),
}

fn advice(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 => "; check OPENAI_API_KEY",
        404 => "; check the model's name and OPENAI_BASE_URL",
        _ => "",
    }
}

impl ModelError {
    /// Whether the same request may succeed later.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Status { status, .. } => {
                matches!(status.as_u16(), 408 | 409 | 429) || status.is_server_error()
            }
            Self::Unreachable(_) | Self::Broken(_) | Self::Idle { .. } => true,
            Self::Stream(error) => !matches!(error, StreamError::Chunk(_)),
            Self::Key(error) => error.is_temporary(),
            Self::TooSlow { .. } | Self::TooLong | Self::Address(_) => false,
        }
    }

    const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    const fn outcome(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Unreachable(_) => "unreachable",
            Self::Stream(_) | Self::TooLong => "invalid",
            Self::Broken(_) => "broken",
            Self::Idle { .. } | Self::TooSlow { .. } => "timeout",
            Self::Address(_) => "address",
            Self::Key(_) => "key",
        }
    }
}

/// A client of one endpoint. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ModelClient {
    http: HttpClient,
    url: String,
    key: Option<Credential>,
    timeouts: ModelTimeouts,
}

impl ModelClient {
    /// `base_url` as in `https://api.openai.com/v1`, which the operator set: `http` is a trusted client
    /// without a total time limit.
    pub fn new(
        http: HttpClient,
        base_url: &str,
        key: Option<Secret>,
        timeouts: ModelTimeouts,
    ) -> Self {
        let url = format!("{}/chat/completions", base_url.trim_end_matches('/'));
        Self {
            http,
            url,
            key: key.map(Credential::Operator),
            timeouts,
        }
    }

    /// The same endpoint with another key.
    #[must_use]
    pub fn with_key(&self, key: Credential) -> Self {
        Self {
            key: Some(key),
            ..self.clone()
        }
    }

    /// One turn, tried again while that may help.
    ///
    /// # Errors
    /// The last try's.
    pub async fn ask(&self, request: &Request) -> Result<Answer, ModelError> {
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_max_times(TRIES - 1)
            .with_jitter()
            .build();
        loop {
            let began = tokio::time::Instant::now();
            let asked = tokio::time::timeout(self.timeouts.total, self.try_once(request)).await;
            let total = self.timeouts.total;
            let answer = asked.unwrap_or(Err(ModelError::TooSlow { total }));
            let outcome = answer.as_ref().err().map_or("ok", ModelError::outcome);
            metrics::histogram!("tocsin_model_request_duration_seconds", "outcome" => outcome)
                .record(began.elapsed().as_secs_f64());
            let error = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_temporary() => error,
                Err(error) => return Err(error),
            };
            let Some(pause) = pauses.next() else {
                return Err(error);
            };
            let pause = error.retry_after().map_or(pause, |asked| asked.max(pause));
            if pause > MAX_RETRY_AFTER {
                return Err(error);
            }
            tracing::warn!(error = %tocsin_kit::ErrorChain(&error), pause_ms = pause.as_millis(), "asking the model again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn try_once(&self, request: &Request) -> Result<Answer, ModelError> {
        let body = body(request).to_string();
        let prompt = body.len();
        let mut post = self
            .http
            .post(&self.url)
            .map_err(ModelError::Address)?
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .header(reqwest::header::ACCEPT, "text/event-stream")
            .body(body);
        if let Some(key) = &self.key {
            let key = key.reveal().await.map_err(ModelError::Key)?;
            post = post.bearer_auth(key.as_str());
        }
        let idle = self.timeouts.idle;
        let sent = tokio::time::timeout(idle, post.send()).await;
        let response = sent
            .map_err(|_| ModelError::Idle { idle })?
            .map_err(|error| ModelError::Unreachable(error.without_url()))?;
        if !response.status().is_success() {
            return Err(status_error(response).await);
        }
        self.read(response, prompt).await
    }

    async fn read(&self, mut response: Response, prompt: usize) -> Result<Answer, ModelError> {
        let idle = self.timeouts.idle;
        let (mut reader, mut assembly) = (SseReader::default(), Assembly::default());
        while !assembly.is_done() {
            let chunk = tokio::time::timeout(idle, response.chunk()).await;
            let chunk = chunk
                .map_err(|_| ModelError::Idle { idle })?
                .map_err(|error| ModelError::Broken(error.without_url()))?;
            let Some(chunk) = chunk else { break };
            for event in reader.push(&chunk).map_err(|_| ModelError::TooLong)? {
                assembly.push(&event).map_err(ModelError::Stream)?;
            }
        }
        if let Some(event) = reader.finish()
            && !assembly.is_done()
        {
            assembly.push(&event).map_err(ModelError::Stream)?;
        }
        assembly.finish(prompt).map_err(ModelError::Stream)
    }
}

async fn status_error(response: Response) -> ModelError {
    let status = response.status();
    let header = response.headers().get(RETRY_AFTER);
    let retry_after = header
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.trim().parse().ok())
        .map(Duration::from_secs);
    let detail = match read_capped(response, MAX_ERROR_BODY).await {
        Ok(body) => error_text(&body),
        Err(error) => error.to_string(),
    };
    ModelError::Status {
        status,
        detail,
        retry_after,
    }
}

/// OpenAI's `error.message`, or the beginning of whatever was sent.
fn error_text(body: &[u8]) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = parsed.as_ref().and_then(|value| {
        let message = value.pointer("/error/message").or(value.get("error"));
        message?.as_str().map(str::to_owned)
    });
    let text = message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    text.trim().chars().take(300).collect()
}
