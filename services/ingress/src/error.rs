//! What ends ingress, and why a delivery is not taken.

use std::{borrow::Cow, time::Duration};

use http::StatusCode;
use tocsin_bus::{BusError, PublishError};
use tocsin_kit::{
    Problem,
    http_server::{ServeError, TlsError},
};
use tocsin_wire::InvalidToken;

use crate::{
    normalize::Malformed,
    publish::PUBLISH_TIMEOUT,
    verify::{InvalidScheme, Refusal},
};

/// When a sender may try again: the bus is usually back within a second or two.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Ingress cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("connect ingress to the bus")]
    Connect(#[source] BusError),
    #[error("verify by the scheme of a provider")]
    Scheme(#[source] InvalidScheme),
    #[error("receive webhooks")]
    Serve(#[source] ServeError),
    #[error("receive webhooks over TLS")]
    Tls(#[source] TlsError),
}

/// Why a delivery gets no 2xx.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Rejection {
    #[error("the body is over the limit of {limit} bytes")]
    BodyTooLarge { limit: usize },
    #[error("the body did not arrive completely")]
    BodyIncomplete(#[source] axum::Error),
    #[error("the body is compressed or encoded otherwise")]
    BodyEncoded,
    #[error("the signature does not hold")]
    Unverified(#[source] Refusal),
    #[error("the body cannot be read")]
    Malformed(#[source] Malformed),
    #[error("the event has no subject")]
    Subject(#[source] InvalidToken),
    #[error("the bus is not connected")]
    Disconnected,
    #[error("the bus did not acknowledge within {} ms", PUBLISH_TIMEOUT.as_millis())]
    Unacknowledged,
    #[error("the bus did not take the event")]
    Publish(#[source] PublishError),
}

impl Rejection {
    /// Stable code of the answer; also the label `reason` of the metric.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::BodyTooLarge { .. } | Self::Publish(PublishError::TooLarge { .. }) => {
                "body_too_large"
            }
            Self::BodyIncomplete(_) => "body_incomplete",
            Self::BodyEncoded => "content_encoding_unsupported",
            Self::Unverified(refusal) => refusal.code(),
            Self::Malformed(malformed) => malformed.code(),
            Self::Subject(_) => "internal",
            Self::Disconnected | Self::Publish(PublishError::Unavailable { .. }) => {
                "bus_unavailable"
            }
            Self::Unacknowledged | Self::Publish(PublishError::TimedOut { .. }) => "bus_timeout",
            Self::Publish(PublishError::StreamFull { .. } | PublishError::SubjectFull { .. }) => {
                "bus_full"
            }
            Self::Publish(_) => "bus_refused",
        }
    }

    /// Whether it is our trouble: the sender did nothing wrong and shall try again.
    pub(crate) fn is_ours(&self) -> bool {
        self.status() == StatusCode::SERVICE_UNAVAILABLE
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::BodyTooLarge { .. } | Self::Publish(PublishError::TooLarge { .. }) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::BodyIncomplete(_) | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::BodyEncoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unverified(_) => StatusCode::UNAUTHORIZED,
            Self::Subject(_) | Self::Disconnected | Self::Unacknowledged | Self::Publish(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// What the sender reads: it may be anybody, so no more than it needs.
    pub(crate) fn problem(&self) -> Problem {
        let status = self.status();
        let detail: Cow<'static, str> = match self {
            Self::BodyTooLarge { limit } | Self::Publish(PublishError::TooLarge { limit, .. }) => {
                format!("the body is over the limit of {limit} bytes").into()
            }
            Self::BodyIncomplete(_) => "the body did not arrive completely; send it again".into(),
            Self::BodyEncoded => {
                "signatures are verified over the bytes as they come; send the body without Content-Encoding".into()
            }
            Self::Unverified(refusal) => refusal.to_string().into(),
            Self::Malformed(malformed) => malformed.to_string().into(),
            _ => "the event could not be stored; send it again".into(),
        };
        match self {
            Self::Unverified(refusal) => {
                Problem::new(status, format!("signature_{}", refusal.code()), detail)
            }
            _ if self.is_ours() => Problem::unavailable(self.code(), detail, RETRY_AFTER),
            _ => Problem::new(status, self.code(), detail),
        }
    }
}
