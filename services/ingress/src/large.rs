//! Bodies over 512 KiB, and those over 64 KiB that expressions are evaluated over: a few at a time, and worked
//! on where they hold up nobody.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tocsin_wire::limits::MAX_INLINE_BODY_BYTES;
use tocsin_wire::proto::StoredBody;
use tocsin_wire::source::MAX_PICKED_BODY_BYTES;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::error::Rejection;
use crate::intake::Incoming;
use crate::normalize::Normalized;
use crate::provider::Throttled;
use crate::source::Source;

/// What large bodies may take of the memory: one of the largest, of 25 MiB, or a dozen of usual ones; twice
/// that when all of them are forms, which are decoded before they are read. On its way to the broker each
/// fills 1 MiB of it: eight pieces of 128 KiB, an eighth of the `max_payload` that nats-server has by default.
pub(crate) const ROOM_BYTES: usize = 32 << 20;

/// What is counted together: a semaphore has at most 2^32 permits, and nobody needs bytes.
const UNIT_BYTES: usize = 1024;

/// How long a large delivery waits for the others, its body unread: one takes a fraction of a second, and
/// GitHub and GitLab give up after 10 s.
const ROOM_WAIT: Duration = Duration::from_secs(3);

/// Bodies that are evaluated over on the threads of the runtime: to make values of more takes milliseconds.
const MAX_QUICK_PICK_BYTES: usize = 64 * 1024;

/// Longer ones that are evaluated over at a time: the values of one may take 10 MiB.
const LONG_PICKS: usize = 4;

/// Room for [`ROOM_BYTES`] of large bodies, of which each address may be sending one: what it has not sent yet is
/// kept free for it, before anything says who it is, and it may send as slowly as the pace allows.
pub(crate) struct LargeBodies {
    room: Arc<Semaphore>,
    /// Of each address that sends a large body now, or waits to.
    turns: Mutex<HashMap<IpAddr, Weak<Semaphore>>>,
}

/// Turns at evaluating expressions over bodies for which that takes long.
pub(crate) struct LongPicks(Arc<Semaphore>);

/// Held as long as a large body is in memory, or as its values are.
#[derive(Debug)]
pub(crate) struct Room {
    _permit: OwnedSemaphorePermit,
}

/// Held as long as an address sends a large body.
#[derive(Debug)]
pub(crate) struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Default for LargeBodies {
    fn default() -> Self {
        Self {
            room: Arc::new(Semaphore::new(ROOM_BYTES / UNIT_BYTES)),
            turns: Mutex::default(),
        }
    }
}

impl LargeBodies {
    /// Waits for the turn of `sender`, and for room for a body of so many bytes; for both together not for long.
    pub(crate) async fn enter(
        &self,
        bytes: usize,
        sender: Option<IpAddr>,
        throttled: Throttled,
    ) -> Result<(Room, Turn), Rejection> {
        // A larger one takes all the room there is, and still has its own limit.
        let units = bytes.min(ROOM_BYTES).div_ceil(UNIT_BYTES);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let entering = async {
            // First: who waits for its turn must not stand before others in the queue for room.
            let turn = match sender {
                Some(sender) => Some(self.turn(sender).acquire_owned().await?),
                None => None,
            };
            let permit = Arc::clone(&self.room).acquire_many_owned(units).await?;
            Ok((Room { _permit: permit }, Turn { _permit: turn }))
        };
        within_wait(entering, throttled).await
    }

    fn turn(&self, sender: IpAddr) -> Arc<Semaphore> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(&sender).and_then(Weak::upgrade) {
            return turn;
        }
        // Here at the latest, so that no more are remembered than there are requests at work.
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Semaphore::new(1));
        turns.insert(sender, Arc::downgrade(&turn));
        turn
    }
}

impl Default for LongPicks {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LONG_PICKS)))
    }
}

impl LongPicks {
    /// Waits for a turn, and not for long, where the source evaluates over this body and that takes long.
    pub(crate) async fn enter(
        &self,
        source: &Source,
        body: &Bytes,
    ) -> Result<Option<Room>, Rejection> {
        let takes_long = MAX_QUICK_PICK_BYTES + 1..=MAX_PICKED_BODY_BYTES;
        if source.picks.is_none() || !takes_long.contains(&body.len()) {
            return Ok(None);
        }
        // Boxed: rare, and every delivery's future would hold it.
        let entering = Box::pin(Arc::clone(&self.0).acquire_owned());
        let permit = within_wait(entering, source.provider.throttled).await?;
        Ok(Some(Room { _permit: permit }))
    }
}

/// What `entering` gives, where nobody has to wait too long for it.
async fn within_wait<T>(
    entering: impl Future<Output = Result<T, AcquireError>>,
    throttled: Throttled,
) -> Result<T, Rejection> {
    // The semaphores are never closed.
    match tokio::time::timeout(ROOM_WAIT, entering).await {
        Ok(Ok(entered)) => Ok(entered),
        _ => Err(Rejection::Crowded(throttled)),
    }
}

/// Does `work` over a delivery: a large one on a thread of its own, because 25 MiB take tens of
/// milliseconds to hash or to parse, in which a thread of the runtime would serve nobody. Where the source
/// evaluates expressions over it, a body of 64 KiB is large.
pub(crate) async fn over<T: Send + 'static>(
    source: &Arc<Source>,
    incoming: Incoming<'_>,
    work: impl FnOnce(&Source, &HeaderMap, &Bytes) -> T + Send + 'static,
) -> Result<T, Rejection> {
    let Incoming { headers, body, .. } = incoming;
    let quick = match source.picks {
        Some(_) => MAX_QUICK_PICK_BYTES,
        None => MAX_INLINE_BODY_BYTES,
    };
    if body.len() <= quick {
        return Ok(work(source, headers, body));
    }
    let (source, headers, body) = (Arc::clone(source), headers.clone(), body.clone());
    let working = tokio::task::spawn_blocking(move || work(&source, &headers, &body));
    working.await.map_err(Rejection::Aborted)
}

/// Names the objects of what is too large for a message; the bodies stay where they are until then.
pub(crate) fn name_objects(mut normalized: Normalized) -> Normalized {
    let events = match &mut normalized {
        Normalized::Event(event) => std::slice::from_mut(event.as_mut()),
        Normalized::Events(events) => events.as_mut_slice(),
        _ => &mut [],
    };
    for event in events {
        if event.raw_body.len() > MAX_INLINE_BODY_BYTES {
            event.stored_body = Some(StoredBody::of(&event.raw_body));
        }
    }
    normalized
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use serde_json::json;
    use tocsin_wire::proto::Event;
    use tocsin_wire::scheme::Scheme;

    use super::*;
    use crate::normalize::generic;
    use crate::normalize::pick::Picks;

    fn source(pick: &serde_json::Value) -> Source {
        let (provider, tolerance) = (&generic::PROVIDER, Duration::from_secs(1));
        let mut source = Source::new(provider, &Scheme::Bearer, &[], tolerance).expect("a source");
        let pick = serde_json::from_value(pick.clone()).expect("a pick");
        source.picks = Picks::compile(&pick).expect("it compiles");
        source
    }

    #[tokio::test(start_paused = true)]
    async fn long_bodies_are_evaluated_over_a_few_at_a_time() {
        let turns = LongPicks::default();
        let picking = source(&json!({"title": "body.a"}));
        let body = |bytes: usize| Bytes::from(vec![b' '; bytes]);
        let mut held = Vec::new();
        for _ in 0..LONG_PICKS {
            let turn = turns.enter(&picking, &body(64 * 1024 + 1)).await;
            held.push(turn.expect("a turn").expect("it takes one"));
        }
        let refused = turns.enter(&picking, &body(512 * 1024)).await;
        assert_eq!(
            refused.expect_err("no turn").code(),
            "too_many_large_bodies"
        );
        // What is short, what is not evaluated over, and who evaluates nothing: none of them waits.
        for (source, bytes) in [
            (&picking, 64 * 1024),
            (&picking, 512 * 1024 + 1),
            (&source(&json!({})), 512 * 1024),
        ] {
            let turn = turns.enter(source, &body(bytes)).await;
            assert!(turn.expect("no refusal").is_none(), "{bytes}");
        }
        held.pop();
        let turn = turns.enter(&picking, &body(512 * 1024)).await;
        assert!(turn.expect("a turn").is_some());
    }

    #[test]
    fn only_what_is_too_large_gets_an_object() {
        for (bytes, expected) in [(0, false), (512 << 10, false), ((512 << 10) + 1, true)] {
            let event = Event {
                raw_body: vec![b' '; bytes].into(),
                ..Event::default()
            };
            let one = name_objects(Normalized::Event(Box::new(event.clone())));
            let Normalized::Event(one) = one else {
                panic!("an event")
            };
            let Normalized::Events(batch) = name_objects(Normalized::Events(vec![event])) else {
                panic!("a batch")
            };
            for event in [one.as_ref(), &batch[0]] {
                let stored = event.stored_body.as_ref();
                assert_eq!(stored.is_some(), expected, "{bytes}");
                assert!(stored.is_none_or(|stored| stored.size == bytes as u64));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_room_there_is_is_a_refusal_after_a_while() {
        let bodies = LargeBodies::default();
        let mut held = Vec::new();
        for bytes in [25 << 20, 6 << 20, 1 << 20] {
            let room = bodies.enter(bytes, None, Throttled::Unavailable).await;
            held.push(room.expect("room"));
        }
        for (throttled, status) in [
            (Throttled::TooManyRequests, 429),
            (Throttled::Unavailable, 503),
            (Throttled::Deferred, 503),
        ] {
            let refused = bodies
                .enter(513 << 10, None, throttled)
                .await
                .expect_err("no room");
            assert_eq!(refused.problem().status.as_u16(), status);
            assert_eq!(refused.code(), "too_many_large_bodies");
        }
        held.pop();
        let room = bodies.enter(513 << 10, None, Throttled::Unavailable).await;
        room.expect("room");
        held.clear();
        let larger = bodies
            .enter(ROOM_BYTES * 2, None, Throttled::Unavailable)
            .await;
        larger.expect("all the room there is");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_sends_one_at_a_time_and_keeps_nobody_else_waiting() {
        let bodies = LargeBodies::default();
        let enter = |last: u8| {
            let sender = IpAddr::from([192, 0, 2, last]);
            bodies.enter(8 << 20, Some(sender), Throttled::Unavailable)
        };
        let (room, turn) = enter(1).await.expect("its first");
        let refused = enter(1).await.expect_err("the first is still coming");
        assert_eq!(refused.code(), "too_many_large_bodies");
        let mut waiting = Box::pin(enter(1));
        assert!((&mut waiting).now_or_never().is_none());
        let other = enter(2).now_or_never().expect("at once").expect("room");
        drop(turn);
        // The first is whole, and still in memory: that is a matter of room alone.
        let second = waiting.now_or_never().expect("at once").expect("its turn");
        drop((room, second, other));
        let known = || bodies.turns.lock().expect("not poisoned").len();
        assert_eq!(known(), 2);
        enter(3).await.expect("room");
        assert_eq!(known(), 1, "nobody is remembered for long");
    }
}
