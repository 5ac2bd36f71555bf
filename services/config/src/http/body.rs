//! Request bodies and the values in paths and headers.

use axum::body::Bytes;
use http::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tocsin_kit::Problem;
use tocsin_wire::OrgId;

use crate::decide::Refusal;
use crate::depth;
use crate::node::{self, NodeId};

/// A JSON body. Its content type is not asked for: clients of the original API send none.
pub(super) fn json<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    if let Some(path) = depth::too_deep(body) {
        return Err(Problem::new(
            http::StatusCode::UNPROCESSABLE_ENTITY,
            "too_deep",
            format!(
                "{path} goes deeper than {} levels; put less inside each other",
                depth::MAX_NESTING
            ),
        ));
    }
    // Derived readers of structs take a list of their fields for one.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(wrong_shape("it is a list, not an object"));
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => wrong_shape(&error.to_string()),
        Category::Syntax | Category::Eof | Category::Io => {
            Problem::bad_request("invalid_json", format!("the body is not JSON: {error}"))
        }
    })
}

fn wrong_shape(why: &str) -> Problem {
    Problem::new(
        http::StatusCode::UNPROCESSABLE_ENTITY,
        "invalid_body",
        format!("the body does not have the expected shape: {why}"),
    )
}

/// The same, where an empty body, or null, means that nothing is said.
pub(super) fn optional_json<T: DeserializeOwned + Default>(body: &Bytes) -> Result<T, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    Ok(json::<Option<T>>(body)?.unwrap_or_default())
}

pub(super) fn org(text: &str) -> Result<OrgId, Problem> {
    Ok(node::org_id(text).map_err(Refusal::from)?)
}

pub(super) fn node_id(text: &str) -> Result<NodeId, Problem> {
    Ok(node::node_id(text).map_err(Refusal::from)?)
}

/// The version that the caller has seen: `If-Match: "7"` (`*`: any), or the body's.
pub(super) fn expected_version(
    headers: &HeaderMap,
    in_body: Option<u64>,
) -> Result<Option<u64>, Problem> {
    let Some(header) = headers.get(http::header::IF_MATCH) else {
        return Ok(in_body);
    };
    let text = header.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(in_body);
    }
    match text.trim_matches('"').parse() {
        Ok(version) => Ok(Some(version)),
        Err(_) => Err(Problem::bad_request(
            "invalid_if_match",
            "If-Match must be a version as the ETag of a read gave it, such as \"7\", or *",
        )),
    }
}

/// The version as an entity tag.
pub(super) fn etag(version: u64) -> [(http::HeaderName, String); 1] {
    [(http::header::ETAG, format!("\"{version}\""))]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn if_match_is_a_version() {
        for (header, in_body, expected) in [
            (None, None, Some(None)),
            (None, Some(4), Some(Some(4))),
            (Some("\"7\""), None, Some(Some(7))),
            (Some(" 7 "), Some(4), Some(Some(7))),
            (Some("*"), Some(4), Some(Some(4))),
            (Some("W/\"7\""), None, None),
            (Some("\"seven\""), None, None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(text) = header {
                headers.insert(http::header::IF_MATCH, text.parse().expect("header"));
            }
            assert_eq!(
                expected_version(&headers, in_body).ok(),
                expected,
                "{header:?}"
            );
        }
    }

    #[test]
    fn broken_json_is_told_apart_from_a_wrong_shape() {
        let code = |text: &'static str| {
            json::<BTreeMap<String, u8>>(&Bytes::from_static(text.as_bytes()))
                .map_err(|problem| (problem.status.as_u16(), problem.code))
        };
        assert_eq!(code(r#"{"a":1}"#), Ok([("a".to_owned(), 1)].into()));
        assert_eq!(code("{"), Err((400, "invalid_json".into())));
        assert_eq!(code(r#"{"a":"x"}"#), Err((422, "invalid_body".into())));
        assert_eq!(code(" [1]"), Err((422, "invalid_body".into())));
        assert_eq!(code(""), Err((400, "invalid_json".into())));
    }
}
