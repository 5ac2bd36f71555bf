//! Reading a body within a limit.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::{HeaderMap, header};

use crate::error::Rejection;

/// Reserved for a body of unknown length; most webhooks are smaller.
const FIRST_BYTES: usize = 8 * 1024;
/// Bytes of a refused body that are read and dropped: more than the largest that GitHub sends.
const MAX_DRAIN_BYTES: usize = 32 << 20;
/// How long that may take; any sender that we answer is on a fast line.
const MAX_DRAIN_TIME: Duration = Duration::from_secs(2);

/// The whole body, of at most `limit` bytes, as it was sent; what comes in one piece is not copied. One that
/// says of itself that it is compressed is refused: few bytes could become many, and no sender signs those.
///
/// Of what is refused nothing is kept, but it is read for a while: a sender that still writes
/// when its connection closes sees a reset instead of its answer.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Bytes, Rejection> {
    let declared = declared_length(headers);
    let mut pieces = body.into_data_stream();
    let refused = if is_encoded(headers) {
        Rejection::BodyEncoded
    } else if declared.is_some_and(|bytes| bytes > limit) {
        Rejection::BodyTooLarge { limit }
    } else {
        match collect(&mut pieces, declared, limit).await? {
            Some(body) => return Ok(body),
            None => Rejection::BodyTooLarge { limit },
        }
    };
    // A sender that asks before it sends needs no more than the answer.
    if !headers.contains_key(header::EXPECT) {
        drain(pieces).await;
    }
    Err(refused)
}

/// Whether any coding but `identity` was applied to the body.
fn is_encoded(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| {
        let coding = coding.trim_ascii();
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
    })
}

/// `None` when there is more than `limit`.
async fn collect(
    pieces: &mut BodyDataStream,
    declared: Option<usize>,
    limit: usize,
) -> Result<Option<Bytes>, Rejection> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(Rejection::BodyIncomplete)?;
        if first.len() + whole.len() + piece.len() > limit {
            return Ok(None);
        }
        if first.is_empty() && whole.is_empty() {
            first = piece;
            continue;
        }
        if whole.is_empty() {
            whole.reserve(declared.unwrap_or(FIRST_BYTES));
            whole.extend_from_slice(&first);
            first = Bytes::new();
        }
        whole.extend_from_slice(&piece);
    }
    Ok(Some(if whole.is_empty() {
        first
    } else {
        whole.freeze()
    }))
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

    use super::*;

    #[tokio::test]
    async fn bodies_in_pieces_are_joined_up_to_the_limit() {
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
            let read = read(&HeaderMap::new(), body, 10).await;
            match (read, expected) {
                (Ok(read), Some(expected)) => assert_eq!(read, expected),
                (Err(Rejection::BodyTooLarge { limit: 10 }), None) => {}
                (read, _) => panic!("{pieces:?}: {read:?}"),
            }
        }
        let headers =
            HeaderMap::from_iter([(header::CONTENT_LENGTH, "11".parse().expect("value"))]);
        let refused = read(&headers, Body::empty(), 10).await;
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
            match read(&headers, Body::from("{}"), 10).await {
                Ok(body) if is_taken => assert_eq!(body, "{}"),
                Err(Rejection::BodyEncoded) if !is_taken => {}
                other => panic!("{codings:?}: {other:?}"),
            }
        }
    }
}
