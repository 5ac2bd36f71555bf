//! The HTTP API. Each area has a table of its routes, which says who may call each of them.

mod access;
mod auth;
mod body;
mod extract;
mod internal;
mod me;
mod node_config;
mod nodes;
mod openapi;
mod problem;
mod routes;
mod tokens;

use std::sync::Arc;

use axum::Router;
use axum::middleware::map_response;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use tocsin_kit::{Clock, SecretList};
use utoipa_axum::routes;

use crate::merge::Config;
use crate::pg::Database;

pub(crate) use access::{Access, AccessSettings, Caller, CallerKind, Proof, Scope};
pub(crate) use routes::Routes;

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) database: Database,
    pub(crate) defaults: Config,
    pub(crate) clock: Clock,
    pub(crate) admin_tokens: SecretList,
    pub(crate) peppers: SecretList,
    pub(crate) internal_secrets: SecretList,
    /// Whether admins need `admin:*`.
    pub(crate) require_admin_star: bool,
}

/// The table of all routes: each area has its own.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .add(Access::Public, routes!(health))
        .merge(auth::routes())
        .merge(internal::routes())
        .merge(me::routes())
        .merge(node_config::routes())
        .merge(nodes::routes())
        .merge(tokens::routes())
}

/// Serves them, with their description.
pub(crate) fn router(app: Arc<App>) -> Router {
    let routes = routes();
    let document = openapi::served(&routes.describe());
    routes
        .into_router(&app)
        .with_state(app)
        .route("/openapi.json", document.clone())
        .route("/api/v1/openapi.json", document)
        .layer(map_response(challenge))
}

/// Alive
///
/// Whatever the database does: `/ready` on the metrics listener tells about that.
#[utoipa::path(get, path = "/health", operation_id = "health", tag = "service",
    responses((status = 200, description = "It runs.", body = Object)))]
async fn health() -> axum::Json<serde_json::Value> {
    axum::Json(serde_json::json!({"status": "ok"}))
}

/// RFC 9110 wants a 401 to say how to authenticate.
async fn challenge(mut response: Response) -> Response {
    if response.status() == StatusCode::UNAUTHORIZED {
        let value = HeaderValue::from_static("Bearer");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, value);
    }
    response
}
