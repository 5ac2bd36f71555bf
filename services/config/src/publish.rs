//! From the outbox to the bus: snapshots in the buckets `routing` and `teams`, then the news.
//!
//! A row of the outbox says what changed. What is written is read from Postgres at that moment, and
//! each key is written only if it still has the revision that was seen before reading. So rows may
//! repeat, and two processes may publish at once: a value that is older than what a key holds is
//! never written over it.

mod rebuild;

use std::future::Future;

use futures::{TryStreamExt as _, stream};
use prost::Message as _;
use tocsin_bus::{Bucket, Bus, KeyValueError, Outgoing, PublishError};
use tocsin_store::outbox::Row;
use tocsin_wire::ids::{EventId, MessageId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{ConfigChanged, Envelope, RoutingOwner, RoutingRecord, TeamRecord};
use tocsin_wire::{OrgId, Service, TeamId, signing};

use crate::change::{Change, What};
use crate::error::OperationError;
use crate::merge::Config;
use crate::node::{Kind, Lineage};
use crate::pg::Database;
use crate::revocations;
use crate::routing::{Identifier, Owner};

/// Keys refreshed at once: enough to hide the round trips, few enough for the pool of connections.
const CONCURRENT_KEYS: usize = 4;
/// Another process that writes the same key at the same time is done after one or two rounds.
const CONFLICT_ROUNDS: usize = 10;

/// A change is not on the bus (yet).
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishingError {
    #[error("read what is to be published")]
    Read(#[source] OperationError),
    #[error("row {id} of the outbox is no change")]
    Row {
        id: i64,
        #[source]
        source: serde_json::Error,
    },
    #[error("the effective config of team {team} of org {org} cannot be encoded")]
    Encode {
        org: OrgId,
        team: TeamId,
        #[source]
        source: serde_json::Error,
    },
    #[error("write a snapshot")]
    Write(#[source] KeyValueError),
    #[error("key {key} changed again and again while it was written")]
    Contended { key: String },
    #[error("tell which tokens ended")]
    Revoke(#[source] revocations::TellError),
    #[error(transparent)]
    Secrets(#[from] crate::secrets::publish::SealingError),
    #[error("tell what changed")]
    Tell(#[source] PublishError),
}

/// Writes snapshots and news. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Publisher {
    bus: Bus,
    database: Database,
    defaults: Config,
    routing: Bucket,
    teams: Bucket,
}

impl Publisher {
    pub(crate) fn new(bus: Bus, database: Database, defaults: Config) -> Self {
        Self {
            routing: bus.bucket("routing"),
            teams: bus.bucket("teams"),
            bus,
            database,
            defaults,
        }
    }

    /// Publishes one row: first the snapshots, so that who hears the news reads the new state.
    pub(crate) async fn publish(&self, row: Row) -> Result<(), PublishingError> {
        let change: Change = serde_json::from_slice(&row.message.payload)
            .map_err(|source| PublishingError::Row { id: row.id, source })?;
        // First of all: refreshing a large tree takes a while.
        if matches!(change.what, What::TokenRevoked | What::Deleted) {
            revocations::tell(&self.bus, &self.database)
                .await
                .map_err(PublishingError::Revoke)?;
        }
        if change.what.touches_snapshots() {
            self.refresh_identifiers(change.identifiers.iter().cloned())
                .await?;
            self.refresh_teams_of(&change).await?;
        }
        let outgoing = Outgoing::new(change.subject(), news(&change));
        self.bus
            .publish(outgoing)
            .await
            .map_err(PublishingError::Tell)?;
        Ok(())
    }

    async fn refresh_teams_of(&self, change: &Change) -> Result<(), PublishingError> {
        let below = self
            .database
            .teams_at_or_below(&change.org, &change.node)
            .await
            .map_err(PublishingError::Read)?;
        let gone = (change.kind == Kind::Team && !below.contains(&change.node))
            .then(|| change.node.clone());
        let teams = below
            .into_iter()
            .chain(gone)
            .map(|team| (change.org.clone(), team));
        self.refresh_teams(teams).await
    }

    async fn refresh_identifiers(
        &self,
        identifiers: impl IntoIterator<Item = Identifier>,
    ) -> Result<(), PublishingError> {
        stream::iter(identifiers.into_iter().map(Ok))
            .try_for_each_concurrent(CONCURRENT_KEYS, |identifier| async move {
                let read = || async {
                    let owners = self.database.owners([&identifier], None).await;
                    let owners = owners.map_err(PublishingError::Read)?.remove(&identifier);
                    Ok(owners
                        .map(|owners| Body::RoutingRecord(routing_record(&identifier, &owners))))
                };
                self.refresh(&self.routing, "routing", &identifier.key(), read)
                    .await
            })
            .await
    }

    async fn refresh_teams(
        &self,
        teams: impl IntoIterator<Item = (OrgId, TeamId)>,
    ) -> Result<(), PublishingError> {
        stream::iter(teams.into_iter().map(Ok))
            .try_for_each_concurrent(CONCURRENT_KEYS, |(org, team)| async move {
                let read = || async {
                    let line = self.database.find_lineage(&org, &team).await;
                    match line.map_err(PublishingError::Read)? {
                        Some(line) => team_record(&line, &self.defaults),
                        None => Ok(None),
                    }
                };
                let read = || async { Ok(read().await?.map(Body::TeamRecord)) };
                self.refresh(&self.teams, "teams", &team_key(&org, &team), read)
                    .await
            })
            .await
    }

    /// Makes `key` say what `read` returns: compare, then write what was read after the comparison.
    async fn refresh<F>(
        &self,
        bucket: &Bucket,
        name: &'static str,
        key: &str,
        read: impl Fn() -> F + Send,
    ) -> Result<(), PublishingError>
    where
        F: Future<Output = Result<Option<Body>, PublishingError>> + Send,
    {
        for _ in 0..CONFLICT_ROUNDS {
            let present = match bucket.get(key).await {
                Ok(Some(entry)) => Present::Value(entry.revision, Box::new(entry.envelope.body)),
                Ok(None) => Present::Nothing,
                // Ours to mend: nobody else may write here.
                Err(KeyValueError::Untrusted { .. }) => Present::Untrusted,
                Err(error) => return Err(PublishingError::Write(error)),
            };
            let written = match (present, read().await?) {
                (Present::Nothing, None) => Ok(()),
                (_, None) => bucket.delete(key).await,
                (Present::Value(revision, known), Some(wanted)) => {
                    if known.as_ref().as_ref() == Some(&wanted) {
                        return Ok(());
                    }
                    let value = self.value(name, key, wanted);
                    bucket.update(key, &value, revision).await.map(drop)
                }
                (Present::Nothing, Some(wanted)) => {
                    let value = self.value(name, key, wanted);
                    bucket.create(key, &value).await.map(drop)
                }
                (Present::Untrusted, Some(wanted)) => {
                    let value = self.value(name, key, wanted);
                    bucket.put(key, &value).await.map(drop)
                }
            };
            match written {
                Ok(()) => return Ok(()),
                Err(KeyValueError::Conflict { .. } | KeyValueError::Exists { .. }) => {}
                Err(error) => return Err(PublishingError::Write(error)),
            }
        }
        Err(PublishingError::Contended {
            key: key.to_owned(),
        })
    }

    fn value(&self, bucket: &'static str, key: &str, body: Body) -> Envelope {
        let id = MessageId::key_value(bucket, key, &fingerprint(&body));
        envelope(id, self.bus.now(), body)
    }
}

/// What a key holds.
enum Present {
    Nothing,
    Untrusted,
    Value(u64, Box<Option<Body>>),
}

/// A change of configuration follows from no event: it is its own correlation.
fn envelope(id: MessageId, at: jiff::Timestamp, body: Body) -> Envelope {
    let correlation = EventId::from(id.as_uuid());
    Envelope::new(id, Service::Config, at, correlation, None, body)
}

/// The message that tells of a change; the same whenever it is built.
fn news(change: &Change) -> Envelope {
    let gone = change.what == What::Deleted;
    let body = Body::ConfigChanged(ConfigChanged {
        org: change.org.to_string(),
        node: change.node.to_string(),
        version: if gone { 0 } else { change.version },
        what: change.what.as_str().to_owned(),
        changed_by: change.by.clone(),
    });
    let envelope = envelope(change.message_id(), change.at, body);
    match change.kind {
        Kind::Team => envelope.owned_by(&change.org, &change.node),
        Kind::Org | Kind::Unit => envelope,
    }
}

/// Key in the bucket `teams`.
fn team_key(org: &OrgId, team: &TeamId) -> String {
    format!("{org}.{team}")
}

fn routing_record(identifier: &Identifier, owners: &[Owner]) -> RoutingRecord {
    RoutingRecord {
        r#type: identifier.kind.clone(),
        value: identifier.value.clone(),
        owners: owners
            .iter()
            .map(|owner| RoutingOwner {
                org: owner.org.to_string(),
                team: owner.team.to_string(),
            })
            .collect(),
    }
}

/// `None` when the line does not end in a team.
fn team_record(line: &Lineage, defaults: &Config) -> Result<Option<TeamRecord>, PublishingError> {
    let Some(team) = line.node().filter(|node| node.kind == Kind::Team) else {
        return Ok(None);
    };
    let effective = line.effective(defaults);
    let effective_config =
        serde_json::to_vec(&effective).map_err(|source| PublishingError::Encode {
            org: team.org.clone(),
            team: team.id.clone(),
            source,
        })?;
    Ok(Some(TeamRecord {
        org: team.org.to_string(),
        team: team.id.to_string(),
        name: team.name.clone(),
        version: line.version(),
        effective_config: effective_config.into(),
        lineage: line.ids().iter().map(ToString::to_string).collect(),
    }))
}

/// Tells contents apart.
fn fingerprint(body: &Body) -> String {
    let bytes = match body {
        Body::RoutingRecord(record) => record.encode_to_vec(),
        Body::TeamRecord(record) => record.encode_to_vec(),
        // Nothing else lies in our buckets.
        _ => Vec::new(),
    };
    signing::hex(ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref())
}
