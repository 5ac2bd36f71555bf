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

/// What may wait of one source. Strangers can send wrong signatures, so what they make us hold is bounded;
/// a sender of 500 deliveries a second, of 4 KiB each, has room for all of a second's.
const MAX_WAITING_KIBIBYTES: usize = 4 * 1024;

/// What a delivery without a body costs: its connection, headers and task.
const LEAST_KIBIBYTES: usize = 4;

/// The deliveries of one source that wait; the same over all versions of the source.
#[derive(Clone)]
pub(crate) struct WaitingRoom(Arc<Semaphore>);

impl Default for WaitingRoom {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_WAITING_KIBIBYTES)))
    }
}

impl WaitingRoom {
    /// A place for a delivery with a body of so many bytes, until it is dropped; `None` when there is none.
    pub(crate) fn enter(&self, body_bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kibibytes = body_bytes.div_ceil(1024).saturating_add(LEAST_KIBIBYTES);
        let kibibytes = u32::try_from(kibibytes).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(kibibytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_a_busy_sender_has_room_and_a_flood_has_none() {
        let room = WaitingRoom::default();
        let small: Vec<_> = (0..500).map_while(|_| room.enter(4 * 1024)).collect();
        assert_eq!(small.len(), 500);
        assert!(room.enter(1 << 20).is_none());
        drop(small);
        let large: Vec<_> = (0..10).map_while(|_| room.enter(1 << 20)).collect();
        assert_eq!(large.len(), 3);
        assert!(room.enter(25 << 20).is_none(), "never");
    }
}
