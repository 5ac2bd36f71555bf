//! A node follows a template, or stops: the config changes through the one write path, and in the
//! same transaction it is noted what was replaced.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgExecutor;
use sqlx::types::{Json, Uuid};
use tocsin_store::{Isolation, Tx};
use tocsin_wire::OrgId;

use crate::decide::{Action, WriteRequest};
use crate::error::OperationError;
use crate::merge::{self, Config};
use crate::node::{Lineage, Node, NodeId};
use crate::pg::writes::{self, Held};
use crate::pg::{Author, Database, Outcome, Written, nodes, rows};
use crate::policy::Standards;
use crate::templates::{self, Template};

/// The org's row is locked first, as every write does.
const ISOLATION: Isolation = Isolation::ReadCommitted;

/// A template with the name under which its uses are counted.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) id: String,
    pub(crate) template: Template,
}

/// One use of a template.
#[derive(Debug, Clone)]
pub(crate) struct Application {
    pub(crate) id: Uuid,
    pub(crate) org: String,
    pub(crate) node: String,
    pub(crate) template: String,
    pub(crate) slug: String,
    pub(crate) template_version: i32,
    /// The node's own config without it and with it.
    pub(crate) before: Config,
    pub(crate) after: Config,
    /// The node's version that it made.
    pub(crate) node_version: u64,
    pub(crate) applied_at: Timestamp,
    pub(crate) applied_by: String,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) ended_by: Option<String>,
    /// `replaced` or `reverted`.
    pub(crate) ended_as: Option<String>,
}

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    application_id: Uuid,
    org_id: String,
    node_id: String,
    template_id: String,
    slug: String,
    template_version: i32,
    before_config: Json<Config>,
    after_config: Json<Config>,
    node_version: i64,
    applied_at: jiff_sqlx::Timestamp,
    applied_by: String,
    ended_at: Option<jiff_sqlx::Timestamp>,
    ended_by: Option<String>,
    ended_as: Option<String>,
}

impl TryFrom<Row> for Application {
    type Error = OperationError;

    fn try_from(row: Row) -> Result<Self, Self::Error> {
        Ok(Self {
            id: row.application_id,
            org: row.org_id,
            node: row.node_id,
            template: row.template_id,
            slug: row.slug,
            template_version: row.template_version,
            before: row.before_config.0,
            after: row.after_config.0,
            node_version: rows::version(row.node_version)?,
            applied_at: row.applied_at.to_jiff(),
            applied_by: row.applied_by,
            ended_at: row.ended_at.map(jiff_sqlx::Timestamp::to_jiff),
            ended_by: row.ended_by,
            ended_as: row.ended_as,
        })
    }
}

/// What a template is to be laid over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Follow<'a> {
    pub(crate) org: &'a OrgId,
    pub(crate) node: &'a NodeId,
    pub(crate) chosen: &'a Chosen,
    /// Names the use.
    pub(crate) application: Uuid,
    pub(crate) defaults: &'a Config,
    pub(crate) built_in: &'a BTreeSet<&'a str>,
    /// The version that the caller saw.
    pub(crate) expected: Option<u64>,
}

/// What became of it.
#[derive(Debug, Clone)]
pub(crate) enum Followed {
    Done {
        node: Box<Node>,
        /// Built-in agents that were switched off.
        disabled: Vec<String>,
    },
    /// Somebody has to approve it; until then nothing has changed, and the node does not follow it.
    Held(Held),
}

/// What became of taking a template back.
#[derive(Debug, Clone)]
pub(crate) enum Left {
    Done {
        node: Box<Node>,
        application: Box<Application>,
        /// Paths that were changed since and stay as they are.
        kept: Vec<String>,
    },
    Held(Held),
    /// The node follows none.
    None,
}

impl Database {
    /// What a node would set itself, with the template and without; nothing is changed.
    pub(crate) async fn preview_template(
        &self,
        follow: &Follow<'_>,
    ) -> Result<(Lineage, templates::Applied), OperationError> {
        let line = self.lineage(follow.org, follow.node).await?;
        let active = active(self.store.pool(), follow.org, follow.node).await?;
        let applied = laid_over(&line, active.as_ref(), follow);
        Ok((line, applied))
    }

    /// Makes a node follow a template; one that it follows already is taken back first.
    pub(crate) async fn apply_template(
        &self,
        follow: &Follow<'_>,
        author: &Author,
    ) -> Result<Followed, OperationError> {
        let _noting = self.noting(follow.org, [follow.node]);
        self.store
            .run_tx_with("apply_template", ISOLATION, |tx| {
                Box::pin(async move { apply(tx, &self.standards, follow, author).await })
            })
            .await
    }

    /// Takes back the template that a node follows.
    pub(crate) async fn revert_template(
        &self,
        (org, node): (&OrgId, &NodeId),
        expected: Option<u64>,
        author: &Author,
    ) -> Result<Left, OperationError> {
        let _noting = self.noting(org, [node]);
        self.store
            .run_tx_with("revert_template", ISOLATION, |tx| {
                Box::pin(
                    async move { revert(tx, &self.standards, (org, node), expected, author).await },
                )
            })
            .await
    }

    /// The template that a node follows.
    pub(crate) async fn active_template(
        &self,
        org: &OrgId,
        node: &NodeId,
    ) -> Result<Option<Application>, OperationError> {
        active(self.store.pool(), org, node).await
    }

    /// A new org that follows a template from its first version on.
    pub(crate) async fn create_org(
        &self,
        request: &WriteRequest,
        follow: &Follow<'_>,
        author: &Author,
    ) -> Result<Outcome, OperationError> {
        let _noting = self.noting(follow.org, [follow.node]);
        self.store
            .run_tx_with("create_org", ISOLATION, |tx| {
                Box::pin(async move {
                    let requests = std::slice::from_ref(request);
                    let outcome =
                        writes::write(tx, &self.standards, follow.org, requests, author).await?;
                    if let Outcome::Applied(written) = &outcome {
                        note(tx, follow, &Config::new(), written, author).await?;
                    }
                    Ok(outcome)
                })
            })
            .await
    }
}

/// The node's own config with the template instead of the one that it follows.
fn laid_over(
    line: &Lineage,
    active: Option<&Application>,
    follow: &Follow<'_>,
) -> templates::Applied {
    let (above, own) = match line.0.split_last() {
        Some((node, above)) => (above, node.config.clone()),
        None => (line.0.as_slice(), Config::new()),
    };
    let own = without(active, own);
    let configs = above.iter().map(|node| &node.config);
    let above = merge::effective(std::iter::once(follow.defaults).chain(configs));
    templates::apply(
        &follow.chosen.template.template,
        &own,
        &above,
        follow.built_in,
    )
}

fn without(active: Option<&Application>, own: Config) -> Config {
    match active {
        Some(active) => templates::revert(&active.before, &active.after, &own).config,
        None => own,
    }
}

async fn apply(
    tx: &mut Tx<'_>,
    standards: &Arc<Standards>,
    follow: &Follow<'_>,
    author: &Author,
) -> Result<Followed, OperationError> {
    let (org, node) = (follow.org, follow.node);
    let line = locked(tx, org, node).await?;
    let active = active(&mut **tx, org, node).await?;
    let own = line
        .node()
        .map(|node| node.config.clone())
        .unwrap_or_default();
    let before = without(active.as_ref(), own);
    let applied = laid_over(&line, active.as_ref(), follow);
    let template = &follow.chosen.template;
    let request = WriteRequest::new(node.clone(), Action::Replace(applied.config))
        .expecting(follow.expected)
        .because(format!(
            "Template {} version {} applied",
            template.slug, template.version
        ));
    match writes::write(tx, standards, org, std::slice::from_ref(&request), author).await? {
        Outcome::Held(held) => Ok(Followed::Held(held)),
        Outcome::Applied(written) => {
            end(tx, org, node, "replaced", author).await?;
            note(tx, follow, &before, &written, author).await?;
            Ok(Followed::Done {
                node: Box::new(written.node()?.clone()),
                disabled: applied.disabled,
            })
        }
    }
}

async fn revert(
    tx: &mut Tx<'_>,
    standards: &Arc<Standards>,
    (org, node): (&OrgId, &NodeId),
    expected: Option<u64>,
    author: &Author,
) -> Result<Left, OperationError> {
    let line = locked(tx, org, node).await?;
    let Some(application) = active(&mut **tx, org, node).await? else {
        return Ok(Left::None);
    };
    let own = line
        .node()
        .map(|node| node.config.clone())
        .unwrap_or_default();
    let reverted = templates::revert(&application.before, &application.after, &own);
    let request = WriteRequest::new(node.clone(), Action::Replace(reverted.config))
        .expecting(expected)
        .because(format!("Template {} taken back", application.slug));
    match writes::write(tx, standards, org, std::slice::from_ref(&request), author).await? {
        Outcome::Held(held) => Ok(Left::Held(held)),
        Outcome::Applied(written) => {
            end(tx, org, node, "reverted", author).await?;
            Ok(Left::Done {
                node: Box::new(written.node()?.clone()),
                application: Box::new(application),
                kept: reverted.kept,
            })
        }
    }
}

/// The line of a node that nobody writes until this transaction ends.
async fn locked(tx: &mut Tx<'_>, org: &OrgId, node: &NodeId) -> Result<Lineage, OperationError> {
    sqlx::query("select from org_revisions where org_id = $1 for update")
        .bind(org.as_str())
        .execute(&mut **tx)
        .await
        .map_err(OperationError::query("lock an org"))?;
    let line = nodes::read_lineage(&mut **tx, org, node).await?;
    Ok(line.ok_or_else(|| nodes::no_node(org, node))?)
}

async fn active(
    executor: impl PgExecutor<'_>,
    org: &OrgId,
    node: &NodeId,
) -> Result<Option<Application>, OperationError> {
    let row: Option<Row> = sqlx::query_as(
        "select * from template_applications where org_id = $1 and node_id = $2 and ended_at is null",
    )
    .bind(org.as_str())
    .bind(node.as_str())
    .fetch_optional(executor)
    .await
    .map_err(OperationError::query("read the template of a node"))?;
    row.map(Application::try_from).transpose()
}

async fn end(
    tx: &mut Tx<'_>,
    org: &OrgId,
    node: &NodeId,
    ended_as: &str,
    author: &Author,
) -> Result<(), OperationError> {
    sqlx::query(
        "update template_applications set ended_at = $3, ended_by = $4, ended_as = $5 \
         where org_id = $1 and node_id = $2 and ended_at is null",
    )
    .bind(org.as_str())
    .bind(node.as_str())
    .bind(author.at.to_sqlx())
    .bind(&author.by)
    .bind(ended_as)
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("end the use of a template"))?;
    Ok(())
}

async fn note(
    tx: &mut Tx<'_>,
    follow: &Follow<'_>,
    before: &Config,
    written: &Written,
    author: &Author,
) -> Result<(), OperationError> {
    let node = written.node()?;
    sqlx::query(
        "insert into template_applications (application_id, org_id, node_id, template_id, slug, template_version, \
             before_config, after_config, node_version, applied_at, applied_by) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(follow.application)
    .bind(follow.org.as_str())
    .bind(follow.node.as_str())
    .bind(&follow.chosen.id)
    .bind(&follow.chosen.template.slug)
    .bind(follow.chosen.template.version)
    .bind(Json(before))
    .bind(Json(&node.config))
    .bind(i64::try_from(node.version).unwrap_or(i64::MAX))
    .bind(author.at.to_sqlx())
    .bind(&author.by)
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("note the use of a template"))?;
    Ok(())
}
