//! Sources: each write changes the source, the values of its secrets, its history and the outbox in one
//! transaction, which holds the org's own node.

mod read;
mod rows;
mod store;

use tocsin_store::outbox::{self, Message};
use tocsin_store::{Isolation, Tx};
use tocsin_wire::sealed::Audience;
use tocsin_wire::{OrgId, TeamId};

use super::secrets::{NewSecret, announcement, present, put, remove};
use super::{Author, Database, nodes};
use crate::change::{Change, What};
use crate::error::OperationError;
use crate::node::{Node, NodeId};
use crate::secrets::master::MasterKeys;
use crate::source::{
    MAX_PER_ORG, Rotation, Source, SourceChange, SourceId, SourceRefusal, SourceSecret,
    unknown_team,
};
use read::unknown;
use rows::{Selection, select};
use store::{end, insert, link, record, unlink, update};

/// The org's node is locked before anything is judged.
const ISOLATION: Isolation = Isolation::ReadCommitted;

/// A source that is to be, with the value of its first secret.
pub(crate) struct NewSource<'a> {
    pub(crate) source: Source,
    pub(crate) secret: &'a str,
}

impl Database {
    /// Keeps a new source with its first secret.
    pub(crate) async fn create_source(
        &self,
        new: &NewSource<'_>,
        keys: &MasterKeys,
        author: &Author,
    ) -> Result<Source, OperationError> {
        self.store
            .run_tx_with("create_source", ISOLATION, |tx| {
                Box::pin(async move {
                    let mut source = new.source.clone();
                    let owner = lock_org(tx, &source.org).await?;
                    let neighbours = of_org(tx, &source.org).await?;
                    if neighbours.len() >= MAX_PER_ORG {
                        let org = source.org.clone();
                        return Err(SourceRefusal::TooMany { org }.into());
                    }
                    must_be_free(&neighbours, &source)?;
                    must_have_team(tx, &source).await?;
                    insert(tx, &source).await?;
                    let message =
                        add_secret(tx, &owner, (&mut source, new.secret), keys, author).await?;
                    record(tx, &source, "created", author).await?;
                    let news = news(&owner, What::SourceCreated, &source)?;
                    outbox::append(tx, &[message, news]).await?;
                    Ok(source)
                })
            })
            .await
    }

    /// Changes what a source says; its secrets stay as they are.
    pub(crate) async fn change_source(
        &self,
        (org, id): (&OrgId, &SourceId),
        (change, expected): (&SourceChange, Option<u64>),
        author: &Author,
    ) -> Result<Source, OperationError> {
        self.store
            .run_tx_with("change_source", ISOLATION, |tx| {
                Box::pin(async move {
                    let owner = lock_org(tx, org).await?;
                    let neighbours = of_org(tx, org).await?;
                    let before = one(&neighbours, org, id)?;
                    before.must_be_at(expected)?;
                    let after = before.changed(change, author);
                    if after == *before {
                        return Ok(after);
                    }
                    must_be_free(&neighbours, &after)?;
                    if after.settings.default_team != before.settings.default_team {
                        must_have_team(tx, &after).await?;
                    }
                    update(tx, &after).await?;
                    record(tx, &after, "updated", author).await?;
                    let news = news(&owner, What::SourceUpdated, &after)?;
                    outbox::append(tx, &[news]).await?;
                    Ok(after)
                })
            })
            .await
    }

    /// Deletes a source with the values of its secrets.
    pub(crate) async fn delete_source(
        &self,
        (org, id): (&OrgId, &SourceId),
        expected: Option<u64>,
        author: &Author,
    ) -> Result<Source, OperationError> {
        self.store
            .run_tx_with("delete_source", ISOLATION, |tx| {
                Box::pin(async move {
                    let owner = lock_org(tx, org).await?;
                    let mut source = one(&of_org(tx, org).await?, org, id)?.clone();
                    source.must_be_at(expected)?;
                    sqlx::query("delete from sources where source_id = $1")
                        .bind(id.as_str())
                        .execute(&mut **tx)
                        .await
                        .map_err(OperationError::query("delete a source"))?;
                    let mut messages = Vec::new();
                    for secret in std::mem::take(&mut source.secrets) {
                        messages.push(remove_value(tx, &owner, (id, secret.number), author).await?);
                    }
                    source.touch(author);
                    record(tx, &source, "deleted", author).await?;
                    // Ingress lets go of the source before its secrets go.
                    messages.insert(0, news(&owner, What::SourceDeleted, &source)?);
                    outbox::append(tx, &messages).await?;
                    Ok(source)
                })
            })
            .await
    }

    /// Adds a secret; those that count now end after a while. Returns the number of the new one, too.
    pub(crate) async fn rotate_source(
        &self,
        (org, id): (&OrgId, &SourceId),
        (rotation, expected): (&Rotation, Option<u64>),
        (value, keys): (&str, &MasterKeys),
        author: &Author,
    ) -> Result<Source, OperationError> {
        self.store
            .run_tx_with("rotate_source", ISOLATION, |tx| {
                Box::pin(async move {
                    let owner = lock_org(tx, org).await?;
                    let mut source = one(&of_org(tx, org).await?, org, id)?.clone();
                    source.must_be_at(expected)?;
                    let rotated = source.rotated(rotation, author.at)?;
                    let mut ended = Vec::new();
                    for number in rotated.removed {
                        unlink(tx, id, number).await?;
                        ended.push(remove_value(tx, &owner, (id, number), author).await?);
                    }
                    for secret in &rotated.kept {
                        end(tx, id, secret).await?;
                    }
                    source.secrets = rotated.kept;
                    source.last_secret = rotated.number;
                    source.touch(author);
                    source.secrets.push(SourceSecret {
                        number: rotated.number,
                        version: 0,
                        not_before: rotation.not_before,
                        expires: rotation.expires,
                        created_at: author.at,
                        created_by: author.by.clone(),
                    });
                    let set = add_secret(tx, &owner, (&mut source, value), keys, author).await?;
                    update(tx, &source).await?;
                    record(tx, &source, "secret_added", author).await?;
                    // Who reads of a secret finds it, and none goes before it is read of no more.
                    let mut messages = vec![set, news(&owner, What::SourceUpdated, &source)?];
                    messages.append(&mut ended);
                    outbox::append(tx, &messages).await?;
                    Ok(source)
                })
            })
            .await
    }

    /// Removes a secret, unless it is the only one that counts.
    pub(crate) async fn delete_source_secret(
        &self,
        (org, id): (&OrgId, &SourceId),
        (number, expected): (u32, Option<u64>),
        author: &Author,
    ) -> Result<Source, OperationError> {
        self.store
            .run_tx_with("delete_source_secret", ISOLATION, |tx| {
                Box::pin(async move {
                    let owner = lock_org(tx, org).await?;
                    let mut source = one(&of_org(tx, org).await?, org, id)?.clone();
                    source.must_be_at(expected)?;
                    source.may_remove(number, author.at)?;
                    unlink(tx, id, number).await?;
                    let gone = remove_value(tx, &owner, (id, number), author).await?;
                    source.secrets.retain(|secret| secret.number != number);
                    source.touch(author);
                    update(tx, &source).await?;
                    record(tx, &source, "secret_removed", author).await?;
                    let news = news(&owner, What::SourceUpdated, &source)?;
                    outbox::append(tx, &[news, gone]).await?;
                    Ok(source)
                })
            })
            .await
    }
}

/// Writers of an org's sources come one after the other.
async fn lock_org(tx: &mut Tx<'_>, org: &OrgId) -> Result<Node, OperationError> {
    nodes::lock(tx, org, &root(org)?).await
}

/// The org's own node has the org's id.
fn root(org: &OrgId) -> Result<NodeId, OperationError> {
    NodeId::new(org.as_str()).map_err(|error| OperationError::corrupt("nodes", error.to_string()))
}

async fn of_org(tx: &mut Tx<'_>, org: &OrgId) -> Result<Vec<Source>, OperationError> {
    let which = Selection {
        org: Some(org.as_str()),
        ..Selection::default()
    };
    select(tx, which).await
}

fn one<'a>(sources: &'a [Source], org: &OrgId, id: &SourceId) -> Result<&'a Source, SourceRefusal> {
    let found = sources.iter().find(|source| source.id == *id);
    found.ok_or_else(|| unknown(org, id))
}

fn must_be_free(neighbours: &[Source], new: &Source) -> Result<(), SourceRefusal> {
    let has_name = |other: &&Source| {
        other.provider == new.provider && other.name == new.name && other.id != new.id
    };
    match neighbours.iter().find(has_name) {
        None => Ok(()),
        Some(other) => Err(SourceRefusal::Taken {
            provider: new.provider.clone(),
            name: new.name.clone(),
            by: other.id.clone(),
        }),
    }
}

async fn must_have_team(tx: &mut Tx<'_>, source: &Source) -> Result<(), OperationError> {
    let Some(team) = &source.settings.default_team else {
        return Ok(());
    };
    let is_team: bool = sqlx::query_scalar(
        "select exists (select from nodes where org_id = $1 and node_id = $2 and kind = 'team')",
    )
    .bind(source.org.as_str())
    .bind(
        TeamId::new(team.as_str())
            .map_err(|_| SourceRefusal::from(unknown_team()))?
            .as_str(),
    )
    .fetch_one(&mut **tx)
    .await
    .map_err(OperationError::query("look for a source's default team"))?;
    if is_team {
        return Ok(());
    }
    Err(SourceRefusal::from(unknown_team()).into())
}

/// Stores the value of the source's newest secret, whose version it learns.
async fn add_secret(
    tx: &mut Tx<'_>,
    owner: &Node,
    (source, value): (&mut Source, &str),
    keys: &MasterKeys,
    author: &Author,
) -> Result<Message, OperationError> {
    let newest = source.last_secret;
    let name = source
        .id
        .secret_name(newest)
        .map_err(|error| misnamed(&error))?;
    let new = NewSecret {
        name: &name,
        value,
        audience: Some(&Audience::Ingress),
        expected: Some(0),
    };
    let facts = put(tx, owner, &new, keys, author).await?;
    let secrets = source.secrets.iter_mut();
    for secret in secrets.filter(|secret| secret.number == newest) {
        secret.version = facts.version;
        link(tx, (&source.org, &source.id), secret, &name).await?;
    }
    announcement(owner, What::SecretSet, &facts)
}

async fn remove_value(
    tx: &mut Tx<'_>,
    owner: &Node,
    (id, number): (&SourceId, u32),
    author: &Author,
) -> Result<Message, OperationError> {
    let name = id.secret_name(number).map_err(|error| misnamed(&error))?;
    let facts = present(tx, owner, &name, None).await?;
    let gone = remove(tx, facts, author).await?;
    announcement(owner, What::SecretDeleted, &gone)
}

fn misnamed(error: &tocsin_wire::InvalidToken) -> OperationError {
    OperationError::corrupt("source_secrets", error.to_string())
}

fn news(owner: &Node, what: What, source: &Source) -> Result<Message, OperationError> {
    let change = Change {
        org: owner.org.clone(),
        node: owner.id.clone(),
        kind: owner.kind,
        version: owner.version,
        what,
        about: format!("{}@{}", source.id, source.version),
        by: source.updated_by.clone(),
        at: source.updated_at,
        // It changes no node.
        revision: 0,
        batch: 0,
        identifiers: std::collections::BTreeSet::new(),
    };
    change.message()
}
