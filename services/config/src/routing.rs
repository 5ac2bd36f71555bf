//! Routing identifiers: what a config claims, and which team a set of identifiers leads to. Pure.
//!
//! A team's own `routing` lists lead to it. What a unit or org lists leads to the team that it names in
//! `routing.default_team`, which must hang below it; lists without that name are refused. So a claim
//! never depends on how many teams there happen to be: creating a team cannot take another's alerts
//! away, and who is responsible can be read in one place. An identifier has one owner per org,
//! whichever nodes list it.

mod nearest;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tocsin_wire::identifier::{INSTALLATIONS, IdentifierType, PRIORITY};
use tocsin_wire::{KeyToken, OrgId, TeamId};

use crate::merge::Config;
use crate::node::{self, Kind, NodeId};

pub(crate) use nearest::{Candidate, Near, nearest};

/// The team to which the identifiers of a unit or org lead.
const DEFAULT_TEAM: &str = "default_team";

/// Longest identifier; no provider comes near, and the index takes no more than 2.7 KB.
pub(crate) const MAX_VALUE_CHARS: usize = 512;

/// One identifier, normalised.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[schema(as = RoutingIdentifier)]
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

/// A claim as it is kept, for those who meet it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The team that it leads to.
    pub(crate) owner: Owner,
    /// The node whose config lists it.
    pub(crate) source: NodeId,
    /// Who set it, and when.
    pub(crate) by: String,
    /// See [`Claim::by`].
    pub(crate) at: Timestamp,
}

/// Something under `routing` is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("routing.{key} {why}")]
pub(crate) struct InvalidRouting {
    pub(crate) key: &'static str,
    pub(crate) why: &'static str,
}

/// What a node's own config claims; whom it leads to says [`default_team`].
pub(crate) fn claimed(kind: Kind, config: &Config) -> Result<BTreeSet<Identifier>, InvalidRouting> {
    let claims = listed(config)?;
    let named = default_team(config)?;
    if kind != Kind::Team && !claims.is_empty() && named.is_none() {
        return Err(InvalidRouting {
            key: DEFAULT_TEAM,
            why: "must name a team below this node, because the node lists identifiers: they lead to that team; or list them in a team's own config",
        });
    }
    Ok(claims)
}

/// The team that a unit or org names; what a team's own config says there means nothing.
pub(crate) fn default_team(config: &Config) -> Result<Option<TeamId>, InvalidRouting> {
    let invalid = InvalidRouting {
        key: DEFAULT_TEAM,
        why: "must be the id of a team below this node",
    };
    let routing = config.get("routing").and_then(Value::as_object);
    match routing.and_then(|routing| routing.get(DEFAULT_TEAM)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) => match node::node_id(id) {
            Ok(team) => Ok(Some(team)),
            Err(_) => Err(invalid),
        },
        Some(_) => Err(invalid),
    }
}

/// The identifiers in the lists. Other keys under `routing` mean nothing here.
fn listed(config: &Config) -> Result<BTreeSet<Identifier>, InvalidRouting> {
    let mut identifiers = BTreeSet::new();
    let Some(routing) = config.get("routing").and_then(Value::as_object) else {
        return Ok(identifiers);
    };
    for kind in PRIORITY {
        let invalid = |why| InvalidRouting {
            key: kind.list,
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
/// that also owns the installation (a Slack workspace, a Jira site) is meant, and without such a one nobody is: a less specific
/// identifier must not decide what a more specific one left open.
pub(crate) fn lookup(asked: &[Asked], owners: &BTreeMap<Identifier, Vec<Owner>>) -> Found {
    let owners_of = |asked: &Asked| {
        owners
            .get(&asked.identifier)
            .map(Vec::as_slice)
            .unwrap_or_default()
    };
    let installed: BTreeSet<&OrgId> = asked
        .iter()
        .filter(|asked| INSTALLATIONS.contains(&asked.identifier.kind.as_str()))
        .flat_map(&owners_of)
        .map(|owner| &owner.org)
        .collect();
    let mut tried = Vec::new();
    for question in asked {
        tried.push(question.identifier.kind.clone());
        let claims = owners_of(question);
        let narrowed: Vec<&Owner> = claims
            .iter()
            .filter(|owner| claims.len() == 1 || installed.contains(&owner.org))
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
