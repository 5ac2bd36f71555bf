//! Reading a body within a limit.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::{HeaderMap, header};

use crate::error::Rejection;

/// Reserved for a body of unknown length; most webhooks are smaller.
const FIRST_BYTES: usize = 8 * 1024;

/// The whole body, of at most `limit` bytes. What declares more is refused unread; what comes in one
/// piece is not copied.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Bytes, Rejection> {
    let declared = declared_length(headers);
    if declared.is_some_and(|bytes| bytes > limit) {
        return Err(Rejection::BodyTooLarge { limit });
    }
    let mut pieces = body.into_data_stream();
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(Rejection::BodyIncomplete)?;
        if first.len() + whole.len() + piece.len() > limit {
            return Err(Rejection::BodyTooLarge { limit });
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
    Ok(if whole.is_empty() {
        first
    } else {
        whole.freeze()
    })
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
}
