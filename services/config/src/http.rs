//! The HTTP API. Each area has a table of its routes, which says who may call each of them.

mod access;
mod admin_tokens;
mod approvals;
mod auth;
mod body;
mod catalogue;
mod docs;
mod edges;
mod extract;
mod impersonation;
mod integrations;
mod internal;
mod me;
mod node_config;
mod nodes;
mod openapi;
mod own_tokens;
mod policy;
mod policy_problem;
mod problem;
mod remediations;
mod routes;
mod secrets;
mod settings;
mod sso;
mod templates;
mod token_audit;
mod tokens;
mod tokens_of_org;
mod validation;

use std::sync::Arc;

use axum::middleware::from_fn;
use axum::{Extension, Router};
use tocsin_kit::{Clock, HttpClient, SecretList};
use utoipa_axum::routes;

use crate::cache::Cache;
use crate::identity::Identity;
use crate::merge::Config;
use crate::pg::Database;
use crate::secrets::master::Vault;
use crate::shipped::Shipped;

pub(crate) use access::{Access, AccessSettings, Caller, CallerKind, Proof, Scope};
pub(crate) use routes::Routes;

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) database: Database,
    pub(crate) defaults: Config,
    pub(crate) cache: Cache,
    pub(crate) clock: Clock,
    pub(crate) admin_tokens: SecretList,
    pub(crate) peppers: SecretList,
    pub(crate) internal_secrets: SecretList,
    /// Where master keys come from.
    pub(crate) vault: Vault,
    /// Whether admins need `admin:*`.
    pub(crate) require_admin_star: bool,
    pub(crate) shipped: Shipped,
    /// For addresses that tenants name: guarded.
    pub(crate) http: HttpClient,
    pub(crate) identity: Identity,
}

/// The table of all routes: each area has its own.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .add(Access::Public, routes!(health))
        .merge(approvals::routes())
        .merge(docs::routes())
        .merge(auth::routes())
        .merge(catalogue::routes())
        .merge(integrations::routes())
        .merge(internal::routes())
        .merge(me::routes())
        .merge(node_config::routes())
        .merge(nodes::routes())
        .merge(policy::routes())
        .merge(settings::routes())
        .merge(remediations::routes())
        .merge(templates::routes())
        .merge(secrets::routes())
        .merge(tokens::routes())
        .merge(own_tokens::routes())
        .merge(impersonation::routes())
        .merge(tokens_of_org::routes())
        .merge(token_audit::routes())
        .merge(admin_tokens::routes())
        .merge(sso::routes())
        .merge(validation::routes())
}

/// Serves them, with their description.
pub(crate) fn router(app: Arc<App>) -> Router {
    routes()
        .into_router(&app)
        .with_state(app)
        .layer(Extension(Arc::new(docs::Description::default())))
        .fallback(edges::unknown_path)
        .method_not_allowed_fallback(edges::unknown_method)
        .layer(from_fn(edges::finish))
}

/// Alive
///
/// Whatever the database does: `/ready` on the metrics listener tells about that.
#[utoipa::path(get, path = "/health", operation_id = "health", tag = "service",
    responses((status = 200, description = "It runs.", body = Object)))]
async fn health() -> axum::Json<serde_json::Value> {
    axum::Json(serde_json::json!({"status": "ok"}))
}
