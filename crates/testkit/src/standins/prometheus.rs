//! A Prometheus whose data is a scenario: the HTTP query API over series given relative to now.
//!
//! It reads real PromQL. What it does not know it refuses as Prometheus refuses a bad query, 400
//! with `bad_data`, and never guesses. Known: instant and range selectors with `=`, `!=`, `=~`, `!~`
//! and `offset`; `rate`, `irate`, `increase`, `delta`, `*_over_time`, `abs`, `round`, `clamp_min`…; `sum`,
//! `avg`, `min`, `max`, `count`, `topk`, `bottomk` with `by` and `without`; arithmetic and
//! comparisons between vectors (one to one, `on`, `ignoring`) and numbers.

mod evaluate;
mod functions;
mod http_api;
mod lexer;
mod parse;
mod pattern;
mod series;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use series::{Cause, Kind, Points, Scenario, Series};

use super::Error;
use super::runtime::Server;

/// The scenario that is used when none is given.
const CHECKOUT: &str = include_str!("../../assets/scenarios/checkout.json");

impl Scenario {
    /// The built-in demonstration: errors of `checkout-api`, whose cause is in the data.
    ///
    /// # Errors
    /// [`Error::Parse`]; a test reads it, so never in a released build.
    pub fn checkout() -> Result<Scenario, Error> {
        Scenario::parse("the built-in scenario", CHECKOUT)
    }

    /// # Errors
    /// [`Error::Parse`] or [`Error::Invalid`], naming `what`.
    pub fn parse(what: &str, json: &str) -> Result<Scenario, Error> {
        let parsed = serde_json::from_str(json);
        let scenario: Scenario = parsed.map_err(|source| Error::Parse {
            what: what.to_owned(),
            source,
        })?;
        match &scenario.cause {
            Some(cause) if !scenario.causes.contains_key(cause) => Err(Error::Invalid {
                what: what.to_owned(),
                problem: format!("cause {cause:?} is not one of causes"),
            }),
            _ => Ok(scenario),
        }
    }
}

/// A running server; clones share it, and it stops with the last of them.
#[derive(Clone, Debug)]
pub struct Prometheus {
    shared: Arc<Shared>,
    server: Arc<Server>,
}

#[derive(Debug)]
struct Shared {
    data: Mutex<Data>,
}

#[derive(Debug)]
struct Data {
    series: Vec<Series>,
    scenario: Scenario,
    cause: Option<String>,
}

impl Prometheus {
    /// On a free loopback port, with the checkout scenario.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub async fn start() -> Result<Prometheus, Error> {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Prometheus::start_with(listen, Scenario::checkout()?).await
    }

    /// # Errors
    /// [`Error::Listen`].
    pub async fn start_with(listen: SocketAddr, scenario: Scenario) -> Result<Prometheus, Error> {
        let cause = scenario.cause.clone();
        let series = scenario.with_cause(cause.as_deref());
        let shared = Arc::new(Shared {
            data: Mutex::new(Data {
                series,
                scenario,
                cause,
            }),
        });
        let router = http_api::routes().with_state(shared.clone());
        let server = Server::start(listen, router).await?;
        Ok(Prometheus {
            shared,
            server: Arc::new(server),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Base URL: `http://127.0.0.1:PORT`, to which `/api/v1/query` is added.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Gives the series with exactly these labels new values: a number is a gauge that was always
    /// so; [`Points`] say more. A series that is not there yet is added.
    pub fn set(&self, metric: &str, labels: &[(&str, &str)], points: impl Into<Points>) {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let labels: BTreeMap<String, String> = labels.iter().map(pair).collect();
        let metric = metric.to_owned();
        let Points { kind, points } = points.into();
        self.shared.lock().put(Series {
            metric,
            labels,
            kind,
            points,
        });
    }

    /// Takes every series of a metric away.
    pub fn remove(&self, metric: &str) {
        self.shared
            .lock()
            .series
            .retain(|series| series.metric != metric);
    }

    /// Starts again from the scenario with this cause in its data.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the scenario has no such cause.
    pub fn set_cause(&self, cause: &str) -> Result<(), Error> {
        self.shared.lock().set_cause(cause)
    }

    /// The causes that the scenario can have, and the one it has now.
    pub fn causes(&self) -> (Vec<(String, String)>, Option<String>) {
        let data = self.shared.lock();
        let causes = data.scenario.causes.iter();
        let named = causes
            .map(|(name, cause)| (name.clone(), cause.about.clone()))
            .collect();
        (named, data.cause.clone())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Data {
    fn put(&mut self, new: Series) {
        let same = |known: &&mut Series| known.metric == new.metric && known.labels == new.labels;
        match self.series.iter_mut().find(same) {
            Some(known) => *known = new,
            None => self.series.push(new),
        }
    }

    fn set_cause(&mut self, cause: &str) -> Result<(), Error> {
        if !self.scenario.causes.contains_key(cause) {
            let known: Vec<&String> = self.scenario.causes.keys().collect();
            return Err(Error::Invalid {
                what: format!("cause {cause:?}"),
                problem: format!("the scenario has {known:?}"),
            });
        }
        self.series = self.scenario.with_cause(Some(cause));
        self.cause = Some(cause.to_owned());
        Ok(())
    }
}
