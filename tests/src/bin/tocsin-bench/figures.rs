//! Percentiles, medians, and how they are printed.

use std::time::Duration;

/// Latencies of one round, sorted.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn new(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        Self(samples)
    }

    /// `share` from 0 to 1; zero without samples.
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index into a few million samples"
        )]
        let index = ((self.0.len() as f64 * share) as usize).min(self.0.len().saturating_sub(1));
        self.0.get(index).copied().unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |share| self.percentile(share).as_secs_f64() * 1_000.0;
        write!(
            formatter,
            "p50 {:.2} ms  p90 {:.2} ms  p99 {:.2} ms  p99.9 {:.2} ms  ({} samples)",
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            self.len()
        )
    }
}

/// One figure over several rounds.
pub(crate) struct Rounds(Vec<f64>);

impl Rounds {
    pub(crate) fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub(crate) fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        self.0.get(middle).copied().unwrap_or_default()
    }

    /// `median (lowest to highest)`, with `digits` decimals.
    pub(crate) fn text(&self, digits: usize) -> String {
        let lowest = self.0.first().copied().unwrap_or_default();
        let highest = self.0.last().copied().unwrap_or_default();
        format!(
            "{:.digits$} ({lowest:.digits$} to {highest:.digits$})",
            self.median()
        )
    }
}

/// A line of the report.
#[expect(clippy::print_stdout, reason = "the report of a command")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}
