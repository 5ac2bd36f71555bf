//! Rows and what they mean.

use jiff::Timestamp;
use sqlx::types::{Json, Uuid};
use tocsin_wire::{OrgId, TeamId};

use crate::error::OperationError;
use crate::http::Scope;
use crate::merge::Config;
use crate::node::{Kind, Node, NodeId};
use crate::token::{Holder, Permission, Token};

#[derive(sqlx::FromRow)]
pub(super) struct NodeRow {
    org_id: String,
    node_id: String,
    kind: String,
    parent_id: Option<String>,
    name: String,
    version: i64,
    config: Json<Config>,
    updated_at: jiff_sqlx::Timestamp,
    updated_by: String,
}

impl TryFrom<NodeRow> for Node {
    type Error = OperationError;

    fn try_from(row: NodeRow) -> Result<Self, Self::Error> {
        let corrupt = |why: String| OperationError::corrupt("nodes", why);
        let id = |text: String| NodeId::new(text).map_err(|error| corrupt(error.to_string()));
        Ok(Self {
            org: OrgId::new(row.org_id).map_err(|error| corrupt(error.to_string()))?,
            id: id(row.node_id)?,
            parent: row.parent_id.map(id).transpose()?,
            kind: Kind::parse(&row.kind).ok_or_else(|| corrupt(format!("kind {}", row.kind)))?,
            name: row.name,
            version: version(row.version)?,
            config: row.config.0,
            updated_at: row.updated_at.to_jiff(),
            updated_by: row.updated_by,
        })
    }
}

/// Versions are positive; the schema checks it.
pub(super) fn version(stored: i64) -> Result<u64, OperationError> {
    u64::try_from(stored).map_err(|error| OperationError::corrupt("nodes", error.to_string()))
}

#[derive(sqlx::FromRow)]
pub(super) struct TokenRow {
    token_id: Uuid,
    org_id: String,
    team_id: String,
    kind: String,
    pub(super) hash: Vec<u8>,
    permissions: Vec<String>,
    label: String,
    email: Option<String>,
    issued_at: jiff_sqlx::Timestamp,
    issued_by: String,
    expires_at: Option<jiff_sqlx::Timestamp>,
    revoked_at: Option<jiff_sqlx::Timestamp>,
    last_used_at: Option<jiff_sqlx::Timestamp>,
}

impl TryFrom<TokenRow> for Token {
    type Error = OperationError;

    fn try_from(row: TokenRow) -> Result<Self, Self::Error> {
        let corrupt =
            |error: tocsin_wire::InvalidToken| OperationError::corrupt("tokens", error.to_string());
        let time = |stored: Option<jiff_sqlx::Timestamp>| -> Option<Timestamp> {
            stored.map(jiff_sqlx::Timestamp::to_jiff)
        };
        let org = OrgId::new(row.org_id).map_err(corrupt)?;
        // What this program does not know allows nothing here.
        let allowed = row.permissions.iter().map(String::as_str);
        let holder = if row.kind == "org" {
            Holder::OrgAdmin {
                org,
                scopes: allowed.filter_map(Scope::parse).collect(),
            }
        } else {
            Holder::Team {
                org,
                team: TeamId::new(row.team_id).map_err(corrupt)?,
                permissions: allowed.filter_map(Permission::parse).collect(),
            }
        };
        Ok(Self {
            id: row.token_id,
            holder,
            label: row.label,
            email: row.email,
            issued_at: row.issued_at.to_jiff(),
            issued_by: row.issued_by,
            expires_at: time(row.expires_at),
            revoked_at: time(row.revoked_at),
            last_used_at: time(row.last_used_at),
        })
    }
}
