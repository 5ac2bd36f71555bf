//! `prometheus_query` and `prometheus_query_range`.

use serde::Deserialize;
use serde_json::{Value, json};
use tocsin_kit::http_client::read_capped;
use tocsin_kit::{ErrorChain, HttpClient};

use super::{PROMETHEUS_QUERY, PROMETHEUS_QUERY_RANGE, ToolError};
use crate::credential::Credential;
use crate::model::ToolSpec;

/// The model sees far less; more means a query without a selector.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// Longest PromQL that is passed on.
const MAX_QUERY: usize = 10_000;

/// A number as models write it: 60 or "60s".
#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrNumber {
    Text(String),
    Number(serde_json::Number),
}

impl TextOrNumber {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.trim().to_owned(),
            Self::Number(number) => number.to_string(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    query: String,
    #[serde(default)]
    time: Option<TextOrNumber>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QueryRange {
    query: String,
    start: TextOrNumber,
    end: TextOrNumber,
    step: TextOrNumber,
}

pub(super) fn specs() -> [ToolSpec; 2] {
    let query = json!({"type": "string", "description": "PromQL."});
    let time = |what: &str| {
        let description =
            format!("{what}: RFC 3339, such as 2026-01-31T12:00:00Z, or Unix seconds.");
        json!({"type": "string", "description": description})
    };
    [
        ToolSpec {
            name: PROMETHEUS_QUERY,
            description: "Evaluates PromQL at one moment, now unless a time is given. Returns Prometheus' answer: data.resultType and data.result.",
            schema: json!({
                "type": "object", "additionalProperties": false, "required": ["query"],
                "properties": {"query": query, "time": time("Moment")},
            }),
        },
        ToolSpec {
            name: PROMETHEUS_QUERY_RANGE,
            description: "Evaluates PromQL over a range of time. Choose a step that gives at most 100 points.",
            schema: json!({
                "type": "object", "additionalProperties": false,
                "required": ["query", "start", "end", "step"],
                "properties": {
                    "query": query, "start": time("Start"), "end": time("End"),
                    "step": {"type": "string", "description": "Distance of points, such as 60s or 5m."},
                },
            }),
        },
    ]
}

pub(super) struct Client<'a> {
    pub(super) url: &'a str,
    pub(super) http: &'a HttpClient,
    /// The team's, for its own Prometheus only.
    pub(super) token: Option<Credential>,
}

impl Client<'_> {
    pub(super) async fn query(&self, arguments: &Query) -> Result<Value, ToolError> {
        let mut form = vec![("query", checked(&arguments.query)?)];
        if let Some(time) = &arguments.time {
            form.push(("time", time.text()));
        }
        self.ask("query", &form).await
    }

    pub(super) async fn query_range(&self, arguments: &QueryRange) -> Result<Value, ToolError> {
        let form = [
            ("query", checked(&arguments.query)?),
            ("start", arguments.start.text()),
            ("end", arguments.end.text()),
            ("step", arguments.step.text()),
        ];
        self.ask("query_range", &form).await
    }

    /// The whole answer: status, data, and warnings when there are any.
    async fn ask(&self, path: &str, form: &[(&str, String)]) -> Result<Value, ToolError> {
        let url = format!("{}/api/v1/{path}", self.url.trim_end_matches('/'));
        let failed = |what: &str| ToolError::Failed(format!("Prometheus: {what}"));
        let request = self
            .http
            .post(url)
            .map_err(|error| ToolError::Refused(error.to_string()))?;
        let request = match &self.token {
            Some(token) => {
                let token = token.reveal().await;
                let token = token.map_err(|error| failed(&ErrorChain(&error).to_string()))?;
                request.bearer_auth(token.as_str())
            }
            None => request,
        };
        let response = request
            .form(form)
            .send()
            .await
            .map_err(|error| failed(&format!("not reachable ({})", error.without_url())))?;
        let status = response.status();
        let body = read_capped(response, MAX_ANSWER)
            .await
            .map_err(|error| failed(&error.to_string()))?;
        let answer: Value = serde_json::from_slice(&body)
            .map_err(|_| failed(&format!("HTTP {status} without JSON")))?;
        if answer.get("status").and_then(Value::as_str) != Some("success") {
            let error = answer.get("error").and_then(Value::as_str);
            return Err(failed(error.unwrap_or("an error without a reason")));
        }
        Ok(answer)
    }
}

fn checked(query: &str) -> Result<String, ToolError> {
    let query = query.trim();
    if query.is_empty() || query.len() > MAX_QUERY {
        let why = format!("query must have 1 to {MAX_QUERY} characters");
        return Err(ToolError::Refused(why));
    }
    Ok(query.to_owned())
}
