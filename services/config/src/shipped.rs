//! What this release brings as data: parsed once, when somebody first asks.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde_json::Value;

use crate::integrations::{self, Schemas};
use crate::merge::Config;
use crate::policy::Standards;
use crate::templates::{self, Template};

/// Holds them from then on. Few processes are ever asked, and all of them would hold half a megabyte.
#[derive(Debug, Default)]
pub(crate) struct OnceShipped(OnceLock<Shipped>);

impl OnceShipped {
    /// # Errors
    /// As [`Shipped::read`].
    pub(crate) fn get(&self, standards: &Standards) -> Result<&Shipped, serde_json::Error> {
        if let Some(shipped) = self.0.get() {
            return Ok(shipped);
        }
        let shipped = Shipped::read(standards)?;
        Ok(self.0.get_or_init(|| shipped))
    }
}

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
    fn read(standards: &Standards) -> Result<Self, serde_json::Error> {
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
