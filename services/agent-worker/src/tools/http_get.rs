//! `http_get`: one GET to a host on the allow-list.

use serde::Deserialize;
use serde_json::{Value, json};
use tocsin_kit::HttpClient;
use tocsin_kit::http_client::{read_capped, refusal};
use url::Url;

use super::{HTTP_GET, ToolError};
use crate::model::ToolSpec;

/// The model sees far less.
const MAX_ANSWER: usize = 2 * 1024 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Arguments {
    url: String,
}

pub(super) fn spec() -> ToolSpec {
    ToolSpec {
        name: HTTP_GET,
        description: "Fetches a URL with GET from a host that the operator or the team allowed, such as a status \
                      page or a health endpoint. Returns status, content_type and body.",
        schema: json!({
            "type": "object", "additionalProperties": false, "required": ["url"],
            "properties": {"url": {"type": "string", "description": "The whole URL, http or https."}},
        }),
    }
}

/// Entries are hosts (`status.example.com`), hosts with a port (`localhost:9000`), or all hosts below
/// a domain (`*.example.com`).
pub(super) fn is_allowed(url: &Url, allowed: &[&str]) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    let with_port = url.port().map(|port| format!("{host}:{port}"));
    allowed.iter().any(|entry| match entry.strip_prefix('*') {
        Some(suffix) => suffix.starts_with('.') && host.ends_with(suffix) && url.port().is_none(),
        None if entry.contains(':') => with_port.as_deref() == Some(entry),
        None => *entry == host && url.port().is_none(),
    })
}

pub(super) async fn get(
    http: &HttpClient,
    allowed: &[&str],
    arguments: &Arguments,
) -> Result<Value, ToolError> {
    let url = Url::parse(&arguments.url)
        .map_err(|error| ToolError::Refused(format!("the URL is not valid: {error}")))?;
    if !is_allowed(&url, allowed) {
        let hosts = allowed.join(", ");
        let why = format!("the host is not on the allow-list; allowed are {hosts}");
        return Err(ToolError::Refused(why));
    }
    let request = http
        .get(url.as_str())
        .map_err(|error| ToolError::Refused(error.to_string()))?;
    let response = request
        .send()
        .await
        .map_err(|error| match refusal(&error) {
            Some(refused) => ToolError::Refused(refused.to_string()),
            None => ToolError::Failed(format!("the request failed: {}", error.without_url())),
        })?;
    let status = response.status().as_u16();
    let content_type = response.headers().get(reqwest::header::CONTENT_TYPE);
    let content_type = content_type
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let body = read_capped(response, MAX_ANSWER)
        .await
        .map_err(|error| ToolError::Failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&body);
    let body = serde_json::from_str::<Value>(&text).unwrap_or_else(|_| json!(text));
    Ok(json!({"status": status, "content_type": content_type, "body": body}))
}
