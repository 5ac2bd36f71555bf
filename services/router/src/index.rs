//! The routing index: who owns which identifier, and every team's rules, in memory. It follows the
//! buckets `routing` and `teams`, so routing goes on while config is down.

use std::sync::Arc;

use dashmap::DashMap;
use tocsin_bus::{Bucket, Change, QueueBook};
use tocsin_wire::identifier::IdentifierType;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{RoutingRecord, TeamRecord};
use tokio::sync::watch;

use crate::decide::Lookup;
use crate::owner::Owner;
use crate::rules::TeamRules;

/// Bucket of identifiers.
pub const ROUTING: &str = "routing";
/// Bucket of teams.
pub const TEAMS: &str = "teams";

/// Live and shared; a lookup takes about a microsecond.
#[derive(Debug)]
pub struct Index {
    /// By key of the bucket `routing`.
    owners: DashMap<String, Arc<[Owner]>>,
    /// By key of the bucket `teams`.
    rules: DashMap<String, Arc<TeamRules>>,
    /// How many runs each team and org may have.
    queues: QueueBook,
    nobody: Arc<[Owner]>,
}

/// A value that config would not have written; it is left out.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("the value is no {expected}; only config may write it, in the form of this version")]
    WrongBody { expected: &'static str },
    #[error("an owner breaks the rule for ids")]
    Owner(#[source] tocsin_wire::InvalidToken),
    #[error("the record is about {about}, not about its key; write it again from config")]
    WrongKey { about: String },
    #[error("the effective config is not JSON")]
    Config(#[source] serde_json::Error),
}

impl Default for Index {
    fn default() -> Self {
        Self {
            owners: DashMap::new(),
            rules: DashMap::new(),
            queues: QueueBook::default(),
            nobody: Arc::from([]),
        }
    }
}

impl Index {
    /// Identifiers that somebody owns.
    #[must_use]
    pub fn identifiers(&self) -> usize {
        self.owners.len()
    }

    /// Teams whose rules are known.
    #[must_use]
    pub fn teams(&self) -> usize {
        self.rules.len()
    }

    /// How many runs each team and org may have.
    #[must_use]
    pub fn queues(&self) -> &QueueBook {
        &self.queues
    }

    /// Replaces who owns the identifier behind `key`.
    ///
    /// # Errors
    /// When the record is not about `key`, or names an owner that cannot exist.
    pub fn put_routing(&self, key: &str, record: &RoutingRecord) -> Result<(), RecordError> {
        let kind = IdentifierType::named(&record.r#type);
        if kind.map(|kind| kind.key(&record.value)).as_deref() != Some(key) {
            let about = format!("{} {:?}", record.r#type, record.value);
            return Err(RecordError::WrongKey { about });
        }
        let owners: Result<Arc<[Owner]>, _> = record
            .owners
            .iter()
            .map(|owner| Owner::new(&owner.org, &owner.team))
            .collect();
        self.owners
            .insert(key.to_owned(), owners.map_err(RecordError::Owner)?);
        Ok(())
    }

    /// Replaces the rules of the team behind `key`.
    ///
    /// # Errors
    /// When the record is not about `key`, or its config is not JSON.
    pub fn put_team(&self, key: &str, record: &TeamRecord) -> Result<(), RecordError> {
        let owner = Owner::new(&record.org, &record.team).map_err(RecordError::Owner)?;
        if team_key(&owner) != key {
            let about = owner.to_string();
            return Err(RecordError::WrongKey { about });
        }
        let rules = TeamRules::parse(&record.effective_config).map_err(RecordError::Config)?;
        self.queues.put(&owner.org, &owner.team, rules.limits);
        self.rules.insert(key.to_owned(), Arc::new(rules));
        Ok(())
    }

    /// Nobody owns the identifier behind `key` any more.
    pub fn remove_routing(&self, key: &str) {
        self.owners.remove(key);
    }

    /// The team behind `key` is gone.
    pub fn remove_team(&self, key: &str) {
        self.rules.remove(key);
        let owner = key.split_once('.').map(|(org, team)| Owner::new(org, team));
        if let Some(Ok(owner)) = owner {
            self.queues.remove(&owner.org, &owner.team);
        }
    }

    /// Follows `bucket` until `stop` completes; `caught_up` turns true once the snapshot is in.
    pub(crate) async fn follow(
        &self,
        bucket: Bucket,
        name: &'static str,
        stop: impl Future<Output = ()>,
        caught_up: watch::Sender<bool>,
    ) {
        let observe = |change| {
            match change {
                Change::CaughtUp => {
                    caught_up.send_replace(true);
                }
                Change::Removed { key } if name == TEAMS => self.remove_team(&key),
                Change::Removed { key } => self.remove_routing(&key),
                Change::Put { key, entry } => self.observe(name, &key, entry.envelope.body),
            }
            // Thousands of entries a second while a snapshot is read: the gauge may lag, never lie.
            self.report();
        };
        bucket.watch(stop, observe).await;
    }

    fn observe(&self, bucket: &'static str, key: &str, body: Option<Body>) {
        let result = match (bucket, body) {
            (ROUTING, Some(Body::RoutingRecord(record))) => self.put_routing(key, &record),
            (TEAMS, Some(Body::TeamRecord(record))) => self.put_team(key, &record),
            (TEAMS, _) => Err(RecordError::WrongBody {
                expected: "TeamRecord",
            }),
            _ => Err(RecordError::WrongBody {
                expected: "RoutingRecord",
            }),
        };
        if let Err(error) = result {
            // What was there before stays: an old owner is better than none.
            let error = tocsin_kit::ErrorChain(&error);
            tracing::error!(bucket, key, %error, "a value of the routing index is unusable; kept the one before");
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^52 entries")]
    fn report(&self) {
        metrics::gauge!("tocsin_router_index_entries", "bucket" => ROUTING)
            .set(self.identifiers() as f64);
        metrics::gauge!("tocsin_router_index_entries", "bucket" => TEAMS).set(self.teams() as f64);
    }
}

impl Lookup for Index {
    fn owners(&self, kind: &IdentifierType, value: &str) -> Arc<[Owner]> {
        let found = self.owners.get(&kind.key(value));
        found.map_or_else(|| Arc::clone(&self.nobody), |found| Arc::clone(&found))
    }

    fn rules(&self, owner: &Owner) -> Option<Arc<TeamRules>> {
        self.rules
            .get(&team_key(owner))
            .map(|found| Arc::clone(&found))
    }
}

/// Key of a team in the bucket `teams`.
fn team_key(owner: &Owner) -> String {
    format!("{}.{}", owner.org, owner.team)
}

#[cfg(test)]
mod tests;
