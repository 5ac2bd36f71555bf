//! Metrics of providers and of sources, registered once so that a delivery only updates them.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Histogram};

use crate::error::Rejection;

/// Sources with series of their own, seven each: what one Prometheus does not notice, and more than one team
/// watches.
const MAX_LABELLED: usize = 200;

/// Label of all others.
const OTHERS: &str = "other";

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Stored.
    Accepted,
    /// Stored before.
    Duplicate,
    /// Acknowledged, and nothing to store.
    Ping,
    /// Of a kind that its source does not want.
    Filtered,
    /// Over a limit, and stored until there is room.
    Deferred,
    /// The sender's fault.
    Refused,
    /// Ours.
    Unavailable,
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Accepted,
        Self::Duplicate,
        Self::Ping,
        Self::Filtered,
        Self::Deferred,
        Self::Refused,
        Self::Unavailable,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Ping => "ping",
            Self::Filtered => "filtered",
            Self::Deferred => "deferred",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }

    const fn is_ack(self) -> bool {
        !matches!(self, Self::Refused | Self::Unavailable)
    }
}

/// A counter of each outcome, in the order of [`Outcome::ALL`].
struct Outcomes([Counter; Outcome::ALL.len()]);

impl Outcomes {
    fn new(counter: impl Fn(&'static str) -> Counter) -> Self {
        Self(Outcome::ALL.map(|outcome| counter(outcome.label())))
    }

    fn count(&self, outcome: Outcome) {
        for (counter, of) in self.0.iter().zip(Outcome::ALL) {
            if of == outcome {
                counter.increment(1);
            }
        }
    }
}

pub(crate) struct ProviderMetrics {
    provider: &'static str,
    outcomes: Outcomes,
    ack: Histogram,
}

impl ProviderMetrics {
    pub(crate) fn new(provider: &'static str) -> Self {
        Self {
            provider,
            outcomes: Outcomes::new(|outcome| {
                metrics::counter!(
                    "tocsin_ingress_deliveries_total", "provider" => provider, "outcome" => outcome
                )
            }),
            ack: metrics::histogram!("tocsin_ingress_ack_seconds", "provider" => provider),
        }
    }

    /// `tocsin_ingress_deliveries_total` by outcome; for what is acknowledged also the time from the
    /// headers to the ack, `tocsin_ingress_ack_seconds`.
    pub(crate) fn record(&self, outcome: Outcome, took: Duration) {
        self.outcomes.count(outcome);
        if outcome.is_ack() {
            self.ack.record(took.as_secs_f64());
        }
    }

    /// `tocsin_ingress_not_picked_total`: deliveries that an expression of their source failed on.
    pub(crate) fn not_picked(&self) {
        metrics::counter!("tocsin_ingress_not_picked_total", "provider" => self.provider)
            .increment(1);
    }

    /// `tocsin_ingress_refused_total` by reason; there are few, and none comes from the request.
    pub(crate) fn refused(&self, rejection: &Rejection) {
        metrics::counter!(
            "tocsin_ingress_refused_total",
            "provider" => self.provider, "reason" => rejection.code()
        )
        .increment(1);
    }
}

/// Which sources are told apart in metrics: the first [`MAX_LABELLED`] that came, also those that are gone,
/// since a series stays for the life of a process.
#[derive(Default)]
pub(crate) struct SourceLabels(Mutex<BTreeSet<String>>);

impl SourceLabels {
    /// The id itself while there is room, else one label for all the rest.
    pub(crate) fn label(&self, id: &str) -> String {
        let mut labelled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = labelled.len() < MAX_LABELLED;
        if labelled.contains(id) || (has_room && labelled.insert(id.to_owned())) {
            id.to_owned()
        } else {
            OTHERS.to_owned()
        }
    }
}

/// Metrics of one source, or of those that are not told apart.
pub(crate) struct SourceMetrics(Outcomes);

impl SourceMetrics {
    pub(crate) fn new(provider: &'static str, label: &str) -> Self {
        Self(Outcomes::new(|outcome| {
            metrics::counter!(
                "tocsin_ingress_source_deliveries_total",
                "provider" => provider, "source" => label.to_owned(), "outcome" => outcome
            )
        }))
    }

    /// `tocsin_ingress_source_deliveries_total` by outcome.
    pub(crate) fn record(&self, outcome: Outcome) {
        self.0.count(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_sources_are_told_apart() {
        let labels = SourceLabels::default();
        let label = |number: usize| labels.label(&format!("src_{number}"));
        for number in 0..MAX_LABELLED {
            assert_eq!(label(number), format!("src_{number}"));
        }
        assert_eq!(label(MAX_LABELLED), OTHERS);
        assert_eq!(label(0), "src_0", "its next version has the same series");
    }
}
