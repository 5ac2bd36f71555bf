//! Templates of admins, and which node follows which template.

mod follow;

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::types::{Json, Uuid};

use super::{Author, Database, MAX_LIST};
use crate::error::OperationError;
use crate::merge::Config;
use crate::templates::{self, Template};

pub(crate) use follow::{Application, Chosen, Follow, Followed, Left};

/// A template that an admin added.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) id: Uuid,
    pub(crate) template: Template,
    pub(crate) created_at: Timestamp,
    pub(crate) created_by: String,
    pub(crate) updated_at: Timestamp,
    pub(crate) updated_by: String,
}

/// How often a template is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Applications, whatever became of them.
    pub(crate) applied: i64,
    /// Nodes that follow it now.
    pub(crate) active: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    template_id: Uuid,
    slug: String,
    name: String,
    description: String,
    category: String,
    template: Json<Config>,
    required_mcps: Vec<String>,
    required_tools: Vec<String>,
    version: i32,
    created_at: jiff_sqlx::Timestamp,
    created_by: String,
    updated_at: jiff_sqlx::Timestamp,
    updated_by: String,
}

impl From<Row> for Stored {
    fn from(row: Row) -> Self {
        Self {
            id: row.template_id,
            template: Template {
                slug: row.slug,
                name: row.name,
                description: row.description,
                category: row.category,
                version: row.version,
                required_mcps: row.required_mcps,
                required_tools: row.required_tools,
                template: row.template.0,
            },
            created_at: row.created_at.to_jiff(),
            created_by: row.created_by,
            updated_at: row.updated_at.to_jiff(),
            updated_by: row.updated_by,
        }
    }
}

impl Database {
    /// Those of admins, by slug.
    pub(crate) async fn templates(&self) -> Result<Vec<Stored>, OperationError> {
        let rows: Vec<Row> = sqlx::query_as(
            "select template_id, slug, name, description, category, template, required_mcps, required_tools, \
                    version, created_at, created_by, updated_at, updated_by \
             from templates order by slug limit $1",
        )
        .bind(MAX_LIST)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("list templates"))?;
        Ok(rows.into_iter().map(Stored::from).collect())
    }

    /// By id or slug.
    pub(crate) async fn template(&self, id: &str) -> Result<Option<Stored>, OperationError> {
        // Ids are slugs, too. Anything else may hold what Postgres takes in no text.
        if templates::check_slug(id).is_err() {
            return Ok(None);
        }
        let row: Option<Row> = sqlx::query_as(
            "select template_id, slug, name, description, category, template, required_mcps, required_tools, \
                    version, created_at, created_by, updated_at, updated_by \
             from templates where slug = $1 or template_id = $2",
        )
        .bind(id)
        .bind(Uuid::parse_str(id).ok())
        .fetch_optional(self.store.pool())
        .await
        .map_err(OperationError::query("read a template"))?;
        Ok(row.map(Stored::from))
    }

    /// `None` when the slug is taken.
    pub(crate) async fn create_template(
        &self,
        id: Uuid,
        new: &Template,
        author: &Author,
    ) -> Result<Option<Stored>, OperationError> {
        let row: Option<Row> = sqlx::query_as(
            "insert into templates (template_id, slug, name, description, category, template, required_mcps, \
                                    required_tools, version, created_at, created_by, updated_at, updated_by) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $10, $9, $10) on conflict (slug) do nothing \
             returning *",
        )
        .bind(id)
        .bind(&new.slug)
        .bind(&new.name)
        .bind(&new.description)
        .bind(&new.category)
        .bind(Json(&new.template))
        .bind(&new.required_mcps)
        .bind(&new.required_tools)
        .bind(author.at.to_sqlx())
        .bind(&author.by)
        .fetch_optional(self.store.pool())
        .await
        .map_err(OperationError::query("add a template"))?;
        Ok(row.map(Stored::from))
    }

    /// One version more; the slug stays. `None` when it is gone.
    pub(crate) async fn update_template(
        &self,
        id: Uuid,
        new: &Template,
        author: &Author,
    ) -> Result<Option<Stored>, OperationError> {
        let row: Option<Row> = sqlx::query_as(
            "update templates set name = $2, description = $3, category = $4, template = $5, required_mcps = $6, \
                    required_tools = $7, version = version + 1, updated_at = $8, updated_by = $9 \
             where template_id = $1 returning *",
        )
        .bind(id)
        .bind(&new.name)
        .bind(&new.description)
        .bind(&new.category)
        .bind(Json(&new.template))
        .bind(&new.required_mcps)
        .bind(&new.required_tools)
        .bind(author.at.to_sqlx())
        .bind(&author.by)
        .fetch_optional(self.store.pool())
        .await
        .map_err(OperationError::query("change a template"))?;
        Ok(row.map(Stored::from))
    }

    /// What follows it keeps what it set. Whether it was there.
    pub(crate) async fn delete_template(&self, id: Uuid) -> Result<bool, OperationError> {
        let gone = sqlx::query("delete from templates where template_id = $1")
            .bind(id)
            .execute(self.store.pool())
            .await
            .map_err(OperationError::query("delete a template"))?;
        Ok(gone.rows_affected() > 0)
    }

    /// By id of the template.
    pub(crate) async fn template_usage(&self) -> Result<BTreeMap<String, Usage>, OperationError> {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(
            "select template_id, count(*), count(*) filter (where ended_at is null) \
             from template_applications group by template_id",
        )
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("count the uses of templates"))?;
        let usage = |(id, applied, active)| (id, Usage { applied, active });
        Ok(rows.into_iter().map(usage).collect())
    }

    /// The latest uses of one, newest first.
    pub(crate) async fn template_applications(
        &self,
        template: &str,
        limit: i64,
    ) -> Result<Vec<Application>, OperationError> {
        let rows: Vec<follow::Row> = sqlx::query_as(
            "select * from template_applications where template_id = $1 \
             order by applied_at desc, application_id desc limit $2",
        )
        .bind(template)
        .bind(limit)
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("list the uses of a template"))?;
        rows.into_iter().map(Application::try_from).collect()
    }
}
