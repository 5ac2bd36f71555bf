//! The shape of a config: a JSON Schema (2020-12) as a data file, older shapes brought to it, and
//! its errors as sentences. Pure.

mod cron;
mod normalise;
mod sentence;

use std::sync::OnceLock;

use jsonschema::{Draft, Validator};
use serde_json::Value;

pub(crate) use cron::{is_cron, is_time_zone, is_timestamp};
pub(crate) use normalise::normalised;
pub(crate) use tocsin_expr::nearest;

use crate::merge::Config;
use crate::policy::{Path, Rule, Violation};

/// Reviewed as a data file, shipped inside the binary, published as it is.
const SHIPPED: &str = include_str!("schema/config.schema.json");

/// Faults of one config that are told at once; more of them only hide the first.
const MAX_VIOLATIONS: usize = 50;

/// The shipped schema is no JSON: a fault of the build.
#[derive(Debug, thiserror::Error)]
#[error("the config schema in this program is not JSON")]
pub struct SchemaError(#[source] serde_json::Error);

/// The schema, ready to check.
#[derive(Debug)]
pub(crate) struct Schema {
    document: Value,
    /// Compiled for the first write: a megabyte and more, and many a process only reads.
    validator: OnceLock<Result<Validator, String>>,
}

impl Schema {
    /// The one of this release. Made once, at start.
    ///
    /// # Errors
    /// When the shipped file is broken; a test keeps it whole.
    pub(crate) fn shipped() -> Result<Self, SchemaError> {
        Ok(Self {
            document: serde_json::from_str(SHIPPED).map_err(SchemaError)?,
            validator: OnceLock::new(),
        })
    }

    /// As it is published.
    pub(crate) fn document(&self) -> &Value {
        &self.document
    }

    /// What is wrong with the shape of one node's own config.
    pub(crate) fn check(&self, config: &Config) -> Vec<Violation> {
        let validator = match self.validator() {
            Ok(validator) => validator,
            Err(broken) => return vec![*broken],
        };
        let instance = Value::Object(config.clone());
        let errors = validator.iter_errors(&instance);
        errors
            .flat_map(|error| sentence::violations(&self.document, &error))
            .take(MAX_VIOLATIONS)
            .collect()
    }

    /// Says so when nothing can be checked: a fault of the build, for which every write is refused.
    pub(crate) fn broken(&self) -> Option<Violation> {
        self.validator().err().map(|broken| *broken)
    }

    fn validator(&self) -> Result<&Validator, Box<Violation>> {
        let compiled = self.validator.get_or_init(|| compile(&self.document));
        compiled.as_ref().map_err(|error| {
            let message = format!("the config schema in this program is broken: {error}");
            let expected = "checked by a schema that is whole";
            let root = Path::default();
            let violation = Violation::saying(Rule::NotAllowed, &root, expected, message);
            Box::new(violation)
        })
    }

    /// One that can check nothing.
    #[cfg(test)]
    pub(crate) fn broken_one() -> Self {
        Self {
            document: serde_json::json!({ "type": "nonsense" }),
            validator: OnceLock::new(),
        }
    }
}

fn compile(document: &Value) -> Result<Validator, String> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_format("cron", is_cron)
        .with_format("time-zone", is_time_zone)
        .with_format("timestamp", is_timestamp)
        .should_validate_formats(true)
        .build(document)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
