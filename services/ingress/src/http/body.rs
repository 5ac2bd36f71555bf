//! Reading a body within its limit, and a large one only where there is room for it.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, header};
use tokio::time::Instant;

use tocsin_wire::limits::MAX_INLINE_BODY_BYTES;

use crate::error::Rejection;
use crate::large::{LargeBodies, Room};
use crate::provider::Throttled;

use super::gathered::{Gathered, Overrun};
use super::pace::{Pace, SlowBodies};

/// Bytes of a refused body that are read and dropped: more than the largest that GitHub sends.
const MAX_DRAIN_BYTES: usize = 32 << 20;
/// How long that may take; any sender that we answer is on a fast line.
const MAX_DRAIN_TIME: Duration = Duration::from_secs(2);

/// What a body is read within.
#[derive(Clone, Copy)]
pub(super) struct Bounds<'a> {
    /// Bytes of the largest.
    pub(super) limit: usize,
    pub(super) large: &'a LargeBodies,
    pub(super) slow: &'a SlowBodies,
    /// Whose body it is, as rate limits count.
    pub(super) sender: Option<IpAddr>,
    /// What a sender hears when there is no room.
    pub(super) throttled: Throttled,
}

/// A whole body, and the room that it takes.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) bytes: Bytes,
    _room: Option<Room>,
}

/// The whole body, of at most `bounds.limit` bytes, as it was sent; what comes in one piece is not copied,
/// and no body is moved to make room for its rest once it is large. One that comes too slowly is not waited
/// for. One that says of itself that it is compressed is refused: few bytes could become many, and no sender
/// signs those.
///
/// Of what is refused nothing is kept, but it is read for a while: a sender that still writes
/// when its connection closes sees a reset instead of its answer.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    bounds: Bounds<'_>,
) -> Result<Whole, Rejection> {
    let declared = declared_length(headers);
    let limit = bounds.limit;
    let mut pieces = body.into_data_stream();
    let read = if is_encoded(headers) {
        Err(Rejection::BodyEncoded)
    } else if declared.is_some_and(|bytes| bytes > limit) {
        Err(Rejection::BodyTooLarge { limit })
    } else {
        collect(&mut pieces, declared, bounds).await
    };
    let is_refused = matches!(
        read,
        Err(Rejection::BodyTooLarge { .. } | Rejection::BodyEncoded | Rejection::Crowded(_))
    );
    // A sender that asks before it sends needs no more than the answer.
    if is_refused && !headers.contains_key(header::EXPECT) {
        drain(pieces).await;
    }
    read
}

/// Whether any coding but `identity` was applied to the body.
pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| {
        let coding = coding.trim_ascii();
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
    })
}

async fn collect(
    pieces: &mut BodyDataStream,
    declared: Option<usize>,
    bounds: Bounds<'_>,
) -> Result<Whole, Rejection> {
    let Bounds { limit, large, .. } = bounds;
    let mut entered = None;
    let mut pace = Pace::new(bounds.slow);
    let mut gathered = Gathered::default();
    while let Some(piece) = pace.keep(pieces.next()).await? {
        let piece = piece.map_err(Rejection::BodyIncomplete)?;
        pace.arrived(piece.len());
        let read = gathered.len() + piece.len();
        if read > limit {
            return Err(Rejection::BodyTooLarge { limit });
        }
        if read > MAX_INLINE_BODY_BYTES && entered.is_none() {
            // Not sooner: to say that one has much to send takes no effort.
            let (most, waiting) = (declared.unwrap_or(limit), Instant::now());
            let entering = large.enter(most, bounds.sender, bounds.throttled);
            // Boxed: rare, and every delivery's future would hold it.
            entered = Some(Box::pin(entering).await?);
            pace.is_large_since(waiting);
            gathered = gathered.into_pages(most).map_err(|error| {
                tracing::warn!(bytes = most, %error, "the kernel has no memory for a large body");
                Rejection::Crowded(bounds.throttled)
            })?;
        }
        let pushed = gathered.push(piece, declared);
        pushed.map_err(|Overrun| Rejection::BodyTooLarge {
            limit: declared.unwrap_or(limit),
        })?;
    }
    let bytes = gathered.freeze();
    // It has come: the next one of the same address need not wait for what is done with it.
    let room = entered.map(|(room, _turn)| room);
    Ok(Whole { bytes, _room: room })
}

async fn drain(mut pieces: BodyDataStream) {
    let mut dropped = 0;
    let draining = async {
        while let Some(Ok(piece)) = pieces.next().await {
            dropped += piece.len();
            if dropped > MAX_DRAIN_BYTES {
                break;
            }
        }
    };
    // The answer is the same, whether all was read or not.
    let _elapsed = tokio::time::timeout(MAX_DRAIN_TIME, draining).await;
}

/// `Content-Length`, which hyper has checked already.
fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::FutureExt as _;

    use super::*;
    use crate::large::ROOM_BYTES;

    #[tokio::test]
    async fn bodies_in_pieces_are_joined_up_to_the_limit() {
        let (large, slow) = (LargeBodies::default(), SlowBodies::default());
        for (pieces, expected) in [
            (vec![], Some("")),
            (vec!["0123456789"], Some("0123456789")),
            (vec!["01", "", "23456789"], Some("0123456789")),
            (vec!["", "0123456789"], Some("0123456789")),
            (vec!["0123456789", "x"], None),
            (vec!["01234567890"], None),
        ] {
            let stream = pieces
                .clone()
                .into_iter()
                .map(|piece| Ok::<_, Infallible>(Bytes::from(piece)));
            let body = Body::from_stream(futures::stream::iter(stream));
            let read = read(&HeaderMap::new(), body, bounds(10, &large, &slow)).await;
            match (read, expected) {
                (Ok(read), Some(expected)) => assert_eq!(read.bytes, expected),
                (Err(Rejection::BodyTooLarge { limit: 10 }), None) => {}
                (read, _) => panic!("{pieces:?}: {read:?}"),
            }
        }
        let headers =
            HeaderMap::from_iter([(header::CONTENT_LENGTH, "11".parse().expect("value"))]);
        let refused = read(&headers, Body::empty(), bounds(10, &large, &slow)).await;
        assert!(matches!(refused, Err(Rejection::BodyTooLarge { .. })));
    }

    #[tokio::test]
    async fn bodies_are_taken_as_they_are_or_not_at_all() {
        for (codings, is_taken) in [
            (&[][..], true),
            (&["identity"], true),
            (&["Identity, identity", ""], true),
            (&["gzip"], false),
            (&["identity", "br"], false),
            (&["identity,\tzstd"], false),
            (&["\u{ff}"], false),
        ] {
            let mut headers = HeaderMap::new();
            for coding in codings {
                let value = http::HeaderValue::from_bytes(coding.as_bytes());
                headers.append(header::CONTENT_ENCODING, value.expect("a value"));
            }
            let (large, slow) = (LargeBodies::default(), SlowBodies::default());
            match read(&headers, Body::from("{}"), bounds(10, &large, &slow)).await {
                Ok(body) if is_taken => assert_eq!(body.bytes, "{}"),
                Err(Rejection::BodyEncoded) if !is_taken => {}
                other => panic!("{codings:?}: {other:?}"),
            }
        }
    }

    fn bounds<'a>(limit: usize, large: &'a LargeBodies, slow: &'a SlowBodies) -> Bounds<'a> {
        Bounds {
            limit,
            large,
            slow,
            sender: None,
            throttled: Throttled::Unavailable,
        }
    }

    fn large_body(pieces: usize) -> Body {
        let piece = Ok::<_, Infallible>(Bytes::from(vec![b'x'; 64 * 1024]));
        Body::from_stream(futures::stream::iter(vec![piece; pieces]))
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_waits_for_room_and_a_small_one_does_not() {
        let (large, slow) = (LargeBodies::default(), SlowBodies::default());
        let limit = ROOM_BYTES / 4;
        let bounds = bounds(limit, &large, &slow);
        let none = HeaderMap::new();
        let mut held = Vec::new();
        for _ in 0..4 {
            // Of unknown length, so that room is asked for on the way.
            held.push(read(&none, large_body(9), bounds).await.expect("room"));
        }
        let small = read(&none, large_body(8), bounds).await.expect("inline");
        assert_eq!(small.bytes.len(), 512 * 1024);
        let declared = "589824".parse().expect("value");
        let declared = HeaderMap::from_iter([(header::CONTENT_LENGTH, declared)]);
        for (case, headers) in [("unknown", &none), ("declared", &declared)] {
            let refused = read(headers, large_body(9), bounds).await;
            assert!(matches!(refused, Err(Rejection::Crowded(_))), "{case}");
        }
        assert_eq!(held.pop().expect("one").bytes.len(), 9 * 64 * 1024);
        read(&declared, large_body(9), bounds).await.expect("room");
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_that_does_not_come_holds_up_its_own_address_only_until_it_is_given_up() {
        let (large, slow) = (LargeBodies::default(), SlowBodies::default());
        let none = HeaderMap::new();
        let from = |last: u8| Bounds {
            sender: Some([192, 0, 2, last].into()),
            ..bounds(ROOM_BYTES / 4, &large, &slow)
        };
        let pieces = large_body(9).into_data_stream();
        let stalled = Body::from_stream(pieces.chain(futures::stream::pending()));
        let began = Instant::now();
        let mut stalled = Box::pin(read(&none, stalled, from(1)));
        assert!((&mut stalled).now_or_never().is_none());
        let refused = read(&none, large_body(9), from(1)).await;
        assert!(matches!(refused, Err(Rejection::Crowded(_))));
        let other = read(&none, large_body(9), from(2)).now_or_never();
        other.expect("at once").expect("room");
        let given_up = stalled.await;
        assert!(matches!(given_up, Err(Rejection::BodyTooSlow)));
        assert!(began.elapsed() < Duration::from_secs(4));
        let next = read(&none, large_body(9), from(1)).now_or_never();
        next.expect("at once").expect("its turn");
    }
}
