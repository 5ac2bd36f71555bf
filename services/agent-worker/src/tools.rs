//! The tools that an agent may call. All of them only read; each has a schema, a time limit and a limit on
//! what it returns.
//!
//! Whatever a model writes as a call, the result is JSON text for the model: a tool that is unknown, not
//! offered, called with broken arguments, or fails, returns `{"error": …}` and the run goes on.

mod event;
mod http_get;
mod prometheus;

pub(crate) use event::describe as describe_event;

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tocsin_bus::SecretReader;
use tocsin_kit::HttpClient;
use tocsin_wire::proto::{RunRequest, ToolCall};
use tokio::time::Instant;

use crate::model::ToolSpec;
use crate::team::AgentConfig;

/// Characters of a result that the model sees: about 6,000 tokens.
pub const MAX_OUTPUT: usize = 25_000;
/// A tool that takes longer holds up its run for nothing.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What all runs of a worker share.
#[derive(Debug, Clone)]
pub struct Toolbox {
    /// For URLs that teams or models name.
    pub guarded: HttpClient,
    /// For what the operator configured.
    pub trusted: HttpClient,
    /// The operator's Prometheus.
    pub prometheus_url: Option<String>,
    /// Hosts that `http_get` may reach for every team.
    pub http_allow: Arc<[String]>,
}

/// The tools of one run.
#[derive(Debug)]
pub struct Tools<'a> {
    pub toolbox: &'a Toolbox,
    pub secrets: Option<&'a SecretReader>,
    pub config: &'a AgentConfig,
    pub request: &'a RunRequest,
}

/// What a call gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// JSON text.
    pub text: String,
    pub failed: bool,
    pub truncated: bool,
    pub millis: u64,
}

impl Output {
    /// A call that was not made.
    pub fn refused(why: &str) -> Self {
        Self {
            text: json!({"error": why}).to_string(),
            failed: true,
            truncated: false,
            millis: 0,
        }
    }
}

/// Why a tool gave no result; shown to the model.
#[derive(Debug, thiserror::Error)]
enum ToolError {
    #[error("there is no tool {0:?}; use only the tools that are offered")]
    Unknown(String),
    #[error("the arguments do not fit the tool's schema: {0}")]
    Arguments(serde_json::Error),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Failed(String),
    #[error("no result within {} s", TIMEOUT.as_secs())]
    TooSlow,
}

const READ_EVENT: &str = "read_event";
const PROMETHEUS_QUERY: &str = "prometheus_query";
const PROMETHEUS_QUERY_RANGE: &str = "prometheus_query_range";
const HTTP_GET: &str = "http_get";

/// What a row of progress calls the tool.
pub fn label(tool: &str) -> &'static str {
    match tool {
        READ_EVENT => "Alert details",
        PROMETHEUS_QUERY | PROMETHEUS_QUERY_RANGE => "Prometheus: metrics",
        HTTP_GET => "HTTP: status pages and endpoints",
        _ => "Unknown tool",
    }
}

impl Tools<'_> {
    /// The tools that are offered to the model, in a fixed order.
    pub fn offered(&self) -> Vec<ToolSpec> {
        let mut all = vec![event::spec()];
        if self.prometheus().is_some() {
            all.extend(prometheus::specs());
        }
        if !self.http_hosts().is_empty() {
            all.push(http_get::spec());
        }
        all.retain(|tool| self.config.offers(tool.name));
        all
    }

    /// Makes the call, whatever it is.
    pub async fn call(&self, call: &ToolCall) -> Output {
        let began = Instant::now();
        let result = tokio::time::timeout(TIMEOUT, self.dispatch(call)).await;
        let result = result.unwrap_or(Err(ToolError::TooSlow));
        let failed = result.is_err();
        let text = match result {
            Ok(value) => value.to_string(),
            Err(error) => json!({"error": error.to_string()}).to_string(),
        };
        let (text, truncated) = clamp(text);
        let elapsed = began.elapsed();
        let outcome = if failed { "failed" } else { "ok" };
        // A name that a model made up must not become a label.
        let known = [
            READ_EVENT,
            PROMETHEUS_QUERY,
            PROMETHEUS_QUERY_RANGE,
            HTTP_GET,
        ];
        let tool = known.into_iter().find(|name| *name == call.tool);
        metrics::counter!("tocsin_tool_calls_total", "tool" => tool.unwrap_or("unknown"), "outcome" => outcome)
            .increment(1);
        Output {
            text,
            failed,
            truncated,
            millis: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        }
    }

    async fn dispatch(&self, call: &ToolCall) -> Result<Value, ToolError> {
        let offered = self.offered().iter().any(|tool| tool.name == call.tool);
        if !offered {
            return Err(ToolError::Unknown(call.tool.chars().take(80).collect()));
        }
        match call.tool.as_str() {
            READ_EVENT => {
                let event::Arguments {} = arguments(call)?;
                Ok(event::describe(self.request))
            }
            PROMETHEUS_QUERY => self.prometheus_client()?.query(&arguments(call)?).await,
            PROMETHEUS_QUERY_RANGE => {
                self.prometheus_client()?
                    .query_range(&arguments(call)?)
                    .await
            }
            HTTP_GET => {
                let arguments: http_get::Arguments = arguments(call)?;
                http_get::get(&self.toolbox.guarded, &self.http_hosts(), &arguments).await
            }
            other => Err(ToolError::Unknown(other.to_owned())),
        }
    }

    /// URL and client: the team's own goes through the guard, the operator's does not.
    fn prometheus(&self) -> Option<(&str, &HttpClient)> {
        let team = self.config.prometheus_url.as_deref();
        team.map(|url| (url, &self.toolbox.guarded)).or_else(|| {
            let operator = self.toolbox.prometheus_url.as_deref();
            operator.map(|url| (url, &self.toolbox.trusted))
        })
    }

    fn prometheus_client(&self) -> Result<prometheus::Client<'_>, ToolError> {
        let (url, http) = self
            .prometheus()
            .ok_or_else(|| ToolError::Refused("no Prometheus is configured".to_owned()))?;
        let own = self.config.prometheus_url.is_some();
        let written = own.then_some(&self.config.prometheus_token);
        let token = written.and_then(|written| self.config.credential(written, self.secrets));
        Ok(prometheus::Client { url, http, token })
    }

    fn http_hosts(&self) -> Vec<&str> {
        let operator = self.toolbox.http_allow.iter().map(String::as_str);
        operator
            .chain(self.config.http_allow.iter().map(String::as_str))
            .collect()
    }
}

fn arguments<T: DeserializeOwned>(call: &ToolCall) -> Result<T, ToolError> {
    serde_json::from_str(&call.arguments).map_err(ToolError::Arguments)
}

/// Too long a result stays JSON: its beginning as a string, and a note.
fn clamp(text: String) -> (String, bool) {
    if text.chars().count() <= MAX_OUTPUT {
        return (text, false);
    }
    let mut kept = MAX_OUTPUT - 500;
    loop {
        let beginning: String = text.chars().take(kept).collect();
        let clamped = json!({
            "truncated": true,
            "note": "the result was too long; this is its beginning. Ask for less, such as fewer series.",
            "beginning": beginning,
        })
        .to_string();
        // Escaping may double the length.
        if clamped.chars().count() <= MAX_OUTPUT {
            return (clamped, true);
        }
        kept = kept * 3 / 4;
    }
}

#[cfg(test)]
mod tests;
