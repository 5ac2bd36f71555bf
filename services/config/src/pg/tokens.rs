//! Tokens of teams.

use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::types::Uuid;
use tocsin_store::{Isolation, Tx, outbox};
use tocsin_wire::{OrgId, TeamId};

use super::rows::TokenRow;
use super::writes::Author;
use super::{Database, MAX_LIST, nodes};
use crate::change::{Change, What};
use crate::decide::Refusal;
use crate::error::OperationError;
use crate::node::Node;
use crate::token::{Permission, Token};

/// How exact `last_used_at` is: writing it on every request would make reads cost a write.
const LAST_USED_STEP: Duration = Duration::from_secs(300);

/// A token that is to be stored.
#[derive(Debug, Clone)]
pub(crate) struct NewToken {
    pub(crate) id: Uuid,
    pub(crate) hash: Vec<u8>,
    pub(crate) permissions: Vec<Permission>,
    pub(crate) label: String,
    pub(crate) expires_at: Option<Timestamp>,
}

impl Database {
    /// Stores a token of a team.
    pub(crate) async fn issue_token(
        &self,
        org: &OrgId,
        team: &TeamId,
        new: &NewToken,
        author: &Author,
    ) -> Result<(), OperationError> {
        self.store
            .run_tx_with("issue_token", Isolation::ReadCommitted, |tx| {
                Box::pin(async move {
                    let node = nodes::lock(tx, org, team).await?;
                    nodes::must_be_team(&node)?;
                    insert(tx, &node, new, author).await?;
                    announce(tx, &node, What::TokenIssued, new.id, author).await
                })
            })
            .await
    }

    /// Ends a token of a team; one that has ended already stays as it is.
    pub(crate) async fn revoke_token(
        &self,
        org: &OrgId,
        team: &TeamId,
        id: Uuid,
        author: &Author,
    ) -> Result<(), OperationError> {
        self.store
            .run_tx_with("revoke_token", Isolation::ReadCommitted, |tx| {
                Box::pin(async move {
                    let node = nodes::lock(tx, org, team).await?;
                    if revoke(tx, &node, id, author.at).await? {
                        announce(tx, &node, What::TokenRevoked, id, author).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Tokens of a team, newest first.
    pub(crate) async fn tokens(
        &self,
        org: &OrgId,
        team: &TeamId,
    ) -> Result<Vec<Token>, OperationError> {
        self.team(org, team).await?;
        let rows: Vec<TokenRow> = sqlx::query_as(
            "select token_id, org_id, team_id, hash, permissions, label, issued_at, issued_by, \
                    expires_at, revoked_at, last_used_at \
             from tokens where org_id = $1 and team_id = $2 order by issued_at desc, token_id desc limit $3",
        )
        .bind(org.as_str())
        .bind(team.as_str())
        .bind(MAX_LIST)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("list tokens"))?;
        rows.into_iter().map(Token::try_from).collect()
    }

    /// A token and its hash.
    pub(crate) async fn token(&self, id: Uuid) -> Result<Option<(Token, Vec<u8>)>, OperationError> {
        let row: Option<TokenRow> = sqlx::query_as(
            "select token_id, org_id, team_id, hash, permissions, label, issued_at, issued_by, \
                    expires_at, revoked_at, last_used_at \
             from tokens where token_id = $1",
        )
        .bind(id)
        .fetch_optional(self.store.pool())
        .await
        .map_err(OperationError::query("find a token"))?;
        row.map(|mut row| {
            let hash = std::mem::take(&mut row.hash);
            Ok((row.try_into()?, hash))
        })
        .transpose()
    }

    /// Notes that a token was good just now, if that is news.
    pub(crate) async fn touch_token(
        &self,
        token: &Token,
        now: Timestamp,
    ) -> Result<(), OperationError> {
        let is_recent = |last: Timestamp| now.duration_since(last).unsigned_abs() < LAST_USED_STEP;
        if token.last_used_at.is_some_and(is_recent) {
            return Ok(());
        }
        sqlx::query("update tokens set last_used_at = $2 where token_id = $1")
            .bind(token.id)
            .bind(now.to_sqlx())
            .execute(self.store.pool())
            .await
            .map_err(OperationError::query("note the use of a token"))?;
        Ok(())
    }
}

async fn insert(
    tx: &mut Tx<'_>,
    node: &Node,
    new: &NewToken,
    author: &Author,
) -> Result<(), OperationError> {
    let permissions: Vec<&str> = new.permissions.iter().map(|known| known.as_str()).collect();
    sqlx::query(
        "insert into tokens (token_id, org_id, team_id, kind, hash, permissions, label, issued_at, issued_by, expires_at) \
         values ($1, $2, $3, 'team', $4, $5, $6, $7, $8, $9)",
    )
    .bind(new.id)
    .bind(node.org.as_str())
    .bind(node.id.as_str())
    .bind(&new.hash)
    .bind(permissions)
    .bind(&new.label)
    .bind(author.at.to_sqlx())
    .bind(&author.by)
    .bind(new.expires_at.map(|end| end.to_sqlx()))
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("insert a token"))?;
    Ok(())
}

/// Whether it was live until now.
async fn revoke(
    tx: &mut Tx<'_>,
    node: &Node,
    id: Uuid,
    at: Timestamp,
) -> Result<bool, OperationError> {
    let was_live: Option<bool> = sqlx::query_scalar(
        "update tokens as token set revoked_at = coalesce(token.revoked_at, $4) \
         from tokens as before \
         where token.token_id = $3 and token.org_id = $1 and token.team_id = $2 and before.token_id = token.token_id \
         returning before.revoked_at is null",
    )
    .bind(node.org.as_str())
    .bind(node.id.as_str())
    .bind(id)
    .bind(at.to_sqlx())
    .fetch_optional(&mut **tx)
    .await
    .map_err(OperationError::query("revoke a token"))?;
    let no_token = || Refusal::NoToken {
        org: node.org.clone(),
        team: node.id.clone(),
    };
    Ok(was_live.ok_or_else(no_token)?)
}

async fn announce(
    tx: &mut Tx<'_>,
    node: &Node,
    what: What,
    token: Uuid,
    author: &Author,
) -> Result<(), OperationError> {
    let change = Change {
        org: node.org.clone(),
        node: node.id.clone(),
        kind: node.kind,
        version: node.version,
        what,
        about: token.to_string(),
        by: author.by.clone(),
        at: author.at,
        revision: 0,
        batch: 0,
        identifiers: Default::default(),
    };
    outbox::append(tx, &[change.message()?]).await?;
    Ok(())
}
