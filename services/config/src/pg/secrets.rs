//! Secrets: rows hold ciphertext, history holds who and when.

mod usage;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgExecutor;
use tocsin_store::{Isolation, Tx, outbox};
use tocsin_wire::sealed::{Audience, Place};
use tocsin_wire::{OrgId, SecretName};

use super::writes::Author;
use super::{Database, nodes, rows};
use crate::change::{Change, What};
use crate::error::OperationError;
use crate::node::{Node, NodeId};
use crate::secrets::envelope::{self, AtRest, EnvelopeError, Randomness};
use crate::secrets::master::MasterKeys;
use crate::secrets::{MAX_PER_NODE, SecretFacts, SecretRefusal, random};

pub(super) use usage::check_references;

/// Rows whose data keys one transaction of a rotation wraps anew: it holds their locks for some
/// milliseconds.
const REWRAP_BATCH: i64 = 100;

/// A value that is to be stored.
pub(crate) struct NewSecret<'a> {
    pub(crate) name: &'a SecretName,
    pub(crate) value: &'a str,
    /// What it has been so far when `None`.
    pub(crate) audience: Option<&'a Audience>,
    pub(crate) expected: Option<u64>,
}

/// A stored secret with the version that its history says it must have.
#[derive(Debug, Clone)]
pub(crate) struct StoredSecret {
    pub(crate) facts: SecretFacts,
    pub(crate) at_rest: AtRest,
    pub(crate) latest_version: u64,
}

impl StoredSecret {
    /// What is bound to its ciphertext.
    pub(crate) fn place(&self) -> Place {
        place(&self.facts)
    }
}

fn place(facts: &SecretFacts) -> Place {
    Place {
        org: facts.org.clone(),
        node: facts.node.clone(),
        name: facts.name.clone(),
        version: facts.version,
        audience: facts.audience.clone(),
    }
}

/// Who set or deleted a version.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct SecretHistoryRow {
    pub(crate) version: i64,
    pub(crate) what: String,
    pub(crate) audience: String,
    pub(crate) changed_by: String,
    pub(crate) changed_at: jiff_sqlx::Timestamp,
}

/// How far a rotation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rewrapped {
    /// Wrapped anew by this call.
    pub(crate) rewrapped: u64,
    /// Still under other keys.
    pub(crate) remaining: u64,
    /// What could not be wrapped anew, and why.
    pub(crate) failed: Vec<String>,
}

#[derive(sqlx::FromRow)]
struct FactsRow {
    org_id: String,
    node_id: String,
    name: String,
    version: i64,
    audience: String,
    master_key_id: String,
    updated_at: jiff_sqlx::Timestamp,
    updated_by: String,
}

impl TryFrom<FactsRow> for SecretFacts {
    type Error = OperationError;

    fn try_from(row: FactsRow) -> Result<Self, Self::Error> {
        let corrupt = |why: String| OperationError::corrupt("secrets", why);
        Ok(Self {
            org: OrgId::new(row.org_id).map_err(|error| corrupt(error.to_string()))?,
            node: NodeId::new(row.node_id).map_err(|error| corrupt(error.to_string()))?,
            name: SecretName::new(row.name).map_err(|error| corrupt(error.to_string()))?,
            version: rows::version(row.version)?,
            audience: row
                .audience
                .parse()
                .map_err(|_| corrupt("audience".to_owned()))?,
            master_key_id: row.master_key_id,
            updated_at: row.updated_at.to_jiff(),
            updated_by: row.updated_by,
        })
    }
}

#[derive(sqlx::FromRow)]
struct StoredRow {
    #[sqlx(flatten)]
    facts: FactsRow,
    wrapped_key: Vec<u8>,
    value: Vec<u8>,
    latest_version: i64,
}

impl TryFrom<StoredRow> for StoredSecret {
    type Error = OperationError;

    fn try_from(row: StoredRow) -> Result<Self, Self::Error> {
        Ok(Self {
            at_rest: AtRest {
                master_key_id: row.facts.master_key_id.clone(),
                wrapped_key: row.wrapped_key,
                value: row.value,
            },
            facts: row.facts.try_into()?,
            latest_version: rows::version(row.latest_version)?,
        })
    }
}

impl Database {
    /// Stores a value at a node, as its next version.
    pub(crate) async fn set_secret(
        &self,
        (org, node): (&OrgId, &NodeId),
        new: &NewSecret<'_>,
        keys: &MasterKeys,
        author: &Author,
    ) -> Result<SecretFacts, OperationError> {
        self.store
            .run_tx_with("set_secret", Isolation::ReadCommitted, |tx| {
                Box::pin(async move { set(tx, (org, node), new, keys, author).await })
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
                    sqlx::query(
                        "delete from secrets where org_id = $1 and node_id = $2 and name = $3",
                    )
                    .bind(org.as_str())
                    .bind(node.as_str())
                    .bind(name.as_str())
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
                    announce(tx, &owner, What::SecretDeleted, &gone).await?;
                    Ok(gone)
                })
            })
            .await
    }

    /// Secrets of these nodes, without their values, by node and name.
    pub(crate) async fn secrets_of(
        &self,
        org: &OrgId,
        line: &[&NodeId],
    ) -> Result<Vec<SecretFacts>, OperationError> {
        let ids: Vec<&str> = line.iter().map(|node| node.as_str()).collect();
        let rows: Vec<FactsRow> = sqlx::query_as(
            "select org_id, node_id, name, version, audience, master_key_id, updated_at, updated_by \
             from secrets where org_id = $1 and node_id = any($2) order by node_id, name",
        )
        .bind(org.as_str())
        .bind(ids)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("list secrets"))?;
        rows.into_iter().map(SecretFacts::try_from).collect()
    }

    /// One secret without its value.
    pub(crate) async fn secret(
        &self,
        org: &OrgId,
        node: &NodeId,
        name: &SecretName,
    ) -> Result<SecretFacts, OperationError> {
        find(self.store.pool(), org, node, name)
            .await?
            .ok_or_else(|| unknown(org, node, name))
    }

    /// Versions of a secret, newest first, also of one that is gone.
    pub(crate) async fn secret_history(
        &self,
        org: &OrgId,
        node: &NodeId,
        name: &SecretName,
        limit: i64,
    ) -> Result<Vec<SecretHistoryRow>, OperationError> {
        sqlx::query_as(
            "select version, what, audience, changed_by, changed_at from secret_history \
             where org_id = $1 and node_id = $2 and name = $3 order by version desc limit $4",
        )
        .bind(org.as_str())
        .bind(node.as_str())
        .bind(name.as_str())
        .bind(limit)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("read the history of a secret"))
    }

    /// What is to be sealed; `None` when there is no such secret (any more).
    pub(crate) async fn stored_secret(
        &self,
        org: &OrgId,
        node: &NodeId,
        name: &SecretName,
    ) -> Result<Option<StoredSecret>, OperationError> {
        let row: Option<StoredRow> = sqlx::query_as(
            "select secrets.*, (select coalesce(max(history.version), 0) from secret_history as history \
                                where history.org_id = secrets.org_id and history.node_id = secrets.node_id \
                                  and history.name = secrets.name) as latest_version \
             from secrets where org_id = $1 and node_id = $2 and name = $3",
        )
        .bind(org.as_str())
        .bind(node.as_str())
        .bind(name.as_str())
        .fetch_optional(self.store.pool())
        .await
        .map_err(OperationError::query("read a secret to seal it"))?;
        row.map(StoredSecret::try_from).transpose()
    }

    /// Every secret, without its value.
    pub(crate) async fn all_secrets(&self) -> Result<Vec<SecretFacts>, OperationError> {
        let rows: Vec<FactsRow> = sqlx::query_as(
            "select org_id, node_id, name, version, audience, master_key_id, updated_at, updated_by \
             from secrets",
        )
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("list all secrets"))?;
        rows.into_iter().map(SecretFacts::try_from).collect()
    }

    /// Every name and audience that secrets of a node ever had: what may lie in the bucket.
    pub(crate) async fn secret_places_of(
        &self,
        org: &OrgId,
        node: &NodeId,
    ) -> Result<Vec<(SecretName, Audience)>, OperationError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "select distinct name, audience from secret_history where org_id = $1 and node_id = $2",
        )
        .bind(org.as_str())
        .bind(node.as_str())
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("list the places of a node's secrets"))?;
        let corrupt = |why: String| OperationError::corrupt("secret_history", why);
        rows.into_iter()
            .map(|(name, audience)| {
                let name = SecretName::new(name).map_err(|error| corrupt(error.to_string()))?;
                let audience = audience.parse();
                Ok((name, audience.map_err(|_| corrupt("audience".to_owned()))?))
            })
            .collect()
    }

    /// Wraps a batch of data keys under the current master key. Called until nothing is left; it may
    /// stop anywhere, and several may run at once.
    pub(crate) async fn rewrap_secrets(
        &self,
        keys: &MasterKeys,
    ) -> Result<Rewrapped, OperationError> {
        let (rewrapped, failed) = self
            .store
            .run_tx_with("rewrap_secrets", Isolation::ReadCommitted, |tx| {
                Box::pin(async move { rewrap(tx, keys).await })
            })
            .await?;
        let remaining: i64 =
            sqlx::query_scalar("select count(*) from secrets where master_key_id <> $1")
                .bind(keys.current_id())
                .fetch_one(self.store.pool())
                .await
                .map_err(OperationError::query("count secrets under old master keys"))?;
        Ok(Rewrapped {
            rewrapped,
            remaining: u64::try_from(remaining).unwrap_or_default(),
            failed,
        })
    }

    /// How many secrets are under which master key.
    pub(crate) async fn secrets_by_master_key(&self) -> Result<Vec<(String, i64)>, OperationError> {
        sqlx::query_as(
            "select master_key_id, count(*) from secrets group by master_key_id order by master_key_id",
        )
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("count secrets by master key"))
    }
}

async fn set(
    tx: &mut Tx<'_>,
    (org, node): (&OrgId, &NodeId),
    new: &NewSecret<'_>,
    keys: &MasterKeys,
    author: &Author,
) -> Result<SecretFacts, OperationError> {
    let owner = nodes::lock(tx, org, node).await?;
    let (count, present, latest): (i64, Option<String>, i64) = sqlx::query_as(
        "select (select count(*) from secrets where org_id = $1 and node_id = $2), \
                (select audience from secrets where org_id = $1 and node_id = $2 and name = $3), \
                (select coalesce(max(version), 0) from secret_history \
                 where org_id = $1 and node_id = $2 and name = $3)",
    )
    .bind(org.as_str())
    .bind(node.as_str())
    .bind(new.name.as_str())
    .fetch_one(&mut **tx)
    .await
    .map_err(OperationError::query("read the last version of a secret"))?;
    let latest = rows::version(latest)?;
    let actual = if present.is_some() { latest } else { 0 };
    if present.is_none() && count >= MAX_PER_NODE {
        return Err(SecretRefusal::TooMany { node: node.clone() }.into());
    }
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
    announce(tx, &owner, What::SecretSet, &facts).await?;
    Ok(facts)
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

/// How many, and what could not be: a damaged row does not hold up the others.
async fn rewrap(tx: &mut Tx<'_>, keys: &MasterKeys) -> Result<(u64, Vec<String>), OperationError> {
    let rows: Vec<StoredRow> = sqlx::query_as(
        "select secrets.*, version as latest_version from secrets where master_key_id <> $1 \
         order by org_id, node_id, name limit $2 for update skip locked",
    )
    .bind(keys.current_id())
    .bind(REWRAP_BATCH)
    .fetch_all(&mut **tx)
    .await
    .map_err(OperationError::query("read secrets under old master keys"))?;
    let (mut count, mut failed) = (0, Vec::new());
    for row in rows {
        let stored = StoredSecret::try_from(row)?;
        let nonce = random()?;
        let wrapped = envelope::rewrap(keys, &stored.place(), &stored.at_rest, &nonce);
        let wrapped = match wrapped {
            Ok(wrapped) => wrapped,
            Err(error) => {
                failed.push(refused(error, &stored.facts).to_string());
                continue;
            }
        };
        sqlx::query(
            "update secrets set master_key_id = $4, wrapped_key = $5 \
             where org_id = $1 and node_id = $2 and name = $3",
        )
        .bind(stored.facts.org.as_str())
        .bind(stored.facts.node.as_str())
        .bind(stored.facts.name.as_str())
        .bind(&wrapped.master_key_id)
        .bind(&wrapped.wrapped_key)
        .execute(&mut **tx)
        .await
        .map_err(OperationError::query("wrap a data key anew"))?;
        count += 1;
    }
    Ok((count, failed))
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

async fn present(
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

async fn find(
    executor: impl PgExecutor<'_>,
    org: &OrgId,
    node: &NodeId,
    name: &SecretName,
) -> Result<Option<SecretFacts>, OperationError> {
    let row: Option<FactsRow> = sqlx::query_as(
        "select org_id, node_id, name, version, audience, master_key_id, updated_at, updated_by \
         from secrets where org_id = $1 and node_id = $2 and name = $3",
    )
    .bind(org.as_str())
    .bind(node.as_str())
    .bind(name.as_str())
    .fetch_optional(executor)
    .await
    .map_err(OperationError::query("find a secret"))?;
    row.map(SecretFacts::try_from).transpose()
}

fn unknown(org: &OrgId, node: &NodeId, name: &SecretName) -> OperationError {
    SecretRefusal::Unknown {
        org: org.clone(),
        node: node.clone(),
        name: name.clone(),
    }
    .into()
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

/// Last in its transaction: appending holds a lock that other writers wait for.
async fn announce(
    tx: &mut Tx<'_>,
    owner: &Node,
    what: What,
    facts: &SecretFacts,
) -> Result<(), OperationError> {
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
    outbox::append(tx, &[change.message()?]).await?;
    Ok(())
}

fn stored_version(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

/// Times are only shown.
impl SecretHistoryRow {
    pub(crate) fn changed_at(&self) -> Timestamp {
        self.changed_at.to_jiff()
    }
}
