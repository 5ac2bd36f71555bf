//! `apps.connections.open`: where to connect to, for 30 s.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use reqwest::Url;
use serde::Deserialize;
use tocsin_kit::http_client::{GuardError, ReadError, WebSocketError, read_capped};
use tocsin_kit::{HttpClient, Secret};

const METHOD: &str = "apps.connections.open";
/// The answer is one URL.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Longest error code that is shown; Slack's are short words.
const MAX_CODE_CHARS: usize = 64;
/// Slack's wait when it asks for one and does not say how long.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(30);

/// Why there is no connection. Neither the token nor a URL with its ticket is in any of them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("SLACK_API_URL is refused")]
    Base(#[source] GuardError),
    #[error("ask {host} for a connection; does the network reach it?")]
    Ask {
        host: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("read Slack's answer to {METHOD}")]
    Read(#[source] ReadError),
    #[error("Slack answered {status} to {METHOD}")]
    Status { status: StatusCode },
    #[error("Slack wants no more connections opened for {} s", after.as_secs())]
    Limited { after: Duration },
    #[error("Slack could not open a connection now: {code}")]
    Trouble { code: String },
    #[error(
        "Slack refuses SLACK_APP_TOKEN: {code}; it must be an app-level token (xapp-…) with the scope \
         connections:write, of an app whose Socket Mode is on"
    )]
    Refused { code: String },
    #[error("Slack's answer to {METHOD} is not of the form that it documents")]
    Form,
    #[error("Slack named {host} to connect to, which is not below the host of SLACK_API_URL")]
    Foreign { host: String },
    #[error("connect to Slack")]
    Connect(#[source] WebSocketError),
    #[error("Slack did not say hello within {} s", limit.as_secs())]
    NoHello { limit: Duration },
    #[error("Slack closed the connection before it said hello")]
    Closed,
    #[error("Socket Mode is turned off in the settings of the Slack app: turn it on")]
    TurnedOff,
}

impl OpenError {
    /// Whether it stays so until somebody changes a setting.
    pub(crate) fn needs_a_person(&self) -> bool {
        matches!(
            self,
            Self::Base(_) | Self::Refused { .. } | Self::Foreign { .. } | Self::TurnedOff
        )
    }

    /// The shortest wait that Slack asked for.
    pub(crate) fn retry_after(&self) -> Duration {
        match self {
            Self::Limited { after } => *after,
            _ => Duration::ZERO,
        }
    }
}

/// Asks Slack for the address of a new connection.
pub(crate) async fn address(
    http: &HttpClient,
    base: &Url,
    token: &Secret,
) -> Result<Url, OpenError> {
    let host = base.host_str().unwrap_or_default().to_owned();
    let url = format!("{}/{METHOD}", base.as_str().trim_end_matches('/'));
    let request = http.post(url).map_err(OpenError::Base)?;
    let request = request
        .bearer_auth(token.expose())
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let response = request.send().await.map_err(|source| OpenError::Ask {
        host,
        source: source.without_url(),
    })?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = read_capped(response, MAX_ANSWER_BYTES).await;
    read(status, &headers, &body.map_err(OpenError::Read)?, base)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Opened {
    ok: bool,
    error: Option<String>,
    url: Option<String>,
}

fn read(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    base: &Url,
) -> Result<Url, OpenError> {
    if status == StatusCode::TOO_MANY_REQUESTS {
        let after = headers.get(header::RETRY_AFTER);
        let after = after.and_then(|after| after.to_str().ok()?.parse().ok());
        return Err(OpenError::Limited {
            after: after.map_or(DEFAULT_RETRY_AFTER, Duration::from_secs),
        });
    }
    if !status.is_success() {
        return Err(OpenError::Status { status });
    }
    // What is wrong with it says nothing that helps, and may hold the ticket.
    let opened: Opened = serde_json::from_slice(body).map_err(|_odd| OpenError::Form)?;
    match (opened.ok, opened.url, opened.error) {
        (true, Some(url), _) => {
            let url = Url::parse(&url).map_err(|_odd| OpenError::Form)?;
            if is_at_home(&url, base) {
                Ok(url)
            } else {
                let host = url.host_str().unwrap_or_default().to_owned();
                Err(OpenError::Foreign { host })
            }
        }
        (false, _, Some(code)) => Err(refusal(&code)),
        _ => Err(OpenError::Form),
    }
}

/// Codes of Slack's own troubles; all others are about the token or the app.
fn refusal(code: &str) -> OpenError {
    let is_trouble = matches!(
        code,
        "internal_error" | "fatal_error" | "service_unavailable" | "request_timeout"
    );
    let is_word = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
    let shown = code.chars().filter(is_word).take(MAX_CODE_CHARS).collect();
    match code {
        "ratelimited" => OpenError::Limited {
            after: DEFAULT_RETRY_AFTER,
        },
        _ if is_trouble => OpenError::Trouble { code: shown },
        _ => OpenError::Refused { code: shown },
    }
}

/// Whether a connection may go there: to the API's own host or one below it, encrypted if the API is. So a
/// forged answer cannot make us connect into our own network.
fn is_at_home(url: &Url, base: &Url) -> bool {
    let is_encrypted = url.scheme() == "wss" && base.scheme() == "https";
    let is_plain = url.scheme() == "ws" && base.scheme() == "http";
    let (Some(host), Some(home)) = (url.host_str(), base.host_str()) else {
        return false;
    };
    let is_below = base.domain().is_some()
        && host
            .strip_suffix(home)
            .is_some_and(|below| below.ends_with('.'));
    (is_encrypted || is_plain)
        && (host == home || is_below)
        && url.port_or_known_default() == base.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn only_the_hosts_of_the_api_are_connected_to() {
        let slack = url("https://slack.com/api");
        let local = url("http://127.0.0.1:8090/api");
        for (address, base, expected) in [
            ("wss://wss-primary.slack.com/link/?ticket=1", &slack, true),
            ("wss://slack.com/link", &slack, true),
            ("wss://WSS.Slack.COM/link", &slack, true),
            ("wss://wss.slack.com:8443/link", &slack, false),
            ("ws://wss.slack.com/link", &slack, false),
            ("https://wss.slack.com/link", &slack, false),
            ("wss://notslack.com/link", &slack, false),
            ("wss://slack.com.example.com/link", &slack, false),
            ("wss://slack.com@example.com/link", &slack, false),
            ("wss://169.254.169.254/latest", &slack, false),
            ("ws://127.0.0.1:8090/link", &local, true),
            ("ws://127.0.0.1:8091/link", &local, false),
            ("ws://1.127.0.0.1:8090/link", &local, false),
            ("wss://127.0.0.1:8090/link", &local, false),
        ] {
            let is_home = Url::parse(address).is_ok_and(|address| is_at_home(&address, base));
            assert_eq!(is_home, expected, "{address}");
        }
    }

    /// What `read` says, in a word.
    fn outcome(status: u16, body: &str) -> (String, bool) {
        let status = StatusCode::from_u16(status).expect("a status");
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, "7".parse().expect("a value"));
        match read(
            status,
            &headers,
            body.as_bytes(),
            &url("https://slack.com/api"),
        ) {
            Ok(url) => (url.to_string(), false),
            Err(error) => {
                assert!(!error.to_string().contains("ticket"), "{error}");
                (format!("{error:?}"), error.needs_a_person())
            }
        }
    }

    #[test]
    fn an_answer_is_an_address_or_a_reason() {
        let good = r#"{"ok":true,"url":"wss://wss-primary.slack.com/link/?ticket=1"}"#;
        let bad = r#"{"ok":true,"url":"wss://evil.example/?ticket=1"}"#;
        let huge = format!(r#"{{"ok":false,"error":"{}"}}"#, "<x>".repeat(500));
        for (status, body, expected, is_for_people) in [
            (
                200,
                good,
                "wss://wss-primary.slack.com/link/?ticket=1",
                false,
            ),
            (200, bad, r#"Foreign { host: "evil.example" }"#, true),
            (429, "", "Limited { after: 7s }", false),
            (503, "<html>", "Status { status: 503 }", false),
            (200, "<html>", "Form", false),
            (200, r#"{"ok":true}"#, "Form", false),
            (200, r#"{"ok":true,"url":"ticket"}"#, "Form", false),
            (
                200,
                r#"{"ok":false,"error":"invalid_auth"}"#,
                r#"Refused { code: "invalid_auth" }"#,
                true,
            ),
            (
                200,
                r#"{"ok":false,"error":"internal_error"}"#,
                r#"Trouble { code: "internal_error" }"#,
                false,
            ),
            (
                200,
                r#"{"ok":false,"error":"ratelimited"}"#,
                "Limited { after: 30s }",
                false,
            ),
        ] {
            let expected = (expected.to_owned(), is_for_people);
            assert_eq!(outcome(status, body), expected, "{body}");
        }
        assert!(outcome(200, &huge).0.len() < 100);
    }
}
