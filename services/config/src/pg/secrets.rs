//! Secrets: rows hold ciphertext, history holds who and when.

mod read;
mod rewrap;
mod rows;
mod usage;

use jiff_sqlx::ToSqlx as _;
use tocsin_store::outbox::Message;
use tocsin_store::{Isolation, Tx, outbox};
use tocsin_wire::sealed::Audience;
use tocsin_wire::{OrgId, SecretName};

use super::writes::Author;
use super::{Database, nodes};
use crate::change::{Change, What};
use crate::error::OperationError;
use crate::node::{Node, NodeId};
use crate::secrets::envelope::{self, AtRest, EnvelopeError, Randomness};
use crate::secrets::master::MasterKeys;
use crate::secrets::{MAX_PER_NODE, SecretFacts, SecretRefusal, random};
use crate::source::{SourceId, SourceRefusal};

pub(crate) use rows::{SecretHistoryRow, StoredSecret};
pub(super) use usage::check_references;

use read::{find, unknown};
use rows::place;

/// A value that is to be stored.
pub(crate) struct NewSecret<'a> {
    pub(crate) name: &'a SecretName,
    pub(crate) value: &'a str,
    /// What it has been so far when `None`.
    pub(crate) audience: Option<&'a Audience>,
    pub(crate) expected: Option<u64>,
}

/// Names of sources' secrets, which do not count among a node's own.
const OF_SOURCES: &str = "^source-src_[0-9a-f]{24}-[0-9]+$";

impl Database {
    /// Stores a value at a node, as its next version.
    pub(crate) async fn set_secret(
        &self,
        (org, node): (&OrgId, &NodeId),
        new: &NewSecret<'_>,
        keys: &MasterKeys,
        author: &Author,
    ) -> Result<SecretFacts, OperationError> {
        must_be_of_no_source(new.name)?;
        self.store
            .run_tx_with("set_secret", Isolation::ReadCommitted, |tx| {
                Box::pin(async move {
                    let owner = nodes::lock(tx, org, node).await?;
                    must_have_room(tx, &owner, new.name).await?;
                    let facts = put(tx, &owner, new, keys, author).await?;
                    let news = announcement(&owner, What::SecretSet, &facts)?;
                    outbox::append(tx, &[news]).await?;
                    Ok(facts)
                })
            })
            .await
    }

    /// Deletes a secret, unless references to it would be left without a value.
    pub(crate) async fn delete_secret(
        &self,
        (org, node): (&OrgId, &NodeId),
        name: &SecretName,
        (expected, force): (Option<u64>, bool),
        author: &Author,
    ) -> Result<SecretFacts, OperationError> {
        must_be_of_no_source(name)?;
        self.store
            .run_tx_with("delete_secret", Isolation::ReadCommitted, |tx| {
                Box::pin(async move {
                    // No config of the org changes until this ends, so none begins to refer to it.
                    usage::hold_configs(tx, org).await?;
                    let owner = nodes::lock(tx, org, node).await?;
                    let present = present(tx, &owner, name, expected).await?;
                    if !force {
                        usage::must_be_unused(tx, &owner, name).await?;
                    }
                    let gone = remove(tx, present, author).await?;
                    let news = announcement(&owner, What::SecretDeleted, &gone)?;
                    outbox::append(tx, &[news]).await?;
                    Ok(gone)
                })
            })
            .await
    }
}

/// Sources write and remove theirs in one transaction with themselves.
fn must_be_of_no_source(name: &SecretName) -> Result<(), SourceRefusal> {
    match SourceId::owning(name) {
        None => Ok(()),
        Some(source_id) => Err(SourceRefusal::Owned {
            name: name.clone(),
            source_id,
        }),
    }
}

async fn must_have_room(
    tx: &mut Tx<'_>,
    owner: &Node,
    name: &SecretName,
) -> Result<(), OperationError> {
    let others: i64 = sqlx::query_scalar(
        "select count(*) from secrets where org_id = $1 and node_id = $2 and name <> $3 and name !~ $4",
    )
    .bind(owner.org.as_str())
    .bind(owner.id.as_str())
    .bind(name.as_str())
    .bind(OF_SOURCES)
    .fetch_one(&mut **tx)
    .await
    .map_err(OperationError::query("count the secrets of a node"))?;
    if others >= MAX_PER_NODE {
        let node = owner.id.clone();
        return Err(SecretRefusal::TooMany { node }.into());
    }
    Ok(())
}

/// Stores a value at a node that is locked, as its next version; its announcement is the caller's.
pub(super) async fn put(
    tx: &mut Tx<'_>,
    owner: &Node,
    new: &NewSecret<'_>,
    keys: &MasterKeys,
    author: &Author,
) -> Result<SecretFacts, OperationError> {
    let (org, node) = (&owner.org, &owner.id);
    let (present, latest): (Option<String>, i64) = sqlx::query_as(
        "select (select audience from secrets where org_id = $1 and node_id = $2 and name = $3), \
                (select coalesce(max(version), 0) from secret_history \
                 where org_id = $1 and node_id = $2 and name = $3)",
    )
    .bind(org.as_str())
    .bind(node.as_str())
    .bind(new.name.as_str())
    .fetch_one(&mut **tx)
    .await
    .map_err(OperationError::query("read the last version of a secret"))?;
    let latest = super::rows::version(latest)?;
    let actual = if present.is_some() { latest } else { 0 };
    if let Some(expected) = new.expected.filter(|expected| *expected != actual) {
        let name = new.name.clone();
        return Err(SecretRefusal::VersionConflict {
            name,
            expected,
            actual,
        }
        .into());
    }
    let facts = SecretFacts {
        org: org.clone(),
        node: node.clone(),
        name: new.name.clone(),
        version: latest + 1,
        audience: audience(new, present.as_deref())?,
        master_key_id: keys.current_id().to_owned(),
        updated_at: author.at,
        updated_by: author.by.clone(),
    };
    // Drawn in here: a repeated attempt may get another version, and nothing is used for two.
    let randomness = Randomness {
        data_key: random()?,
        value_nonce: random()?,
        key_nonce: random()?,
    };
    let encrypted = envelope::encrypt(keys, &place(&facts), new.value.as_bytes(), &randomness);
    let at_rest = encrypted.map_err(|error| refused(error, &facts))?;
    store(tx, &facts, &at_rest).await?;
    record(tx, &facts, "set").await?;
    Ok(facts)
}

/// Removes a secret of a node that is locked; its announcement is the caller's.
pub(super) async fn remove(
    tx: &mut Tx<'_>,
    present: SecretFacts,
    author: &Author,
) -> Result<SecretFacts, OperationError> {
    sqlx::query("delete from secrets where org_id = $1 and node_id = $2 and name = $3")
        .bind(present.org.as_str())
        .bind(present.node.as_str())
        .bind(present.name.as_str())
        .execute(&mut **tx)
        .await
        .map_err(OperationError::query("delete a secret"))?;
    let gone = SecretFacts {
        version: present.version + 1,
        updated_at: author.at,
        updated_by: author.by.clone(),
        ..present
    };
    record(tx, &gone, "deleted").await?;
    Ok(gone)
}

fn audience(new: &NewSecret<'_>, present: Option<&str>) -> Result<Audience, OperationError> {
    match (new.audience, present) {
        (Some(audience), _) => Ok(audience.clone()),
        (None, Some(present)) => present
            .parse()
            .map_err(|_| OperationError::corrupt("secrets", "audience")),
        (None, None) => Ok(Audience::default()),
    }
}

async fn store(
    tx: &mut Tx<'_>,
    facts: &SecretFacts,
    at_rest: &AtRest,
) -> Result<(), OperationError> {
    sqlx::query(
        "insert into secrets (org_id, node_id, name, version, audience, master_key_id, wrapped_key, value, \
                              updated_at, updated_by) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
         on conflict (org_id, node_id, name) do update set \
             version = excluded.version, audience = excluded.audience, master_key_id = excluded.master_key_id, \
             wrapped_key = excluded.wrapped_key, value = excluded.value, \
             updated_at = excluded.updated_at, updated_by = excluded.updated_by",
    )
    .bind(facts.org.as_str())
    .bind(facts.node.as_str())
    .bind(facts.name.as_str())
    .bind(stored_version(facts.version))
    .bind(facts.audience.to_string())
    .bind(&at_rest.master_key_id)
    .bind(&at_rest.wrapped_key)
    .bind(&at_rest.value)
    .bind(facts.updated_at.to_sqlx())
    .bind(&facts.updated_by)
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("store a secret"))?;
    Ok(())
}

/// A ciphertext that does not open, as a refusal that names its secret.
pub(crate) fn refused(error: EnvelopeError, facts: &SecretFacts) -> SecretRefusal {
    match error {
        EnvelopeError::Master(error) => error.into(),
        EnvelopeError::Broken => SecretRefusal::Tampered {
            org: facts.org.clone(),
            node: facts.node.clone(),
            name: facts.name.clone(),
        },
    }
}

pub(super) async fn present(
    tx: &mut Tx<'_>,
    owner: &Node,
    name: &SecretName,
    expected: Option<u64>,
) -> Result<SecretFacts, OperationError> {
    let found = find(&mut **tx, &owner.org, &owner.id, name).await?;
    let found = found.ok_or_else(|| unknown(&owner.org, &owner.id, name))?;
    match expected {
        Some(expected) if expected != found.version => Err(SecretRefusal::VersionConflict {
            name: name.clone(),
            expected,
            actual: found.version,
        }
        .into()),
        _ => Ok(found),
    }
}

async fn record(
    tx: &mut Tx<'_>,
    facts: &SecretFacts,
    what: &'static str,
) -> Result<(), OperationError> {
    sqlx::query(
        "insert into secret_history (org_id, node_id, name, version, what, audience, changed_by, changed_at) \
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(facts.org.as_str())
    .bind(facts.node.as_str())
    .bind(facts.name.as_str())
    .bind(stored_version(facts.version))
    .bind(what)
    .bind(facts.audience.to_string())
    .bind(&facts.updated_by)
    .bind(facts.updated_at.to_sqlx())
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("record a version of a secret"))?;
    Ok(())
}

/// For the outbox, last in its transaction: appending holds a lock that other writers wait for.
pub(super) fn announcement(
    owner: &Node,
    what: What,
    facts: &SecretFacts,
) -> Result<Message, OperationError> {
    let change = Change {
        org: owner.org.clone(),
        node: owner.id.clone(),
        kind: owner.kind,
        version: owner.version,
        what,
        about: format!("{}@{}", facts.name, facts.version),
        by: facts.updated_by.clone(),
        at: facts.updated_at,
        // It changes no node.
        revision: 0,
        batch: 0,
        identifiers: Default::default(),
    };
    change.message()
}

fn stored_version(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}
