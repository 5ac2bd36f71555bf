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
        .flat_map(|workspace| owners_of(workspace))
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
mod tests {
    use serde_json::json;

    use super::*;

    fn identifier(kind: &str, value: &str) -> Identifier {
        Identifier {
            kind: kind.to_owned(),
            value: value.to_owned(),
        }
    }

    fn owner(org: &str, team: &str) -> Owner {
        Owner {
            org: OrgId::new(org).expect("id"),
            team: TeamId::new(team).expect("id"),
        }
    }

    #[test]
    fn a_config_claims_what_its_lists_hold() {
        let config = json!({"routing": {
            "slack_channel_ids": [" C1 ", "C1", "c1", ""],
            "github_repos": ["Acme/API", "acme/api"],
            "services": null,
            "auto": true,
            "other_ids": ["x"],
        }});
        let claims = claimed(config.as_object().expect("object")).expect("valid");
        let expected = [
            identifier("github_repo", "acme/api"),
            identifier("slack_channel_id", "C1"),
            identifier("slack_channel_id", "c1"),
        ];
        assert_eq!(claims.into_iter().collect::<Vec<_>>(), expected);
        assert_eq!(expected[0].key(), "github_repo.acme=2Fapi");
    }

    #[test]
    fn lists_that_are_none_are_refused_by_name() {
        for (routing, expected) in [
            (
                json!({"services": "api"}),
                "routing.services must be a list of strings",
            ),
            (
                json!({"services": [1]}),
                "routing.services must hold strings only",
            ),
            (
                json!({"services": ["x".repeat(513)]}),
                "routing.services holds a value of more than 512 characters",
            ),
        ] {
            let config = json!({"routing": routing});
            let error = claimed(config.as_object().expect("object")).expect_err("invalid");
            assert_eq!(error.to_string(), expected);
        }
        let none = json!({"routing": []});
        assert_eq!(
            claimed(none.as_object().expect("object")),
            Ok(BTreeSet::new())
        );
    }

    #[test]
    fn the_most_specific_identifier_decides() {
        let owners = BTreeMap::from([
            (
                identifier("slack_channel_id", "C1"),
                vec![owner("acme", "pay")],
            ),
            (
                identifier("slack_channel_id", "C2"),
                vec![owner("acme", "pay"), owner("umbrella", "ops")],
            ),
            (
                identifier("slack_workspace_id", "T1"),
                vec![owner("acme", "default")],
            ),
            (
                identifier("slack_workspace_id", "T2"),
                vec![owner("acme", "default"), owner("umbrella", "default")],
            ),
            (
                identifier("github_repo", "acme/api"),
                vec![owner("acme", "api")],
            ),
        ]);
        for (sent, expected, tried) in [
            (
                json!({"github_repo":"Acme/API","slack_channel_id":"C1"}),
                "acme/pay by slack_channel_id=C1",
                1,
            ),
            (
                json!({"github_repo":"Acme/API","slack_channel_id":"C9"}),
                "acme/api by github_repo=Acme/API",
                2,
            ),
            (
                json!({"slack_channel_id":"C9","slack_workspace_id":"T1"}),
                "acme/default by slack_workspace_id=T1",
                2,
            ),
            (
                json!({"slack_channel_id":"C2","slack_workspace_id":"T1"}),
                "acme/pay by slack_channel_id=C2",
                1,
            ),
            (
                json!({"slack_channel_id":"C2","slack_workspace_id":"T2"}),
                "ambiguous slack_channel_id",
                1,
            ),
            (
                json!({"slack_channel_id":"C2","github_repo":"acme/api"}),
                "ambiguous slack_channel_id",
                1,
            ),
            (
                json!({"slack_channel_id":"c1","email_domain":"acme.com","service":7,"github_repo":""}),
                "nobody",
                1,
            ),
            (json!({}), "nobody", 0),
        ] {
            let sent: BTreeMap<String, Value> = serde_json::from_value(sent).expect("map");
            let found = lookup(&asked(&sent), &owners);
            let verdict = match found.verdict {
                Verdict::Team { owner, matched } => format!(
                    "{}/{} by {}={}",
                    owner.org, owner.team, matched.identifier.kind, matched.sent
                ),
                Verdict::Ambiguous(asked) => format!("ambiguous {}", asked.identifier.kind),
                Verdict::Nobody => "nobody".to_owned(),
            };
            assert_eq!(
                (verdict.as_str(), found.tried.len()),
                (expected, tried),
                "{sent:?}"
            );
        }
    }
}
