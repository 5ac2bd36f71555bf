//! One cheap call to the vendor that tells whether the credentials work. Pure: what to send, and
//! what the answer means.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::Integration;
use crate::merge::Config;

/// Letters of a vendor's own words that an answer repeats.
const MAX_VENDOR_TEXT: usize = 200;
/// Rounds in which a default may name another field: `https://api.{site}`.
const NESTING: usize = 2;

/// The call, as the data file describes it; `{name}` stands for the value of a field.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Probe {
    method: String,
    url: String,
    /// Those whose fields are not set are left out. `Basic {user}:{password}` is encoded.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<Value>,
    /// What a good answer says, beyond its status.
    #[serde(default)]
    expect: Option<Expectation>,
    /// Parts of the answer that are worth showing; a pointer that ends in `#` counts.
    #[serde(default)]
    details: BTreeMap<String, String>,
    /// Where the vendor says what is wrong.
    #[serde(default)]
    error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    pointer: String,
    equals: Value,
}

/// The call, ready to be sent. Not `Debug`: it holds secrets.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: String,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Option<Value>,
}

/// There is nothing to be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unready {
    /// No call of this vendor is cheap and telling enough.
    #[error("{0} has no test call; it shows in use whether it works")]
    NoProbe(String),
    /// Something required is not set.
    #[error("set {} first", .0.join(", "))]
    Missing(Vec<String>),
    /// A value does not fit into a request.
    #[error("{0} cannot stand in a request; it may hold a line feed")]
    Unsendable(String),
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) success: bool,
    /// A sentence for people.
    pub(crate) message: String,
    /// What the vendor told.
    pub(crate) details: Config,
}

impl Integration {
    /// The call that these values make, secrets opened.
    pub(crate) fn call(&self, values: &Config) -> Result<Call, Unready> {
        let probe = self
            .test
            .as_ref()
            .ok_or_else(|| Unready::NoProbe(self.name.clone()))?;
        let missing = self.missing(values);
        if !missing.is_empty() {
            return Err(Unready::Missing(
                missing
                    .into_iter()
                    .map(|name| format!("integrations.{}.{name}", self.id))
                    .collect(),
            ));
        }
        let unsendable = |what: &str| Unready::Unsendable(what.to_owned());
        let url = self
            .filled(&probe.url, values)
            .ok_or_else(|| Unready::Missing(self.named_in(&probe.url)))?;
        let mut headers = Vec::new();
        for (name, template) in &probe.headers {
            let Some(value) = self.filled(template, values) else {
                continue;
            };
            let value = match value.strip_prefix("Basic ") {
                Some(pair) => format!("Basic {}", STANDARD.encode(pair)),
                None => value,
            };
            let mut value = HeaderValue::from_str(&value).map_err(|_| unsendable(name))?;
            value.set_sensitive(true);
            let name = HeaderName::try_from(name).map_err(|_| unsendable(name))?;
            headers.push((name, value));
        }
        Ok(Call {
            method: Method::from_bytes(probe.method.as_bytes())
                .map_err(|_| unsendable("method"))?,
            url,
            headers,
            body: probe.body.clone(),
        })
    }

    /// What the vendor's answer says about the credentials. `body`: JSON, or `null` for anything else.
    pub(crate) fn judge(&self, status: StatusCode, body: &Value) -> Verdict {
        let Some(probe) = &self.test else {
            return Verdict {
                success: false,
                message: Unready::NoProbe(self.name.clone()).to_string(),
                details: Config::new(),
            };
        };
        let expected = probe.expect.as_ref().is_none_or(|expected| {
            body.pointer(&expected.pointer).unwrap_or(&Value::Null) == &expected.equals
        });
        let success = status.is_success() && expected;
        let told = probe
            .error
            .as_ref()
            .and_then(|pointer| body.pointer(pointer)?.as_str());
        let told = told.map(|text| text.chars().take(MAX_VENDOR_TEXT).collect::<String>());
        let name = &self.name;
        let message = match (success, told) {
            (true, _) => format!("{name} accepted the credentials"),
            (false, Some(told)) => format!("{name} answered {}: {told}", status.as_u16()),
            (false, None) if matches!(status.as_u16(), 401 | 403) => {
                format!("{name} refused the credentials ({})", status.as_u16())
            }
            (false, None) if status.is_success() => format!("{name} answered, but not as expected"),
            (false, None) => format!("{name} answered {}", status.as_u16()),
        };
        let mut details = Config::new();
        details.insert("status".to_owned(), status.as_u16().into());
        if success {
            details.extend(
                probe
                    .details
                    .iter()
                    .filter_map(|(name, pointer)| Some((name.clone(), part(body, pointer)?))),
            );
        }
        Verdict {
            success,
            message,
            details,
        }
    }

    /// The text with the values of its fields, or their defaults; `None` when one has neither. A
    /// default may name fields in turn, a tenant's value is taken as it is.
    fn filled(&self, template: &str, values: &Config) -> Option<String> {
        self.filled_to(template, values, NESTING)
    }

    fn filled_to(&self, template: &str, values: &Config, nesting: usize) -> Option<String> {
        let mut parts = template.split('{');
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, after) = part.split_once('}')?;
            let own = values.get(name).and_then(Value::as_str).map(str::trim);
            let value = match own.filter(|own| !own.is_empty()) {
                Some(own) => own.to_owned(),
                None => {
                    let default = self.field(name)?.default_value.as_deref()?;
                    self.filled_to(default, values, nesting.checked_sub(1)?)?
                }
            };
            filled.push_str(value.trim_end_matches('/'));
            filled.push_str(after);
        }
        Some(filled)
    }

    /// Fields that decide where the test call goes.
    pub(crate) fn address_fields(&self) -> Vec<&str> {
        let url = self.test.as_ref().map(|probe| probe.url.as_str());
        let mut fields: Vec<&str> = names(url.unwrap_or_default()).collect();
        // Those that a default names in turn.
        for nested in 0..fields.len() {
            let default = fields.get(nested).and_then(|name| self.field(name));
            let default = default.and_then(|field| field.default_value.as_deref());
            fields.extend(names(default.unwrap_or_default()));
        }
        fields
    }

    fn named_in(&self, template: &str) -> Vec<String> {
        names(template)
            .map(|name| format!("integrations.{}.{name}", self.id))
            .collect()
    }
}

/// The fields that a template names.
fn names(template: &str) -> impl Iterator<Item = &str> {
    let parts = template.split('{').skip(1);
    parts.filter_map(|part| Some(part.split_once('}')?.0))
}

fn part(body: &Value, pointer: &str) -> Option<Value> {
    match pointer.strip_suffix('#') {
        Some(list) => Some(body.pointer(list)?.as_array()?.len().into()),
        None => match body.pointer(pointer)? {
            Value::String(text) => {
                Some(Value::String(text.chars().take(MAX_VENDOR_TEXT).collect()))
            }
            Value::Null => None,
            other => Some(other.clone()),
        },
    }
}
