//! What other services ask over HTTP.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use tocsin_kit::Problem;

use super::App;
use super::auth::InternalCaller;
use super::body;
use crate::lookup::{self, Question, Reply};

/// `POST /api/v1/internal/routing/lookup`
pub(super) async fn lookup(
    State(app): State<Arc<App>>,
    _: InternalCaller,
    body: Bytes,
) -> Result<Json<Reply>, Problem> {
    let question: Question = body::json(&body)?;
    Ok(Json(lookup::answer(&app.database, &question).await?))
}
