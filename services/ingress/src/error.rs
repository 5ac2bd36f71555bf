//! What ends ingress, and why a delivery is not taken.

use std::{borrow::Cow, time::Duration};

use http::StatusCode;
use tocsin_bus::{BusError, PublishError, SecretError};
use tocsin_kit::{
    Problem,
    http_client::BuildError,
    http_server::{ServeError, TlsError},
};
use tocsin_wire::InvalidToken;
use tocsin_wire::source::Side;

use crate::normalize::Malformed;
use crate::provider::Throttled;
use crate::sns::SnsError;
use crate::verify::{InvalidScheme, Refusal};

/// When a sender may try again: the bus is usually back within a second or two.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// When a sender over its limit may try again: the windows slide, so there is room every moment.
const LIMIT_RETRY: Duration = Duration::from_secs(2);

/// What is said of every path that nothing is received at.
pub(crate) const UNKNOWN: &str =
    "no webhook is received at this path; see the list of endpoints in the README";

/// Ingress cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("connect ingress to the bus")]
    Connect(#[source] BusError),
    #[error("verify by the scheme of a provider")]
    Scheme(#[source] InvalidScheme),
    #[error("open the secrets of sources")]
    Secrets(#[source] SecretError),
    #[error("answer questions about sources")]
    Answer(#[source] BusError),
    #[error(
        "SLACK_APP_TOKEN: number {position} is no app-level token (xapp-…); a bot token (xoxb-…) belongs into \
         SLACK_BOT_TOKEN"
    )]
    SlackAppToken { position: usize },
    #[error("SLACK_API_URL is no URL of a Web API, such as https://slack.com/api")]
    SlackApiUrl,
    #[error("connect to Slack")]
    HttpClient(#[source] BuildError),
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
    #[error("more large bodies at once than there is room for")]
    Crowded(Throttled),
    #[error("work on a large body did not end")]
    Aborted(#[source] tokio::task::JoinError),
    #[error("the body came too slowly")]
    BodyTooSlow,
    #[error("the body was slow while as many others were waited for as may be")]
    Overloaded,
    #[error("the body did not arrive completely")]
    BodyIncomplete(#[source] axum::Error),
    #[error("the source is disabled")]
    Disabled,
    #[error("the source does not take deliveries from this address")]
    AddressNotAllowed,
    #[error("the source is not loaded yet")]
    SourceLoading,
    #[error("there is no such source")]
    UnknownSource,
    #[error("as many deliveries are at work as may be")]
    AtLimit,
    #[error("the delivery was not received and answered within {} ms", limit.as_millis())]
    TimedOut { limit: Duration },
    #[error("more deliveries than the rate limit allows")]
    Limited(Throttled),
    #[error("the body is compressed or encoded otherwise")]
    BodyEncoded,
    #[error("the signature does not hold")]
    Unverified(#[source] Refusal),
    #[error("Amazon SNS did not say what is needed")]
    Sns(#[source] SnsError),
    #[error("the body cannot be read")]
    Malformed(#[source] Malformed),
    #[error("the event has no subject")]
    Subject(#[source] InvalidToken),
    #[error("the bus is not connected")]
    Disconnected,
    #[error("the bus did not acknowledge within {} ms", limit.as_millis())]
    Unacknowledged { limit: Duration },
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
            Self::BodyTooSlow => "body_too_slow",
            // As the server says of more requests than it takes: to a sender it is the same.
            Self::Overloaded => "overloaded",
            Self::BodyIncomplete(_) => "body_incomplete",
            Self::Disabled => "source_disabled",
            Self::AddressNotAllowed => "address_not_allowed",
            Self::SourceLoading => "source_loading",
            Self::UnknownSource => "unknown_webhook",
            // As every server of ours says it.
            Self::AtLimit => "overloaded",
            Self::TimedOut { .. } => "request_timeout",
            Self::Limited(_) => "rate_limited",
            Self::BodyEncoded => "content_encoding_unsupported",
            Self::Unverified(refusal) => refusal.code(),
            Self::Malformed(malformed) => malformed.code(),
            Self::Sns(error) if error.is_ours() => "sns_unavailable",
            Self::Sns(_) => "sns_untrusted",
            Self::Crowded(_) => "too_many_large_bodies",
            Self::Subject(_) | Self::Aborted(_) => "internal",
            Self::Disconnected | Self::Publish(PublishError::Unavailable { .. }) => {
                "bus_unavailable"
            }
            Self::Unacknowledged { .. } | Self::Publish(PublishError::TimedOut { .. }) => {
                "bus_timeout"
            }
            Self::Publish(PublishError::StreamFull { .. } | PublishError::SubjectFull { .. }) => {
                "bus_full"
            }
            Self::Publish(_) => "bus_refused",
        }
    }

    /// Whose turn it is: ours after each 503, whatever its code, but for those that say that a limit is
    /// reached.
    pub(crate) fn side(&self) -> Side {
        match self {
            Self::Limited(_) => Side::Limit,
            // Some senders hear 429, since they try only that again: the room is ours all the same.
            Self::Crowded(_) => Side::Us,
            _ if self.status() == StatusCode::SERVICE_UNAVAILABLE => Side::Us,
            _ => Side::Sender,
        }
    }

    /// Whether it is our trouble: the sender did nothing wrong and shall try again.
    pub(crate) fn is_ours(&self) -> bool {
        self.side() == Side::Us
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::BodyTooLarge { .. } | Self::Publish(PublishError::TooLarge { .. }) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Malformed(Malformed::NoCloudEvent) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Malformed(Malformed::Batch { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyIncomplete(_) | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Sns(error) if !error.is_ours() => StatusCode::UNAUTHORIZED,
            Self::BodyEncoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unverified(_) => StatusCode::UNAUTHORIZED,
            Self::Disabled | Self::AddressNotAllowed => StatusCode::FORBIDDEN,
            Self::UnknownSource => StatusCode::NOT_FOUND,
            Self::Limited(Throttled::TooManyRequests)
            | Self::Crowded(Throttled::TooManyRequests) => StatusCode::TOO_MANY_REQUESTS,
            Self::Limited(_)
            | Self::AtLimit
            | Self::TimedOut { .. }
            | Self::SourceLoading
            | Self::Overloaded
            | Self::Sns(_)
            | Self::Subject(_)
            | Self::Disconnected
            | Self::Unacknowledged { .. }
            | Self::Crowded(_)
            | Self::Aborted(_)
            | Self::Publish(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What the sender reads: it may be anybody, so no more than it needs.
    pub(crate) fn problem(&self) -> Problem {
        let status = self.status();
        let detail: Cow<'static, str> = match self {
            Self::BodyTooLarge { limit } | Self::Publish(PublishError::TooLarge { limit, .. }) => {
                format!("the body is over the limit of {limit} bytes").into()
            }
            Self::Crowded(_) => "too many large bodies at once; send it again".into(),
            Self::BodyTooSlow => "the body came too slowly; send it again, all at once".into(),
            Self::Overloaded => "too many slow bodies at once; send it again later".into(),
            Self::BodyIncomplete(_) => "the body did not arrive completely; send it again".into(),
            Self::BodyEncoded => {
                "signatures are verified over the bytes as they come; send the body without Content-Encoding".into()
            }
            Self::Unverified(refusal) => refusal.to_string().into(),
            Self::Malformed(malformed) => malformed.to_string().into(),
            Self::Disabled => "this source is disabled; its owner can enable it".into(),
            Self::AddressNotAllowed => "this source takes no deliveries from your address".into(),
            Self::UnknownSource => UNKNOWN.into(),
            Self::AtLimit => "more deliveries at once than are taken; send it again later".into(),
            Self::TimedOut { .. } => {
                "the delivery was not received and answered in time; send it again later".into()
            }
            Self::Limited(_) => {
                "more deliveries than this source may send; come again later".into()
            }
            Self::Sns(error) if error.is_ours() => {
                "Amazon SNS could not be asked; send it again".into()
            }
            Self::Sns(_) => "what the message names is not of Amazon SNS".into(),
            _ => "the event could not be stored; send it again".into(),
        };
        match self {
            Self::Unverified(refusal) => {
                Problem::new(status, format!("signature_{}", refusal.code()), detail)
            }
            Self::Limited(_) | Self::Crowded(Throttled::TooManyRequests) => {
                Problem::new(status, self.code(), detail).with_retry_after(LIMIT_RETRY)
            }
            _ if self.is_ours() => Problem::unavailable(self.code(), detail, RETRY_AFTER),
            _ => Problem::new(status, self.code(), detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Refusal;

    #[test]
    fn a_refusal_says_whose_turn_it_is() {
        let limit = Duration::from_secs(1);
        for (rejection, code, side) in [
            (Rejection::Disconnected, "bus_unavailable", Side::Us),
            (Rejection::Unacknowledged { limit }, "bus_timeout", Side::Us),
            (Rejection::SourceLoading, "source_loading", Side::Us),
            (Rejection::AtLimit, "overloaded", Side::Us),
            (Rejection::TimedOut { limit }, "request_timeout", Side::Us),
            (
                Rejection::Crowded(Throttled::Deferred),
                "too_many_large_bodies",
                Side::Us,
            ),
            (
                Rejection::Crowded(Throttled::TooManyRequests),
                "too_many_large_bodies",
                Side::Us,
            ),
            (
                Rejection::Limited(Throttled::Unavailable),
                "rate_limited",
                Side::Limit,
            ),
            (
                Rejection::Limited(Throttled::TooManyRequests),
                "rate_limited",
                Side::Limit,
            ),
            (
                Rejection::Unverified(Refusal::BadSignature),
                "bad_signature",
                Side::Sender,
            ),
            (Rejection::BodyTooSlow, "body_too_slow", Side::Sender),
            (Rejection::Disabled, "source_disabled", Side::Sender),
        ] {
            assert_eq!((rejection.code(), rejection.side()), (code, side));
            if side == Side::Us {
                let status = rejection.problem().status.as_u16();
                assert!(matches!(status, 429 | 503), "{rejection:?}: {status}");
            }
        }
        let url = String::new();
        let foreign = Rejection::Sns(SnsError::Foreign { url });
        assert_eq!(foreign.side(), Side::Sender);
        let (host, status) = (String::new(), StatusCode::BAD_GATEWAY);
        let away = Rejection::Sns(SnsError::Status { host, status });
        assert_eq!((away.code(), away.side()), ("sns_unavailable", Side::Us));
    }
}
