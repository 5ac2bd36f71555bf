//! How reads of effective configs and writes are answered.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use tocsin_kit::Problem;
use tocsin_wire::OrgId;
use utoipa::ToSchema;

use crate::change::What;
use crate::decide::{Effect, WriteRequest};
use crate::diff::{self, Diff};
use crate::error::OperationError;
use crate::http::approvals::{PendingApproval, Unwritten};
use crate::http::{App, Caller, body};
use crate::merge::Config;
use crate::node::{Kind, NodeId};
use crate::pg::{Mode, Outcome, Written};
use crate::reading::Served;

/// Set when the answer is the last known state, because the database does not answer; `Age` says for
/// how many seconds nothing has been heard from it.
const STALE: HeaderName = HeaderName::from_static("tocsin-stale");

/// Nodes whose effective change a dry run computes.
const PREVIEWED: usize = 100;

/// Which form of the effective config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Form {
    Bare,
    Enveloped,
}

/// The config, or 304 when the caller has it.
pub(in crate::http) fn served(
    app: &App,
    served: &Served,
    form: Form,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let effective = &served.effective;
    let etag = HeaderValue::from_str(&effective.etag).map_err(|error| {
        tracing::error!(%error, "an entity tag is no header");
        Problem::internal()
    })?;
    let asked = headers.get(header::IF_NONE_MATCH);
    let is_known = asked
        .and_then(|asked| asked.to_str().ok())
        .is_some_and(|asked| {
            asked
                .split(',')
                .any(|tag| tag.trim().trim_start_matches("W/") == effective.etag)
        });
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let bytes = match form {
            Form::Bare => effective.bare(),
            Form::Enveloped => effective.enveloped(),
        };
        let mut response = Response::new(Body::from(bytes));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag);
    if let Some(since) = served.stale_since {
        let age = app.clock.now().duration_since(since).as_secs().max(0);
        headers.insert(STALE, HeaderValue::from_static("true"));
        headers.insert(header::AGE, HeaderValue::from(age));
    }
    Ok(response)
}

/// What a write answers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(in crate::http) enum Answer<T> {
    /// It is done.
    Applied(T),
    /// Nothing is done; this is what would be.
    Preview(Preview),
    /// Nothing is done until somebody else approves it.
    Pending(PendingApproval),
}

/// What a write would do.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WritePreview)]
pub(in crate::http) struct Preview {
    dry_run: bool,
    /// What somebody else would have to approve first: `prompt`, `tools`, …
    needs_approval: Vec<String>,
    changes: Vec<PreviewedChange>,
    /// Teams for which something may change: those at or below the changed nodes.
    teams_affected: BTreeSet<String>,
}

/// What would happen to one node.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct PreviewedChange {
    node_id: String,
    node_type: Kind,
    what: What,
    /// That the node would have.
    version: u64,
    /// Of what the node itself sets.
    diff: Diff,
    /// Of what holds at the node; `null` beyond the first hundred nodes.
    effective_diff: Option<Diff>,
}

/// Writes, or tries to, and shows what it came to.
pub(in crate::http) async fn write<T>(
    app: &App,
    caller: &Caller,
    org: &OrgId,
    (requests, mode): (&[WriteRequest], Mode),
    applied: impl FnOnce(&Written) -> Result<T, OperationError>,
) -> Result<Answer<T>, Problem> {
    let author = caller.author(app);
    let outcome = app.database.write_all(org, requests, &author, mode).await?;
    match (outcome, mode) {
        (Outcome::Applied(written), Mode::Apply) => {
            if written.effects.iter().any(Effect::is_deletion) {
                app.identity.tokens_may_have_ended();
            }
            Ok(Answer::Applied(applied(&written)?))
        }
        (Outcome::Applied(written), Mode::DryRun) => {
            Ok(Answer::Preview(preview(app, org, &written).await?))
        }
        (Outcome::Held(held), _) => Ok(Answer::Pending(held.into())),
    }
}

/// With the version of the node as its ETag, if something was written.
pub(in crate::http) fn with_etag<T: Serialize>(answer: Answer<T>, version: u64) -> Response {
    match answer {
        Answer::Applied(_) => (body::etag(version), Json(answer)).into_response(),
        Answer::Preview(_) | Answer::Pending(_) => Json(answer).into_response(),
    }
}

async fn preview(app: &App, org: &OrgId, written: &Written) -> Result<Preview, OperationError> {
    let mut teams = BTreeSet::new();
    let nodes: BTreeSet<&NodeId> = written.effects.iter().map(|one| &one.after.id).collect();
    for effect in &written.effects {
        if effect.after.kind == Kind::Team {
            teams.insert(effect.after.id.to_string());
        }
    }
    for node in nodes {
        let below = app.database.teams_at_or_below(org, node).await?;
        teams.extend(below.iter().map(ToString::to_string));
    }
    let changes = written.effects.iter().enumerate();
    Ok(Preview {
        dry_run: true,
        needs_approval: written.needs_approval.clone(),
        changes: changes
            .map(|(index, effect)| previewed(app, written, effect, index < PREVIEWED))
            .collect(),
        teams_affected: teams,
    })
}

fn previewed(app: &App, written: &Written, effect: &Effect, whole: bool) -> PreviewedChange {
    let id = &effect.after.id;
    let effective = |tree: &crate::node::Tree| match tree.lineage(id) {
        Some(line) => line.effective(&app.defaults),
        None => Config::new(),
    };
    let effective_diff = whole.then(|| {
        let before = effective(&written.before.tree);
        diff::between(&before, &effective(&written.after.tree))
    });
    PreviewedChange {
        node_id: id.to_string(),
        node_type: effect.after.kind,
        what: effect.what,
        version: effect.after.version,
        diff: effect.diff.clone(),
        effective_diff,
    }
}

/// What was written at once, for routes that show nothing else.
pub(in crate::http) fn applied(outcome: Outcome) -> Result<Box<Written>, Unwritten> {
    match outcome {
        Outcome::Applied(written) => Ok(written),
        Outcome::Held(held) => Err(Unwritten::Held(held)),
    }
}
