//! The shape of a config: a JSON Schema (2020-12) as a data file, older shapes brought to it, and
//! its errors as sentences. Pure.

mod cron;
mod normalise;
mod sentence;

use jsonschema::{Draft, Validator};
use serde_json::Value;

pub(crate) use cron::{is_cron, is_time_zone, is_timestamp};
pub(crate) use normalise::normalised;
pub(crate) use tocsin_expr::nearest;

use crate::merge::Config;
use crate::policy::Violation;

/// Reviewed as a data file, shipped inside the binary, published as it is.
const SHIPPED: &str = include_str!("schema/config.schema.json");

/// Faults of one config that are told at once; more of them only hide the first.
const MAX_VIOLATIONS: usize = 50;

/// The shipped schema cannot be used: a fault of the build.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// It is no JSON.
    #[error("the config schema in this program is not JSON")]
    Json(#[source] serde_json::Error),
    /// It is no JSON Schema.
    #[error("the config schema in this program is not a JSON Schema: {0}")]
    Schema(String),
}

/// The schema, ready to check.
#[derive(Debug)]
pub(crate) struct Schema {
    document: Value,
    validator: Validator,
}

impl Schema {
    /// The one of this release. Made once, at start.
    ///
    /// # Errors
    /// When the shipped file is broken; a test keeps it whole.
    pub(crate) fn shipped() -> Result<Self, SchemaError> {
        let document: Value = serde_json::from_str(SHIPPED).map_err(SchemaError::Json)?;
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_format("cron", is_cron)
            .with_format("time-zone", is_time_zone)
            .with_format("timestamp", is_timestamp)
            .should_validate_formats(true)
            .build(&document)
            .map_err(|error| SchemaError::Schema(error.to_string()))?;
        Ok(Self {
            document,
            validator,
        })
    }

    /// As it is published.
    pub(crate) fn document(&self) -> &Value {
        &self.document
    }

    /// What is wrong with the shape of one node's own config.
    pub(crate) fn check(&self, config: &Config) -> Vec<Violation> {
        let instance = Value::Object(config.clone());
        let errors = self.validator.iter_errors(&instance);
        errors
            .flat_map(|error| sentence::violations(&self.document, &error))
            .take(MAX_VIOLATIONS)
            .collect()
    }
}

#[cfg(test)]
mod tests;
