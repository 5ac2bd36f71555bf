//! Makes the buckets say what Postgres says, whatever they said before: at every start, so that a
//! lost or restored bucket heals by itself. Where nothing differs, nothing is written.

use std::collections::{BTreeMap, BTreeSet};

use tocsin_bus::{Bucket, Change};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::{OrgId, TeamId};
use tokio::sync::Notify;

use super::{
    Publisher, PublishingError, fingerprint, routing_record, source_record, team_key, team_record,
};
use crate::routing::Identifier;
use crate::source::SourceId;

/// What a rebuild found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rebuilt {
    /// Identifiers that differed and were written or removed.
    pub(crate) identifiers: usize,
    /// Teams that differed and were written or removed.
    pub(crate) teams: usize,
    /// Sources that differed and were written or removed.
    pub(crate) sources: usize,
}

impl Publisher {
    /// Compares the buckets with Postgres and refreshes the keys that differ.
    pub(crate) async fn rebuild(&self) -> Result<Rebuilt, PublishingError> {
        Ok(Rebuilt {
            identifiers: self.rebuild_routing().await?,
            teams: self.rebuild_teams().await?,
            sources: self.rebuild_sources().await?,
        })
    }

    async fn rebuild_routing(&self) -> Result<usize, PublishingError> {
        let mut present = snapshot(&self.routing).await;
        let owners = self.database.all_owners().await;
        let mut stale: BTreeSet<Identifier> = BTreeSet::new();
        for (identifier, owners) in owners.map_err(PublishingError::Read)? {
            let wanted = fingerprint(&Body::RoutingRecord(routing_record(&identifier, &owners)));
            if present.remove(&identifier.key()).map(|known| known.print) != Some(wanted) {
                stale.insert(identifier);
            }
        }
        stale.extend(present.into_values().filter_map(|known| known.identifier));
        let count = stale.len();
        self.refresh_identifiers(stale).await?;
        Ok(count)
    }

    async fn rebuild_teams(&self) -> Result<usize, PublishingError> {
        let mut present = snapshot(&self.teams).await;
        let mut stale: BTreeSet<(OrgId, TeamId)> = BTreeSet::new();
        let orgs = self.database.orgs().await.map_err(PublishingError::Read)?;
        for org in orgs {
            // One org at a time: all of them at once need not fit into memory.
            let tree = self.database.tree(&org).await;
            for line in tree.map_err(PublishingError::Read)?.teams() {
                let Some(record) = team_record(&line, &self.defaults, 0)? else {
                    continue;
                };
                let wanted = fingerprint(&Body::TeamRecord(record));
                let Some(team) = line.node().map(|node| node.id.clone()) else {
                    continue;
                };
                let key = team_key(&org, &team);
                if present.remove(&key).map(|known| known.print) != Some(wanted) {
                    stale.insert((org.clone(), team));
                }
            }
        }
        stale.extend(present.keys().filter_map(|key| team_of(key)));
        let count = stale.len();
        self.refresh_teams(stale).await?;
        Ok(count)
    }

    async fn rebuild_sources(&self) -> Result<usize, PublishingError> {
        let mut present = snapshot(&self.sources).await;
        let mut stale: BTreeSet<SourceId> = BTreeSet::new();
        let sources = self.database.sources_by_id(None).await;
        for source in sources.map_err(PublishingError::Read)? {
            let wanted = fingerprint(&Body::SourceRecord(source_record(&source)?));
            let known = present.remove(source.id.as_str());
            if known.map(|known| known.print) != Some(wanted) {
                stale.insert(source.id);
            }
        }
        stale.extend(present.keys().filter_map(|key| SourceId::parse(key)));
        let count = stale.len();
        self.refresh_sources(stale).await?;
        Ok(count)
    }
}

/// What a key holds.
struct Known {
    print: String,
    /// In the bucket `routing`: keys of long values are hashes, so the record must say.
    identifier: Option<Identifier>,
}

impl Known {
    fn of(body: Option<&Body>) -> Self {
        let identifier = match body {
            Some(Body::RoutingRecord(record)) => Some(Identifier {
                kind: record.r#type.clone(),
                value: record.value.clone(),
            }),
            _ => None,
        };
        Self {
            print: body.map(fingerprint).unwrap_or_default(),
            identifier,
        }
    }
}

/// Every key that can be trusted.
async fn snapshot(bucket: &Bucket) -> BTreeMap<String, Known> {
    let mut present = BTreeMap::new();
    let caught_up = Notify::new();
    bucket
        .watch(caught_up.notified(), |change| match change {
            Change::Put { key, entry } => {
                present.insert(key, Known::of(entry.envelope.body.as_ref()));
            }
            Change::Removed { key } => {
                present.remove(&key);
            }
            Change::CaughtUp => caught_up.notify_one(),
        })
        .await;
    present
}

fn team_of(key: &str) -> Option<(OrgId, TeamId)> {
    let (org, team) = key.split_once('.')?;
    Some((OrgId::new(org).ok()?, TeamId::new(team).ok()?))
}
