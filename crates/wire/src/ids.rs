//! Every id that is derived, in one place.
//!
//! Ids are UUIDv5 over parts joined by an unlikely separator, so that a retry, a redelivery or a
//! restarted process arrives at the same id and the broker or the journal sees the repeat.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Root of all derived ids; a random UUID, fixed for ever.
const NAMESPACE: Uuid = Uuid::from_u128(0x8f0c_2a51_6f0d_4d5b_9c0e_3b1a_70c5_1e11);

/// Cannot stand in a part: U+001F, the unit separator.
const SEPARATOR: &str = "\u{1f}";

fn derive(parts: &[&str]) -> Uuid {
    Uuid::new_v5(&NAMESPACE, parts.join(SEPARATOR).as_bytes())
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// The id as a UUID.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(formatter)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }
    )*};
}

ids! {
    /// Any message on the bus.
    MessageId;
    /// An ingress event; also the correlation id of all that follows from it.
    EventId;
    /// One run of an agent.
    RunId;
    /// What somebody asked for, once: chosen by whoever asks.
    RequestId;
}

impl EventId {
    /// The same for every try of one delivery.
    pub fn derive(delivery_key: &str) -> Self {
        Self(derive(&["event", delivery_key]))
    }
}

impl RunId {
    /// One run per thing that happened and team, however often a provider tells it.
    pub fn derive(semantic_key: &str, org: &str, team: &str) -> Self {
        Self(derive(&["run", semantic_key, org, team]))
    }

    /// The run of an event that `request` has handled once more: one, whoever owns the event by then.
    pub fn replay(event: EventId, request: RequestId) -> Self {
        Self(derive(&[
            "replay",
            &event.to_string(),
            &request.to_string(),
        ]))
    }
}

impl From<RequestId> for MessageId {
    fn from(id: RequestId) -> Self {
        Self(id.0)
    }
}

impl From<EventId> for MessageId {
    fn from(id: EventId) -> Self {
        Self(id.0)
    }
}

impl MessageId {
    /// The decision on an event.
    pub fn decision(event: EventId) -> Self {
        Self(derive(&["decision", &event.to_string()]))
    }

    /// The decision on an event that `request` has decided on once more.
    pub fn replayed_decision(event: EventId, request: RequestId) -> Self {
        let (event, request) = (event.to_string(), request.to_string());
        Self(derive(&["replayed_decision", &event, &request]))
    }

    /// What came of a request for a replay.
    pub fn replay_result(request: RequestId) -> Self {
        Self(derive(&["replay_result", &request.to_string()]))
    }

    /// The work message of a run.
    pub fn run_request(run: RunId) -> Self {
        Self(derive(&["run_request", &run.to_string()]))
    }

    /// A journal message: the run and the number of its first entry, written by one worker instance.
    pub fn journal(run: RunId, first_entry: u32, worker: &str) -> Self {
        Self(derive(&[
            "journal",
            &run.to_string(),
            &first_entry.to_string(),
            worker,
        ]))
    }

    /// A result of a run: `what` names it (`run_started`, `run_post.slack.first`, `run_finished`).
    pub fn run_result(run: RunId, what: &str) -> Self {
        Self(derive(&["run_result", &run.to_string(), what]))
    }

    /// A dead letter: the same for every time the same message is given up.
    pub fn dead_letter(stream: &str, consumer: &str, stream_sequence: u64) -> Self {
        Self(derive(&[
            "dead",
            stream,
            consumer,
            &stream_sequence.to_string(),
        ]))
    }

    /// A change of configuration: the node and its new version.
    pub fn config_changed(org: &str, node: &str, version: u64, what: &str) -> Self {
        Self(derive(&[
            "config_changed",
            org,
            node,
            &version.to_string(),
            what,
        ]))
    }

    /// The value of a key in a bucket; `fingerprint` tells contents apart.
    pub fn key_value(bucket: &str, key: &str, fingerprint: &str) -> Self {
        Self(derive(&["key_value", bucket, key, fingerprint]))
    }

    /// A signal to a run; `key` is derived from what asked for it (an event id).
    pub fn signal(run: RunId, key: &str) -> Self {
        Self(derive(&["signal", &run.to_string(), key]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids are stored in journals and records: a change here orphans them all.
    #[test]
    fn derivations_never_change() {
        let event = EventId::derive("pagerduty:shared:01BWDW");
        let run = RunId::derive("pagerduty:01BWDW", "acme", "payments");
        insta::assert_debug_snapshot!([
            event.to_string(),
            run.to_string(),
            MessageId::decision(event).to_string(),
            MessageId::run_request(run).to_string(),
            MessageId::journal(run, 1, "worker-1").to_string(),
            MessageId::run_result(run, "run_finished").to_string(),
            MessageId::dead_letter("WORK", "workers-default", 7).to_string(),
        ]);
    }

    #[test]
    fn different_parts_give_different_ids() {
        assert_ne!(RunId::derive("a", "b", "c"), RunId::derive("a", "bc", ""));
        assert_ne!(
            EventId::derive("x").as_uuid(),
            RunId::derive("x", "", "").as_uuid()
        );
    }
}
