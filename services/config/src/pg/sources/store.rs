//! What writes of sources leave in their tables.

use jiff_sqlx::ToSqlx as _;
use sqlx::types::Json;
use tocsin_store::Tx;
use tocsin_wire::{OrgId, SecretName};

use super::rows::facts;
use crate::decide::Author;
use crate::error::OperationError;
use crate::source::{Source, SourceId, SourceSecret};

pub(super) async fn insert(tx: &mut Tx<'_>, new: &Source) -> Result<(), OperationError> {
    sqlx::query(
        "insert into sources (source_id, org_id, root_id, provider, name, disabled, settings, version, \
                              last_secret, created_at, created_by, updated_at, updated_by) \
         values ($1, $2, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(new.id.as_str())
    .bind(new.org.as_str())
    .bind(&new.provider)
    .bind(&new.name)
    .bind(new.disabled)
    .bind(Json(&new.settings))
    .bind(stored(new.version))
    .bind(i64::from(new.last_secret))
    .bind(new.created_at.to_sqlx())
    .bind(&new.created_by)
    .bind(new.updated_at.to_sqlx())
    .bind(&new.updated_by)
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("keep a source"))?;
    Ok(())
}

pub(super) async fn update(tx: &mut Tx<'_>, source: &Source) -> Result<(), OperationError> {
    sqlx::query(
        "update sources set name = $2, disabled = $3, settings = $4, version = $5, last_secret = $6, \
             updated_at = $7, updated_by = $8 where source_id = $1",
    )
    .bind(source.id.as_str())
    .bind(&source.name)
    .bind(source.disabled)
    .bind(Json(&source.settings))
    .bind(stored(source.version))
    .bind(i64::from(source.last_secret))
    .bind(source.updated_at.to_sqlx())
    .bind(&source.updated_by)
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("write a source"))?;
    Ok(())
}

pub(super) async fn link(
    tx: &mut Tx<'_>,
    (org, id): (&OrgId, &SourceId),
    secret: &SourceSecret,
    name: &SecretName,
) -> Result<(), OperationError> {
    sqlx::query(
        "insert into source_secrets (source_id, secret_id, org_id, root_id, secret_name, secret_version, \
                                     not_before, expires, created_at, created_by) \
         values ($1, $2, $3, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(id.as_str())
    .bind(i64::from(secret.number))
    .bind(org.as_str())
    .bind(name.as_str())
    .bind(stored(secret.version))
    .bind(secret.not_before.map(|at| at.to_sqlx()))
    .bind(secret.expires.map(|at| at.to_sqlx()))
    .bind(secret.created_at.to_sqlx())
    .bind(&secret.created_by)
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("keep a secret of a source"))?;
    Ok(())
}

pub(super) async fn unlink(
    tx: &mut Tx<'_>,
    id: &SourceId,
    number: u32,
) -> Result<(), OperationError> {
    sqlx::query("delete from source_secrets where source_id = $1 and secret_id = $2")
        .bind(id.as_str())
        .bind(i64::from(number))
        .execute(&mut **tx)
        .await
        .map_err(OperationError::query("remove a secret of a source"))?;
    Ok(())
}

pub(super) async fn end(
    tx: &mut Tx<'_>,
    id: &SourceId,
    secret: &SourceSecret,
) -> Result<(), OperationError> {
    sqlx::query("update source_secrets set expires = $3 where source_id = $1 and secret_id = $2")
        .bind(id.as_str())
        .bind(i64::from(secret.number))
        .bind(secret.expires.map(|at| at.to_sqlx()))
        .execute(&mut **tx)
        .await
        .map_err(OperationError::query("set when a secret of a source ends"))?;
    Ok(())
}

pub(super) async fn record(
    tx: &mut Tx<'_>,
    source: &Source,
    what: &'static str,
    author: &Author,
) -> Result<(), OperationError> {
    sqlx::query(
        "insert into source_history (org_id, source_id, version, what, facts, changed_by, changed_at) \
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(source.org.as_str())
    .bind(source.id.as_str())
    .bind(stored(source.version))
    .bind(what)
    .bind(Json(facts(source)))
    .bind(&author.by)
    .bind(author.at.to_sqlx())
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("record a version of a source"))?;
    Ok(())
}

fn stored(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}
