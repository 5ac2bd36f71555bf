//! Answers as HTTP has them.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde::Serialize;

use crate::provider::Answer;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const OK: &str = r#"{"ok":true}"#;
const NO_OPTIONS: &str = r#"{"options":[]}"#;

#[derive(Serialize)]
struct Challenge<'a> {
    challenge: &'a str,
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
