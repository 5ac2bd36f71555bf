//! Errors over HTTP, as `application/problem+json` (RFC 9457).

use std::{borrow::Cow, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::http_server::RequestId;

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");
/// `type` when the code says it all.
const NO_TYPE: &str = "about:blank";

/// An error as a client sees it.
///
/// Body: `{type, title, status, code, detail, request_id}`, all strings but `status`, and further
/// members where they help. `code` is stable and for machines; `detail` is for people and says what
/// to do. The server adds the request id on the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub status: StatusCode,
    /// `snake_case`, stable once released.
    pub code: Cow<'static, str>,
    /// What was wrong and what to do; no secrets, no internals.
    pub detail: Cow<'static, str>,
    /// Sent as `Retry-After`, in whole seconds, rounded up.
    pub retry_after: Option<Duration>,
    /// What else a machine wants to know; boxed, because few problems have any.
    members: Option<Box<Map<String, Value>>>,
}

#[derive(Serialize)]
struct Rendered<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(flatten)]
    members: Option<&'a Map<String, Value>>,
}

impl Problem {
    #[must_use]
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code: code.into(),
            detail: detail.into(),
            retry_after: None,
            members: None,
        }
    }

    /// 400: the request can never succeed as it is.
    #[must_use]
    pub fn bad_request(
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 401: who is asking is not known. Say nothing about why a secret did not match.
    #[must_use]
    pub fn unauthorized(
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, detail)
    }

    /// 403: known, and not allowed.
    #[must_use]
    pub fn forbidden(
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    /// 404.
    #[must_use]
    pub fn not_found(
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// 409: it contradicts what is there.
    #[must_use]
    pub fn conflict(
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 413: more than `limit` bytes.
    #[must_use]
    pub fn payload_too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("the body is over the limit of {limit} bytes; send less"),
        )
    }

    /// 503: nothing is wrong with the request; the same one may succeed after `retry_after`.
    #[must_use]
    pub fn unavailable(
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
        retry_after: Duration,
    ) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).with_retry_after(retry_after)
    }

    /// 500: our fault. The cause belongs in the log, not in the answer.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the server failed on this request; its log has the cause under the request id",
        )
    }

    /// The problem that a bare status stands for, as answered by a router or an extractor.
    #[must_use]
    pub fn from_status(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let code: Cow<'static, str> = match status {
            StatusCode::INTERNAL_SERVER_ERROR => "internal".into(),
            other => other
                .canonical_reason()
                .unwrap_or("http error")
                .to_ascii_lowercase()
                .replace([' ', '-'], "_")
                .replace('\'', "")
                .into(),
        };
        Self::new(status, code, detail)
    }

    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// One more member of the body, such as `errors` or `current`; not one of the standard names.
    #[must_use]
    pub fn with(mut self, member: &'static str, value: impl Into<Value>) -> Self {
        let members = self.members.get_or_insert_default();
        members.insert(member.to_owned(), value.into());
        self
    }

    /// The response, with the request's id in the body when there is one.
    #[must_use]
    pub fn into_response_for(self, request: Option<&RequestId>) -> Response {
        let rendered = Rendered {
            r#type: NO_TYPE,
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: &self.code,
            detail: &self.detail,
            request_id: request.map(RequestId::as_str),
            members: self.members.as_deref(),
        };
        // JSON already, strings and a number: there is nothing in it that could fail to serialise.
        let body = serde_json::to_vec(&rendered).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl IntoResponse for Problem {
    /// The server renders it again with the request's id: it finds the problem in the response's
    /// extensions.
    fn into_response(self) -> Response {
        let mut response = self.clone().into_response_for(None);
        response.extensions_mut().insert(self);
        response
    }
}
