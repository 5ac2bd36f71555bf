//! From the outbox to the bus: snapshots in the buckets `routing`, `teams` and `sources`, then the news.
//!
//! A row of the outbox says what changed. What is written is read from Postgres at that moment, and
//! each key is written only if it still has the revision that was seen before reading. So rows may
//! repeat, and two processes may publish at once: a value that is older than what a key holds is
//! never written over it.

mod covered;
mod keys;
mod rebuild;
mod source;

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message as _;
use tocsin_bus::{Bucket, Bus, KeyValueError, Outgoing, PublishError};
use tocsin_store::outbox::Row;
use tocsin_wire::ids::{EventId, MessageId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{ConfigChanged, Envelope, RoutingOwner, RoutingRecord, TeamRecord};
use tocsin_wire::source::SOURCES;
use tocsin_wire::{OrgId, Service, TeamId, signing};

use crate::change::{Change, What};
use crate::error::OperationError;
use crate::merge::Config;
use crate::node::{Kind, Lineage};
use crate::pg::Database;
use crate::revocations;
use crate::routing::{Identifier, Owner};
use crate::source::SourceId;

use covered::Covered;
use keys::Target;
use source::source_record;

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
    #[error("the settings of source {id} cannot be encoded")]
    EncodeSource {
        id: SourceId,
        #[source]
        source: serde_json::Error,
    },
    #[error("name a secret of a source")]
    SecretName(#[source] tocsin_wire::InvalidToken),
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
    sources: Bucket,
    covered: Arc<Covered>,
}

impl Publisher {
    pub(crate) fn new(bus: Bus, database: Database, defaults: Config) -> Self {
        Self {
            routing: bus.bucket("routing"),
            teams: bus.bucket("teams"),
            sources: bus.bucket(SOURCES),
            covered: Arc::default(),
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
            self.refresh_for(row.id, &change).await?;
        }
        self.refresh_sources(self.sources_of(&change).await?)
            .await?;
        let outgoing = Outgoing::new(change.subject(), news(&change));
        self.bus
            .publish(outgoing)
            .await
            .map_err(PublishingError::Tell)?;
        Ok(())
    }

    /// The source that a change is about; with an org go all that it ever had.
    async fn sources_of(&self, change: &Change) -> Result<BTreeSet<SourceId>, PublishingError> {
        if change.what.is_of_source() {
            let id = change.about.split('@').next().and_then(SourceId::parse);
            return Ok(id.into_iter().collect());
        }
        if change.what != What::Deleted || change.kind != Kind::Org {
            return Ok(BTreeSet::new());
        }
        let ever = self.database.sources_ever_of(&change.org).await;
        Ok(ever.map_err(PublishingError::Read)?.into_iter().collect())
    }

    /// Refreshes what a change touched, unless that was done from a state that held the change.
    ///
    /// What is written is always the present state, so one refresh does for every row that was
    /// committed before it began: of a hundred writes to one node that wait, one costs something. The
    /// nodes of one transaction are refreshed together.
    async fn refresh_for(&self, row: i64, change: &Change) -> Result<(), PublishingError> {
        let mut targets: BTreeSet<Target> = change
            .identifiers
            .iter()
            .cloned()
            .map(Target::Identifier)
            .collect();
        let node = (change.org.clone(), change.node.clone());
        let horizon = if self.covered.holds(&node, row) {
            row
        } else {
            let read = PublishingError::Read;
            let horizon = self.database.last_outbox_id().await.map_err(read)?;
            let org = &change.org;
            let mut nodes = vec![change.node.clone()];
            if change.batch > 1 {
                let changed = self.database.changed_in(org, change.revision).await;
                nodes.extend(changed.map_err(read)?);
            }
            let teams = self.database.teams_at_or_below_any(org, &nodes).await;
            // What is no team or gone has no record; a record of it is removed.
            let teams = teams.map_err(read)?.into_iter().chain(nodes);
            targets.extend(teams.map(|team| Target::Team(org.clone(), team)));
            horizon.max(row)
        };
        targets.retain(|target| !self.covered.holds_target(target, row));
        self.refresh(targets.iter().cloned().collect()).await?;
        self.covered.note(node, targets, horizon, row);
        Ok(())
    }

    fn value(&self, bucket: &'static str, key: &str, body: Body) -> Envelope {
        let id = MessageId::key_value(bucket, key, &fingerprint(&body));
        envelope(id, self.bus.now(), body)
    }
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
        revision: change.revision,
        batch: change.batch,
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
fn team_record(
    line: &Lineage,
    defaults: &Config,
    revision: u64,
) -> Result<Option<TeamRecord>, PublishingError> {
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
        revision,
    }))
}

/// Tells contents apart. The revision is none: it rises with every write in the org, and says only
/// from which state of it a record was made.
fn fingerprint(body: &Body) -> String {
    let bytes = match body {
        Body::RoutingRecord(record) => record.encode_to_vec(),
        Body::TeamRecord(record) => {
            let mut record = record.clone();
            record.revision = 0;
            record.encode_to_vec()
        }
        Body::SourceRecord(record) => record.encode_to_vec(),
        // Nothing else lies in our buckets.
        _ => Vec::new(),
    };
    signing::hex(ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref())
}
