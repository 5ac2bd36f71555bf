//! How the integrations of my team are.

use super::*;

/// One integration's health.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IntegrationHealth)]
pub(super) struct Health {
    id: String,
    name: String,
    /// `not_configured`, `incomplete`, `configured` (never tested), `healthy` or `failing` (by the
    /// last test).
    status: &'static str,
    missing: Vec<String>,
    last_test: Option<LastTest>,
}

/// Health of integrations.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IntegrationsHealth)]
pub(super) struct HealthList {
    integrations: Vec<Health>,
    /// Of all that are set up.
    healthy: bool,
}

/// Whether what my team uses is set up and works
///
/// By the last live test of an admin; nothing is called.
#[utoipa::path(get, path = "/api/v1/team/integrations/health", operation_id = "my_integrations_health", tag = "integrations",
    responses((status = 200, description = "All integrations, set up or not.", body = HealthList)))]
pub(super) async fn my_health(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Json<HealthList>, Problem> {
    let (org, team) = caller.team()?;
    // A test at the org counts for its teams, too.
    let root = body::node_id(org.as_str())?;
    let above: Vec<View> = views(&app, &org, &root).await?;
    let mut tests: BTreeMap<String, LastTest> = above
        .into_iter()
        .filter_map(|view| Some((view.id, view.last_test?)))
        .collect();
    let views = views(&app, &org, &team).await?;
    let integrations: Vec<Health> = views
        .into_iter()
        .map(|view| {
            let last_test = view.last_test.or_else(|| tests.remove(&view.id));
            let status = match (&last_test, view.configured) {
                _ if view.config.is_empty() => "not_configured",
                (_, false) => "incomplete",
                (None, true) => "configured",
                (Some(test), true) if test.success => "healthy",
                (Some(_), true) => "failing",
            };
            Health {
                id: view.id,
                name: view.name,
                status,
                missing: view.missing,
                last_test,
            }
        })
        .collect();
    Ok(Json(HealthList {
        healthy: !integrations
            .iter()
            .any(|one| matches!(one.status, "failing" | "incomplete")),
        integrations,
    }))
}
