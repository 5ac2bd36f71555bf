//! Sources: one sender of an org, with a URL, secrets and limits of its own; and what ingress saw of it.

mod figures;
mod pick;
mod provider;

use serde::{Deserialize, Serialize};

use crate::scheme::Scheme;

pub use figures::{Finding, MAX_RECENT, OfLate, Recent, RefusedOfLate, Side, SourceFigures};
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
}
