//! The routing lookup as other services and the operator ask it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tocsin_wire::{OrgId, TeamId};

use crate::error::OperationError;
use crate::node;
use crate::pg::Database;
use crate::routing::{self, Asked, Near, Verdict};

/// `{"org_id"?, "identifiers": {type: value}}`
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = LookupQuestion)]
pub(crate) struct Question {
    /// Where only one org comes into question. One that cannot be is a miss like any other.
    #[schema(pattern = ".*")]
    org_id: Option<String>,
    /// Type and value of each.
    #[schema(value_type = Object)]
    identifiers: BTreeMap<String, Value>,
}

/// Who it leads to, and what was tried. A miss is an answer, not an error.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
#[schema(as = LookupReply)]
pub(crate) struct Reply {
    found: bool,
    #[schema(value_type = Option<String>)]
    org_id: Option<OrgId>,
    #[schema(value_type = Option<String>)]
    team_node_id: Option<TeamId>,
    /// Always null: tokens are not handed out here. Clients of the original expect the key.
    team_token: Option<String>,
    matched_by: Option<String>,
    /// As it was sent.
    matched_value: Option<String>,
    /// Types that were looked at, in the order of their priority.
    tried: Vec<String>,
    /// Several orgs claim it, and nothing says which is meant.
    ambiguous: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<String>,
    /// On a miss within a named org: what it has that is similar, nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nearest: Vec<Near>,
}

/// Answers from the index in Postgres.
pub(crate) async fn answer(
    database: &Database,
    question: &Question,
) -> Result<Reply, OperationError> {
    let asked = routing::asked(&question.identifiers);
    let org = match question.org_id.as_deref().map(node::org_id) {
        None => None,
        Some(Ok(org)) => Some(org),
        // An id that no org can have is a miss like that of an org that is not there.
        Some(Err(error)) => {
            let tried = asked.into_iter().map(|asked| asked.identifier.kind);
            return Ok(Reply {
                tried: tried.collect(),
                suggestion: Some(error.to_string()),
                ..Reply::default()
            });
        }
    };
    let owners = database
        .owners(asked.iter().map(|asked| &asked.identifier), org.as_ref())
        .await?;
    let found = routing::lookup(&asked, &owners);
    let nearest = match (&found.verdict, &org) {
        (Verdict::Nobody, Some(org)) if !asked.is_empty() => {
            routing::nearest(&asked, &database.neighbours(org, &asked).await?)
        }
        _ => Vec::new(),
    };
    Ok(reply(found, &asked, nearest))
}

fn reply(found: routing::Found, asked: &[Asked], nearest: Vec<Near>) -> Reply {
    let nobody = Reply {
        tried: found.tried,
        ..Reply::default()
    };
    match found.verdict {
        Verdict::Team { owner, matched } => Reply {
            found: true,
            org_id: Some(owner.org),
            team_node_id: Some(owner.team),
            matched_by: Some(matched.identifier.kind),
            matched_value: Some(matched.sent),
            ..nobody
        },
        Verdict::Ambiguous(asked) => Reply {
            ambiguous: true,
            suggestion: Some(format!(
                "several orgs claim {} {:?}; send org_id, or the installation of one of them (slack_workspace_id, github_installation_id, external_url)",
                asked.identifier.kind, asked.sent
            )),
            ..nobody
        },
        Verdict::Nobody => Reply {
            suggestion: Some(advice(asked, nearest.first())),
            nearest,
            ..nobody
        },
    }
}

fn advice(asked: &[Asked], near: Option<&Near>) -> String {
    match (asked, near) {
        ([], _) => "no identifier of a known type was sent".to_owned(),
        (_, Some(near)) => format!(
            "nobody has any of these; the nearest is {} {:?} of team {}: correct it, or add what was sent to `routing` in the config of the team that owns it",
            near.identifier.kind, near.identifier.value, near.team_node_id
        ),
        (_, None) => {
            "add one of the identifiers to `routing` in the config of the team that owns it"
                .to_owned()
        }
    }
}
