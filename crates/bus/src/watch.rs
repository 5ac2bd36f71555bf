//! Following a bucket: everything that is there, then every change, across reconnects.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use async_nats::jetstream::kv::{Operation, Watch};
use futures::StreamExt as _;

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

impl Bucket {
    /// Tells `observe` every key, [`Change::CaughtUp`], then every change, until `stop` completes.
    ///
    /// After a lost connection the whole bucket is told again: a key that vanished meanwhile is
    /// reported as removed. Values whose signature does not hold are left out, with one log line.
    pub async fn watch(&self, stop: impl Future<Output = ()>, mut observe: impl FnMut(Change)) {
        let mut stop = pin!(stop);
        // Revisions told so far, to find what vanished while the watch was deaf.
        let mut told: HashMap<String, u64> = HashMap::new();
        loop {
            let round = self.round(&mut told, &mut observe);
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
        told: &mut HashMap<String, u64>,
        observe: &mut impl FnMut(Change),
    ) -> Result<(), Cause> {
        let store = self.store().await?;
        // An empty bucket yields no entry at all, so emptiness must be asked for first; and of the
        // server, because `status` only repeats what was true when this handle was opened.
        let is_empty = store.stream.get_info().await?.state.messages == 0;
        let mut watch: Watch = store.watch_with_history(">").await?;
        let mut unseen: HashMap<String, u64> = told.clone();
        let mut caught_up = false;
        if is_empty {
            caught_up = true;
            finish_snapshot(told, &mut unseen, observe);
        }
        while let Some(next) = watch.next().await {
            // A missed heartbeat is an error item, after which the watch goes on by itself.
            let entry = match next {
                Ok(entry) => entry,
                Err(error) => {
                    tracing::debug!(bucket = self.name, %error, "a watch stumbled");
                    continue;
                }
            };
            unseen.remove(&entry.key);
            let is_known = told
                .get(&entry.key)
                .is_some_and(|revision| *revision >= entry.revision);
            if !is_known {
                self.tell(&entry, told, observe).await;
            }
            if entry.seen_current && !caught_up {
                caught_up = true;
                finish_snapshot(told, &mut unseen, observe);
            }
        }
        Ok(())
    }

    async fn tell(
        &self,
        entry: &async_nats::jetstream::kv::Entry,
        told: &mut HashMap<String, u64>,
        observe: &mut impl FnMut(Change),
    ) {
        told.insert(entry.key.clone(), entry.revision);
        let key = entry.key.clone();
        if entry.operation != Operation::Put {
            observe(Change::Removed { key });
            return;
        }
        match self.open(entry).await {
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
            }
        }
    }
}

fn finish_snapshot(
    told: &mut HashMap<String, u64>,
    unseen: &mut HashMap<String, u64>,
    observe: &mut impl FnMut(Change),
) {
    for (key, _) in unseen.drain() {
        told.remove(&key);
        observe(Change::Removed { key });
    }
    observe(Change::CaughtUp);
}
