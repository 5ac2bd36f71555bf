//! Secrets, for admins and for teams: written here, listed here, read back nowhere.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::error::Category;
use tocsin_kit::Problem;
use tocsin_wire::sealed::{Audience, Zeroizing};
use tocsin_wire::{OrgId, SecretName};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::extract::{self, InPath, InQuery, NodePath};
use super::{Access, App, Caller, Routes, Scope, body};
use crate::node::NodeId;
use crate::pg::{NewSecret, SecretHistoryRow};
use crate::secrets::master::{MasterKeyError, MasterKeys};
use crate::secrets::usage::{self, Use};
use crate::secrets::{SecretFacts, SecretRefusal, check_value};
use crate::token::Permission;

/// Versions that one answer names.
const HISTORY_LIMIT: i64 = 50;
/// An operator adds a key file in about so long.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// The table of this area.
pub(super) fn routes() -> Routes {
    let admin = Access::Admin(Scope::Secrets);
    let (read, write) = (
        Access::Team(Permission::ConfigRead),
        Access::Team(Permission::ConfigWrite),
    );
    Routes::new()
        .add(admin, routes!(list))
        .add(admin, routes!(show))
        .add(admin, routes!(set))
        .add(admin, routes!(delete))
        .add(read, routes!(list_mine))
        .add(read, routes!(show_mine))
        .add(write, routes!(set_mine))
        .add(write, routes!(delete_mine))
        .add(Access::GlobalAdmin(Scope::Secrets), routes!(master_keys))
        .add(Access::GlobalAdmin(Scope::Secrets), routes!(rotate_master))
}

/// `…/nodes/{node}/secrets/{name}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct SecretPath {
    /// The org.
    #[serde(deserialize_with = "extract::org")]
    #[param(value_type = String, example = "acme")]
    org: OrgId,
    /// A node of it: the org itself, a unit or a team.
    #[serde(deserialize_with = "extract::node_id")]
    #[param(value_type = String, example = "payments")]
    node: NodeId,
    /// What references call it: `${secret:name}`.
    #[param(value_type = String, example = "slack-bot-token")]
    name: SecretName,
}

/// `…/secrets/{name}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OwnSecretPath {
    /// What references call it: `${secret:name}`.
    #[param(value_type = String, example = "slack-bot-token")]
    name: SecretName,
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Also those that the node gets from above; of two with one name, the nearest.
    #[serde(default)]
    inherited: bool,
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeleteQuery {
    /// Even when references to it are left without a value.
    #[serde(default)]
    force: bool,
}

/// Text that is wiped from memory and never printed.
struct Value(Zeroizing<String>);

impl std::fmt::Debug for Value {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// A secret's value on its way in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SecretWrite)]
pub(super) struct Write {
    /// 1 to 65,536 bytes. It is never shown again.
    #[schema(value_type = String, write_only, min_length = 1, max_length = 65_536)]
    value: Value,
    /// Who may open it: `ingress`, or `worker.<pool>`. What it has been so far when absent, else
    /// `worker.default`.
    #[serde(default, deserialize_with = "audience")]
    #[schema(value_type = Option<String>, example = "worker.default")]
    audience: Option<Audience>,
    /// The version that the caller has seen; 0 for none.
    #[serde(default)]
    expected_version: Option<u64>,
}

fn audience<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Audience>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(D::Error::custom))
        .transpose()
}

/// A secret without its value.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Secret)]
pub(super) struct View {
    #[schema(value_type = String)]
    org_id: OrgId,
    /// Node that owns it.
    #[schema(value_type = String)]
    node_id: NodeId,
    #[schema(value_type = String)]
    name: SecretName,
    /// How configs refer to it.
    #[schema(example = "${secret:slack-bot-token}")]
    reference: String,
    version: u64,
    /// Who may open it.
    #[schema(value_type = String, example = "worker.default")]
    audience: Audience,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    updated_by: String,
}

impl From<SecretFacts> for View {
    fn from(facts: SecretFacts) -> Self {
        Self {
            reference: format!("${{secret:{}}}", facts.name),
            org_id: facts.org,
            node_id: facts.node,
            name: facts.name,
            version: facts.version,
            audience: facts.audience,
            updated_at: facts.updated_at,
            updated_by: facts.updated_by,
        }
    }
}

/// One version of a secret: who, when, never what.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SecretVersion)]
pub(super) struct Version {
    version: i64,
    /// `set` or `deleted`.
    what: String,
    audience: String,
    #[schema(value_type = String, format = DateTime)]
    changed_at: Timestamp,
    changed_by: String,
}

impl From<SecretHistoryRow> for Version {
    fn from(row: SecretHistoryRow) -> Self {
        Self {
            version: row.version,
            changed_at: row.changed_at(),
            what: row.what,
            audience: row.audience,
            changed_by: row.changed_by,
        }
    }
}

/// A config that refers to a secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SecretUse)]
pub(super) struct UseView {
    /// Whose config.
    #[schema(value_type = String)]
    node_id: NodeId,
    /// Where in it.
    #[schema(example = "integrations.slack.bot_token")]
    path: String,
}

impl From<Use> for UseView {
    fn from(found: Use) -> Self {
        Self {
            node_id: found.node_id,
            path: found.path,
        }
    }
}

/// All that is known of a secret besides its value.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SecretDetails)]
pub(super) struct Details {
    #[serde(flatten)]
    secret: View,
    /// Configs that refer to it; at most 100.
    used_by: Vec<UseView>,
    /// The newest first; at most 50.
    history: Vec<Version>,
}

/// List the secrets of a node
///
/// Names and who set them; values are never shown.
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/nodes/{node}/secrets", operation_id = "secret_list", tag = "secrets",
    params(NodePath, ListQuery), responses((status = 200, description = "By name.", body = Vec<View>)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    InPath(NodePath { org, node }): InPath<NodePath>,
    InQuery(query): InQuery<ListQuery>,
) -> Result<Json<Vec<View>>, Problem> {
    listed(&app, &org, &node, query.inherited).await.map(Json)
}

/// Show one secret
///
/// Its versions and which configs refer to it, never its value.
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/nodes/{node}/secrets/{name}", operation_id = "secret_show", tag = "secrets",
    params(SecretPath), responses((status = 200, description = "Without its value.", body = Details)))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    InPath(SecretPath { org, node, name }): InPath<SecretPath>,
) -> Result<Json<Details>, Problem> {
    shown(&app, &org, &node, &name).await.map(Json)
}

/// Set a secret
///
/// Makes the next version. The value is encrypted at rest and sealed to its audience; nobody reads it back.
#[utoipa::path(put, path = "/api/v1/admin/orgs/{org}/nodes/{node}/secrets/{name}", operation_id = "secret_set", tag = "secrets",
    params(SecretPath), request_body = Write, responses((status = 200, description = "Without its value.", body = View)))]
pub(super) async fn set(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(SecretPath { org, node, name }): InPath<SecretPath>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<View>, Problem> {
    let written = write(&app, &caller, (&org, &node, &name), &headers, &body).await;
    written.map(Json)
}

/// Delete a secret
///
/// Refused with 409 while configs refer to it, unless forced. Versions go on where they stopped.
#[utoipa::path(delete, path = "/api/v1/admin/orgs/{org}/nodes/{node}/secrets/{name}", operation_id = "secret_delete", tag = "secrets",
    params(SecretPath, DeleteQuery), responses((status = 200, description = "What was deleted.", body = View)))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(SecretPath { org, node, name }): InPath<SecretPath>,
    InQuery(query): InQuery<DeleteQuery>,
    headers: HeaderMap,
) -> Result<Json<View>, Problem> {
    let gone = remove(&app, &caller, (&org, &node, &name), query.force, &headers).await;
    gone.map(Json)
}

/// List the secrets that the team can use
///
/// Its own and those of the nodes above it; of two with one name, the nearest.
#[utoipa::path(get, path = "/api/v1/config/me/secrets", operation_id = "my_secret_list", tag = "me",
    responses((status = 200, description = "By name.", body = Vec<View>)))]
pub(super) async fn list_mine(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<Vec<View>>, Problem> {
    let (org, team) = caller.team()?;
    listed(&app, &org, &team, true).await.map(Json)
}

/// Show one secret of the team
///
/// Its versions and which configs refer to it, never its value.
#[utoipa::path(get, path = "/api/v1/config/me/secrets/{name}", operation_id = "my_secret_show", tag = "me",
    params(OwnSecretPath), responses((status = 200, description = "Without its value.", body = Details)))]
pub(super) async fn show_mine(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(OwnSecretPath { name }): InPath<OwnSecretPath>,
) -> Result<Json<Details>, Problem> {
    let (org, team) = caller.team()?;
    shown(&app, &org, &team, &name).await.map(Json)
}

/// Set a secret of the team
///
/// Makes the next version. The value is encrypted at rest and sealed to its audience; nobody reads it back.
#[utoipa::path(put, path = "/api/v1/config/me/secrets/{name}", operation_id = "my_secret_set", tag = "me",
    params(OwnSecretPath), request_body = Write, responses((status = 200, description = "Without its value.", body = View)))]
pub(super) async fn set_mine(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(OwnSecretPath { name }): InPath<OwnSecretPath>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<View>, Problem> {
    let (org, team) = caller.team()?;
    let written = write(&app, &caller, (&org, &team, &name), &headers, &body).await;
    written.map(Json)
}

/// Delete a secret of the team
///
/// Refused with 409 while its config refers to it, unless forced.
#[utoipa::path(delete, path = "/api/v1/config/me/secrets/{name}", operation_id = "my_secret_delete", tag = "me",
    params(OwnSecretPath, DeleteQuery), responses((status = 200, description = "What was deleted.", body = View)))]
pub(super) async fn delete_mine(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(OwnSecretPath { name }): InPath<OwnSecretPath>,
    InQuery(query): InQuery<DeleteQuery>,
    headers: HeaderMap,
) -> Result<Json<View>, Problem> {
    let (org, team) = caller.team()?;
    let gone = remove(&app, &caller, (&org, &team, &name), query.force, &headers).await;
    gone.map(Json)
}

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
pub(super) async fn master_keys(
    State(app): State<Arc<App>>,
) -> Result<Json<MasterKeyView>, Problem> {
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
pub(super) async fn rotate_master(State(app): State<Arc<App>>) -> Result<Json<Rotation>, Problem> {
    let keys = master(&app)?;
    let progress = app.database.rewrap_secrets(&keys).await?;
    Ok(Json(Rotation {
        current: keys.current_id().to_owned(),
        rewrapped: progress.rewrapped,
        remaining: progress.remaining,
        failed: progress.failed,
    }))
}

fn master(app: &App) -> Result<Arc<MasterKeys>, Problem> {
    Ok(app.vault.keys().map_err(SecretRefusal::from)?)
}

async fn listed(
    app: &App,
    org: &OrgId,
    node: &NodeId,
    inherited: bool,
) -> Result<Vec<View>, Problem> {
    let line = app.database.lineage(org, node).await?;
    let ids = if inherited { line.ids() } else { vec![node] };
    let found = app.database.secrets_of(org, &ids).await?;
    let found = usage::nearest(found, &ids);
    Ok(found.into_iter().map(View::from).collect())
}

async fn shown(
    app: &App,
    org: &OrgId,
    node: &NodeId,
    name: &SecretName,
) -> Result<Details, Problem> {
    let facts = app.database.secret(org, node, name).await?;
    let used_by = app.database.secret_uses(org, node, name).await?;
    let history = app
        .database
        .secret_history(org, node, name, HISTORY_LIMIT)
        .await?;
    Ok(Details {
        secret: facts.into(),
        used_by: used_by.into_iter().map(UseView::from).collect(),
        history: history.into_iter().map(Version::from).collect(),
    })
}

async fn write(
    app: &App,
    caller: &Caller,
    (org, node, name): (&OrgId, &NodeId, &SecretName),
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<View, Problem> {
    let request = parse(body)?;
    check_value(&request.value.0)?;
    let keys = master(app)?;
    let new = NewSecret {
        name,
        value: &request.value.0,
        audience: request.audience.as_ref(),
        expected: body::expected_version(headers, request.expected_version)?,
    };
    let author = caller.author(app);
    let set = app.database.set_secret((org, node), &new, &keys, &author);
    Ok(set.await?.into())
}

async fn remove(
    app: &App,
    caller: &Caller,
    (org, node, name): (&OrgId, &NodeId, &SecretName),
    force: bool,
    headers: &HeaderMap,
) -> Result<View, Problem> {
    let expected = body::expected_version(headers, None)?;
    let author = caller.author(app);
    let deleting = app
        .database
        .delete_secret((org, node), name, (expected, force), &author);
    Ok(deleting.await?.into())
}

/// As other bodies, but what was sent is not repeated in the answer: it may be the secret.
fn parse(body: &Bytes) -> Result<Write, Problem> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_body",
            "the body must be {\"value\": text, \"audience\"?: \"ingress\" or \"worker.<pool>\", \
             \"expected_version\"?: number} and nothing else; what was sent is not repeated here",
        ),
        Category::Syntax | Category::Eof | Category::Io => Problem::bad_request(
            "invalid_json",
            "the body is not JSON; what was sent is not repeated here",
        ),
    })
}

impl From<SecretRefusal> for Problem {
    fn from(refusal: SecretRefusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            SecretRefusal::Master(MasterKeyError::Missing) => {
                Self::unavailable("master_key_not_configured", detail, RETRY_AFTER)
            }
            SecretRefusal::Master(error) => {
                tracing::error!(%error, "the master keys cannot be used");
                Self::unavailable("master_key_unusable", detail, RETRY_AFTER)
            }
            SecretRefusal::Random => {
                tracing::error!("the system gives no random bytes");
                Self::internal()
            }
            SecretRefusal::Tampered { .. } => {
                tracing::error!(%detail, "a stored secret does not open");
                Self::conflict("secret_damaged", detail)
            }
            SecretRefusal::Unknown { .. } => Self::not_found("secret_not_found", detail),
            SecretRefusal::Value => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_value", detail)
            }
            SecretRefusal::VersionConflict { actual, .. } => {
                Self::conflict("version_conflict", detail).with("current", actual)
            }
            SecretRefusal::References { bad } => {
                let errors = bad.iter().map(|one| serde_json::json!(one));
                let errors: serde_json::Value = errors.collect();
                Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "invalid_secret_reference",
                    detail,
                )
                .with("errors", errors)
            }
            SecretRefusal::Referenced { used_by, .. } => {
                let used_by = used_by.iter().map(|one| serde_json::json!(one));
                let used_by: serde_json::Value = used_by.collect();
                Self::conflict("secret_in_use", detail).with("used_by", used_by)
            }
            SecretRefusal::TooMany { .. } => Self::conflict("too_many_secrets", detail),
        }
    }
}
