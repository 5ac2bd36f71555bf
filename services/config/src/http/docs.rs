//! The description as a page for people: rendered here, from the same document that machines get.
//! It fetches nothing from elsewhere, so it works without a network, and its policy says so.

#[expect(
    clippy::indexing_slicing,
    reason = "only JSON values are indexed, and what they lack reads as null"
)]
mod page;
#[expect(
    clippy::indexing_slicing,
    reason = "only JSON values are indexed, and what they lack reads as null"
)]
mod shape;

use std::sync::{Arc, OnceLock};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use tocsin_kit::Problem;

use super::{Access, Routes};
use crate::http::routes::route;

const STYLE: &str = include_str!("docs/style.css");
const SCRIPT: &str = include_str!("docs/script.js");

/// Nothing but what this server serves, and no frame around it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// It changes with the program only; a reader asks after each start.
const CACHING: HeaderValue = HeaderValue::from_static("no-cache");

/// The table of this area.
pub(super) fn routes() -> Routes {
    Routes::new()
        .add(Access::Public, route!(document))
        .add(Access::Public, route!(versioned_document))
        .add(Access::Public, route!(read_page))
        .add(Access::Public, route!(asset))
}

/// Document and page, rendered when somebody first asks: a description of this size takes more memory
/// to make than the rest of the service needs to run.
#[derive(Debug, Default)]
pub(super) struct Description(OnceLock<Rendered>);

#[derive(Debug)]
struct Rendered {
    document: Bytes,
    page: Bytes,
}

impl Description {
    fn rendered(&self) -> Result<&Rendered, Problem> {
        if let Some(rendered) = self.0.get() {
            return Ok(rendered);
        }
        let document = serde_json::to_value(super::routes().describe()).map_err(|error| {
            tracing::error!(%error, "the description of the API cannot be written as JSON");
            Problem::internal()
        })?;
        Ok(self.0.get_or_init(|| Rendered {
            page: page::render(&document).into(),
            document: document.to_string().into(),
        }))
    }
}

/// This description
///
/// OpenAPI 3.1. `x-access` of an operation says who may call it.
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "service",
    responses((status = 200, description = "An OpenAPI document.", body = Object)))]
async fn document(
    Extension(description): Extension<Arc<Description>>,
) -> Result<Response, Problem> {
    let rendered = description.rendered()?;
    Ok(answer("application/json", rendered.document.clone()))
}

/// This description, beside what it describes
#[utoipa::path(get, path = "/api/v1/openapi.json", operation_id = "openapi_v1", tag = "service",
    responses((status = 200, description = "An OpenAPI document.", body = Object)))]
async fn versioned_document(description: Extension<Arc<Description>>) -> Result<Response, Problem> {
    document(description).await
}

/// This description, to read
#[utoipa::path(get, path = "/docs", operation_id = "docs", tag = "service",
    responses((status = 200, description = "A page.", body = String, content_type = "text/html")))]
async fn read_page(
    Extension(description): Extension<Arc<Description>>,
) -> Result<Response, Problem> {
    let rendered = description.rendered()?;
    Ok(answer("text/html; charset=utf-8", rendered.page.clone()))
}

/// Style and script of the page
#[utoipa::path(get, path = "/docs/{asset}", operation_id = "docs_asset", tag = "service",
    params(("asset" = String, Path, description = "`style.css` or `script.js`", example = "style.css")),
    responses(
        (status = 200, description = "A file of the page.", content(
            (String = "text/css"), (String = "text/javascript")))))]
async fn asset(Path(asset): Path<String>) -> Result<Response, Problem> {
    match asset.as_str() {
        "style.css" => Ok(answer("text/css; charset=utf-8", STYLE)),
        "script.js" => Ok(answer("text/javascript; charset=utf-8", SCRIPT)),
        _ => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "route_not_found",
            "the page has only style.css and script.js",
        )),
    }
}

fn answer(kind: &'static str, body: impl IntoResponse) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, CACHING),
    ];
    (headers, body).into_response()
}
