//! The index of identifiers.

use std::collections::{BTreeMap, BTreeSet};

use tocsin_store::Tx;
use tocsin_wire::{InvalidToken, OrgId, TeamId};

use super::Database;
use crate::decide::Refusal;
use crate::error::OperationError;
use crate::node::Node;
use crate::routing::{Identifier, Owner};

#[derive(sqlx::FromRow)]
struct Claim {
    r#type: String,
    value: String,
    org_id: String,
    team_id: String,
}

impl TryFrom<Claim> for (Identifier, Owner) {
    type Error = OperationError;

    fn try_from(claim: Claim) -> Result<Self, Self::Error> {
        let corrupt =
            |error: InvalidToken| OperationError::corrupt("routing_identifiers", error.to_string());
        let owner = Owner {
            org: OrgId::new(claim.org_id).map_err(corrupt)?,
            team: TeamId::new(claim.team_id).map_err(corrupt)?,
        };
        let identifier = Identifier {
            kind: claim.r#type,
            value: claim.value,
        };
        Ok((identifier, owner))
    }
}

fn by_identifier(claims: Vec<Claim>) -> Result<BTreeMap<Identifier, Vec<Owner>>, OperationError> {
    let mut owners: BTreeMap<Identifier, Vec<Owner>> = BTreeMap::new();
    for claim in claims {
        let (identifier, owner) = claim.try_into()?;
        owners.entry(identifier).or_default().push(owner);
    }
    Ok(owners)
}

/// The identifiers as two columns.
fn columns<'a>(
    identifiers: impl IntoIterator<Item = &'a Identifier>,
) -> (Vec<&'a str>, Vec<&'a str>) {
    identifiers
        .into_iter()
        .map(|identifier| (identifier.kind.as_str(), identifier.value.as_str()))
        .unzip()
}

impl Database {
    /// Who claims these identifiers; in one org, or in all.
    pub(crate) async fn owners<'a>(
        &self,
        identifiers: impl IntoIterator<Item = &'a Identifier>,
        org: Option<&OrgId>,
    ) -> Result<BTreeMap<Identifier, Vec<Owner>>, OperationError> {
        let (types, values) = columns(identifiers);
        let claims: Vec<Claim> = sqlx::query_as(
            "select type, value, org_id, team_id from routing_identifiers \
             join unnest($1::text[], $2::text[]) as asked (type, value) using (type, value) \
             where $3::text is null or org_id = $3 order by type, value, org_id",
        )
        .bind(types)
        .bind(values)
        .bind(org.map(OrgId::as_str))
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("look up identifiers"))?;
        by_identifier(claims)
    }

    /// Every identifier with its owners, for the snapshots.
    pub(crate) async fn all_owners(
        &self,
    ) -> Result<BTreeMap<Identifier, Vec<Owner>>, OperationError> {
        let claims: Vec<Claim> = sqlx::query_as(
            "select type, value, org_id, team_id from routing_identifiers order by type, value, org_id",
        )
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("read all identifiers"))?;
        by_identifier(claims)
    }
}

/// What a team claims now.
pub(super) async fn claims_of(
    tx: &mut Tx<'_>,
    node: &Node,
) -> Result<BTreeSet<Identifier>, OperationError> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select type, value from routing_identifiers where org_id = $1 and team_id = $2",
    )
    .bind(node.org.as_str())
    .bind(node.id.as_str())
    .fetch_all(&mut **tx)
    .await
    .map_err(OperationError::query("read the identifiers of a team"))?;
    let identifier = |(kind, value)| Identifier { kind, value };
    Ok(rows.into_iter().map(identifier).collect())
}

/// Makes `wanted` the claims of a locked node and returns all that it had or has.
///
/// Another team's claim is met and returned by the insert itself, so that two teams that reach for
/// one identifier at the same time cannot both succeed.
pub(super) async fn claim(
    tx: &mut Tx<'_>,
    node: &Node,
    wanted: &BTreeSet<Identifier>,
) -> Result<BTreeSet<Identifier>, OperationError> {
    let present = claims_of(tx, node).await?;
    let (types, values) = columns(present.difference(wanted));
    sqlx::query(
        "delete from routing_identifiers as claim using unnest($3::text[], $4::text[]) as gone (type, value) \
         where claim.org_id = $1 and claim.team_id = $2 and claim.type = gone.type and claim.value = gone.value",
    )
    .bind(node.org.as_str())
    .bind(node.id.as_str())
    .bind(types)
    .bind(values)
    .execute(&mut **tx)
    .await
    .map_err(OperationError::query("give identifiers up"))?;

    let (types, values) = columns(wanted.difference(&present));
    // In the order of the set, so that two transactions wait for each other in the same order.
    let claims: Vec<Claim> = sqlx::query_as(
        "insert into routing_identifiers as known (org_id, type, value, team_id) \
         select $1, type, value, $2 from unnest($3::text[], $4::text[]) with ordinality \
             as new (type, value, position) order by position \
         on conflict (org_id, type, value) do update set team_id = known.team_id \
         returning type, value, org_id, team_id",
    )
    .bind(node.org.as_str())
    .bind(node.id.as_str())
    .bind(types)
    .bind(values)
    .fetch_all(&mut **tx)
    .await
    .map_err(OperationError::query("claim identifiers"))?;
    for claim in claims {
        let (identifier, owner) = claim.try_into()?;
        if owner.team != node.id {
            return Err(Refusal::IdentifierTaken { identifier, owner }.into());
        }
    }
    Ok(present.union(wanted).cloned().collect())
}
