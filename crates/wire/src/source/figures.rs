//! What ingress saw of a source, and what that says of late.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// Deliveries by which a source's present is judged: enough for a share, and few enough to write them every few
/// seconds.
pub const MAX_RECENT: usize = 32;

/// What one ingress saw of one source since it started. Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceFigures {
    pub accepted: u64,
    pub duplicates: u64,
    /// Said by the sender to be another try, or found to be one since it was stored before.
    pub retries: u64,
    /// Deliveries on which an expression of the source failed ([`super::SourcePick`]).
    pub not_picked: u64,
    /// By code: `bad_signature`, `body_too_large`, `rate_limited` …
    pub refused: BTreeMap<String, u64>,
    /// Those of `refused` that were our trouble, not the sender's.
    pub refused_by_us: BTreeMap<String, u64>,
    /// How many these are.
    pub unavailable: u64,
    pub last_accepted: Option<i64>,
    pub last_refused: Option<i64>,
    pub last_refusal: Option<String>,
    /// What is known about the cause of a refusal of late: for the person who sets the sender up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub last_findings: Vec<Finding>,
    /// The sender's clock minus ours, of the last signed time that proved to be the sender's.
    pub clock_skew_seconds: Option<i64>,
    /// When that was.
    pub clock_skew_at: Option<i64>,
    /// Mean time from the headers to the answer of what was accepted.
    pub mean_ack_micros: u64,
    /// When each secret was last used, by its id.
    pub secret_last_used: BTreeMap<String, i64>,
    /// The last [`MAX_RECENT`], the newest at the end. Left out of answers, which have `of_late` instead.
    #[serde(skip_serializing_if = "VecDeque::is_empty")]
    pub recent: VecDeque<Recent>,
    /// What `recent` amounts to; only in answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_late: Option<OfLate>,
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

/// Whose turn it is after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// It sent what cannot be taken.
    Sender,
    /// It sent more than it may.
    Limit,
    /// We could not take it; the sender did nothing wrong.
    Us,
}

/// One delivery of late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent {
    pub at: i64,
    /// From the headers to the answer.
    pub took_micros: u64,
    /// Absent where it was taken.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refused: Option<(Side, String)>,
}

/// What became of the last deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OfLate {
    /// How many these are: [`MAX_RECENT`] at most.
    pub deliveries: u64,
    /// The longest time to the answer of one that was taken.
    pub slowest_ack_micros: u64,
    pub refused: BTreeMap<Side, RefusedOfLate>,
}

/// Those refused for one side's sake.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RefusedOfLate {
    pub count: u64,
    /// Those that came after the last one that was taken.
    pub since_taken: u64,
    pub last_code: String,
    pub last_at: i64,
}

impl SourceFigures {
    /// Counts a refusal.
    pub fn refuse(&mut self, side: Side, code: &str, at: i64, took_micros: u64) {
        *self.refused.entry(code.to_owned()).or_default() += 1;
        if side == Side::Us {
            self.unavailable += 1;
            *self.refused_by_us.entry(code.to_owned()).or_default() += 1;
        }
        self.last_refused = Some(at);
        if self.last_refusal.as_deref() != Some(code) {
            // What was found out about another refusal says nothing about this one.
            self.last_findings.clear();
            self.last_refusal = Some(code.to_owned());
        }
        self.push_recent(Recent {
            at,
            took_micros,
            refused: Some((side, code.to_owned())),
        });
    }

    /// Notes a delivery of now.
    pub fn push_recent(&mut self, recent: Recent) {
        if self.recent.len() >= MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(recent);
    }

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
        add_counts(&mut self.refused, &other.refused);
        add_counts(&mut self.refused_by_us, &other.refused_by_us);
        if other.last_refused > self.last_refused {
            self.last_refusal.clone_from(&other.last_refusal);
            self.last_findings.clone_from(&other.last_findings);
            self.last_refused = other.last_refused;
        }
        self.last_accepted = self.last_accepted.max(other.last_accepted);
        if other.clock_skew_at > self.clock_skew_at {
            self.clock_skew_seconds = other.clock_skew_seconds;
            self.clock_skew_at = other.clock_skew_at;
        }
        for (id, at) in &other.secret_last_used {
            let last = self.secret_last_used.entry(id.clone()).or_insert(*at);
            *last = (*last).max(*at);
        }
        self.recent.extend(other.recent.iter().cloned());
        // Of the same second what was taken counts as the last: then it works.
        let order = |recent: &Recent| (recent.at, recent.refused.is_none());
        self.recent.make_contiguous().sort_by_key(order);
        let older = self.recent.len().saturating_sub(MAX_RECENT);
        self.recent.drain(..older);
        self.at = self.at.max(other.at);
    }

    /// As it is answered: with what the last deliveries amount to in their place, which is shorter.
    #[must_use]
    pub fn summarized(mut self) -> Self {
        let recent = std::mem::take(&mut self.recent);
        self.of_late = Some(OfLate::of(&recent));
        self
    }
}

impl OfLate {
    fn of(recent: &VecDeque<Recent>) -> Self {
        let mut of_late = Self {
            deliveries: recent.len() as u64,
            ..Self::default()
        };
        for recent in recent {
            let Some((side, code)) = &recent.refused else {
                let slowest = of_late.slowest_ack_micros.max(recent.took_micros);
                of_late.slowest_ack_micros = slowest;
                for refused in of_late.refused.values_mut() {
                    refused.since_taken = 0;
                }
                continue;
            };
            let refused = of_late.refused.entry(*side).or_default();
            refused.count += 1;
            refused.since_taken += 1;
            refused.last_code.clone_from(code);
            refused.last_at = recent.at;
        }
        of_late
    }
}

fn add_counts(sums: &mut BTreeMap<String, u64>, counts: &BTreeMap<String, u64>) {
    for (code, count) in counts {
        let sum = sums.entry(code.clone()).or_default();
        *sum = sum.saturating_add(*count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_two_add_up() {
        let mut one = SourceFigures {
            accepted: 1,
            mean_ack_micros: 100,
            last_accepted: Some(5),
            clock_skew_seconds: Some(-2),
            clock_skew_at: Some(5),
            secret_last_used: BTreeMap::from([("1".to_owned(), 5)]),
            ..SourceFigures::default()
        };
        let mut other = SourceFigures {
            accepted: 3,
            not_picked: 2,
            mean_ack_micros: 500,
            last_accepted: Some(4),
            clock_skew_seconds: Some(-900),
            clock_skew_at: Some(9),
            secret_last_used: BTreeMap::from([("1".to_owned(), 4), ("2".to_owned(), 4)]),
            ..SourceFigures::default()
        };
        other.refuse(Side::Sender, "bad_signature", 8, 10);
        other.refuse(Side::Us, "bus_timeout", 9, 10);
        one.add(&other);
        assert_eq!((one.accepted, one.mean_ack_micros), (4, 400));
        assert_eq!(one.not_picked, 2);
        assert_eq!(one.last_accepted, Some(5));
        assert_eq!(one.last_refusal.as_deref(), Some("bus_timeout"));
        assert_eq!(one.refused["bad_signature"], 1);
        assert_eq!(
            one.refused_by_us,
            BTreeMap::from([("bus_timeout".to_owned(), 1)])
        );
        assert_eq!(one.unavailable, 1);
        assert_eq!(
            one.clock_skew_seconds,
            Some(-900),
            "read later, of what was refused"
        );
        assert_eq!(one.secret_last_used["1"], 5);
        assert_eq!(one.secret_last_used["2"], 4);
        one.add(&SourceFigures::default());
        assert_eq!(one.mean_ack_micros, 400);
    }

    #[test]
    fn the_last_deliveries_of_two_are_in_their_order_and_few() {
        let taken = |at| Recent {
            at,
            took_micros: 1_000 + at.unsigned_abs(),
            refused: None,
        };
        let (mut one, mut other) = (SourceFigures::default(), SourceFigures::default());
        for at in 0..100 {
            one.push_recent(taken(at));
        }
        assert_eq!(one.recent.len(), MAX_RECENT);
        other.refuse(Side::Sender, "bad_signature", 90, 5);
        other.refuse(Side::Sender, "wrong_token", 99, 5);
        other.refuse(Side::Us, "bus_timeout", 100, 9_000);
        one.add(&other);
        let of_late = one.summarized().of_late.expect("summarized");
        let refused = |count, since_taken, code: &str, last_at| RefusedOfLate {
            count,
            since_taken,
            last_code: code.to_owned(),
            last_at,
        };
        let expected = OfLate {
            deliveries: 32,
            slowest_ack_micros: 1_099,
            refused: BTreeMap::from([
                (Side::Sender, refused(2, 0, "wrong_token", 99)),
                (Side::Us, refused(1, 1, "bus_timeout", 100)),
            ]),
        };
        assert_eq!(of_late, expected);
    }
}
