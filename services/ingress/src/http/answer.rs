//! What a sender reads when all is well.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use serde::Serialize;

use super::Endpoint;
use crate::normalize::slack;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const OK: &str = r#"{"ok":true}"#;
/// Slack shows a menu without entries.
const NO_OPTIONS: &str = r#"{"options":[]}"#;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Ok,
    /// Slack shows any text in an answer to an interaction or a command to the user.
    Empty,
    NoOptions,
    Challenge(String),
}

#[derive(Serialize)]
struct Challenge<'a> {
    challenge: &'a str,
}

impl Answer {
    /// The answer to an event of this kind.
    pub(super) fn of(endpoint: Endpoint, kind: &str) -> Self {
        match endpoint {
            Endpoint::Slack(_) if kind == slack::BLOCK_SUGGESTION => Self::NoOptions,
            Endpoint::Slack(slack::Endpoint::Interactions | slack::Endpoint::Commands) => {
                Self::Empty
            }
            // A command or an interaction of an app that uses one URL for all.
            Endpoint::Slack(_) if kind == slack::SLASH_COMMAND || slack::is_interaction(kind) => {
                Self::Empty
            }
            Endpoint::Slack(_) | Endpoint::GitHub | Endpoint::PagerDuty | Endpoint::IncidentIo => {
                Self::Ok
            }
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let body = match self {
            Self::Empty => return Response::new(Body::empty()),
            Self::Ok => Body::from(OK),
            Self::NoOptions => Body::from(NO_OPTIONS),
            // A string: there is nothing in it that could fail to serialise.
            Self::Challenge(challenge) => Body::from(
                serde_json::to_vec(&Challenge {
                    challenge: &challenge,
                })
                .unwrap_or_default(),
            ),
        };
        let mut response = Response::new(body);
        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
        response
    }
}
