//! Writing the tree: any number of requests of one org in one transaction, with their history rows,
//! identifiers and outbox rows.
//!
//! A transaction first takes the org's row of `org_revisions`. So the writes of one org run one
//! after the other, whatever nodes they touch: nothing is lost, what was judged is still true when
//! it is stored, and two of them never wait for each other.

mod judgement;
mod known;
mod rows;
mod turns;

use std::collections::BTreeSet;
use std::sync::Arc;

use tocsin_store::{Isolation, Tx, outbox};
use tocsin_wire::OrgId;

use super::approvals::{self, Hold};
use super::{Database, policy, routing};
use crate::cache::Changes;
use crate::change::Change;
use crate::decide::{self, Approval, Effect, Known, WriteRequest};
use crate::error::OperationError;
use crate::node::{Kind, Node, NodeId};
use crate::policy::Standards;
use crate::routing::Identifier;

pub(crate) use crate::decide::Author;
pub(super) use turns::Turns;

/// The org's row is locked first, so waiting for it suffices and nothing has to be repeated.
const ISOLATION: Isolation = Isolation::ReadCommitted;

/// On this channel the database tells which node of which org was written: `<org> <node>`.
pub(crate) const CHANGED: &str = "tocsin_config_changed";

/// Nodes that are named to other replicas; more count as the whole org.
const NOTIFIED: usize = 32;

/// What some requests did, or would do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Written {
    /// Of the org after the transaction.
    pub(crate) revision: u64,
    /// In the order in which they are recorded.
    pub(crate) effects: Vec<Effect>,
    /// The nodes and all above them, before the first and after the last effect.
    pub(crate) before: Known,
    pub(crate) after: Known,
    /// Of a dry run: what somebody would have to approve first.
    pub(crate) needs_approval: Vec<String>,
}

/// What becomes of a request that the rules allow.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Applied(Box<Written>),
    /// Nothing has changed until somebody approves it.
    Held(Held),
}

/// A change that waits for approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) pending: uuid::Uuid,
    /// `prompt`, `tools`, …
    pub(crate) change_types: Vec<String>,
}

impl Written {
    /// The node that the last request was about.
    pub(crate) fn node(&self) -> Result<&Node, OperationError> {
        let last = self.effects.last().map(|effect| &effect.after);
        last.ok_or_else(|| OperationError::corrupt("nodes", "a write had no effect"))
    }
}

impl Database {
    /// Does what is asked, all or nothing; history, claims and news commit with it.
    pub(crate) async fn write(
        &self,
        org: &OrgId,
        request: &WriteRequest,
        author: &Author,
    ) -> Result<Outcome, OperationError> {
        let requests = std::slice::from_ref(request);
        self.write_all(org, requests, author, Mode::Apply).await
    }

    /// The same for many requests, in order; a later one sees what an earlier one did. A dry run
    /// meets all that a write would meet, and keeps nothing.
    pub(crate) async fn write_all(
        &self,
        org: &OrgId,
        requests: &[WriteRequest],
        author: &Author,
        mode: Mode,
    ) -> Result<Outcome, OperationError> {
        let _turn = self.turns.take(org).await;
        let nodes = requests.iter().map(|request| &request.node);
        let _noting = (mode == Mode::Apply).then(|| self.noting(org, nodes));
        let name = match mode {
            Mode::Apply => "write_config",
            Mode::DryRun => "try_config",
        };
        self.store
            .run_tx_with(name, ISOLATION, |tx| {
                Box::pin(async move {
                    if mode == Mode::Apply {
                        return write(tx, &self.standards, org, requests, author).await;
                    }
                    execute(tx, "savepoint dry_run").await?;
                    let outcome = try_all(tx, &self.standards, org, requests, author).await;
                    execute(tx, "rollback to savepoint dry_run").await?;
                    outcome
                })
            })
            .await
    }
}

/// Notes what may have changed when the write is over: also when its outcome is unknown, and when
/// its caller has gone away. To be held around every transaction that calls [`write`].
pub(super) struct Noting<'a> {
    changes: &'a Changes,
    org: &'a OrgId,
    nodes: Vec<&'a str>,
}

impl Database {
    pub(super) fn noting<'a>(
        &'a self,
        org: &'a OrgId,
        nodes: impl IntoIterator<Item = &'a NodeId>,
    ) -> Noting<'a> {
        Noting {
            changes: self.changes(),
            org,
            nodes: nodes.into_iter().map(NodeId::as_str).collect(),
        }
    }

    /// The same, where nobody knows yet which nodes.
    pub(super) fn noting_all<'a>(&'a self, org: &'a OrgId) -> Noting<'a> {
        Noting {
            changes: self.changes(),
            org,
            // Every line begins with the org.
            nodes: vec![org.as_str()],
        }
    }
}

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        for node in &self.nodes {
            self.changes.note(self.org.as_str(), node);
        }
    }
}

/// Whether a write is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Apply,
    DryRun,
}

async fn execute(tx: &mut Tx<'_>, statement: &'static str) -> Result<(), OperationError> {
    sqlx::query(statement)
        .execute(&mut **tx)
        .await
        .map_err(OperationError::query("try a write"))?;
    Ok(())
}

/// What would be written, also of what would wait for approval. The caller takes it back.
async fn try_all(
    tx: &mut Tx<'_>,
    standards: &Arc<Standards>,
    org: &OrgId,
    requests: &[WriteRequest],
    author: &Author,
) -> Result<Outcome, OperationError> {
    let held = match write(tx, standards, org, requests, author).await? {
        Outcome::Held(held) => held,
        applied @ Outcome::Applied(_) => return Ok(applied),
    };
    let approve = |request: &WriteRequest| request.clone().approval(Approval::Given);
    let approved: Vec<WriteRequest> = requests.iter().map(approve).collect();
    let mut outcome = write(tx, standards, org, &approved, author).await?;
    if let Outcome::Applied(written) = &mut outcome {
        written.needs_approval = held.change_types;
    }
    Ok(outcome)
}

/// The one write path: everything that changes a node comes through here.
pub(super) async fn write(
    tx: &mut Tx<'_>,
    standards: &Arc<Standards>,
    org: &OrgId,
    requests: &[WriteRequest],
    author: &Author,
) -> Result<Outcome, OperationError> {
    let revision = lock_org(tx, org).await?;
    let before = known::load(tx, org, requests).await?;
    let rules = policy::read_rules(&mut **tx, standards, org).await?;
    let mut known = before.clone();
    let mut effects = Vec::with_capacity(requests.len());
    let mut reasons = Vec::new();
    let mut asked = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        let judged = judgement::judge(&rules, &known, request, author);
        let done = judged.map_err(|error| at(requests, index, error))?;
        super::secrets::check_references(tx, &known, &done.effects)
            .await
            .map_err(|error| at(requests, index, error))?;
        let version = known.tree.get(&request.node).map(|node| node.version);
        asked.push(request.clone().expecting(version));
        known.apply(&done.effects);
        effects.extend(done.effects);
        reasons.extend(done.reasons);
    }
    if !reasons.is_empty() {
        // All of it waits: half of what somebody asked for is something else.
        let hold = Hold {
            org,
            requests: asked,
            effects: &effects,
            reasons: &reasons,
        };
        return Ok(Outcome::Held(approvals::hold(tx, hold, author).await?));
    }
    let written = Written {
        revision,
        effects,
        before,
        after: known,
        needs_approval: Vec::new(),
    };
    store(tx, org, &written).await?;
    Ok(Outcome::Applied(Box::new(written)))
}

/// A batch says which of its requests is refused.
fn at(requests: &[WriteRequest], index: usize, error: OperationError) -> OperationError {
    match (error, requests.get(index)) {
        (OperationError::Refused(refusal), Some(request)) if requests.len() > 1 => {
            OperationError::Stopped {
                index,
                node: request.node.clone(),
                refusal,
            }
        }
        (error, _) => error,
    }
}

/// Makes the writes of an org run one after the other, until the transaction ends. Returns the
/// revision that this one makes.
pub(super) async fn lock_org(tx: &mut Tx<'_>, org: &OrgId) -> Result<u64, OperationError> {
    let revision: i64 = sqlx::query_scalar(
        "insert into org_revisions as known (org_id, revision) values ($1, 1) \
         on conflict (org_id) do update set revision = known.revision + 1 returning revision",
    )
    .bind(org.as_str())
    .fetch_one(&mut **tx)
    .await
    .map_err(OperationError::query("lock an org"))?;
    super::rows::version(revision)
}

async fn store(tx: &mut Tx<'_>, org: &OrgId, written: &Written) -> Result<(), OperationError> {
    let Written {
        revision,
        effects,
        before,
        after,
        ..
    } = written;
    if effects.len() > 1 {
        execute(tx, "set constraints nodes_parent deferred").await?;
    }
    rows::store_nodes(tx, org, before, after, effects).await?;
    rows::record(tx, org, *revision, effects).await?;
    check_heaviest(tx, org, effects).await?;
    let claims: Vec<routing::Written<'_>> = effects
        .iter()
        .map(|effect| routing::Written {
            before: effect.before.as_ref(),
            after: (!effect.is_deletion()).then_some(&effect.after),
        })
        .collect();
    let touched = routing::claim(tx, org, &claims).await?;
    notify(tx, org, effects).await?;
    announce(tx, *revision, effects, touched).await
}

/// What hangs below a unit or an org is not loaded; the database adds it up.
async fn check_heaviest(
    tx: &mut Tx<'_>,
    org: &OrgId,
    effects: &[Effect],
) -> Result<(), OperationError> {
    let grown = effects.iter().filter(|effect| {
        let before = effect.before.as_ref();
        effect.after.kind != Kind::Team
            && !effect.is_deletion()
            && before.is_some_and(|before| {
                before.config != effect.after.config || before.parent != effect.after.parent
            })
    });
    let ids: BTreeSet<&str> = grown.map(|effect| effect.after.id.as_str()).collect();
    if ids.is_empty() {
        return Ok(());
    }
    for (node, bytes) in rows::heaviest(tx, org, ids.into_iter().collect()).await? {
        let node = NodeId::new(node)
            .map_err(|error| OperationError::corrupt("nodes", error.to_string()))?;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        decide::check_heaviest(&node, bytes)?;
    }
    Ok(())
}

/// Told to all replicas when the transaction commits.
async fn notify(tx: &mut Tx<'_>, org: &OrgId, effects: &[Effect]) -> Result<(), OperationError> {
    let mut nodes: Vec<&str> = effects
        .iter()
        .map(|effect| effect.after.id.as_str())
        .collect();
    if nodes.len() > NOTIFIED {
        // Every line begins with the org.
        nodes = vec![org.as_str()];
    }
    sqlx::query(
        "select pg_notify($1, $2 || ' ' || node) from unnest($3::text[]) as changed (node)",
    )
    .bind(CHANGED)
    .bind(org.as_str())
    .bind(nodes)
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("tell other replicas"))?;
    Ok(())
}

/// Last in its transaction: appending holds a lock that other writers wait for.
async fn announce(
    tx: &mut Tx<'_>,
    revision: u64,
    effects: &[Effect],
    mut touched: routing::Touched,
) -> Result<(), OperationError> {
    let batch = u32::try_from(effects.len()).unwrap_or(u32::MAX);
    let mut messages = Vec::with_capacity(effects.len());
    for effect in effects {
        let node = &effect.after;
        let identifiers: BTreeSet<Identifier> = touched.remove(&node.id).unwrap_or_default();
        let change = Change {
            org: node.org.clone(),
            node: node.id.clone(),
            kind: node.kind,
            version: node.version,
            what: effect.what,
            about: String::new(),
            by: node.updated_by.clone(),
            at: node.updated_at,
            revision,
            batch,
            identifiers,
        };
        messages.push(change.message()?);
    }
    outbox::append(tx, &messages).await?;
    Ok(())
}
