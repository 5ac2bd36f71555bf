//! Integrations: which there are, what each needs, what of it is set where, and whether it works.
//! Pure.
//!
//! Values stand in configs under `integrations.<id>`, secrets among them as `${secret:name}`. Some
//! configs nest the values under `config` or `config_values`; both are read.

mod live;
mod probe;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::merge::Config;

pub(crate) use live::{Opened, send, sendable};
pub(crate) use probe::{Probe, Verdict};

/// Reviewed as a data file, shipped inside the binary.
const SHIPPED: &str = include_str!("integrations/schemas.json");

/// In answers: a secret that is set. In requests: leave it as it is.
pub(crate) const SET: &str = "***";

/// Where values may be nested.
const NESTED: [&str; 2] = ["config", "config_values"];

/// Who sets a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = IntegrationLevel)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// The org, once for all teams.
    Org,
    /// Each team for itself.
    Team,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = IntegrationFieldType)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FieldType {
    String,
    /// Never shown again; stands in configs as a reference.
    Secret,
    Url,
    Email,
    Number,
    Boolean,
    /// Of strings.
    Array,
}

/// One value that an integration takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = IntegrationField)]
#[serde(deny_unknown_fields)]
pub(crate) struct Field {
    /// Its key under `integrations.<id>`.
    pub(crate) name: String,
    pub(crate) r#type: FieldType,
    /// Without it the integration does not work.
    pub(crate) required: bool,
    /// Who sets it.
    pub(crate) level: Level,
    pub(crate) description: String,
    /// What it looks like.
    #[serde(default)]
    pub(crate) placeholder: Option<String>,
    /// What holds when it is not set.
    #[serde(default)]
    pub(crate) default_value: Option<String>,
    /// Who opens a secret, when that is not the worker.
    #[serde(default, skip_serializing)]
    #[schema(ignore)]
    pub(crate) audience: Option<String>,
    /// One of these, where there are some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) allowed_values: Vec<String>,
}

/// One integration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = IntegrationSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Integration {
    /// Its key under `integrations`.
    pub(crate) id: String,
    /// For people.
    pub(crate) name: String,
    /// For lists: `chat`, `code`, …
    pub(crate) category: String,
    /// One sentence.
    pub(crate) description: String,
    /// Where to get what it needs.
    pub(crate) docs_url: String,
    /// Who usually sets it up.
    pub(crate) level: Level,
    pub(crate) fields: Vec<Field>,
    /// How it is tested; `null`: only by using it.
    #[schema(ignore)]
    #[serde(skip_serializing)]
    pub(crate) test: Option<Probe>,
}

/// All integrations, by id.
pub(crate) type Schemas = BTreeMap<String, Integration>;

/// Those of this release. Parse them once, at start.
///
/// # Errors
/// When the shipped file is broken; a test keeps it whole.
pub(crate) fn shipped() -> Result<Schemas, serde_json::Error> {
    #[derive(Deserialize)]
    struct File {
        integrations: Vec<Integration>,
    }
    let file: File = serde_json::from_str(SHIPPED)?;
    let by_id = file.integrations.into_iter();
    Ok(by_id.map(|one| (one.id.clone(), one)).collect())
}

/// What a config sets for an integration: its values, wherever they are nested.
pub(crate) fn values(config: &Config, integration: &str) -> Config {
    let own = config
        .get("integrations")
        .and_then(|all| all.get(integration))
        .and_then(Value::as_object);
    let Some(own) = own else {
        return Config::new();
    };
    let mut values = Config::new();
    for nested in NESTED {
        let nested = own.get(nested).and_then(Value::as_object);
        values.extend(
            nested
                .into_iter()
                .flatten()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
    }
    let flat = own
        .iter()
        .filter(|(key, _)| !NESTED.contains(&key.as_str()));
    values.extend(flat.map(|(key, value)| (key.clone(), value.clone())));
    values
}

/// Whether a value says something.
fn is_set(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    }
}

/// `${secret:name}` → `name`.
pub(crate) fn reference(value: &Value) -> Option<&str> {
    let text = value.as_str()?.trim();
    let name = text.strip_prefix("${secret:")?.strip_suffix('}')?;
    (!name.is_empty()).then_some(name)
}

impl Integration {
    /// The field called `name`.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Required fields that have neither a value nor a default.
    pub(crate) fn missing(&self, values: &Config) -> Vec<&str> {
        let missing = self.fields.iter().filter(|field| {
            field.required && field.default_value.is_none() && !is_set(values.get(&field.name))
        });
        missing.map(|field| field.name.as_str()).collect()
    }

    /// The values as they may be shown: a secret as its reference, or only as being set.
    pub(crate) fn shown(&self, values: &Config) -> Config {
        let show = |(name, value): (&String, &Value)| {
            let is_plain = self
                .field(name)
                .is_some_and(|field| field.r#type != FieldType::Secret);
            let shown = match value {
                Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
                value if is_plain || reference(value).is_some() => value.clone(),
                // What no schema knows may be anything.
                value if is_set(Some(value)) => Value::String(SET.to_owned()),
                _ => Value::Null,
            };
            (name.clone(), shown)
        };
        values.iter().map(show).collect()
    }

    /// Checks values that are to be set. `null` takes one away.
    ///
    /// # Errors
    /// The first that does not fit, by its path.
    pub(crate) fn check(&self, values: &Config) -> Result<(), InvalidValue> {
        for (name, value) in values {
            let path = || format!("integrations.{}.{name}", self.id);
            let Some(field) = self.field(name) else {
                let known = self.fields.iter().map(|field| field.name.as_str());
                return Err(InvalidValue::Unknown {
                    path: path(),
                    known: known.collect::<Vec<_>>().join(", "),
                });
            };
            if let Some(expected) = field.misfit(value) {
                return Err(InvalidValue::Misfit {
                    path: path(),
                    expected,
                });
            }
        }
        Ok(())
    }
}

impl Field {
    /// What was expected instead of this value; `None` when it fits.
    fn misfit(&self, value: &Value) -> Option<String> {
        if value.is_null() {
            return None;
        }
        if !self.allowed_values.is_empty() {
            let fits = value
                .as_str()
                .is_some_and(|text| self.allowed_values.iter().any(|one| one == text));
            return (!fits).then(|| format!("one of {}", self.allowed_values.join(", ")));
        }
        let text = value.as_str();
        let (fits, expected) = match self.r#type {
            FieldType::String => (text.is_some(), "a string"),
            FieldType::Secret => (
                text.is_some_and(|text| !text.trim().is_empty()),
                "the secret itself or ${secret:name}",
            ),
            FieldType::Url => (
                text.is_some_and(is_http_url),
                "an address that begins with https:// or http:// and holds no user or password",
            ),
            FieldType::Email => (
                text.is_some_and(|text| {
                    text.split_once('@')
                        .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
                }),
                "an e-mail address",
            ),
            FieldType::Number => (value.is_number(), "a number"),
            FieldType::Boolean => (value.is_boolean(), "true or false"),
            FieldType::Array => (
                value
                    .as_array()
                    .is_some_and(|items| items.iter().all(Value::is_string)),
                "a list of strings",
            ),
        };
        (!fits).then(|| expected.to_owned())
    }
}

fn is_http_url(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "https" | "http")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
    })
}

/// A value cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidValue {
    /// The integration has no such field.
    #[error("{path} is not known; it has {known}")]
    Unknown { path: String, known: String },
    /// Another shape is expected.
    #[error("{path} must be {expected}")]
    Misfit { path: String, expected: String },
}

impl InvalidValue {
    /// Of the value.
    pub(crate) fn path(&self) -> &str {
        match self {
            Self::Unknown { path, .. } | Self::Misfit { path, .. } => path,
        }
    }
}

#[cfg(test)]
mod tests;
