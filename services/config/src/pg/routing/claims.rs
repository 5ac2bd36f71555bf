//! Claims change with the configs that list them, in the same transaction and after the nodes.

use std::collections::{BTreeMap, BTreeSet};

use jiff_sqlx::ToSqlx as _;
use tocsin_store::Tx;
use tocsin_wire::{InvalidToken, OrgId, TeamId};

use crate::decide::Refusal;
use crate::error::OperationError;
use crate::node::{Kind, Node, NodeId};
use crate::pg::nodes;
use crate::routing::{self, Claim, Identifier, Owner};

/// Far above the levels that a tree may have: ends the walk whatever the data says.
const WALK_LIMIT: i32 = 64;

/// One written node.
#[derive(Debug, Clone, Copy)]
pub(in crate::pg) struct Written<'a> {
    /// `None` when it is new.
    pub(in crate::pg) before: Option<&'a Node>,
    /// `None` when it is gone.
    pub(in crate::pg) after: Option<&'a Node>,
}

/// What each written node claimed before or claims now.
pub(in crate::pg) type Touched = BTreeMap<NodeId, BTreeSet<Identifier>>;

/// The node that lists an identifier, and the team that it leads to.
type Lead = (NodeId, TeamId);

/// Makes the index say what the written nodes of an org list, in the order in which they were
/// written; the last state of each counts. The nodes themselves are stored already.
///
/// Another node's claim is met and returned by the insert itself, so that two that reach for one
/// identifier at the same time cannot both succeed.
pub(in crate::pg) async fn claim(
    tx: &mut Tx<'_>,
    org: &OrgId,
    written: &[Written<'_>],
) -> Result<Touched, OperationError> {
    let wanted = wanted(tx, org, written).await?;
    let present = present(tx, org, written).await?;
    let gone = present
        .iter()
        .filter(|(identifier, lead)| wanted.get(identifier).map(|claim| &claim.0) != Some(lead));
    give_up(tx, org, gone).await?;
    let new = wanted
        .iter()
        .filter(|(identifier, claim)| present.get(identifier) != Some(&claim.0));
    take(tx, org, new).await?;
    if written.iter().any(leads_elsewhere) {
        must_lead_below(tx, org).await?;
    }
    let mut touched = Touched::new();
    // The claims of a node that is gone went with its row.
    for node in written.iter().filter_map(|written| written.before) {
        let listed = routing::claimed(node.kind, &node.config).unwrap_or_default();
        touched.entry(node.id.clone()).or_default().extend(listed);
    }
    let leads = wanted
        .iter()
        .map(|(identifier, (lead, _))| (identifier, lead));
    for (identifier, (source, _)) in present.iter().chain(leads) {
        let of_node = touched.entry(source.clone()).or_default();
        of_node.insert(identifier.clone());
    }
    Ok(touched)
}

/// What the written nodes list in the end. Two of them must not list the same.
async fn wanted<'a>(
    tx: &mut Tx<'_>,
    org: &OrgId,
    written: &[Written<'a>],
) -> Result<BTreeMap<Identifier, (Lead, &'a Node)>, OperationError> {
    let mut last: BTreeMap<&NodeId, Option<&'a Node>> = BTreeMap::new();
    for one in written {
        if let Some(node) = one.after.or(one.before) {
            last.insert(&node.id, one.after);
        }
    }
    let mut wanted: BTreeMap<Identifier, (Lead, &Node)> = BTreeMap::new();
    for node in last.into_values().flatten() {
        let listed = routing::claimed(node.kind, &node.config).map_err(Refusal::from)?;
        if listed.is_empty() {
            continue;
        }
        let team = owner(tx, node).await?;
        for identifier in listed {
            let lead = (node.id.clone(), team.clone());
            if let Some(((source, team), other)) = wanted.insert(identifier.clone(), (lead, node)) {
                let owner = Owner {
                    org: org.clone(),
                    team,
                };
                let claim = Claim {
                    owner,
                    source,
                    by: other.updated_by.clone(),
                    at: other.updated_at,
                };
                let claim = Box::new(claim);
                return Err(Refusal::IdentifierTaken { identifier, claim }.into());
            }
        }
    }
    Ok(wanted)
}

/// The team itself, or the one that a unit or org names.
async fn owner(tx: &mut Tx<'_>, node: &Node) -> Result<TeamId, OperationError> {
    let named = routing::default_team(&node.config).map_err(Refusal::from)?;
    let Some(team) = named.filter(|_| node.kind != Kind::Team) else {
        return Ok(node.id.clone());
    };
    let line = nodes::read_lineage(&mut **tx, &node.org, &team).await?;
    let is_below = line.is_some_and(|line| {
        let is_team = line.node().is_some_and(|found| found.kind == Kind::Team);
        is_team && line.ids().contains(&&node.id)
    });
    if is_below {
        return Ok(team);
    }
    let lister = node.id.clone();
    Err(Refusal::NoDefaultTeam { lister, team }.into())
}

/// Whether a unit's team may have gone or moved away.
fn leads_elsewhere(written: &Written<'_>) -> bool {
    match (written.before, written.after) {
        (Some(before), Some(after)) => before.parent != after.parent,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

async fn present(
    tx: &mut Tx<'_>,
    org: &OrgId,
    written: &[Written<'_>],
) -> Result<BTreeMap<Identifier, Lead>, OperationError> {
    let sources: BTreeSet<&str> = written
        .iter()
        .filter_map(|written| Some(written.before?.id.as_str()))
        .collect();
    if sources.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<(String, String, String, String)> = sqlx::query_as(
        "select type, value, source_id, team_id from routing_identifiers \
         where org_id = $1 and source_id = any ($2)",
    )
    .bind(org.as_str())
    .bind(sources.into_iter().collect::<Vec<_>>())
    .fetch_all(&mut **tx)
    .await
    .map_err(OperationError::query("read the identifiers of nodes"))?;
    let claim = |(kind, value, source, team)| {
        let lead = (
            NodeId::new(source).map_err(corrupt)?,
            TeamId::new(team).map_err(corrupt)?,
        );
        Ok((Identifier { kind, value }, lead))
    };
    rows.into_iter().map(claim).collect()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err takes"
)]
fn corrupt(error: InvalidToken) -> OperationError {
    OperationError::corrupt("routing_identifiers", error.to_string())
}

async fn give_up(
    tx: &mut Tx<'_>,
    org: &OrgId,
    claims: impl Iterator<Item = (&Identifier, &Lead)>,
) -> Result<(), OperationError> {
    let (mut kinds, mut values) = (Vec::new(), Vec::new());
    for (identifier, _) in claims {
        kinds.push(identifier.kind.as_str());
        values.push(identifier.value.as_str());
    }
    if kinds.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "delete from routing_identifiers as claim using unnest($2::text[], $3::text[]) as gone (type, value) \
         where claim.org_id = $1 and claim.type = gone.type and claim.value = gone.value",
    )
    .bind(org.as_str())
    .bind(kinds)
    .bind(values)
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("give identifiers up"))?;
    Ok(())
}

#[derive(sqlx::FromRow)]
struct Met {
    r#type: String,
    value: String,
    team_id: String,
    source_id: String,
    set_by: String,
    set_at: jiff_sqlx::Timestamp,
}

#[derive(Default)]
struct Columns<'a> {
    kinds: Vec<&'a str>,
    values: Vec<&'a str>,
    teams: Vec<&'a str>,
    sources: Vec<&'a str>,
    authors: Vec<&'a str>,
    times: Vec<jiff_sqlx::Timestamp>,
}

async fn take<'a>(
    tx: &mut Tx<'_>,
    org: &OrgId,
    claims: impl Iterator<Item = (&'a Identifier, &'a (Lead, &'a Node))>,
) -> Result<(), OperationError> {
    let mut new = Columns::default();
    let mut sources: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for (identifier, ((source, team), node)) in claims {
        new.kinds.push(&identifier.kind);
        new.values.push(&identifier.value);
        new.teams.push(team.as_str());
        new.sources.push(source.as_str());
        new.authors.push(&node.updated_by);
        new.times.push(node.updated_at.to_sqlx());
        sources.insert((&identifier.kind, &identifier.value), source.as_str());
    }
    if new.kinds.is_empty() {
        return Ok(());
    }
    // In the order of the identifiers, so that two transactions never wait crosswise.
    let met: Vec<Met> = sqlx::query_as(
        "insert into routing_identifiers as known (org_id, type, value, team_id, source_id, set_by, set_at) \
         select $1, type, value, team_id, source_id, set_by, set_at \
         from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[]) with ordinality \
             as new (type, value, team_id, source_id, set_by, set_at, position) order by position \
         on conflict (org_id, type, value) do update set team_id = known.team_id \
         returning type, value, team_id, source_id, set_by, set_at",
    )
    .bind(org.as_str())
    .bind(new.kinds)
    .bind(new.values)
    .bind(new.teams)
    .bind(new.sources)
    .bind(new.authors)
    .bind(new.times)
    .fetch_all(&mut **tx)
    .await
    .map_err(OperationError::query("claim identifiers"))?;
    let is_anothers = |met: &Met| {
        let wanted = sources.get(&(met.r#type.as_str(), met.value.as_str()));
        wanted.copied() != Some(met.source_id.as_str())
    };
    match met.into_iter().find(is_anothers) {
        Some(met) => Err(taken(org, met)?.into()),
        None => Ok(()),
    }
}

fn taken(org: &OrgId, met: Met) -> Result<Refusal, OperationError> {
    let owner = Owner {
        org: org.clone(),
        team: TeamId::new(met.team_id).map_err(corrupt)?,
    };
    let claim = Claim {
        owner,
        source: NodeId::new(met.source_id).map_err(corrupt)?,
        by: met.set_by,
        at: met.set_at.to_jiff(),
    };
    Ok(Refusal::IdentifierTaken {
        identifier: Identifier {
            kind: met.r#type,
            value: met.value,
        },
        claim: Box::new(claim),
    })
}

/// A unit or org that stays leads its identifiers to a team that went or moved away.
async fn must_lead_below(tx: &mut Tx<'_>, org: &OrgId) -> Result<(), OperationError> {
    let found: Option<(String, String)> = sqlx::query_as(
        "with recursive line (team_id, node_id, up) as ( \
             select distinct claim.team_id::text, nodes.node_id::text, 0 from routing_identifiers as claim \
             join nodes on nodes.org_id = claim.org_id and nodes.node_id = claim.team_id \
             where claim.org_id = $1 and claim.source_id <> claim.team_id \
             union all \
             select line.team_id, nodes.parent_id::text, line.up + 1 \
             from line join nodes on nodes.org_id = $1 and nodes.node_id = line.node_id \
             where nodes.parent_id is not null and line.up < $2) \
         select claim.source_id, claim.team_id from routing_identifiers as claim \
         where claim.org_id = $1 and claim.source_id <> claim.team_id and not exists ( \
             select from line where line.team_id = claim.team_id and line.node_id = claim.source_id) \
         limit 1",
    )
    .bind(org.as_str())
    .bind(WALK_LIMIT)
    .fetch_optional(&mut **tx)
    .await
    .map_err(OperationError::query("look for identifiers that lead astray"))?;
    let Some((lister, team)) = found else {
        return Ok(());
    };
    let refusal = Refusal::IsDefaultTeam {
        lister: NodeId::new(lister).map_err(corrupt)?,
        team: TeamId::new(team).map_err(corrupt)?,
    };
    Err(refusal.into())
}
