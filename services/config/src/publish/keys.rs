//! Makes keys of the buckets say what Postgres says.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tocsin_bus::{Bucket, KeyValueError};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::source::SOURCES;
use tocsin_wire::{OrgId, TeamId};

use super::{
    Publisher, PublishingError, fingerprint, routing_record, source_record, team_key, team_record,
};
use crate::routing::Identifier;
use crate::source::SourceId;

/// Keys read or written at once: enough to hide the round trips to the broker.
const CONCURRENT_KEYS: usize = 16;
/// Keys whose contents are in memory at once, at most 1 MB each.
const CHUNK: usize = 64;
/// Another process that writes the same key at the same time is done after one or two rounds.
const CONFLICT_ROUNDS: usize = 10;

/// What a key is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Identifier(Identifier),
    Team(OrgId, TeamId),
    Source(SourceId),
}

impl Target {
    fn key(&self) -> String {
        match self {
            Self::Identifier(identifier) => identifier.key(),
            Self::Team(org, team) => team_key(org, team),
            Self::Source(id) => id.to_string(),
        }
    }
}

/// What a key holds.
enum Present {
    Nothing,
    Untrusted,
    Value(u64, Option<String>),
}

impl Publisher {
    /// Compares each key, then writes what was read from Postgres after the comparison, if the key is
    /// still as it was.
    pub(super) async fn refresh(&self, targets: Vec<Target>) -> Result<(), PublishingError> {
        for chunk in targets.chunks(CHUNK) {
            let mut open = chunk.to_vec();
            for _ in 0..CONFLICT_ROUNDS {
                if open.is_empty() {
                    break;
                }
                open = self.refresh_once(open).await?;
            }
            if let Some(target) = open.first() {
                return Err(PublishingError::Contended { key: target.key() });
            }
        }
        Ok(())
    }

    /// Returns those that somebody else wrote meanwhile.
    async fn refresh_once(&self, targets: Vec<Target>) -> Result<Vec<Target>, PublishingError> {
        let reading: Vec<_> = targets.iter().map(|one| self.present(one)).collect();
        let present: Vec<Present> = stream::iter(reading)
            .buffered(CONCURRENT_KEYS)
            .try_collect()
            .await?;
        let wanted = self.wanted(&targets).await?;
        let steps = targets.iter().zip(present).zip(wanted);
        let writing: Vec<_> = steps
            .map(|((target, present), wanted)| self.put(target, present, wanted))
            .collect();
        let written: Vec<bool> = stream::iter(writing)
            .buffered(CONCURRENT_KEYS)
            .try_collect()
            .await?;
        let steps = targets.into_iter().zip(written);
        let left = steps.filter(|(_, is_written)| !is_written);
        Ok(left.map(|(target, _)| target).collect())
    }

    fn bucket(&self, target: &Target) -> (&Bucket, &'static str) {
        match target {
            Target::Identifier(_) => (&self.routing, "routing"),
            Target::Team(..) => (&self.teams, "teams"),
            Target::Source(_) => (&self.sources, SOURCES),
        }
    }

    async fn present(&self, target: &Target) -> Result<Present, PublishingError> {
        match self.bucket(target).0.get(&target.key()).await {
            Ok(Some(entry)) => {
                let print = entry.envelope.body.as_ref().map(fingerprint);
                Ok(Present::Value(entry.revision, print))
            }
            Ok(None) => Ok(Present::Nothing),
            // Ours to mend: nobody else may write here.
            Err(KeyValueError::Untrusted { .. }) => Ok(Present::Untrusted),
            Err(error) => Err(PublishingError::Write(error)),
        }
    }

    /// What Postgres says of each target, in their order.
    async fn wanted(&self, targets: &[Target]) -> Result<Vec<Option<Body>>, PublishingError> {
        let identifiers: Vec<&Identifier> = targets
            .iter()
            .filter_map(|target| match target {
                Target::Identifier(identifier) => Some(identifier),
                Target::Team(..) | Target::Source(_) => None,
            })
            .collect();
        let owners = match identifiers.as_slice() {
            [] => BTreeMap::new(),
            some => {
                let owners = self.database.owners(some.iter().copied(), None).await;
                owners.map_err(PublishingError::Read)?
            }
        };
        let mut teams: BTreeMap<&OrgId, Vec<TeamId>> = BTreeMap::new();
        for target in targets {
            if let Target::Team(org, team) = target {
                teams.entry(org).or_default().push(team.clone());
            }
        }
        let mut trees = BTreeMap::new();
        for (org, teams) in teams {
            let lines = self.database.lines(org, &teams).await;
            trees.insert(org.clone(), lines.map_err(PublishingError::Read)?);
        }
        let sources = self.wanted_sources(targets).await?;
        let body = |target: &Target| match target {
            Target::Source(id) => Ok(sources.get(id).cloned()),
            Target::Identifier(identifier) => Ok(owners
                .get(identifier)
                .map(|owners| Body::RoutingRecord(routing_record(identifier, owners)))),
            Target::Team(org, team) => {
                let found = trees.get(org);
                let line = found.and_then(|(tree, revision)| Some((tree.lineage(team)?, revision)));
                let Some((line, revision)) = line else {
                    return Ok(None);
                };
                let record = team_record(&line, &self.defaults, *revision)?;
                Ok(record.map(Body::TeamRecord))
            }
        };
        targets.iter().map(body).collect()
    }

    /// The same for the sources among them.
    async fn wanted_sources(
        &self,
        targets: &[Target],
    ) -> Result<BTreeMap<SourceId, Body>, PublishingError> {
        let ids: Vec<&SourceId> = targets
            .iter()
            .filter_map(|target| match target {
                Target::Source(id) => Some(id),
                Target::Identifier(_) | Target::Team(..) => None,
            })
            .collect();
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let found = self.database.sources_by_id(Some(&ids)).await;
        let found = found.map_err(PublishingError::Read)?;
        found
            .iter()
            .map(|source| {
                Ok((
                    source.id.clone(),
                    Body::SourceRecord(source_record(source)?),
                ))
            })
            .collect()
    }

    /// Whether the key says it now; if not, somebody else wrote it.
    async fn put(
        &self,
        target: &Target,
        present: Present,
        wanted: Option<Body>,
    ) -> Result<bool, PublishingError> {
        let ((bucket, name), key) = (self.bucket(target), target.key());
        let written = match (present, wanted) {
            (Present::Nothing, None) => Ok(()),
            (_, None) => bucket.delete(&key).await,
            (Present::Value(_, known), Some(wanted)) if known == Some(fingerprint(&wanted)) => {
                Ok(())
            }
            (Present::Value(revision, _), Some(wanted)) => {
                let value = self.value(name, &key, wanted);
                bucket.update(&key, &value, revision).await.map(drop)
            }
            (Present::Nothing, Some(wanted)) => {
                let value = self.value(name, &key, wanted);
                bucket.create(&key, &value).await.map(drop)
            }
            (Present::Untrusted, Some(wanted)) => {
                let value = self.value(name, &key, wanted);
                bucket.put(&key, &value).await.map(drop)
            }
        };
        match written {
            Ok(()) => Ok(true),
            Err(KeyValueError::Conflict { .. } | KeyValueError::Exists { .. }) => Ok(false),
            Err(error) => Err(PublishingError::Write(error)),
        }
    }

    pub(super) async fn refresh_identifiers(
        &self,
        identifiers: BTreeSet<Identifier>,
    ) -> Result<(), PublishingError> {
        let targets = identifiers.into_iter().map(Target::Identifier);
        self.refresh(targets.collect()).await
    }

    pub(super) async fn refresh_teams(
        &self,
        teams: BTreeSet<(OrgId, TeamId)>,
    ) -> Result<(), PublishingError> {
        let targets = teams.into_iter();
        let targets = targets.map(|(org, team)| Target::Team(org, team));
        self.refresh(targets.collect()).await
    }

    pub(super) async fn refresh_sources(
        &self,
        sources: BTreeSet<SourceId>,
    ) -> Result<(), PublishingError> {
        let targets = sources.into_iter().map(Target::Source);
        self.refresh(targets.collect()).await
    }
}
