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

/// The schema, which checks configs.
#[derive(Debug)]
pub(crate) struct Schema {
    text: &'static str,
    /// Made for the first write: a megabyte and more, and many a process only reads.
    compiled: OnceLock<Result<Compiled, String>>,
}

/// Ready to check.
#[derive(Debug)]
struct Compiled {
    document: Value,
    validator: Validator,
}

impl Schema {
    /// The one of this release. Made once, at start.
    pub(crate) fn shipped() -> Self {
        Self::of(SHIPPED)
    }

    fn of(text: &'static str) -> Self {
        Self {
            text,
            compiled: OnceLock::new(),
        }
    }

    /// As it is published.
    ///
    /// # Errors
    /// When the shipped file is broken; a test keeps it whole.
    pub(crate) fn document(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_str(self.text)
    }

    /// What is wrong with the shape of one node's own config.
    pub(crate) fn check(&self, config: &Config) -> Vec<Violation> {
        let Compiled {
            document,
            validator,
        } = match self.compiled() {
            Ok(compiled) => compiled,
            Err(broken) => return vec![*broken],
        };
        let instance = Value::Object(config.clone());
        let errors = validator.iter_errors(&instance);
        errors
            .flat_map(|error| sentence::violations(document, &error))
            .take(MAX_VIOLATIONS)
            .collect()
    }

    /// Says so when nothing can be checked: a fault of the build, for which every write is refused.
    pub(crate) fn broken(&self) -> Option<Violation> {
        self.compiled().err().map(|broken| *broken)
    }

    fn compiled(&self) -> Result<&Compiled, Box<Violation>> {
        let compile = || {
            let document = self.document().map_err(|error| error.to_string())?;
            let validator = compile(&document)?;
            Ok(Compiled {
                document,
                validator,
            })
        };
        let compiled = self.compiled.get_or_init(compile);
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
        Self::of(r#"{ "type": "nonsense" }"#)
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
