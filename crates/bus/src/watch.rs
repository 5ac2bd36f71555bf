//! Following a bucket: everything that is there, then every change, across reconnects.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use async_nats::jetstream::kv::{Operation, Watch};
use futures::StreamExt as _;
use tokio::time::MissedTickBehavior;

use crate::bucket::{Bucket, Entry};
use crate::error::Cause;

/// One step of a bucket.
#[derive(Debug, Clone)]
pub enum Change {
    /// A key has this value now.
    Put {
        /// Key.
        key: String,
        /// Value.
        entry: Box<Entry>,
    },
    /// A key has no value any more.
    Removed {
        /// Key.
        key: String,
    },
    /// Everything that was there when the watch began (or began again) has been told.
    CaughtUp,
}

/// Pause before a watch that ended is begun again.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// How often values are looked at again whose key nobody could tell. Longer than a key counts as unknown, so that
/// each look asks the server.
const SECOND_LOOK: Duration = Duration::from_secs(3);

/// Values that wait for a second look. Config writes under one key at a time, so more are somebody else's.
const MAX_UNPROVEN: usize = 4_096;

type KeyValue = async_nats::jetstream::kv::Entry;

/// What a watch knows, over all its rounds.
#[derive(Default)]
struct Known {
    /// Revisions told so far, to find what vanished while the watch was deaf.
    told: HashMap<String, u64>,
    /// Newest values whose key is not known, or could not be looked up: it may still come.
    unproven: HashMap<String, KeyValue>,
    /// When the bucket was made: another one counts its revisions from the start.
    created: Option<i128>,
}

impl Bucket {
    /// Tells `observe` every key, [`Change::CaughtUp`], then every change, until `stop` completes.
    ///
    /// After a lost connection the whole bucket is told again: a key that vanished meanwhile is
    /// reported as removed. Values whose signature does not hold are left out, with one log line; those under a key
    /// that is not known are looked at again, and told as soon as it is.
    pub async fn watch(&self, stop: impl Future<Output = ()>, mut observe: impl FnMut(Change)) {
        let mut stop = pin!(stop);
        let mut known = Known::default();
        loop {
            let round = self.round(&mut known, &mut observe);
            let ended = tokio::select! {
                () = &mut stop => return,
                ended = round => ended,
            };
            if let Err(error) = ended {
                tracing::warn!(bucket = self.name, error = %error, "the watch of a bucket ended; beginning again");
            }
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(RESTART_PAUSE) => {}
            }
        }
    }

    async fn round(
        &self,
        known: &mut Known,
        observe: &mut impl FnMut(Change),
    ) -> Result<(), Cause> {
        let store = self.store().await?;
        // An empty bucket yields no entry at all, so emptiness must be asked for first; and of the
        // server, because `status` only repeats what was true when this handle was opened.
        let info = store.stream.get_info().await?;
        let is_empty = info.state.messages == 0;
        let mut watch: Watch = store.watch_with_history(">").await?;
        let mut unseen = known.begin(info.created.unix_timestamp_nanos());
        let mut caught_up = false;
        if is_empty {
            caught_up = true;
            known.finish_snapshot(&mut unseen, observe);
        }
        let mut second_look = tokio::time::interval(SECOND_LOOK);
        second_look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = tokio::select! {
                next = watch.next() => next,
                _ = second_look.tick(), if !known.unproven.is_empty() => {
                    self.look_again(known, observe).await;
                    continue;
                }
            };
            // A missed heartbeat is an error item, after which the watch goes on by itself.
            let entry = match next {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => {
                    tracing::debug!(bucket = self.name, %error, "a watch stumbled");
                    continue;
                }
                None => return Ok(()),
            };
            unseen.remove(&entry.key);
            let seen_current = entry.seen_current;
            if !known.has_told(&entry) {
                self.tell(entry, known, observe).await;
            }
            if seen_current && !caught_up {
                caught_up = true;
                known.finish_snapshot(&mut unseen, observe);
            }
        }
    }

    async fn tell(&self, entry: KeyValue, known: &mut Known, observe: &mut impl FnMut(Change)) {
        let key = entry.key.clone();
        known.told.insert(key.clone(), entry.revision);
        known.unproven.remove(&key);
        if entry.operation != Operation::Put {
            observe(Change::Removed { key });
            return;
        }
        match self.open(&entry).await {
            Ok(opened) => observe(Change::Put {
                key,
                entry: Box::new(opened),
            }),
            Err(error) => {
                let reason = crate::dead_letter::chain(&error);
                tracing::error!(
                    bucket = self.name,
                    key,
                    reason,
                    "a value cannot be trusted; left out"
                );
                metrics::counter!("tocsin_bus_untrusted_values_total", "bucket" => self.name)
                    .increment(1);
                if error.may_pass() && known.unproven.len() < MAX_UNPROVEN {
                    known.unproven.insert(key, entry);
                }
            }
        }
    }

    /// Tells what can be proven by now.
    async fn look_again(&self, known: &mut Known, observe: &mut impl FnMut(Change)) {
        let mut unproven = std::mem::take(&mut known.unproven);
        let keys: Vec<String> = unproven.keys().cloned().collect();
        for key in keys {
            let Some(entry) = unproven.get(&key) else {
                continue;
            };
            match self.open(entry).await {
                Ok(opened) => {
                    unproven.remove(&key);
                    tracing::info!(bucket = self.name, key, "a value can be trusted by now");
                    let entry = Box::new(opened);
                    observe(Change::Put { key, entry });
                }
                Err(error) if error.may_pass() => {}
                Err(_refused) => {
                    unproven.remove(&key);
                }
            }
        }
        known.unproven = unproven;
    }
}

impl Known {
    /// Begins a round over the bucket that was made at `created`. Returns what was told, which may have vanished.
    fn begin(&mut self, created: i128) -> HashMap<String, u64> {
        let told = self.told.clone();
        if self.created.replace(created) != Some(created) {
            self.told.clear();
            self.unproven.clear();
        }
        told
    }

    fn has_told(&self, entry: &KeyValue) -> bool {
        let told = self.told.get(&entry.key);
        told.is_some_and(|revision| *revision >= entry.revision)
    }

    fn finish_snapshot(
        &mut self,
        unseen: &mut HashMap<String, u64>,
        observe: &mut impl FnMut(Change),
    ) {
        for (key, _) in unseen.drain() {
            self.told.remove(&key);
            self.unproven.remove(&key);
            observe(Change::Removed { key });
        }
        observe(Change::CaughtUp);
    }
}
