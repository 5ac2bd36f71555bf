//! Field definitions, security policies and what validation found.

use std::sync::Arc;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde::Serialize;
use serde_json::Value;
use sqlx::PgExecutor;
use sqlx::types::Json;
use tocsin_store::{Isolation, Tx};
use tocsin_wire::OrgId;

use super::rows;
use super::writes::Author;
use super::{Database, MAX_LIST, nodes};
use crate::error::OperationError;
use crate::node::{Node, NodeId};
use crate::policy::{
    Field, FieldDefinition, Missing, PolicyRefusal, Rules, Security, SecurityPolicy, Standards,
    Violation,
};

/// A row is locked before it is judged, so waiting for it suffices.
const ISOLATION: Isolation = Isolation::ReadCommitted;

/// Something that has versions: a definition or a policy.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Versioned<T> {
    pub(crate) document: T,
    /// 0: nobody wrote it yet.
    pub(crate) version: u64,
    pub(crate) updated_at: Option<Timestamp>,
    pub(crate) updated_by: String,
}

/// One version of a definition or a policy, as it was written.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct RuleVersion {
    pub(crate) path: Option<String>,
    pub(crate) version: i64,
    pub(crate) what: String,
    pub(crate) document: Value,
    pub(crate) changed_at: jiff_sqlx::Timestamp,
    pub(crate) changed_by: String,
}

/// What the last validation of a node found.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct ValidationRow {
    pub(crate) node_id: String,
    pub(crate) node_version: i64,
    pub(crate) valid: bool,
    pub(crate) missing: Json<Vec<Missing>>,
    pub(crate) errors: Json<Vec<Violation>>,
    pub(crate) checked_at: jiff_sqlx::Timestamp,
    pub(crate) checked_by: String,
}

#[derive(sqlx::FromRow)]
struct Row<T> {
    document: Json<T>,
    version: i64,
    updated_at: jiff_sqlx::Timestamp,
    updated_by: String,
}

impl<T> Row<T> {
    fn read(self) -> Result<Versioned<T>, OperationError> {
        Ok(Versioned {
            document: self.document.0,
            version: rows::version(self.version)?,
            updated_at: Some(self.updated_at.to_jiff()),
            updated_by: self.updated_by,
        })
    }
}

impl Database {
    /// What the configs of an org are judged by.
    pub(crate) async fn rules(&self, org: &OrgId) -> Result<Rules, OperationError> {
        read_rules(self.store.pool(), &self.standards, org).await
    }

    /// Every field definition, in the order in which people read them.
    pub(crate) async fn field_definitions(
        &self,
    ) -> Result<Vec<Versioned<FieldDefinition>>, OperationError> {
        let rows: Vec<Row<FieldDefinition>> = sqlx::query_as(
            "select definition as document, version, updated_at, updated_by from field_definitions \
             order by definition->>'category', (definition->>'sort_order')::int, path limit $1",
        )
        .bind(MAX_LIST)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("list field definitions"))?;
        rows.into_iter().map(Row::read).collect()
    }

    /// One of them.
    pub(crate) async fn field_definition(
        &self,
        path: &str,
    ) -> Result<Versioned<FieldDefinition>, OperationError> {
        let row: Option<Row<FieldDefinition>> = sqlx::query_as(
            "select definition as document, version, updated_at, updated_by from field_definitions \
             where path = $1",
        )
        .bind(path)
        .fetch_optional(self.store.pool())
        .await
        .map_err(OperationError::query("read a field definition"))?;
        row.ok_or_else(|| no_field(path))?.read()
    }

    /// Writes a definition: a new one, or a new version of the one with its path.
    pub(crate) async fn write_field(
        &self,
        definition: &FieldDefinition,
        expected: Expected,
        author: &Author,
    ) -> Result<Versioned<FieldDefinition>, OperationError> {
        // Only what can be applied is kept.
        Field::new(definition.clone(), String::new(), author.at).map_err(PolicyRefusal::Field)?;
        self.store
            .run_tx_with("write_field_definition", ISOLATION, |tx| {
                Box::pin(async move { write_field(tx, definition, expected, author).await })
            })
            .await
    }

    /// Takes a definition away.
    pub(crate) async fn delete_field(
        &self,
        path: &str,
        author: &Author,
    ) -> Result<(), OperationError> {
        self.store
            .run_tx_with("delete_field_definition", ISOLATION, |tx| {
                Box::pin(async move {
                    let gone: Option<(Value, i64)> = sqlx::query_as(
                        "delete from field_definitions where path = $1 returning definition, version",
                    )
                    .bind(path)
                    .fetch_optional(&mut **tx)
                    .await
                    .map_err(OperationError::query("delete a field definition"))?;
                    let (definition, version) = gone.ok_or_else(|| no_field(path))?;
                    let step = (version + 1, "deleted");
                    record(tx, (None, Some(path)), step, &definition, author).await
                })
            })
            .await
    }

    /// The security policy of an org; the default where nobody wrote one.
    pub(crate) async fn security_policy(
        &self,
        org: &OrgId,
    ) -> Result<Versioned<SecurityPolicy>, OperationError> {
        self.nodes_exist(org).await?;
        let found = read_policy(self.store.pool(), org, false).await?;
        Ok(found.unwrap_or_else(unwritten))
    }

    /// Changes it: `change` makes the new policy of the present one.
    pub(crate) async fn write_security_policy(
        &self,
        org: &OrgId,
        change: &(dyn Fn(&SecurityPolicy) -> Result<SecurityPolicy, PolicyRefusal> + Sync),
        expected: Option<u64>,
        author: &Author,
    ) -> Result<Versioned<SecurityPolicy>, OperationError> {
        self.nodes_exist(org).await?;
        self.store
            .run_tx_with("write_security_policy", ISOLATION, |tx| {
                Box::pin(async move { write_policy(tx, org, change, expected, author).await })
            })
            .await
    }

    /// Versions of an org's policy (`org`) or of field definitions (`None`), newest first.
    pub(crate) async fn rule_history(
        &self,
        org: Option<&OrgId>,
        limit: i64,
    ) -> Result<Vec<RuleVersion>, OperationError> {
        sqlx::query_as(
            "select path, version, what, document, changed_at, changed_by from rule_history \
             where org_id is not distinct from $1 order by history_id desc limit $2",
        )
        .bind(org.map(OrgId::as_str))
        .bind(limit)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("read the history of rules"))
    }

    /// Keeps what a validation found.
    pub(crate) async fn keep_validation(
        &self,
        node: &Node,
        (missing, errors): (&[Missing], &[Violation]),
        author: &Author,
    ) -> Result<(), OperationError> {
        let is_valid = missing.is_empty() && errors.is_empty();
        sqlx::query(
            "insert into validation_statuses \
                 (org_id, node_id, node_version, valid, missing, errors, checked_at, checked_by) \
             select org_id, node_id, $3, $4, $5, $6, $7, $8 from nodes \
             where org_id = $1 and node_id = $2 \
             on conflict (org_id, node_id) do update set node_version = excluded.node_version, \
                 valid = excluded.valid, missing = excluded.missing, errors = excluded.errors, \
                 checked_at = excluded.checked_at, checked_by = excluded.checked_by",
        )
        .bind(node.org.as_str())
        .bind(node.id.as_str())
        .bind(i64::try_from(node.version).unwrap_or(i64::MAX))
        .bind(is_valid)
        .bind(Json(missing))
        .bind(Json(errors))
        .bind(author.at.to_sqlx())
        .bind(&author.by)
        .execute(self.store.pool())
        .await
        .map_err(OperationError::query("keep what a validation found"))?;
        Ok(())
    }

    /// Nodes whose last validation found something.
    pub(crate) async fn invalid_nodes(
        &self,
        org: &OrgId,
    ) -> Result<Vec<ValidationRow>, OperationError> {
        self.nodes_exist(org).await?;
        sqlx::query_as(
            "select node_id, node_version, valid, missing, errors, checked_at, checked_by \
             from validation_statuses where org_id = $1 and not valid order by node_id limit $2",
        )
        .bind(org.as_str())
        .bind(MAX_LIST)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("list invalid nodes"))
    }

    /// 404 for an org that is not there.
    async fn nodes_exist(&self, org: &OrgId) -> Result<(), OperationError> {
        let exists: bool = sqlx::query_scalar(
            "select exists (select from nodes where org_id = $1 and kind = 'org')",
        )
        .bind(org.as_str())
        .fetch_one(self.store.pool())
        .await
        .map_err(OperationError::query("look for an org"))?;
        if exists {
            return Ok(());
        }
        Err(crate::decide::Refusal::NoOrg { org: org.clone() }.into())
    }
}

/// What a caller who writes a definition counts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// There is none yet.
    New,
    /// There is one, of this version if the caller looked.
    Known(Option<u64>),
}

/// Definitions and policy of one moment, ready to judge.
pub(super) async fn read_rules(
    executor: impl PgExecutor<'_>,
    standards: &Arc<Standards>,
    org: &OrgId,
) -> Result<Rules, OperationError> {
    // One statement: one round trip per write, and both of one moment.
    let rows: Vec<(bool, Value, String, jiff_sqlx::Timestamp)> = sqlx::query_as(
        "select false, definition, updated_by, updated_at from field_definitions \
         union all \
         select true, policy, updated_by, updated_at from security_policies where org_id = $1",
    )
    .bind(org.as_str())
    .fetch_all(executor)
    .await
    .map_err(OperationError::query("read the rules of an org"))?;
    let mut fields = Vec::new();
    let mut security = Security::none();
    for (is_policy, document, by, at) in rows {
        let at = at.to_jiff();
        if is_policy {
            let policy = stored("security_policies", document)?;
            security = Security::new(policy, by, at)
                .map_err(|error| OperationError::corrupt("security_policies", error.to_string()))?;
        } else {
            let definition = stored("field_definitions", document)?;
            let field = Field::new(definition, by, at)
                .map_err(|error| OperationError::corrupt("field_definitions", error.to_string()))?;
            fields.push(field);
        }
    }
    Ok(Rules::new(Arc::clone(standards), fields, security))
}

fn stored<T: serde::de::DeserializeOwned>(
    table: &'static str,
    document: Value,
) -> Result<T, OperationError> {
    serde_json::from_value(document)
        .map_err(|error| OperationError::corrupt(table, error.to_string()))
}

/// As it holds where nobody wrote one.
fn unwritten() -> Versioned<SecurityPolicy> {
    Versioned {
        document: SecurityPolicy::default(),
        version: 0,
        updated_at: None,
        updated_by: String::new(),
    }
}

fn no_field(path: &str) -> OperationError {
    PolicyRefusal::NoField {
        path: path.to_owned(),
    }
    .into()
}

async fn read_policy(
    executor: impl PgExecutor<'_>,
    org: &OrgId,
    locked: bool,
) -> Result<Option<Versioned<SecurityPolicy>>, OperationError> {
    const READ: &str = "select policy as document, version, updated_at, updated_by \
                        from security_policies where org_id = $1";
    const LOCK: &str = "select policy as document, version, updated_at, updated_by \
                        from security_policies where org_id = $1 for update";
    let statement = if locked { LOCK } else { READ };
    let row: Option<Row<SecurityPolicy>> = sqlx::query_as(statement)
        .bind(org.as_str())
        .fetch_optional(executor)
        .await
        .map_err(OperationError::query("read a security policy"))?;
    row.map(Row::read).transpose()
}

async fn write_policy(
    tx: &mut Tx<'_>,
    org: &OrgId,
    change: &(dyn Fn(&SecurityPolicy) -> Result<SecurityPolicy, PolicyRefusal> + Sync),
    expected: Option<u64>,
    author: &Author,
) -> Result<Versioned<SecurityPolicy>, OperationError> {
    // Writers of one org's policy take turns at its root; it also has to be there.
    let root = NodeId::new(org.as_str())
        .map_err(|error| OperationError::corrupt("nodes", error.to_string()))?;
    nodes::lock(tx, org, &root).await?;
    let known = read_policy(&mut **tx, org, true).await?;
    let before = known.unwrap_or_else(unwritten);
    check_version(before.version, expected)?;
    let document = change(&before.document)?;
    Security::new(document.clone(), String::new(), author.at).map_err(PolicyRefusal::Policy)?;
    let last: i64 =
        sqlx::query_scalar("select coalesce(max(version), 0) from rule_history where org_id = $1")
            .bind(org.as_str())
            .fetch_one(&mut **tx)
            .await
            .map_err(OperationError::query("read the last version of a policy"))?;
    let version = last + 1;
    sqlx::query(
        "insert into security_policies (org_id, root_id, policy, version, updated_at, updated_by) \
         values ($1, $1, $2, $3, $4, $5) on conflict (org_id) do update set policy = excluded.policy, \
             version = excluded.version, updated_at = excluded.updated_at, updated_by = excluded.updated_by",
    )
    .bind(org.as_str())
    .bind(Json(&document))
    .bind(version)
    .bind(author.at.to_sqlx())
    .bind(&author.by)
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("write a security policy"))?;
    let what = if before.version == 0 {
        "created"
    } else {
        "updated"
    };
    record(tx, (Some(org), None), (version, what), &document, author).await?;
    Ok(Versioned {
        document,
        version: rows::version(version)?,
        updated_at: Some(author.at),
        updated_by: author.by.clone(),
    })
}

fn check_version(actual: u64, expected: Option<u64>) -> Result<(), OperationError> {
    match expected {
        Some(expected) if expected != actual => {
            Err(PolicyRefusal::RuleVersion { expected, actual }.into())
        }
        _ => Ok(()),
    }
}

async fn write_field(
    tx: &mut Tx<'_>,
    definition: &FieldDefinition,
    expected: Expected,
    author: &Author,
) -> Result<Versioned<FieldDefinition>, OperationError> {
    let path = definition.path.as_str();
    let known: Option<i64> =
        sqlx::query_scalar("select version from field_definitions where path = $1 for update")
            .bind(path)
            .fetch_optional(&mut **tx)
            .await
            .map_err(OperationError::query("lock a field definition"))?;
    let exists = || PolicyRefusal::FieldExists {
        path: path.to_owned(),
    };
    match (expected, known) {
        (Expected::New, Some(_)) => return Err(exists().into()),
        (Expected::Known(_), None) => return Err(no_field(path)),
        (Expected::Known(expected), Some(actual)) => {
            check_version(rows::version(actual)?, expected)?;
        }
        (Expected::New, None) => {}
    }
    let last: i64 =
        sqlx::query_scalar("select coalesce(max(version), 0) from rule_history where path = $1")
            .bind(path)
            .fetch_one(&mut **tx)
            .await
            .map_err(OperationError::query(
                "read the last version of a definition",
            ))?;
    let version = last + 1;
    let written = sqlx::query(
        "insert into field_definitions as known (path, definition, version, updated_at, updated_by) \
         values ($1, $2, $3, $4, $5) on conflict (path) do update set definition = excluded.definition, \
             version = excluded.version, updated_at = excluded.updated_at, updated_by = excluded.updated_by \
         where known.version < excluded.version and not $6",
    )
    .bind(path)
    .bind(Json(definition))
    .bind(version)
    .bind(author.at.to_sqlx())
    .bind(&author.by)
    .bind(expected == Expected::New)
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("write a field definition"))?;
    if written.rows_affected() == 0 {
        // Somebody else created it in this moment.
        return Err(exists().into());
    }
    let what = if known.is_none() {
        "created"
    } else {
        "updated"
    };
    record(tx, (None, Some(path)), (version, what), definition, author).await?;
    Ok(Versioned {
        document: definition.clone(),
        version: rows::version(version)?,
        updated_at: Some(author.at),
        updated_by: author.by.clone(),
    })
}

async fn record(
    tx: &mut Tx<'_>,
    (org, path): (Option<&OrgId>, Option<&str>),
    (version, what): (i64, &'static str),
    document: &(impl Serialize + Sync),
    author: &Author,
) -> Result<(), OperationError> {
    sqlx::query(
        "insert into rule_history (org_id, path, version, what, document, changed_at, changed_by) \
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(org.map(OrgId::as_str))
    .bind(path)
    .bind(version)
    .bind(what)
    .bind(Json(document))
    .bind(author.at.to_sqlx())
    .bind(&author.by)
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("record a version of a rule"))?;
    Ok(())
}
