//! A scenario's data: series whose values are given relative to now.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::standins::slack::Alert;

/// How often the pretended target is scraped, in seconds.
pub(super) const SCRAPE_SECONDS: f64 = 15.0;

/// A scenario file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub name: String,
    #[serde(default)]
    pub about: String,
    /// The incident that starts it.
    pub alert: Option<Alert>,
    /// Series that are there whatever the cause.
    pub series: Vec<Series>,
    /// By name: series that take the place of, or are added to, those above.
    #[serde(default)]
    pub causes: IndexMap<String, Cause>,
    /// The cause at the start.
    pub cause: Option<String>,
}

/// One of the things that may have gone wrong.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cause {
    /// For people.
    pub about: String,
    pub series: Vec<Series>,
}

/// One series.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    pub metric: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub kind: Kind,
    /// `[seconds relative to now, value]`, in order of time; a value holds until the next. Before
    /// the first the series does not exist. A counter's values are its increase per second.
    pub points: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    #[default]
    Gauge,
    Counter,
}

/// Values for `Prometheus::set`.
#[derive(Clone, Debug)]
pub struct Points {
    pub kind: Kind,
    pub points: Vec<(f64, f64)>,
}

/// A day: longer than anybody looks back.
const ALWAYS: f64 = -86_400.0;

impl Points {
    /// A counter that always grew so much per second.
    pub fn rate(per_second: f64) -> Points {
        Points {
            kind: Kind::Counter,
            points: vec![(ALWAYS, per_second)],
        }
    }
}

impl From<f64> for Points {
    fn from(value: f64) -> Points {
        Points {
            kind: Kind::Gauge,
            points: vec![(ALWAYS, value)],
        }
    }
}

impl Scenario {
    pub(super) fn with_cause(&self, cause: Option<&str>) -> Vec<Series> {
        let mut all = self.series.clone();
        let changes = cause.and_then(|cause| self.causes.get(cause));
        for change in changes.iter().flat_map(|cause| &cause.series) {
            all.retain(|known| known.metric != change.metric || known.labels != change.labels);
            all.push(change.clone());
        }
        all
    }
}

impl Series {
    /// The value `at` seconds from now (≤ 0 is the past).
    pub(super) fn value(&self, at: f64) -> Option<f64> {
        match self.kind {
            Kind::Gauge => {
                let held = self.points.iter().rev().find(|(since, _)| *since <= at);
                held.map(|(_, value)| *value)
            }
            Kind::Counter => {
                self.points.first().filter(|(since, _)| *since <= at)?;
                let ends = self.points.iter().skip(1).map(|(since, _)| *since);
                let spans = self.points.iter().zip(ends.chain([f64::INFINITY]));
                let grown = |((since, rate), end): (&(f64, f64), f64)| {
                    (end.min(at) - since).max(0.0) * rate
                };
                Some(spans.map(grown).sum())
            }
        }
    }

    /// What was scraped in `(from, to]`, both in seconds since 1970: `(time, value)`.
    pub(super) fn samples(&self, from: f64, to: f64, now: f64) -> Vec<(f64, f64)> {
        let mut samples = Vec::new();
        let mut at = (from / SCRAPE_SECONDS).floor() * SCRAPE_SECONDS + SCRAPE_SECONDS;
        while at <= to.min(now) {
            if let Some(value) = self.value(at - now) {
                samples.push((at, value));
            }
            at += SCRAPE_SECONDS;
        }
        samples
    }
}
