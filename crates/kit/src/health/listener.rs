//! `/health`, `/ready` and `/metrics`, on a listener of their own: they answer when the service's is
//! full, and need not be reachable from outside.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tokio::net::TcpListener;

use super::{CheckState, Health, Snapshot};
use crate::{
    Context, Stop,
    http_server::{self, Limits, ServeError},
    telemetry::MetricsHandle,
};

const TEXT_FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");
/// Name of the check that fails while the process stops.
const STOPPING: &str = "stopping";

/// What is served.
struct Served {
    service: &'static str,
    health: Health,
    stop: Stop,
    metrics: MetricsHandle,
}

#[derive(Serialize)]
struct Alive {
    status: &'static str,
    service: &'static str,
    version: &'static str,
}

/// Serves until `until`'s soft stop, which should come after that of `context`: a process that
/// drains is alive and not ready.
///
/// * `GET /health`: 200 `{status: "ok", service, version}` while the process handles requests at all.
/// * `GET /ready`: 200 or 503 `{ready, checks: {name: {ready, reason?}}}`.
/// * `GET /metrics`: Prometheus' text format.
///
/// # Errors
/// When the listener has no address.
pub async fn serve(
    listener: TcpListener,
    context: Context,
    metrics: MetricsHandle,
    until: Stop,
) -> Result<(), ServeError> {
    let served = Served {
        service: context.service,
        health: context.health.clone(),
        stop: context.stop.clone(),
        metrics,
    };
    // The context of the listener itself: it outlives the service's, and has its own label so that
    // probes do not mix with the service's requests.
    let own = Context {
        stop: until,
        service: "health",
        ..context
    };
    http_server::serve(listener, router(served), Limits::default(), &own).await
}

fn router(served: Served) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(served))
}

async fn health(State(served): State<Arc<Served>>) -> impl IntoResponse {
    Json(Alive {
        status: "ok",
        service: served.service,
        version: crate::VERSION,
    })
}

async fn ready(State(served): State<Arc<Served>>) -> Response {
    let snapshot = readiness(served.health.snapshot(), served.stop.is_soft());
    let status = if snapshot.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(snapshot)).into_response()
}

fn readiness(mut snapshot: Snapshot, stopping: bool) -> Snapshot {
    if stopping {
        snapshot.ready = false;
        let reason = Some("the process was asked to stop".to_owned());
        let state = CheckState {
            ready: false,
            reason,
            optional: false,
        };
        snapshot.checks.insert(STOPPING.to_owned(), state);
    }
    snapshot
}

async fn metrics(State(served): State<Arc<Served>>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, TEXT_FORMAT)],
        served.metrics.render(),
    )
}
