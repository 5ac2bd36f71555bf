//! The bucket `seen`: which event was first to tell of something. A key is created once and never
//! changed; whoever finds it held by another event is a duplicate. Only when there was no room for the
//! run that would have followed is a key given up: its event led to nothing that another could repeat.

use tocsin_bus::{Bucket, Bus, KeyValueError};
use tocsin_wire::ids::{EventId, MessageId, RequestId, RunId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Claim, Envelope};
use tocsin_wire::{KeyToken, Service};

use crate::owner::Owner;

const SEEN: &str = "seen";

/// What happened, and one delivery: what their keys begin with.
const SEMANTIC: &str = "semantic";
const DELIVERY: &str = "delivery";

/// Who asks, and for what.
#[derive(Clone, Debug)]
pub(crate) struct Claimant {
    pub(crate) event: EventId,
    pub(crate) run: RunId,
    pub(crate) owner: Owner,
    /// The run that was open when it asked: it means to join that one.
    pub(crate) joins: Option<RunId>,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// By this event, for this run. `found`: an earlier try at it, or an earlier delivery, left the claim,
    /// and meant to join the run named. The stream forgets an id after two minutes, so that an event may
    /// come twice without the bus knowing.
    Ours { found: bool, joins: Option<RunId> },
    /// By this event, but an earlier try settled on another run (routing changed meanwhile, or a
    /// newer version reads another meaning). That one counts: it may have been started already.
    Settled {
        owner: Owner,
        run: RunId,
        joins: Option<RunId>,
    },
    /// By another event.
    Theirs { event_id: String, run_id: String },
}

/// Who was first to tell of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) event: EventId,
    pub(crate) owner: Owner,
    /// Its own run, if it did not join another.
    pub(crate) run: RunId,
    /// The run that it meant to join; whether that heard of it, its log says.
    pub(crate) joins: Option<RunId>,
}

impl Remembered {
    fn read(envelope: &Envelope) -> Option<Self> {
        let Some(Body::Claim(claim)) = &envelope.body else {
            return None;
        };
        let tenant = envelope.tenant.as_ref()?;
        Some(Self {
            event: claim.event_id.parse().ok()?,
            owner: Owner::new(&tenant.org, &tenant.team).ok()?,
            run: claim.run_id.parse().ok()?,
            // An event that joined nothing wrote no run, which is no id.
            joins: claim.joined_run_id.parse().ok(),
        })
    }
}

/// A claim could not be made or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    #[error("claim {key}")]
    Create {
        key: String,
        #[source]
        source: KeyValueError,
    },
    #[error("read who holds {key}")]
    Read {
        key: String,
        #[source]
        source: KeyValueError,
    },
    #[error("give up {key}")]
    Release {
        key: String,
        #[source]
        source: KeyValueError,
    },
    #[error("{key} was held and is free again; it expired meanwhile")]
    Vanished { key: String },
    #[error("{key} holds no claim; the bucket seen has a foreign value, remove that key")]
    Foreign { key: String },
}

/// Access to the bucket.
#[derive(Clone)]
pub(crate) struct Claims {
    bus: Bus,
    bucket: Bucket,
}

impl Claims {
    pub(crate) fn new(bus: &Bus) -> Self {
        Self {
            bus: bus.clone(),
            bucket: bus.bucket(SEEN),
        }
    }

    /// Claims what happened.
    pub(crate) async fn semantic(&self, key: &str, by: &Claimant) -> Result<Held, ClaimError> {
        self.claim(SEMANTIC, key, by).await
    }

    /// Claims one delivery.
    pub(crate) async fn delivery(&self, key: &str, by: &Claimant) -> Result<Held, ClaimError> {
        self.claim(DELIVERY, key, by).await
    }

    /// What a claim of one delivery would find; nothing is claimed.
    pub(crate) async fn find_delivery(
        &self,
        key: &str,
        by: &Claimant,
    ) -> Result<Option<Held>, ClaimError> {
        let key = key_of(DELIVERY, key);
        match self.bucket.get(&key).await {
            Ok(None) => Ok(None),
            Ok(Some(entry)) => match read(&entry.envelope, by) {
                Some(held) => Ok(Some(held)),
                None => Err(ClaimError::Foreign { key }),
            },
            Err(source) => Err(ClaimError::Read { key, source }),
        }
    }

    /// Claims what happened for one request to replay it: `seen` does not stop a replay, a repeat of
    /// the request does.
    pub(crate) async fn replayed(
        &self,
        request: RequestId,
        key: &str,
        by: &Claimant,
    ) -> Result<Held, ClaimError> {
        self.claim("replayed", &format!("{request}:{key}"), by)
            .await
    }

    /// Gives up what `event` claimed: the next that tells of the same tries for itself.
    pub(crate) async fn release(
        &self,
        event: EventId,
        (semantic, delivery): (&str, &str),
    ) -> Result<(), ClaimError> {
        for key in [key_of(DELIVERY, delivery), key_of(SEMANTIC, semantic)] {
            let found = match self.bucket.get(&key).await {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(source) => return Err(ClaimError::Read { key, source }),
            };
            let is_ours = matches!(&found.envelope.body, Some(Body::Claim(claim)) if claim.event_id == event.to_string());
            if !is_ours {
                continue;
            }
            match self.bucket.delete_at(&key, found.revision).await {
                Ok(()) | Err(KeyValueError::Conflict { .. }) => {}
                Err(source) => return Err(ClaimError::Release { key, source }),
            }
        }
        Ok(())
    }

    /// Who was first to tell of what happened, while that is remembered.
    pub(crate) async fn first(&self, key: &str) -> Result<Option<Remembered>, ClaimError> {
        let key = key_of(SEMANTIC, key);
        match self.bucket.get(&key).await {
            Ok(found) => Ok(found.and_then(|entry| Remembered::read(&entry.envelope))),
            Err(source) => Err(ClaimError::Read { key, source }),
        }
    }

    async fn claim(&self, what: &str, raw: &str, by: &Claimant) -> Result<Held, ClaimError> {
        let key = key_of(what, raw);
        match self
            .bucket
            .create(&key, &self.envelope(&key, raw, by))
            .await
        {
            Ok(_revision) => {
                let (found, joins) = (false, by.joins);
                return Ok(Held::Ours { found, joins });
            }
            Err(KeyValueError::Exists { .. }) => {}
            Err(source) => return Err(ClaimError::Create { key, source }),
        }
        let found = self.bucket.get(&key).await;
        let found = match found {
            Ok(Some(entry)) => entry.envelope,
            Ok(None) => return Err(ClaimError::Vanished { key }),
            Err(source) => return Err(ClaimError::Read { key, source }),
        };
        read(&found, by).ok_or(ClaimError::Foreign { key })
    }

    fn envelope(&self, key: &str, raw: &str, by: &Claimant) -> Envelope {
        let id = MessageId::key_value(SEEN, key, &by.event.to_string());
        let claim = Claim {
            key: raw.to_owned(),
            event_id: by.event.to_string(),
            run_id: by.run.to_string(),
            joined_run_id: by.joins.map(|run| run.to_string()).unwrap_or_default(),
        };
        let (now, cause) = (self.bus.now(), Some(by.event.into()));
        Envelope::new(
            id,
            Service::Router,
            now,
            by.event,
            cause,
            Body::Claim(claim),
        )
        .owned_by(&by.owner.org, &by.owner.team)
    }
}

fn key_of(what: &str, raw: &str) -> String {
    format!("{what}.{}", KeyToken::encode(raw))
}

/// What an existing claim means to `by`.
fn read(envelope: &Envelope, by: &Claimant) -> Option<Held> {
    let Some(Body::Claim(claim)) = &envelope.body else {
        return None;
    };
    if claim.event_id != by.event.to_string() {
        let joined = Some(&claim.joined_run_id).filter(|run| !run.is_empty());
        return Some(Held::Theirs {
            event_id: claim.event_id.clone(),
            run_id: joined.unwrap_or(&claim.run_id).clone(),
        });
    }
    // An earlier try that joined nothing wrote no run, which is no id.
    let joins = claim.joined_run_id.parse().ok();
    if claim.run_id == by.run.to_string() {
        return Some(Held::Ours { found: true, joins });
    }
    let Remembered { owner, run, .. } = Remembered::read(envelope)?;
    Some(Held::Settled { owner, run, joins })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimant(event: &str, team: &str) -> Claimant {
        Claimant {
            event: EventId::derive(event),
            run: RunId::derive("what happened", "acme", team),
            owner: Owner::new("acme", team).expect("tokens"),
            joins: None,
        }
    }

    fn held_by(claimant: &Claimant) -> Envelope {
        let claim = Claim {
            key: "k".to_owned(),
            event_id: claimant.event.to_string(),
            run_id: claimant.run.to_string(),
            joined_run_id: claimant
                .joins
                .map(|run| run.to_string())
                .unwrap_or_default(),
        };
        let id = MessageId::key_value(SEEN, "k", "");
        let at = jiff::Timestamp::UNIX_EPOCH;
        Envelope::new(
            id,
            Service::Router,
            at,
            claimant.event,
            None,
            Body::Claim(claim),
        )
        .owned_by(&claimant.owner.org, &claimant.owner.team)
    }

    #[test]
    fn the_first_event_and_its_first_owner_count() {
        let first = claimant("Ev1", "pay");
        let envelope = held_by(&first);
        let (found, joins) = (true, None);
        assert_eq!(read(&envelope, &first), Some(Held::Ours { found, joins }));
        let moved = claimant("Ev1", "shop");
        let (owner, run) = (first.owner.clone(), first.run);
        let settled = Held::Settled { owner, run, joins };
        assert_eq!(read(&envelope, &moved), Some(settled));
        let twin = read(&envelope, &claimant("Ev2", "pay"));
        let (event_id, run_id) = (first.event.to_string(), first.run.to_string());
        assert_eq!(twin, Some(Held::Theirs { event_id, run_id }));
        let joined = RunId::derive("before", "acme", "pay");
        let joining = held_by(&Claimant {
            joins: Some(joined),
            ..first.clone()
        });
        let joins = Some(joined);
        assert_eq!(read(&joining, &first), Some(Held::Ours { found, joins }));
        let (event_id, run_id) = (first.event.to_string(), joined.to_string());
        let twin = read(&joining, &claimant("Ev2", "pay"));
        assert_eq!(twin, Some(Held::Theirs { event_id, run_id }));
        let mut foreign = envelope;
        foreign.body = None;
        assert_eq!(read(&foreign, &first), None);
    }
}
