//! Sources: one sender of an org, with a URL, secrets and limits of its own; and what ingress saw of it.

mod pick;
mod provider;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::scheme::Scheme;

pub use pick::{MAX_PICK_BYTES, MAX_PICKED_BODY_BYTES, PICK_NAMES, PickField, SourcePick};
pub use provider::{PROVIDERS, SecretForm, SourceProvider, USUAL_BODY_BYTES};

/// Bucket of sources.
pub const SOURCES: &str = "sources";
/// Bucket of what every ingress saw of every source.
pub const SOURCE_HEALTH: &str = "source_health";
/// Tolerance that a source may set at most: an hour, for senders whose clock nobody can mend.
pub const MAX_TOLERANCE_SECONDS: u32 = 3_600;
/// Body that a source may allow at most: GitHub's and GitLab's largest.
pub const MAX_BODY_BYTES: u32 = 25 << 20;
/// Address ranges in one allow-list.
pub const MAX_ALLOWED_RANGES: usize = 64;
/// Kinds in one filter.
pub const MAX_FILTERED_KINDS: usize = 100;

/// What a source may say beyond its name and its secrets; whatever is left out is as its provider's row
/// has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceSettings {
    /// How its deliveries prove themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// Addresses that may deliver, as `192.0.2.0/24` or `2001:db8::/32`; empty: any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_addresses: Vec<String>,
    /// How far a signed time may be off, in both directions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance_seconds: Option<u32>,
    /// 413 over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u32>,
    /// Kinds that are taken; what else comes is acknowledged and dropped. Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only_kinds: Vec<String>,
    /// Name of a tier in [`crate::rate`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_tier: Option<String>,
    /// Owner of what no identifier routes: a team of the source's org.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_team: Option<String>,
    /// What is taken out of a body of any JSON; only where [`SourceProvider::takes_pick`]. Boxed: few have
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pick: Option<Box<SourcePick>>,
}

/// What one ingress saw of one source since it started. Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceFigures {
    pub accepted: u64,
    pub duplicates: u64,
    /// Said by the sender to be another try.
    pub retries: u64,
    /// Deliveries on which an expression of the source failed ([`SourcePick`]).
    pub not_picked: u64,
    /// By code: `bad_signature`, `body_too_large`, `rate_limited` …
    pub refused: BTreeMap<String, u64>,
    /// 503: our trouble, not the sender's.
    pub unavailable: u64,
    pub last_accepted: Option<i64>,
    pub last_refused: Option<i64>,
    pub last_refusal: Option<String>,
    /// What is known about the cause of a refusal of late: for the person who sets the sender up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub last_findings: Vec<Finding>,
    /// The sender's clock minus ours, of the last signed time that was read.
    pub clock_skew_seconds: Option<i64>,
    /// Mean time from the headers to the answer of what was accepted.
    pub mean_ack_micros: u64,
    /// When each secret was last used, by its id.
    pub secret_last_used: BTreeMap<String, i64>,
    /// When these figures were written.
    pub at: i64,
}

/// One thing that is or may be wrong with a delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `wrong_secret`, `body_changed`, `clock_skew` …
    pub code: String,
    /// A sentence or two for people; never a secret, never a body.
    pub text: String,
}

impl SourceFigures {
    /// Adds what another ingress saw.
    pub fn add(&mut self, other: &Self) {
        let accepted = self.accepted.saturating_add(other.accepted);
        let total = u128::from(self.mean_ack_micros) * u128::from(self.accepted)
            + u128::from(other.mean_ack_micros) * u128::from(other.accepted);
        let mean = total.checked_div(u128::from(accepted)).unwrap_or_default();
        self.mean_ack_micros = u64::try_from(mean).unwrap_or(u64::MAX);
        self.accepted = accepted;
        self.duplicates = self.duplicates.saturating_add(other.duplicates);
        self.retries = self.retries.saturating_add(other.retries);
        self.not_picked = self.not_picked.saturating_add(other.not_picked);
        self.unavailable = self.unavailable.saturating_add(other.unavailable);
        for (code, count) in &other.refused {
            let sum = self.refused.entry(code.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
        if other.last_refused > self.last_refused {
            self.last_refusal.clone_from(&other.last_refusal);
            self.last_findings.clone_from(&other.last_findings);
            self.last_refused = other.last_refused;
        }
        if other.last_accepted > self.last_accepted {
            self.clock_skew_seconds = other.clock_skew_seconds.or(self.clock_skew_seconds);
            self.last_accepted = other.last_accepted;
        }
        for (id, at) in &other.secret_last_used {
            let last = self.secret_last_used.entry(id.clone()).or_insert(*at);
            *last = (*last).max(*at);
        }
        self.at = self.at.max(other.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_left_out_are_those_of_the_provider() {
        let read: SourceSettings = serde_json::from_str("{}").expect("JSON");
        assert_eq!(read, SourceSettings::default());
        assert_eq!(serde_json::to_string(&read).expect("JSON"), "{}");
        assert!(serde_json::from_str::<SourceSettings>(r#"{"org_id":"x"}"#).is_err());
    }

    #[test]
    fn figures_of_two_add_up() {
        let mut one = SourceFigures {
            accepted: 1,
            mean_ack_micros: 100,
            last_accepted: Some(5),
            secret_last_used: BTreeMap::from([("1".to_owned(), 5)]),
            ..SourceFigures::default()
        };
        let other = SourceFigures {
            accepted: 3,
            not_picked: 2,
            mean_ack_micros: 500,
            refused: BTreeMap::from([("bad_signature".to_owned(), 2)]),
            last_refused: Some(9),
            last_refusal: Some("bad_signature".to_owned()),
            last_accepted: Some(4),
            secret_last_used: BTreeMap::from([("1".to_owned(), 4), ("2".to_owned(), 4)]),
            ..SourceFigures::default()
        };
        one.add(&other);
        assert_eq!((one.accepted, one.mean_ack_micros), (4, 400));
        assert_eq!(one.not_picked, 2);
        assert_eq!(one.last_accepted, Some(5));
        assert_eq!(one.last_refusal.as_deref(), Some("bad_signature"));
        assert_eq!(one.refused["bad_signature"], 2);
        assert_eq!(one.secret_last_used["1"], 5);
        assert_eq!(one.secret_last_used["2"], 4);
        one.add(&SourceFigures::default());
        assert_eq!(one.mean_ack_micros, 400);
    }
}
