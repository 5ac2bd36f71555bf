//! What this release brings as data: parsed once, at start.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::integrations::{self, Schemas};
use crate::merge::Config;
use crate::policy::Standards;
use crate::templates::{self, Template};

/// The data files of this program, beside those that writes are judged by.
#[derive(Debug)]
pub(crate) struct Shipped {
    pub(crate) templates: Vec<Template>,
    pub(crate) integrations: Schemas,
    /// Agents that the program brings.
    built_in: BTreeSet<String>,
}

impl Shipped {
    /// # Errors
    /// When a shipped file is broken: a fault of the build, which tests keep out.
    pub(crate) fn read(standards: &Standards) -> Result<Self, serde_json::Error> {
        let agents = standards.defaults.get("agents").and_then(Value::as_object);
        let in_defaults = agents.into_iter().flat_map(Config::keys).cloned();
        Ok(Self {
            templates: templates::shipped()?,
            integrations: integrations::shipped()?,
            built_in: standards
                .catalogue
                .agents
                .keys()
                .cloned()
                .chain(in_defaults)
                .collect(),
        })
    }

    /// The shipped template of that name.
    pub(crate) fn template(&self, slug: &str) -> Option<&Template> {
        self.templates.iter().find(|one| one.slug == slug)
    }

    /// Agents that a template switches off unless it brings them.
    pub(crate) fn built_in_agents(&self) -> BTreeSet<&str> {
        self.built_in.iter().map(String::as_str).collect()
    }
}
