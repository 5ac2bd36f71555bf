//! The one way to change the tree: what a request does to the nodes that are known. Pure.
//!
//! A transaction loads [`Known`], asks [`write`] for the effects of each request in turn, and stores
//! them. A later request of the same transaction sees what an earlier one did.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tocsin_wire::OrgId;

use super::{MAX_DEPTH, MAX_LINE_BYTES, Refusal, check_name, check_storable};
use crate::change::What;
use crate::diff::{self, Diff};
use crate::merge::{self, Config};
use crate::node::{Kind, Lineage, Node, NodeId, Tree};
use crate::routing;
use crate::schema::normalised;

/// Names of children that a refusal lists.
const NAMED_CHILDREN: usize = 20;

/// Who writes, and when.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    pub(crate) by: String,
    pub(crate) at: Timestamp,
}

/// Whether a change that somebody has to approve may be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Approval {
    /// It waits until it is approved.
    #[default]
    Needed,
    /// It was approved.
    Given,
    /// The caller wants to do without, where the org's policy lets them.
    Bypassed,
}

/// One change that is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WriteRequest {
    /// The node that is changed or created.
    pub(crate) node: NodeId,
    /// What is to happen to it.
    pub(crate) action: Action,
    /// The version that the caller saw; `None` when the caller did not look.
    pub(crate) expected: Option<u64>,
    /// Goes into the history.
    pub(crate) reason: String,
    #[serde(skip)]
    pub(crate) approval: Approval,
}

impl WriteRequest {
    pub(crate) fn new(node: NodeId, action: Action) -> Self {
        Self {
            node,
            action,
            expected: None,
            reason: String::new(),
            approval: Approval::Needed,
        }
    }

    pub(crate) fn expecting(self, expected: Option<u64>) -> Self {
        Self { expected, ..self }
    }

    pub(crate) fn because(self, reason: String) -> Self {
        Self { reason, ..self }
    }

    pub(crate) fn approval(self, approval: Approval) -> Self {
        Self { approval, ..self }
    }
}

/// What is to happen to a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// A new node; without a parent, the root of a new org.
    Create {
        parent: Option<NodeId>,
        kind: Kind,
        /// The id when empty.
        name: String,
        config: Config,
    },
    /// Merge into the node's own config.
    Patch(Config),
    /// Put in place of the node's own config.
    Replace(Config),
    /// Restore the own config of that version.
    Rollback(u64),
    /// Another parent, another name, or both.
    Place {
        parent: Option<NodeId>,
        name: Option<String>,
    },
    /// Remove it; with everything below it if `recursive`.
    Delete { recursive: bool },
}

/// What the database says about the nodes of some requests.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Known {
    pub(crate) org: OrgId,
    /// The nodes with all above them, and with all below those that move or go.
    pub(crate) tree: Tree,
    /// Last version of ids that are to be created, where a namesake was deleted.
    pub(crate) last_versions: BTreeMap<NodeId, u64>,
    /// Own configs of earlier versions; `None` for a version in which the node was deleted.
    pub(crate) past: BTreeMap<(NodeId, u64), Option<Config>>,
}

/// What happens to one node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Effect {
    /// `None` when it is new.
    pub(crate) before: Option<Node>,
    /// When it was deleted: its last place, no config, and the version of the deletion.
    pub(crate) after: Node,
    pub(crate) what: What,
    /// Of the node's own config.
    pub(crate) diff: Diff,
    pub(crate) reason: String,
}

impl Effect {
    pub(crate) fn is_deletion(&self) -> bool {
        self.what == What::Deleted
    }
}

impl Known {
    /// Takes over what a request did, for the next one.
    pub(crate) fn apply(&mut self, effects: &[Effect]) {
        for effect in effects {
            if effect.is_deletion() {
                self.tree.remove(&effect.after.id);
                self.last_versions
                    .insert(effect.after.id.clone(), effect.after.version);
            } else {
                self.tree.put(effect.after.clone());
            }
        }
    }

    fn line(&self, id: &NodeId) -> Result<Lineage, Refusal> {
        self.tree.lineage(id).ok_or_else(|| Refusal::NoNode {
            org: self.org.clone(),
            node: id.clone(),
        })
    }
}

/// What a request does, in the order in which it is recorded.
pub(crate) fn write(
    known: &Known,
    request: &WriteRequest,
    author: &Author,
) -> Result<Vec<Effect>, Refusal> {
    let effects = match &request.action {
        Action::Create {
            parent,
            kind,
            name,
            config,
        } => {
            let new = (*kind, parent.as_ref(), name.as_str(), config);
            vec![create(known, request, author, new)?]
        }
        Action::Delete { recursive } => delete(known, request, author, *recursive)?,
        Action::Place { parent, name } => {
            let place = (parent.as_ref(), name.as_deref());
            vec![place_node(known, request, author, place)?]
        }
        Action::Patch(_) | Action::Replace(_) | Action::Rollback(_) => {
            vec![configure(known, request, author)?]
        }
    };
    let teams = effects
        .iter()
        .filter(|effect| effect.after.kind == Kind::Team && !effect.is_deletion());
    for team in teams {
        check_line(known, &team.after)?;
    }
    for effect in effects.iter().filter(|effect| !effect.is_deletion()) {
        routing::claimed(effect.after.kind, &effect.after.config)?;
    }
    Ok(effects)
}

type NewNode<'a> = (Kind, Option<&'a NodeId>, &'a str, &'a Config);

fn create(
    known: &Known,
    request: &WriteRequest,
    author: &Author,
    (kind, parent, name, config): NewNode<'_>,
) -> Result<Effect, Refusal> {
    check_name(name)?;
    let (org, id) = (&known.org, &request.node);
    match (kind, parent) {
        (Kind::Org, None) if id.as_str() == org.as_str() => {}
        (Kind::Org, _) => {
            return Err(Refusal::Parent(
                "an org is a root: its node_id is its org_id and it has no parent_id".to_owned(),
            ));
        }
        (_, None) => {
            return Err(Refusal::Parent(
                "units and teams need a parent_id: the org or a unit".to_owned(),
            ));
        }
        (_, Some(parent)) => check_parent(known, parent, 0)?,
    }
    if known.tree.get(id).is_some() {
        return Err(Refusal::Exists {
            org: org.clone(),
            node: id.clone(),
        });
    }
    let config = merge::patched(&Config::new(), &normalised(config.clone()));
    check_storable(&config)?;
    let name = if name.is_empty() { id.as_str() } else { name };
    let after = Node {
        org: org.clone(),
        id: id.clone(),
        parent: parent.cloned(),
        kind,
        name: name.to_owned(),
        // Never one that was used before: message ids derive from it.
        version: known.last_versions.get(id).copied().unwrap_or_default() + 1,
        config,
        updated_at: author.at,
        updated_by: author.by.clone(),
    };
    Ok(Effect {
        before: None,
        diff: diff::between(&Config::new(), &after.config),
        after,
        what: What::Created,
        reason: request.reason.clone(),
    })
}

/// `height`: levels below the node that is to hang there.
fn check_parent(known: &Known, id: &NodeId, height: usize) -> Result<(), Refusal> {
    let org = &known.org;
    let Some(line) = known.tree.lineage(id) else {
        if known
            .tree
            .get(org_root(org).as_ref().unwrap_or(id))
            .is_none()
        {
            return Err(Refusal::NoOrg { org: org.clone() });
        }
        return Err(Refusal::Parent(format!(
            "org {org} has no node {id} to be the parent"
        )));
    };
    if line.node().is_some_and(|parent| parent.kind == Kind::Team) {
        return Err(Refusal::Parent(format!(
            "{id} is a team; a parent is the org or a unit"
        )));
    }
    // The root is at depth 0, so the line's length is the child's depth.
    let depth = line.0.len() + height;
    if depth > MAX_DEPTH {
        return Err(Refusal::Parent(format!(
            "below {id} the tree would be {depth} levels deep; it has at most {MAX_DEPTH} below the org"
        )));
    }
    Ok(())
}

fn org_root(org: &OrgId) -> Option<NodeId> {
    NodeId::new(org.as_str()).ok()
}

fn configure(known: &Known, request: &WriteRequest, author: &Author) -> Result<Effect, Refusal> {
    let line = known.line(&request.node)?;
    let before = line.node().ok_or_else(|| Refusal::NoNode {
        org: known.org.clone(),
        node: request.node.clone(),
    })?;
    let (config, reason) = match &request.action {
        Action::Patch(patch) => {
            let patch = normalised(patch.clone());
            (merge::patched(&before.config, &patch), None)
        }
        Action::Replace(config) => (merge::patched(&Config::new(), config), None),
        Action::Rollback(version) => {
            let past = known.past.get(&(request.node.clone(), *version));
            let config = past.cloned().flatten().ok_or_else(|| Refusal::NoVersion {
                node: request.node.clone(),
                version: *version,
            })?;
            (config, Some(format!("Rollback to version {version}")))
        }
        Action::Create { .. } | Action::Place { .. } | Action::Delete { .. } => {
            (before.config.clone(), None)
        }
    };
    // What an older version of the node or a client of the original wrote gets today's shape.
    let config = normalised(config);
    check_version(before, request.expected, &config)?;
    check_storable(&config)?;
    let reason = match reason {
        Some(said) if request.reason.is_empty() => said,
        Some(said) => format!("{said}: {}", request.reason),
        None => request.reason.clone(),
    };
    Ok(Effect {
        diff: diff::between(&before.config, &config),
        after: Node {
            config,
            ..next(before, author)
        },
        before: Some(before.clone()),
        what: What::Updated,
        reason,
    })
}

fn place_node(
    known: &Known,
    request: &WriteRequest,
    author: &Author,
    (parent, name): (Option<&NodeId>, Option<&str>),
) -> Result<Effect, Refusal> {
    let line = known.line(&request.node)?;
    let before = line.node().ok_or_else(|| Refusal::NoNode {
        org: known.org.clone(),
        node: request.node.clone(),
    })?;
    check_version(before, request.expected, &before.config)?;
    let mut after = next(before, author);
    let mut what = What::Renamed;
    if let Some(parent) = parent.filter(|parent| before.parent.as_ref() != Some(parent)) {
        if before.kind == Kind::Org {
            return Err(Refusal::Parent(
                "an org is a root: it cannot be moved".to_owned(),
            ));
        }
        let below = known.tree.below(&before.id);
        if *parent == before.id || below.iter().any(|(node, _)| node.id == *parent) {
            return Err(Refusal::Parent(format!(
                "{} cannot move below {parent}: that is itself or below it",
                before.id
            )));
        }
        let height = below.iter().map(|(_, depth)| *depth).max().unwrap_or(0);
        check_parent(known, parent, height)?;
        after.parent = Some(parent.clone());
        what = What::Moved;
    }
    if let Some(name) = name {
        check_name(name)?;
        name.clone_into(&mut after.name);
    }
    Ok(Effect {
        before: Some(before.clone()),
        after,
        what,
        diff: Diff::default(),
        reason: request.reason.clone(),
    })
}

fn delete(
    known: &Known,
    request: &WriteRequest,
    author: &Author,
    recursive: bool,
) -> Result<Vec<Effect>, Refusal> {
    let line = known.line(&request.node)?;
    let node = line.node().ok_or_else(|| Refusal::NoNode {
        org: known.org.clone(),
        node: request.node.clone(),
    })?;
    check_version(node, request.expected, &Config::new())?;
    let below = known.tree.below(&node.id);
    if !below.is_empty() && !recursive {
        let children = below.iter().filter(|(_, depth)| *depth == 1);
        return Err(Refusal::HasChildren {
            node: node.id.clone(),
            children: children.clone().count(),
            names: children
                .take(NAMED_CHILDREN)
                .map(|(child, _)| child.id.clone())
                .collect(),
        });
    }
    // The deepest first, as nobody can be without a parent.
    let mut going: Vec<&Node> = below.iter().map(|(node, _)| *node).collect();
    going.reverse();
    going.push(node);
    let gone = |before: &Node| Effect {
        diff: diff::between(&before.config, &Config::new()),
        after: Node {
            config: Config::new(),
            ..next(before, author)
        },
        before: Some(before.clone()),
        what: What::Deleted,
        reason: request.reason.clone(),
    };
    Ok(going.into_iter().map(gone).collect())
}

/// The node after a write. Its time never goes back, so that versions are in the order of time.
fn next(before: &Node, author: &Author) -> Node {
    Node {
        version: before.version + 1,
        updated_at: author.at.max(before.updated_at),
        updated_by: author.by.clone(),
        ..before.clone()
    }
}

/// `yours`: what the caller would have made of it.
fn check_version(node: &Node, expected: Option<u64>, yours: &Config) -> Result<(), Refusal> {
    match expected {
        Some(expected) if expected != node.version => Err(Refusal::VersionConflict {
            node: node.id.clone(),
            expected,
            actual: node.version,
            current: Box::new(node.config.clone()),
            yours: Box::new(yours.clone()),
        }),
        _ => Ok(()),
    }
}

/// From the root to a team, everything fits into one message. For units and orgs this depends on
/// what hangs below, which the database adds up.
fn check_line(known: &Known, team: &Node) -> Result<(), Refusal> {
    let above = team.parent.as_ref();
    let above = above.and_then(|parent| known.tree.lineage(parent));
    let above: usize = above.map_or(0, |line| {
        line.0.iter().map(|node| bytes(&node.config)).sum()
    });
    check_heaviest(&team.id, above + bytes(&team.config))
}

/// `bytes`: of the longest line through the node.
pub(crate) fn check_heaviest(node: &NodeId, bytes: usize) -> Result<(), Refusal> {
    if bytes <= MAX_LINE_BYTES {
        return Ok(());
    }
    Err(Refusal::TooLarge(format!(
        "from the org down through {node} to a team, the configs would have {bytes} bytes together; \
         at most {MAX_LINE_BYTES} are allowed: move what few teams need down to those"
    )))
}

/// As it is stored, without what separates lines.
pub(super) fn bytes(config: &Config) -> usize {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    match serde_json::to_writer(&mut counter, config) {
        Ok(()) => counter.0,
        // A config is made of what serialises; were it not, it could not be stored.
        Err(_) => usize::MAX,
    }
}
