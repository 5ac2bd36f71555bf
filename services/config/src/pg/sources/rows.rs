//! Rows of sources and what they mean.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx::types::Json;
use tocsin_wire::OrgId;
use tocsin_wire::source::SourceSettings;

use crate::error::OperationError;
use crate::pg::rows::version;
use crate::source::{Source, SourceId, SourceSecret};

#[derive(sqlx::FromRow)]
struct SourceRow {
    source_id: String,
    org_id: String,
    provider: String,
    name: String,
    disabled: bool,
    settings: Json<SourceSettings>,
    version: i64,
    last_secret: i32,
    created_at: jiff_sqlx::Timestamp,
    created_by: String,
    updated_at: jiff_sqlx::Timestamp,
    updated_by: String,
}

#[derive(sqlx::FromRow)]
struct SecretRow {
    source_id: String,
    secret_id: i32,
    secret_version: i64,
    not_before: Option<jiff_sqlx::Timestamp>,
    expires: Option<jiff_sqlx::Timestamp>,
    created_at: jiff_sqlx::Timestamp,
    created_by: String,
}

/// Which sources.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Selection<'a> {
    pub(super) org: Option<&'a str>,
    pub(super) provider: Option<&'a str>,
    /// All, where nothing is said.
    pub(super) ids: Option<&'a [&'a str]>,
}

/// By provider and name, as of one moment when the connection is in a transaction that sees one.
pub(super) async fn select(
    connection: &mut PgConnection,
    which: Selection<'_>,
) -> Result<Vec<Source>, OperationError> {
    let rows: Vec<SourceRow> = sqlx::query_as(
        "select source_id, org_id, provider, name, disabled, settings, version, last_secret, \
                created_at, created_by, updated_at, updated_by from sources \
         where ($1::text is null or org_id = $1) and ($2::text is null or provider = $2) \
           and ($3::text[] is null or source_id = any($3)) \
         order by org_id, provider, name",
    )
    .bind(which.org)
    .bind(which.provider)
    .bind(which.ids)
    .fetch_all(&mut *connection)
    .await
    .map_err(OperationError::query("read sources"))?;
    let ids: Vec<&str> = rows.iter().map(|row| row.source_id.as_str()).collect();
    let secrets: Vec<SecretRow> = sqlx::query_as(
        "select source_id, secret_id, secret_version, not_before, expires, created_at, created_by \
         from source_secrets where source_id = any($1) order by source_id, secret_id",
    )
    .bind(ids)
    .fetch_all(&mut *connection)
    .await
    .map_err(OperationError::query("read the secrets of sources"))?;
    let mut of: BTreeMap<String, Vec<SourceSecret>> = BTreeMap::new();
    for row in secrets {
        let id = row.source_id.clone();
        of.entry(id).or_default().push(row.try_into()?);
    }
    rows.into_iter()
        .map(|row| {
            let secrets = of.remove(&row.source_id).unwrap_or_default();
            source(row, secrets)
        })
        .collect()
}

fn source(row: SourceRow, secrets: Vec<SourceSecret>) -> Result<Source, OperationError> {
    let corrupt = |why: String| OperationError::corrupt("sources", why);
    Ok(Source {
        id: SourceId::parse(&row.source_id).ok_or_else(|| corrupt(row.source_id.clone()))?,
        org: OrgId::new(row.org_id).map_err(|error| corrupt(error.to_string()))?,
        provider: row.provider,
        name: row.name,
        disabled: row.disabled,
        settings: row.settings.0,
        secrets,
        last_secret: number(row.last_secret)?,
        version: version(row.version)?,
        created_at: row.created_at.to_jiff(),
        created_by: row.created_by,
        updated_at: row.updated_at.to_jiff(),
        updated_by: row.updated_by,
    })
}

impl TryFrom<SecretRow> for SourceSecret {
    type Error = OperationError;

    fn try_from(row: SecretRow) -> Result<Self, Self::Error> {
        let time = |stored: Option<jiff_sqlx::Timestamp>| -> Option<Timestamp> {
            stored.map(jiff_sqlx::Timestamp::to_jiff)
        };
        Ok(Self {
            number: number(row.secret_id)?,
            version: version(row.secret_version)?,
            not_before: time(row.not_before),
            expires: time(row.expires),
            created_at: row.created_at.to_jiff(),
            created_by: row.created_by,
        })
    }
}

fn number(stored: i32) -> Result<u32, OperationError> {
    u32::try_from(stored).map_err(|error| OperationError::corrupt("sources", error.to_string()))
}

/// What history keeps of a version.
pub(super) fn facts(source: &Source) -> Value {
    let secrets = source.secrets.iter().map(|secret| {
        json!({"id": secret.number, "not_before": secret.not_before, "expires": secret.expires})
    });
    json!({
        "provider": source.provider,
        "name": source.name,
        "disabled": source.disabled,
        "settings": source.settings,
        "secrets": secrets.collect::<Value>(),
    })
}
