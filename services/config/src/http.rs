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
mod sources;
mod sso;
mod templates;
mod token_audit;
mod tokens;
mod tokens_of_org;
mod validation;

use std::sync::Arc;

use axum::middleware::from_fn;
use axum::{Extension, Router};
use tocsin_kit::{Clock, HttpClient, Problem, SecretList};

use crate::cache::Cache;
use crate::identity::Identity;
use crate::ingress::Ingress;
use crate::merge::Config;
use crate::pg::Database;
use crate::secrets::master::Vault;
use crate::shipped::{OnceShipped, Shipped};
use routes::route;

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
    /// Who knows how sources do.
    pub(crate) ingress: Ingress,
    /// Whether admins need `admin:*`.
    pub(crate) require_admin_star: bool,
    pub(crate) shipped: OnceShipped,
    /// For addresses that tenants name: guarded.
    pub(crate) http: HttpClient,
    pub(crate) identity: Identity,
}

impl App {
    /// What this release brings as data.
    pub(in crate::http) fn shipped(&self) -> Result<&Shipped, Problem> {
        let shipped = self.shipped.get(self.database.standards());
        shipped.map_err(|error| {
            tracing::error!(%error, "a data file in this program is no JSON");
            Problem::internal()
        })
    }
}

/// One area of the API.
type Area = fn() -> Routes;

/// Each area has a table of its routes.
const AREAS: [Area; 24] = [
    service_routes,
    approvals::routes,
    docs::routes,
    auth::routes,
    catalogue::routes,
    integrations::routes,
    internal::routes,
    me::routes,
    node_config::routes,
    nodes::routes,
    policy::routes,
    settings::routes,
    remediations::routes,
    templates::routes,
    secrets::routes,
    sources::routes,
    tokens::routes,
    own_tokens::routes,
    impersonation::routes,
    tokens_of_org::routes,
    token_audit::routes,
    admin_tokens::routes,
    sso::routes,
    validation::routes,
];

fn service_routes() -> Routes {
    Routes::new().add(Access::Public, route!(health))
}

/// The table of all routes.
pub(crate) fn routes() -> Routes {
    AREAS
        .iter()
        .fold(Routes::new(), |all, area| all.merge(area()))
}

/// Serves them, with their description.
pub(crate) fn router(app: Arc<App>) -> Router {
    // One area after another: what a table takes while it is made is free again for the next.
    AREAS
        .iter()
        .fold(Router::new(), |router, area| {
            router.merge(area().into_router(&app))
        })
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
