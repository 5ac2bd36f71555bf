//! The name under which one request appears in logs, problems and the peer's own log.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::{HeaderMap, HeaderName, HeaderValue, request::Parts};
use jiff::Timestamp;

use crate::random::time_ordered_id;

/// The header that carries it, in both directions.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// A peer's id that is longer is replaced by ours: ids go into logs.
const MAX_LENGTH: usize = 128;

/// A request's id: the peer's `x-request-id` if it is up to 128 letters, digits, `-`, `_`, `.` or `:`,
/// else a new UUIDv7. Also an extractor, which gives an empty id outside our server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    pub(crate) fn of(headers: &HeaderMap, now: impl FnOnce() -> Timestamp) -> Self {
        match headers.get(&HEADER) {
            Some(given) if is_plain(given.as_bytes()) => Self(given.clone()),
            _ => Self::new(now()),
        }
    }

    /// A new id of that time.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = time_ordered_id(now).hyphenated().encode_lower(&mut buffer);
        Self(HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("")))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub(crate) fn header_value(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

fn is_plain(id: &[u8]) -> bool {
    (1..=MAX_LENGTH).contains(&id.len())
        && id
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let given = parts.extensions.get::<Self>().cloned();
        Ok(given.unwrap_or_else(|| Self(HeaderValue::from_static(""))))
    }
}
