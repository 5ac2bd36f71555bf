//! Routing identifiers of a team's config, and which team a set of identifiers leads to. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tocsin_wire::identifier::{IdentifierType, PRIORITY};
use tocsin_wire::{KeyToken, OrgId, TeamId};

use crate::merge::Config;

/// Longest identifier; no provider comes near, and the index takes no more than 2.7 KB.
pub(crate) const MAX_VALUE_CHARS: usize = 512;

/// Tells whose default team counts when several orgs claim one identifier.
const WORKSPACE: &str = "slack_workspace_id";

/// One identifier, normalised.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Identifier {
    /// `slack_channel_id`
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// As it is stored and compared.
    pub(crate) value: String,
}

impl Identifier {
    fn new(kind: &IdentifierType, value: &str) -> Self {
        Self {
            kind: kind.name.to_owned(),
            value: kind.normalise(value),
        }
    }

    /// Key in the bucket `routing`.
    pub(crate) fn key(&self) -> String {
        format!("{}.{}", self.kind, KeyToken::encode(&self.value))
    }
}

/// A team that claims an identifier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    /// Its org.
    pub(crate) org: OrgId,
    /// The team.
    pub(crate) team: TeamId,
}

/// A list under `routing` is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("routing.{list} {why}")]
pub(crate) struct InvalidRouting {
    list: &'static str,
    why: &'static str,
}

/// What a team's own config claims. Other keys under `routing` mean nothing here.
pub(crate) fn claimed(config: &Config) -> Result<BTreeSet<Identifier>, InvalidRouting> {
    let mut identifiers = BTreeSet::new();
    let Some(routing) = config.get("routing").and_then(Value::as_object) else {
        return Ok(identifiers);
    };
    for kind in PRIORITY {
        let invalid = |why| InvalidRouting {
            list: kind.list,
            why,
        };
        let values = match routing.get(kind.list) {
            None | Some(Value::Null) => continue,
            Some(Value::Array(values)) => values,
            Some(_) => return Err(invalid("must be a list of strings")),
        };
        for value in values {
            let text = value
                .as_str()
                .ok_or_else(|| invalid("must hold strings only"))?;
            let identifier = Identifier::new(kind, text);
            if identifier.value.chars().count() > MAX_VALUE_CHARS {
                return Err(invalid("holds a value of more than 512 characters"));
            }
            if !identifier.value.is_empty() {
                identifiers.insert(identifier);
            }
        }
    }
    Ok(identifiers)
}

/// One identifier of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Normalised, to be compared.
    pub(crate) identifier: Identifier,
    /// As it was sent, to be quoted.
    pub(crate) sent: String,
}

/// What of a question can be looked up, most specific first: known types with text that is not
/// empty. A caller that sends more than it knows is not refused.
pub(crate) fn asked(identifiers: &BTreeMap<String, Value>) -> Vec<Asked> {
    PRIORITY
        .iter()
        .filter_map(|kind| {
            let sent = identifiers.get(kind.name)?.as_str()?;
            let identifier = Identifier::new(kind, sent);
            (!identifier.value.is_empty()).then(|| Asked {
                identifier,
                sent: sent.to_owned(),
            })
        })
        .collect()
}

/// Where a question leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Types that were looked at, in order.
    pub(crate) tried: Vec<String>,
    /// Why it ended.
    pub(crate) verdict: Verdict,
}

/// The end of a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// One team.
    Team {
        /// The team.
        owner: Owner,
        /// What decided, with the value as sent.
        matched: Asked,
    },
    /// Several orgs claim this identifier, and nothing says which is meant.
    Ambiguous(Asked),
    /// Nobody claims any of them.
    Nobody,
}

/// Answers a question from the owners of its identifiers.
///
/// The first type that anybody owns decides. Several owners are of different orgs; then the one org
/// that also owns the workspace is meant, and without such a one nobody is: a less specific
/// identifier must not decide what a more specific one left open.
pub(crate) fn lookup(asked: &[Asked], owners: &BTreeMap<Identifier, Vec<Owner>>) -> Found {
    let owners_of = |asked: &Asked| {
        owners
            .get(&asked.identifier)
            .map(Vec::as_slice)
            .unwrap_or_default()
    };
    let workspace_orgs: BTreeSet<&OrgId> = asked
        .iter()
        .filter(|asked| asked.identifier.kind == WORKSPACE)
        .flat_map(&owners_of)
        .map(|owner| &owner.org)
        .collect();
    let mut tried = Vec::new();
    for question in asked {
        tried.push(question.identifier.kind.clone());
        let claims = owners_of(question);
        let narrowed: Vec<&Owner> = claims
            .iter()
            .filter(|owner| claims.len() == 1 || workspace_orgs.contains(&owner.org))
            .collect();
        let verdict = match (claims, narrowed.as_slice()) {
            ([], _) => continue,
            (_, [owner]) => Verdict::Team {
                owner: (*owner).clone(),
                matched: question.clone(),
            },
            _ => Verdict::Ambiguous(question.clone()),
        };
        return Found { tried, verdict };
    }
    Found {
        tried,
        verdict: Verdict::Nobody,
    }
}

#[cfg(test)]
mod tests;
