//! Metrics of one provider, registered once so that a delivery only updates them.

use std::time::Duration;

use metrics::{Counter, Histogram};

use crate::error::Rejection;

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

pub(crate) struct ProviderMetrics {
    provider: &'static str,
    accepted: Counter,
    duplicate: Counter,
    ping: Counter,
    filtered: Counter,
    deferred: Counter,
    refused: Counter,
    unavailable: Counter,
    ack: Histogram,
}

impl ProviderMetrics {
    pub(crate) fn new(provider: &'static str) -> Self {
        let count = |outcome: &'static str| {
            metrics::counter!(
                "tocsin_ingress_deliveries_total", "provider" => provider, "outcome" => outcome
            )
        };
        Self {
            provider,
            accepted: count("accepted"),
            duplicate: count("duplicate"),
            ping: count("ping"),
            filtered: count("filtered"),
            deferred: count("deferred"),
            refused: count("refused"),
            unavailable: count("unavailable"),
            ack: metrics::histogram!("tocsin_ingress_ack_seconds", "provider" => provider),
        }
    }

    /// `tocsin_ingress_deliveries_total` by outcome; for what is acknowledged also the time from the
    /// headers to the ack, `tocsin_ingress_ack_seconds`.
    pub(crate) fn record(&self, outcome: Outcome, took: Duration) {
        let (counter, is_ack) = match outcome {
            Outcome::Accepted => (&self.accepted, true),
            Outcome::Duplicate => (&self.duplicate, true),
            Outcome::Ping => (&self.ping, true),
            Outcome::Filtered => (&self.filtered, true),
            Outcome::Deferred => (&self.deferred, true),
            Outcome::Refused => (&self.refused, false),
            Outcome::Unavailable => (&self.unavailable, false),
        };
        counter.increment(1);
        if is_ack {
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
