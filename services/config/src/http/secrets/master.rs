//! Master keys: what lies under which, and moving it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tocsin_kit::Problem;
use utoipa::ToSchema;

use super::super::App;
use super::master_keys;
use crate::secrets::SecretRefusal;
use crate::secrets::master::MasterKeyError;

/// What lies under which master key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MasterKeys)]
pub(super) struct MasterKeyView {
    /// Under which new values are stored; absent when the server has no master key.
    current: Option<String>,
    keys: Vec<MasterKeyUse>,
}

/// One master key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MasterKeyUse)]
pub(super) struct MasterKeyUse {
    id: String,
    /// Secrets under it.
    secrets: i64,
    /// Whether the server has it; what lies under a key that it has not cannot be used.
    available: bool,
}

/// What lies under which master key
///
/// A key with no secrets that is not the current one can be removed from MASTER_KEY_FILE.
#[utoipa::path(get, path = "/api/v1/admin/secrets/master-keys", operation_id = "master_keys", tag = "secrets",
    responses((status = 200, description = "Ids and counts, never a key.", body = MasterKeyView)))]
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<MasterKeyView>, Problem> {
    let keys = match app.vault.keys() {
        Ok(keys) => Some(keys),
        Err(MasterKeyError::Missing) => None,
        Err(error) => return Err(SecretRefusal::from(error).into()),
    };
    let used = app.database.secrets_by_master_key().await?;
    let known: Vec<&str> = keys.iter().flat_map(|keys| keys.ids()).collect();
    let count = |id: &str| {
        used.iter()
            .find(|(used, _)| used == id)
            .map(|(_, count)| *count)
    };
    let held = known.iter().map(|id| MasterKeyUse {
        id: (*id).to_owned(),
        secrets: count(id).unwrap_or_default(),
        available: true,
    });
    let lost = used.iter().filter(|(id, _)| !known.contains(&id.as_str()));
    let lost = lost.map(|(id, secrets)| MasterKeyUse {
        id: id.clone(),
        secrets: *secrets,
        available: false,
    });
    Ok(Json(MasterKeyView {
        current: keys.as_deref().map(|keys| keys.current_id().to_owned()),
        keys: held.chain(lost).collect(),
    }))
}

/// How far a rotation is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MasterKeyRotation)]
pub(super) struct Rotation {
    /// The key under which everything is to be.
    current: String,
    /// Wrapped anew by this call.
    rewrapped: u64,
    /// Still under other keys; call again until it is 0.
    remaining: u64,
    /// Secrets that cannot be wrapped anew, and why; at most 100.
    failed: Vec<String>,
}

/// Move a batch of secrets under the current master key
///
/// Call it until nothing is left. It may be interrupted anywhere, and secrets stay usable throughout.
#[utoipa::path(post, path = "/api/v1/admin/secrets/rotate-master", operation_id = "master_key_rotate", tag = "secrets",
    responses((status = 200, description = "How far it is.", body = Rotation)))]
pub(super) async fn rotate(State(app): State<Arc<App>>) -> Result<Json<Rotation>, Problem> {
    let keys = master_keys(&app)?;
    let progress = app.database.rewrap_secrets(&keys).await?;
    let (moved, left, broken) = app.database.rewrap_client_secrets(&keys).await?;
    Ok(Json(Rotation {
        current: keys.current_id().to_owned(),
        rewrapped: progress.rewrapped + moved,
        remaining: progress.remaining + left,
        failed: progress.failed.into_iter().chain(broken).collect(),
    }))
}
