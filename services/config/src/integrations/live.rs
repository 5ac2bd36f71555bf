//! The live test: which values may be sent where, and sending them.

use std::time::Duration;

use serde_json::{Value, json};
use tocsin_kit::http_client::read_capped;
use tocsin_kit::{ErrorChain, HttpClient};
use tocsin_wire::SecretName;
use tocsin_wire::sealed::{Piece, Zeroize, pieces};

use super::probe::Call;
use super::{FieldType, Integration, Verdict, values};
use crate::merge::Config;
use crate::node::{Kind, Lineage};

/// A person waits for the answer.
const TEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Lists of models are the longest answers.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Values with their secrets opened; wiped when dropped, never printed.
pub(crate) struct Opened(Config);

impl Opened {
    /// Opens the references in `values` with `open`, which returns `None` for a secret that may not
    /// be used.
    ///
    /// # Errors
    /// The path of the first value whose reference leads nowhere.
    pub(crate) fn new(
        values: Config,
        mut open: impl FnMut(&SecretName) -> Option<String>,
    ) -> Result<Self, String> {
        let mut opened = Self(values);
        for (name, value) in &mut opened.0 {
            let Value::String(text) = value else {
                continue;
            };
            let parts = pieces(text).ok_or_else(|| name.clone())?;
            let mut filled = String::new();
            for part in parts {
                match part {
                    Piece::Text(text) => filled.push_str(text),
                    Piece::Secret(secret) => {
                        filled.push_str(&open(&secret).ok_or_else(|| name.clone())?);
                    }
                }
            }
            *text = filled;
        }
        Ok(opened)
    }

    pub(crate) fn values(&self) -> &Config {
        &self.0
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        for value in self.0.values_mut() {
            if let Value::String(text) = value {
                text.zeroize();
            }
        }
    }
}

/// The values that a test of a node may send, and whether secrets from above are among them.
///
/// What a team inherits is not its own to hand out: when the team itself says where to, only what
/// the team itself set is sent there.
pub(crate) fn sendable(
    integration: &Integration,
    line: &Lineage,
    defaults: &Config,
) -> (Config, bool) {
    let mut effective = values(&line.effective(defaults), &integration.id);
    let Some(team) = line.node().filter(|node| node.kind == Kind::Team) else {
        return (effective, true);
    };
    let own = values(&team.config, &integration.id);
    if !integration
        .address_fields()
        .iter()
        .any(|field| own.contains_key(*field))
    {
        return (effective, true);
    }
    effective.retain(|name, _| {
        let is_open = integration
            .field(name)
            .is_some_and(|field| field.r#type != FieldType::Secret);
        is_open || own.contains_key(name)
    });
    (effective, false)
}

/// Sends the call and reads what the vendor says. Never fails: what goes wrong is the verdict.
pub(crate) async fn send(integration: &Integration, call: Call, client: &HttpClient) -> Verdict {
    let failed = |message: String| Verdict {
        success: false,
        message,
        details: Config::new(),
    };
    let mut request = match client.request(call.method, &call.url) {
        Ok(request) => request.timeout(TEST_TIMEOUT),
        Err(error) => return failed(format!("the request was not made: {}", ErrorChain(&error))),
    };
    for (name, value) in call.headers {
        request = request.header(name, value);
    }
    if let Some(body) = &call.body {
        request = request.body(body.to_string());
    }
    // The URL may hold a secret: only what went wrong is told.
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => {
            let error = error.without_url();
            return failed(format!(
                "{} cannot be reached: {}",
                integration.name,
                ErrorChain(&error)
            ));
        }
    };
    let status = response.status();
    let body = match read_capped(response, MAX_ANSWER_BYTES).await {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or(json!(null)),
        Err(error) => {
            return failed(format!(
                "{} answered {}: {}",
                integration.name,
                status.as_u16(),
                ErrorChain(&error)
            ));
        }
    };
    integration.judge(status, &body)
}
