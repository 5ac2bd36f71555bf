//! The index of identifiers: reading it. Claims change in [`claims`].

mod claims;

use std::collections::BTreeMap;

use tocsin_wire::identifier::PRIORITY;
use tocsin_wire::{InvalidToken, OrgId, TeamId};

use super::Database;
use crate::error::OperationError;
use crate::routing::{Asked, Candidate, Identifier, Owner};

pub(super) use claims::{Touched, Written, claim};

/// Neighbours read on each side of a value, by its beginning and by its end.
const NEIGHBOURS: i64 = 8;

#[derive(sqlx::FromRow)]
struct Row {
    r#type: String,
    value: String,
    org_id: String,
    team_id: String,
}

impl TryFrom<Row> for (Identifier, Owner) {
    type Error = OperationError;

    fn try_from(claim: Row) -> Result<Self, Self::Error> {
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

fn by_identifier(claims: Vec<Row>) -> Result<BTreeMap<Identifier, Vec<Owner>>, OperationError> {
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
        let claims: Vec<Row> = sqlx::query_as(
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
        let claims: Vec<Row> = sqlx::query_as(
            "select type, value, org_id, team_id from routing_identifiers order by type, value, org_id",
        )
        .fetch_all(self.store.pool())
        .await
        .map_err(OperationError::query("read all identifiers"))?;
        by_identifier(claims)
    }

    /// What an org has near identifiers that nobody claims: bounded, whatever the org holds.
    pub(crate) async fn neighbours(
        &self,
        org: &OrgId,
        asked: &[Asked],
    ) -> Result<Vec<Candidate>, OperationError> {
        let (types, values) = columns(asked.iter().map(|asked| &asked.identifier));
        let all: Vec<&str> = PRIORITY.iter().map(|kind| kind.name).collect();
        let rows: Vec<(String, String, String)> = sqlx::query_as(NEIGHBOURHOOD)
            .bind(org.as_str())
            .bind(types)
            .bind(values)
            .bind(NEIGHBOURS)
            .bind(all)
            .fetch_all(self.store.pool())
            .await
            .map_err(OperationError::query("look for similar identifiers"))?;
        let candidate = |(kind, value, team): (String, String, String)| {
            let team = TeamId::new(team).map_err(|error| {
                OperationError::corrupt("routing_identifiers", error.to_string())
            })?;
            let identifier = Identifier { kind, value };
            Ok(Candidate { identifier, team })
        };
        rows.into_iter().map(candidate).collect()
    }
}

/// Four steps from the value in two orders: a slip of the hand leaves the beginning or the end as it
/// was. And the value itself, under any other type.
const NEIGHBOURHOOD: &str = "\
    select distinct near.type, near.value, near.team_id \
    from unnest($2::text[], $3::text[]) as asked (type, value), \
    lateral ( \
        (select type, value, team_id from routing_identifiers \
         where org_id = $1 and type = asked.type and lower(value) collate \"C\" >= lower(asked.value) \
         order by lower(value) collate \"C\" limit $4) \
        union all \
        (select type, value, team_id from routing_identifiers \
         where org_id = $1 and type = asked.type and lower(value) collate \"C\" < lower(asked.value) \
         order by lower(value) collate \"C\" desc limit $4) \
        union all \
        (select type, value, team_id from routing_identifiers \
         where org_id = $1 and type = asked.type and reverse(lower(value)) collate \"C\" >= reverse(lower(asked.value)) \
         order by reverse(lower(value)) collate \"C\" limit $4) \
        union all \
        (select type, value, team_id from routing_identifiers \
         where org_id = $1 and type = asked.type and reverse(lower(value)) collate \"C\" < reverse(lower(asked.value)) \
         order by reverse(lower(value)) collate \"C\" desc limit $4) \
        union all \
        (select type, value, team_id from routing_identifiers \
         where org_id = $1 and type = any ($5) and value = asked.value and type <> asked.type limit $4) \
    ) as near";
