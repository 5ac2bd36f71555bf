//! What requests about sources say. A secret in them is repeated nowhere.

use std::collections::BTreeMap;

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Map;
use tocsin_kit::Problem;
use tocsin_wire::OrgId;
use tocsin_wire::source::SourceSettings;
use utoipa::ToSchema;

use super::shape::Settings;
use crate::http::extract::{self, Id};
use crate::http::secrets::{SecretText, quietly, whole};
use crate::ingress::Captured;
use crate::source::{DEFAULT_OLD_EXPIRES_IN_SECONDS, Fault, Rotation, SourceChange, read_settings};

/// Largest body of a captured request: as much as one message takes, written as base64.
const MAX_CAPTURED_BYTES: usize = 512 * 1024;
/// Headers of a captured request, and bytes of each: more than servers let through.
const MAX_CAPTURED_HEADERS: usize = 100;
const MAX_CAPTURED_HEADER_BYTES: usize = 8 * 1024;

/// `…/orgs/{org}/sources/{source}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct SourcePath {
    /// The org.
    #[serde(deserialize_with = "extract::org")]
    #[param(value_type = Id, example = "acme")]
    pub(super) org: OrgId,
    /// Its id.
    #[param(example = "src_0123456789abcdef01234567")]
    pub(super) source: String,
}

/// `…/orgs/{org}/sources/{source}/secrets/{secret}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct SecretPath {
    /// The org.
    #[serde(deserialize_with = "extract::org")]
    #[param(value_type = Id, example = "acme")]
    pub(super) org: OrgId,
    /// Its id.
    #[param(example = "src_0123456789abcdef01234567")]
    pub(super) source: String,
    /// Id of the secret.
    #[param(minimum = 0, example = 1)]
    pub(super) secret: u32,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only of this provider.
    #[param(example = "pagerduty")]
    pub(super) provider: Option<String>,
}

/// A new source.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SourceCreate)]
pub(super) struct Create {
    /// `pagerduty`, `github`, `grafana`, `generic` …: the last part of the URL that the README names for it.
    #[schema(example = "pagerduty")]
    provider: String,
    /// For people; unique per org and provider.
    #[schema(min_length = 1, max_length = 63, example = "production")]
    name: String,
    #[schema(value_type = Option<Settings>)]
    settings: Option<Map<String, serde_json::Value>>,
    /// What the sender signs with, where it chooses that itself.
    #[schema(value_type = Option<String>, write_only, min_length = 1, max_length = 65_536)]
    secret: Option<SecretText>,
}

/// What of a source is to be different.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SourceChange)]
pub(super) struct Change {
    #[schema(min_length = 1, max_length = 63)]
    name: Option<String>,
    /// In place of all that it has.
    #[schema(value_type = Option<Settings>)]
    settings: Option<Map<String, serde_json::Value>>,
    disabled: Option<bool>,
    /// The version that the caller has seen.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = Option<u64>, maximum = 9_007_199_254_740_991_i64)]
    expected_version: Option<u64>,
}

/// Another secret.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SourceRotate)]
pub(super) struct Rotate {
    /// What the sender signs with, where it chooses that itself.
    #[schema(value_type = Option<String>, write_only, min_length = 1, max_length = 65_536)]
    secret: Option<SecretText>,
    /// From when it counts; at once, where nothing is said.
    #[schema(value_type = Option<String>, format = DateTime)]
    not_before: Option<Timestamp>,
    /// Until when it counts; until it is rotated, where nothing is said.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires: Option<Timestamp>,
    /// How long those that count now live on after that: a day, where nothing is said.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = Option<u32>, maximum = 7_776_000)]
    old_expires_in_seconds: Option<u64>,
    /// The version that the caller has seen.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = Option<u64>, maximum = 9_007_199_254_740_991_i64)]
    expected_version: Option<u64>,
}

/// A request as the sender sent it.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SourceTest)]
pub(super) struct TestRequest {
    /// Its headers by name; values of one name are joined with a comma.
    headers: Option<BTreeMap<String, String>>,
    /// Its body, byte for byte, in base64; at most 512 KiB before that.
    body_base64: Option<String>,
    /// When it came. Without it the age of a captured request says nothing about the sender's clock.
    #[schema(value_type = Option<String>, format = DateTime)]
    received_at: Option<Timestamp>,
}

/// [`Create`], read.
pub(super) struct Creation {
    pub(super) provider: String,
    pub(super) name: String,
    pub(super) settings: SourceSettings,
    pub(super) secret: Option<SecretText>,
}

pub(super) fn create(body: &Bytes) -> Result<Creation, Problem> {
    let request: Create = quietly(
        body,
        "{\"provider\": text, \"name\": text, \"settings\"?: object, \"secret\"?: text}",
    )?;
    Ok(Creation {
        settings: read_settings(&request.settings.unwrap_or_default())?,
        provider: request.provider,
        name: request.name,
        secret: request.secret,
    })
}

/// What is to change, and the version that the caller has seen.
pub(super) fn change(body: &Bytes) -> Result<(SourceChange, Option<u64>), Problem> {
    let request: Change = quietly(
        body,
        "{\"name\"?: text, \"settings\"?: object, \"disabled\"?: boolean, \"expected_version\"?: number}",
    )?;
    let settings = request.settings.as_ref().map(read_settings).transpose()?;
    let change = SourceChange {
        name: request.name,
        settings,
        disabled: request.disabled,
    };
    Ok((change, request.expected_version))
}

/// [`Rotate`], read.
pub(super) struct Rotating {
    pub(super) rotation: Rotation,
    pub(super) secret: Option<SecretText>,
    pub(super) expected_version: Option<u64>,
}

pub(super) fn rotation(body: &Bytes) -> Result<Rotating, Problem> {
    let request: Rotate = optional(
        body,
        "{\"secret\"?: text, \"not_before\"?: time, \"expires\"?: time, \"old_expires_in_seconds\"?: number, \
         \"expected_version\"?: number}",
    )?;
    let default = u64::from(DEFAULT_OLD_EXPIRES_IN_SECONDS);
    let old = request.old_expires_in_seconds.unwrap_or(default);
    Ok(Rotating {
        rotation: Rotation {
            not_before: request.not_before,
            expires: request.expires,
            // What does not fit is over the limit in any case.
            old_expires_in_seconds: u32::try_from(old).unwrap_or(u32::MAX),
        },
        secret: request.secret,
        expected_version: request.expected_version,
    })
}

/// A captured request within its limits. Its headers may hold a secret, so none is repeated.
pub(super) fn captured(body: &Bytes) -> Result<Captured, Problem> {
    let request: TestRequest = optional(
        body,
        "{\"headers\"?: {name: text}, \"body_base64\"?: text, \"received_at\"?: time}",
    )?;
    check_headers(request.headers.iter().flatten())?;
    if let Some(text) = &request.body_base64 {
        check_body(text)?;
    }
    Ok(Captured {
        headers: request.headers,
        body_base64: request.body_base64,
        received_at: request.received_at,
    })
}

fn check_headers<'a>(headers: impl Iterator<Item = (&'a String, &'a String)>) -> Result<(), Fault> {
    for (index, (name, value)) in headers.enumerate() {
        let is_name = HeaderName::from_bytes(name.as_bytes()).is_ok();
        if index >= MAX_CAPTURED_HEADERS || !is_name || value.len() > MAX_CAPTURED_HEADER_BYTES {
            return Err(Fault::new(
                "invalid_headers",
                "headers",
                format!(
                    "must be at most {MAX_CAPTURED_HEADERS} HTTP headers of {MAX_CAPTURED_HEADER_BYTES} bytes each"
                ),
            ));
        }
    }
    Ok(())
}

fn check_body(text: &str) -> Result<(), Fault> {
    let fits = STANDARD
        .decode(text)
        .is_ok_and(|bytes| bytes.len() <= MAX_CAPTURED_BYTES);
    if fits {
        return Ok(());
    }
    Err(Fault::new(
        "invalid_body_base64",
        "body_base64",
        format!("must be base64 of at most {MAX_CAPTURED_BYTES} bytes"),
    ))
}

/// An empty body, or null, says nothing.
fn optional<T: serde::de::DeserializeOwned + Default>(
    body: &Bytes,
    shape: &'static str,
) -> Result<T, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    Ok(quietly::<Option<T>>(body, shape)?.unwrap_or_default())
}
