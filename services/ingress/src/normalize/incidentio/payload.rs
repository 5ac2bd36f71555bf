//! The parts of incident.io's bodies that we read, for all event types in one.

use serde_json::value::RawValue;

use crate::json::{List, Reference, Text, object};
use crate::normalize::read_json;

object! {
    Envelope { "event_type" => event_type: Text<'a> }
}

object! {
    Named { "id" => id: Text<'a>, "name" => name: Text<'a> }
}

object! {
    Status { "name" => name: Text<'a>, "category" => category: Text<'a> }
}

object! {
    Creator {
        "user" => user: Named<'a>,
        "api_key" => api_key: Named<'a>,
        "workflow" => workflow: Named<'a>,
        "alert" => alert: Titled<'a>,
    }
}

object! {
    Titled { "id" => id: Text<'a>, "title" => title: Text<'a> }
}

object! {
    AttributeValue { "literal" => literal: Text<'a>, "catalog_entry" => entry: Named<'a> }
}

impl AttributeValue<'_> {
    /// What the value names: an entry of the catalogue by its id and its name, or a literal. Where both are
    /// given and the literal is not the entry's id, nobody can say what is meant, and what is meant decides
    /// whose alert this is.
    pub(super) fn names(&self) -> [&str; 2] {
        match (self.entry.id.get(), self.literal.get()) {
            (Some(id), literal) if literal.is_none_or(|literal| literal == id) => {
                [id, self.entry.name.text()]
            }
            (None, Some(literal)) => [literal, ""],
            _ => ["", ""],
        }
    }
}

object! {
    Attribute {
        "attribute" => attribute: Named<'a>,
        "value" => value: AttributeValue<'a>,
        "array_value" => values: List<AttributeValue<'a>>,
    }
}

object! {
    Alert { "alert_source_id" => source: Text<'a> }
}

object! {
    /// Whatever stands under the type: the kinds of objects share most of their fields.
    Object {
        "id" => id: Text<'a>,
        "incident_id" => incident_id: Text<'a>,
        "reference" => reference: Text<'a>,
        "name" => name: Text<'a>,
        "title" => title: Text<'a>,
        "summary" => summary: Text<'a>,
        "description" => description: Text<'a>,
        "message" => message: Text<'a>,
        "status" => status: Text<'a>,
        "new_status" => new_status: Option<&'a RawValue>,
        "permalink" => permalink: Text<'a>,
        "source_url" => source_url: Text<'a>,
        "document_url" => document_url: Text<'a>,
        "created_at" => created_at: Text<'a>,
        "updated_at" => updated_at: Text<'a>,
        "alert_source_id" => alert_source_id: Text<'a>,
        "deduplication_key" => deduplication_key: Text<'a>,
        "escalation_path_id" => escalation_path_id: Text<'a>,
        "slack_channel_id" => slack_channel_id: Text<'a>,
        "mode" => mode: Text<'a>,
        "severity" => severity: Named<'a>,
        "priority" => priority: Named<'a>,
        "incident_status" => incident_status: Status<'a>,
        "incident_type" => incident_type: Reference<'a>,
        "actor" => actor: Creator<'a>,
        "creator" => creator: Creator<'a>,
        "attributes" => attributes: List<Attribute<'a>>,
        "related_alerts" => related_alerts: List<Alert<'a>>,
        "team_ids" => team_ids: List<Text<'a>>,
        "incident" => incident: Option<&'a RawValue>,
        "escalation" => escalation: Option<&'a RawValue>,
        "schedule" => schedule: Option<&'a RawValue>,
        "postmortem_document" => postmortem: Option<&'a RawValue>,
    }
}

impl<'a> Object<'a> {
    /// What it is about, where that is one level deeper. Read apart: an object type that holds itself
    /// would take a frame of the stack for each level that somebody sends.
    pub(super) fn wrapped(&self) -> Option<&'a RawValue> {
        let wrapped = [
            self.incident,
            self.escalation,
            self.schedule,
            self.postmortem,
        ];
        wrapped.into_iter().flatten().next()
    }
}

/// What an object became: an incident's status is an object with a category, those of escalations and
/// documents are words.
#[derive(Debug, Default)]
pub(super) struct NewStatus<'a> {
    word: Text<'a>,
    status: Status<'a>,
}

impl<'a> NewStatus<'a> {
    /// Reads the word or the object; neither is there when it is anything else.
    pub(super) fn read(object: &Object<'a>) -> Self {
        let Some(raw) = object.new_status.map(RawValue::get) else {
            return Self::default();
        };
        Self {
            word: read_json(raw).unwrap_or_default(),
            status: read_json(raw).unwrap_or_default(),
        }
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.word.get().or(self.status.name.get())
    }

    /// The category that goes with it. The incident beside it may have been written down before the change:
    /// its category counts where nothing newer is told, or where it is of the same name.
    pub(super) fn category<'b>(&'b self, incident: &'b Status<'_>) -> &'b str {
        let is_current = self.name().is_none_or(|name| name == incident.name.text());
        let of_incident = incident.category.get().filter(|_| is_current);
        self.status
            .category
            .get()
            .or(of_incident)
            .unwrap_or_default()
    }
}
