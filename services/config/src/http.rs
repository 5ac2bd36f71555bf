//! The HTTP API. Each route says by its caller extractor who may use it.

mod auth;
mod body;
mod internal;
mod me;
mod node_config;
mod nodes;
mod problem;
mod tokens;

use std::sync::Arc;

use axum::Router;
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{delete, get, post};
use http::{HeaderValue, StatusCode, header};
use tocsin_kit::{Clock, SecretList};

use crate::merge::Config;
use crate::pg::Database;

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) database: Database,
    pub(crate) defaults: Config,
    pub(crate) clock: Clock,
    pub(crate) admin_tokens: SecretList,
    pub(crate) peppers: SecretList,
    pub(crate) internal_secrets: SecretList,
}

/// Every route.
pub(crate) fn router(app: Arc<App>) -> Router {
    let admin = Router::new()
        .route("/orgs", post(nodes::create_org))
        .route("/orgs/{org}/nodes", post(nodes::create).get(nodes::list))
        .route("/orgs/{org}/nodes/{node}", get(nodes::read))
        .route(
            "/orgs/{org}/nodes/{node}/config",
            get(node_config::own).put(node_config::patch),
        )
        .route("/orgs/{org}/nodes/{node}/raw", get(node_config::raw))
        .route(
            "/orgs/{org}/nodes/{node}/effective",
            get(node_config::effective),
        )
        .route("/orgs/{org}/nodes/{node}/audit", get(node_config::history))
        .route(
            "/orgs/{org}/teams/{team}",
            post(nodes::create_team).delete(nodes::delete_team),
        )
        .route(
            "/orgs/{org}/teams/{team}/tokens",
            post(tokens::issue).get(tokens::list),
        )
        .route(
            "/orgs/{org}/teams/{team}/tokens/{token}",
            delete(tokens::revoke),
        )
        .route(
            "/orgs/{org}/teams/{team}/tokens/{token}/revoke",
            post(tokens::revoke),
        );
    Router::new()
        .nest("/api/v1/admin", admin)
        .route("/api/v1/auth/me", get(auth::me))
        .route("/api/v1/config/me", get(me::effective).patch(me::patch))
        .route("/api/v1/config/me/effective", get(me::effective))
        .route("/api/v1/internal/routing/lookup", post(internal::lookup))
        .route("/health", get(health))
        .layer(map_response(challenge))
        .with_state(app)
}

/// Alive, whatever the database does: `/ready` on the metrics listener tells about that.
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
