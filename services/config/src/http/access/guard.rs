//! The middleware before every route that is not public.

use std::sync::Arc;

use axum::extract::{RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use tocsin_kit::Problem;

use super::{Access, judge};
use crate::http::auth::Peer;
use crate::http::{App, auth};

/// The parameter of a path that names the org it is about.
pub(in crate::http) const ORG_PARAMETER: &str = "org";

/// What one route asks of its callers.
#[derive(Debug)]
pub(in crate::http) struct Guard {
    pub(in crate::http) app: Arc<App>,
    pub(in crate::http) access: Access,
}

/// Identifies the caller, judges it and passes it on.
pub(in crate::http) async fn guard(
    State(guard): State<Arc<Guard>>,
    parameters: Result<RawPathParams, axum::extract::rejection::RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    if guard.access != Access::Public
        && let Err(problem) = admit(&guard, parameters.ok().as_ref(), &mut request).await
    {
        return problem.into_response();
    }
    let deletes = request.method() == Method::DELETE;
    let response = next.run(request).await;
    if deletes && response.status().is_success() {
        // Tokens may have gone with it.
        guard.app.identity.tokens_may_have_ended();
    }
    response
}

async fn admit(
    guard: &Guard,
    parameters: Option<&RawPathParams>,
    request: &mut Request,
) -> Result<(), Problem> {
    let app = &guard.app;
    let Peer(peer) = Peer::of(request.extensions());
    let identified = match guard.access {
        Access::Internal => auth::identify_service(app, request.headers(), peer),
        _ => auth::identify(app, request.headers()).await,
    };
    let caller = identified.map_err(|problem| explained(guard, problem))?;
    let org = parameters
        .into_iter()
        .flat_map(|parameters| parameters.iter())
        .find_map(|(name, value)| (name == ORG_PARAMETER).then_some(value));
    if let Err(denied) = judge(guard.access, &caller, org, app.require_admin_star) {
        let wanted = guard.access.wanted();
        auth::note_denial(app, &caller, &wanted, &denied.code, peer).await;
        return Err(denied);
    }
    request.extensions_mut().insert(caller);
    Ok(())
}

/// Where no admin token is set, that is the better explanation for an admin who is not known.
fn explained(guard: &Guard, problem: Problem) -> Problem {
    let is_for_admins = matches!(guard.access, Access::Admin(_) | Access::GlobalAdmin(_));
    if is_for_admins
        && guard.app.admin_tokens.is_empty()
        && problem.status == StatusCode::UNAUTHORIZED
    {
        return Problem::unauthorized(
            "admin_token_not_configured",
            "this server has no admin token, so it refuses every admin; set ADMIN_TOKEN",
        );
    }
    problem
}
