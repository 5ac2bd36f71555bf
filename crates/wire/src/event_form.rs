//! An event as JSON, for people and for rules: what it says, without its body, headers and keys.
//!
//! [`EventForm`] is how an event is shown and asked about; [`values`] is what a team's rules are
//! evaluated over, and [`names`] are the names that they may use.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::identifier::{PRIORITY, normalise};
use crate::proto::{
    Actor, ActorKind, Conversation, Event, EventStatus, Identifier, Severity as Severe,
};
use crate::time;

/// Identifiers of one event; a real one has a handful.
pub const MAX_IDENTIFIERS: usize = 100;

/// Longest text that rules see, in bytes; what follows is cut off, so that a rule's time is bounded.
pub const MAX_RULE_TEXT_BYTES: usize = 16 * 1024;

/// What rules may use beside `identifiers.<type>`; empty where an event does not have it.
const NAMES: &[&str] = &[
    "provider",
    "source",
    "kind",
    "action",
    "native_type",
    "title",
    "text",
    "severity",
    "severity_native",
    "status",
    "url",
    "actor.kind",
    "actor.id",
    "actor.name",
    "conversation.workspace",
    "conversation.channel",
    "conversation.thread",
    "correlation_key",
    "occurred_at",
    "attributes.*",
    "all_identifiers.*",
];

/// An event as JSON. What is empty is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventForm {
    /// `slack`, `github` …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub provider: String,
    /// The configured source, or `shared`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Whose source it is; empty for a shared one. With it, only this organisation's teams may have the event.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub org: String,
    /// The team that has what nothing else in the event routes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub default_team: String,
    /// Our token for what it tells of: `incident_triggered`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The provider's sub-type: `opened`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub action: String,
    /// The provider's name for its kind: `incident.triggered`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub native_type: String,
    /// One line.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// What was said, or the description.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// info, low, medium, high, critical.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub severity: String,
    /// As the provider has it: `P1`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub severity_native: String,
    /// info, firing, acknowledged, resolved.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// Where to read more.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Who caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<ActorForm>,
    /// Where people talk about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationForm>,
    /// By type: one value, or a list of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub identifiers: BTreeMap<String, OneOrMore>,
    /// Joins alerts that tell of one thing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub correlation_key: String,
    /// RFC 3339.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub occurred_at: String,
    /// When ingress took it, RFC 3339: what silences and windows are judged by.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub received_at: String,
    /// Facts that only this provider has.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// One value, or several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    /// `"C1"`
    One(String),
    /// `["C1", "C2"]`
    More(Vec<String>),
}

/// Who caused an event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ActorForm {
    /// user, bot, app, system; a user when it is left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The provider's id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// As people know them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// Where people talk about an event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConversationForm {
    /// The provider's id of the workspace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub workspace: String,
    /// Of the channel in it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub channel: String,
    /// Of the thread in that.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub thread: String,
    /// Of the message in that.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// A form that tells of no possible event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEventForm {
    /// A word that none of ours is.
    #[error("{field} {found:?} is none of {known}")]
    Word {
        /// Where.
        field: &'static str,
        /// What stands there.
        found: String,
        /// What may.
        known: String,
    },
    /// A time that is none.
    #[error("{field} {found:?} is no time such as 2026-01-31T12:00:00Z")]
    Time {
        /// Where.
        field: &'static str,
        /// What stands there.
        found: String,
    },
    /// More identifiers than any event has.
    #[error("{0} identifiers; at most {MAX_IDENTIFIERS} are allowed")]
    Identifiers(usize),
}

/// Both ways between a value and its word.
trait Word: Copy + PartialEq + Sized + 'static {
    const FIELD: &'static str;
    const WORDS: &'static [(Self, &'static str)];

    fn word(self) -> &'static str {
        let known = Self::WORDS.iter().find(|(value, _)| *value == self);
        known.map_or("", |(_, word)| *word)
    }

    fn read(word: &str) -> Result<Self, InvalidEventForm> {
        let known = Self::WORDS.iter().find(|(_, known)| *known == word);
        known.map(|(value, _)| *value).ok_or_else(|| {
            let words: Vec<&str> = Self::WORDS
                .iter()
                .map(|(_, word)| *word)
                .filter(|word| !word.is_empty())
                .collect();
            InvalidEventForm::Word {
                field: Self::FIELD,
                found: word.to_owned(),
                known: words.join(", "),
            }
        })
    }
}

impl Word for ActorKind {
    const FIELD: &'static str = "actor.kind";
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Unspecified, ""),
        (Self::User, "user"),
        (Self::Bot, "bot"),
        (Self::App, "app"),
        (Self::System, "system"),
    ];
}

impl Word for Severe {
    const FIELD: &'static str = "severity";
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Unspecified, ""),
        (Self::Info, "info"),
        (Self::Low, "low"),
        (Self::Medium, "medium"),
        (Self::High, "high"),
        (Self::Critical, "critical"),
    ];
}

impl Word for EventStatus {
    const FIELD: &'static str = "status";
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Unspecified, ""),
        (Self::Info, "info"),
        (Self::Firing, "firing"),
        (Self::Acknowledged, "acknowledged"),
        (Self::Resolved, "resolved"),
    ];
}

impl From<&Event> for EventForm {
    fn from(event: &Event) -> Self {
        let mut identifiers: BTreeMap<String, OneOrMore> = BTreeMap::new();
        for Identifier { r#type, value } in &event.identifiers {
            let value = value.clone();
            match identifiers.get_mut(r#type) {
                None => {
                    identifiers.insert(r#type.clone(), OneOrMore::One(value));
                }
                Some(OneOrMore::More(values)) => values.push(value),
                Some(one @ OneOrMore::One(_)) => {
                    let values = one.values().map(str::to_owned).chain([value]).collect();
                    *one = OneOrMore::More(values);
                }
            }
        }
        let attributes = event.attributes.iter();
        Self {
            provider: event.provider.clone(),
            source: event.source_id.clone(),
            org: event.org.clone(),
            default_team: event.default_team.clone(),
            kind: event.kind.clone(),
            action: event.action.clone(),
            native_type: event.native_type.clone(),
            title: event.title.clone(),
            text: event.text.clone(),
            severity: event.severity().word().to_owned(),
            severity_native: event.severity_native.clone(),
            status: event.status().word().to_owned(),
            url: event.url.clone(),
            actor: event.actor.as_ref().map(|actor| ActorForm {
                kind: actor.kind().word().to_owned(),
                id: actor.id.clone(),
                name: actor.name.clone(),
            }),
            conversation: event.conversation.as_ref().map(|place| ConversationForm {
                workspace: place.workspace.clone(),
                channel: place.channel.clone(),
                thread: place.thread.clone(),
                message: place.message.clone(),
            }),
            identifiers,
            correlation_key: event.correlation_key.clone(),
            occurred_at: occurred_at(event),
            received_at: written(event.received_at.as_ref()),
            attributes: attributes
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        }
    }
}

impl EventForm {
    /// With texts no longer than rules see them.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let texts = [&mut self.title, &mut self.text, &mut self.url];
        for text in texts.into_iter().chain(self.attributes.values_mut()) {
            let end = cut(text).len();
            text.truncate(end);
        }
        self
    }
}

impl OneOrMore {
    fn values(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::More(values) => values.as_slice(),
        }
        .iter()
        .map(String::as_str)
    }
}

impl TryFrom<EventForm> for Event {
    type Error = InvalidEventForm;

    fn try_from(form: EventForm) -> Result<Self, InvalidEventForm> {
        let identifiers: Vec<Identifier> = form
            .identifiers
            .iter()
            .flat_map(|(name, values)| {
                values.values().map(|value| Identifier {
                    r#type: name.clone(),
                    value: value.to_owned(),
                })
            })
            .collect();
        if identifiers.len() > MAX_IDENTIFIERS {
            return Err(InvalidEventForm::Identifiers(identifiers.len()));
        }
        let occurred_at = read_time("occurred_at", &form.occurred_at)?;
        let received_at = read_time("received_at", &form.received_at)?;
        let actor = match form.actor {
            None => None,
            Some(actor) => Some(Actor {
                kind: match actor.kind.as_str() {
                    "" => ActorKind::User,
                    word => ActorKind::read(word)?,
                }
                .into(),
                id: actor.id,
                name: actor.name,
            }),
        };
        Ok(Self {
            provider: form.provider,
            source_id: form.source,
            org: form.org,
            default_team: form.default_team,
            kind: form.kind,
            action: form.action,
            native_type: form.native_type,
            title: form.title,
            text: form.text,
            severity: Severe::read(&form.severity)?.into(),
            severity_native: form.severity_native,
            status: EventStatus::read(&form.status)?.into(),
            url: form.url,
            actor,
            conversation: form.conversation.map(|place| Conversation {
                workspace: place.workspace,
                channel: place.channel,
                thread: place.thread,
                message: place.message,
            }),
            identifiers,
            correlation_key: form.correlation_key,
            occurred_at,
            received_at,
            attributes: form.attributes.into_iter().collect(),
            ..Self::default()
        })
    }
}

fn read_time(
    field: &'static str,
    text: &str,
) -> Result<Option<prost_types::Timestamp>, InvalidEventForm> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse() {
        Ok(at) => Ok(Some(time::to_proto(at))),
        Err(_not_a_time) => {
            let found = text.to_owned();
            Err(InvalidEventForm::Time { field, found })
        }
    }
}

fn occurred_at(event: &Event) -> String {
    written(event.occurred_at.as_ref())
}

fn written(at: Option<&prost_types::Timestamp>) -> String {
    let at = at.and_then(time::from_proto);
    at.map(|at| at.to_string()).unwrap_or_default()
}

/// The names that a team's rules may use, dotted; `attributes.*` stands for any attribute.
pub fn names() -> impl Iterator<Item = String> {
    let identifiers = PRIORITY
        .iter()
        .map(|known| format!("identifiers.{}", known.name));
    NAMES
        .iter()
        .map(|name| (*name).to_owned())
        .chain(identifiers)
}

/// What a team's rules are evaluated over. Every name has a text, empty where the event does not have
/// it; `identifiers.<type>` is the first value of a type that routes, as routing compares it, and
/// `all_identifiers.<type>` a list of all values of any type that it has. Only attributes that the
/// event has are there.
pub fn values(event: &Event) -> Value {
    let actor = event.actor.as_ref();
    let place = event.conversation.as_ref();
    let mut all: Map<String, Value> = Map::new();
    for Identifier { r#type, value } in event.identifiers.iter().take(MAX_IDENTIFIERS) {
        let list = all.entry(r#type.clone()).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(normalise(r#type, value).into());
        }
    }
    let identifiers: Map<String, Value> = PRIORITY
        .iter()
        .map(|known| {
            let first = all.get(known.name).and_then(|values| values.get(0));
            let first = first.cloned().unwrap_or_else(|| "".into());
            (known.name.to_owned(), first)
        })
        .collect();
    let attributes: Map<String, Value> = event
        .attributes
        .iter()
        .map(|(name, value)| (name.clone(), cut(value).into()))
        .collect();
    json!({
        "provider": event.provider,
        "source": event.source_id,
        "kind": event.kind,
        "action": event.action,
        "native_type": event.native_type,
        "title": cut(&event.title),
        "text": cut(&event.text),
        "severity": event.severity().word(),
        "severity_native": event.severity_native,
        "status": event.status().word(),
        "url": cut(&event.url),
        "actor": {
            "kind": actor.map_or("", |actor| actor.kind().word()),
            "id": actor.map_or("", |actor| &actor.id),
            "name": actor.map_or("", |actor| &actor.name),
        },
        "conversation": {
            "workspace": place.map_or("", |place| &place.workspace),
            "channel": place.map_or("", |place| &place.channel),
            "thread": place.map_or("", |place| &place.thread),
        },
        "correlation_key": event.correlation_key,
        "occurred_at": occurred_at(event),
        "identifiers": identifiers,
        "all_identifiers": all,
        "attributes": attributes,
    })
}

/// The beginning of a long text.
fn cut(text: &str) -> &str {
    let end = text.floor_char_boundary(MAX_RULE_TEXT_BYTES);
    text.get(..end).unwrap_or(text)
}

#[cfg(test)]
mod tests;
