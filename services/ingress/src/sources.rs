//! The sources of all orgs, in memory: they follow the bucket `sources`, and their secrets are opened when
//! a record brings new ones. So sources work while config is down, and a secret that was taken away counts
//! from the moment its record arrives.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tocsin_bus::{Answer, Bucket, Change};
use tocsin_kit::{Check, ErrorChain, Stop};
use tocsin_wire::proto::SourceRecord;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::rate::{self, RateTier};
use tocsin_wire::sealed::Zeroizing;
use tocsin_wire::source::{MAX_BODY_BYTES, SourcePick, SourceProvider, SourceSettings};
use tocsin_wire::{InvalidToken, OrgId, SecretName, TeamId, time};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::error::Rejection;
use crate::metrics::{SourceLabels, SourceMetrics};
use crate::normalize::pick::{InvalidPick, Picks};
use crate::provider::Provider;
use crate::secrets::SourceSecrets;
use crate::source::Source;
use crate::verify::{InvalidScheme, LiveSecret, Validity};

/// Before a secret that could not be opened is asked for again, doubled each time: config publishes a record
/// and its secrets within milliseconds, in no order, and deliveries wait for them.
const FIRST_RETRY: Duration = Duration::from_millis(20);
/// The longest pause, for a secret that nobody set.
const LAST_RETRY: Duration = Duration::from_millis(500);

/// Every source that was published, by its id.
#[derive(Default)]
pub(crate) struct Sources {
    known: DashMap<String, Known>,
    /// Whether the snapshot is in: before that, nothing is known not to exist.
    complete: AtomicBool,
    /// Records with secrets that are not opened yet: at most one per source.
    waiting: Mutex<BTreeMap<String, SourceRecord>>,
    wake: Notify,
    /// Sent to after every change of `known`.
    changed: watch::Sender<()>,
    labels: SourceLabels,
}

#[derive(Clone)]
struct Known {
    /// `None` until one of its secrets is open.
    source: Option<Arc<Source>>,
    /// Opened secrets, by name.
    texts: Arc<Texts>,
}

type Texts = BTreeMap<String, Zeroizing<String>>;

/// A record that this version cannot work by.
#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error("the value is no source record; only config may write it, in the form of this version")]
    WrongBody,
    #[error("the record is about {about}, not about its key")]
    WrongKey { about: String },
    #[error("provider {name:?} is not known to this version; update ingress")]
    Provider { name: String },
    #[error("the settings cannot be read")]
    Settings(#[source] serde_json::Error),
    #[error("the scheme cannot be verified by")]
    Scheme(#[from] InvalidScheme),
    #[error("{text:?} is no range of addresses")]
    Range {
        text: String,
        #[source]
        source: ipnet::AddrParseError,
    },
    #[error("there is no rate tier {name:?}")]
    Tier { name: String },
    #[error("bodies of provider {provider} have a known form, and nothing is picked from them")]
    PickNotTaken { provider: &'static str },
    #[error("what it picks from bodies cannot be evaluated")]
    Pick(#[from] InvalidPick),
    #[error("an id breaks the rule for ids")]
    Id(#[from] InvalidToken),
}

impl Sources {
    /// The source behind `/webhooks/<provider>/<id>`.
    pub(crate) fn find(&self, provider: &str, id: &str) -> Result<Arc<Source>, Rejection> {
        let Some(known) = self.known.get(id) else {
            return Err(if self.complete.load(Ordering::Acquire) {
                Rejection::UnknownSource
            } else {
                Rejection::SourceLoading
            });
        };
        let source = known.source.as_ref().ok_or(Rejection::SourceLoading)?;
        if source.provider.name == provider {
            Ok(Arc::clone(source))
        } else {
            Err(Rejection::UnknownSource)
        }
    }

    /// The version of a source that takes the place of this one; `None` when there is none by then.
    pub(crate) async fn later_than(
        &self,
        source: &Arc<Source>,
        until: Instant,
    ) -> Option<Arc<Source>> {
        // Before the look, so that no change falls between the two.
        let mut changed = self.changed.subscribe();
        loop {
            let known = self.known.get(&source.id);
            let known = known.and_then(|known| known.source.clone());
            if let Some(known) = known.filter(|known| !Arc::ptr_eq(known, source)) {
                return Some(known);
            }
            let change = tokio::time::timeout_at(until, changed.changed()).await;
            change.ok()?.ok()?;
        }
    }

    /// Whether secrets of a source are still to be opened.
    pub(crate) fn is_opening(&self, id: &str) -> bool {
        self.waiting().contains_key(id)
    }

    /// The source with this id, for questions about it.
    pub(crate) fn with_id(&self, id: &str) -> Result<Arc<Source>, Answer> {
        let known = self.known.get(id).and_then(|known| known.source.clone());
        known.ok_or_else(|| Answer {
            code: 404,
            detail: format!(
                "source {id:?} is not loaded here; does it exist, and has it a secret?"
            ),
        })
    }

    /// Those that are loaded.
    pub(crate) fn all(&self) -> Vec<Arc<Source>> {
        let known = self.known.iter();
        known.filter_map(|known| known.source.clone()).collect()
    }

    /// Follows the bucket until `stop`; `loaded` is ready once the snapshot is in.
    pub(crate) async fn follow(&self, bucket: Bucket, stop: &Stop, loaded: Check) {
        let observe = |change| match change {
            Change::CaughtUp => {
                self.complete.store(true, Ordering::Release);
                loaded.ready();
            }
            Change::Removed { key } => {
                self.waiting().remove(&key);
                self.known.remove(&key);
                self.changed.send_replace(());
            }
            Change::Put { key, entry } => {
                if let Err(error) = self.put(&key, entry.envelope.body) {
                    let error = ErrorChain(&error);
                    tracing::error!(source = key, %error, "a source cannot be used; its deliveries are refused");
                    self.unusable(key);
                }
            }
        };
        bucket.watch(stop.soft(), observe).await;
    }

    /// Nothing is verified by a record that was replaced; its senders hear that it is our trouble, which a
    /// newer version may end.
    fn unusable(&self, key: String) {
        self.waiting().remove(&key);
        let known = Known {
            source: None,
            texts: Arc::default(),
        };
        self.known.insert(key, known);
        self.changed.send_replace(());
    }

    fn put(&self, key: &str, body: Option<Body>) -> Result<(), RecordError> {
        let Some(Body::SourceRecord(record)) = body else {
            return Err(RecordError::WrongBody);
        };
        if record.id != key {
            return Err(RecordError::WrongKey { about: record.id });
        }
        // Held to the end: an older record whose secrets are just open must not take this one's place.
        let mut waiting = self.waiting();
        let before = self.known.get(key).map(|known| known.clone());
        let mut texts = before.as_ref().map(|before| (*before.texts).clone());
        let texts = texts.get_or_insert_default();
        texts.retain(|name, _| record.secrets.iter().any(|secret| secret.name == *name));
        let texts = std::mem::take(texts);
        let is_whole = record
            .secrets
            .iter()
            .all(|secret| texts.contains_key(&secret.name));
        self.place(&record, texts)?;
        if is_whole {
            waiting.remove(key);
        } else {
            waiting.insert(key.to_owned(), record);
            self.wake.notify_one();
        }
        Ok(())
    }

    /// With the secrets that are open; without any it only says "not yet".
    fn place(&self, record: &SourceRecord, texts: Texts) -> Result<(), RecordError> {
        let is_loading = texts.is_empty() && !record.secrets.is_empty();
        let mut built = build(record, &texts)?;
        let before = self
            .known
            .get(&record.id)
            .and_then(|known| known.source.clone());
        if let Some(before) = before {
            built.continue_from(&before);
        }
        let label = self.labels.label(&record.id);
        built.own_metrics = SourceMetrics::new(built.provider.name, &label);
        let known = Known {
            source: (!is_loading).then(|| Arc::new(built)),
            texts: Arc::new(texts),
        };
        self.known.insert(record.id.clone(), known);
        self.changed.send_replace(());
        Ok(())
    }

    /// Opens the secrets of new records until `stop`.
    pub(crate) async fn open(&self, secrets: &SourceSecrets, stop: &Stop) {
        let mut pause = FIRST_RETRY;
        loop {
            let waiting = self.waiting().clone();
            for record in waiting.into_values() {
                if stop
                    .until_soft(self.open_one(secrets, &record))
                    .await
                    .is_none()
                {
                    return;
                }
            }
            let woken = if self.waiting().is_empty() {
                stop.until_soft(self.wake.notified()).await.map(Ok)
            } else {
                // A new record does not wait for one whose secrets do not come.
                let waking = tokio::time::timeout(pause, self.wake.notified());
                stop.until_soft(waking).await
            };
            pause = match woken {
                None => return,
                Some(Ok(())) => FIRST_RETRY,
                Some(Err(_elapsed)) => LAST_RETRY.min(pause * 2),
            };
        }
    }

    async fn open_one(&self, secrets: &SourceSecrets, record: &SourceRecord) {
        let known = self
            .known
            .get(&record.id)
            .map(|known| Arc::clone(&known.texts));
        let mut texts = known.map(|texts| (*texts).clone()).unwrap_or_default();
        let mut failed = false;
        for secret in &record.secrets {
            if texts.contains_key(&secret.name) {
                continue;
            }
            match read(secrets, &record.org, &secret.name).await {
                Ok(text) => {
                    texts.insert(secret.name.clone(), text);
                }
                Err(error) => {
                    failed = true;
                    let (id, secret) = (&record.id, &secret.id);
                    tracing::warn!(source = id, secret, %error, "a secret of a source is not open; trying again");
                }
            }
        }
        let mut waiting = self.waiting();
        // A newer record came meanwhile: it waits in its place.
        let is_current = waiting.get(&record.id).is_some_and(|waits| waits == record);
        if !is_current {
            return;
        }
        if !failed {
            waiting.remove(&record.id);
        }
        if let Err(error) = self.place(record, texts) {
            let error = ErrorChain(&error);
            tracing::error!(source = record.id, %error, "a source cannot be used");
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, SourceRecord>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sources belong to orgs, so their secrets lie at the org's own node.
async fn read(secrets: &SourceSecrets, org: &str, name: &str) -> Result<Zeroizing<String>, String> {
    let text = |error: &(dyn std::error::Error + 'static)| ErrorChain(error).to_string();
    let name = SecretName::new(name).map_err(|error| text(&error))?;
    let node = TeamId::new(org).map_err(|error| text(&error))?;
    let org = OrgId::new(org).map_err(|error| text(&error))?;
    let opened = secrets.read(&org, &[node], &name).await;
    opened.map_err(|error| text(&error))
}

/// What a record says, with those of its secrets that are open.
fn build(record: &SourceRecord, texts: &Texts) -> Result<Source, RecordError> {
    let provider = Provider::named(&record.provider).ok_or_else(|| RecordError::Provider {
        name: record.provider.clone(),
    })?;
    let settings: SourceSettings =
        serde_json::from_slice(&record.settings).map_err(RecordError::Settings)?;
    let held: Vec<_> = record
        .secrets
        .iter()
        .filter_map(|secret| Some((secret, texts.get(&secret.name)?)))
        .collect();
    let secrets: Vec<LiveSecret<'_>> = held
        .iter()
        .map(|(secret, text)| LiveSecret {
            text,
            validity: Validity {
                not_before: secret.not_before.as_ref().and_then(time::from_proto),
                expires: secret.expires.as_ref().and_then(time::from_proto),
            },
        })
        .collect();
    let usual = provider.scheme(secrets.iter().map(|secret| secret.text));
    let scheme = settings.scheme.as_ref().or(usual);
    let scheme = scheme.unwrap_or(&tocsin_wire::scheme::Scheme::Bearer);
    let tolerance = settings
        .tolerance_seconds
        .unwrap_or(DEFAULT_TOLERANCE_SECONDS);
    let tolerance = Duration::from_secs(u64::from(tolerance));
    let mut source = Source::new(provider, scheme, &secrets, tolerance)?;
    let owned = |secret: &LiveSecret<'_>| (Zeroizing::new(secret.text.to_owned()), secret.validity);
    source.secrets = secrets.iter().map(owned).collect();
    source.secret_ids = held.iter().map(|(secret, _)| secret.id.clone()).collect();
    source.kept_headers.extend(source.verifier.kept_headers());
    // A token may stand in a header in which others sign.
    let secret = source.verifier.secret_header();
    source.kept_headers.retain(|name| Some(name) != secret);
    source.id.clone_from(&record.id);
    source.figures_id = record.id.as_str().into();
    source.org = OrgId::new(record.org.as_str())?.as_str().into();
    source.disabled = record.disabled;
    source.default_team = settings.default_team.unwrap_or_default();
    source.only_kinds = settings.only_kinds;
    source.tier = tier(settings.rate_tier)?;
    source.picks = picks(provider, settings.pick.as_deref())?;
    if let Some(bytes) = settings.max_body_bytes {
        let bytes = bytes.min(MAX_BODY_BYTES);
        source.max_body = usize::try_from(bytes).unwrap_or(source.max_body);
    }
    let ranges = settings.allowed_addresses.into_iter();
    let ranges = ranges.map(|text| {
        text.parse()
            .map_err(|source| RecordError::Range { text, source })
    });
    source.allowed = ranges.collect::<Result<_, _>>()?;
    Ok(source)
}

/// What Slack's and the Standard Webhooks libraries allow.
const DEFAULT_TOLERANCE_SECONDS: u32 = 300;

fn tier(name: Option<String>) -> Result<&'static RateTier, RecordError> {
    let Some(name) = name else {
        return Ok(rate::DEFAULT);
    };
    RateTier::named(&name).ok_or(RecordError::Tier { name })
}

fn picks(
    provider: &'static Provider,
    pick: Option<&SourcePick>,
) -> Result<Option<Picks>, RecordError> {
    let Some(pick) = pick else {
        return Ok(None);
    };
    if !SourceProvider::named(provider.name).is_some_and(SourceProvider::takes_pick) {
        let provider = provider.name;
        return Err(RecordError::PickNotTaken { provider });
    }
    Ok(Picks::compile(pick)?)
}
