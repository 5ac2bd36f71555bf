//! What is said of secrets, and how a value comes in.

use axum::body::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::error::Category;
use tocsin_kit::Problem;
use tocsin_wire::sealed::{Audience, Zeroizing};
use tocsin_wire::{OrgId, SecretName};
use utoipa::ToSchema;

use crate::node::NodeId;
use crate::pg::SecretHistoryRow;
use crate::secrets::SecretFacts;
use crate::secrets::usage::Use;

/// Text that is wiped from memory and never printed.
pub(in crate::http) struct SecretText(Zeroizing<String>);

impl SecretText {
    pub(in crate::http) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// A secret's value on its way in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SecretWrite)]
pub(super) struct Write {
    /// 1 to 65,536 bytes. It is never shown again.
    #[schema(value_type = String, write_only, min_length = 1, max_length = 65_536)]
    value: SecretText,
    /// Who may open it: `ingress`, or `worker.<pool>`. What it has been so far when absent, else
    /// `worker.default`.
    #[serde(default, deserialize_with = "audience")]
    #[schema(value_type = Option<String>, pattern = "^(ingress|worker\\.[a-z0-9][a-z0-9_-]{0,62})$", example = "worker.default")]
    audience: Option<Audience>,
    /// The version that the caller has seen; 0 for none.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = Option<u64>, maximum = 9_007_199_254_740_991_i64)]
    expected_version: Option<u64>,
}

impl Write {
    pub(super) fn value(&self) -> &str {
        self.value.as_str()
    }

    pub(super) fn audience(&self) -> Option<&Audience> {
        self.audience.as_ref()
    }

    pub(super) fn expected_version(&self) -> Option<u64> {
        self.expected_version
    }
}

fn audience<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Audience>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(D::Error::custom))
        .transpose()
}

/// To JSON Schema 7.0 is a whole number; answers here do not say what was wrong with which text, so
/// it is one here, too.
pub(in crate::http) fn whole<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    let number: Option<serde_json::Number> = Option::deserialize(deserializer)?;
    let Some(number) = number else {
        return Ok(None);
    };
    let float = || number.as_f64().filter(|float| float.fract() == 0.0);
    number
        .as_u64()
        .or_else(|| format!("{:.0}", float()?).parse().ok())
        .map(Some)
        .ok_or_else(|| D::Error::custom("a version is a whole number"))
}

/// A secret without its value.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Secret)]
pub(super) struct View {
    #[schema(value_type = String)]
    org_id: OrgId,
    /// Node that owns it.
    #[schema(value_type = String)]
    node_id: NodeId,
    #[schema(value_type = String)]
    name: SecretName,
    /// How configs refer to it.
    #[schema(example = "${secret:slack-bot-token}")]
    reference: String,
    version: u64,
    /// Who may open it.
    #[schema(value_type = String, example = "worker.default")]
    audience: Audience,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    updated_by: String,
}

impl From<SecretFacts> for View {
    fn from(facts: SecretFacts) -> Self {
        Self {
            reference: format!("${{secret:{}}}", facts.name),
            org_id: facts.org,
            node_id: facts.node,
            name: facts.name,
            version: facts.version,
            audience: facts.audience,
            updated_at: facts.updated_at,
            updated_by: facts.updated_by,
        }
    }
}

/// One version of a secret: who, when, never what.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SecretVersion)]
pub(super) struct Version {
    version: i64,
    /// `set` or `deleted`.
    what: String,
    audience: String,
    #[schema(value_type = String, format = DateTime)]
    changed_at: Timestamp,
    changed_by: String,
}

impl From<SecretHistoryRow> for Version {
    fn from(row: SecretHistoryRow) -> Self {
        Self {
            version: row.version,
            changed_at: row.changed_at(),
            what: row.what,
            audience: row.audience,
            changed_by: row.changed_by,
        }
    }
}

/// A config that refers to a secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SecretUse)]
pub(super) struct UseView {
    /// Whose config.
    #[schema(value_type = String)]
    node_id: NodeId,
    /// Where in it.
    #[schema(example = "integrations.slack.bot_token")]
    path: String,
}

impl From<Use> for UseView {
    fn from(found: Use) -> Self {
        Self {
            node_id: found.node_id,
            path: found.path,
        }
    }
}

/// All that is known of a secret besides its value.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SecretDetails)]
pub(super) struct Details {
    #[serde(flatten)]
    pub(super) secret: View,
    /// Configs that refer to it; at most 100.
    pub(super) used_by: Vec<UseView>,
    /// The newest first; at most 50.
    pub(super) history: Vec<Version>,
}

/// The body of a write.
pub(super) fn parse(body: &Bytes) -> Result<Write, Problem> {
    quietly(
        body,
        "{\"value\": text, \"audience\"?: \"ingress\" or \"worker.<pool>\", \"expected_version\"?: number}",
    )
}

/// As other bodies, but what was sent is not repeated in the answer: it may be a secret.
pub(in crate::http) fn quietly<T: DeserializeOwned>(
    body: &Bytes,
    shape: &'static str,
) -> Result<T, Problem> {
    let wrong_shape = || {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_body",
            format!(
                "the body must be {shape} and nothing else; what was sent is not repeated here"
            ),
        )
    };
    // Derived readers of structs take a list of their fields for one.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(wrong_shape());
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => wrong_shape(),
        Category::Syntax | Category::Eof | Category::Io => Problem::bad_request(
            "invalid_json",
            "the body is not JSON; what was sent is not repeated here",
        ),
    })
}
