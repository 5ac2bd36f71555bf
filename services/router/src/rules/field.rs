//! Fields of events that a team may name in its config.

use std::borrow::Cow;

use tocsin_wire::proto::{Event, Severity};

/// A field of an event: `correlation_key`, `provider`, `source`, `kind`, `action`, `severity`, `title`,
/// `attributes.<name>` or `identifiers.<type>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    name: String,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    CorrelationKey,
    Provider,
    Source,
    Kind,
    Action,
    Severity,
    Title,
    Attribute(String),
    Identifier(String),
}

impl Field {
    /// `None` for a name that no event has; config refuses those when they are saved.
    pub(super) fn read(name: &str) -> Option<Self> {
        let place = match name {
            "correlation_key" => Place::CorrelationKey,
            "provider" => Place::Provider,
            "source" => Place::Source,
            "kind" => Place::Kind,
            "action" => Place::Action,
            "severity" => Place::Severity,
            "title" => Place::Title,
            other => match other.split_once('.')? {
                ("attributes", name) => Place::Attribute(name.to_owned()),
                ("identifiers", kind) => Place::Identifier(kind.to_owned()),
                _ => return None,
            },
        };
        let name = name.to_owned();
        Some(Self { name, place })
    }

    /// What joins firing, resolved and repeats of one alert, as its provider tells.
    pub(crate) fn correlation_key() -> Self {
        Self {
            name: "correlation_key".to_owned(),
            place: Place::CorrelationKey,
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The event's value; `None` when it has none. Of several identifiers of one type the first counts.
    #[must_use]
    pub fn of<'a>(&self, event: &'a Event) -> Option<Cow<'a, str>> {
        let value = match &self.place {
            Place::CorrelationKey => event.correlation_key.as_str(),
            Place::Provider => &event.provider,
            Place::Source => &event.source_id,
            Place::Kind => &event.kind,
            Place::Action => &event.action,
            Place::Title => &event.title,
            Place::Severity => severity(event.severity()),
            Place::Attribute(name) => event.attributes.get(name)?,
            Place::Identifier(kind) => {
                let mut identifiers = event.identifiers.iter();
                &identifiers.find(|one| one.r#type == *kind)?.value
            }
        };
        (!value.trim().is_empty()).then_some(Cow::Borrowed(value))
    }
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::High => "high",
        Severity::Medium => "medium",
        Severity::Low => "low",
        Severity::Info => "info",
        Severity::Unspecified => "",
    }
}
