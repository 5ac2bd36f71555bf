//! The health of each source: what this process saw is written to the bucket `source_health`, what all of
//! them saw is answered as `svc.ingress.source_health`, and `svc.ingress.source_test` says what a captured
//! delivery got wrong. Both are for those who may see a source; config asks for its owners.
//!
//! The question about health is `{"sources": ["src_…"]}` (all without it), answered by `{"src_…": {figures}}`.

mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tocsin_bus::{Answer, Bucket, Bus, Change};
use tocsin_kit::{ErrorChain, Stop};
use tocsin_wire::ids::{EventId, MessageId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Envelope, SourceHealth};
use tocsin_wire::source::{SOURCE_HEALTH, SourceFigures};
use tocsin_wire::{KeyToken, Service};

use crate::source::Source;

pub(crate) use self::trial::TestQuestion;

/// How often figures that changed are written; a person who looks waits no longer.
const WRITE_INTERVAL: Duration = Duration::from_secs(5);

/// What every ingress wrote, by key of the bucket.
#[derive(Default)]
pub(crate) struct SourcesHealth {
    told: Mutex<BTreeMap<String, (String, SourceFigures)>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HealthQuestion {
    sources: Option<BTreeSet<String>>,
}

impl SourcesHealth {
    /// Follows what all of them write.
    pub(crate) async fn follow(&self, bucket: Bucket, stop: &Stop) {
        let observe = |change| match change {
            Change::CaughtUp => {}
            Change::Removed { key } => {
                self.told().remove(&key);
            }
            Change::Put { key, entry } => {
                let Some(Body::SourceHealth(health)) = entry.envelope.body else {
                    return;
                };
                match serde_json::from_slice(&health.figures) {
                    Ok(figures) => {
                        self.told().insert(key, (health.source, figures));
                    }
                    Err(error) => tracing::debug!(key, %error, "figures of another version"),
                }
            }
        };
        bucket.watch(stop.soft(), observe).await;
    }

    /// The figures of all processes together, of the sources asked for.
    pub(crate) fn answer(&self, question: Value) -> Result<Value, Answer> {
        let question = match question {
            Value::Null => HealthQuestion { sources: None },
            question => serde_json::from_value(question).map_err(|error| Answer {
                code: 400,
                detail: format!("{error}; ask {{\"sources\": [\"src_…\"]}}"),
            })?,
        };
        let wanted = |source: &str| {
            question
                .sources
                .as_ref()
                .is_none_or(|all| all.contains(source))
        };
        let mut sums: BTreeMap<String, SourceFigures> = BTreeMap::new();
        for (source, figures) in self.told().values() {
            if wanted(source) {
                sums.entry(source.clone()).or_default().add(figures);
            }
        }
        let sums = sums.into_iter();
        let answered: BTreeMap<_, _> = sums
            .map(|(source, figures)| (source, figures.summarized()))
            .collect();
        Ok(json!(answered))
    }

    /// The last findings about a source, of whichever process refused last.
    pub(crate) fn last_findings(&self, source: &str) -> SourceFigures {
        let mut sum = SourceFigures::default();
        for (of, figures) in self.told().values() {
            if of == source {
                sum.add(figures);
            }
        }
        sum
    }

    fn told(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (String, SourceFigures)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the figures of `sources` that changed, until `stop`, and once more at the end.
pub(crate) async fn write_figures<S: AsRef<Source>>(
    bus: &Bus,
    sources: impl Fn() -> Vec<S>,
    stop: &Stop,
) {
    let bucket = bus.bucket(SOURCE_HEALTH);
    // A process that starts again under its old name begins to count anew, and its last life is told as well.
    let life = format!("{} {}", bus.instance(), bus.now().as_millisecond());
    let mut written: BTreeMap<String, SourceFigures> = BTreeMap::new();
    loop {
        let is_last = stop
            .until_soft(tokio::time::sleep(WRITE_INTERVAL))
            .await
            .is_none();
        for source in sources() {
            let source = source.as_ref();
            let figures = source.figures();
            let is_new = figures != SourceFigures::default()
                && written.get(&*source.figures_id) != Some(&figures);
            if !is_new {
                continue;
            }
            let place = (&*source.figures_id, life.as_str());
            let put = Box::pin(put(bus, &bucket, place, figures.clone()));
            match stop.until_hard(put).await {
                Some(Ok(())) => {
                    written.insert(source.figures_id.to_string(), figures);
                }
                Some(Err(error)) => {
                    tracing::debug!(
                        source = &*source.figures_id,
                        error,
                        "figures are not written yet"
                    );
                }
                None => return,
            }
        }
        if is_last {
            return;
        }
    }
}

async fn put(
    bus: &Bus,
    bucket: &Bucket,
    (source, life): (&str, &str),
    mut figures: SourceFigures,
) -> Result<(), String> {
    let now = bus.now();
    figures.at = now.as_second();
    let text = |error: &(dyn std::error::Error + 'static)| ErrorChain(error).to_string();
    let key = format!("{source}.{}", KeyToken::encode(life));
    let body = SourceHealth {
        source: source.to_owned(),
        instance: bus.instance().to_owned(),
        figures: serde_json::to_vec(&figures)
            .map_err(|error| text(&error))?
            .into(),
    };
    let id = MessageId::key_value(SOURCE_HEALTH, &key, &now.to_string());
    let correlation = EventId::from(id.as_uuid());
    let body = Body::SourceHealth(body);
    let envelope = Envelope::new(id, Service::Ingress, now, correlation, None, body);
    let written = bucket.put(&key, &envelope).await;
    written.map(|_revision| ()).map_err(|error| text(&error))
}
