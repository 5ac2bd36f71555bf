//! Effective configs that are ready to be sent, and how they become invalid.
//!
//! Every write moves a clock forward and notes the time at each node that it changed. What was
//! computed holds as long as no node of its line was changed after the clock was read for it, which
//! is before the database was. So nothing that was read before a write is ever taken for the state
//! after it, whatever the two overlap.
//!
//! A replica's own writes count before they are answered; those of others when the database's
//! notification arrives, which is sent by the commit itself. While a replica does not hear
//! notifications, nothing in here is fresh: reads go to the database, and only when that does not
//! answer is the last known state sent, marked as such.

use std::fmt;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use tocsin_bus::Bucket;
use tocsin_kit::settings;
use tocsin_wire::{OrgId, signing};

use crate::merge::Config;
use crate::node::{Lineage, NodeId};

/// Nodes are told apart by so many marks. Two that share one cost a needless computation, no more.
const MARKS: usize = 1 << 14;

/// Bytes besides the answer that an entry takes, roughly.
const OVERHEAD: usize = 512;

/// When which node was changed last, on a clock of this process. Lock-free and of a fixed size.
#[derive(Debug)]
pub(crate) struct Changes {
    clock: AtomicU64,
    marks: Box<[AtomicU64]>,
    /// What was computed before this is invalid, whatever it is about.
    floor: AtomicU64,
    /// Whether the changes of other processes are heard.
    following: AtomicBool,
    /// Milliseconds since the epoch when they were heard last; 0: never.
    heard: AtomicI64,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            clock: AtomicU64::new(0),
            marks: (0..MARKS).map(|_| AtomicU64::new(0)).collect(),
            floor: AtomicU64::new(0),
            following: AtomicBool::new(false),
            heard: AtomicI64::new(0),
        }
    }
}

impl Changes {
    /// A node was changed, and with it all below.
    pub(crate) fn note(&self, org: &str, node: &str) {
        let now = self.clock.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(mark) = self.marks.get(slot(org, node)) {
            mark.fetch_max(now, Ordering::SeqCst);
        }
    }

    /// Changes are heard from now on; what was missed is unknown.
    pub(crate) fn follow(&self) {
        let now = self.clock.fetch_add(1, Ordering::SeqCst) + 1;
        self.floor.fetch_max(now, Ordering::SeqCst);
        self.following.store(true, Ordering::SeqCst);
    }

    /// Changes are heard no more.
    pub(crate) fn lose(&self, at: Timestamp) {
        if self.following.swap(false, Ordering::SeqCst) {
            self.heard.store(at.as_millisecond(), Ordering::SeqCst);
        }
    }

    /// Before the database is read.
    fn now(&self) -> u64 {
        self.clock.load(Ordering::SeqCst)
    }

    fn is_fresh(&self, effective: &Effective) -> bool {
        let is_older = |mark: &AtomicU64| mark.load(Ordering::SeqCst) <= effective.as_of;
        self.following.load(Ordering::SeqCst)
            && self.floor.load(Ordering::SeqCst) <= effective.as_of
            && effective
                .slots
                .iter()
                .filter_map(|slot| self.marks.get(*slot))
                .all(is_older)
    }
}

/// The same in every process and run: it only has to spread.
fn slot(org: &str, node: &str) -> usize {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let hash = hasher.hash_one((org, node));
    usize::try_from(hash % MARKS as u64).unwrap_or(0)
}

/// What holds at a node, as it is sent.
#[derive(Debug)]
pub(crate) struct Effective {
    /// The whole answer with its envelope.
    enveloped: Bytes,
    /// Where in it the bare config stands.
    bare: Range<usize>,
    /// Tells contents apart, quoted as a header wants it.
    pub(crate) etag: String,
    /// When this was read from the database.
    pub(crate) computed_at: Timestamp,
    as_of: u64,
    slots: Vec<usize>,
}

#[derive(Serialize)]
struct Head<'a> {
    node_id: &'a str,
    computed_at: Timestamp,
    hierarchy: Vec<&'a str>,
}

impl Effective {
    /// The config alone.
    pub(crate) fn bare(&self) -> Bytes {
        self.enveloped.slice(self.bare.clone())
    }

    /// `{"node_id", "computed_at", "hierarchy", "effective_config"}`
    pub(crate) fn enveloped(&self) -> Bytes {
        self.enveloped.clone()
    }

    fn new(
        line: &[&str],
        version: &str,
        config: &[u8],
        computed_at: Timestamp,
    ) -> Result<Self, serde_json::Error> {
        let head = Head {
            node_id: line.last().copied().unwrap_or_default(),
            computed_at,
            hierarchy: line.to_vec(),
        };
        let mut bytes = serde_json::to_vec(&head)?;
        // Instead of the closing brace, one more member.
        bytes.pop();
        bytes.reserve(config.len() + 24);
        bytes.extend_from_slice(br#","effective_config":"#);
        let start = bytes.len();
        bytes.extend_from_slice(config);
        let bare = start..bytes.len();
        bytes.push(b'}');
        let digest = ring::digest::digest(&ring::digest::SHA256, version.as_bytes());
        let digest = signing::hex(digest.as_ref());
        let digest = digest.get(..32).unwrap_or(&digest);
        Ok(Self {
            enveloped: bytes.into(),
            bare,
            etag: format!("\"{digest}\""),
            computed_at,
            as_of: 0,
            slots: Vec::new(),
        })
    }

    /// From a snapshot on the bus.
    pub(crate) fn from_snapshot(
        line: &[&str],
        version: &str,
        config: &[u8],
        written_at: Timestamp,
    ) -> Result<Self, serde_json::Error> {
        Self::new(line, version, config, written_at)
    }
}

/// How much is kept ready.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct CacheSettings {
    /// Memory for effective configs that are ready to be sent; one takes 26 KB and what its nodes set.
    #[arg(
        id = "config_cache_bytes",
        long = "cache-bytes",
        env = "CONFIG_CACHE_BYTES",
        default_value = "128MiB"
    )]
    pub cache_bytes: settings::Bytes,
}

impl CacheSettings {
    pub(crate) fn cache(&self, changes: &Arc<Changes>, defaults: &Config) -> Cache {
        let bytes = u64::try_from(self.cache_bytes.as_usize()).unwrap_or(u64::MAX);
        Cache::new(Arc::clone(changes), bytes, defaults)
    }
}

/// Effective configs of many nodes, the least used first out.
pub(crate) struct Cache {
    entries: moka::future::Cache<String, Arc<Effective>>,
    changes: Arc<Changes>,
    /// Tells the shipped defaults of two versions of this program apart.
    defaults: String,
    /// The last resort, once the bus is there.
    teams: OnceLock<Bucket>,
}

impl fmt::Debug for Cache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries.entry_count();
        formatter
            .debug_struct("Cache")
            .field("entries", &entries)
            .finish_non_exhaustive()
    }
}

impl Cache {
    /// Holds at most `bytes`.
    pub(crate) fn new(changes: Arc<Changes>, bytes: u64, defaults: &Config) -> Self {
        let weigh = |key: &String, effective: &Arc<Effective>| {
            let bytes = key.len() + effective.enveloped.len() + OVERHEAD;
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let text = serde_json::to_vec(defaults).unwrap_or_default();
        let digest = ring::digest::digest(&ring::digest::SHA256, &text);
        Self {
            entries: moka::future::Cache::builder()
                .max_capacity(bytes)
                .weigher(weigh)
                .build(),
            changes,
            defaults: signing::hex(digest.as_ref()),
            teams: OnceLock::new(),
        }
    }

    /// What certainly holds now.
    pub(crate) async fn fresh(&self, org: &OrgId, node: &NodeId) -> Option<Arc<Effective>> {
        let known = self.last_known(org, node).await?;
        self.changes.is_fresh(&known).then_some(known)
    }

    /// What held when the database was last read for it.
    pub(crate) async fn last_known(&self, org: &OrgId, node: &NodeId) -> Option<Arc<Effective>> {
        self.entries.get(&key(org, node)).await
    }

    /// Since when changes are not heard; `None` while they are, or if they never were.
    pub(crate) fn deaf_since(&self) -> Option<Timestamp> {
        let heard = self.changes.heard.load(Ordering::SeqCst);
        if heard == 0 || self.changes.following.load(Ordering::SeqCst) {
            return None;
        }
        Timestamp::from_millisecond(heard).ok()
    }

    /// Call it before the database is read, and hand what it returns to [`Cache::keep`].
    pub(crate) fn begin(&self) -> u64 {
        self.changes.now()
    }

    /// Keeps what was read.
    ///
    /// # Errors
    /// When the config cannot be written as JSON.
    pub(crate) async fn keep(
        &self,
        line: &Lineage,
        config: &Config,
        (as_of, at): (u64, Timestamp),
    ) -> Result<Arc<Effective>, serde_json::Error> {
        let config = serde_json::to_vec(config)?;
        let ids: Vec<&str> = line.0.iter().map(|node| node.id.as_str()).collect();
        let version = format!("{}/{}", self.defaults, line.version());
        let mut effective = Effective::new(&ids, &version, &config, at)?;
        effective.as_of = as_of;
        let org = line
            .node()
            .map(|node| node.org.as_str())
            .unwrap_or_default();
        effective.slots = ids.iter().map(|node| slot(org, node)).collect();
        let effective = Arc::new(effective);
        if let Some(node) = line.node() {
            let key = key(&node.org, &node.id);
            self.entries.insert(key, Arc::clone(&effective)).await;
        }
        Ok(effective)
    }

    /// The bus is there: what lies on it is the last resort.
    pub(crate) fn read_snapshots(&self, teams: Bucket) {
        self.teams.get_or_init(|| teams);
    }

    /// See [`Cache::read_snapshots`].
    pub(crate) fn snapshots(&self) -> Option<&Bucket> {
        self.teams.get()
    }

    /// The node is gone.
    pub(crate) async fn forget(&self, org: &OrgId, node: &NodeId) {
        self.entries.invalidate(&key(org, node)).await;
    }
}

fn key(org: &OrgId, node: &NodeId) -> String {
    format!("{org}.{node}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::node::Kind;
    use crate::node::tests::node;

    fn line() -> Lineage {
        Lineage(vec![
            node("acme", None, Kind::Org, json!({"a":1})),
            node("sre", Some("acme"), Kind::Team, json!({"b":2})),
        ])
    }

    async fn keep(cache: &Cache, as_of: u64) -> Arc<Effective> {
        let line = line();
        let effective = line.effective(&Config::new());
        cache
            .keep(&line, &effective, (as_of, Timestamp::UNIX_EPOCH))
            .await
            .expect("serialises")
    }

    #[tokio::test]
    async fn what_was_read_before_a_change_is_not_fresh_after_it() {
        let changes = Arc::new(Changes::default());
        let cache = Cache::new(Arc::clone(&changes), 1 << 20, &Config::new());
        let (org, sre) = (
            OrgId::new("acme").expect("id"),
            NodeId::new("sre").expect("id"),
        );
        keep(&cache, cache.begin()).await;
        assert!(
            cache.fresh(&org, &sre).await.is_none(),
            "nobody listens yet"
        );
        changes.follow();
        keep(&cache, cache.begin()).await;
        assert!(cache.fresh(&org, &sre).await.is_some());
        changes.note("acme", "other");
        assert!(cache.fresh(&org, &sre).await.is_some(), "another node");
        for changed in ["acme", "sre"] {
            let before = cache.begin();
            changes.note("acme", changed);
            assert!(cache.fresh(&org, &sre).await.is_none(), "{changed}");
            // A slow reader that began before the change brings what was before it.
            keep(&cache, before).await;
            assert!(cache.fresh(&org, &sre).await.is_none(), "{changed}");
            keep(&cache, cache.begin()).await;
            assert!(cache.fresh(&org, &sre).await.is_some());
        }
        changes.lose(Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(5));
        assert!(cache.fresh(&org, &sre).await.is_none());
        assert!(cache.last_known(&org, &sre).await.is_some());
        assert_eq!(cache.deaf_since().map(Timestamp::as_second), Some(5));
        changes.follow();
        assert!(
            cache.fresh(&org, &sre).await.is_none(),
            "what was missed is unknown"
        );
    }

    #[tokio::test]
    async fn both_forms_are_one_piece_of_memory() {
        let changes = Arc::new(Changes::default());
        let cache = Cache::new(changes, 1 << 20, &Config::new());
        let kept = keep(&cache, 0).await;
        let bare: Value = serde_json::from_slice(&kept.bare()).expect("JSON");
        assert_eq!(bare, json!({"a":1,"b":2}));
        let enveloped: Value = serde_json::from_slice(&kept.enveloped()).expect("JSON");
        assert_eq!(
            enveloped,
            json!({"node_id":"sre","computed_at":"1970-01-01T00:00:00Z","hierarchy":["acme","sre"],"effective_config":bare})
        );
    }
}
