//! The routing lookup as other services and the operator ask it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tocsin_wire::{OrgId, TeamId};

use crate::error::OperationError;
use crate::node;
use crate::pg::Database;
use crate::routing::{self, Verdict};

/// `{"org_id"?, "identifiers": {type: value}}`
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = LookupQuestion)]
pub(crate) struct Question {
    /// Where only one org comes into question.
    org_id: Option<String>,
    /// Type and value of each.
    #[schema(value_type = Object)]
    identifiers: BTreeMap<String, Value>,
}

/// Who it leads to, and what was tried. A miss is an answer, not an error.
#[derive(Debug, Serialize, utoipa::ToSchema)]
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
    matched_value: Option<String>,
    tried: Vec<String>,
    ambiguous: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<String>,
}

/// Answers from the index in Postgres.
pub(crate) async fn answer(
    database: &Database,
    question: &Question,
) -> Result<Reply, OperationError> {
    let org = match &question.org_id {
        Some(org) => Some(node::org_id(org).map_err(crate::decide::Refusal::from)?),
        None => None,
    };
    let asked = routing::asked(&question.identifiers);
    let owners = database
        .owners(asked.iter().map(|asked| &asked.identifier), org.as_ref())
        .await?;
    let found = routing::lookup(&asked, &owners);
    Ok(reply(found))
}

fn reply(found: routing::Found) -> Reply {
    let nobody = Reply {
        found: false,
        org_id: None,
        team_node_id: None,
        team_token: None,
        matched_by: None,
        matched_value: None,
        tried: found.tried,
        ambiguous: false,
        suggestion: None,
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
                "several orgs claim {} {:?}; send org_id, or the slack_workspace_id of one of them",
                asked.identifier.kind, asked.sent
            )),
            ..nobody
        },
        Verdict::Nobody => Reply {
            suggestion: Some(
                "add one of the identifiers to `routing` in the config of the team that owns it"
                    .to_owned(),
            ),
            ..nobody
        },
    }
}
