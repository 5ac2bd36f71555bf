//! A team's own config, for the holder of its token.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::{Json, response::IntoResponse};
use http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tocsin_kit::Problem;

use super::App;
use super::auth::TeamCaller;
use super::{body, node_config};
use crate::merge::Config;
use crate::node::Kind;
use crate::pg::PatchRequest;
use crate::token::Permission;

/// What holds for the team.
#[derive(Debug, Serialize)]
pub(super) struct Effective {
    node_id: String,
    effective_config: Config,
    computed_at: Timestamp,
    hierarchy: Vec<String>,
}

/// `GET /api/v1/config/me` and `/config/me/effective`
pub(super) async fn effective(
    State(app): State<Arc<App>>,
    caller: TeamCaller,
) -> Result<Json<Effective>, Problem> {
    caller.needs(Permission::ConfigRead)?;
    let line = app.database.lineage(caller.org(), caller.team()).await?;
    Ok(Json(Effective {
        node_id: caller.team().to_string(),
        effective_config: line.effective(&app.defaults),
        computed_at: app.clock.now(),
        hierarchy: line.ids().iter().map(ToString::to_string).collect(),
    }))
}

/// Other keys (`merge`) are what clients of the original send along.
#[derive(Debug, Deserialize)]
pub(super) struct Patch {
    config: Config,
    reason: Option<String>,
    expected_version: Option<u64>,
}

/// The team's own config after a write.
#[derive(Debug, Serialize)]
pub(super) struct Written {
    node_id: String,
    node_type: Kind,
    config: Config,
    version: u64,
    updated_at: Timestamp,
    updated_by: String,
}

/// `PATCH /api/v1/config/me {"config": {…}, reason?, expected_version?}`
pub(super) async fn patch(
    State(app): State<Arc<App>>,
    caller: TeamCaller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, Problem> {
    caller.needs(Permission::ConfigWrite)?;
    let request: Patch = body::json(&body)?;
    let request = PatchRequest {
        patch: request.config,
        expected: body::expected_version(&headers, request.expected_version)?,
        reason: node_config::reason(request.reason)?,
    };
    let node = app
        .database
        .patch(caller.org(), caller.team(), &request, &caller.author(&app))
        .await?;
    let written = Written {
        node_id: node.id.to_string(),
        node_type: node.kind,
        config: node.config,
        version: node.version,
        updated_at: node.updated_at,
        updated_by: node.updated_by,
    };
    Ok((body::etag(node.version), Json(written)))
}
