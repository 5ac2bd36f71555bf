//! Tokens: issuing, ending, extending, finding.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde_json::json;
use sqlx::types::Uuid;
use tocsin_store::{Isolation, Tx, outbox};
use tocsin_wire::{OrgId, TeamId};

use super::rows::{self, TokenRow};
use super::token_events::{self, EventKind, TokenEvent};
use super::writes::Author;
use super::{Database, MAX_LIST};
use crate::change::{Change, What};
use crate::decide::Refusal;
use crate::error::OperationError;
use crate::identity::lifecycle;
use crate::node::{Kind, NodeId};
use crate::token::{Holder, Token};

/// What every reading of tokens selects.
macro_rules! token_columns {
    () => {
        "token_id, org_id, team_id, kind, hash, permissions, label, email, issued_at, issued_by, \
         expires_at, revoked_at, last_used_at"
    };
}

pub(super) use token_columns;

/// A token that is to be stored.
#[derive(Debug, Clone)]
pub(crate) struct NewToken {
    pub(crate) id: Uuid,
    pub(crate) hash: Vec<u8>,
    pub(crate) holder: Holder,
    pub(crate) label: String,
    pub(crate) email: Option<String>,
    pub(crate) expires_at: Option<Timestamp>,
}

/// Who does something to tokens.
#[derive(Debug, Clone)]
pub(crate) struct By {
    pub(crate) author: Author,
    /// Peer of the connection.
    pub(crate) ip: Option<String>,
}

/// Some tokens of an org.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Among<'a> {
    /// Of everybody in the org, admins included.
    Org,
    /// Of teams.
    Teams,
    /// Of one team.
    Team(&'a TeamId),
    /// Of the org's admins.
    Admins,
}

impl Among<'_> {
    fn node<'a>(&'a self, org: &'a OrgId) -> Option<&'a str> {
        match self {
            Self::Team(team) => Some(team.as_str()),
            Self::Admins => Some(org.as_str()),
            Self::Org | Self::Teams => None,
        }
    }

    const fn kind(&self) -> Option<&'static str> {
        match self {
            Self::Team(_) | Self::Teams => Some("team"),
            Self::Admins => Some("org"),
            Self::Org => None,
        }
    }
}

/// What became of a request to end several tokens.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// These were live, and are no more.
    Revoked(Vec<Uuid>),
    /// One of them belongs to somebody else; nothing was done.
    Foreign,
}

/// What became of a request to extend a token.
#[derive(Debug)]
pub(crate) enum Extension {
    Extended(Box<Token>),
    NoToken,
    Revoked,
}

impl Database {
    /// Stores a token.
    pub(crate) async fn issue_token(&self, new: &NewToken, by: &By) -> Result<(), OperationError> {
        self.store
            .run_tx_with("issue_token", Isolation::ReadCommitted, |tx| {
                Box::pin(async move {
                    hold(tx, &new.holder).await?;
                    insert(tx, new, &by.author).await?;
                    let details = json!({"label": new.label, "permissions": new.holder.allows(), "expires_at": new.expires_at});
                    let event = event(&new.holder, new.id, EventKind::Issued, by, details);
                    token_events::insert(&mut **tx, &[event]).await?;
                    let issued = [(new.holder.node().to_owned(), new.id)];
                    announce(tx, new.holder.org(), &issued, What::TokenIssued, &by.author).await
                })
            })
            .await
    }

    /// Ends one token, or those in `ids`, or all, of those that `among` names; ones that have ended
    /// already stay as they are.
    pub(crate) async fn revoke_tokens(
        &self,
        org: &OrgId,
        among: Among<'_>,
        ids: Option<&[Uuid]>,
        by: &By,
    ) -> Result<Ended, OperationError> {
        self.store
            .run_tx_with("revoke_tokens", Isolation::ReadCommitted, |tx| {
                Box::pin(async move {
                    if let Some(ids) = ids
                        && has_foreign(tx, org, among, ids).await?
                    {
                        return Ok(Ended::Foreign);
                    }
                    let revoked = end(tx, org, among, ids, by.author.at).await?;
                    let details = || json!({});
                    tell(tx, org, &revoked, EventKind::Revoked, by, details).await?;
                    Ok(Ended::Revoked(
                        revoked.iter().map(|token| token.id).collect(),
                    ))
                })
            })
            .await
    }

    /// Moves a token's end by `days`: from its end, or from now.
    pub(crate) async fn extend_token(
        &self,
        org: &OrgId,
        among: Among<'_>,
        id: Uuid,
        days: u32,
        by: &By,
    ) -> Result<Extension, OperationError> {
        self.store
            .run_tx_with("extend_token", Isolation::ReadCommitted, |tx| {
                Box::pin(async move {
                    let row: Option<TokenRow> = sqlx::query_as(concat!(
                        "select ",
                        token_columns!(),
                        " from tokens where token_id = $1 and org_id = $2 \
                         and ($3::text is null or team_id = $3) and ($4::text is null or kind = $4) for update"
                    ))
                    .bind(id)
                    .bind(org.as_str())
                    .bind(among.node(org))
                    .bind(among.kind())
                    .fetch_optional(&mut **tx)
                    .await
                    .map_err(OperationError::query("find a token to extend"))?;
                    let Some(row) = row else {
                        return Ok(Extension::NoToken);
                    };
                    let mut token: Token = row.try_into()?;
                    if token.revoked_at.is_some() {
                        return Ok(Extension::Revoked);
                    }
                    let end = lifecycle::extended(token.expires_at, by.author.at, days);
                    sqlx::query("update tokens set expires_at = $2, warned_at = null where token_id = $1")
                        .bind(id)
                        .bind(end.to_sqlx())
                        .execute(&mut **tx)
                        .await
                        .map_err(OperationError::query("extend a token"))?;
                    let details = json!({"days": days, "from": token.expires_at, "to": end});
                    token.expires_at = Some(end);
                    let event = event(&token.holder, id, EventKind::Extended, by, details);
                    token_events::insert(&mut **tx, &[event]).await?;
                    Ok(Extension::Extended(Box::new(token)))
                })
            })
            .await
    }

    /// Tokens, newest first. Whether org and team exist is not looked at.
    pub(crate) async fn tokens(
        &self,
        org: &OrgId,
        among: Among<'_>,
    ) -> Result<Vec<Token>, OperationError> {
        let rows: Vec<TokenRow> = sqlx::query_as(concat!(
            "select ",
            token_columns!(),
            " from tokens where org_id = $1 and ($2::text is null or team_id = $2) and ($3::text is null or kind = $3) \
             order by issued_at desc, token_id desc limit $4"
        ))
        .bind(org.as_str())
        .bind(among.node(org))
        .bind(among.kind())
        .bind(MAX_LIST)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("list tokens"))?;
        rows.into_iter().map(Token::try_from).collect()
    }

    /// A token and its hash.
    pub(crate) async fn token(&self, id: Uuid) -> Result<Option<(Token, Vec<u8>)>, OperationError> {
        let row: Option<TokenRow> = sqlx::query_as(concat!(
            "select ",
            token_columns!(),
            " from tokens where token_id = $1"
        ))
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

    /// A token of those that `among` names.
    pub(crate) async fn token_of(
        &self,
        org: &OrgId,
        among: Among<'_>,
        id: Uuid,
    ) -> Result<Option<Token>, OperationError> {
        let found = self.token(id).await?;
        Ok(found.map(|(token, _)| token).filter(|token| {
            let holder = &token.holder;
            let kind = match holder {
                Holder::Team { .. } => "team",
                Holder::OrgAdmin { .. } => "org",
            };
            holder.org() == org
                && among.node(org).is_none_or(|node| node == holder.node())
                && among.kind().is_none_or(|wanted| wanted == kind)
        }))
    }

    /// Notes when tokens were good last.
    pub(crate) async fn note_uses(
        &self,
        uses: &HashMap<Uuid, Timestamp>,
    ) -> Result<(), OperationError> {
        let (ids, times): (Vec<Uuid>, Vec<_>) =
            uses.iter().map(|(id, at)| (*id, at.to_sqlx())).unzip();
        sqlx::query(
            "update tokens set last_used_at = used.at \
             from unnest($1::uuid[], $2::timestamptz[]) as used (token_id, at) \
             where tokens.token_id = used.token_id and (last_used_at is null or last_used_at < used.at)",
        )
        .bind(ids)
        .bind(times)
        .execute(self.store.pool())
        .await
        .map_err(OperationError::query("note the use of tokens"))?;
        Ok(())
    }
}

/// The node must be there, and stays until the transaction ends.
async fn hold(tx: &mut Tx<'_>, holder: &Holder) -> Result<(), OperationError> {
    let org = holder.org();
    let kind: Option<String> =
        sqlx::query_scalar("select kind from nodes where org_id = $1 and node_id = $2 for share")
            .bind(org.as_str())
            .bind(holder.node())
            .fetch_optional(&mut **tx)
            .await
            .map_err(OperationError::query("hold the node of a token"))?;
    let org = org.clone();
    match (holder, kind.as_deref()) {
        (Holder::Team { .. }, Some("team")) | (Holder::OrgAdmin { .. }, Some("org")) => Ok(()),
        (Holder::OrgAdmin { .. }, _) => Err(Refusal::NoOrg { org }.into()),
        (Holder::Team { team, .. }, Some(_)) => {
            let node = team.clone();
            Err(Refusal::NotATeam { org, node }.into())
        }
        (Holder::Team { team, .. }, None) => {
            let node = team.clone();
            Err(Refusal::NoNode { org, node }.into())
        }
    }
}

async fn insert(tx: &mut Tx<'_>, new: &NewToken, author: &Author) -> Result<(), OperationError> {
    let kind = match new.holder {
        Holder::Team { .. } => "team",
        Holder::OrgAdmin { .. } => "org",
    };
    sqlx::query(
        "insert into tokens (token_id, org_id, team_id, kind, hash, permissions, label, email, issued_at, issued_by, expires_at) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(new.id)
    .bind(new.holder.org().as_str())
    .bind(new.holder.node())
    .bind(kind)
    .bind(&new.hash)
    .bind(new.holder.allows())
    .bind(&new.label)
    .bind(&new.email)
    .bind(author.at.to_sqlx())
    .bind(&author.by)
    .bind(new.expires_at.map(|end| end.to_sqlx()))
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("insert a token"))?;
    Ok(())
}

/// Whether one of `ids` is a token that is there, but not of those that `among` names.
async fn has_foreign(
    tx: &mut Tx<'_>,
    org: &OrgId,
    among: Among<'_>,
    ids: &[Uuid],
) -> Result<bool, OperationError> {
    sqlx::query_scalar(
        "select exists (select from tokens where token_id = any($1) \
         and (org_id <> $2 or ($3::text is not null and team_id <> $3) or ($4::text is not null and kind <> $4)))",
    )
    .bind(ids)
    .bind(org.as_str())
    .bind(among.node(org))
    .bind(among.kind())
    .fetch_one(&mut **tx)
    .await
    .map_err(OperationError::query("look for foreign tokens"))
}

/// Those that were live until now.
async fn end(
    tx: &mut Tx<'_>,
    org: &OrgId,
    among: Among<'_>,
    ids: Option<&[Uuid]>,
    at: Timestamp,
) -> Result<Vec<Token>, OperationError> {
    let rows: Vec<TokenRow> = sqlx::query_as(concat!(
        "update tokens set revoked_at = $5 \
         where org_id = $1 and ($2::text is null or team_id = $2) and ($3::text is null or kind = $3) \
         and ($4::uuid[] is null or token_id = any($4)) and revoked_at is null returning ",
        token_columns!()
    ))
    .bind(org.as_str())
    .bind(among.node(org))
    .bind(among.kind())
    .bind(ids)
    .bind(at.to_sqlx())
    .fetch_all(&mut **tx)
    .await
    .map_err(OperationError::query("revoke tokens"))?;
    rows.into_iter().map(Token::try_from).collect()
}

/// Puts the end of tokens on record, and into the outbox.
pub(super) async fn tell(
    tx: &mut Tx<'_>,
    org: &OrgId,
    tokens: &[Token],
    kind: EventKind,
    by: &By,
    details: impl Fn() -> serde_json::Value + Send,
) -> Result<(), OperationError> {
    let events: Vec<TokenEvent> = tokens
        .iter()
        .map(|token| event(&token.holder, token.id, kind, by, details()))
        .collect();
    token_events::insert(&mut **tx, &events).await?;
    let ended: Vec<(String, Uuid)> = tokens
        .iter()
        .map(|token| (token.holder.node().to_owned(), token.id))
        .collect();
    announce(tx, org, &ended, What::TokenRevoked, &by.author).await
}

pub(super) fn event(
    holder: &Holder,
    token: Uuid,
    kind: EventKind,
    by: &By,
    details: serde_json::Value,
) -> TokenEvent {
    TokenEvent {
        org: holder.org().clone(),
        team: holder.team().cloned(),
        token: Some(token),
        kind,
        at: by.author.at,
        actor: by.author.by.clone(),
        details,
        ip: by.ip.clone(),
    }
}

/// One row of the outbox for each token.
async fn announce(
    tx: &mut Tx<'_>,
    org: &OrgId,
    tokens: &[(String, Uuid)],
    what: What,
    author: &Author,
) -> Result<(), OperationError> {
    let nodes: BTreeSet<&str> = tokens.iter().map(|(node, _)| node.as_str()).collect();
    let nodes: Vec<&str> = nodes.into_iter().collect();
    let found: Vec<(String, String, i64)> = sqlx::query_as(
        "select node_id, kind, version from nodes where org_id = $1 and node_id = any($2)",
    )
    .bind(org.as_str())
    .bind(nodes)
    .fetch_all(&mut **tx)
    .await
    .map_err(OperationError::query("read the nodes of tokens"))?;
    let mut messages = Vec::with_capacity(tokens.len());
    for (node, token) in tokens {
        let Some((_, kind, version)) = found.iter().find(|(id, ..)| id == node) else {
            continue;
        };
        let corrupt = |why: String| OperationError::corrupt("nodes", why);
        let change = Change {
            org: org.clone(),
            node: NodeId::new(node.clone()).map_err(|error| corrupt(error.to_string()))?,
            kind: Kind::parse(kind).ok_or_else(|| corrupt(format!("kind {kind}")))?,
            version: rows::version(*version)?,
            what,
            about: token.to_string(),
            by: author.by.clone(),
            at: author.at,
            revision: 0,
            batch: 0,
            identifiers: BTreeSet::default(),
        };
        messages.push(change.message()?);
    }
    outbox::append(tx, &messages).await?;
    Ok(())
}
