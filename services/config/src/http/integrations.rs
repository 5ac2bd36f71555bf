//! Integrations: what there is, what a node has set up, and whether it works.

mod health;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tocsin_kit::{ErrorChain, Problem};
use tocsin_wire::sealed::{Audience, Zeroizing};
use tocsin_wire::{OrgId, SecretName};
use utoipa::ToSchema;

use super::approvals::{PendingApproval, Unwritten};
use super::extract::{Id, InPath, InQuery, OrgPath};
use super::{Access, App, Caller, Routes, Scope, body, node_config};
use crate::decide::{Action, WriteRequest};
use crate::http::routes::route;
use crate::integrations::{self, FieldType, Integration, InvalidValue, Level, Opened, Verdict};
use crate::merge::{Config, INHERIT};
use crate::node::{Lineage, NodeId};
use crate::pg::{NewSecret, TestResult};
use crate::secrets;
use crate::secrets::usage;
use crate::token::Permission;

/// The table of this area.
pub(super) fn routes() -> Routes {
    let access = Access::Admin(Scope::Integrations);
    Routes::new()
        .add(Access::Public, route!(schemas))
        .add(Access::Public, route!(schema))
        .add(access, route!(list))
        .add(access, route!(set_all))
        .add(access, route!(read))
        .add(access, route!(set))
        .add(access, route!(test))
        .add(
            Access::Team(Permission::ConfigRead),
            route!(health::my_health),
        )
}

/// All integrations.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IntegrationSchemas)]
struct Schemas {
    integrations: Vec<Integration>,
    total: usize,
}

/// What can be connected, and what each needs
#[utoipa::path(get, path = "/api/v1/integrations/schemas", operation_id = "integration_schemas", tag = "integrations",
    responses((status = 200, description = "By id.", body = Schemas)))]
async fn schemas(State(app): State<Arc<App>>) -> Result<Json<Schemas>, Problem> {
    let integrations: Vec<Integration> = app.shipped()?.integrations.values().cloned().collect();
    Ok(Json(Schemas {
        total: integrations.len(),
        integrations,
    }))
}

/// `…/integrations/schemas/{integration}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
struct SchemaPath {
    /// Its id.
    #[param(example = "slack")]
    integration: String,
}

/// What one integration needs
#[utoipa::path(get, path = "/api/v1/integrations/schemas/{integration}", operation_id = "integration_schema", tag = "integrations",
    params(SchemaPath),
    responses((status = 200, description = "Its fields.", body = Integration)))]
async fn schema(
    State(app): State<Arc<App>>,
    InPath(SchemaPath { integration }): InPath<SchemaPath>,
) -> Result<Json<Integration>, Problem> {
    known(&app, &integration).map(|known| Json(known.clone()))
}

fn known<'a>(app: &'a App, id: &str) -> Result<&'a Integration, Problem> {
    app.shipped()?.integrations.get(id).ok_or_else(|| {
        Problem::not_found(
            "integration_not_found",
            format!("there is no integration {id:?}; GET /api/v1/integrations/schemas lists those there are"),
        )
    })
}

/// `…/orgs/{org}/integrations/{integration}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
struct IntegrationPath {
    /// The org.
    #[serde(deserialize_with = "super::extract::org")]
    #[param(value_type = Id, example = "acme")]
    org: OrgId,
    /// Its id.
    #[param(example = "slack")]
    integration: String,
}

/// At which node.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct AtNode {
    /// The org itself unless another node of it is named.
    #[param(value_type = Option<Id>, example = "payments")]
    node_id: Option<String>,
}

impl AtNode {
    fn of(&self, org: &OrgId) -> Result<NodeId, Problem> {
        body::node_id(self.node_id.as_deref().unwrap_or(org.as_str()))
    }
}

/// The last live test.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IntegrationTest)]
struct LastTest {
    success: bool,
    message: String,
    #[schema(value_type = String, format = DateTime)]
    tested_at: Timestamp,
    tested_by: String,
}

/// An integration at a node. Secrets show as `${secret:name}`, or as `***` where one stands in clear.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Integration)]
struct View {
    id: String,
    name: String,
    category: String,
    level: Level,
    /// Something is set, and nothing that is required is missing.
    configured: bool,
    /// Required fields without a value.
    missing: Vec<String>,
    /// What holds at the node.
    #[schema(value_type = Object)]
    config: Config,
    /// What the node sets itself.
    #[schema(value_type = Object)]
    own: Config,
    /// `null`: never tested here.
    last_test: Option<LastTest>,
}

fn view(
    integration: &Integration,
    (effective, own): (&Config, &Config),
    tests: &BTreeMap<String, TestResult>,
) -> View {
    let values = integrations::values(effective, &integration.id);
    let missing = integration.missing(&values);
    let last_test = tests.get(&integration.id).map(|test| LastTest {
        success: test.success,
        message: test.message.clone(),
        tested_at: test.tested_at.to_jiff(),
        tested_by: test.tested_by.clone(),
    });
    View {
        id: integration.id.clone(),
        name: integration.name.clone(),
        category: integration.category.clone(),
        level: integration.level,
        configured: !values.is_empty() && missing.is_empty(),
        missing: missing.into_iter().map(str::to_owned).collect(),
        config: integration.shown(&values),
        own: integration.shown(&integrations::values(own, &integration.id)),
        last_test,
    }
}

/// Integrations at a node.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Integrations)]
struct List {
    integrations: Vec<View>,
    total: usize,
}

async fn views(app: &App, org: &OrgId, node: &NodeId) -> Result<Vec<View>, Problem> {
    let line = app.database.lineage(org, node).await?;
    let effective = line.effective(&app.defaults);
    let own = line
        .node()
        .map(|node| node.config.clone())
        .unwrap_or_default();
    let tests = app.database.integration_tests(org, node).await?;
    let tests = tests
        .into_iter()
        .map(|test| (test.integration.clone(), test))
        .collect();
    let all = app.shipped()?.integrations.values();
    Ok(all
        .map(|one| view(one, (&effective, &own), &tests))
        .collect())
}

async fn one_view(
    app: &App,
    (org, node): (&OrgId, &NodeId),
    integration: &str,
) -> Result<Json<View>, Problem> {
    let views = views(app, org, node).await?;
    let found = views.into_iter().find(|view| view.id == integration);
    found.map(Json).ok_or_else(Problem::internal)
}

/// What is connected
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/integrations", operation_id = "integration_list", tag = "integrations",
    params(OrgPath, AtNode),
    responses((status = 200, description = "All integrations, set up or not.", body = List)))]
async fn list(
    State(app): State<Arc<App>>,
    InPath(OrgPath { org }): InPath<OrgPath>,
    InQuery(at): InQuery<AtNode>,
) -> Result<Json<List>, Problem> {
    let integrations = views(&app, &org, &at.of(&org)?).await?;
    Ok(Json(List {
        total: integrations.len(),
        integrations,
    }))
}

/// One integration
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/integrations/{integration}", operation_id = "integration_read", tag = "integrations",
    params(IntegrationPath, AtNode),
    responses((status = 200, description = "Without its secrets.", body = View)))]
async fn read(
    State(app): State<Arc<App>>,
    InPath(IntegrationPath { org, integration }): InPath<IntegrationPath>,
    InQuery(at): InQuery<AtNode>,
) -> Result<Json<View>, Problem> {
    known(&app, &integration)?;
    one_view(&app, (&org, &at.of(&org)?), &integration).await
}

/// An integration, or that somebody else has to approve the change first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum IntegrationOrPending {
    /// It is set.
    Set(Box<View>),
    /// It waits.
    #[expect(dead_code, reason = "described here, answered by `Unwritten`")]
    Pending(PendingApproval),
}

/// Integrations, or that somebody else has to approve the change first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum IntegrationsOrPending {
    /// They are set.
    Set(List),
    /// It waits.
    #[expect(dead_code, reason = "described here, answered by `Unwritten`")]
    Pending(PendingApproval),
}

/// Values of an integration.
#[derive(Deserialize, ToSchema)]
#[schema(as = IntegrationValues)]
struct Values {
    /// By field. A secret goes into the store and leaves a reference here; `***` leaves a value as it
    /// is, `null` takes it away.
    #[schema(value_type = Object)]
    config: Config,
}

/// Connect something
#[utoipa::path(put, path = "/api/v1/admin/orgs/{org}/integrations/{integration}", operation_id = "integration_set", tag = "integrations",
    params(IntegrationPath, AtNode), request_body = Values,
    responses((status = 200, description = "As it is now.", body = IntegrationOrPending)))]
async fn set(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(IntegrationPath { org, integration }): InPath<IntegrationPath>,
    InQuery(at): InQuery<AtNode>,
    body: Bytes,
) -> Result<Json<IntegrationOrPending>, Unwritten> {
    let node = at.of(&org)?;
    known(&app, &integration)?;
    let values: Values = body::json(&body)?;
    let wanted = [(integration.clone(), values.config)].into_iter().collect();
    write(&app, &caller, (&org, &node), wanted).await?;
    let Json(view) = one_view(&app, (&org, &node), &integration).await?;
    Ok(Json(IntegrationOrPending::Set(Box::new(view))))
}

/// Values of several integrations.
#[derive(Deserialize, ToSchema)]
#[schema(as = IntegrationsValues)]
struct AllValues {
    /// By id, then by field; as for one.
    #[schema(value_type = BTreeMap<String, Object>)]
    integrations: BTreeMap<String, Config>,
}

/// Connect several at once
#[utoipa::path(put, path = "/api/v1/admin/orgs/{org}/integrations", operation_id = "integration_set_all", tag = "integrations",
    params(OrgPath, AtNode), request_body = AllValues,
    responses((status = 200, description = "All integrations as they are now.", body = IntegrationsOrPending)))]
async fn set_all(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(OrgPath { org }): InPath<OrgPath>,
    InQuery(at): InQuery<AtNode>,
    body: Bytes,
) -> Result<Json<IntegrationsOrPending>, Unwritten> {
    let node = at.of(&org)?;
    let values: AllValues = body::json(&body)?;
    write(&app, &caller, (&org, &node), values.integrations).await?;
    let integrations = views(&app, &org, &node).await?;
    Ok(Json(IntegrationsOrPending::Set(List {
        total: integrations.len(),
        integrations,
    })))
}

fn invalid(error: &InvalidValue) -> Problem {
    let path = error.path().to_owned();
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid_integration",
        error.to_string(),
    )
    .with(
        "errors",
        json!([{"path": path, "message": error.to_string()}]),
    )
}

/// Secrets first, so that the config never refers to what is not there.
async fn write(
    app: &App,
    caller: &Caller,
    (org, node): (&OrgId, &NodeId),
    wanted: BTreeMap<String, Config>,
) -> Result<(), Unwritten> {
    for (id, values) in &wanted {
        let mut set = values.clone();
        set.retain(|_, value| value.as_str() != Some(integrations::SET));
        known(app, id)?
            .check(&set)
            .map_err(|error| invalid(&error))?;
    }
    app.database.node(org, node).await?;
    let mut patch = Config::new();
    for (id, values) in wanted {
        let integration = known(app, &id)?;
        let mut changed = Config::new();
        for (name, value) in values {
            let value = match &value {
                Value::Null => Value::String(INHERIT.to_owned()),
                Value::String(text) if text == integrations::SET => continue,
                value if is_clear_secret(integration, &name, value) => {
                    let text = Zeroizing::new(value.as_str().unwrap_or_default().to_owned());
                    store(app, caller, (org, node), (integration, &name), &text).await?
                }
                _ => value,
            };
            changed.insert(name, value);
        }
        patch.insert(id, Value::Object(changed));
    }
    let patch = [("integrations".to_owned(), Value::Object(patch))]
        .into_iter()
        .collect();
    let request = WriteRequest::new(node.clone(), Action::Patch(patch));
    let outcome = app
        .database
        .write(org, &request, &caller.author(app))
        .await?;
    node_config::applied(outcome).map(drop)
}

fn is_clear_secret(integration: &Integration, field: &str, value: &Value) -> bool {
    let is_secret = integration
        .field(field)
        .is_some_and(|field| field.r#type == FieldType::Secret);
    is_secret && integrations::reference(value).is_none()
}

/// Puts a secret into the store; what stands in the config is a reference to it.
async fn store(
    app: &App,
    caller: &Caller,
    (org, node): (&OrgId, &NodeId),
    (integration, field): (&Integration, &str),
    value: &Zeroizing<String>,
) -> Result<Value, Problem> {
    let keys = app.vault.keys().map_err(|error| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "master_key_not_configured",
            format!("secrets cannot be stored here, and are not kept in clear: {error}"),
        )
    })?;
    let name = format!("{}-{}", integration.id, field).replace('_', "-");
    let name = SecretName::new(name).map_err(|_| Problem::internal())?;
    let audience = integration
        .field(field)
        .and_then(|field| field.audience.as_deref());
    let audience: Option<Audience> = audience.and_then(|text| text.parse().ok());
    let new = NewSecret {
        name: &name,
        value,
        audience: audience.as_ref(),
        expected: None,
    };
    let author = caller.author(app);
    app.database
        .set_secret((org, node), &new, &keys, &author)
        .await?;
    Ok(Value::String(format!("${{secret:{name}}}")))
}

/// What a live test says.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IntegrationTestResult)]
struct Tested {
    success: bool,
    message: String,
    /// What the vendor told: who the credentials belong to.
    #[schema(value_type = Object)]
    details: Config,
}

/// Try whether it works
///
/// One cheap call to the vendor with what holds at the node. A failure is an answer, not an error.
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/integrations/{integration}/test", operation_id = "integration_test", tag = "integrations",
    params(IntegrationPath, AtNode),
    responses((status = 200, description = "Whether it works, and why not.", body = Tested)))]
async fn test(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(IntegrationPath { org, integration }): InPath<IntegrationPath>,
    InQuery(at): InQuery<AtNode>,
) -> Result<Json<Tested>, Problem> {
    let node = at.of(&org)?;
    let integration = known(&app, &integration)?;
    let line = app.database.lineage(&org, &node).await?;
    let verdict = tried(&app, integration, &line, &org).await?;
    let author = caller.author(&app);
    let said = (verdict.success, verdict.message.as_str());
    app.database
        .note_integration_test((&org, &node), &integration.id, said, &author)
        .await?;
    Ok(Json(Tested {
        success: verdict.success,
        message: verdict.message,
        details: verdict.details,
    }))
}

async fn tried(
    app: &App,
    integration: &Integration,
    line: &Lineage,
    org: &OrgId,
) -> Result<Verdict, Problem> {
    let (values, with_inherited) = integrations::sendable(integration, line, &app.defaults);
    let failed = |message: String| Verdict {
        success: false,
        message,
        details: Config::new(),
    };
    let secrets = open(app, org, line, with_inherited, &values).await?;
    let opened = Opened::new(values, |name| {
        secrets.get(name).map(|value| value.to_string())
    });
    let opened = match opened {
        Ok(opened) => opened,
        Err(field) => {
            return Ok(failed(format!(
                "integrations.{}.{field} refers to a secret that is not there, cannot be opened, or must not be sent to an address of the team's own",
                integration.id
            )));
        }
    };
    match integration.call(opened.values()) {
        Ok(call) => Ok(integrations::send(integration, call, &app.http).await),
        Err(unready) => Ok(failed(unready.to_string())),
    }
}

/// The secrets that the values refer to, opened for this one call.
async fn open(
    app: &App,
    org: &OrgId,
    line: &Lineage,
    with_inherited: bool,
    values: &Config,
) -> Result<BTreeMap<SecretName, Zeroizing<String>>, Problem> {
    let (references, _) = tocsin_wire::sealed::references(&Value::Object(values.clone()));
    if references.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ids = line.ids();
    let own = ids.len().saturating_sub(1);
    let from = if with_inherited {
        ids.as_slice()
    } else {
        ids.get(own..).unwrap_or_default()
    };
    let facts = usage::nearest(app.database.secrets_of(org, from).await?, from);
    let mut opened = BTreeMap::new();
    for facts in facts {
        if !references
            .iter()
            .any(|reference| reference.name == facts.name)
        {
            continue;
        }
        let stored = app
            .database
            .stored_secret(org, &facts.node, &facts.name)
            .await?;
        let Some(stored) = stored else {
            continue;
        };
        match secrets::open(&app.vault, &stored) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                opened.insert(facts.name, Zeroizing::new(text));
            }
            Err(error) => {
                tracing::error!(secret = %facts.name, error = %ErrorChain(&error), "a secret does not open");
            }
        }
    }
    Ok(opened)
}
