//! Deliveries that are signed with a secret which is on its way here.
//!
//! A sender may use a new secret as soon as config has answered the rotation; the source's record and the
//! sealed secret are here some milliseconds later. Senders that hear 401 do not come again, so a delivery
//! that no secret verifies waits for a later version of its source. The shared secrets, which come with the
//! settings, have no later version.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a delivery waits: many times what config's outbox and the broker need, and longer than the pauses
/// before a secret that came after its record is asked for again. No sender gives up that soon.
pub(crate) const ARRIVAL_LIMIT: Duration = Duration::from_secs(1);

/// What may wait of one source, and of all together: an eighth and a quarter of the requests that may be at work,
/// since strangers can send wrong signatures and all others must still be served. A sender of 500 deliveries a
/// second has room for those of a quarter of a second.
const SOURCE_KIBIBYTES: usize = 128 * LEAST_KIBIBYTES;
const ALL_KIBIBYTES: usize = 256 * LEAST_KIBIBYTES;

/// What every delivery is counted as at least, so that the sizes above bound their number too; most webhooks
/// are smaller.
const LEAST_KIBIBYTES: usize = 32;

/// Places for deliveries that wait: those of one source, the same over all its versions, or those of all sources.
#[derive(Clone)]
pub(crate) struct WaitingRoom(Arc<Semaphore>);

impl WaitingRoom {
    pub(crate) fn of_one_source() -> Self {
        Self(Arc::new(Semaphore::new(SOURCE_KIBIBYTES)))
    }

    pub(crate) fn of_all_sources() -> Self {
        Self(Arc::new(Semaphore::new(ALL_KIBIBYTES)))
    }

    /// A place for a delivery with a body of so many bytes, until it is dropped; `None` when there is none.
    pub(crate) fn enter(&self, body_bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kibibytes = body_bytes.div_ceil(1024).max(LEAST_KIBIBYTES);
        let kibibytes = u32::try_from(kibibytes).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(kibibytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_by_number_and_by_size() {
        let (one, all) = (WaitingRoom::of_one_source(), WaitingRoom::of_all_sources());
        for (room, places, large) in [(one, 128, 4), (all, 256, 8)] {
            let mut small: Vec<_> = (0..1_000).map_while(|_| room.enter(4 * 1024)).collect();
            assert_eq!(small.len(), places);
            small.pop();
            assert!(room.enter(1 << 20).is_none());
            assert!(room.enter(0).is_some(), "one has left");
            drop(small);
            let held: Vec<_> = (0..100).map_while(|_| room.enter(1 << 20)).collect();
            assert_eq!(held.len(), large);
            drop(held);
            assert!(room.enter(25 << 20).is_none(), "never");
        }
    }
}
