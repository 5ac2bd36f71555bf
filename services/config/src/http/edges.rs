//! What holds for every request and every answer, whatever the route.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use tocsin_kit::Problem;

/// Kept by nobody: tokens and what admins see do not belong on a disk between us and the caller.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// What is read and has an entity tag may be kept by its reader, who asks each time whether it still holds.
/// An answer to a write may hold a secret that is shown once.
const REVALIDATE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// A path that nothing is served at.
pub(super) async fn unknown_path(uri: Uri) -> Problem {
    Problem::not_found(
        "route_not_found",
        format!(
            "nothing is served at {}; GET /docs shows what is",
            uri.path()
        ),
    )
}

/// A path with another method. The router adds `Allow`, which is all that OPTIONS asks for.
pub(super) async fn unknown_method(method: Method, uri: Uri) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!(
            "{} does not take {method}; the Allow header says what it takes",
            uri.path()
        ),
    )
    .into_response()
}

/// Adds the headers that every answer has.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = next.run(request).await;
    let status = response.status();
    let headers = response.headers_mut();
    if status == StatusCode::UNAUTHORIZED {
        // RFC 9110 wants a 401 to say how to authenticate.
        set(
            headers,
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer"),
        );
    }
    let caching = if is_read && status.is_success() && headers.contains_key(header::ETAG) {
        REVALIDATE
    } else {
        NO_STORE
    };
    set(headers, header::CACHE_CONTROL, caching);
    set(
        headers,
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// Unless the handler knew better.
fn set(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    headers.entry(name).or_insert(value);
}
