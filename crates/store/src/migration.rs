//! Migrations: applied when asked, checked at every start.

use std::time::Duration;

use sqlx::migrate::{Migrate as _, MigrateError, Migration};
use sqlx::{Connection as _, PgConnection};

use crate::connection::{self, Limits};
use crate::error::{SchemaProblem, StoreError};
use crate::pool::Store;

/// Rewriting a large table takes minutes; the same limit holds for waiting until another process has migrated.
const MIGRATION_LIMIT: Duration = Duration::from_secs(600);

impl Store {
    /// Creates the schema if need be and applies what is missing, each migration in a transaction of its own. Only one
    /// process migrates a schema at a time; the others wait and find nothing to do.
    ///
    /// # Errors
    /// When the database cannot be reached, holds migrations that this program does not know, or refuses one.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let limits = Limits {
            statement: MIGRATION_LIMIT,
            lock: MIGRATION_LIMIT,
        };
        // Not from the pool: a failed migration closes its connection, and with it go the lock and the limits.
        let mut connection = connection::connect(&self.options, self.schema, limits).await?;
        let applied = self.apply_migrations(&mut connection).await;
        let schema = self.schema;
        applied.map_err(|source| match problem_of(&source) {
            Some(problem) => StoreError::Schema { schema, problem },
            None => StoreError::Migrate { schema, source },
        })?;
        if let Err(error) = connection.close().await {
            tracing::debug!(%error, "the connection that migrated was not closed in order");
        }
        tracing::info!(schema, "the schema has all migrations of this program");
        Ok(())
    }

    async fn apply_migrations(&self, connection: &mut PgConnection) -> Result<(), MigrateError> {
        sqlx::query("select pg_advisory_lock(hashtextextended('tocsin migrations of ' || $1, 0))")
            .bind(self.schema)
            .execute(&mut *connection)
            .await?;
        // Only when it is missing: a role that may not create schemas can still migrate one that was made for it.
        let exists: bool = sqlx::query_scalar("select to_regnamespace($1) is not null")
            .bind(self.schema)
            .fetch_one(&mut *connection)
            .await?;
        if !exists {
            connection.create_schema_if_not_exists(self.schema).await?;
        }
        self.migrator.run_direct(None, connection, false).await
    }

    /// Refuses to work with a schema that is not exactly the one this program was built for.
    ///
    /// # Errors
    /// [`StoreError::Schema`] with what to do; another (transient) error when the database does not answer.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        let schema = self.schema;
        let applied = self
            .applied_migrations()
            .await
            .map_err(|source| StoreError::ReadMigrations { schema, source })?;
        let known: Vec<Known<'_>> = self
            .migrator
            .iter()
            .filter(|migration| !migration.migration_type.is_down_migration())
            .map(Known::from)
            .collect();
        compare(applied.as_deref(), &known)
            .map_err(|problem| StoreError::Schema { schema, problem })
    }

    async fn applied_migrations(&self) -> Result<Option<Vec<Applied>>, sqlx::Error> {
        let exists: bool =
            sqlx::query_scalar("select to_regclass($1 || '._migrations') is not null")
                .bind(self.schema)
                .fetch_one(&self.pool)
                .await?;
        if !exists {
            return Ok(None);
        }
        let applied =
            sqlx::query_as("select version, success, checksum from _migrations order by version");
        applied.fetch_all(&self.pool).await.map(Some)
    }
}

#[derive(sqlx::FromRow)]
struct Applied {
    version: i64,
    success: bool,
    checksum: Vec<u8>,
}

struct Known<'a> {
    version: i64,
    checksum: &'a [u8],
}

impl<'a> From<&'a Migration> for Known<'a> {
    fn from(migration: &'a Migration) -> Self {
        Self {
            version: migration.version,
            checksum: &migration.checksum,
        }
    }
}

/// `applied` is `None` when the table of migrations does not exist; both lists are in order of versions.
fn compare(applied: Option<&[Applied]>, known: &[Known<'_>]) -> Result<(), SchemaProblem> {
    let applied = applied.ok_or(SchemaProblem::Missing)?;
    for Applied {
        version,
        success,
        checksum,
    } in applied
    {
        let version = *version;
        if !success {
            return Err(SchemaProblem::Unfinished { version });
        }
        match known.iter().find(|known| known.version == version) {
            None => return Err(SchemaProblem::Newer { version }),
            Some(known) if known.checksum != checksum.as_slice() => {
                return Err(SchemaProblem::Changed { version });
            }
            Some(_) => {}
        }
    }
    let mut pending = known.iter().filter(|known| {
        !applied
            .iter()
            .any(|applied| applied.version == known.version)
    });
    match pending.next() {
        None => Ok(()),
        Some(first) => Err(SchemaProblem::Behind {
            pending: 1 + pending.count(),
            first: first.version,
        }),
    }
}

fn problem_of(error: &MigrateError) -> Option<SchemaProblem> {
    match error {
        MigrateError::VersionMissing(version) => Some(SchemaProblem::Newer { version: *version }),
        MigrateError::VersionMismatch(version) => {
            Some(SchemaProblem::Changed { version: *version })
        }
        MigrateError::Dirty(version) => Some(SchemaProblem::Unfinished { version: *version }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_difference_is_refused_with_what_to_do() {
        type Row = (i64, bool, u8);
        let applied = |rows: &[Row]| {
            let row = |&(version, success, sum): &Row| Applied {
                version,
                success,
                checksum: vec![sum],
            };
            rows.iter().map(row).collect::<Vec<_>>()
        };
        let known = [
            Known {
                version: 1,
                checksum: &[1],
            },
            Known {
                version: 3,
                checksum: &[3],
            },
        ];
        let cases: [(&[Row], Result<(), SchemaProblem>); 6] = [
            (&[(1, true, 1), (3, true, 3)], Ok(())),
            (
                &[],
                Err(SchemaProblem::Behind {
                    pending: 2,
                    first: 1,
                }),
            ),
            (
                &[(3, true, 3)],
                Err(SchemaProblem::Behind {
                    pending: 1,
                    first: 1,
                }),
            ),
            (
                &[(1, true, 1), (3, true, 3), (4, true, 4)],
                Err(SchemaProblem::Newer { version: 4 }),
            ),
            (
                &[(1, true, 9), (3, true, 3)],
                Err(SchemaProblem::Changed { version: 1 }),
            ),
            (
                &[(1, false, 1)],
                Err(SchemaProblem::Unfinished { version: 1 }),
            ),
        ];
        for (rows, expected) in cases {
            assert_eq!(compare(Some(&applied(rows)), &known), expected, "{rows:?}");
        }
        assert_eq!(compare(None, &known), Err(SchemaProblem::Missing));
    }
}
