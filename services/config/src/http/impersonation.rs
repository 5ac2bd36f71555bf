//! Short-lived tokens with which an admin looks as a team.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;
use tocsin_kit::{Problem, random};
use utoipa::ToSchema;

use super::extract::{InPath, TeamPath};
use super::{Access, App, Caller, CallerKind, Routes, Scope};
use crate::http::routes::route;
use crate::identity::impersonation::{self, Impersonation};

/// The table of this area.
pub(super) fn routes() -> Routes {
    Routes::new().add(Access::Admin(Scope::Tokens), route!(impersonate))
}

/// To look as a team.
#[derive(Serialize, ToSchema)]
pub(super) struct ImpersonationToken {
    token: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Impersonate a team
///
/// A short-lived token that reads what the team reads, and changes nothing. There is no body.
#[utoipa::path(post, path = "/api/v1/admin/orgs/{org}/teams/{team}/impersonation-token",
    operation_id = "token_impersonate", tag = "tokens", params(TeamPath),
    responses((status = 200, description = "The only time that it is shown.", body = ImpersonationToken)))]
pub(super) async fn impersonate(
    State(app): State<Arc<App>>,
    caller: Caller,
    InPath(TeamPath { org, team }): InPath<TeamPath>,
) -> Result<Json<ImpersonationToken>, Problem> {
    let settings = &app.identity.settings;
    let Some(secret) = settings.impersonation_secret.first() else {
        return Err(Problem::new(
            http::StatusCode::SERVICE_UNAVAILABLE,
            "impersonation_not_configured",
            "this server cannot issue impersonation tokens; set IMPERSONATION_JWT_SECRET",
        ));
    };
    app.database.team(&org, &team).await?;
    let now = app.clock.now();
    // Whole seconds are what the token says.
    let end = now
        .as_second()
        .saturating_add_unsigned(settings.impersonation_seconds.0);
    let end = Timestamp::from_second(end).unwrap_or(Timestamp::MAX);
    let who = Impersonation {
        subject: impersonating_subject(&caller),
        email: caller.email,
        org,
        team,
        jti: random::time_ordered_id(now),
    };
    if settings.impersonation_log || settings.impersonation_require_log {
        app.database.log_impersonation(&who, (now, end)).await?;
    }
    let token = impersonation::mint(&who, &settings.impersonation_audience, secret, (now, end));
    let token = token.ok_or_else(|| {
        tracing::error!("an impersonation token cannot be signed");
        Problem::internal()
    })?;
    Ok(Json(ImpersonationToken {
        token,
        expires_at: end,
    }))
}

/// As the original names them in `sub`.
fn impersonating_subject(caller: &Caller) -> String {
    match (caller.kind, &caller.org, caller.token) {
        (CallerKind::GlobalAdmin, ..) if caller.subject == "admin_token" => {
            "super_admin".to_owned()
        }
        (CallerKind::OrgAdmin, Some(org), Some(_)) if caller.email.is_none() => {
            format!("org_admin:{org}")
        }
        _ => caller.subject.clone(),
    }
}
