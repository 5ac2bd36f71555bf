//! What other services ask over HTTP.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use tocsin_kit::Problem;

use super::{Access, App, Routes, body};
use crate::http::routes::route;
use crate::lookup::{self, Question, Reply};

/// The table of this area.
pub(super) fn routes() -> Routes {
    Routes::new().add(Access::Internal, route!(lookup))
}

/// Which team do these identifiers lead to
#[utoipa::path(post, path = "/api/v1/internal/routing/lookup", operation_id = "routing_lookup",
    tag = "internal", request_body = Question,
    responses((status = 200, description = "The team, or what was tried.", body = Reply)))]
pub(super) async fn lookup(
    State(app): State<Arc<App>>,
    body: Bytes,
) -> Result<Json<Reply>, Problem> {
    let question: Question = body::json(&body)?;
    Ok(Json(lookup::answer(&app.database, &question).await?))
}
