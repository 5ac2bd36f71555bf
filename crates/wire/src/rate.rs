//! Rate limits: named tiers, each a stream whose age is the window and whose room per subject is the
//! limit. The server counts, so the limit holds over all replicas and across restarts.
//!
//! One message stands for [`RateTier::grain`] deliveries, which its taker admits within [`LEASE`]. It lies
//! in the stream for the window and the lease, so a delivery counts for at least the window after its
//! admission: in no window of that length are more than the limit admitted. Admitted is what was decided; the
//! event is in its stream some milliseconds later, for which a lease that is used at once leaves as much room.

use std::time::Duration;

use crate::subject::Subject;
use crate::{KeyToken, Token};

/// How long whoever took a message may admit by it.
pub const LEASE: Duration = Duration::from_millis(250);

/// One tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateTier {
    /// As sources and subjects name it.
    pub name: &'static str,
    /// Name of its stream.
    pub stream: &'static str,
    /// Its stream's subjects.
    pub subjects: &'static [&'static str],
    pub window: Duration,
    /// Deliveries in any window.
    pub limit: u32,
    /// Deliveries per message; divides the limit.
    pub grain: u32,
}

/// For senders that should be quiet: 10 a second, in bursts of a hundred.
pub const SMALL: &RateTier = &RateTier {
    name: "small",
    stream: "RATE_small",
    subjects: &["rate.small.>"],
    window: Duration::from_secs(10),
    limit: 100,
    grain: 1,
};

/// For busy senders: 500 a second.
pub const MEDIUM: &RateTier = &RateTier {
    name: "medium",
    stream: "RATE_medium",
    subjects: &["rate.medium.>"],
    window: Duration::from_secs(10),
    limit: 5_000,
    grain: 10,
};

/// More than one ingress takes: it bounds what a sender gone mad can do. The tier of a source that names
/// none, and of the shared ones.
pub const LARGE: &RateTier = &RateTier {
    name: "large",
    stream: "RATE_large",
    subjects: &["rate.large.>"],
    window: Duration::from_secs(10),
    limit: 250_000,
    grain: 250,
};

/// Every tier that a source may name, the smallest first.
pub const TIERS: &[&RateTier] = &[SMALL, MEDIUM, LARGE];

/// See [`LARGE`].
pub const DEFAULT: &RateTier = LARGE;

/// How many deliveries of one source are put aside until there is room, in any ten minutes.
pub const DEFERRALS: &RateTier = &RateTier {
    name: "deferral",
    stream: "RATE_deferral",
    subjects: &["rate.deferral.>"],
    window: Duration::from_secs(600),
    limit: 20_000,
    grain: 10,
};

impl RateTier {
    /// The tier with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        TIERS.iter().find(|tier| tier.name == name).copied()
    }

    /// Messages that lie in the stream when a window is full.
    #[must_use]
    pub const fn messages(&self) -> u32 {
        self.limit / self.grain
    }

    /// How long a message counts.
    #[must_use]
    pub const fn max_age(&self) -> Duration {
        self.window.saturating_add(LEASE)
    }

    /// The subject whose messages are counted: of a source, and of what is limited inside it.
    #[must_use]
    pub fn subject(&self, source: &Token, key: &KeyToken) -> Subject {
        Subject::Rate {
            tier: self.name.to_owned(),
            source: source.clone(),
            key: key.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_are_whole_and_have_their_stream() {
        for tier in TIERS.iter().copied().chain([DEFERRALS]) {
            assert_eq!(tier.limit % tier.grain, 0, "{}", tier.name);
            assert_eq!(tier.stream, format!("RATE_{}", tier.name));
            assert_eq!(tier.subjects, [format!("rate.{}.>", tier.name)]);
            // What a lease may waste at the end of a window is under 5 % of the allowance.
            assert!(LEASE.as_secs_f64() / tier.window.as_secs_f64() < 0.05);
            assert!(f64::from(tier.grain) / f64::from(tier.limit) < 0.05);
        }
    }
}
