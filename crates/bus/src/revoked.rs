//! Which tokens were revoked, in memory: what every process needs that does not ask Postgres about
//! each token it sees.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use tocsin_wire::limits::REVOKED_WINDOW;
use tokio::sync::watch;

use crate::connect::Bus;
use crate::state::BusState;
use crate::watch::Change;

/// Entries between two looks for those that are older than the bucket keeps them.
const PRUNE_STEP: usize = 4_096;

/// The bucket `revoked` as a set of token ids. Cheap to clone; clones share everything.
///
/// A token that is in it is dead, whatever else is known of it. While [`Revoked::is_live`], a token
/// that is not in it was not revoked more than a moment ago.
#[derive(Debug, Clone, Default)]
pub struct Revoked(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Id → when it was told.
    known: RwLock<Known>,
    is_caught_up: watch::Sender<bool>,
    state: RwLock<Option<watch::Receiver<BusState>>>,
}

#[derive(Debug, Default)]
struct Known {
    ids: HashMap<u128, Timestamp>,
    prune_at: usize,
}

impl Revoked {
    /// Empty and not live.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the token with this id (a UUID as a number) was revoked.
    pub fn contains(&self, token: u128) -> bool {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        known.ids.contains_key(&token)
    }

    /// Notes a revocation before the bucket tells it: by the process that revokes.
    pub fn insert(&self, token: u128, at: Timestamp) {
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        known.ids.insert(token, at);
        if known.ids.len() >= known.prune_at {
            // The bucket drops old keys without a word.
            let oldest = at.checked_sub(REVOKED_WINDOW).unwrap_or(Timestamp::MIN);
            known.ids.retain(|_, told| *told >= oldest);
            known.prune_at = known.ids.len() + PRUNE_STEP;
        }
    }

    /// Whether the whole bucket has been read and the connection stands, so that nothing is missing
    /// here but what is under way.
    pub fn is_live(&self) -> bool {
        let state = self.0.state.read().unwrap_or_else(PoisonError::into_inner);
        let is_connected = state
            .as_ref()
            .is_some_and(|state| *state.borrow() == BusState::Connected);
        is_connected && *self.0.is_caught_up.borrow()
    }

    /// Until the whole bucket has been read once.
    pub async fn caught_up(&self) {
        let mut state = self.0.is_caught_up.subscribe();
        // The sender lives as long as we do.
        drop(state.wait_for(|is_caught_up| *is_caught_up).await);
    }

    /// Follows the bucket until `stop` completes. After a lost connection it is read anew, and not
    /// live before that is done: what was revoked meanwhile must not be missing.
    pub async fn follow(&self, bus: &Bus, stop: impl Future<Output = ()>) {
        let mut state = bus.watch_state();
        *self.0.state.write().unwrap_or_else(PoisonError::into_inner) = Some(state.clone());
        let bucket = bus.bucket("revoked");
        let following = async {
            loop {
                let is_there = state.wait_for(|state| !matches!(state, BusState::Disconnected(_)));
                if is_there.await.is_err() {
                    // The client is gone for good.
                    return std::future::pending().await;
                }
                let changed = async { drop(state.changed().await) };
                bucket.watch(changed, |change| self.note(change)).await;
                self.0.is_caught_up.send_replace(false);
            }
        };
        tokio::select! {
            () = stop => {}
            () = following => {}
        }
    }

    fn note(&self, change: Change) {
        match change {
            // The key is signed together with the value, and says it all.
            Change::Put { key, entry } => match u128::from_str_radix(&key, 16) {
                Ok(token) => self.insert(token, entry.written_at),
                Err(error) => {
                    tracing::error!(key, %error, "a key of the bucket revoked is no token id");
                }
            },
            // Its time in the bucket is over; nobody keeps a token that long.
            Change::Removed { .. } => {}
            Change::CaughtUp => drop(self.0.is_caught_up.send_replace(true)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_long_ago_goes_and_the_rest_stays() {
        let revoked = Revoked::new();
        let begin: Timestamp = "2026-03-01T00:00:00Z".parse().expect("time");
        for token in 0..PRUNE_STEP as u128 {
            revoked.insert(token, begin);
        }
        let later = begin + REVOKED_WINDOW + jiff::SignedDuration::from_secs(1);
        for token in 0..PRUNE_STEP as u128 {
            revoked.insert(1_000_000 + token, later);
        }
        assert!(revoked.contains(1_000_000) && !revoked.contains(0));
        assert!(!revoked.is_live(), "nobody follows the bucket");
    }
}
