//! Bodies over 512 KiB: a few at a time, and worked on where they hold up nobody.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tocsin_wire::limits::MAX_INLINE_BODY_BYTES;
use tocsin_wire::proto::StoredBody;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Rejection;
use crate::intake::Incoming;
use crate::normalize::Normalized;
use crate::provider::Throttled;
use crate::source::Source;

/// Large bodies in memory at once: with 25 MiB each they take 100 MiB, and twice that when all of them are
/// forms, which are decoded before they are read. On their way to the broker they fill 4 MiB of it: eight
/// pieces of 128 KiB each, an eighth of the `max_payload` of 1 MiB that nats-server has by default.
pub(crate) const MAX_LARGE_BODIES: usize = 4;

/// How long a large delivery waits for the others, its body unread: one takes a fraction of a second, and
/// GitHub and GitLab give up after 10 s.
const ROOM_WAIT: Duration = Duration::from_secs(3);

/// Room for large bodies.
pub(crate) struct LargeBodies(Arc<Semaphore>);

/// Held as long as a large body is in memory.
#[derive(Debug)]
pub(crate) struct Room {
    _permit: OwnedSemaphorePermit,
}

impl Default for LargeBodies {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_LARGE_BODIES)))
    }
}

impl LargeBodies {
    /// Waits for room, and not for long.
    pub(crate) async fn enter(&self, throttled: Throttled) -> Result<Room, Rejection> {
        let entering = Arc::clone(&self.0).acquire_owned();
        // The semaphore is never closed.
        match tokio::time::timeout(ROOM_WAIT, entering).await {
            Ok(Ok(permit)) => Ok(Room { _permit: permit }),
            _ => Err(Rejection::Crowded(throttled)),
        }
    }
}

/// Does `work` over a delivery: a large one on a thread of its own, because 25 MiB take tens of
/// milliseconds to hash or to parse, in which a thread of the runtime would serve nobody.
pub(crate) async fn over<T: Send + 'static>(
    source: &Arc<Source>,
    incoming: Incoming<'_>,
    work: impl FnOnce(&Source, &HeaderMap, &Bytes) -> T + Send + 'static,
) -> Result<T, Rejection> {
    let Incoming { headers, body, .. } = incoming;
    if body.len() <= MAX_INLINE_BODY_BYTES {
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
    use tocsin_wire::proto::Event;

    use super::*;

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
        for _ in 0..MAX_LARGE_BODIES {
            held.push(bodies.enter(Throttled::Unavailable).await.expect("room"));
        }
        for (throttled, status) in [
            (Throttled::TooManyRequests, 429),
            (Throttled::Unavailable, 503),
            (Throttled::Deferred, 503),
        ] {
            let refused = bodies.enter(throttled).await.expect_err("no room");
            assert_eq!(refused.problem().status.as_u16(), status);
            assert_eq!(refused.code(), "too_many_large_bodies");
        }
        held.pop();
        bodies.enter(Throttled::Unavailable).await.expect("room");
    }
}
